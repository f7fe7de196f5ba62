"""The layout of a bucket: the key of each object, and the headers that it is served with. Pure.

::

    tool/manifests/v1.21.3/SERIAL/manifest-rhel8.json.asc     never changes
    tool/manifests/v1.21.3/manifest-rhel8.json.asc            pointer: the newest serial
    tool/VERSION/dkp-fips-tool, .sha256, .asc                 never change
    tool/dkp-fips-tool, .sha256, .asc                         pointers: the newest version
    MANIFEST.asc.sigstore.json, TOOL.sigstore.json            beside each of these if it was signed for cosign, too
    index.html, index.json                                    derived from the rest
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from packaging.version import Version

from ..errors import UsageError, ValidationFailed
from ..model.identity import ManifestId, ReleaseId
from ..sign.sigstore import MEDIA_TYPE, SUFFIX

ROOT = "tool/"
TOOL = "dkp-fips-tool"
INDEX_JSON = "index.json"
INDEX_HTML = "index.html"

#: In the order in which the pointers are moved: during a move, the sidecar names the version whose files are complete.
TOOL_SUFFIXES = (".asc", ".sha256", "")

# Every part has a limit: a listing is untrusted input, and can contain a number of a thousand digits.
_KUBERNETES = r"v[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}(?:-[0-9a-z.]{1,64})?"
_NAME = r"[a-z0-9][a-z0-9_.-]{0,99}"
_SERIAL = r"[1-9][0-9]{0,8}"
_VERSION = (
    r"[0-9]{1,18}(?:\.[0-9]{1,18}){0,7}(?:\.?(?:dev|a|b|rc|post)[0-9]{1,18})?"
    r"(?:\+[0-9A-Za-z]{1,18}(?:\.[0-9A-Za-z]{1,18}){0,3})?"
)

_MANIFEST = re.compile(
    rf"tool/manifests/(?P<kubernetes>{_KUBERNETES})/(?:(?P<serial>{_SERIAL})/)?manifest-(?P<name>{_NAME})\.json\.asc",
    re.ASCII,
)
_TOOL_FILE = re.compile(rf"tool/(?:(?P<version>{_VERSION})/)?{TOOL}(?P<suffix>\.asc|\.sha256)?", re.ASCII)
_SIDECAR = re.compile(rf"# tool/(?P<version>{_VERSION})/{TOOL}\n(?P<sha256>[0-9a-f]{{64}})  {TOOL}\n", re.ASCII)


@dataclass(frozen=True, slots=True)
class ToolKey:
    """The parts of a tool file's key; a pointer's key has no version."""

    version: str | None
    """``0.1.0``, or None for the pointer."""
    suffix: str
    """Empty for the tool itself, ``.sha256`` or ``.asc``."""


@dataclass(frozen=True, slots=True)
class SigstoreKey:
    """The key of the Sigstore bundle of another object."""

    of: str
    """The key of the object that it signs: a manifest, or the tool itself."""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The content of the tool's SHA-256 file."""

    version: str
    """The version, under whose key the tool and its signature never change."""
    sha256: str
    """The tool's digest, hex."""


@dataclass(frozen=True, slots=True)
class Headers:
    """The HTTP headers of an object."""

    content_type: str
    """With the character set if it is text."""
    cache_control: str
    """A year for objects that never change, ``no-cache`` (revalidate each time) for the others."""


def manifest(identity: ManifestId) -> str:
    """Return a manifest's key. Raises `UsageError` for a version, name or serial that no key can have."""
    return _manifest(identity.release, f"{identity.serial}/", f" and serial {identity.serial}")


def pointer(release: ReleaseId) -> str:
    """Return the key of a release's pointer. Raises `UsageError` for a version or name that no key can have."""
    return _manifest(release, "", "")


def _manifest(release: ReleaseId, middle: str, described: str) -> str:
    key = f"{manifests(release.kubernetes)}{middle}manifest-{release.name}.json.asc"
    if not _MANIFEST.fullmatch(key):
        raise UsageError(
            f"{release.kubernetes!r} and {release.name!r}{described} cannot identify a manifest.",
            "Write version and name as in v1.21.3 and rhel8, and the serial as a number from 1.",
        )
    return key


