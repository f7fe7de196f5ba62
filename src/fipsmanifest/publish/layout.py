"""Where everything lies in a bucket, and how it is served. Pure.

::

    tool/manifests/v1.21.3/SERIAL/manifest-rhel8.json.asc     never changes
    tool/manifests/v1.21.3/manifest-rhel8.json.asc            pointer: the newest serial
    tool/VERSION/dkp-fips-tool, .sha256, .asc                 never change
    tool/dkp-fips-tool, .sha256, .asc                         pointers: the newest version
    index.html, index.json                                    derived from the rest
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import UsageError, ValidationFailed

ROOT = "tool/"
TOOL = "dkp-fips-tool"
INDEX_JSON = "index.json"
INDEX_HTML = "index.html"

#: In the order in which they are moved: a reader who meets a half-moved set finds in the sidecar where the pair is.
TOOL_SUFFIXES = (".asc", ".sha256", "")

# Every part is bounded: a listing is what somebody else says, and a number of a thousand digits is no version.
_KUBERNETES = r"v[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}(?:-[0-9a-z.]{1,64})?"
_NAME = r"[a-z0-9][a-z0-9_.-]{0,99}"
_SERIAL = r"[1-9][0-9]{0,8}"
_VERSION = r"([0-9]{1,18}(?:\.[0-9]{1,18}){0,7})(?:\.?(dev|a|b|rc|post)([0-9]{1,18}))?(?:\+[0-9A-Za-z.]{1,64})?"

_MANIFEST = re.compile(
    rf"tool/manifests/(?P<kubernetes>{_KUBERNETES})/(?:(?P<serial>{_SERIAL})/)?manifest-(?P<name>{_NAME})\.json\.asc",
    re.ASCII,
)
_TOOL_FILE = re.compile(rf"tool/(?:(?P<version>{_VERSION})/)?{TOOL}(?P<suffix>\.asc|\.sha256)?", re.ASCII)
_SIDECAR = re.compile(rf"# tool/(?P<version>{_VERSION})/{TOOL}\n(?P<sha256>[0-9a-f]{{64}})  {TOOL}\n", re.ASCII)

_STAGES = {"dev": -4, "a": -3, "b": -2, "rc": -1, None: 0, "post": 1}


@dataclass(frozen=True, slots=True)
class ManifestKey:
    """What a manifest's key says; a pointer's key has no serial."""

    kubernetes: str
    """``v1.21.3``."""
    name: str
    """``rhel8``."""
    serial: int | None
    """1, 2, ... or None for the pointer."""


@dataclass(frozen=True, slots=True)
class ToolKey:
    """What a tool file's key says; a pointer's key has no version."""

    version: str | None
    """``0.1.0``, or None for the pointer."""
    suffix: str
    """Nothing for the tool itself, ``.sha256`` or ``.asc``."""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What the tool's SHA-256 file says."""

    version: str
    """Where the pair lies that never changes."""
    sha256: str
    """The tool's digest, hex."""


@dataclass(frozen=True, slots=True)
class Headers:
    """How an object is served."""

    content_type: str
    """With the character set where it is text."""
    cache_control: str
    """A year for what never changes, ``no-cache`` (ask each time) for what moves."""


def manifest(kubernetes: str, name: str, serial: int | None = None) -> str:
    """Give a manifest's key, or without ``serial`` the pointer's. Raises `UsageError` for names that cannot be."""
    middle = "" if serial is None else f"{serial}/"
    key = f"{manifests(kubernetes)}{middle}manifest-{name}.json.asc"
    if not _MANIFEST.fullmatch(key):
        raise UsageError(
            f"{kubernetes!r}, {name!r} and serial {serial} cannot name a manifest.", "Use v1.21.3, rhel8 and 1."
        )
    return key


def manifests(kubernetes: str) -> str:
    """Give the prefix of all manifests of a version."""
    return f"{ROOT}manifests/{kubernetes}/"


def tool(version: str | None = None, suffix: str = "") -> str:
    """Give the key of a tool file, or without ``version`` the pointer's. Raises `UsageError` for an odd version."""
    middle = "" if version is None else f"{version}/"
    key = f"{ROOT}{middle}{TOOL}{suffix}"
    if not _TOOL_FILE.fullmatch(key):
        raise UsageError(f"{version!r} cannot be the tool's version.", "Use 1.2.3.")
    return key


def read_key(key: str) -> ManifestKey | ToolKey | None:
    """Say what a key names, or None for one that this layout does not have."""
    if found := _MANIFEST.fullmatch(key):
        serial = found["serial"]
        return ManifestKey(found["kubernetes"], found["name"], None if serial is None else int(serial))
    if found := _TOOL_FILE.fullmatch(key):
        return ToolKey(found["version"], found["suffix"] or "")
    return None


def never_changes(key: str) -> bool:
    """Tell whether a key is that of a serial or of a version, and no pointer, index or stranger's."""
    what = read_key(key)
    return what is not None and (what.serial if isinstance(what, ManifestKey) else what.version) is not None


def sidecar(version: str, sha256: str) -> bytes:
    """Write the tool's SHA-256 file, which ``sha256sum -c`` takes: its first line is a comment to it."""
    return f"# {tool(version)}\n{sha256}  {TOOL}\n".encode("ascii")


def read_sidecar(data: bytes) -> Sidecar:
    """Read the tool's SHA-256 file. Raises `ValidationFailed` for anything but the two lines that we write."""
    found = _SIDECAR.fullmatch(data.decode("ascii", "replace"))
    if found is None:
        raise ValidationFailed(
            f"{data[:80]!r} is not the SHA-256 file of a published tool.", "It should name its version and one digest."
        )
    return Sidecar(found["version"], found["sha256"])


def version_order(version: str) -> tuple[tuple[int, ...], int, int, str]:
    """Give the sort key of a tool version: 0.9 < 0.10rc1 < 0.10 < 0.10.post1. Raises `UsageError` for an odd one."""
    found = re.fullmatch(_VERSION, version, re.ASCII)
    if found is None:
        raise UsageError(f"{version!r} cannot be the tool's version.", "Use 1.2.3.")
    release = [int(part) for part in found[1].split(".")]
    while release and release[-1] == 0:
        release.pop()
    return tuple(release), _STAGES[found[2]], int(found[3] or 0), version


def headers(key: str) -> Headers:
    """Say how the object under ``key`` is served."""
    parsed = read_key(key)
    cache = "public, max-age=31536000, immutable" if never_changes(key) else "no-cache"
    if isinstance(parsed, ToolKey):
        types = {
            "": "application/octet-stream",
            ".asc": "application/pgp-signature",
            ".sha256": "text/plain; charset=utf-8",
        }
        return Headers(types[parsed.suffix], cache)
    types = {INDEX_JSON: "application/json", INDEX_HTML: "text/html; charset=utf-8"}
    return Headers(types.get(key, "text/plain; charset=utf-8"), cache)
