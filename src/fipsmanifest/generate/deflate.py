"""Compression to deflate (RFC 1951), with the same output on any machine.

The output of zlib differs between its implementations and versions. This one is for files whose digest is signed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate

_WINDOW = 32 * 1024
#: A match of three bytes, which the format allows, gains next to nothing.
_SHORTEST, _LONGEST = 4, 258
#: Earlier places that are compared for the longest match; 64 of them make the file one in a hundred smaller.
_TRIED = 8


@lru_cache(maxsize=256)
def deflate(data: bytes) -> bytes:
    """Return ``data`` as a deflate stream of one block with the fixed Huffman codes (section 3.2.6).

    The bits are put together as text, in the order of the stream: from the lowest of each byte.
    """
    last_block, fixed_codes = "1", "10"
    bits = "".join([last_block, fixed_codes, *_codes(data), _symbol(256)])
    return int(bits[::-1], 2).to_bytes((len(bits) + 7) // 8, "little")


def _codes(data: bytes) -> Iterator[str]:
    """Yield the codes of matches and of literal bytes; a match is taken wherever there is one."""
    earlier, at = _earlier_places(data), 0
    while at < len(data):
        length, start = _longest_match(data, at, earlier)
        if length:
            yield _LENGTH_CODES[length]
            yield _distance_code(at - start)
        else:
            yield _LITERAL_CODES[data[at]]
        at += length or 1


def _earlier_places(data: bytes) -> list[int]:
    """Return for each place the nearest earlier one with the same first bytes; -1 where there is none."""
    last: dict[bytes, int] = {}
    earlier = [-1] * len(data)
    for at in range(len(data) - _SHORTEST + 1):
        first = data[at : at + _SHORTEST]
        earlier[at] = last.get(first, -1)
        last[first] = at
    return earlier


def _longest_match(data: bytes, at: int, earlier: list[int]) -> tuple[int, int]:
    """Return length and start of the longest match, the nearest of several; the length is 0 where there is none."""
    length, found, limit = 0, -1, min(_LONGEST, len(data) - at)
    start = earlier[at]
    for _ in range(_TRIED):
        if start < max(at - _WINDOW, 0) or length == limit:
            break
        longer = length + 1 if length else _SHORTEST
        if data[start : start + longer] == data[at : at + longer]:
            while longer < limit and data[start + longer] == data[at + longer]:
                longer += 1
            length, found = longer, start
        start = earlier[start]
    return length, found


def _symbol(number: int) -> str:
    """Return the fixed code of a literal byte, of the end (256) or of a length (from 257)."""
    if number < 144:
        return f"{0b00110000 + number:08b}"
    if number < 256:
        return f"{0b110010000 + number - 144:09b}"
    return f"{number - 256:07b}" if number < 280 else f"{0b11000000 + number - 280:08b}"


def _extra(value: int, count: int) -> str:
    """Return the extra bits of a length or distance, the lowest first."""
    return f"{value:0{count}b}"[::-1] if count else ""


def _distance_code(distance: int) -> str:
    number = bisect_right(_DISTANCES, distance) - 1
    return f"{number:05b}" + _extra(distance - _DISTANCES[number], _DISTANCE_BITS[number])


# Section 3.2.5: the extra bits that follow each code of a length, from 257, and of a distance, from 0. Each code stands
# for as many values as these bits can count; the longest length has a code of its own.
_LENGTH_BITS = [0] * 8 + [bits for bits in range(1, 6) for _ in range(4)]
_DISTANCE_BITS = [0] * 4 + [bits for bits in range(1, 14) for _ in range(2)]
_DISTANCES = list(accumulate((1 << bits for bits in _DISTANCE_BITS[:-1]), initial=1))
_LITERAL_CODES = [_symbol(byte) for byte in range(256)]
_LENGTH_CODES = [""] * 3 + [
    _symbol(number) + _extra(value, bits) for number, bits in enumerate(_LENGTH_BITS, 257) for value in range(1 << bits)
]
_LENGTH_CODES[_LONGEST] = _symbol(285)
