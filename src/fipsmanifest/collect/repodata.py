"""A repository's metadata: repomd.xml, which names the list of packages, and that list, primary.xml.

Format: createrepo_c's (http://linux.duke.edu/metadata/). Both are read as a stream in bounded memory (`xmlstream`),
since primary.xml of a large repository has hundreds of megabytes. (createrepo_c's own reader wants the expanded file on
disk and writes its errors to stderr.)
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from ..archive import decompress
from ..errors import Incomplete, Refused
from .xmlstream import Malformed, Parser, split_name

#: Bytes of repomd.xml, and of primary.xml expanded; Fedora's, the largest known, are 10 kB and 200 MB.
MAX_REPOMD = 4 << 20
MAX_PRIMARY = 2 << 30

#: Characters of one value; digests and names are shorter.
_MAX_TEXT = 4096

#: Hex digits of the digests that are accepted.
_HEX_DIGITS = {"sha256": 64, "sha384": 96, "sha512": 128}
_HEX = re.compile(r"[0-9a-f]*")

#: The children of an entry that are read.
_CHILDREN = ("name", "arch", "version", "checksum", "size", "location", "open-checksum", "open-size")

_BLOCK = 1 << 20

_REPO = "http://linux.duke.edu/metadata/repo "
_COMMON = "http://linux.duke.edu/metadata/common "

_ADVICE = "Check the address; if it is right, ask those who run the repository."


@dataclass(frozen=True, slots=True)
class Primary:
    """Where the list of packages is, and what it must be."""

    href: str
    """Relative to the repository."""
    checksum: str
    """Of the compressed file, ``sha256:HEX``."""
    size: int | None
    """Bytes of the compressed file."""
    open_checksum: str | None
    """Of the expanded file."""
    open_size: int | None
    """Bytes of the expanded file."""


@dataclass(frozen=True, slots=True)
class Package:
    """One package as the repository lists it."""

    name: str
    """``kubelet``."""
    epoch: int
    """Mostly 0."""
    version: str
    """``1.21.3``."""
    release: str
    """``0``."""
    architecture: str
    """``x86_64``, ``noarch``, ``src``."""
    href: str
    """Relative to the repository."""
    checksum: str
    """``sha256:HEX``."""
    size: int | None
    """Bytes."""

    @property
    def nvr(self) -> str:
        """``NAME-VERSION-RELEASE``."""
        return f"{self.name}-{self.version}-{self.release}"


@dataclass(slots=True)
class _Element:
    """An element of interest while it is being read: its children's text and attributes by name."""

    kind: str
    text: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, dict[str, str]] = field(default_factory=dict)


def read_repomd(data: bytes, address: str) -> Primary:
    """Read repomd.xml. Raises `Refused` where it is malformed or names no primary.xml."""
    found = [
        element for element in _elements(iter([data]), "repomd", "data", _REPO, address) if element.kind == "primary"
    ]
    if len(found) != 1:
        raise Refused(
            f"{address} names {len(found)} lists of packages (primary).", _ADVICE, reason="malformed-repodata"
        )
    element = found[0]
    return Primary(
        href=_href(element, address),
        checksum=_checksum(element, "checksum", address),
        size=_number(element.text.get("size"), address),
        open_checksum=_checksum(element, "open-checksum", address) if "open-checksum" in element.text else None,
        open_size=_number(element.text.get("open-size"), address),
    )


def read_primary(path: Path, primary: Primary, address: str, names: Container[str] | None = None) -> Iterator[Package]:
    """Return the packages that the list at ``path`` (compressed in any way) has: all, or those with one of ``names``.

    An entry with another name is skipped whatever is wrong with it. Raises `Refused` where the list is malformed, too
    large, or not what repomd.xml says of it, and `Incomplete` where the file cannot be read. What was yielded before
    such an error is not to be used.
    """
    limit = MAX_PRIMARY if primary.open_size is None else min(MAX_PRIMARY, primary.open_size)
    try:
        with path.open("rb") as raw:
            expanded = _Checked(decompress.reader(raw, limit=limit, name=address), primary, address)
            for element in _elements(expanded.chunks(), "metadata", "package", _COMMON, address):
                name = element.text.get("name")
                if not name or names is None or name in names:
                    yield _package(element, address)
    except OSError as error:
        raise Incomplete(f"{path} cannot be read: {error.strerror}.", "Check the disk.", reason="not-read") from error


class _Checked:
    """The expanded list, hashed while it is read."""

    def __init__(self, reader: decompress.Reader, primary: Primary, address: str) -> None:
        self._reader = reader
        self._primary = primary
        self._address = address

    def chunks(self) -> Iterator[bytes]:
        algorithm, _, claimed = (self._primary.open_checksum or "sha256:").partition(":")
        digest = hashlib.new(algorithm)
        while chunk := self._reader.read(_BLOCK):
            digest.update(chunk)
            yield chunk
        if claimed and digest.hexdigest() != claimed:
            raise Refused(
                f"{self._address}, expanded, has the {algorithm} digest {digest.hexdigest()}; "
                f"repomd.xml names {claimed}.",
                _ADVICE,
                reason="digest-mismatch",
            )