def manifests(kubernetes: str) -> str:
    """Return the prefix of all manifests of a version."""
    return f"{ROOT}manifests/{kubernetes}/"


def tool(version: str | None = None, suffix: str = "") -> str:
    """Return the key of a tool file, or without ``version`` the pointer's. Raises `UsageError` if it is invalid."""
    middle = "" if version is None else f"{version}/"
    key = f"{ROOT}{middle}{TOOL}{suffix}"
    if not _TOOL_FILE.fullmatch(key):
        raise UsageError(f"{version!r} is not a valid tool version.", "Use 1.2.3.")
    return key


def sigstore(key: str) -> str:
    """Return the key of the Sigstore bundle of a manifest or tool."""
    return f"{key}{SUFFIX}"


def read_key(key: str) -> ManifestId | ReleaseId | ToolKey | SigstoreKey | None:
    """Parse a key; a release is that of a manifest pointer. Return None for a key that is not in this layout."""
    if key.endswith(SUFFIX):
        of = key.removesuffix(SUFFIX)
        signed = read_key(of)
        signable = isinstance(signed, ManifestId | ReleaseId) or (isinstance(signed, ToolKey) and not signed.suffix)
        return SigstoreKey(of) if signable else None
    if found := _MANIFEST.fullmatch(key):
        release, serial = ReleaseId(found["kubernetes"], found["name"]), found["serial"]
        return release if serial is None else release.issue(int(serial))
    if found := _TOOL_FILE.fullmatch(key):
        return ToolKey(found["version"], found["suffix"] or "")
    return None


def never_changes(key: str) -> bool:
    """Return whether a key names a serial or a version, as opposed to a pointer, an index file or a foreign object."""
    what = read_key(key)
    if isinstance(what, SigstoreKey):
        return never_changes(what.of)
    return isinstance(what, ManifestId) or (isinstance(what, ToolKey) and what.version is not None)


def sidecar(version: str, sha256: str) -> bytes:
    """Return the tool's SHA-256 file in the format of ``sha256sum -c``, with a comment as its first line."""
    return f"# {tool(version)}\n{sha256}  {TOOL}\n".encode("ascii")


def read_sidecar(data: bytes) -> Sidecar:
    """Read the tool's SHA-256 file. Raises `ValidationFailed` unless it has exactly the two lines of `sidecar`."""
    found = _SIDECAR.fullmatch(data.decode("ascii", "replace"))
    if found is None:
        raise ValidationFailed(
            f"{data[:80]!r} is not the SHA-256 file of a published tool.", "It must name its version and one digest."
        )
    return Sidecar(found["version"], found["sha256"])


def version_order(version: str) -> tuple[Version, str]:
    """Return a sort key for a tool version (PEP 440): 0.9 < 0.10rc1 < 0.10 < 0.10.post1.

    Versions that are equal by PEP 440 (0.1 and 0.1.0) are ordered as text. Raises `UsageError` if it is invalid.
    """
    if not re.fullmatch(_VERSION, version, re.ASCII):
        raise UsageError(f"{version!r} is not a valid tool version.", "Use 1.2.3.")
    return Version(version), version


def headers(key: str) -> Headers:
    """Return the HTTP headers of the object ``key``."""
    parsed = read_key(key)
    cache = "public, max-age=31536000, immutable" if never_changes(key) else "no-cache"
    if isinstance(parsed, ToolKey):
        types = {
            "": "application/octet-stream",
            ".asc": "application/pgp-signature",
            ".sha256": "text/plain; charset=utf-8",
        }
        return Headers(types[parsed.suffix], cache)
    if isinstance(parsed, SigstoreKey):
        return Headers(MEDIA_TYPE, cache)
    types = {INDEX_JSON: "application/json", INDEX_HTML: "text/html; charset=utf-8"}
    return Headers(types.get(key, "text/plain; charset=utf-8"), cache)
