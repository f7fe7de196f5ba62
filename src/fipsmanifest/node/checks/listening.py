"""Where this node listens, and which processes do, as proc(5) tells it."""

import contextlib
import errno
import os
import posixpath
import socket
import struct
import time
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from .. import tree
from . import procfs

_PROC = "/proc"
_CONNECT_SECONDS = 2.0
_LISTEN = "0A"  # TCP_LISTEN, include/net/tcp_states.h
_INODE = 9  # its place in a line of /proc/net/tcp
MAX_NAME = 15
"""How much of a name comm holds (proc(5))."""
_MAX_TABLE = 4 * 1024 * 1024
_MAPPED = bytes(10) + b"\xff\xff"
_ANY_IPV4 = "0.0.0.0"  # noqa: S104 - what others listen on
_ANYWHERE = (_ANY_IPV4, "::")
_ACCEPTS = "00010000"  # __SO_ACCEPTCON, as /proc/net/unix writes the flags of a socket that listens
# Netlink's questions about sockets (include/uapi/linux/sock_diag.h, unix_diag.h, netlink.h).
_SOCK_DIAG, _BY_FAMILY, _DUMP, _DONE = 4, 20, 0x301, 3
_SHOW_FILE, _FILE = 2, 1
_MINOR_BITS = 20  # of a device, within the kernel (include/linux/kdev_t.h)
_MAX_ANSWER = 64 * 1024


class Listener(NamedTuple):
    """A socket that takes connections."""

    address: str
    scope: int
    """Number of the interface that a link-local address is of; otherwise 0."""
    inode: int
    """What /proc/PID/fd calls the socket."""


class Owner(NamedTuple):
    """A process that holds a socket."""

    pid: int
    program: str
    """Path of its file."""
    name: str
    """What it was started as, 15 characters at the most (comm)."""


