"""Where containerd keeps its images and looks for its programs, as its configuration and its systemd unit say.

Rules: containerd's services/server/config (imports, keys in any case), its plugins opt and overlayfs, and
systemd.service(5).
"""

import contextlib
import errno
import fnmatch
import os
import posixpath
import re
from typing import Any, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from ...trust.text import visible
from .. import systemd, tree
from ..formats import toml
from ..result import UNKNOWN, Result

ROOT = "/var/lib/containerd"
OVERLAYFS = ROOT + "/io.containerd.snapshotter.v1.overlayfs"

_CONFIGURATION = "/etc/containerd/config.toml"
_IMPORTED = "/etc/containerd/conf.d/*.toml"  # by containerd 2.2 and later, whether a configuration says so or not
_OPT = "/opt/containerd"
_OPT_PLUGINS = ("opt", "io.containerd.internal.v1.opt")
_UNIT = "containerd.service"
_SHIMS = "io.containerd.shim.v1.manager"  # ShimConfig, core/runtime/v2/shim_manager.go
_LEGACY_RUNTIME = "io.containerd.runtime.v1.linux"
_HANDLERS = ("runtimes", "default_runtime", "untrusted_workload_runtime")
_PROGRAMS = {
    "binaryname": "runtime",
    "runtime_engine": "runtime",
    "runtime_path": "shim",
    "runtime_type": "shim type",
    "criupath": "program",
    "criu_path": "program",
}
_OPTION = re.compile(r"--?(root|config|c|address|a)(?:=(.*))?\Z", re.DOTALL)
_ASCII = re.compile(r"[ -~]*\Z")
_PATTERN = re.compile(r"(?:/[^*?\[\\/]+)*/[^\[\\/]*\Z")
_MAX_SIZE = 128 * 1024  # its default is 7 KiB; a string of a megabyte takes more memory than the tool may
_MAX_FILES = 100
_MAX_TOLD = 8


class Program(NamedTuple):
    """A program that containerd is configured to start."""

    kind: str
    """``runtime``, ``shim``, ``shim type`` (from which its name follows), ``legacy runtime``, ``legacy shim``,
    ``stream processor`` or ``program``."""
    value: str
    handler: str
    """The runtime handler that uses it; empty where none is named."""
    path: str
    """The file that says so."""


class Directory(NamedTuple):
    """A directory of programs that containerd starts by their names in it."""

    kind: str
    """``cni``, ``cni configuration``, ``nri``, ``verifiers`` (of images) or ``plugins``."""
    value: str
    path: str
    """The file that says so."""


class Configuration(NamedTuple):
    """What containerd's configuration says."""

    elsewhere: Tuple[str, ...]
    """Directories other than the usual ones to keep images or snapshots in."""
    programs: Tuple[str, ...]
    """Directories that it looks for programs in before all others."""
    doubts: Tuple[str, ...]
    """What cannot be read, and why."""
    starts: Tuple[Program, ...]
    """The programs that it is configured to start."""
    directories: Tuple[Directory, ...]
    """The directories from which it is configured to start programs."""
    default_handlers: Tuple[str, ...]
    """The runtime handlers of pods that name none."""
    sockets: Tuple[str, ...]
    """Where it is configured to listen."""
    specifications: Tuple[str, ...]
    """Files from which it makes the specification of every container of a runtime handler (``base_runtime_spec``)."""
    shim_environment: Tuple[Tuple[str, str, str], ...]
    """Variables that shims, and with them runc, are started with: name, value, and the file that says so."""
    sandboxes: Tuple[Tuple[str, str], ...]
    """The image that every pod's sandbox is started from (pause), each with the file that says so."""

    def unread(self, check: str) -> List[Result]:
        """Return what cannot be read as results of a check that relies on it."""
        advice = "Make it readable, and plain: its images or programs may be in places that were not checked."
        evidence = {"code": "configuration"}
        return [
            Result(check, "containerd", UNKNOWN, "its configuration", doubt, evidence, advice)
            for doubt in self.doubts[:_MAX_TOLD]
        ]


def read(
    root: str, units: Optional[Sequence[systemd.Unit]] = None, running: Sequence[systemd.Command] = ()
) -> Configuration:
    """Read all that the node below ``root`` tells its containerd; raises nothing.

    Whatever could be in force counts: every unit that starts it, a value that a later file changes. ``units`` are the
    node's, where they were loaded already; ``running`` is what a containerd that runs was started with.
    """
    reader = _Reader(root)
    reader.read_units(systemd.Units(root).load_all() if units is None else units)
    for command in running:
        reader.read_command(command, True)
    reader.read_configurations()
    found = (
        reader.elsewhere,
        reader.programs,
        reader.doubts,
        reader.starts,
        reader.directories,
        reader.default_handlers,
        reader.sockets,
        reader.specifications,
        reader.shim_environment,
        reader.sandboxes,
    )
    return Configuration(*(tuple(dict.fromkeys(one)) for one in found))  # type: ignore[arg-type]


