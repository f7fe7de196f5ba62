"""Kernel command lines in EFI programs: a section of unified kernel images (Microsoft's PE format; UAPI's UKI)."""

import os
import struct
from typing import List

_HEADER, _SECTION = 64, 40
_MAX_SECTIONS = 96  # of what Windows loads
_MAX_SIZE = 64 * 1024


def command_lines(descriptor: int) -> List[str]:
    """Return the kernel command lines in an EFI program, one for each profile. Raise `OSError` or `ValueError`."""
    header = os.pread(descriptor, _HEADER, 0)
    if len(header) < _HEADER or header[:2] != b"MZ":
        raise ValueError("no EFI program")
    start = struct.unpack_from("<I", header, 60)[0]
    header = os.pread(descriptor, 24, start)
    if len(header) < 24 or header[:4] != b"PE\0\0":
        raise ValueError("no EFI program")
    count, optional = struct.unpack_from("<H12xH", header, 6)
    table = os.pread(descriptor, _SECTION * min(count, _MAX_SECTIONS), start + 24 + optional)
    if count > _MAX_SECTIONS or len(table) < _SECTION * count:
        raise ValueError("more sections than there may be")
    found = []
    for at in range(0, len(table), _SECTION):
        name, virtual, _, size, place = struct.unpack_from("<8sIIII", table, at)
        wanted = min(virtual, size) if virtual else size
        if name.rstrip(b"\0") == b".cmdline":
            if wanted > _MAX_SIZE:
                raise ValueError("a command line of {} bytes".format(wanted))
            found.append(os.pread(descriptor, wanted, place).decode("utf-8", "backslashreplace").strip("\0 \n"))
    return found
