"""Stream the members of a ZIP archive, and refuse one that two readers could understand differently.

Some readers follow the central directory at the end (unzip, Python, Go), others the local headers from the start
(bsdtar from a pipe). So the two must agree, and the file must hold nothing beside what they describe: from the first
local header on, headers, data and descriptors follow one another without gap or overlap up to the central directory,
and that is followed by one end record. Before the first header a program may stand that unpacks the archive. (The
standard library's `zipfile` checks none of this, and takes the last of two members with the same name.)
"""

from __future__ import annotations

import io
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

from ..errors import Refused
from . import zipfields
from .decompress import Compression, lzma_of, reader
from .embedded import Embedded, is_script
from .limits import DEFAULT, Limits, spend
from .member import Content, Damaged, Item, Member, Rejected, Unread
from .paths import is_target, normalise, shown
from .zipfields import Entry, Malformed

#: Last bytes of a file in which the end record is looked for: the record and its longest comment.
TAIL = zipfields.END_SIZE + 0xFFFF

#: Compression methods (APPNOTE 4.4.5); the last three hold a whole stream of their format.
_STORED, _DEFLATED, _LZMA = 0, 8, 14
#: What LZMA data needs to be read: its parameters and dictionary's size.
_LZMA_PROPERTIES = 5
_STREAMS: dict[int, Compression] = {12: "bzip2", 93: "zstd", 95: "xz"}

#: Bytes of central directory that are read: 500,000 entries with names of 200 bytes.
_MAX_DIRECTORY = 128 << 20
#: Types that a member may have, and none.
_TYPES = (0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)
_INPUT = 256 << 10
_OUTPUT = 1 << 20
#: Linux's PATH_MAX: a target cannot be longer.
_MAX_TARGET = 4095

_ADVICE = "Do not use this archive; ask those who publish it."


def is_archive(head: bytes, tail: bytes, size: int) -> bool:
    """Return whether a file of ``size`` bytes that begins with ``head`` and ends with ``tail`` is a ZIP archive.

    It is one to some reader by its first bytes, or by an end record in its last ones, behind any other data.
    """
    if head[:4] in (zipfields.LOCAL, zipfields.END, zipfields.DESCRIPTOR) or head[:8] == b"PK00" + zipfields.LOCAL:
        return True
    if not size or zipfields.END not in tail:
        return False
    return zipfields.end_of(tail, size) is not None or _has_directory(tail, size)


def ends_as_archive(tail: bytes, size: int) -> bool:
    """Return whether the last bytes of a file are exactly an end record: it is an archive whatever it begins with."""
    return zipfields.END in tail and zipfields.end_of(tail, size) is not None


def _has_directory(tail: bytes, size: int) -> bool:
    """Return whether an end record that is not at the very end has its central directory in front of it.

    unzip and Python take such a file for an archive with extra bytes at its end.
    """
    return any(True for _ in directories(tail, size))


def directories(tail: bytes, size: int) -> Iterator[tuple[int, int]]:
    """Yield where in a file a central directory begins and its end record ends, for each in its last bytes, ``tail``.

    Where the directory is longer than ``tail``, its size alone decides; where its size is in a 64-bit record, the
    directory is not looked for, and begins with that record.
    """
    before = size - len(tail)
    at = tail.rfind(zipfields.END)
    while at >= 0:
        end = before + at + zipfields.END_SIZE
        if at + zipfields.END_SIZE <= len(tail):
            entries, length = zipfields.claims(tail, at)
            start = at - length
            there = tail[start : start + 4] == zipfields.CENTRAL if start >= 0 else length <= before + at
            if entries and length >= entries * zipfields.CENTRAL_SIZE and there:
                yield before + start, end
            elif tail[max(at - zipfields.LOCATOR64_SIZE, 0) : at].startswith(zipfields.LOCATOR64):
                yield max(before + at - zipfields.LOCATOR64_SIZE - zipfields.END64_SIZE, 0), end
        at = tail.rfind(zipfields.END, 0, at)


def first_local(file: BinaryIO, start: int, end: int) -> int:
    """Return where the first local header is that unzip reads for a central directory, ``start`` where there is none.

    ``start`` and ``end`` are as `directories` yields them. Offsets count from where the directory would be by its end
    record, as for an archive behind other data, or from the beginning of the file. Of a directory with an entry that
    strict readers refuse nothing is looked for, and of a long one the first megabyte counts.
    """
    offset = int.from_bytes(_at(file, end - 6, 4), "little")
    record = _at(file, start, zipfields.END64_SIZE)
    if record.startswith(zipfields.END64):
        size, offset = (int.from_bytes(record[at : at + 8], "little") for at in (40, 48))
        start -= min(size, start)
    data = _at(file, start, min(end - start, _OUTPUT))
    first, at, moved = start, 0, start - offset
    try:
        while data[at : at + 4] == zipfields.CENTRAL:
            entry, at = zipfields.read_entry(data, at)
            for place in (entry.offset + moved, entry.offset):
                if 0 <= place < first and _at(file, place, 4) == zipfields.LOCAL:
                    first = place
    except Malformed:
        return start
    return first