class _Handler:
    """Collects the children of each ``wanted`` element, which must stand right below ``root``.

    Readers differ in how they treat namespaces, prefixes and repeated or nested children, so an entry that uses one of
    these in what is read here is refused: each reader could see another package.
    """

    def __init__(self, root: str, wanted: str, namespace: str) -> None:
        self.done: list[_Element] = []
        self._root, self._wanted, self._namespace = root, wanted, namespace
        self._element: _Element | None = None
        self._child: str | None = None
        self._parts: list[str] = []
        self._length = 0

    def start(self, name: str, attributes: dict[str, str], depth: int) -> None:
        if depth == 1 and name != self._namespace + self._root:
            raise Malformed(f"it begins with '{name[:80]}'")
        if depth == 2 and self._is(name, self._wanted):
            self._element = _Element(attributes.get("type", ""))
        elif depth > 2 and self._element is not None:
            self._start_child(name, attributes, depth)

    def _start_child(self, name: str, attributes: dict[str, str], depth: int) -> None:
        if self._child is not None:
            raise Malformed(f"'{self._child}' has an element inside")
        child = next((one for one in _CHILDREN if self._is(name, one)), None)
        if child is None or self._element is None:
            return
        if depth > 3:
            raise Malformed(f"'{child}' is inside another element of an entry")
        if child in self._element.attributes:
            raise Malformed(f"an entry has '{child}' twice")
        self._element.attributes[child] = attributes
        self._child, self._parts, self._length = child, [], 0

    def _is(self, name: str, local: str) -> bool:
        """Return whether ``name`` is ``local`` in the document's namespace, without a prefix.

        Readers that ignore namespaces go by what is written, so both must agree.
        """
        address, written = split_name(name)
        ours = name.startswith(self._namespace) and name.split(" ")[1] == local
        if ours != (written == local):
            raise Malformed(f"'{local}' has a prefix, or the namespace '{address[:80]}'")
        return ours

    def text(self, text: str, depth: int) -> None:
        if self._child is None or depth != 3:
            return
        self._length += len(text)
        if self._length > _MAX_TEXT:
            raise Malformed(f"'{self._child}' is longer than {_MAX_TEXT} characters")
        self._parts.append(text)

    def end(self, depth: int) -> None:
        if depth == 3 and self._child is not None and self._element is not None:
            self._element.text[self._child] = "".join(self._parts)
            self._child = None
        elif depth == 2 and self._element is not None:
            self.done.append(self._element)
            self._element = None


def _elements(chunks: Iterator[bytes], root: str, wanted: str, namespace: str, address: str) -> Iterator[_Element]:
    handler = _Handler(root, wanted, namespace)
    try:
        for _ in Parser(handler.start, handler.text, handler.end).parse(chunks):
            yield from handler.done
            handler.done.clear()
    except Malformed as error:
        raise Refused(
            f"{address} is not valid repository metadata: {error}.", _ADVICE, reason="malformed-repodata"
        ) from error


def _package(element: _Element, address: str) -> Package:
    version = element.attributes.get("version", {})
    name, architecture = element.text.get("name", ""), element.text.get("arch", "")
    ver, rel = version.get("ver", ""), version.get("rel", "")
    if element.kind != "rpm":
        raise Refused(
            f"{address} lists '{name[:80]}' as a package of type '{element.kind[:20]}', not 'rpm'.",
            _ADVICE,
            reason="malformed-repodata",
        )
    if not (name and architecture and ver and rel):
        raise Refused(
            f"{address} lists a package without a name, version, release or architecture.",
            _ADVICE,
            reason="malformed-repodata",
        )
    return Package(
        name=name,
        epoch=_number(version.get("epoch", "0"), address) or 0,
        version=ver,
        release=rel,
        architecture=architecture,
        href=_href(element, address),
        checksum=_checksum(element, "checksum", address),
        size=_number(element.attributes.get("size", {}).get("package"), address),
    )


def _checksum(element: _Element, child: str, address: str) -> str:
    algorithm = element.attributes.get(child, {}).get("type", "").lower()
    value = element.text.get(child, "").strip().lower()
    if len(value) != _HEX_DIGITS.get(algorithm) or not _HEX.fullmatch(value):
        raise Refused(
            f"{address} names a file by '{algorithm[:20]}:{value[:130]}', which is not a SHA-256 digest or stronger.",
            "Ask those who run the repository to make it with createrepo_c's default, SHA-256.",
            reason="weak-digest",
        )
    return f"{algorithm}:{value}"


def _href(element: _Element, address: str) -> str:
    location = element.attributes.get("location", {})
    href = location.get("href", "")
    # Servers decode %2e and %2f before they resolve a path.
    parts = unquote(href).split("/")
    outside = not href or ".." in parts or "" in parts or ":" in parts[0]
    if outside or any(one in "\\?#" or not one.isprintable() for one in href):
        raise Refused(
            f"{address} points to '{href[:200]}', which is not inside the repository.", _ADVICE, reason="unsafe-path"
        )
    if any(name.split(" ")[1:2] == ["base"] or name == "base" for name in location):
        raise Refused(
            f"{address} points to another repository (xml:base) for '{href[:200]}'.", _ADVICE, reason="unsafe-path"
        )
    return href


def _number(text: str | None, address: str) -> int | None:
    if text is None:
        return None
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Refused(f"{address} has '{text[:40]}' where a number belongs.", _ADVICE, reason="malformed-repodata")
    return int(text)
