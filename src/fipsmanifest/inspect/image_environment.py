"""What an image's configuration does to the programs in it: the environment in which a runtime starts them.

A program with Go's native module reads its FIPS mode from GODEBUG when it starts, which has precedence over its own
default (``internal/godebug``). So a program that is proven is not if the image that it is in switches the mode off: in
its variables, or in a command that sets the variable first (``env GODEBUG=fips140=off /program``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

from ..errors import Incomplete
from ..model.artifact import ImagePlatform
from ..model.finding import CryptoFacts, Finding, Verdict
from ..node.checks.injected import switches_fips_off
from ..oci.strictjson import load_json

#: The commands of an image's configuration (OCI image specification, ``config.md``; docker's Healthcheck).
_COMMANDS = ("entrypoint", "cmd", "healthcheck")
_VARIABLE = "GODEBUG"
#: An assignment among a command's words, or in the text of a shell.
_ASSIGNMENT = re.compile(_VARIABLE + r"""=["']?([^\s"';&|]*)""")


def findings_in(platform: ImagePlatform) -> Callable[[Finding], Finding]:
    """Return what turns the finding of a file into that of the file in an image.

    That raises `Incomplete` where the configuration cannot be read, `Refused` where it is not unambiguous JSON.
    """

    @cache
    def switches_off() -> bool:
        return any(map(switches_fips_off, _settings(platform)))

    def located(finding: Finding) -> Finding:
        crypto = finding.crypto
        if crypto is None or crypto.verdict is not Verdict.PROVEN or crypto.module is None:
            return finding
        if crypto.module.family != "go-native" or not switches_off():
            return finding
        evidence = {**crypto.evidence, "code": "native-mode-off-in-image"}
        return replace(finding, crypto=CryptoFacts(Verdict.OTHER_MODULE, None, evidence))

    return located


def _settings(platform: ImagePlatform) -> Iterator[str]:
    """Yield the values that an image's configuration gives to GODEBUG."""
    try:
        data = platform.config.path.read_bytes()
    except OSError as error:
        raise Incomplete(
            f"The image configuration {platform.config.digest} cannot be read: {error.strerror}.", "Run it again."
        ) from error
    document = load_json(data, f"the configuration {platform.config.digest}")
    for config in _values(document, "config"):
        for variables in _values(config, "env"):
            for variable in _texts(variables):
                name, equals, value = variable.partition("=")
                if name == _VARIABLE and equals:
                    yield value
        for command in (found for name in _COMMANDS for found in _values(config, name)):
            for word in _texts(command):
                yield from _ASSIGNMENT.findall(word)


def _texts(value: object) -> Iterator[str]:
    """Yield the texts in a list, or below the keys of an object."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _values(document: object, key: str) -> list[object]:
    """Return the values of a key in any spelling: Go takes them all."""
    if not isinstance(document, dict):
        return []
    return [value for name, value in document.items() if str(name).casefold() == key]
