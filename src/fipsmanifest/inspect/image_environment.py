"""What an image's configuration does to the programs in it: the environment in which a runtime starts them.

A program with Go's native module reads its FIPS mode from GODEBUG when it starts, which has precedence over its own
default (``internal/godebug``). So a program that is proven is not if the image that it is in switches the mode off: in
its variables, or in a command that sets the variable first (``env GODEBUG=fips140=off /program``).

What the image has the dynamic loader load with every program, by variables, commands or files, is evidence, as the
program's own unusual libraries are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ..errors import Incomplete
from ..model.artifact import ImagePlatform
from ..model.finding import CryptoFacts, Finding, Verdict
from ..node.checks.variables import switches_fips_off
from ..oci.strictjson import load_json
from .loader_files import LIBRARY, replaces_library

#: The commands of an image's configuration (OCI image specification, ``config.md``; docker's Healthcheck).
_COMMANDS = ("entrypoint", "cmd", "healthcheck")
_VARIABLE = "GODEBUG"
#: Variables of the dynamic loader (ld.so(8)), and the evidence of a program in an image that sets them.
_LOADER = {"LD_PRELOAD": "image-preload", "LD_AUDIT": "image-audit", "LD_LIBRARY_PATH": "image-library-path"}
#: The same as options of the loader, where a command starts it with the program as an argument.
_OPTIONS = {"--preload": "image-preload", "--audit": "image-audit", "--library-path": "image-library-path"}
_LOADERS = re.compile(r"(?:.*/)?ld(?:-linux|-musl|64|-2|\.so)[^/]*\Z")
#: An assignment among a command's words, or in the text of a shell.
_ASSIGNMENT = re.compile(rf"""({"|".join((_VARIABLE, *_LOADER))})=["']?([^\s"';&|]*)""")

#: A mention of GODEBUG that leaves it as it is or unset, and an assignment of a plain value, perhaps to the one before.
_HARMLESS = re.compile(
    r"""\$(?:\{GODEBUG\}|GODEBUG\b)|(?:\b(?:export|unset)|-u)[ \t]+GODEBUG\b(?!\+?=)"""
    r"""|\bGODEBUG=(["']?)(?:\$(?:\{GODEBUG\}|GODEBUG\b))?[\w=,.#*+:/@%-]*\1(?=["'`]?(?:[\s;&|)]|\Z))"""
)
_NAMED = re.compile(rf"\b{_VARIABLE}\b")
#: A setting that switches FIPS mode off, wherever in a command it is.
_SETTING = re.compile(r"fips140\s*=\s*(?!(?:on|only|debug)\b)")


def findings_in(platform: ImagePlatform, loading: Iterable[str], findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield the findings of an image's files as what they are in that image.

    ``loading`` has the codes of what its files have the loader load (`loader_files`). Raises `Incomplete` where the
    configuration cannot be read, `Refused` where it is not unambiguous JSON.
    """
    configured: _Environment | None = None
    findings = list(findings)
    codes = {*loading, *(LIBRARY for finding in findings if replaces_library(finding.path))}
    for finding in findings:
        crypto = finding.crypto
        if crypto is None or crypto.verdict is not Verdict.PROVEN or crypto.module is None:
            yield finding
            continue
        configured = configured or _read(platform)
        evidence = dict(crypto.evidence)
        if both := sorted(codes | configured.loading):
            own = evidence.get("loading", [])
            evidence["loading"] = [*(map(str, own) if isinstance(own, list) else ()), *both]
        if crypto.module.family == "go-native" and configured.switches_off:
            evidence["code"] = "native-mode-off-in-image"
            yield replace(finding, crypto=CryptoFacts(Verdict.OTHER_MODULE, None, evidence))
        else:
            yield replace(finding, crypto=replace(crypto, evidence=evidence))


@dataclass(frozen=True, slots=True)
class _Environment:
    """What an image's configuration does to programs."""

    switches_off: bool
    """Whether GODEBUG turns FIPS mode off."""
    loading: frozenset[str]
    """The codes of the variables of the loader that are set."""


def script_of(platform: ImagePlatform) -> str:
    """Return what an image's configuration has a runtime start, with its variables: a shell may unpack it.

    Raises as `findings_in`.
    """
    names = (*_COMMANDS, "env")
    values = (value for config in _configs(platform) for name in names for value in _values(config, name))
    return "\n".join(text for value in values for text in _texts(value))


def _configs(platform: ImagePlatform) -> list[object]:
    try:
        data = platform.config.path.read_bytes()
    except OSError as error:
        raise Incomplete(
            f"The image configuration {platform.config.digest} cannot be read: {error.strerror}.",
            "Run it again.",
            reason="not-read",
        ) from error
    return _values(load_json(data, f"the configuration {platform.config.digest}"), "config")


def _read(platform: ImagePlatform) -> _Environment:
    configs = _configs(platform)
    variables = [
        tuple(text.split("=", 1)) for config in configs for env in _values(config, "env") for text in _texts(env)
    ]
    loading: set[str] = set()
    is_off = False
    for config in configs:
        for command in (found for name in _COMMANDS for found in _values(config, name)):
            words = list(_texts(command))
            variables += (pair for word in words for pair in _ASSIGNMENT.findall(word))
            is_off = is_off or any(map(_may_switch_off, words))
            if any(map(_LOADERS.match, words)):
                loading.update(code for option, code in _OPTIONS.items() for word in words if word.startswith(option))
    settings = [found[1] for found in variables if found[0] == _VARIABLE and len(found) == 2]
    loading.update(_LOADER[found[0]] for found in variables if found[0] in _LOADER and any(found[1:]))
    return _Environment(is_off or any(map(switches_fips_off, settings)), frozenset(loading))


def _may_switch_off(word: str) -> bool:
    """Return whether a word of a command may set GODEBUG to what switches FIPS mode off.

    What a shell puts together is not followed: a mention that is no plain assignment may do so.
    """
    if not _NAMED.search(word):
        return False
    return _SETTING.search(word) is not None or _NAMED.search(_HARMLESS.sub("", word)) is not None


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
