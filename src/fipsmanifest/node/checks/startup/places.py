"""What puts other files into the place of the listed programs: mounts, systemd-tmpfiles, binary formats."""

import base64
import contextlib
import fnmatch
import posixpath
import re
from typing import Iterator, List, Sequence, Tuple

from ....trust.text import visible
from ... import systemd
from ...result import FAIL, UNKNOWN, Node, Result
from ..platform import architecture_of
from .changes import BINARY_FORMATS, PLACES
from .programs import Programs
from .results import result
from .starters import judge_text, list_names, read_text, read_texts

_FSTAB = "/etc/fstab"
# Master maps of automount, and maps; a direct one has the place itself (auto.master(5), autofs(5)).
_AUTOMOUNT = re.compile(r"auto[._].*")
_MASTER_MAPS = "/etc/auto.master.d"
_PARTITIONS = ("/", "/usr", "/usr/local", "/opt")  # that have a file system of their own on ordinary nodes
_COPIES = re.compile(r"(?:\A|,)(?:r?bind|lowerdir=[^,]*|upperdir=[^,]*|loop(?:=[^,]*)?)(?=,|\Z)")
_STACKED: Tuple[str, ...] = (
    "overlay",
    "fuse",
    "fuseblk",
    "tmpfs",
    "ramfs",
    "aufs",
    "squashfs",
    "erofs",
    "9p",
    "autofs",
)
_STACKED += ("nfs", "nfs4", "cifs", "smb3", "virtiofs")  # what they have is nowhere on the node
# mount(8) makes a loop device of a file, with or without the option.
_IMAGE = re.compile(r"/(?!dev/)")
_OCTAL = re.compile(r"\\([0-7]{3})")  # libmount decodes any (fstab(5))
_TMPFILES: Tuple[str, ...] = ("/etc/tmpfiles.d", "/run/tmpfiles.d", "/usr/local/lib/tmpfiles.d", "/usr/lib/tmpfiles.d")
# Those of root's own manager (systemd-tmpfiles(8), --user).
_TMPFILES += ("/usr/share/user-tmpfiles.d", "/usr/local/share/user-tmpfiles.d", "/run/user/0/user-tmpfiles.d")
_TMPFILES += ("/root/.config/user-tmpfiles.d", "/root/.local/share/user-tmpfiles.d")
_FACTORY = "/usr/share/factory"  # where what is copied or linked comes from, unless a line says so
_MAX_COPIED = 100  # files of a directory
_REPLACES = ("L", "C", "f", "F", "w", "r", "R", "p", "b", "c", "D")  # tmpfiles.d(5)
_PERMITS = ("z", "Z", "m", "a", "A")  # modes, owners and access control lists
_FIELDS = 6  # type, path, mode, user, group, age; what follows is the argument
_WRITES = "fFw"  # the argument; others of those above take it for a path
_ABOVE = "LCDR"  # change what is below a directory as well
_GROUPS = re.compile(r"\A([^{]*)\{.*\}")  # alternatives of a pattern (glob(3), GLOB_BRACE)
_OWNERS = ("", "-", "root", "0", ":root")
_WRITABLE = re.compile(r"[~:]*[0-7]*(?:[2367][0-7]|[2367])\Z")  # by the group, or by all
_SPECIFIER = re.compile(r"%[A-Za-z]")
_LINE = "Remove the line: it may put another file into the program's place."
_CREDENTIALS = tuple(base + "/credstore" + kind for base in ("/etc", "/run", "/usr/lib") for kind in ("", ".encrypted"))
_CONFIGURING = re.compile(r"(?:fstab|import|sysctl|systemd|tmpfiles|udev)\.")
_BINARY_FORMATS = ("/etc/binfmt.d", "/run/binfmt.d", "/usr/local/lib/binfmt.d", "/usr/lib/binfmt.d")
_AT_START = ("/etc/fstab", "/etc/auto.master", *_TMPFILES, *_CREDENTIALS, *_BINARY_FORMATS)
_ELF = b"\x7fELF\x02\x01\x01"
_SYSTEMS = (0, 3)  # ELFOSABI_NONE, ELFOSABI_GNU of what has indirect functions
_MACHINES = {"x86_64": (62,), "aarch64": (183,)}  # System V ABI
_OFFSET = re.compile(r"\+?[0-9]+\Z")
_ESCAPE = re.compile(r"\\x([0-9A-Fa-f]{2})")


