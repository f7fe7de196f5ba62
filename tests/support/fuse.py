"""A FUSE file system with one file, whose bytes change once `is_checked` returns true for its reader."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# include/uapi/linux/fuse.h
_LOOKUP, _FORGET, _GETATTR, _OPEN, _READ, _INIT, _OPENDIR, _BATCH_FORGET = 1, 2, 3, 14, 15, 26, 27, 42
_DONE = (18, 20, 25, 29, 34)  # release, fsync, flush, releasedir, access
_DIRECT_IO = 1
_ENOENT, _ENOSYS = 2, 38
_DETACH = 2  # mount.h


@dataclass
class OneFile:
    """The file's name and bytes."""

    name: bytes
    first: bytes
    """What the kernel reads to run it."""
    then: bytes
    """What is read once `is_checked`; as many bytes."""
    is_checked: bool = False

    def attributes(self, node: int) -> bytes:
        size, mode = (0, 0o40755) if node == 1 else (len(self.first), 0o100755)
        return struct.pack("<6Q10I", node, size, 1, 1, 1, 1, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def answer(self, operation: int, node: int, body: bytes) -> tuple[int, bytes]:
        """Return the error and what follows it."""
        if operation == _INIT:
            return 0, struct.pack("<4I2H2I2H7I", 7, 31, 65536, 0, 12, 10, 65536, 1, 0, 0, *[0] * 7)
        if operation == _LOOKUP:
            found = body.rstrip(b"\0") == self.name
            return (0, struct.pack("<4Q2I", 2, 0, 0, 0, 0, 0) + self.attributes(2)) if found else (-_ENOENT, b"")
        if operation == _GETATTR:
            return 0, struct.pack("<Q2I", 0, 0, 0) + self.attributes(node)
        if operation in (_OPEN, _OPENDIR):
            return 0, struct.pack("<Q2I", 1, _DIRECT_IO if self.is_checked else 0, 0)
        if operation == _READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            return 0, (self.then if self.is_checked else self.first)[offset : offset + size]
        return (0, b"") if operation in _DONE else (-_ENOSYS, b"")


@contextlib.contextmanager
def mounted(place: Path, file: OneFile) -> Iterator[Path]:
    """Mount the file system at ``place``, and return the file's path."""
    libc = ctypes.CDLL(None, use_errno=True)
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    assert libc.mount(b"x", os.fsencode(place), b"fuse.x", 0, options) == 0, os.strerror(ctypes.get_errno())

    def serve() -> None:
        with contextlib.suppress(OSError):  # it is not mounted any more
            while True:
                request = os.read(device, 1 << 20)
                _, operation, unique, node = struct.unpack_from("<2I2Q", request)
                if operation not in (_FORGET, _BATCH_FORGET):
                    error, body = file.answer(operation, node, request[40:])
                    os.write(device, struct.pack("<IiQ", 16 + len(body), error, unique) + body)

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    try:
        yield place / os.fsdecode(file.name)
    finally:
        libc.umount2(os.fsencode(place), _DETACH)
        server.join(10)
        os.close(device)