def read_members(file: BinaryIO, name: str, limits: Limits = DEFAULT) -> Iterator[Item]:
    """Yield the members of the archive ``file``, which must be seekable, in the order of their data.

    What cannot be expanded is yielded as `Unread`, a name that readers take differently as `Rejected`; reading content
    raises `Damaged`, and the next member can be asked for all the same. Raises `Refused`, naming the member, where
    readers could see different members, and for more members or bytes than ``limits`` allow.
    """
    try:
        entries, base, directory = _directory(file, limits)
    except Malformed as error:
        raise Refused(f"{name} is not a valid ZIP archive: {error}.", _ADVICE, reason="damaged-archive") from error
    paths = _paths(entries, name)
    position = entries[0].offset + base if entries else directory
    _check_before(file, position, name)
    behind_script = bool(position) and is_script(_at(file, 0, min(position, _OUTPUT)))
    expanded = 0
    for entry in entries:
        path, start = paths[entry.offset], position
        called = path if isinstance(path, str) else os.fsdecode(entry.name)
        try:
            if entry.offset + base != position:
                raise Malformed("it overlaps another, or there is a gap before it")
            data, width = _local(file, position, entry, directory)
            expanded += entry.size
            if expanded > limits.expanded:
                raise Malformed(f"it takes the archive beyond {limits.expanded} bytes")
            position = data + entry.compressed
            reason = _unreadable(entry)
            if isinstance(path, Refused):
                yield Rejected(path)
            elif reason is None:
                yield from _member(_Data(file, data, entry, _called(name, path)), entry, path)
            else:
                yield Unread(path, *reason)
            position += _descriptor(file, position, entry, width, readable=reason is None)
            if behind_script and isinstance(path, str):
                opened = data - start if entry.method == _STORED else -1
                yield from _carried(_Window(file, start, position - start), path, opened)
        except Malformed as error:
            raise Refused(
                f"{name}: {shown(called)} is not a valid ZIP member: {error}.", _ADVICE, reason="damaged-archive"
            ) from error
    if position != directory:
        raise Refused(
            f"{name} is not a valid ZIP archive: something is between its members and its directory.",
            _ADVICE,
            reason="ambiguous-archive",
        )
    if behind_script:
        yield from _carried(_Window(file, directory, file.seek(0, os.SEEK_END) - directory), "/", -1)


def _carried(stored: _Window, path: str, opened: int) -> Iterator[Unread]:
    """Yield what is in the bytes of an entry, as they are stored, for the script in front of an archive to cut off.

    ``opened`` is where in them the content of the entry begins, if it is stored as it is.
    """
    embedded = Embedded("ZIP member", opened=opened)
    while piece := stored.read(_OUTPUT):
        embedded.show(piece)
    kind = embedded.finish()
    if kind is not None:
        yield Unread(path, kind, "the script in front of the archive may run it, and it is not inspected")


def _check_before(file: BinaryIO, position: int, name: str) -> None:
    """Refuse an archive whose first bytes, which unpack or run it, carry something else as well."""
    embedded, before = Embedded(), _Window(file, 0, position)
    while data := before.read(_OUTPUT):
        embedded.show(data)
    kind = embedded.finish()
    if kind is not None:
        raise Refused(
            f"{name} is a ZIP archive and, in front of its members, a {kind}.", _ADVICE, reason="ambiguous-archive"
        )


def _called(name: str, path: str) -> str:
    return f"{name}: {shown(path)}"


def _directory(file: BinaryIO, limits: Limits) -> tuple[list[Entry], int, int]:
    """Read the central directory: its entries by offset, what to add to each offset, and where it begins."""
    size = file.seek(0, os.SEEK_END)
    tail = _at(file, max(size - TAIL, 0), TAIL)
    position = zipfields.end_of(tail, size, padded=True)
    if position is None:
        raise Malformed("no end record is at its end")
    before = zipfields.END64_SIZE + zipfields.LOCATOR64_SIZE
    end = zipfields.read_end(
        _at(file, position, size - position), position, _at(file, max(position - before, 0), min(before, position))
    )
    start = end.starts - end.size
    base = start - end.offset
    if start < 0 or base < 0 or end.size > _MAX_DIRECTORY:
        raise Malformed("its central directory is not where its end record says")
    if base and _at(file, end.offset, 4) == zipfields.CENTRAL:
        raise Malformed("it has two central directories")
    if end.entries > limits.members:
        raise Malformed(f"it has more than {limits.members} members")
    data = _at(file, start, end.size)
    entries, at = [], 0
    for _ in range(end.entries):
        entry, at = zipfields.read_entry(data, at)
        entries.append(entry)
    if at != len(data):
        raise Malformed("its central directory and the number of its entries differ")
    entries.sort(key=lambda entry: entry.offset)
    if len({entry.offset for entry in entries}) != len(entries):
        raise Malformed("two of its entries have the same data")
    first = entries[0].offset + base if entries else start
    if first and _at(file, 0, 2) == b"PK":
        # Who reads from the start would find other members than who reads from the end.
        raise Malformed("there is something else before its first member")
    return entries, base, start


