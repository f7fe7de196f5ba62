"""Code in a component's process that is not its program's: injected libraries, and what makes the loader inject them.

Every executable mapping of /proc/PID/maps has to be a file that belongs there. In a container that is one that a
manifest lists; on the host, whose libraries no manifest lists, it has the digest that the package database has. Where
there is no database to ask, one of the C library and its usual companions passes by its name, in a directory where root
alone may write, if it is the node's own file at its path, and the result says that nothing vouches for its bytes.
"""

import contextlib
import errno
import os
import posixpath
import re
import stat
from typing import FrozenSet, Iterator, List, NamedTuple, Optional, Set, Tuple

from ...trust.text import visible
from .. import tree
from ..formats import elf
from ..packages import Packages, Unanswered
from ..result import FAIL, PASS, UNKNOWN, Node
from . import procfs, variables
from .inventory import Inventory

BY_NAME = "by-name"
"""Code of a library whose bytes could not be compared."""
REPLACED = "library-replaced"
"""Code of a library that was replaced or removed since it was loaded, as an update of the system does."""
_MAX_MAPS = 4 * 1024 * 1024
_MAX_SMAPS = 32 * 1024 * 1024
_MAX_LIBRARY = 512 * 1024 * 1024
_MAX_ENVIRONMENT = 256 * 1024
_PRELOAD = "/etc/ld.so.preload"  # ld.so(8)
_VARIABLES = ("LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH")
_SEARCH = "LD_LIBRARY_PATH"
_SERVED = "file-system"
_LOADER = re.compile(r"ld(?:-linux|64|-musl|-2|\.so)[^/]*\Z")
_VDSO, _STACK = "[vdso]", "[stack]"
_KERNELS = (_VDSO, "[vsyscall]", "[uprobes]")
_READ_IMPLIES_EXEC = 0x0400000  # personality(2)
_DIRECTORIES = re.compile(r"/(?:usr/)?lib(?:32|64|exec)?/")
# glibc, and what a dynamically linked kubelet, containerd or runc and the host's name service may need.
_USUAL = re.compile(
    r"(?:ld(?:-linux.*|-2.*|64.*)|lib(?:c|m|pthread|dl|rt|resolv|util|nsl|anl|nss_[a-z0-9_]+|gcc_s|atomic|stdc\+\+"
    r"|seccomp|btrfs|devmapper|udev|selinux|pcre2?|pcre2?-8|cap|audit|systemd|lzma|lz4|zstd|z|gcrypt|gpg-error|crypt"
    r"|crypto|ssl|blkid|uuid|mount|m|sepol|elf|bpf|tirpc))[-.][^/]*\Z"
)


class Problem(NamedTuple):
    """One thing in a process that does not belong there."""

    status: str
    """``fail``, or ``unknown`` where it may belong there all the same."""
    code: str
    detail: str


class _Mapping(NamedTuple):
    place: str
    """Its addresses, as the kernel writes them."""
    file: str
    """Device and inode, as the kernel writes them."""
    path: str

    @property
    def inode(self) -> int:
        """The file's inode."""
        return int(self.file.rpartition(" ")[2])


def look(node: Node, pid: int, contained: bool, inventory: Inventory, packaged: Packages) -> List[Problem]:
    """Return what is in a process beside its program; raise `OSError` if it cannot be read or has ended.

    A library of the host whose bytes could not be compared is a problem with the status ``pass``.
    """
    found: List[Problem] = []
    own = os.readlink(procfs.link(pid))
    mappings = list(_executable(procfs.read(pid, "maps", _MAX_MAPS)))
    mappings = [one for one in mappings if one.path != own or not _is_own(pid, one)]
    lenient, served = _reads_are_executable(pid), _served(pid)
    if _device(os.stat(procfs.link(pid))) in served:
        found.append(Problem(UNKNOWN, _SERVED, "its program is in a FUSE file system"))
    done: Set[Tuple[str, str]] = set()
    for one in mappings:
        own_stack = one.path == _STACK and _asks_for_executable_stack(pid)
        if (one.file, one.path) in done or one.path in _KERNELS or own_stack:
            continue
        done.add((one.file, one.path))
        problem = _judge(node, pid, one, contained, inventory, lenient, packaged)
        if problem is None and one.file.partition(" ")[0] in served:
            problem = Problem(UNKNOWN, _SERVED, "{} is in a FUSE file system".format(visible(one.path, 150)))
        found += [] if problem is None else [problem]
    if any(_LOADER.match(posixpath.basename(one.path)) for one in mappings):
        found += _loading(pid)
    return [*found, *_written(pid), *_traced(pid)]


