"""Extended headers of tar archives: GNU tar's long names and POSIX's pax records.

Unpackers differ on a record that is repeated, empty or has a NUL, and on two headers that name one member. So each of
these is refused. Records that do not change what is unpacked (times, owners, attributes, comments) are not interpreted.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Literal

from .tarheader import Ambiguous, AmbiguousName, Header, Malformed, Segment, text

#: Type flags of headers that describe the next member, or all that follow.
LONG_NAME, LONG_TARGET, PAX, PAX_GLOBAL = b"L", b"K", b"x", b"g"
TYPES = frozenset((LONG_NAME, LONG_TARGET, PAX, PAX_GLOBAL))

_SPARSE = "GNU.sparse."
_PAIR = (f"{_SPARSE}offset", f"{_SPARSE}numbytes")
#: Records that change a member's name, size or content in one of the reference readers.
_INTERPRETED = ("path", "linkpath", "size", "hdrcharset")
#: Of these, those that do not change how many bytes are stored.
_NAMES = ("path", "linkpath", "hdrcharset")
#: Records that only some readers apply.
_REFUSED = ("SCHILY.realsize", "SUN.holesdata", "GNU.volume.filename", "GNU.volume.size", "GNU.volume.offset")
#: Attributes by which overlayfs shows another file's content.
_OVERLAY = tuple(
    f"SCHILY.xattr.{space}.overlay.{name}" for space in ("trusted", "user") for name in ("redirect", "metacopy")
)
#: Names are bytes here, whichever of the two is named (POSIX.1-2017, pax, "pax Extended Header Keywords").
_CHARSETS = ("BINARY", "ISO-IR 10646 2000 UTF-8")

_TWICE = "it has two extended headers of one kind"

_RECORD = re.compile(rb"([1-9][0-9]{0,6}) ([^ \t\0=][^\0=]*)=", re.DOTALL)
_DECIMAL = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Sparse:
    """How a sparse file is stored, by its pax records."""

    size: int
    """Expanded, bytes."""
    segments: tuple[Segment, ...] | None
    """None: the map is at the beginning of the stored bytes (version 1.0)."""


@dataclass(slots=True)
class Extended:
    """What the extended headers before a member say of it."""

    name: str | None = None
    """In place of the header's."""
    target: str | None = None
    """In place of the header's."""
    size: int | None = None
    """Stored bytes, in place of the header's."""
    sparse: Sparse | None = None
    """For a sparse file in one of pax's forms."""
    types: set[bytes] = field(default_factory=set)
    """Type flags of the headers that were added."""
    names: set[str] = field(default_factory=set)
    """Every name that an unpacker may take for the member's."""
    problem: AmbiguousName | None = None
    """The first reason why unpackers read name, target or attributes differently."""

    def add(self, header: Header, data: bytes) -> None:
        """Add the extended header ``header`` whose content is ``data``.

        Sets `problem` for what changes no size. Raises `Ambiguous` for what else unpackers would not apply alike,
        `Malformed` for records that are damaged.
        """
        if header.problem is not None:
            self._reject(str(header.problem))
        again = header.type in self.types
        if again:
            self._reject(_TWICE)
        self.types.add(header.type)
        if header.type == LONG_NAME:
            self._set_name(text(data))
        elif header.type == LONG_TARGET:
            self._set_target(text(data))
        else:
            sized = self.size is not None or self.sparse is not None
            self._add_records(_records(data))
            if again and (sized or self.size is not None or self.sparse is not None):
                raise Ambiguous(_TWICE)

    def _reject(self, why: str) -> None:
        self.problem = self.problem or AmbiguousName(why)

    def _set_name(self, name: str) -> None:
        self.names.add(name)
        if self.name is not None:
            self._reject("it has both a GNU long name and a pax path")
        if not name:
            self._reject("it has an empty name in an extended header")
        self.name = name

    def _set_target(self, target: str) -> None:
        if self.target is not None:
            self._reject("it has both a GNU long link and a pax linkpath")
        if not target:
            self._reject("it has an empty link target in an extended header")
        self.target = target

    def _add_records(self, records: list[tuple[str, bytes]]) -> None:
        known, problem = _interpreted(records)
        if problem is not None:
            self._reject(problem)
            self.names |= {os.fsdecode(value) for key, value in records if key == "path"}
        self.sparse = _sparse(records, known)
        names = {known[key] for key in ("path", f"{_SPARSE}name") if key in known}
        if len(names) > 1:
            self._reject("it has both a pax path and another name as a sparse file")
        for name in names:
            self._set_name(name)
        if "linkpath" in known:
            self._set_target(known["linkpath"])
        if "size" in known:
            self.size = _decimal(known["size"], "size")