def _paths(entries: list[Entry], name: str) -> dict[int, str | Refused]:
    """Return the path of each entry, by its offset, or why readers take its name differently."""
    found: dict[int, str | Refused] = {}
    taken: dict[str, bool] = {}
    for entry in entries:
        text = entry.name.decode("utf-8", "surrogateescape")
        try:
            path = normalise(text, "/", name)
        except Refused as error:
            found[entry.offset] = error
            continue
        found[entry.offset] = path
        # unzip and bsdtar take a backslash for a separator where an archive seems to come from Windows.
        if "\\" in text or text.startswith("/") or (path == "/" and not entry.is_directory):
            found[entry.offset] = Refused(
                f"{name}: {shown(text)} is a name that readers take differently.", _ADVICE, reason="ambiguous-archive"
            )
        elif path in taken and not (taken[path] and entry.is_directory):
            found[entry.offset] = Refused(f"{name} has {shown(path)} twice.", _ADVICE, reason="ambiguous-archive")
        taken[path] = entry.is_directory
    return found


def _local(file: BinaryIO, position: int, entry: Entry, directory: int) -> tuple[int, int]:
    """Check the local header at ``position``; return where the data begins, and how wide a descriptor's sizes are."""
    header = _at(file, position, zipfields.LOCAL_SIZE)
    length, _ = zipfields.check_local(header, entry)
    width = zipfields.check_local_sizes(header, _at(file, position + zipfields.LOCAL_SIZE, length), entry)
    data = position + zipfields.LOCAL_SIZE + length
    if data + entry.compressed > directory:
        raise Malformed("it reaches into the central directory")
    return data, width


def _descriptor(file: BinaryIO, position: int, entry: Entry, width: int, *, readable: bool) -> int:
    """Check the descriptor at ``position``, if there must be one; return how long it is."""
    if not entry.flags & zipfields.DESCRIBED:
        return 0
    forms = zipfields.descriptors(entry, width)
    there = _at(file, position, max(map(len, forms)))
    form = next((form for form in forms if there.startswith(form)), None)
    if form is None:
        raise Malformed("its data descriptor and the central directory differ" if readable else "it has no descriptor")
    return len(form)


def _unreadable(entry: Entry) -> tuple[str, str] | None:
    """Return format and reason if the content of ``entry`` cannot be read."""
    if entry.flags & (zipfields.ENCRYPTED | zipfields.STRONG | zipfields.MASKED):
        return "encrypted ZIP member", "it is encrypted"
    if entry.method not in (_STORED, _DEFLATED, _LZMA, *_STREAMS):
        return "ZIP member", f"its compression method {entry.method} is not supported"
    return None


def _member(data: _Data, entry: Entry, path: str) -> Iterator[Member | Unread]:
    mode = stat.S_IMODE(entry.unix_mode)
    if stat.S_IFMT(entry.unix_mode) not in _TYPES and not entry.size:
        yield Member(path, "special", mode, 0)
    elif entry.is_directory:
        if entry.size:
            raise Malformed("it is a directory with content")
        yield Member(path, "directory", mode, 0)
    elif stat.S_ISLNK(entry.unix_mode):
        # unzip makes a link of it and Python a file, so the content must not be a program.
        target = data.read().decode("utf-8", "surrogateescape") if entry.size <= _MAX_TARGET else ""
        if not is_target(target):
            yield Unread(path, "ZIP member", "it is a link with a target that no link can have")
            return
        yield Member(path, "symlink", mode, 0, target)
    else:
        # Also a FIFO with content, as `zip` writes what it reads from a pipe: unpackers make a file of it, or nothing.
        yield Member(path, "file", mode, entry.size, content=data)
        if data.damaged:
            return  # reported when it was read
    data.finish()