def _written(pid: int) -> Iterator[Problem]:
    """Return the code that is not its file's any more: its pages were written to, and are the process's own.

    A debugger's breakpoints do that, and uprobes (proc_pid_smaps(5), "Anonymous").
    """
    code = ""
    for line in procfs.read(pid, "smaps", _MAX_SMAPS).splitlines():
        name, _, value = line.partition(":")
        if " " in name:
            code = next((one.path for one in _executable(line) if one.path.startswith(("/", _VDSO))), "")
        elif name == "Anonymous" and code and value.split() != ["0", "kB"]:
            yield Problem(UNKNOWN, "written-code", "{} of the code of {} was written to".format(value.strip(), code))


def _traced(pid: int) -> Iterator[Problem]:
    """Return whether another process has attached to one of the threads (ptrace(2))."""
    for thread in os.listdir(procfs.link(pid, "task")):
        tracer = re.search(r"^TracerPid:\s*([1-9][0-9]*)$", procfs.read(pid, "task/{}/status".format(thread)), re.M)
        if tracer is not None:
            yield Problem(UNKNOWN, "traced", "process {} has attached to it".format(tracer.group(1)))
            return


def _served(pid: int) -> Set[str]:
    """Return the FUSE file systems that a process sees, as maps name them: a server may give readers other bytes."""
    found = set()
    for line in procfs.read(pid, "mountinfo", _MAX_MAPS).splitlines():
        # ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS ... - TYPE SOURCE OPTIONS (proc(5))
        fields, kind = line.split(" "), line.partition(" - ")[2]
        if len(fields) > 2 and kind.startswith("fuse"):
            found.add("{:02x}:{:02x}".format(*map(int, fields[2].split(":"))))
    return found


def _device(status: os.stat_result) -> str:
    return "{:02x}:{:02x}".format(os.major(status.st_dev), os.minor(status.st_dev))


def godebug(pid: int) -> Optional[str]:
    """Return GODEBUG of a process's environment; None where it has none, or it cannot be read."""
    try:
        return dict(_environment(pid)).get(variables.GODEBUG)
    except OSError:
        return None


def settings(pid: int) -> List[Problem]:
    """Return the variables of a process that change its cryptography; raise `OSError` as `look`.

    What `look` and `godebug` return is not among them.
    """
    found = []
    for name, value in _environment(pid):
        status = None if name in (*_VARIABLES, variables.GODEBUG) else variables.status_of(name, value)
        if status in (FAIL, UNKNOWN):
            found.append(Problem(str(status), "environment", "{}={}".format(name, visible(value, 100))))
    return found


def _environment(pid: int) -> List[Tuple[str, str]]:
    pairs = (entry.partition("=") for entry in procfs.read(pid, "environ", _MAX_ENVIRONMENT).split("\0"))
    return [(name, value) for name, _, value in pairs if value]


def _executable(maps: str) -> Iterator[_Mapping]:
    for line in maps.splitlines():
        fields = line.split(None, 5)
        if len(fields) > 4 and "x" in fields[1]:
            path = fields[5] if len(fields) > 5 else ""
            yield _Mapping(fields[0], " ".join(fields[3:5]), path.replace("\\012", "\n"))


def _reads_are_executable(pid: int) -> bool:
    """Return whether all that the process may read is mapped executable, as of programs that ask for such a stack.

    The kernel does that for such a program alone (fs/binfmt_elf.c); another one has had it done.
    """
    try:
        if not int(procfs.read(pid, "personality"), 16) & _READ_IMPLIES_EXEC:
            return False
    except (OSError, ValueError):
        return False
    return _asks_for_executable_stack(pid)


def _asks_for_executable_stack(pid: int) -> bool:
    """Return whether the header of a process's program asks for an executable stack, or does not mention one."""
    descriptor = os.open(procfs.link(pid), os.O_RDONLY | os.O_CLOEXEC)
    try:
        return bool(elf.segments(descriptor).get(elf.STACK, elf.EXECUTABLE) & elf.EXECUTABLE)
    finally:
        os.close(descriptor)


