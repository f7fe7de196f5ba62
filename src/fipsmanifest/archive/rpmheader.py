"""The head of an RPM: lead, signature header and header, read strictly and within bounds.

Format: rpm.org, "RPM V4 Package format". The header's exact bytes are what upstream signs, so they are kept as they
are in the file, and nothing in them is believed before it was found to lie inside them. (A reader of our own, because
the ones that exist give parsed values without those bytes, or end the process on a hostile index.)
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from ..errors import Refused

_LEAD_MAGIC = b"\xed\xab\xee\xdb"
_LEAD_SIZE = 96
_HEADER_MAGIC = b"\x8e\xad\xe8\x01\0\0\0\0"

#: rpm's own bound on entries, and a bound on data: kernel packages need some 10 MB.
_MAX_ENTRIES = 0xFFFF
_MAX_DATA = 64 << 20

#: Type numbers of header entries: how many bytes an integer has, and which types are text.
_INTEGERS = {2: "B", 3: "H", 4: "I", 5: "Q"}
_STRING, _BINARY, _STRING_ARRAY, _TRANSLATED = 6, 7, 8, 9

#: Tags of the header (rpmtag.h).
NAME, VERSION, RELEASE, EPOCH, ARCH, SOURCE_RPM = 1000, 1001, 1002, 1003, 1022, 1044
FILE_SIZES, FILE_MODES, FILE_LINK_TARGETS, FILE_FLAGS = 1028, 1030, 1036, 1037
FILE_DIGEST_ALGORITHM, LONG_FILE_SIZES = 5011, 5008
DIRECTORY_INDEXES, BASE_NAMES, DIRECTORY_NAMES = 1116, 1117, 1118
FILE_INODES, PAYLOAD_FORMAT = 1096, 1124
PAYLOAD_COMPRESSOR, PAYLOAD_DIGEST, PAYLOAD_DIGEST_ALGORITHM, PAYLOAD_SHA512 = 1125, 5092, 5093, 5121

#: The types of the columns of numbers of the file table, and of the epoch (rpmtag.h).
_WIDTHS = {FILE_MODES: 3, LONG_FILE_SIZES: 5} | dict.fromkeys(
    (FILE_SIZES, FILE_FLAGS, FILE_INODES, DIRECTORY_INDEXES, EPOCH), 4
)

#: Tags of the signature header: signatures over the header, then over header and payload, then digests of the header.
SIGNATURE_DSA, SIGNATURE_RSA, SIGNATURES_OPENPGP = 267, 268, 278
SIGNATURE_PGP, SIGNATURE_GPG = 1002, 1005
HEADER_SHA256 = 273

#: OpenPGP's number of SHA-256 (RFC 9580, 9.5), which rpm uses too.
SHA256 = 8

_ADVICE = "Fetch it again; if it stays so, do not use it and ask upstream."


class Source(Protocol):
    """Anything that bytes can be read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, none at the end."""


class Header:
    """One header: its entries by tag, and its bytes."""

    def __init__(self, raw: bytes, name: str) -> None:
        """Read ``raw`` (magic included); ``name`` is what errors call the package. Raises `Refused`."""
        self.raw = raw
        self._name = name
        entries, size = struct.unpack_from(">II", raw, 8)
        self._data = memoryview(raw)[16 + 16 * entries :]
        self._index: dict[int, tuple[int, int, int]] = {}
        for number in range(entries):
            tag, kind, offset, count = struct.unpack_from(">IIII", raw, 16 + 16 * number)
            if tag in self._index:
                raise self._malformed(f"tag {tag} is present twice")
            if offset > size or count > size:
                raise self._malformed(f"tag {tag} is outside the store")
            self._index[tag] = (kind, offset, count)

    def integers(self, tag: int) -> tuple[int, ...]:
        """Return the numbers of ``tag``, none where it is missing."""
        found = self._index.get(tag)
        if found is None:
            return ()
        kind, offset, count = found
        code = _INTEGERS.get(kind)
        # Some versions of rpm take the bytes for those of the tag's own type, whatever type is stated.
        if code is None or kind != _WIDTHS.get(tag, kind):
            raise self._malformed(f"tag {tag} is not of numbers, or of those of another size")
        try:
            return struct.unpack_from(f">{count}{code}", self._data, offset)
        except struct.error:
            raise self._malformed(f"tag {tag} is outside the store") from None

    def strings(self, tag: int) -> tuple[str, ...]:
        """Return the texts of ``tag``, none where it is missing; bytes that are not UTF-8 as `os.fsdecode` has them."""
        found = self._index.get(tag)
        if found is None:
            return ()
        kind, offset, count = found
        if kind not in (_STRING, _STRING_ARRAY, _TRANSLATED) or (kind == _STRING and count != 1):
            raise self._malformed(f"tag {tag} is not of text")
        parts = bytes(self._data[offset:]).split(b"\0", count)
        if len(parts) <= count:
            raise self._malformed(f"tag {tag} is outside the store")
        return tuple(part.decode("utf-8", "surrogateescape") for part in parts[:count])

    def string(self, tag: int) -> str | None:
        """Return the one text of ``tag``, None where it is missing."""
        found = self.strings(tag)
        return found[0] if found else None

    def binary(self, tag: int) -> bytes | None:
        """Return the bytes of ``tag``, None where it is missing."""
        found = self._index.get(tag)
        if found is None:
            return None
        kind, offset, count = found
        if kind != _BINARY or offset + count > len(self._data):
            raise self._malformed(f"tag {tag} is not of bytes, or is outside the store")
        return bytes(self._data[offset : offset + count])

    def _malformed(self, why: str) -> Refused:
        return Refused(f"{self._name} is not a valid RPM: {why}.", _ADVICE, reason="damaged-archive")


@dataclass(frozen=True, slots=True)
class Head:
    """Everything of a package before its payload."""

    signatures: Header
    """The signature header."""
    header: Header
    """The header proper."""
    payload_offset: int
    """Where the payload begins in the file, bytes."""

    @property
    def nvr(self) -> str:
        """``NAME-VERSION-RELEASE``."""
        return "-".join(self.header.string(tag) or "" for tag in (NAME, VERSION, RELEASE))

    @property
    def epoch(self) -> int:
        """0 where the package names none."""
        return (self.header.integers(EPOCH) or (0,))[0]

    @property
    def architecture(self) -> str:
        """``x86_64``, ``noarch``; ``src`` for a source package, which is the one that names no source package."""
        return (self.header.string(ARCH) or "") if self.header.string(SOURCE_RPM) is not None else "src"

    @property
    def nevra(self) -> str:
        """``NAME-[EPOCH:]VERSION-RELEASE.ARCHITECTURE``."""
        return nevra(self.nvr, self.epoch, self.architecture)


def nevra(nvr: str, epoch: int, architecture: str) -> str:
    """Return a package's full name, with the epoch only where there is one, as rpm prints it."""
    name, version, release = ([*nvr.rsplit("-", 2), "", ""])[:3]
    return f"{name}-{epoch}:{version}-{release}.{architecture}" if epoch else f"{nvr}.{architecture}"