class _Data:
    """A member's expanded bytes, with size and checksum verified at their end."""

    def __init__(self, file: BinaryIO, position: int, entry: Entry, name: str) -> None:
        self._entry = entry
        self._name = name
        self._left, self._crc, self._ended = entry.size, 0, False
        self._last = b""
        self.damaged = False
        raw = _Window(file, position, entry.compressed)
        self._raw = raw
        self._read = _expander(raw, entry, name)

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, none at the end. Raises `Damaged`."""
        if size < 0:
            parts = []
            while part := self.read(_OUTPUT):
                parts.append(part)
            return b"".join(parts)
        try:
            return self._piece(min(size, _OUTPUT))
        except Malformed as error:
            self.damaged = True
            raise Damaged(f"{self._name} is not a valid ZIP member: {error}.", _ADVICE) from error
        except Refused as error:  # of a compression that is a format of its own
            self.damaged = True
            raise Damaged(error.message, error.advice, error.reason) from error

    def _piece(self, size: int) -> bytes:
        data = self._read(size) if size else b""
        self._left -= len(data)
        if self._left < 0:
            raise Malformed("it is longer than its header says")
        self._crc = zlib.crc32(data, self._crc)
        self._search(data)
        if size and not data and not self._ended:
            self._ended = True
            if self._left or self._crc != self._entry.crc or self._raw.left:
                raise Malformed("its content does not have the size or checksum that its header says")
        return data

    def _search(self, data: bytes) -> None:
        """Refuse a stored member with a descriptor that has another one within: nothing else marks where it ends."""
        if self._entry.method == _STORED and self._entry.flags & zipfields.DESCRIBED:
            if zipfields.DESCRIPTOR in self._last + data:
                raise Malformed("it is stored, and a descriptor is in the middle of it")
            self._last = (self._last + data)[-3:]

    def finish(self) -> None:
        """Read what was not read yet."""
        while self.read(_OUTPUT):
            pass


class _Window:
    """The compressed bytes of one member."""

    def __init__(self, file: BinaryIO, position: int, size: int) -> None:
        self._file = file
        self._position = position
        self.left = size

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, none at the end."""
        size = self.left if size < 0 else min(size, self.left)
        self._file.seek(self._position)
        data = self._file.read(size)
        if len(data) < size:
            raise Malformed("it ends too early")
        self._position += size
        self.left -= size
        return data


def _expander(raw: _Window, entry: Entry, name: str) -> Callable[[int], bytes]:
    if entry.method == _STORED:
        return lambda size: _spent(raw.read(size))
    if entry.method == _DEFLATED:
        return _Inflater(raw).read
    if entry.method == _LZMA:
        return lzma_of(raw, _lzma_header(raw, entry), limit=entry.size, name=name).read
    head = raw.read(min(raw.left, 1 << 10))
    stream = reader(_Rest(head, raw), limit=entry.size, name=name)
    if stream.compression != _STREAMS[entry.method]:
        raise Malformed("its content is not compressed as its header says")
    return stream.read


def _lzma_header(raw: _Window, entry: Entry) -> bytes:
    """Read the header of a member's LZMA data (APPNOTE 5.8.8); return it as that of the .lzma format."""
    start = raw.read(min(raw.left, 4))
    size = int.from_bytes(start[2:], "little")
    properties = raw.read(min(raw.left, size))
    if len(start) < 4 or size != _LZMA_PROPERTIES or len(properties) < size:
        raise Malformed("its content is not compressed as its header says")
    # Data that ends with a mark has no size.
    return properties + (b"\xff" * 8 if entry.flags & zipfields.MARKED else entry.size.to_bytes(8, "little"))


class _Rest:
    """Compressed bytes of which some were read already."""

    def __init__(self, head: bytes, raw: Content) -> None:
        self._head, self._raw = io.BytesIO(head), raw

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, none at the end."""
        return self._head.read(size) or self._raw.read(size)


class _Inflater:
    """Raw deflate (RFC 1951), in bounded pieces; the stream must fill its window exactly."""

    def __init__(self, raw: _Window) -> None:
        self._raw = raw
        self._stream = zlib.decompressobj(wbits=-15)

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes, none at the end."""
        while not self._stream.eof:
            data = self._stream.unconsumed_tail or self._raw.read(_INPUT)
            try:
                expanded = self._stream.decompress(data, size)
            except zlib.error as error:
                raise Malformed(f"its compressed data is damaged ({error})") from error
            if expanded:
                return _spent(expanded)
            if not data and not self._stream.eof:
                raise Malformed("its compressed data ends too early")
        if self._stream.unused_data:
            raise Malformed("something follows its compressed data")
        return b""


def _spent(data: bytes) -> bytes:
    spend(len(data))
    return data


def _at(file: BinaryIO, position: int, size: int) -> bytes:
    file.seek(position)
    return file.read(size)