def _loading(pid: int) -> List[Problem]:
    """Return what makes the loader load more than a program asks for."""
    found = [
        Problem(FAIL, "loader-environment", "{}={}".format(name, visible(value, 100)))
        for name, value in _environment(pid)
        if name in _VARIABLES and not (name == _SEARCH and _has_nothing(pid, value))
    ]
    try:
        named = tree.read_small(procfs.link(pid, "root"), _PRELOAD).split("#")[0].strip()
    except FileNotFoundError:
        return found
    except (OSError, tree.NotRegular):
        return [*found, Problem(UNKNOWN, "preload", _PRELOAD + " cannot be read")]
    return found + ([Problem(FAIL, "preload", "{}: {}".format(_PRELOAD, visible(named, 100)))] if named else [])


def _has_nothing(pid: int, directories: str) -> bool:
    """Return whether a value of LD_LIBRARY_PATH names only absolute directories that are empty or not there.

    containerd's ``opt`` plugin gives each shim /opt/containerd/lib, on nodes that have nothing there as well.
    """
    root = procfs.link(pid, "root")
    for directory in re.split("[:;]", directories):
        if not directory.startswith("/") or "$" in directory:
            return False  # ld.so(8): an empty one is the working directory, and $ORIGIN and others are expanded
        try:
            if tree.list_names(root, directory):
                return False
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return True


def _judge(
    node: Node,
    pid: int,
    mapping: _Mapping,
    contained: bool,
    inventory: Inventory,
    lenient: bool,
    packaged: Packages,
) -> Optional[Problem]:
    path, shown = mapping.path, visible(mapping.path, 150)
    if not path.startswith("/") or path.startswith("//"):
        anonymous = Problem(UNKNOWN, "anonymous-code", "executable memory of no file {}".format(shown).rstrip())
        return None if lenient else anonymous
    if path.startswith("/memfd:"):
        return Problem(FAIL, "library", "{} is mapped".format(shown))
    if path.endswith(procfs.DELETED):
        return _judge_removed(node, pid, mapping, contained, packaged)
    try:
        place, status = _place(pid, mapping)
    except FileNotFoundError:
        os.stat(procfs.link(pid))  # raises, where it has ended
        return Problem(UNKNOWN, "library", "{} is mapped, and cannot be found at its path".format(shown))
    if (lenient and not _is_elf(place)) or _digest(node, place, status.st_size, inventory):
        return None
    if contained:
        return Problem(FAIL, "library", "{} is mapped, and no manifest lists it".format(shown))
    if status.st_uid != 0 or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or not _DIRECTORIES.match(path):
        return Problem(FAIL, "library", "{} is mapped from where others than root may put it".format(shown))
    try:
        expected = packaged.digest(path)
        found = node.digests.of(place, _MAX_LIBRARY, follow=True).sha256 if expected else ""
    except (tree.NotRegular, tree.Unstable):
        return Problem(UNKNOWN, "library", "{} changes while it is read".format(shown))
    except Unanswered:
        return _judge_by_name(node, place, status, path)
    if expected is None:
        return Problem(UNKNOWN, "library", "{} is mapped, and no package of the system has it".format(shown))
    if expected != found:
        return Problem(FAIL, "library", "{} is mapped, and differs from its package".format(shown))
    return None


def _judge_removed(node: Node, pid: int, mapping: _Mapping, contained: bool, packaged: Packages) -> Optional[Problem]:
    """Judge a file that is not at its path any more; None where it has the bytes of the package that is installed.

    An update of the system replaces libraries, and no database has the bytes of what was there before.
    """
    path, shown = mapping.path[: -len(procfs.DELETED)], visible(mapping.path, 150)
    direct = _direct(pid, mapping)
    doubt = Problem(UNKNOWN, REPLACED, "{} is mapped, and its bytes cannot be compared any more".format(shown))
    if contained or not _DIRECTORIES.match(path):
        return Problem(FAIL, "library", "{} is mapped".format(shown))
    try:
        status = os.stat(direct)
    except OSError:
        os.stat(procfs.link(pid))  # raises, where it has ended
        return doubt
    if status.st_uid != 0 or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return Problem(FAIL, "library", "{} is mapped from where others than root may put it".format(shown))
    try:
        expected = packaged.digest(path)
        found = node.digests.of(direct.encode("ascii"), _MAX_LIBRARY, follow=True).sha256 if expected else ""
    except (OSError, tree.NotRegular, tree.Unstable, Unanswered):
        return doubt
    return None if expected and expected == found else doubt


