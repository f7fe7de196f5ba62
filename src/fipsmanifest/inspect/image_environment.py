"""What an image's configuration does to the programs in it: the environment in which a runtime starts them.

A program with Go's native module reads its FIPS mode from GODEBUG when it starts, which has precedence over its own
default (``internal/godebug``). So a program that is proven is not if the image that it is in switches the mode off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

from ..errors import Incomplete
from ..model.artifact import ImagePlatform
from ..model.finding import CryptoFacts, Finding, Verdict
from ..node.checks.injected import switches_fips_off
from ..oci.strictjson import load_json


def findings_in(platform: ImagePlatform) -> Callable[[Finding], Finding]:
    """Return what turns the finding of a file into that of the file in an image.

    That raises `Incomplete` where the configuration cannot be read, `Refused` where it is not unambiguous JSON.
    """

    @cache
    def switches_off() -> bool:
        return any(name == "GODEBUG" and switches_fips_off(value) for name, value in _environment(platform))

    def located(finding: Finding) -> Finding:
        crypto = finding.crypto
        if crypto is None or crypto.verdict is not Verdict.PROVEN or crypto.module is None:
            return finding
        if crypto.module.family != "go-native" or not switches_off():
            return finding
        evidence = {**crypto.evidence, "code": "native-mode-off-in-image"}
        return replace(finding, crypto=CryptoFacts(Verdict.OTHER_MODULE, None, evidence))

    return located


def _environment(platform: ImagePlatform) -> Iterator[tuple[str, str]]:
    """Yield the variables of an image's configuration (OCI image specification, ``config.md``, Env)."""
    try:
        data = platform.config.path.read_bytes()
    except OSError as error:
        raise Incomplete(
            f"The image configuration {platform.config.digest} cannot be read: {error.strerror}.", "Run it again."
        ) from error
    document = load_json(data, f"the configuration {platform.config.digest}")
    for config in _values(document, "config"):
        for variables in _values(config, "env"):
            for variable in variables if isinstance(variables, list) else ():
                name, equals, value = str(variable).partition("=")
                if equals:
                    yield name, value


def _values(document: object, key: str) -> list[object]:
    """Return the values of a key in any spelling: Go takes them all."""
    if not isinstance(document, dict):
        return []
    return [value for name, value in document.items() if str(name).casefold() == key]