def read(file: Source | BinaryIO, name: str) -> Head:
    """Read the head of a package and leave ``file`` at its payload. Raises `Refused`, calling the package ``name``."""
    lead = _exactly(file, _LEAD_SIZE, name)
    if not lead.startswith(_LEAD_MAGIC):
        raise Refused(f"{name} is not an RPM.", _ADVICE, reason="wrong-format")
    signatures = _read_header(file, name)
    padding = -len(signatures) % 8
    _exactly(file, padding, name)
    header = _read_header(file, name)
    offset = _LEAD_SIZE + len(signatures) + padding + len(header)
    return Head(Header(signatures, name), Header(header, name), offset)


def _read_header(file: Source | BinaryIO, name: str) -> bytes:
    intro = _exactly(file, 16, name)
    entries, size = struct.unpack_from(">II", intro, 8)
    if not intro.startswith(_HEADER_MAGIC) or entries > _MAX_ENTRIES or size > _MAX_DATA:
        raise Refused(
            f"{name} is not a valid RPM: a header does not begin with its magic number, or is too large.",
            _ADVICE,
            reason="damaged-archive",
        )
    return intro + _exactly(file, 16 * entries + size, name)


def _exactly(file: Source | BinaryIO, size: int, name: str) -> bytes:
    parts: list[bytes] = []
    while size and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    if size:
        raise Refused(f"{name} is not a whole RPM: it ends in its headers.", _ADVICE, reason="damaged-archive")
    return b"".join(parts)