def check_global(data: bytes) -> None:
    """Raise `Ambiguous` for a global pax header whose records change what is unpacked, `Malformed` for a damaged one.

    GNU tar applies them to every later member, Go's archive/tar and libarchive to none.
    """
    known, problem = _interpreted(_records(data))
    if problem is not None:
        raise Ambiguous(problem)
    for key in known:
        raise Ambiguous(f"a global header sets {key} for every member after it")


def _records(data: bytes) -> list[tuple[str, bytes]]:
    """Return the records ``LENGTH KEY=VALUE\\n`` of a pax header (POSIX.1-2017, pax, "pax Extended Header")."""
    records = []
    position = 0
    while position < len(data):
        head = _RECORD.match(data, position)
        end = position + int(head[1]) if head else 0
        if head is None or head.end() >= end or end > len(data) or data[end - 1 : end] != b"\n":
            raise Malformed("a pax record is not valid")
        records.append((os.fsdecode(head[2]), data[head.end() : end - 1]))
        position = end
    return records


def _interpreted(records: list[tuple[str, bytes]]) -> tuple[dict[str, str], str | None]:
    """Return the records that change what is unpacked, each once, and what makes them ambiguous without a size.

    Offsets and lengths of sparse files are for `_sparse`. Raises `Ambiguous` for the rest that unpackers apply
    differently.
    """
    known: dict[str, str] = {}
    problems: list[str] = []

    def reject(key: str, why: str) -> None:
        if key not in _NAMES and key not in _OVERLAY:
            raise Ambiguous(why)
        problems.append(why)

    for key, value in records:
        if key in _REFUSED or key in _OVERLAY:
            reject(key, f"it has a pax record {key}, which only some unpackers apply")
        if key not in _INTERPRETED and not key.startswith(_SPARSE):
            continue
        if not value or b"\0" in value:
            reject(key, f"its pax record {key} is empty or has a NUL")
        if key in known and key not in _PAIR:
            reject(key, f"it has the pax record {key} twice")
        known[key] = os.fsdecode(value)
    if known.get("hdrcharset", _CHARSETS[0]) not in _CHARSETS:
        problems.append("its names are in another character set than UTF-8")
    return known, problems[0] if problems else None


def _sparse(records: list[tuple[str, bytes]], known: dict[str, str]) -> Sparse | None:
    """Return the sparse form that the records describe (GNU tar manual, "Storing Sparse Files"), None for none."""
    keys = {key.removeprefix(_SPARSE) for key in known if key.startswith(_SPARSE)} - {"name"}
    if not keys and f"{_SPARSE}name" not in known:
        return None
    form: Literal["pairs", "map", "data"]
    if keys == {"major", "minor", "realsize"} and (known[f"{_SPARSE}major"], known[f"{_SPARSE}minor"]) == ("1", "0"):
        return Sparse(_decimal(known[f"{_SPARSE}realsize"], f"{_SPARSE}realsize"), None)
    if keys == {"size", "numblocks", "map"}:
        form = "map"
    elif keys == {"size", "numblocks", "offset", "numbytes"} and f"{_SPARSE}name" not in known:
        form = "pairs"
    else:
        raise Ambiguous("its pax records are of no known form of sparse files")
    order = [key for key, _ in records if key.startswith(_SPARSE) and key != f"{_SPARSE}name"]
    behind = [key for key in order if key in (*_PAIR, f"{_SPARSE}map")]
    count = _decimal(known[f"{_SPARSE}numblocks"], f"{_SPARSE}numblocks")
    if order.index(f"{_SPARSE}numblocks") > order.index(behind[0]):
        # GNU tar makes room for as many by then.
        raise Ambiguous("the number of blocks follows its sparse map")
    if form == "map":
        numbers = known[f"{_SPARSE}map"].split(",")
    else:
        numbers = [os.fsdecode(value) for key, value in records if key in _PAIR]
        if behind != list(_PAIR) * (len(behind) // 2):
            raise Ambiguous("its sparse map is not in pairs")
    if len(numbers) != 2 * count:
        raise Ambiguous("its sparse map has another length than it says")
    return Sparse(_decimal(known[f"{_SPARSE}size"], f"{_SPARSE}size"), pairs(numbers))


def pairs(numbers: list[str]) -> tuple[Segment, ...]:
    """Return the segments of a sparse map: offset and length in turn, decimal. Raises `Ambiguous` for other text."""
    found = [_decimal(number, "sparse map") for number in numbers]
    return tuple(Segment(offset, length) for offset, length in zip(found[::2], found[1::2], strict=True))


def _decimal(value: str, key: str) -> int:
    if not _DECIMAL.fullmatch(value):
        raise Ambiguous(f"its {key} is not a number")
    return int(value)
