"""How this machine's kernel and dynamic loader map a file: its memory before its first instruction."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fipsmanifest.inspect.memory import EXECUTE, READ, WRITE, Load, Space

PAGE = 4096
INTERPRETER = Path("/lib64/ld-linux-x86-64.so.2")
EXEC, DYN = 2, 3

_TRACEME, _PEEKUSER, _KILL, _SYSCALL = 0, 3, 8, 24
_ORIG_RAX = 15 * 8
_CLOSE = 3
_AT_ENTRY = 9

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


@dataclass(frozen=True)
class Part:
    """A range of memory: where, with which permissions, and its bytes."""

    start: int
    end: int
    flags: int
    data: bytes | None
    """None where nothing can be read: behind the file's end."""


def program(loads: tuple[Load, ...], kind: int, size: int) -> bytes:
    """Lay out an ELF file of ``size`` bytes, no eight of them alike, with a dynamic section of nothing."""
    data = bytearray(b"".join(struct.pack("<Q", 0xF1F1000000000000 + at) for at in range(0, size, 8))[:size])
    count = len(loads) + 1
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    data[:64] = ident + struct.pack("<HHIQQQIHHHHHH", kind, 62, 1, 0, 64, 0, 0, 64, 56, count, 0, 0, 0)
    rows = [(1, load.flags, load.offset, load.address, 0, load.size, load.memory, PAGE) for load in loads]
    # In the first segment, which is never mapped over.
    rows.append((2, 6, 0xF00, loads[0].address + 0xF00, 0, 16, 16, 8))
    table = b"".join(struct.pack("<IIQQQQQQ", *row) for row in rows)
    data[64 : 64 + len(table)] = table
    data[0xF00:0xF10] = bytes(16)
    return bytes(data)


def by_kernel(path: Path, window: tuple[int, int]) -> list[Part] | None:
    """Return what the kernel maps of a program between two addresses of it; None where it does not start."""
    child = _traced([str(path)])
    _, status = os.waitpid(child, 0)
    if not os.WIFSTOPPED(status):
        return None
    try:
        if os.WSTOPSIG(status) != signal.SIGTRAP:
            return None
        return list(_parts(child, path, window, _moved(child)))
    finally:
        _end(child)


def by_dynamic_loader(path: Path, window: tuple[int, int], kind: int) -> list[Part] | None:
    """Return the same of glibc's loader, when it closes the file that it was to start."""
    child = _traced([str(INTERPRETER), str(path)])
    os.waitpid(child, 0)
    try:
        entering = True
        while True:
            _libc.ptrace(_SYSCALL, child, None, None)
            _, status = os.waitpid(child, 0)
            if not os.WIFSTOPPED(status) or os.WSTOPSIG(status) != signal.SIGTRAP:
                return None
            if entering and _libc.ptrace(_PEEKUSER, child, _ORIG_RAX, None) == _CLOSE:
                mapped = [start for start, _, _, name in _maps(child) if name == str(path)]
                moved = min(mapped, default=0) - window[0] if kind == DYN else 0
                parts = list(_parts(child, path, window, moved))
                # It goes on to the entry, where nothing can be executed, or gives up.
                return parts if _crashes(child) else None
            entering = not entering
    finally:
        if Path(f"/proc/{child}").exists():
            _end(child)


def _crashes(child: int) -> bool:
    while True:
        _libc.ptrace(_SYSCALL, child, None, None)
        _, status = os.waitpid(child, 0)
        if not os.WIFSTOPPED(status):
            return False
        if os.WSTOPSIG(status) != signal.SIGTRAP:
            return True