def _judge_by_name(node: Node, place: bytes, status: os.stat_result, path: str) -> Problem:
    """Judge a library of the host where no package database can be asked."""
    shown = visible(path, 150)
    if not _USUAL.match(posixpath.basename(path)):
        return Problem(UNKNOWN, "library", "{} is mapped, which none of the components is known to need".format(shown))
    if _is_nodes(node, place, status, path):
        return Problem(PASS, BY_NAME, shown)
    return Problem(FAIL, "library", "{} is mapped, and is not the node's own file at that path".format(shown))


def _is_nodes(node: Node, place: bytes, status: os.stat_result, path: str) -> bool:
    """Return whether a mapped file is what the node has at its path: a mount namespace or root may have another there.

    The bytes decide where the file is not the same one, as a mount may show it under another device.
    """
    try:
        own = tree.resolve(node.root, path)
        found = os.stat(own)
        if (found.st_dev, found.st_ino) == (status.st_dev, status.st_ino):
            return True
        return node.digests.of(own, _MAX_LIBRARY) == node.digests.of(place, _MAX_LIBRARY, follow=True)
    except (OSError, tree.NotRegular, tree.Unstable):
        return False


class CodeFile(NamedTuple):
    """A file that a process has mapped executable."""

    path: str
    """As the kernel shows it."""
    place: str = ""
    """Where it can be opened; empty where it cannot."""
    file: Tuple[int, int] = (0, 0)
    """Device and inode."""


def code_files(pid: int) -> Iterator[CodeFile]:
    """Return each file that a process has mapped executable, its own program left out; raises nothing."""
    with contextlib.suppress(OSError):
        own = os.readlink(procfs.link(pid))
        for one in _executable(procfs.read(pid, "maps", _MAX_MAPS)):
            if not one.path.startswith("/") or one.path == own:
                continue
            try:
                place, status = _place(pid, one)
                yield CodeFile(one.path, os.fsdecode(place), (status.st_dev, status.st_ino))
            except (OSError, ValueError):
                yield CodeFile(one.path)


def _is_own(pid: int, mapping: _Mapping) -> bool:
    """Return whether a mapping with the path of the process's program is that program, and no mount over it."""
    own = os.stat(procfs.link(pid))
    try:
        found = os.stat(_direct(pid, mapping))
    except OSError:
        return mapping.inode == own.st_ino
    return (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)


def _direct(pid: int, mapping: _Mapping) -> str:
    return procfs.link(pid, "map_files/" + "-".join(one.lstrip("0") or "0" for one in mapping.place.split("-")))


def _place(pid: int, mapping: _Mapping) -> Tuple[bytes, os.stat_result]:
    """Return where the mapped file can be opened: itself, or where that is not allowed the file at its path.

    Raise `FileNotFoundError` where that is another file, or none.
    """
    direct = _direct(pid, mapping)
    try:
        return direct.encode("ascii"), os.stat(direct)
    except OSError:
        place = tree.resolve(procfs.link(pid, "root"), mapping.path)
        status = os.stat(place)
        # Not the device: of overlayfs and btrfs the kernel writes another one there than stat(2) returns.
        if status.st_ino != mapping.inode:
            raise FileNotFoundError(errno.ENOENT, "another file", mapping.path)
        return place, status


def _digest(node: Node, place: bytes, size: int, inventory: Inventory) -> Optional[str]:
    """Return the digest of a library that a manifest lists; None for any other."""
    listed: FrozenSet[str] = frozenset(inventory.sizes)
    if not inventory.may_have(size, listed):
        return None
    try:
        found = node.digests.of(place, _MAX_LIBRARY, follow=True).sha256
    except (tree.NotRegular, tree.Unstable):
        return None
    return found if found in listed else None


def _is_elf(place: bytes) -> bool:
    descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 4) == b"\x7fELF"
    finally:
        os.close(descriptor)