def is_same(root: str, named: str, usual: str) -> bool:
    """Return whether a directory that the kernel or a configuration names is the usual one.

    It is the host's path, which is below ``root`` if a container inspects its host.
    """
    if posixpath.normpath(named) == usual:
        return True
    for base in (root, "/"):
        with contextlib.suppress(OSError):
            if os.path.samefile(tree.resolve(base, named), tree.resolve(root, usual)):
                return True
    return False


class _Reader:
    def __init__(self, root: str) -> None:
        self._root = root
        self._waiting = [_CONFIGURATION]
        self.elsewhere: List[str] = []
        self.programs = [_OPT + "/bin"]
        self.doubts: List[str] = []
        self.starts: List[Program] = []
        self.directories: List[Directory] = []
        self.default_handlers: List[str] = []
        self.specifications: List[str] = []
        self.shim_environment: List[Tuple[str, str, str]] = []
        self.sandboxes: List[Tuple[str, str]] = []
        self.sockets: List[str] = []

    def read_units(self, units: Sequence[systemd.Unit]) -> None:
        """Read what containerd is started with: by its own unit, and by others that name it."""
        for unit in units:
            own = _UNIT in unit.names
            self.doubts += unit.doubts if own else ()
            for command in unit.commands:
                named = posixpath.basename(command.program) == "containerd"
                if named or (own and command.key == "ExecStart"):
                    self.read_command(command, named)
                    path = unit.environment.get("PATH")
                    self.programs += path.value.split(":") if path is not None else []

    def read_configurations(self) -> None:
        """Read the configurations, and what they import."""
        self._waiting += self._matching(_IMPORTED)
        seen: Set[str] = set()
        while self._waiting:
            path = self._waiting.pop()
            if path in seen:
                continue
            if len(seen) == _MAX_FILES:
                self.doubts.append("there are more than {} files".format(_MAX_FILES))
                return
            seen.add(path)
            try:
                settings = toml.read(self._text(path, must_be=path != _CONFIGURATION))
            except toml.Malformed as error:
                self._doubt(path, str(error))
                continue
            for setting in settings:
                self._read_setting(path, setting)

    def read_command(self, command: systemd.Command, named: bool) -> None:
        """Read the options of a command; ``named`` says whether its program has containerd's name."""
        words = command.arguments
        # A program of another name may start it with anything, and so may a specifier.
        if not named or command.doubt or any("%" in word for word in words):
            self._doubt(command.path, "what containerd is started with cannot be determined")
            return
        for word, following in zip(words, words[1:] + ("",)):  # noqa: B905 - new in Python 3.10
            option = _OPTION.match(word)
            if option is not None:
                value = following if option.group(2) is None else option.group(2)
                if option.group(1) == "root":
                    self._keeps(value, ROOT)
                elif option.group(1) in ("address", "a"):
                    self.sockets.append(value)
                else:
                    self._waiting.append(value)

    def _read_setting(self, path: str, setting: toml.Setting) -> None:
        # Keys are matched in any case.
        names, value = tuple(name.lower() for name in setting.path), setting.value
        if not _ASCII.match("".join(setting.path)):
            self._doubt(path, "a key has other letters than ASCII's, which readers match in different ways")
        self._read_program(path, names, value)
        if names == ("root",):
            self._keeps(value, ROOT)
        elif names[0] == "plugins" and names[-1] == "root_path":
            self._keeps(value, OVERLAYFS)
        elif names[0] == "plugins" and names[-1] == "path" and names[-2] in _OPT_PLUGINS:
            self.programs.append(posixpath.join(str(value), "bin"))
        elif names[0] == "proxy_plugins" and names[-1] == "type":
            what = "unpacks images where only it knows" if value == "snapshot" else "does containerd's work elsewhere"
            self._doubt(path, "{} {}".format(".".join(names[1:-1]), what))
        elif names[0] == "plugins" and names[-1] == "base_runtime_spec" and value != "":
            self.specifications.append(self._as_text(path, names, value))
        elif names[0] == "plugins" and (names[-1] == "sandbox_image" or names[-2:] == ("pinned_images", "sandbox")):
            self.sandboxes.append((self._as_text(path, names, value), path))
        elif names[-1] == "mount_options" and "dir=" in str(value):
            self._doubt(path, "{} changes where images are unpacked".format(".".join(names)))
        elif names == ("imports",):
            for one in value if isinstance(value, list) else [value]:
                self._waiting += self._imported(path, str(one))

    def _read_program(self, path: str, names: Tuple[str, ...], value: Any) -> None:
        """Note which programs a setting makes containerd start, and from which directories."""
        last = names[-1]
        kind = _PROGRAMS.get(last, "") if names[0] == "plugins" else ""
        if _LEGACY_RUNTIME in names and last in ("runtime", "shim"):
            kind = "legacy " + last
        elif names[0] == "stream_processors" and last == "path":
            kind = "stream processor"
        if kind and value != "":
            self.starts.append(Program(kind, self._as_text(path, names, value), _handler(names), path))
        elif last == "default_runtime_name":
            self.default_handlers.append(self._as_text(path, names, value))
        elif names == ("grpc", "address"):
            self.sockets.append(self._as_text(path, names, value))
        elif last == "configpath" and value != "" and names[0] == "plugins":
            self._doubt(path, "{} is another program's configuration".format(".".join(names)))
        self._read_directory(path, names, value)
        for one in (value if isinstance(value, list) else [value]) if names == ("plugins", _SHIMS, "env") else ():
            name, _, assigned = self._as_text(path, names, one).partition("=")
            self.shim_environment.append((name, assigned, path))

    def _read_directory(self, path: str, names: Tuple[str, ...], value: Any) -> None:
        last, above = names[-1], names[-2:-1]
        kind = ""
        if above == ("cni",) and last in ("bin_dir", "bin_dirs", "conf_dir"):
            kind = "cni configuration" if last == "conf_dir" else "cni"
        elif last == "bin_dir" and any("image-verifier" in name for name in names[:-1]):
            kind = "verifiers"
        elif last == "plugin_path" and any("nri" in name for name in names[:-1]):
            kind = "nri"
        elif names == ("plugin_dir",):
            kind = "plugins"
        for one in (value if isinstance(value, list) else [value]) if kind else []:
            if one != "":
                self.directories.append(Directory(kind, self._as_text(path, names, one), path))

    def _as_text(self, path: str, names: Tuple[str, ...], value: Any) -> str:
        if not isinstance(value, str):
            self._doubt(path, "{} is no text".format(".".join(names)))
            return ""
        return value

    def _keeps(self, directory: object, usual: str) -> None:
        # Empty is as if it were not there.
        if directory != "" and not (isinstance(directory, str) and is_same(self._root, directory, usual)):
            self.elsewhere.append(visible(str(directory), 200))

    def _imported(self, path: str, named: str) -> Iterator[str]:
        if "*" not in named:  # "?" and "[" alone are taken as they stand
            yield posixpath.normpath(posixpath.join(posixpath.dirname(path), named))
        elif _PATTERN.match(named):
            yield from self._matching(named)
        else:
            self._doubt(path, "what it imports cannot be determined: {}".format(named))

    def _matching(self, pattern: str) -> List[str]:
        directory, name = posixpath.split(pattern)
        try:
            names = tree.list_names(self._root, directory)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                self._doubt(directory, errno.errorcode.get(error.errno or 0, "unreadable"))
            return []
        return [posixpath.join(directory, one) for one in fnmatch.filter(names, name)]

    def _text(self, path: str, must_be: bool = False) -> str:
        """Read a file whole; what is not there says nothing, unless something names it."""
        try:
            text = tree.read_small(self._root, path, _MAX_SIZE + 1)
            if len(text) <= _MAX_SIZE:
                return text
            self._doubt(path, "larger than {} bytes".format(_MAX_SIZE))
        except tree.NotRegular as error:
            self._doubt(path, str(error))
        except OSError as error:
            if must_be or error.errno not in (errno.ENOENT, errno.ENOTDIR) or self._is_there(path):
                self._doubt(path, errno.errorcode.get(error.errno or 0, "unreadable"))
        return ""

    def _is_there(self, path: str) -> bool:
        """Return whether there is something at a path, if only a link that leads nowhere."""
        with contextlib.suppress(OSError):
            tree.resolve(self._root, path, follow_last=False)
            return True
        return False

    def _doubt(self, path: str, why: str) -> None:
        self.doubts.append("{}: {}".format(visible(path), visible(why)))


def _handler(names: Tuple[str, ...]) -> str:
    """Return the runtime handler that a key belongs to."""
    for place, name in enumerate(names[:-1]):
        if name in _HANDLERS:
            return names[place + 1] if name == "runtimes" and place + 2 < len(names) else name
    return ""
