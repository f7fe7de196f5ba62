"""Compression to deflate (RFC 1951), with the same output on any machine.

The output of zlib differs between its implementations and versions. This one is for files whose digest is signed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from heapq import heapify, heappop, heappush
from itertools import accumulate, groupby
from typing import NamedTuple

_WINDOW = 32 * 1024
#: A match of three bytes, which the format allows, gains next to nothing.
_SHORTEST, _LONGEST = 4, 258
#: Earlier places that are compared for the longest match; 64 of them make the file one in a hundred smaller.
_TRIED = 8
#: Bits of a code of a literal, length or distance, and of the length of one (section 3.2.7).
_LONGEST_CODE, _LONGEST_OF_LENGTHS = 15, 7


@lru_cache(maxsize=256)
def deflate(data: bytes) -> bytes:
    """Return ``data`` as a deflate stream of one block, with Huffman codes of its own or the fixed ones (section 3.2).

    The bits are put together as text, in the order of the stream: from the lowest of each byte.
    """
    symbols = [*_symbols(data), _Symbol(256)]
    literals = _code_lengths(Counter(one.literal for one in symbols), 286, _LONGEST_CODE)
    distances = _code_lengths(Counter(one.distance for one in symbols if one.distance is not None), 30, _LONGEST_CODE)
    own = "01" + _heading(literals, distances) + _written(symbols, literals, distances)
    fixed = "10" + _written(symbols, _FIXED_LITERALS, _FIXED_DISTANCES)
    last_block = "1"
    bits = last_block + min(own, fixed, key=len)
    return int(bits[::-1], 2).to_bytes((len(bits) + 7) // 8, "little")


class _Symbol(NamedTuple):
    """A literal byte, the end (256), or a match: a length (from 257) with its distance, each with extra bits."""

    literal: int
    literal_bits: str = ""
    distance: int | None = None
    distance_bits: str = ""


def _symbols(data: bytes) -> Iterator[_Symbol]:
    """Yield matches and literal bytes; a match is taken wherever there is one."""
    earlier, at = _earlier_places(data), 0
    while at < len(data):
        length, start = _longest_match(data, at, earlier)
        if length:
            distance = bisect_right(_DISTANCES, at - start) - 1
            extra = _number(at - start - _DISTANCES[distance], _DISTANCE_BITS[distance])
            yield _Symbol(*_LENGTHS[length], distance, extra)
        else:
            yield _Symbol(data[at])
        at += length or 1


def _written(symbols: Sequence[_Symbol], literals: Sequence[int], distances: Sequence[int]) -> str:
    literal_codes, distance_codes = _codes(literals), _codes(distances)
    parts = []
    for one in symbols:
        parts += [literal_codes[one.literal], one.literal_bits]
        if one.distance is not None:
            parts += [distance_codes[one.distance], one.distance_bits]
    return "".join(parts)


def _heading(literals: Sequence[int], distances: Sequence[int]) -> str:
    """Return the lengths of the codes as a block begins with them (section 3.2.7)."""
    runs = list(_runs([*literals, *distances]))
    lengths = _code_lengths(Counter(number for number, _ in runs), len(_ORDER), _LONGEST_OF_LENGTHS)
    codes = _codes(lengths)
    ordered = [lengths[number] for number in _ORDER]
    while len(ordered) > 4 and not ordered[-1]:
        ordered.pop()
    parts = [_number(len(literals) - 257, 5), _number(len(distances) - 1, 5), _number(len(ordered) - 4, 4)]
    parts += [_number(length, 3) for length in ordered]
    return "".join(parts + [codes[number] + extra for number, extra in runs])


def _runs(lengths: Sequence[int]) -> Iterator[tuple[int, str]]:
    """Yield the lengths of codes with runs of zeros as one symbol each, and the symbol's extra bits."""
    for length, group in groupby(lengths):
        count = len(list(group))
        while not length and count >= 3:
            one = min(count, 138)
            yield (17, _number(one - 3, 3)) if one < 11 else (18, _number(one - 11, 7))
            count -= one
        yield from [(length, "")] * count


def _code_lengths(counts: Mapping[int, int], size: int, longest: int) -> list[int]:
    """Return the length of the code of each of ``size`` symbols; 0 for those that are not counted."""
    # A code needs two symbols at least.
    weights = {number: counts.get(number, 0) for number in range(size) if number in counts or number < 2}
    while True:
        lengths = [0] * size
        waiting = [(weight, number, [number]) for number, weight in weights.items()]
        heapify(waiting)
        while len(waiting) > 1:
            (one, number, own), (other, _, others) = heappop(waiting), heappop(waiting)
            for symbol in own + others:
                lengths[symbol] += 1
            heappush(waiting, (one + other, number, own + others))
        if max(lengths) <= longest:
            return lengths
        # Weights that are more alike make shorter codes.
        weights = {number: weight // 2 + 1 for number, weight in weights.items()}


def _codes(lengths: Sequence[int]) -> list[str]:
    """Return the code of each symbol by the lengths of all (section 3.2.2); empty for a length of 0."""
    codes, code = [""] * len(lengths), 0
    for length in range(1, max(lengths) + 1):
        code <<= 1
        for number in [number for number, one in enumerate(lengths) if one == length]:
            codes[number] = f"{code:0{length}b}"
            code += 1
    return codes


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


def _number(value: int, count: int) -> str:
    """Return a number of so many bits, the lowest first."""
    return f"{value:0{count}b}"[::-1] if count else ""


# Section 3.2.5: the extra bits that follow each code of a length, from 257, and of a distance, from 0. Each code stands
# for as many values as these bits can count; the longest length has a code of its own.
_LENGTH_BITS = [0] * 8 + [bits for bits in range(1, 6) for _ in range(4)]
_DISTANCE_BITS = [0] * 4 + [bits for bits in range(1, 14) for _ in range(2)]
_DISTANCES = list(accumulate((1 << bits for bits in _DISTANCE_BITS[:-1]), initial=1))
#: Length -> its symbol, and the extra bits.
_LENGTHS = [(0, "")] * 3 + [
    (number, _number(value, bits)) for number, bits in enumerate(_LENGTH_BITS, 257) for value in range(1 << bits)
]
_LENGTHS[_LONGEST] = (285, "")
# Section 3.2.6: the fixed codes, of which some are not used.
_FIXED_LITERALS = [8] * 144 + [9] * 112 + [7] * 24 + [8] * 8
_FIXED_DISTANCES = [5] * 32
# Section 3.2.7: the lengths of the codes of lengths come in this order.
_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