def check(node: Node, programs: Programs) -> List[Result]:
    """Judge what puts files over the listed programs when the node starts; raises nothing."""
    results: List[Result] = []
    for line in read_text(node, _FSTAB, results).splitlines():
        fields = [*map(_decoded, line.split()), "", ""]
        if len(fields) > 4 and not fields[0].startswith("#"):  # elsewhere it is part of a field (fstab(5))
            results += judge_mount(programs, _FSTAB, _FSTAB, *fields[:4])
    results += list(_judge_automount(node, programs, results))
    results += list(_judge_tmpfiles(node, programs, results))
    results += list(_judge_credentials(node, results))
    results += list(_judge_binary_formats(node, programs, results))
    return results


def judge_mount(
    programs: Programs, subject: str, path: str, what: str, where: str, kind: str, options: str
) -> Iterator[Result]:
    """Judge a mount; of a partition as nodes have them it says nothing that another file than on it would be seen."""
    # mount(8) starts /sbin/mount.TYPE, and mount.fuse(8) what is before the sign, or after the type's dot.
    started = ["/sbin/{}.{}".format(one, kind) for one in ("mount", "umount", "fsck", "mkfs") if kind]
    started += [what.replace("#", " "), kind[5:]] if kind.startswith("fuse") else []
    for one in programs.builds_in(programs.texts.followed(" ".join(started))):
        advice = "Remove the mount, and find out who put it there."
        yield result(subject, FAIL, "listed programs", one.shown, "other-build", path, advice, component=one.component)
    is_partition = posixpath.normpath(where) in _PARTITIONS
    is_copy = _COPIES.search(options) is not None or kind.partition(".")[0] in _STACKED or bool(_IMAGE.match(what))
    if is_partition and not is_copy:
        return
    covered = _covered(where, programs)
    if not covered and not programs.is_live:
        covered = _configured(where, programs, is_copy)
    if covered:
        advice = "Remove the mount: it puts other files into the place of those that were checked."
        yield result(subject, UNKNOWN, None, "mounts over " + covered, "mounted-over", path, advice)


def _decoded(field: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match.group(1), 8)), field)


def _covered(directory: str, programs: Programs) -> str:
    """Return a listed program that a mount at ``directory`` would hide; empty where there is none."""
    for where in (posixpath.normpath(directory), programs.node_files.resolved(directory)):
        for path in sorted(programs.paths):
            if path == where or path.startswith(where.rstrip("/") + "/") or fnmatch.fnmatchcase(path, where):
                return path
    return ""


def _configured(directory: str, programs: Programs, replaces: bool) -> str:
    """Return a place of what is read before anything starts that is at or above ``directory``; empty for none.

    Where ``replaces`` says that what is at ``directory`` is not seen any more, a place below it counts as well; what is
    below /run is new at each start in any case.
    """
    for where in (posixpath.normpath(directory), programs.node_files.resolved(directory)):
        for place in (*PLACES, *programs.configurations):
            below = place.startswith(where + "/") and not place.startswith("/run/")
            # As many parts of it as the place has may be a pattern of that.
            start = "/".join(where.split("/")[: place.count("/") + 1])
            if fnmatch.fnmatchcase(place, start) or (replaces and below):
                return place
    return ""


def _judge_automount(node: Node, programs: Programs, results: List[Result]) -> Iterator[Result]:
    paths = ["/etc/" + name for name in list_names(node, "/etc", results) if _AUTOMOUNT.match(name)]
    paths += [posixpath.join(_MASTER_MAPS, name) for name in list_names(node, _MASTER_MAPS, results)]
    for path, text in read_texts(node, paths, results):
        for line in text.splitlines():
            where = "".join(line.split(None, 1)[:1]).strip("\"'")
            if where.startswith("/") and where != "/-":
                yield from judge_mount(programs, path, path, "", where, "autofs", "")


def _judge_tmpfiles(node: Node, programs: Programs, results: List[Result]) -> Iterator[Result]:
    for path, text in _configurations(node, _TMPFILES, results):
        for line in text.splitlines():
            fields, argument = _fields(line)
            covered = ""
            if len(fields) > 1 and fields[0][:1] in _REPLACES:
                covered = _covered(fields[1], programs) or _configured(fields[1], programs, fields[0][:1] in _ABOVE)
                covered = covered or (fields[1] if fields[1].startswith((BINARY_FORMATS, *_AT_START)) else "")
                if not covered:
                    # Some of the kernel's settings name a program that it starts, and many files what others start.
                    yield from judge_text(path, _content(fields, argument, programs), programs)
            elif len(fields) > 1 and fields[0][:1] in _PERMITS and _opens(fields):
                covered = _covered(fields[1], programs)
            if covered:
                actual = "{} {} changes {}".format(fields[0], fields[1], covered)
                yield result(path, UNKNOWN, None, actual, "replaced-at-start", path, _LINE)