def listeners() -> Dict[int, List[Listener]]:
    """Return what listens, by port; empty where it cannot be determined."""
    found: Dict[int, List[Listener]] = {}
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for fields in _rows(table):
            if len(fields) > _INODE and fields[3] == _LISTEN:
                address, _, port = fields[1].partition(":")
                # Each 32-bit word is written in the machine's own byte order.
                words = struct.unpack(">{}I".format(len(address) // 8), bytes.fromhex(address))
                packed = struct.pack("={}I".format(len(words)), *words)
                one = Listener(written(family, packed), _scope(packed), int(fields[_INODE]))
                found.setdefault(int(port, 16), []).append(one)
    return found


def _rows(table: str) -> Iterator[List[str]]:
    try:
        lines = tree.read_small("/", "{}/net/{}".format(_PROC, table), _MAX_TABLE).split("\n")
    except (OSError, tree.NotRegular):
        return
    for line in lines:
        yield line.split()


def socket_owner(path: bytes) -> Optional[int]:
    """Return the process that listens on a Unix socket; None if there is none. Raise `OSError` where it is hidden.

    The kernel reports it to a process that connects (SO_PEERCRED, unix(7)), whatever name the socket was made by. No
    data is sent.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_CONNECT_SECONDS)
        try:
            connection.connect(path)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            return None
        peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", peer)[0])


def unix_listeners(path: bytes) -> Set[int]:
    """Return the inodes of the Unix sockets that listen at a path; empty where they cannot be found.

    The kernel tells the file of each socket (unix_diag). The name that a socket was made by, which may lead to another
    one since, counts where the kernel has no such answer, or where a file system shows another device than it has.
    """
    status = os.stat(path)
    number, device = status.st_ino & 0xFFFFFFFF, os.major(status.st_dev) << _MINOR_BITS | os.minor(status.st_dev)
    try:
        bound = list(_diagnosed())
    except (OSError, struct.error):
        return set(_named(path))
    found = {inode for inode, file in bound if file == (number, device)}
    return found or {inode for inode, file in bound if file[0] == number}.intersection(_named(path))


def _diagnosed() -> Iterator[Tuple[int, Tuple[int, int]]]:
    """Return each Unix socket that listens, with inode and device of its file (include/uapi/linux/unix_diag.h)."""
    request = struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, 1 << int(_LISTEN, 16), 0, _SHOW_FILE, 0, 0)
    header = struct.pack("=IHHII", 16 + len(request), _BY_FAMILY, _DUMP, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
        kernel.settimeout(_CONNECT_SECONDS)
        kernel.send(header + request)
        while True:
            answer = kernel.recv(_MAX_ANSWER)
            while answer:
                size, kind = struct.unpack_from("=IH", answer)
                if kind == _DONE:
                    return
                if kind != _BY_FAMILY or size < 32:
                    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
                inode, attributes = struct.unpack_from("=I", answer, 20)[0], answer[32:size]
                while len(attributes) >= 4:
                    length, what = struct.unpack_from("=HH", attributes)
                    if what == _FILE:
                        yield inode, struct.unpack_from("=II", attributes, 4)
                    attributes = attributes[max((length + 3) & ~3, 4) :]
                answer = answer[(size + 3) & ~3 :]


def _named(path: bytes) -> Iterator[int]:
    """Return the Unix sockets that listen, and whose name leads to a path."""
    for fields in _rows("unix"):
        # NUMBER: REFERENCES PROTOCOL FLAGS TYPE STATE INODE NAME (proc(5))
        if len(fields) > 7 and fields[3] == _ACCEPTS and fields[7].startswith("/"):
            with contextlib.suppress(OSError):
                if os.path.samefile(os.fsencode(fields[7]), path):
                    yield int(fields[6])


def written(family: int, packed: bytes) -> str:
    """Write an address; an IPv4 one that is mapped into IPv6 (RFC 4291, 2.5.5.2) as IPv4."""
    if packed.startswith(_MAPPED):
        return socket.inet_ntop(socket.AF_INET, packed[len(_MAPPED) :])
    return socket.inet_ntop(family, packed)


def _scope(packed: bytes) -> int:
    """Return the interface of a link-local address, which is needed to connect to it (RFC 4007)."""
    if len(packed) != 16 or packed[0] != 0xFE or packed[1] & 0xC0 != 0x80:
        return 0
    numbers = [int(fields[1], 16) for fields in _rows("if_inet6") if fields[:1] == [packed.hex()]]
    return numbers[0] if numbers else 0


def askable(listener: Listener, beside: Sequence[Listener]) -> Optional[Tuple[str, int]]:
    """Return an address and its scope where ``listener`` answers, and none of those ``beside`` it on its port does.

    The kernel gives a connection to the socket that is bound to its very address before one that is bound to every
    address. None where each of the node's addresses is taken by another one.
    """
    if listener.address not in _ANYWHERE:
        return listener.address, listener.scope
    taken = {(other.address, other.scope) for other in beside}
    # All of 127.0.0.0/8 is the loopback (RFC 1122, 3.2.1.3), and one more than are taken is enough.
    loopbacks = [("127.0.0.{}".format(last), 0) for last in range(1, min(len(taken) + 2, 255))]
    own = loopbacks
    if listener.address == "::":
        # It may take IPv4 as well, and does where IPv6 is switched off.
        own = _own_addresses() + ([] if (_ANY_IPV4, 0) in taken else loopbacks)
    return next((one for one in own if one not in taken), None)


def _own_addresses() -> List[Tuple[str, int]]:
    """Return the node's IPv6 addresses with their scopes, the loopback first; none where IPv6 is switched off."""
    packed = [bytes.fromhex(fields[0]) for fields in _rows("if_inet6") if len(fields) > 1 and len(fields[0]) == 32]
    found = [(written(socket.AF_INET6, one), _scope(one)) for one in packed]
    return sorted(found, key=lambda one: one[0] != "::1")


def owners(inodes: Set[int], seconds: float) -> Dict[int, List[Owner]]:
    """Return the processes that hold each socket, as far as they can be found in ``seconds``.

    Each of them may take its connections; the one that does need not be the one that opened it. Process 1 opens some
    for others, and is not named beside these (systemd.socket(5)).
    """
    found: Dict[int, List[Owner]] = {}
    deadline = time.monotonic() + seconds
    for pid, name in sorted(processes(), reverse=True) if inodes else ():
        if time.monotonic() > deadline:
            break
        held = sockets(pid).intersection(inodes)
        for inode in held if pid != 1 else held.difference(found):
            with contextlib.suppress(OSError):  # It has ended, or is not ours to inspect.
                found.setdefault(inode, []).append(Owner(pid, os.readlink("{}/{}/exe".format(_PROC, pid)), name))
    return found


def sockets(pid: int) -> Set[int]:
    """Return the inodes of a process's sockets; empty where it has ended, or may not be inspected."""
    found = set()
    directory = "{}/{}/fd".format(_PROC, pid)
    with contextlib.suppress(OSError):
        for number in os.listdir(directory):
            with contextlib.suppress(OSError, ValueError):
                kind, _, inode = os.readlink(posixpath.join(directory, number)).partition(":")
                found.update([int(inode.strip("[]"))] if kind == "socket" else [])
    return found


def processes() -> Iterator[Tuple[int, str]]:
    """Return each process with the name that it was started by."""
    try:
        pids = procfs.pids()
    except OSError:
        return
    for pid in pids:
        try:
            with open("{}/{}/comm".format(_PROC, pid), encoding="utf-8", errors="backslashreplace") as file:
                yield pid, file.read(64).rstrip("\n")
        except OSError:
            continue


def is_named(name: str, component: str) -> bool:
    """Return whether a process or program of this name is a component's."""
    return name == component or name == component[:MAX_NAME] or name.startswith(component + "-")
