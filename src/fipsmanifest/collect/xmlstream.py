"""XML read as a stream in bounded memory and linear time: documents from servers, before they are authenticated.

expat keeps every incomplete token, every distinct name, and a record for each open element, so each has a limit here:
depth, the length of a token (a tag, comment or processing instruction), of a name or namespace, and the number of
names and elements. A document type is refused, and with it entities; any encoding other than UTF-8 is refused, since
readers disagree about those.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from typing import NoReturn
from xml.parsers import expat

#: Levels of elements; repodata has five.
MAX_DEPTH = 32

#: Bytes of a tag, comment or processing instruction; the longest tags of repodata hold a path of 4,096 bytes.
MAX_TOKEN = 16 << 10

#: Characters of a name, or of the address of a namespace.
MAX_NAME = 256

#: Distinct names and namespaces of a document; repodata has about fifty.
MAX_NAMES = 2048

#: Elements of a document; Fedora's primary.xml, the largest known, has about five million.
MAX_ELEMENTS = 40_000_000

#: Bytes that expat is given at once. What it does after a limit was exceeded is bounded by this.
_CHUNK = 16 << 10

_UTF16_MARKS = (codecs.BOM_UTF16_BE, codecs.BOM_UTF16_LE)
_UTF8 = frozenset({"UTF-8", "UTF8", "US-ASCII", "ASCII"})

Start = Callable[[str, dict[str, str], int], None]
"""Called with an element's name (``NAMESPACE LOCAL``, and a third part for a prefix), attributes and depth."""
Text = Callable[[str, int], None]
"""Is called with a part of the text right inside an element, and that element's depth."""
End = Callable[[int], None]
"""Is called with the depth of an element that ends."""


class Malformed(Exception):
    """The document is not well-formed, or exceeds a limit; the argument is the reason."""


def split_name(name: str) -> tuple[str, str]:
    """Return an element's namespace, and its name as it is written: with its prefix, if it has one."""
    address, _, local = name.rpartition(" ")
    if " " not in address:
        return address, local
    address, local, prefix = name.split(" ")
    return address, f"{prefix}:{local}"


class Parser:
    """An expat parser with limits; it calls ``start``, ``text`` and ``end``, which may raise."""

    def __init__(self, start: Start, text: Text, end: End) -> None:
        self._start, self._text, self._end = start, text, end
        self._depth = 0
        self._elements = 0
        self._names: dict[str, str] = {}
        self._expat = parser = expat.ParserCreate("UTF-8", namespace_separator=" ", intern=self._names)
        parser.namespace_prefixes = True
        parser.buffer_text = True
        parser.StartElementHandler = self._start_element
        parser.EndElementHandler = self._end_element
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = self._document_type
        parser.StartNamespaceDeclHandler = self._namespace
        parser.XmlDeclHandler = self._declaration

    def parse(self, chunks: Iterator[bytes]) -> Iterator[None]:
        """Parse a document; yields after each part, so that the caller can take what was found so far.

        Raises `Malformed`, and what the callbacks and ``chunks`` raise.
        """
        fed = 0
        try:
            for chunk in chunks:
                # expat recognizes UTF-16 whatever encoding it was given.
                if not fed and (b"\0" in chunk[:4] or chunk.startswith(_UTF16_MARKS)):
                    raise Malformed("its encoding is UTF-16, not UTF-8")
                for start in range(0, len(chunk), _CHUNK):
                    part = chunk[start : start + _CHUNK]
                    self._expat.Parse(part, False)
                    fed += len(part)
                    # What was fed and led to no event yet is one incomplete token.
                    if fed - max(self._expat.CurrentByteIndex, 0) > MAX_TOKEN:
                        raise Malformed(f"a tag, comment or processing instruction is longer than {MAX_TOKEN} bytes")
                    if len(self._names) > MAX_NAMES:
                        raise Malformed(f"it has more than {MAX_NAMES} different names")
                    yield
            self._expat.Parse(b"", True)
        except expat.ExpatError as error:
            raise Malformed(str(error)) from error
        yield

    def _start_element(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._elements += 1
        if self._depth > MAX_DEPTH:
            raise Malformed(f"its elements are nested more than {MAX_DEPTH} levels deep")
        if self._elements > MAX_ELEMENTS:
            raise Malformed(f"it has more than {MAX_ELEMENTS} elements")
        if len(name) > 3 * MAX_NAME or any(len(one) > 3 * MAX_NAME for one in attributes):
            raise Malformed(f"a name is longer than {MAX_NAME} characters")
        self._start(name, attributes, self._depth)

    def _characters(self, text: str) -> None:
        self._text(text, self._depth)

    def _end_element(self, _: str) -> None:
        self._end(self._depth)
        self._depth -= 1

    def _namespace(self, prefix: str | None, address: str | None) -> None:
        if len(prefix or "") > MAX_NAME or len(address or "") > MAX_NAME:
            raise Malformed(f"a namespace is longer than {MAX_NAME} characters")
        if " " in (address or ""):
            raise Malformed("a namespace holds a space")

    def _declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.upper() not in _UTF8:
            raise Malformed(f"its encoding is '{encoding[:40]}', not UTF-8")

    def _document_type(self, *_: object) -> NoReturn:
        raise Malformed("it has a document type")
