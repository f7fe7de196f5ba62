"""Stream the members of an ar archive: Debian packages (deb(5)), and static libraries.

Formats: ar(5), with the long names of GNU (a table named ``//``) and BSD (``#1/LENGTH``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..errors import Refused
from .limits import DEFAULT, Limits, spend
from .member import Content, Member, Rejected
from .paths import normalise, shown

MAGIC = b"!<arch>\n"

_HEADER = 60
_END = b"`\n"
_NUMBER = re.compile(rb"[0-9]+ *\Z")
_OCTAL = re.compile(rb"[0-7]+ *\Z")
_LONG_GNU = re.compile(rb"/([0-9]+)\Z")
_LONG_BSD = re.compile(rb"#1/([0-9]+)\Z")
#: GNU's tables of symbols, which no tool unpacks. (BSD's is a member to others.)
_TABLES = (b"/", b"/SYM64/")
#: Tables come first, each once: where one comes later, tools differ on what it is.
_ORDER = {b"/": 1, b"/SYM64/": 1, b"//": 2}
#: The longest table of names that is read, bytes.
_MAX_NAMES = 16 << 20
_PIECE = 1 << 20

_ADVICE = "Do not use this archive; ask those who publish it."


def read_members(file: Content, name: str, limits: Limits = DEFAULT) -> Iterator[Member | Rejected]:
    """Yield the members of the archive ``file``; a name that is there twice is yielded twice.

    One whose name tools read differently is yielded as `Rejected`, since its header says where the next one begins.
    Raises `Refused` for a damaged archive and one with more members or bytes than ``limits`` allow.
    """
    if file.read(len(MAGIC)) != MAGIC:
        raise _malformed(name, "it begins with something else")
    names = b""
    order = seen = expanded = 0
    while header := file.read(_HEADER):
        if len(header) < _HEADER or header[58:60] != _END or not _NUMBER.match(header[48:58]):
            raise _malformed(name, "a header is damaged")
        size = int(header[48:58])
        seen += 1
        expanded += _HEADER + size
        if seen > limits.members or expanded > limits.expanded:
            raise _malformed(name, f"it has more than {limits.members} members or {limits.expanded} bytes")
        body = _Body(file, size, name)
        field = header[:16].rstrip(b" ")
        place = _ORDER.get(field, 3)
        if place <= order < 3 or place < order or (field == b"//" and size > _MAX_NAMES):
            raise _malformed(name, "a table is not where it must be, or is too long")
        order = place
        if field == b"//":
            names = body.read()
        else:
            try:
                text = _name(field, names, body, name)
                path = normalise(text.decode("utf-8", "surrogateescape"), "/", name)
                mode = int(header[40:48], 8) & 0o7777 if _OCTAL.match(header[40:48]) else 0
                item: Member | Rejected = Member(path, "file", mode, body.left, content=body)
            except Refused as error:
                item = Rejected(error)
            if field not in _TABLES:
                yield item
        body.finish()
        if size % 2 and file.read(1) not in (b"\n", b"", b"\0", b" "):
            raise _malformed(name, "its padding is damaged")


def _name(field: bytes, names: bytes, body: _Body, archive: str) -> bytes:
    """Return a member's name, from wherever its header says that it is."""
    if found := _LONG_GNU.match(field):
        at = int(found[1])
        end = names.find(b"\n", at)
        if at >= len(names) or end < 0:
            raise _malformed(archive, "a name is not in its table of names")
        return names[at:end].removesuffix(b"/")
    if found := _LONG_BSD.match(field):
        length = int(found[1])
        if length > min(body.left, 4096):
            raise _malformed(archive, "a name is longer than its member")
        return body.read(length).rstrip(b"\0")
    text = field if field in _TABLES else field.removesuffix(b"/")
    # Some tools end a short name at the first blank or slash.
    if not text or b" " in text or (b"/" in text and text not in _TABLES):
        raise _malformed(archive, f"{shown(field.decode('utf-8', 'replace'))} is not a valid name")
    return text


class _Body:
    """A member's bytes."""

    def __init__(self, file: Content, size: int, archive: str) -> None:
        self._file = file
        self.left = size
        self._archive = archive

    def read(self, size: int = -1, /) -> bytes:
        """Return ``size`` bytes, fewer only at the end."""
        size = self.left if size < 0 else min(size, self.left)
        data = self._file.read(size) if size else b""
        if len(data) < size:
            raise _malformed(self._archive, "it ends too early")
        self.left -= size
        spend(size)
        return data

    def finish(self) -> None:
        """Skip what was not read."""
        while self.left:
            self.read(_PIECE)


def _malformed(name: str, why: str) -> Refused:
    return Refused(f"{name} is not a valid ar archive: {why}.", _ADVICE, reason="damaged-archive")
