"""The programs that the manifests list, and what a path or a name on the node leads to."""

import contextlib
import errno
import fnmatch
import functools
import itertools
import os
import posixpath
import re
import stat
from typing import Any, Dict, FrozenSet, List, NamedTuple, Optional, Pattern, Sequence, Set, Tuple

from ....trust.text import visible
from ... import systemd, tree
from ...provenance import has_mode
from ...result import FAIL, PASS, UNKNOWN, Listed, Node, Result, image_files, is_own_program, of_component
from .. import builds, configuration_files, files
from . import shell
from .own_mounts import Mounts

ID = "startup"

LISTED = "listed"
OTHER = "other"
MISSING = "missing"
UNREADABLE = "unreadable"
_HASH_ANYWAY = 1024 * 1024 * 1024
_MAX_SCRIPTS = 50  # that a command leads to, one through another
_MAX_MENTIONS = 100_000  # of paths, in all commands and scripts
_PLUGINS = ("/opt/cni/", "/usr/libexec/cni/")
_KERNEL = ("/proc/", "/sys/", "/dev/")
_LOGS = "/var/log/"
_OWN_ROOT = re.compile(r"/+proc/+(?:[0-9]+|self|thread-self)/+(?:root|cwd)(?=/)")  # proc(5)
_SPECIFIER = re.compile(r"%[A-Za-z]")  # systemd.unit(5), where its value is not known
_PATTERN = re.compile(r"[*?]")  # glob(7)
_RUN_PARTS = re.compile(r"\brun-parts\s+(?:-\S+\s+)*(/[^\s;&|<>()'\"]+)")
_MAX_FOLLOWED = 20  # scripts that one pattern or directory names
_MAX_MADE = 2000
_MAX_COMMAND = 4096  # characters of a command, and not a script
_MAX_WITHIN = 50  # units with mounts of their own, which differ
_HEAD = 256  # bytes by which a program is known
_MAX_DIRECTORIES = 16  # of a text, in which what it names otherwise is looked for
# What makes a shell read the file whose path follows.
_READ_BY_SHELL = r"(?:(?:^|[\s/;&|('\"])(?:(?:ba|da|k|z)?sh|source|\.))\s+(?:-\S+\s+)*['\"]?"
# Programs that start another one, which their arguments name.
_WRAPPERS = frozenset(
    ("sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "busybox", "env", "nice", "ionice", "chrt", "taskset")
    + ("numactl", "setpriv", "setsid", "nohup", "timeout", "stdbuf", "chroot", "unshare", "nsenter", "sudo", "su")
    + ("runuser", "systemd-run", "systemd-nspawn", "capsh", "prlimit", "flock", "strace", "xargs", "python", "perl")
    + ("systemd-inhibit", "start-stop-daemon", "daemon", "runcon", "sg", "script", "setarch", "linux64", "bwrap")
    + ("ruby", "node", "php", "tclsh", "expect", "make", "find", "screen", "tmux", "socat", "ncat", "watch", "ssh")
    + ("parallel", "openvt", "pkexec", "run-parts")
    + ("cgexec", "tini", "dumb-init", "supervisord", "exec", "awk", "gdb", "uname26", "platform-python", "podman")
)
# What lets a directory be found at another path.
_MOUNTED = re.compile(r"\bmount\s[^\n;&|]*\bbind\b|\bBind(?:ReadOnly)?Paths=|\bln\s+-")
_LOADER = re.compile(r"(?:ld-linux.*|ld|ld-[0-9.]+|ld-musl.*)\.so[0-9.]*\Z|python[0-9.]*\Z|perl[0-9.]*\Z|lua[0-9.]*\Z")


_COMMANDS = re.compile(r"[^\n;&|]+")
_EDITORS = frozenset(("nvidia-ctk", "yq", "jq", "crudini"))


class Found(NamedTuple):
    """What a path on the node leads to."""

    status: str
    """``listed``, ``other``, ``missing`` or ``unreadable``."""
    path: str
    component: Optional[str] = None
    """Whose program it is, where it is listed."""
    name: str = ""
    """The listed program's name."""
    replaceable: files.Replaceable = files.Replaceable()
    """Who other than root may replace it, where it is at another path than the manifest lists."""


class OtherBuild(NamedTuple):
    """A program that is a build of a component, and not a listed one."""

    path: str
    component: str

    @property
    def shown(self) -> str:
        """The program, as results name it."""
        return "{}, another build of {}".format(self.path, self.component)


class Programs:
    """The components' own programs, by place, digest and name."""

    def __init__(self, node: Node, manifests: Sequence[Listed], mounts: Optional[Mounts] = None) -> None:
        self._node = node
        self._manifests = manifests
        self._mounts = mounts
        self._within: Dict[Mounts, Programs] = {}
        self._accounts = files.accounts_of(node)
        self._packages = builds.Builds(manifests)
        self._mentions = _MAX_MENTIONS
        self._builds: Dict[bytes, Optional[str]] = {}
        self._listed: Dict[str, FrozenSet[str]] = {}
        self._no_texts: Set[str] = set()
        self._usual: Optional[FrozenSet[str]] = None
        """The names in the directories that are searched unless something else is said."""
        self._named_builds: Dict[str, List[OtherBuild]] = {}
        """Name -> the other builds that have it, in the usual directories."""
        self._heads: Dict[str, str] = {}
        self._made: Dict[str, List[str]] = {}
        """Pattern -> the files that it fits."""
        self.unexamined: Dict[str, str] = {}
        """Path of each program or script that was not read to its end -> why."""
        self._sizes: Set[int] = set()
        self._places: Dict[bytes, Tuple[str, str]] = {}
        self._digests: Dict[str, Tuple[str, str]] = {}
        self.names: Dict[str, str] = {}
        """Each program, by name, that a manifest lists, in packages or images -> its component."""
        self.host: Dict[str, Set[str]] = {}
        """Component -> the names of its programs in packages."""
        self._hosted: Set[str] = set()
        """Components with a program outside the directories of plugins."""
        self.paths: Set[str] = set()
        """The paths of the programs in packages, with links and where these lead."""
        self.has_mode = False
        """Whether a program may have a FIPS mode that GODEBUG switches off; what one starts inherits its variables."""
        compared = files.compared(node, manifests)
        for listed in manifests:
            for file in listed.manifest["files"]:
                self._add(file, str(file.get("path")) in compared)
            for image in listed.manifest.get("images") or []:
                for file in image_files(image):
                    component = str(file.get("component"))
                    if is_own_program(file, component):
                        self.has_mode = self.has_mode or has_mode(file)
                        self.names.setdefault(posixpath.basename(str(file["path"])), component)

    def _add(self, file: Dict[str, Any], is_compared: bool) -> None:
        """Add a program; at its own path it counts as listed only where the files check compares it."""
        component, path = str(file.get("component")), str(file.get("path"))
        if not is_own_program(file, component):
            return
        self.has_mode = self.has_mode or has_mode(file)
        owner = (component, posixpath.basename(path))
        self.names[owner[1]] = component
        self.host.setdefault(component, set()).add(owner[1])
        self.paths.add(path)
        if not path.startswith(_PLUGINS):
            self._hosted.add(component)
        self._sizes.add(int(file.get("size") or 0))
        self._digests[str(file["sha256"])] = owner
        with contextlib.suppress(OSError):  # that it is missing is for the files check to say
            place = tree.resolve(*self._locate(path))
            if is_compared:
                self._places[place] = owner
            self.paths.add(self.resolved(path))

    @property
    def is_live(self) -> bool:
        """Whether the node runs: the check of processes judges what was started then."""
        return self._node.live

    def within(self, mounts: Mounts) -> "Optional[Programs]":
        """Return the programs as a unit with mounts of its own finds them; None for more such units than nodes have."""
        if mounts not in self._within:
            if len(self._within) >= _MAX_WITHIN:
                return None
            self._within[mounts] = Programs(self._node, self._manifests, mounts)
            self._within[mounts].unexamined = self.unexamined
        return self._within[mounts]

    @property
    def root(self) -> str:
        """Where the node's file tree begins on this machine."""
        return self._node.root

    def _locate(self, path: str) -> Tuple[str, str]:
        """Return a root on this machine, and the path below it that ``path`` is."""
        return (self._node.root, path) if self._mounts is None else self._mounts.locate(path)

    def resolved(self, path: str) -> str:
        """Return the node's path of what ``path`` leads to; the path itself where that is nothing."""
        try:
            place = tree.resolve(*self._locate(path))
        except OSError:
            return posixpath.normpath(path)
        return posixpath.normpath("/" + os.path.relpath(os.fsdecode(place), self._node.root))

    def find(self, path: str) -> Found:
        """Return what a path leads to; raises nothing."""
        try:
            place = tree.resolve(*self._locate(path))
            mode = os.lstat(place).st_mode
            owner = self._places.get(place)
            elsewhere = owner is None
            if owner is None and stat.S_ISREG(mode) and os.lstat(place).st_size in self._sizes:
                owner = self._digests.get(self._node.digests.of(place, _HASH_ANYWAY).sha256)
        except OSError as error:
            missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
            return Found(MISSING if missing else UNREADABLE, path)
        except (tree.NotRegular, tree.Unstable):
            return Found(UNREADABLE, path)
        if owner is None:
            return Found(OTHER, path)
        if elsewhere:
            return Found(LISTED, path, *owner, files.find_replaceable(self._node, path, self._accounts))
        return Found(LISTED, path, *owner)  # the files check judges it

    def is_plugin(self, component: str) -> bool:
        """Return whether all of a component's programs in packages are plugins (CNI)."""
        return component in self.host and component not in self._hosted

    def is_file(self, path: str) -> bool:
        """Return whether a path leads to a regular file."""
        try:
            return stat.S_ISREG(os.lstat(tree.resolve(*self._locate(path))).st_mode)
        except OSError:
            return False

    def is_program(self, path: str) -> bool:
        """Return whether a path leads to a regular file with execution rights."""
        try:
            mode = os.lstat(tree.resolve(*self._locate(path))).st_mode
        except OSError:
            return False
        return stat.S_ISREG(mode) and bool(mode & 0o111)

    def look_up(self, name: str, directories: Sequence[str]) -> Found:
        """Return what a name leads to as execvp(3) looks for it; the name itself where it is a path."""
        if "/" in name:
            return self.find(name)
        for directory in directories:
            path = posixpath.join(directory, name)
            if self.is_program(path):
                return self.find(path)
        return Found(MISSING, name)

    def build_of(self, path: str) -> Optional[str]:
        """Return the component that an executable is a build of, by the main package in its Go build info.

        What is too large to be searched is noted in `unexamined`.
        """
        try:
            place = tree.resolve(*self._locate(path))
            if place not in self._builds:
                self._builds[place] = self._read_build(place, path)
            return self._builds[place]
        except (OSError, tree.NotRegular):
            return None

    def _read_build(self, place: bytes, path: str) -> Optional[str]:
        descriptor = tree.open_file(place)
        try:
            return self._packages.of(descriptor)
        except builds.TooLarge as error:
            self.unexamined[path] = str(error)
            return None
        finally:
            os.close(descriptor)

    def script(self, path: str) -> Optional[str]:
        """Return the text of a script; None for another file, or one that cannot be read."""
        text = self._text(path) if self._head(path).startswith("#!") else None
        return text if text is not None and text.startswith("#!") else None

    def _head(self, path: str) -> str:
        """Return how a file begins; empty where it cannot be read."""
        if path not in self._heads:
            try:
                self._heads[path] = tree.read_small(*self._locate(path), _HEAD)
            except (OSError, tree.NotRegular):
                self._heads[path] = ""
        return self._heads[path]

    def _text(self, path: str) -> Optional[str]:
        """Return a text file's content; None for another file. A script that is too large is noted in `unexamined`."""
        if path in self._no_texts:
            return None
        # To decode a program takes long.
        if self._head(path).startswith("\x7fELF") or "\0" in self._head(path).partition("\n")[0]:
            self._no_texts.add(path)
            return None
        try:
            text = tree.read_small(*self._locate(path), shell.MAX_SCRIPT + 1)
        except (OSError, tree.NotRegular):
            text = "\0"
        # A shell runs what has null bytes after its first line.
        if text.startswith("\x7fELF") or "\0" in text.partition("\n")[0]:
            self._no_texts.add(path)
            return None
        if len(text) > shell.MAX_SCRIPT and text.startswith("#!"):
            self.unexamined[path] = "a script larger than {} bytes".format(shell.MAX_SCRIPT)
        return text[: shell.MAX_SCRIPT].replace("\0", "\n")

    def followed(self, text: str, path: str = "") -> str:
        """Return ``text`` with the text files that it names, and those that these name (`sh FILE`, `. FILE`).

        Variables that are assigned a path in a text are replaced by it. ``path`` is where a script is.
        """
        texts, seen = [shell.expand(text, path)], set()  # type: List[str], Set[str]
        most = _MAX_SCRIPTS
        for one in texts:  # grows meanwhile
            listed = [path for path in self._listed_by(one) if path not in seen] if len(texts) <= most else []
            # An ordinary script may read a whole directory.
            most = min(most + len(listed), 4 * _MAX_SCRIPTS)
            named = self._paths(one)
            called = self._called(one, named, one is texts[0])
            for path in [*listed, *named, *called]:
                if path in seen:
                    continue
                if len(texts) > most:
                    self.unexamined[path] = "more than {} scripts lead to it".format(_MAX_SCRIPTS)
                    return "\n".join(texts)
                seen.add(path)
                # A log names what once was started.
                is_log = path.startswith(_LOGS) and not (self.is_program(path) or _is_read_by_shell(path, one))
                found = None if is_log else self._text(path)
                if found is not None and len(found) == shell.MAX_SCRIPT and _is_read_by_shell(path, one):
                    self.unexamined[path] = "a script of {} bytes or more".format(shell.MAX_SCRIPT)
                texts += [] if found is None else [shell.expand(found, path)]
        return "\n".join(texts)

    def _paths(self, text: str) -> List[str]:
        """Return the paths in a command or script, without those of the kernel's file systems."""
        return self._within_limit(list(_paths_in(text)))

    def _within_limit(self, paths: List[str]) -> List[str]:
        """Return the paths up to the limit on those of all texts; beyond it they are noted in `unexamined`."""
        if len(paths) > self._mentions:
            self.unexamined["commands and scripts"] = "they name more than {} paths".format(_MAX_MENTIONS)
        paths = paths[: self._mentions]
        self._mentions -= len(paths)
        return paths

    def _joined(self, text: str, paths: Sequence[str]) -> List[str]:
        """Return what the relative paths, commands and paths of another root in a text lead to below a directory of it.

        A text may enter a directory, search it for programs or make it its root (cd, PATH, chroot), or mount it over
        another one.
        """
        found: List[str] = []
        some = (path for path in paths if posixpath.normpath(path) != "/" and self._names(path))
        directories = list(itertools.islice(some, _MAX_DIRECTORIES))
        if not directories:
            return []
        words = list(dict.fromkeys(shell.BETWEEN_PATHS.split(shell.COMMENT.sub("", text))))
        below = [one.lstrip("./") for one in words if "/" in one]
        if _MOUNTED.search(text):
            below += [one.split("/", count)[-1] for one in below for count in range(1, one.count("/") + 1)]
        below += shell.called(text)
        for directory in directories:
            names = self._names(directory)
            found += [posixpath.join(directory, one) for one in below if one.partition("/")[0] in names]
        return self._within_limit(list(dict.fromkeys(found)))

    def _called(self, text: str, paths: Sequence[str], is_first: bool) -> List[str]:
        """Return the scripts that a command calls by a relative path or, where it ``is_first``, a name."""
        if len(text) > _MAX_COMMAND:  # a script; those of the system call a hundred of their own
            return []
        found = [path for name in shell.called(text) for path in self._by_name(name)] if is_first else []
        return [path for path in [*found, *self._joined(text, paths)] if self.script(path) is not None]

    def _by_name(self, name: str) -> List[str]:
        """Return the paths of a name in the directories that are searched unless something else is said."""
        return [posixpath.join(one, name) for one in systemd.DEFAULT_PATH if name in self._names(one)]

    def _builds_by_name(self, text: str) -> List["OtherBuild"]:
        """Return the other builds in the usual directories that a word of a text names."""
        words = shell.BETWEEN_PATHS.split(shell.COMMENT.sub("", text))
        if self._usual is None:
            self._usual = frozenset(name for one in systemd.DEFAULT_PATH for name in self._names(one))
        return [one for name in sorted(self._usual.intersection(words)) for one in self._builds_at(name)]

    def _builds_at(self, name: str) -> List["OtherBuild"]:
        if name not in self._named_builds:
            others = [(one, self.build_of(one)) for one in self._by_name(name) if self.find(one).status == OTHER]
            self._named_builds[name] = [OtherBuild(one, component) for one, component in others if component]
        return self._named_builds[name]

    def _names(self, directory: str) -> FrozenSet[str]:
        """Return the names in a directory, none for anything else and for one that is too large."""
        if directory not in self._listed:
            try:
                self._listed[directory] = frozenset(tree.list_names(*self._locate(directory)))
            except (OSError, ValueError):
                self._listed[directory] = frozenset()
        return self._listed[directory]

    def may_be(self, text: str, form: "Pattern[str]" = _SPECIFIER) -> List[str]:
        """Return the paths that specifiers of systemd in a command may make, as far as there are such files.

        ``form`` matches what is in the place of any characters within a name.
        """
        found: List[str] = []
        for word in dict.fromkeys(shell.BETWEEN_PATHS.split(text)):
            if word.startswith("/") and form.search(word) and not word.startswith(_KERNEL):
                pattern = form.sub("*", posixpath.normpath(word))
                if pattern not in self._made:
                    self._made[pattern] = self._make(pattern)
                found += self._made[pattern]
        return found

    def _make(self, pattern: str) -> List[str]:
        """Return the files whose paths fit a pattern."""
        made = [""]
        for part in pattern.split("/")[1:]:
            named = [(one, fnmatch.filter(sorted(self._names(one or "/")), part)) for one in made]
            made = ["{}/{}".format(one, name) for one, names in named for name in names][:_MAX_MADE]
            made = self._within_limit(made)
        return [one for one in made if self.is_file(one)]

    def _listed_by(self, text: str) -> List[str]:
        """Return the scripts that a text names by patterns, and those of directories whose scripts it starts."""
        found = self.may_be(shell.starting(text), _PATTERN) if "*" in text or "?" in text else []
        found = [one for one in found if one.endswith(".sh") or self.script(one) is not None][:_MAX_FOLLOWED]
        for directory in _RUN_PARTS.findall(text):
            found += [posixpath.join(directory, name) for name in sorted(self._names(directory))[:_MAX_FOLLOWED]]
        return found

    def builds_by_pattern(self, text: str) -> List["OtherBuild"]:
        """Return the other builds of a component that commands of a text may start by a pattern of paths."""
        found = self.may_be(shell.starting(text), _PATTERN) if "*" in text or "?" in text else []
        others = [(one, self.build_of(one)) for one in found if self.find(one).status == OTHER]
        return [OtherBuild(one, component) for one, component in others if component is not None]

    def builds_in(self, text: str, *paths: str) -> List["OtherBuild"]:
        """Return the programs in a command or script that are other builds of a component, whatever they are called.

        ``paths`` are further ones that it names. Without execution rights a program may be loaded or copied as well.
        """
        found = []
        named = self._paths(text)
        for path in dict.fromkeys([*paths, *named, *self._joined(text, named)]):
            if self.find(path).status == OTHER:
                component = self.build_of(path)
                found += [OtherBuild(path, component)] if component else []
        return list(dict.fromkeys([*found, *self._builds_by_name(text)]))

    def others_in(self, text: str) -> List[str]:
        """Return the paths in a command or script that have a component's name and are not listed programs."""
        named = self._mentioned(text)
        named += [
            one
            for one in self._joined(text, self._paths(text))
            if posixpath.basename(one) in self.names and one not in named
        ]
        return [one for one in named if self.is_program(one) and self.find(one).status == OTHER]

    def configured_by(self, arguments: Sequence[str]) -> List[Tuple[str, str]]:
        """Return the components whose configuration a command's options name, each with the file."""
        found = []
        for path in configuration_files.named_in(arguments):
            with contextlib.suppress(OSError, tree.NotRegular):
                text = tree.read_small(*self._locate(path), configuration_files.MAX_SIZE)
                component = configuration_files.component_of(text)
                found += [(component, path)] if component in self.names else []
        return found

    def configured_in(self, text: str) -> List[Tuple[str, str]]:
        """Return the components whose configuration commands of a shell's text give to another program, with the file.

        What only changes a configuration is not one.
        """
        found = []
        for command in _COMMANDS.findall(shell.COMMENT.sub("", text)):
            words = [one.strip("'\"") for one in command.split()]
            configured = self.configured_by(words)
            found += configured if configured and self._starts_another(words) else []
        return found

    def _starts_another(self, words: Sequence[str]) -> bool:
        """Return whether the first program among a command's words is none with a listed one's name."""
        for word in words:
            name = posixpath.basename(word)
            if name in self.names or name in _EDITORS:
                return False
            if not (word.startswith("-") or "=" in word or is_wrapper(word)):
                found = self.look_up(word, systemd.DEFAULT_PATH)
                if found.status == OTHER and self.is_program(found.path):
                    return True
        return False

    def listed_in(self, text: str) -> List[str]:
        """Return the listed programs that a command or script names by their paths."""
        return [one for one in self._mentioned(text) if self.find(one).status == LISTED]

    def _mentioned(self, text: str) -> List[str]:
        return [one for one in self._paths(text) if posixpath.basename(one) in self.names]

    def called_in(self, text: str) -> List[str]:
        """Return the names of programs that a shell's text calls by a name alone, or a path with a variable in it."""
        found = set(self.names).intersection(shell.called(text))
        for word in shell.WORDS.findall(text):
            if "/" in word and not word.startswith("/") and posixpath.basename(word) in self.names:
                found.add(posixpath.basename(word))
        return sorted(found)


# Each text is judged from several sides, one after the other.
@functools.lru_cache(maxsize=8)
def _paths_in(text: str) -> Tuple[str, ...]:
    words = dict.fromkeys(_OWN_ROOT.sub("", one) for one in shell.BETWEEN_PATHS.split(shell.COMMENT.sub("", text)))
    return tuple(one for one in words if one.startswith("/") and not one.startswith(_KERNEL))


def _is_read_by_shell(path: str, text: str) -> bool:
    return re.search(_READ_BY_SHELL + re.escape(path), text) is not None


def is_wrapper(program: str) -> bool:
    """Return whether a program is known to start the one that its arguments name."""
    name = posixpath.basename(program)
    return name in _WRAPPERS or _LOADER.match(name) is not None


def result(
    subject: str, status: str, expected: Optional[str], actual: str, code: str, path: str, advice: str = "", **more: Any
) -> Result:
    """Return a result of this check: ``path`` is the file that says what starts."""
    evidence: Dict[str, Any] = {"code": code} if code else {}
    if path:
        evidence["path"] = visible(path)
    component = more.pop("component", None)
    evidence.update(more)
    expected = None if expected is None else visible(expected, 400)
    return Result(
        ID, visible(subject), status, expected, visible(actual, 400), of_component(evidence, component), advice
    )


def judge(subject: str, found: Found, path: str, component: Optional[str] = None) -> Result:
    """Return the result of a program that is started: a listed one passes, any other one fails."""
    expected = "a listed program" + (" of {}".format(component) if component else "")
    if found.replaceable.who:
        actual, advice = found.replaceable.shown, found.replaceable.advice
        return result(
            subject, FAIL, "changed by root alone", actual, "replaceable", path, advice, component=found.component
        )
    if found.status == LISTED and component in (None, found.component):
        return result(subject, PASS, expected, found.path, "", path, component=found.component)
    if found.status in (LISTED, OTHER):
        advice = "Let {} start the release's own program, and find out who changed that.".format(
            visible(path) or subject
        )
        what = "{}, which the manifest does not list".format(found.path)
        if found.status == LISTED:
            what = "{}, a program of {}".format(found.path, found.component)
        return result(subject, FAIL, expected, what, "other-program", path, advice, component=component)
    advice = "Run it as root." if found.status == UNREADABLE else "Install the program, or remove what starts it."
    actual = "{}: {}".format(found.path, found.status)
    return result(subject, UNKNOWN, expected, actual, "program-" + found.status, path, advice, component=component)
