"""Identify what a path on this disk is by its content, and read what is in it."""

from __future__ import annotations

import io
import json
import logging
import re
import stat
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Literal

from ..errors import Incomplete, Refused, UsageError
from . import ar, compressed, cpio, cpioarchive, directory, rpm, signatures, tar, tarsparse
from . import zip as zips
from .decompress import TooDemanding, compression_of, reader
from .limits import DEFAULT, Limits
from .member import Content, Item, Joined, Member
from .tarheader import BLOCK

_log = logging.getLogger(__name__)

Kind = Literal["file", "directory", "rpm", "tar", "image-archive", "zip", "ar", "cpio", "compressed", "unopened"]

#: The lead of an RPM (RPM V4 package format, "Lead").
_RPM = b"\xed\xab\xee\xdb"

#: The magic of a skippable frame behind its first byte, which can be one of sixteen (RFC 8878).
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"

#: Bytes of a compressed file's content that are searched at once.
_PIECE = 1 << 20

#: Bytes in front of the end of an archive that are compared. Compression stores at most 128 KiB as they are in a block
#: (zstd, RFC 8878), so only an RPM without compression has more, and there the content is the same.
_MAX_STORED = 16 << 20

#: Central directories in the last bytes of a file that are compared; compressed data has one by chance alone.
_MAX_DIRECTORIES = 16

#: First and last bytes of a file that show what it is.
_HEAD, _TAIL = max(signatures.HEAD, cpio.HEAD, BLOCK), max(signatures.TAIL, zips.TAIL)

#: What the members of an image archive are called, in any of its forms: ``docker save`` old and new, OCI layout.
_IMAGE_NAMES = re.compile(
    r"/(oci-layout|index\.json|manifest\.json|repositories|blobs(/.*)?|[0-9a-f]{64}(\.json|\.tar|/.*)?)"
)

#: Bytes of a document of an image archive that are read.
MAX_IMAGE_DOCUMENT = 16 << 20

_NAMES: Mapping[Kind, str] = {
    "rpm": "an RPM",
    "tar": "a tar archive",
    "ar": "an ar archive",
    "cpio": "a cpio archive",
    "compressed": "a compressed file",
    "zip": "a ZIP archive",
}


def kind_of(path: Path) -> Kind:
    """Return what ``path`` is; ``unopened`` for a format that can hold programs and that is not opened here.

    A compressed tar is a ``tar``, any other compressed file is ``compressed``. Raises `UsageError` for a path that is
    not there or is a device, FIFO or socket, `Incomplete` where it cannot be read, `Refused` for a file that is of two
    kinds at once, so that two tools would find different things in it.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return "image-archive" if _is_layout(path) else "directory"
        if not stat.S_ISREG(mode):
            raise UsageError(f"{path} is neither a file nor a directory.", "Name a file or a directory.")
        with path.open("rb") as file:
            head, tail, size = _edges(file)
            kind = _outer_kind(head, tail, size)
            _refuse_two_kinds(path, kind, head, tail, size)
            if kind == "compressed":
                file.seek(0)
                kind = _inner_kind(file, path.name) or _outer_kind(head, tail, size, lzma=False)
        return _kind_of_tar(path) if kind == "tar" else kind
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist.", "Correct the path.") from error
    except OSError as error:
        raise Incomplete(
            f"{path} cannot be read: {error.strerror}.", "Check its permissions.", reason="not-read"
        ) from error


def _is_layout(directory: Path) -> bool:
    """Return whether a directory is an OCI layout (image-layout.md), or one of skopeo's ``dir:``.

    Some tools read a layout without its ``oci-layout``, and all a ``dir:`` without its ``version``.
    """
    index, manifest = directory / "index.json", directory / "manifest.json"
    if not index.is_file():
        if not manifest.is_file():
            return False
        with manifest.open("rb") as file:
            data = file.read(MAX_IMAGE_DOCUMENT)
        return data.lstrip()[:1] == b"{" and may_describe_images(data)
    if (directory / "oci-layout").is_file():
        return True
    with index.open("rb") as file:
        return (directory / "blobs").is_dir() and may_describe_images(file.read(MAX_IMAGE_DOCUMENT))


def format_of(path: Path) -> str:
    """Return the name of the format of a path whose `kind_of` is ``unopened``. Raises `Incomplete`."""
    try:
        with path.open("rb") as file:
            head, tail, _ = _edges(file)
    except OSError as error:
        raise Incomplete(
            f"{path} cannot be read: {error.strerror}.", "Check its permissions.", reason="not-read"
        ) from error
    return signatures.format_of(head, tail) or "an unknown format"


def may_hold_members(path: Path) -> bool:
    """Return whether, by its first and last bytes alone, ``path`` can be a container; `kind_of` knows.

    Raises `Incomplete` where it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return _outer_kind(*_edges(file)) != "file"
    except OSError as error:
        raise Incomplete(
            f"{path} cannot be read: {error.strerror}.", "Check its permissions.", reason="not-read"
        ) from error


