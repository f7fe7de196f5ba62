"""A repository's metadata: repomd.xml, which names the list of packages, and that list, primary.xml.

Format: createrepo_c's (http://linux.duke.edu/metadata/). Both are read as a stream by expat in bounded memory, since
primary.xml of a large repository has hundreds of megabytes; a document type, which no repository has, is refused, and
with it entities. (createrepo_c's own reader wants the expanded file on disk and writes its errors to stderr.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from ..errors import Incomplete, Refused
from ..unpack import decompress

#: Bytes of repomd.xml, and of primary.xml expanded; Fedora's, the largest known, are 10 kB and 200 MB.
MAX_REPOMD = 4 << 20
MAX_PRIMARY = 2 << 30

#: Characters of one value that is kept; digests and names are shorter.
_MAX_TEXT = 4096

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
        element
        for element in _elements(iter([data]), _REPO + "repomd", _REPO + "data", _REPO, address)
        if element.kind == "primary"
    ]
    if len(found) != 1:
        raise Refused(f"{address} names {len(found)} lists of packages (primary).", _ADVICE)
    element = found[0]
    return Primary(
        href=_href(element, address),
        checksum=_checksum(element, "checksum", address),
        size=_number(element.text.get("size"), address),
        open_checksum=_checksum(element, "open-checksum", address) if "open-checksum" in element.text else None,
        open_size=_number(element.text.get("open-size"), address),
    )


def read_primary(path: Path, primary: Primary, address: str) -> Iterator[Package]:
    """Give each package that the list at ``path`` (compressed in any way) has.

    Raises `Refused` where it is malformed, too large, or not what repomd.xml says of it, and `Incomplete` where the
    file cannot be read. What was given before such an error is not to be used.
    """
    limit = MAX_PRIMARY if primary.open_size is None else min(MAX_PRIMARY, primary.open_size)
    try:
        with path.open("rb") as raw:
            expanded = _Checked(decompress.reader(raw, limit=limit, name=address), primary, address)
            for element in _elements(expanded.chunks(), _COMMON + "metadata", _COMMON + "package", _COMMON, address):
                yield _package(element, address)
    except OSError as error:
        raise Incomplete(f"{path} cannot be read: {error.strerror}.", "Check the disk.") from error


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
            )


class _Handler:
    """Collects the children of each ``wanted`` element, which must stand right below ``root``."""

    def __init__(self, root: str, wanted: str, namespace: str, refuse: Callable[[str], Refused]) -> None:
        self.done: list[_Element] = []
        self._root, self._wanted, self._namespace = root, wanted, namespace
        self._refuse = refuse
        self._depth = 0
        self._element: _Element | None = None
        self._child: str | None = None
        self._parts: list[str] = []
        self._length = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth == 1 and name != self._root:
            raise self._refuse(f"it begins with '{name[:80]}'")
        if self._depth == 2 and name == self._wanted:
            self._element = _Element(attributes.get("type", ""))
        elif self._depth == 3 and self._element is not None and name.startswith(self._namespace):
            self._child = name.removeprefix(self._namespace)
            # A second element of a name would make two readers see two packages.
            if self._child in self._element.attributes:
                raise self._refuse(f"an entry has '{self._child[:80]}' twice")
            self._element.attributes[self._child] = attributes
            self._parts, self._length = [], 0

    def characters(self, text: str) -> None:
        if self._depth == 3 and self._child is not None and self._length < _MAX_TEXT:
            self._parts.append(text[: _MAX_TEXT - self._length])
            self._length += len(text)

    def end(self, _: str) -> None:
        if self._depth == 3 and self._child is not None and self._element is not None:
            self._element.text[self._child] = "".join(self._parts).strip()
            self._child = None
        elif self._depth == 2 and self._element is not None:
            self.done.append(self._element)
            self._element = None
        self._depth -= 1

    def doctype(self, *_: object) -> None:
        raise self._refuse("it has a document type")


def _elements(chunks: Iterator[bytes], root: str, wanted: str, namespace: str, address: str) -> Iterator[_Element]:
    def refuse(why: str) -> Refused:
        return Refused(f"{address} is not valid repository metadata: {why}.", _ADVICE)

    handler = _Handler(root, wanted, namespace, refuse)
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = handler.start
    parser.EndElementHandler = handler.end
    parser.CharacterDataHandler = handler.characters
    parser.StartDoctypeDeclHandler = handler.doctype
    try:
        for chunk in chunks:
            parser.Parse(chunk, False)
            yield from handler.done
            handler.done.clear()
        parser.Parse(b"", True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        # The latter two: an encoding that Python does not know, or that is no encoding of text.
        raise refuse(str(error)) from error
    yield from handler.done


def _package(element: _Element, address: str) -> Package:
    version = element.attributes.get("version", {})
    name, architecture = element.text.get("name", ""), element.text.get("arch", "")
    ver, rel = version.get("ver", ""), version.get("rel", "")
    if not (name and architecture and ver and rel):
        raise Refused(f"{address} lists a package without a name, version, release or architecture.", _ADVICE)
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
    value = element.text.get(child, "").lower()
    if algorithm not in ("sha256", "sha384", "sha512") or not value:
        raise Refused(
            f"{address} names a file by '{algorithm[:20]}:{value[:130]}', which is no SHA-256 digest or stronger.",
            "Ask those who run the repository to make it with createrepo_c's default, SHA-256.",
        )
    return f"{algorithm}:{value}"


def _href(element: _Element, address: str) -> str:
    location = element.attributes.get("location", {})
    href = location.get("href", "")
    parts = href.split("/")
    if not href or ".." in parts or "" in parts or ":" in parts[0] or "\\" in href or "?" in href or "#" in href:
        raise Refused(f"{address} points to '{href[:200]}', which is not inside the repository.", _ADVICE)
    if "http://www.w3.org/XML/1998/namespace base" in location:
        raise Refused(f"{address} points to another repository (xml:base) for '{href[:200]}'.", _ADVICE)
    return href


def _number(text: str | None, address: str) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Refused(f"{address} has '{text[:40]}' for a number.", _ADVICE)
    return int(text)