def expected(space: Space, data: bytes, window: tuple[int, int]) -> list[Part]:
    """Return what a model says of the same."""
    parts = []
    for item in space.between(*window):
        length = item.end - item.start
        if item.offset is None:
            parts.append(Part(item.start, item.end, item.flags, bytes(length)))
            continue
        # Pages that begin behind the file's end cannot be read.
        readable = max(min(-(-len(data) // PAGE) * PAGE - item.offset, length), 0)
        content = data[item.offset : item.offset + readable].ljust(readable, b"\0")
        if readable:
            parts.append(Part(item.start, item.start + readable, item.flags, content))
        if readable < length:
            parts.append(Part(item.start + readable, item.end, item.flags, None))
    return parts


def pages(parts: list[Part]) -> dict[int, tuple[int, bytes | None]]:
    """Return permissions and bytes of each page, by its address."""
    found: dict[int, tuple[int, bytes | None]] = {}
    for part in parts:
        at = part.start
        while at < part.end:
            base = at // PAGE * PAGE
            end = min(part.end, base + PAGE)
            piece = None if part.data is None else part.data[at - part.start : end - part.start]
            before = found.get(base, (part.flags, b""))[1]
            found[base] = (part.flags, None if piece is None or before is None else before + piece)
            at = end
    return found


def mutations(seed: int) -> Iterator[tuple[tuple[Load, ...], int, int]]:
    """Yield segments, type and size of files that linkers would not make: overlapping, empty, unordered, misplaced."""
    chance = random.Random(seed)
    while True:
        kind, size = chance.choice((EXEC, DYN)), chance.randrange(4 * PAGE, 16 * PAGE)
        base = 0x400000 if kind == EXEC else 0
        loads = [Load(0, base, PAGE, PAGE, READ | WRITE)]
        for number in range(chance.randrange(1, 6)):
            within = chance.choice((0, 0, 16, 0x7F8, 0xFF8))
            address = base + PAGE * chance.randrange(1, 12) + within
            if chance.random() < 0.4:
                address = base + PAGE * (2 * number + 1) + within
            offset = PAGE * chance.randrange(0, size // PAGE) + within
            if chance.random() < 0.03:
                offset += 8
            in_file = chance.choice((0, 0, 1, 100, PAGE - within, PAGE, 3 * PAGE, 2 * PAGE + 5))
            memory = in_file + chance.choice((0, 0, 0, 1, 8, 200, PAGE, 4 * PAGE + 9))
            if chance.random() < 0.02:
                memory = max(in_file - 1, 0)
            loads.append(Load(offset, address, in_file, memory, chance.choice((4, 5, 6, 7, 6, 5, 1, 2, 0))))
        yield tuple(loads), kind, size


def reserved(loads: tuple[Load, ...], kind: int) -> bool:
    """Return whether the dynamic loader has room for all of a file, of which it reads the last segment alone."""
    end = -(-(loads[-1].address + loads[-1].memory) // PAGE) * PAGE
    return kind == EXEC or all(load.address + max(load.memory, load.size) <= end for load in loads)


def window_of(loads: tuple[Load, ...]) -> tuple[int, int]:
    """Return the addresses between which anything of a file can be."""
    ends = [load.address + max(load.memory, load.size) for load in loads]
    return min(load.address for load in loads) // PAGE * PAGE, -(-max(ends) // PAGE) * PAGE + PAGE


def _traced(command: list[str]) -> int:
    child = os.fork()
    if child == 0:
        try:
            for stream in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
            _libc.ptrace(_TRACEME, 0, None, None)
            os.execv(command[0], command)  # noqa: S606 - what is traced is started by this process itself
        finally:
            os._exit(99)
    return child


def _end(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _moved(child: int) -> int:
    """Return by how much a program whose entry is 0 was moved."""
    auxiliary = Path(f"/proc/{child}/auxv").read_bytes()
    return int(dict(struct.iter_unpack("<QQ", auxiliary))[_AT_ENTRY])


def _maps(child: int) -> Iterator[tuple[int, int, int, str]]:
    for line in Path(f"/proc/{child}/maps").read_text().splitlines():
        places, flags, _, _, _, *name = line.split(maxsplit=5)
        start, end = (int(place, 16) for place in places.split("-"))
        bits = READ * ("r" in flags) | WRITE * ("w" in flags) | EXECUTE * ("x" in flags)
        yield start, end, bits, name[0] if name else ""


def _parts(child: int, path: Path, window: tuple[int, int], moved: int) -> Iterator[Part]:
    memory = os.open(f"/proc/{child}/mem", os.O_RDONLY)
    try:
        for start, end, flags, name in _maps(child):
            low, high = max(start - moved, window[0]), min(end - moved, window[1])
            if low < high and name in ("", "[heap]", str(path)):
                for at in range(low, high, PAGE):
                    yield Part(at, at + PAGE, flags, _page(memory, at + moved))
    finally:
        os.close(memory)


def _page(memory: int, at: int) -> bytes | None:
    try:
        return os.pread(memory, PAGE, at)
    except OSError:
        return None
