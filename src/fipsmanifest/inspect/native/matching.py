"""Which functions of a reference the functions of a program's module equal, by their names and bytes.

The bytes are compared without what the linker writes into them; where that leads is another question (`compare`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..functions import Function
from .prepared import Code, Preparation
from .records import SymbolKind
from .relocations import TRAMPOLINE, trampoline_target

START = "go:textfipsstart"
"""What the linker puts in front of the module's code, a symbol of one byte (``cmd/link/internal/ld``)."""
#: What it puts between functions.
_PADDING = {"x86_64": b"\xcc", "aarch64": b"\0"}
_ALIGNMENT = 64
#: How it names what calls go through that are too far for their instruction.
_TRAMPOLINE = re.compile(r".+-tramp[0-9]+", re.DOTALL)
_TEXT = int(SymbolKind.TEXT)
_NOWHERE = -1 << 80
"""Where a target is that no field is known to lead to: no address, and not `prepared.UNKNOWN`."""

Equal = Sequence[tuple[Code, Sequence[int]]]
"""The functions of a reference that one equals, and its fields as each of them has them; most equal one."""


class Differs(Exception):
    """A symbol is not what the reference says."""

    def __init__(self, code: str, name: str) -> None:
        super().__init__(code)
        self.code = code
        self.name = name


@dataclass
class Matches:
    """The functions of a program's module."""

    equal: dict[int, Equal] = field(default_factory=dict)
    """Those that equal functions of the reference, by address."""
    trampolines: dict[int, int] = field(default_factory=dict)
    """Address of a trampoline among them -> where it leads."""
    differing: list[str] = field(default_factory=list)
    """The names of all others."""
    size: int = 0
    """Bytes of those that are equal."""
    masked: int = 0
    """Bytes among them that the linker writes, in whole or in part."""

    @property
    def total(self) -> int:
        """How many functions were compared."""
        return len(self.equal) + len(self.differing)

    def known(self, count: int) -> list[int]:
        """Return where each of ``count`` targets is, by its number, as far as it is a function at one place alone."""
        known = [_NOWHERE] * (count + 1)
        several = set()
        for address, codes in self.equal.items():
            for code, _ in codes:
                target = code.itself
                if target.kind == _TEXT:
                    if known[target.number] != _NOWHERE:
                        several.add(target.number)
                    known[target.number] = address
        for number in several:
            known[number] = _NOWHERE
        return known


def match(functions: Sequence[Function], text: bytes, start: int, machine: str, prepared: Preparation) -> Matches:
    """Find the functions of a reference that each function of a module's code equals.

    ``text`` is the code, from address ``start`` on. Raise `Differs` where it does not begin as the linker has it.
    """
    if not functions or functions[0].start != start:
        raise Differs("native-function-differs", START)
    paddings = [_PADDING[machine] * length for length in range(_ALIGNMENT)]
    may_have_trampolines = machine == "aarch64"
    found = Matches()
    seen: set[int | frozenset[int]] = set()
    for item in functions:
        name, address, behind = item
        first, last = address - start, min(behind - start, len(text))
        if name == START and address == start:
            if last - first > _ALIGNMENT or text[first:last].strip(paddings[1] + b"\0"):
                raise Differs("native-function-differs", START)
            continue
        leads_to = _trampoline(item, text[first:last], paddings) if may_have_trampolines else None
        if leads_to is not None:
            found.trampolines[address] = leads_to
            continue
        codes = _equal(prepared.named(name), text, first, last, paddings)
        numbers = [code.itself.number for code, _ in codes]
        identity = numbers[0] if len(numbers) == 1 else frozenset(numbers)
        if not codes or identity in seen:
            found.differing.append(name)
            continue
        seen.add(identity)
        found.equal[address] = codes
        code = codes[0][0]
        found.size += code.size
        found.masked += code.masked
    return found


def is_trampoline(name: str) -> bool:
    """Return whether a function of this name only leads to another one."""
    return _TRAMPOLINE.fullmatch(name) is not None


def _trampoline(item: Function, room: bytes, paddings: Sequence[bytes]) -> int | None:
    """Return where a trampoline leads, which is what its callers call; None for any other function."""
    rest = len(room) - TRAMPOLINE
    if not is_trampoline(item.name) or not 0 <= rest < _ALIGNMENT or room[TRAMPOLINE:] != paddings[rest]:
        return None
    return trampoline_target(room[:TRAMPOLINE], item.start)


def _equal(codes: Sequence[Code], text: bytes, first: int, last: int, paddings: Sequence[bytes]) -> Equal:
    """Return those of ``codes`` that a function equals, which has ``text`` from ``first`` to ``last`` with padding."""
    found = []
    for code in codes:
        behind = first + code.size
        if 0 <= last - behind < _ALIGNMENT and text.startswith(paddings[last - behind], behind):
            fields = code.match(text[first:behind])
            if fields is not None:
                found.append((code, fields))
    return found