def holds_members(first: bytes, *, whole: bool) -> bool:
    """Return whether a file is a container, by its first bytes, a megabyte or the ``whole``.

    A part of a file may not show it: then the result is true if it can be one, and `kind_of` decides. What only a
    file's last bytes show is for `unopened_format`.
    """
    tail, size = (first[-_TAIL:], len(first)) if whole else (b"", 0)
    return _outer_kind(first[:_HEAD], tail, size) not in ("file", "unopened")


def unopened_format(first: bytes, tail: bytes, size: int) -> str | None:
    """Return the name of the format of a file that can hold programs and that is not opened here; None for any other.

    ``first`` and ``tail`` are its first megabyte and last bytes (`TAIL`), ``size`` its size. A ZIP archive behind other
    data is such a file where ``first`` does not show that it is one.
    """
    kind = _outer_kind(first[:_HEAD], tail, size)
    if kind == "unopened":
        return signatures.format_of(first[:_HEAD], tail)
    return "ZIP archive behind other data" if kind == "zip" else None


#: Last bytes of a file that `unopened_format` wants.
TAIL = _TAIL


def _edges(file: BinaryIO) -> tuple[bytes, bytes, int]:
    """Return first and last bytes of a file, and its size."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(_HEAD)
    file.seek(max(size - _TAIL, 0))
    return head, file.read(_TAIL), size


def may_describe_images(data: bytes) -> bool:
    """Return whether a tool may take a document for the ``index.json`` or ``manifest.json`` of an image archive.

    As Go reads JSON: the first value counts, whatever follows it, and keys count in any case.
    """
    text = data.decode("utf-8", "replace").lstrip(" \t\r\n")
    try:
        document: object = json.JSONDecoder().raw_decode(text)[0] if text[:1] in ("{", "[") else None
    except json.JSONDecodeError:
        return False
    except (ValueError, RecursionError):
        # Larger or deeper than Python reads.
        return True
    if isinstance(document, dict):
        keys = {key.casefold() for key in document}
        # The second is what skopeo's dir: has.
        return "manifests" in keys or keys >= {"schemaversion", "config", "layers"}
    entries = document if isinstance(document, list) else ()
    keys = {key.casefold() for entry in entries if isinstance(entry, dict) for key in entry}
    return bool(keys & {"config", "layers"})


def _outer_kind(head: bytes, tail: bytes, size: int, *, lzma: bool = True) -> Kind:
    """Return what a file is by its first and last bytes; without ``lzma``, that compression is not considered."""
    if tar.is_header(head[:BLOCK]):
        # Before any compression, as unpackers do: the first member's name may begin as compressed bytes do.
        return "tar"
    if compression_of(head) not in ("none", "" if lzma else "lzma"):
        return "compressed"
    kind = _kind_by_magic(head)
    if kind is not None:
        return kind
    if signatures.format_of(head, tail):
        return "unopened"
    return "zip" if zips.is_archive(head, tail, size) else "file"


def _kind_by_magic(head: bytes) -> Kind | None:
    if head.startswith(_RPM):
        return "rpm"
    if cpio.is_archive(head[: cpio.HEAD]):
        return "cpio"
    return "ar" if head.startswith(ar.MAGIC) else None


def _refuse_two_kinds(path: Path, kind: Kind, head: bytes, tail: bytes, size: int) -> None:
    other = signatures.format_of(head, tail) if kind != "unopened" else None
    if other is None and _begins_as_script(kind, head):
        other = "a script"
    if other is None and kind == "tar":
        # The first member's name, which can be any bytes, and what is behind it may be another archive's header.
        also: Kind | None = "zip" if zips.is_archive(head, b"", 0) else _kind_by_magic(head)
        other = also and _NAMES[also]
    if other is None and kind != "zip":
        found = zips.ends_as_archive(tail, size) or _has_zip_across(path, kind, tail, size)
        found = found or (kind in ("compressed", "rpm") and _has_zip_beside_content(path, kind, tail, size))
        other = _NAMES["zip"] if found else None
    if other is not None and kind in _NAMES:
        raise Refused(
            f"{path.name} is {_NAMES[kind]} and, to other tools, something else as well: {other}.",
            "Do not use it; ask those who publish it.",
            reason="ambiguous-archive",
        )


def _begins_as_script(kind: Kind, head: bytes) -> bool:
    """Return whether a kernel or shell runs an archive as a script, by the first member's name or what readers skip.

    Its lines can cut off any part of it and run that. A kernel wants ``#!``; shells want a line without a NUL. Some
    numbers are in front of the text that the writer is free to choose, and may have the byte of a newline.
    """
    start = 0
    if kind == "compressed" and compression_of(head) == "gzip":
        # RFC 1952: an extra field, behind its length, and the name and comment.
        flags = int.from_bytes(head[3:4], "big")
        start = 12 if flags & 4 else 10 if flags & 0x18 else len(head)
    elif kind == "compressed":
        # RFC 8878: a skippable frame, behind its size.
        start = 8 if head[1:4] == _ZSTD_SKIPPABLE else len(head)
    elif kind != "tar" and not (kind == "cpio" and head.startswith(b"0707")):
        return False
    return head.startswith(b"#!") or b"\n" in head.partition(b"\0")[0][start:]


def _has_zip_across(path: Path, kind: Kind, tail: bytes, size: int) -> bool:
    """Return whether unzip finds an archive in a file of another ``kind`` that is not in one of its members.

    One that is in a member is found when that is inspected.
    """
    found = list(zips.directories(tail, size)) if kind in ("tar", "ar", "cpio") else []
    if not found:
        return False
    try:
        with path.open("rb") as file:
            # In the order of the file, and apart from one another.
            starts, ends = zip(*[(0, 0), *_spans(file, kind, path.name)], strict=True)
    except Refused:  # reported when its members are read
        return False
    return any(last > ends[bisect_right(starts, first) - 1] for first, last in found)


def _has_zip_beside_content(path: Path, kind: Kind, tail: bytes, size: int) -> bool:
    """Return whether unzip finds an archive in a compressed file or RPM that is not in what the file expands to.

    Fields and frames that decompressors skip may have any bytes (RFC 1952, RFC 8878), and so may an RPM's headers. An
    archive in the content may show as well, since what cannot be made smaller is stored as it is.
    """
    found = list(zips.directories(tail, size))
    if not found or len(found) > _MAX_DIRECTORIES:
        return bool(found)
    try:
        with path.open("rb") as file:
            missing = {_archive_at(file, start, end) for start, end in found}
            longest = max(map(len, missing))
            file.seek(0)
            for content in _contents(file, kind, path.name):
                kept = b""
                while missing and (piece := content.read(_PIECE)):
                    kept += piece
                    missing = {directory for directory in missing if directory not in kept}
                    kept = kept[-longest:]
    except Refused:  # reported when its content is read
        return False
    return bool(missing)


def _archive_at(file: BinaryIO, start: int, end: int) -> bytes:
    """Return what unzip reads as an archive whose central directory begins at ``start`` and ends at ``end``.

    With the same directory, the files in front of it may be others.
    """
    first = max(zips.first_local(file, start, end), end - _MAX_STORED)
    file.seek(first)
    return file.read(end - first)


def _contents(file: BinaryIO, kind: Kind, name: str) -> Iterator[Content]:
    """Yield what a compressed file or an RPM expands to. Raises as the reader of that kind."""
    if kind == "rpm":
        for item in rpm.read_members(file, name, DEFAULT):
            if isinstance(item, Member) and item.content is not None:
                yield item.content
    else:
        yield reader(file, limit=DEFAULT.expanded, name=name)


def _spans(file: BinaryIO, kind: Kind, name: str) -> Iterator[tuple[int, int]]:
    """Yield where in a file of a ``kind`` the content of each member is. Raises as the reader of that kind."""
    if kind == "tar":
        stream = tar.FileStream(file)
        for item in tar.entries(stream, root="/", archive=name):
            # What is stored of a sparse file is not its content.
            if isinstance(item, Member) and not isinstance(item.content, tarsparse.SparseContent):
                yield stream.position, stream.position + item.size
    elif kind == "ar":
        for item in ar.read_members(file, name):
            if isinstance(item, Member):
                yield file.tell(), file.tell() + item.size
    else:
        yield from cpioarchive.spans(file, name)


def _inner_kind(file: BinaryIO, name: str) -> Kind | None:
    """Return whether a compressed file holds a tar; None where only chance made it look compressed."""
    head = file.read(BLOCK)
    try:
        block = reader(Joined(head, file), limit=DEFAULT.expanded, name=name).read(BLOCK)
    except TooDemanding:
        return "compressed"
    except Refused:
        # .lzma has no magic, so many a file begins like one.
        return None if compression_of(head) == "lzma" else "compressed"
    return "tar" if tar.is_header(block) else "compressed"


def _kind_of_tar(path: Path) -> Kind:
    with path.open("rb") as file:
        try:
            stream = reader(file, limit=DEFAULT.expanded, name=path.name)
            names = (member.path for member in tar.members(stream, root="/", archive=path.name))
            first = next((name for name in names if name != "/"), "")
        except Refused:
            # It is a tar, although an invalid one: reading its members reports the reason.
            return "tar"
    return "image-archive" if _IMAGE_NAMES.fullmatch(first) else "tar"


_READERS: Mapping[Kind, Callable[[BinaryIO, str, Limits], Iterator[Item]]] = {
    "rpm": rpm.read_members,
    "zip": zips.read_members,
    "ar": ar.read_members,
    "cpio": cpioarchive.read_members,
    "compressed": compressed.read_members,
}


def members_of(
    path: Path, *, name: str = "", note: Callable[[str], object] = str, limits: Limits = DEFAULT
) -> Iterator[Item]:
    """Return the members of a directory or container; of a plain file, that file alone, named as ``path`` is.

    For an image archive these are the files that it consists of; `imagearchive.images_in` returns what is in its
    images. ``name`` is what errors call a container; ``note`` is called with what is skipped in a directory. Raises as
    `kind_of` and as the module for that kind.
    """
    kind = kind_of(path)
    _log.debug("reading %s as %s", path, kind)
    if kind in _READERS:
        return _read(path, _READERS[kind], name or path.name, limits)
    if path.is_dir():
        return directory.members(path, note=note)
    if kind in ("tar", "image-archive"):
        return tar.tarball_entries(path, archive=name, limits=limits)
    return directory.file_member(path, str(path), follow=True)


def _read(
    path: Path, members: Callable[[BinaryIO, str, Limits], Iterator[Item]], name: str, limits: Limits
) -> Iterator[Item]:
    try:
        with path.open("rb") as file:
            yield from members(file, name, limits)
    except OSError as error:
        raise Incomplete(f"{path} cannot be read: {error.strerror}.", "Check the path.", reason="not-read") from error
