"""Reading a bolt database, as containerd keeps one: who writes it holds a lock, and its bytes can be read.

A page in use is never written over. Each change writes new ones and then one of two headers, by turns, which carry a
number and a checksum; the pages that a header leads to stay as they are until the change after the next.

Format: go.etcd.io/bbolt, internal/common (page.go, meta.go, bucket.go), in the byte order of the machines that
Enterprise Linux runs on.
"""

import os
import struct
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from .. import tree

_MAGIC = 0xED0CDAED
_VERSION = 2
_PAGE = struct.Struct("<QHHI")  # number, flags, count, overflow
_META = struct.Struct("<IIII QQ QQQ Q")  # magic, version, page size, flags, bucket, free list, pages, change, checksum
_TO_PAGE = struct.Struct("<IIQ")  # a branch's element: position, key's size, page
_TO_VALUE = struct.Struct("<IIII")  # a leaf's element: flags, position from its own place, key's size, value's size
_BUCKET = struct.Struct("<QQ")  # page, sequence
_BRANCH, _LEAF = 1, 2
_IS_BUCKET = 1
_PAGE_SIZES = (4096, 65536)  # the machine's own; a header may be looked for at none else
_MAX_PAGES = 65536
_MAX_RUN = 16 * 1024 * 1024
_MAX_CONTENT = 64 * 1024 * 1024
_MAX_DEPTH = 16
_ATTEMPTS = 5


class Malformed(Exception):
    """It is no bolt database, is damaged, or is larger than one is read; the text says which."""


class Busy(Exception):
    """It was changed again and again while it was read."""


class _Header(NamedTuple):
    change: int
    page_size: int
    root: int


class _Item(NamedTuple):
    key: bytes
    value: bytes
    is_bucket: bool


def read(path: bytes, names: Sequence[bytes], inner: bytes = b"") -> Dict[bytes, Dict[bytes, bytes]]:
    """Return the buckets within the one that ``names`` lead to, each with its plain keys and their values.

    With ``inner``, the keys are those of the bucket of that name within each. Where there is no such bucket there are
    none in it. Raise `OSError`, `Malformed` and `Busy`.
    """
    try:
        descriptor = tree.open_file(path)
    except tree.NotRegular as error:
        raise Malformed("it is a {}".format(error))
    try:
        for _ in range(_ATTEMPTS):
            header = _header(descriptor)
            problem: Optional[Malformed] = None
            found: Dict[bytes, Dict[bytes, bytes]] = {}
            try:
                found = _Tree(descriptor, header).buckets(names, inner)
            except Malformed as error:
                # What was read may be two states at once.
                problem = error
            if _header(descriptor) == header:
                if problem is not None:
                    raise problem
                return found
        raise Busy()
    finally:
        os.close(descriptor)


def _header(descriptor: int) -> _Header:
    """Return the newer of the headers that are whole; raises `Malformed` where neither is."""
    found: List[_Header] = []
    for place in (0,) + _PAGE_SIZES:
        content = os.pread(descriptor, _PAGE.size + _META.size, place)[_PAGE.size :]
        if len(content) < _META.size:
            continue
        magic, version, size, _, root, _, _, _, change, checksum = _META.unpack(content)
        whole = (magic, version, checksum) == (_MAGIC, _VERSION, _fnv1a(content[:-8]))
        if whole and place in (0, size) and 1024 <= size <= 65536:
            found.append(_Header(change, size, root))
    if not found:
        raise Malformed("no header is whole")
    return max(found)


def _fnv1a(content: bytes) -> int:
    """Hash as FNV-1a of 64 bits does (hash/fnv)."""
    value = 0xCBF29CE484222325
    for byte in content:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


class _Tree:
    """One state of the database."""

    def __init__(self, descriptor: int, header: _Header) -> None:
        self._descriptor = descriptor
        self._header = header
        self._seen: Set[int] = set()
        self._content = 0

    def buckets(self, names: Sequence[bytes], inner: bytes) -> Dict[bytes, Dict[bytes, bytes]]:
        items = self._items(_BUCKET.pack(self._header.root, 0))
        for name in names:
            items = self._within(items, name)
        return {item.key: self._plain(item.value, inner) for item in items if item.is_bucket}

    def _within(self, items: Iterator[_Item], name: bytes) -> Iterator[_Item]:
        value = next((item.value for item in items if item.is_bucket and item.key == name), None)
        return iter(()) if value is None else self._items(value)

    def _plain(self, bucket: bytes, inner: bytes) -> Dict[bytes, bytes]:
        items = self._items(bucket)
        items = self._within(items, inner) if inner else items
        return {item.key: item.value for item in items if not item.is_bucket}

    def _items(self, bucket: bytes) -> Iterator[_Item]:
        """Return what a bucket holds; a small one stands where others name their first page."""
        if len(bucket) < _BUCKET.size:
            raise Malformed("a bucket is cut short")
        number, _ = _BUCKET.unpack_from(bucket)
        return self._walk(number, 0) if number else self._leaf(bucket[_BUCKET.size :])

    def _walk(self, number: int, depth: int) -> Iterator[_Item]:
        page = self._page(number)
        _, flags, _, _ = _PAGE.unpack_from(page)
        if flags != _BRANCH:
            yield from self._leaf(page)
            return
        if depth >= _MAX_DEPTH:
            raise Malformed("nested too deeply")
        for _, (_, _, below) in _elements(page, _TO_PAGE):
            yield from self._walk(below, depth + 1)

    def _page(self, number: int) -> bytes:
        if number in self._seen or len(self._seen) >= _MAX_PAGES:
            raise Malformed("a page stands twice in it" if number in self._seen else "too many pages")
        self._seen.add(number)
        size = self._header.page_size
        place = number * size
        if place >= 1 << 62:
            raise Malformed("a page lies beyond its end")
        page = os.pread(self._descriptor, size, place)
        if len(page) < _PAGE.size:
            raise Malformed("a page lies beyond its end")
        told, _, _, overflow = _PAGE.unpack_from(page)
        if told != number or (overflow + 1) * size > _MAX_RUN:
            raise Malformed("a page is another one" if told != number else "a page is too large")
        return os.pread(self._descriptor, (overflow + 1) * size, place) if overflow else page

    def _leaf(self, page: bytes) -> Iterator[_Item]:
        if len(page) < _PAGE.size or _PAGE.unpack_from(page)[1] != _LEAF:
            raise Malformed("a page is of another kind")
        for place, (flags, position, key, value) in _elements(page, _TO_VALUE):
            begin = place + position
            if begin + key + value > len(page):
                raise Malformed("an entry lies beyond its page")
            # Entries may lie upon one another, so that a small file would give without end.
            self._content += key + value
            if self._content > _MAX_CONTENT:
                raise Malformed("too much in it")
            yield _Item(page[begin : begin + key], page[begin + key : begin + key + value], bool(flags & _IS_BUCKET))


def _elements(page: bytes, form: struct.Struct) -> Iterator[Tuple[int, Tuple[int, ...]]]:
    """Return a page's elements, each with its place in the page."""
    count = _PAGE.unpack_from(page)[2]
    if _PAGE.size + count * form.size > len(page):
        raise Malformed("an element lies beyond its page")
    for place in range(_PAGE.size, _PAGE.size + count * form.size, form.size):
        yield place, form.unpack_from(page, place)