def _fields(line: str) -> Tuple[List[str], str]:
    """Return a line of tmpfiles.d, as `systemd.split` and `systemd.expand` read it, and its argument.

    A specifier whose value is not known fits anything, and so do alternatives.
    """
    fields: List[str] = []
    rest = line.strip()
    try:
        while rest and len(fields) < _FIELDS:
            field, rest = systemd.first_word(rest)
            fields.append(field)
    except systemd.Malformed:
        # Version 219 removes a backslash where later ones refuse the line.
        words = re.sub(r"[\\\"']", "", line).split(None, _FIELDS)
        fields, rest = words[:_FIELDS], " ".join(words[_FIELDS:])
    expanded = [_SPECIFIER.sub("*", systemd.expand(one, "tmpfiles")[0]) for one in (*fields[1:], rest)]
    return fields[:1] + [_GROUPS.sub(r"\1*", one) for one in expanded[:-1]], expanded[-1]


def _content(fields: Sequence[str], argument: str, programs: Programs) -> str:
    """Return the text that a line of tmpfiles.d writes, or the paths of the files that it copies or links."""
    if fields[0][:1] not in _WRITES:
        source = argument if argument not in ("", "-") else _FACTORY + fields[1]
        names = sorted(programs.node_files.names(source))[:_MAX_COPIED]
        return "\n".join([source, *(posixpath.join(source, name) for name in names)])
    if "~" in fields[0]:
        with contextlib.suppress(ValueError):
            return base64.b64decode(argument).decode("utf-8", "backslashreplace")
    return _unescaped(_decoded(argument.replace("\\n", "\n"))).decode("latin-1")


def _opens(fields: Sequence[str]) -> bool:
    """Return whether a line of tmpfiles.d lets others than root write."""
    mode, owner = [*fields[2:4], "", ""][:2]
    return fields[0][:1] in ("a", "A") or owner not in _OWNERS or _WRITABLE.match(mode) is not None


def _judge_credentials(node: Node, results: List[Result]) -> Iterator[Result]:
    """Judge the credentials by which services of systemd's own get further configuration (systemd.exec(5))."""
    for directory in _CREDENTIALS:
        names = [name for name in list_names(node, directory, results) if _CONFIGURING.match(name)]
        if names:
            advice = "Remove them: systemd's own services take them for configuration."
            yield result(directory, UNKNOWN, None, ", ".join(names[:8]), "replaced-at-start", directory, advice)


def _judge_binary_formats(node: Node, programs: Programs, results: List[Result]) -> Iterator[Result]:
    """Judge the rules by which the kernel gives a node's own programs to an interpreter (binfmt.d(5))."""
    machines = _MACHINES.get(str(architecture_of(node, programs.paths)), (62, 183))
    headers = [
        _ELF + bytes((abi,)) + bytes(8) + bytes((kind, 0, machine, 0))
        for machine in machines
        for kind in (2, 3)
        for abi in _SYSTEMS
    ]
    for path, text in _configurations(node, _BINARY_FORMATS, results):
        for line in text.splitlines():
            if _takes_programs(line.strip(), headers):
                advice = "Remove it: with it, another program runs in the place of every listed one."
                yield result(path, UNKNOWN, None, visible(line, 100), "binary-format", path, advice)


def _configurations(node: Node, directories: Sequence[str], results: List[Result]) -> Iterator[Tuple[str, str]]:
    paths = [posixpath.join(one, name) for one in directories for name in list_names(node, one, results)]
    return read_texts(node, [path for path in paths if path.endswith(".conf")], results)


def _takes_programs(rule: str, headers: Sequence[bytes]) -> bool:
    """Return whether a rule ``:NAME:M:OFFSET:MAGIC:MASK:INTERPRETER:FLAGS`` takes programs with one of the headers."""
    if rule[:1] in ("", "#", ";"):
        return False
    fields = rule[1:].split(rule[0])
    if len(fields) < 6 or fields[1] != "M":
        return False
    magic, mask = _unescaped(fields[3]), _unescaped(fields[4])
    offset = int(fields[2][-9:]) if _OFFSET.match(fields[2]) else 0
    for header in headers:
        compared = list(zip(header[offset:], magic, mask or b"\xff" * len(magic)))  # noqa: B905 - new in Python 3.10
        if all((byte ^ one) & bits == 0 for byte, one, bits in compared):
            return True
    return False


def _unescaped(text: str) -> bytes:
    return _ESCAPE.sub(lambda match: chr(int(match.group(1), 16)), text).encode("latin-1", "replace")
