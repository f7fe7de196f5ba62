"""Changes to real inputs, the same for the same seed: fuzzing without coverage."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

#: Numbers at which readers go wrong: around nothing, around each width's limits, and the sign bits.
_EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, (1 << 63) - 1, 1 << 63)
_WORDS = (
    b"0",
    b"-1",
    b"99999999999999999999",
    b"null",
    b"{}",
    b"[[",
    b"\0",
    b"\n",
    b"../",
    b"\xff\xfe",
    b"\xed\xa0\x80",
)

_Change = Callable[[random.Random, bytearray, int], None]


def mutated(data: bytes, seed: str, hot: Sequence[tuple[int, int]] = ()) -> bytes:
    """Return ``data`` with one to six changes.

    ``hot`` are (start, end) where the structure is, in inputs that are mostly content: three changes of four go there.
    """
    numbers = random.Random(seed)
    changed = bytearray(data)
    for _ in range(numbers.choice((1, 1, 1, 2, 3, 6))):
        if not changed:
            break
        start, end = numbers.choice(hot) if hot and numbers.random() < 0.75 else (0, len(changed))
        at = min(numbers.randrange(start, max(end, start + 1)), len(changed) - 1)
        numbers.choice(_CHANGES)(numbers, changed, at)
    return bytes(changed)


def _flip(numbers: random.Random, data: bytearray, at: int) -> None:
    data[at] ^= 1 << numbers.randrange(8)


def _byte(numbers: random.Random, data: bytearray, at: int) -> None:
    data[at] = numbers.randrange(256)


def _number(numbers: random.Random, data: bytearray, at: int) -> None:
    width = numbers.choice((1, 2, 4, 8))
    number = (numbers.choice(_EDGES) + numbers.randrange(-2, 3)) % (1 << 8 * width)
    data[at : at + width] = number.to_bytes(width, numbers.choice(("little", "big")))


def _digit(numbers: random.Random, data: bytearray, at: int) -> None:
    # Sizes in tar, cpio and JSON are digits.
    data[at] = numbers.choice(b"0123456789abcdefABCDEF-+. ")


def _word(numbers: random.Random, data: bytearray, at: int) -> None:
    data[at:at] = numbers.choice(_WORDS)


def _cut(numbers: random.Random, data: bytearray, at: int) -> None:
    del data[at:]


def _remove(numbers: random.Random, data: bytearray, at: int) -> None:
    del data[at : at + numbers.choice((1, 2, 8, 64, 512))]


def _repeat(numbers: random.Random, data: bytearray, at: int) -> None:
    length = numbers.choice((1, 4, 32, 110, 512))
    data[at:at] = bytes(data[at : at + length]) * numbers.choice((1, 1, 2, 50))


def _blank(numbers: random.Random, data: bytearray, at: int) -> None:
    length = min(numbers.choice((1, 8, 64, 512)), len(data) - at)
    data[at : at + length] = numbers.choice((b"\0", b"\xff", b" ")) * length


def _move(numbers: random.Random, data: bytearray, at: int) -> None:
    length = numbers.choice((4, 16, 64, 512))
    source = numbers.randrange(len(data))
    data[at : at + length] = data[source : source + length]


_CHANGES: tuple[_Change, ...] = (
    _flip, _flip, _byte, _byte, _number, _number, _digit, _word, _cut, _remove, _repeat, _blank, _move,
)  # fmt: skip
