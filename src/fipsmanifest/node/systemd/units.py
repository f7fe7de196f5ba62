"""The units that systemd loads from a node's file tree: their commands, environment and other settings.

Rules: systemd.unit(5), systemd.exec(5); where these are silent, systemd's shared/dropin.c and core/unit.c.
"""

import contextlib
import errno
import fnmatch
import os
import posixpath
import re
import stat
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Set, Tuple

from ...trust.text import visible
from .. import tree
from ..checks.platform import os_release
from .commands import COMMANDS, Command, assign, expand, read_commands
from .syntax import NEWEST, Entry, Malformed, parse, read_environment_file

SEARCH_PATH = (
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
)
"""The directories of unit files, the most important one first (systemd.unit(5), "systemd-analyze unit-paths")."""
DEFAULT_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""Where systemd looks for a program without a directory, and the PATH of what it starts (systemd.exec(5))."""
_TYPES = (".service", ".socket", ".mount", ".swap")
_VERSIONS = {"7": 219, "8": 239}  # of Enterprise Linux; the others have the newest rules
_LEAST = 249  # of those others
# The library of systemd's own programs has the version in its name, from 231 on.
_LIBRARY = re.compile(r"libsystemd-shared-([0-9]{1,4})\b")
_LIBRARIES = ("/usr/lib/systemd", "/lib/systemd", "/usr/lib64/systemd")
_PREFIX_DIRECTORIES = 239  # the first version with drop-in directories such as kube-.service.d
_TYPE_DIRECTORIES = 244  # the first version with service.d
_UNSETS = 235  # the first version with UnsetEnvironment=
_BY_NAMES = 244  # the first version that loads the file of the name that a link leads to, and not what is at its end
# Directories of the search path that came with version 239 or shortly before (path-lookup.c).
_LATER_DIRECTORIES = re.compile(r"/systemd/(?:system\.control|system\.attached|transient)\Z")
_FIRST_WITH_THEM = 239
_MANAGER_DROP_INS = ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
_MAX_SIZE = 128 * 1024
_MAX_TOTAL = 8 * 1024 * 1024  # of all files; a node's own units are half a megabyte
_MAX_ENTRIES = 20000
_MAX_UNITS = 4000
_MAX_LINKS = 40
_DIRECTORIES = {"runtime": "/run", "state": "/var/lib", "cache": "/var/cache", "logs": "/var/log"}
_DIRECTORIES["configuration"] = "/etc"
# What may name an instance of a template beside these (systemd.unit(5), systemd.timer(5), systemd.path(5)).
_NAMING = (".timer", ".path", ".target", ".automount", ".slice", ".device")
_INSTANCE = re.compile(r"(?<![\w:.\\-])([\w:.\\-]+@)([\w:.%\\-]+)(\.(?:service|socket|mount|swap))(?![\w.])", re.ASCII)
_MAX_INSTANCES = 1000
_RULES = ("/etc/udev/rules.d", "/run/udev/rules.d", "/usr/local/lib/udev/rules.d", "/usr/lib/udev/rules.d")
"""Of devices, for which they name units (SYSTEMD_WANTS; systemd.device(5))."""


class Unit(NamedTuple):
    """A unit as systemd loads it, its drop-ins included."""

    name: str
    names: Tuple[str, ...]
    """Its name and its aliases."""
    path: str
    """The unit file; empty where there are drop-ins alone."""
    masked: bool
    entries: Tuple[Entry, ...]
    """The settings of its own section, in the order in which they apply."""
    commands: Tuple[Command, ...]
    environment: Dict[str, Entry]
    """Variable -> its value and the file that sets it."""
    doubts: Tuple[str, ...]
    """What of it cannot be read, and why."""

    @property
    def shown(self) -> str:
        """Its name for reports, with its aliases."""
        aliases = [name for name in self.names if name != self.name]
        return "{} (alias {})".format(self.name, ", ".join(aliases[:4])) if aliases else self.name

    def values(self, key: str) -> List[Entry]:
        """Return what is set for ``key``; an empty value clears what was set before."""
        found: List[Entry] = []
        for entry in self.entries:
            if entry.key == key:
                found = [*found, entry] if entry.value else []
        return found


class Units:
    """The units of a node's file tree."""

    def __init__(self, root: str, version: Optional[int] = None) -> None:
        self._root = root
        self._version = _version_of(root) if version is None else version
        self.doubts: List[str] = []
        """Directories that cannot be read, and why."""
        self.doubts += _contradictions(root, self._version) if version is None else []
        self._left = _MAX_TOTAL
        self._entries = 0
        self._files: Dict[str, List[str]] = {}
        """Directory -> the names in it."""
        self._dependencies: Dict[str, str] = {}
        self._instances: Set[str] = set()
        """Names of units that links in dependency directories make of templates."""
        self._named: Set[str] = set()
        """Names of units that other units make of templates."""
        seen: Set[bytes] = set()
        self._search_path = tuple(
            one for one in SEARCH_PATH if self._version >= _FIRST_WITH_THEM or not _LATER_DIRECTORIES.search(one)
        )
        for directory in self._search_path:
            names = self._list(directory, seen)
            if names:
                self._files[directory] = names
        self._dependencies = dict(self._linked_dependencies())
        self._manager = self._manager_environment()

    def _linked_dependencies(self) -> Iterator[Tuple[str, str]]:
        """Return the units that a link in a ``.wants`` or ``.requires`` directory alone leads to, with their paths.

        Versions up to that of Enterprise Linux 8 load a unit from there where the search path has none of its name
        (unit_add_dependency_by_name() of core/unit.c).
        """
        for directory, names in list(self._files.items()):
            for one in [one for one in names if one.endswith((".wants", ".requires", ".upholds"))]:
                place = posixpath.join(directory, one)
                for name in self._list(place, set()):
                    path = posixpath.join(place, name)
                    if re.search(r"@[^@]+\.[a-z]+\Z", name) and name.endswith(_TYPES):
                        self._instances.add(name)
                    if name.endswith(_TYPES) and self._exists(path) and not self._fragment(name):
                        yield name, path

    def load_all(self) -> List[Unit]:
        """Return every unit that starts commands, each once."""
        places = [*self._files.values(), self._dependencies, self._instances]
        names = sorted({name for files in places for name in files})
        # Drop-ins may make a unit of a name that has no file of its own.
        wanted = dict.fromkeys(one[:-2] if one.endswith(".d") else one for one in names)
        aliases: Dict[str, List[str]] = {}
        for name in [one for one in wanted if one.endswith(_TYPES)]:
            aliases.setdefault(self._target(name), []).append(name)
        if len(aliases) > _MAX_UNITS:
            self.doubts.append("there are more than {} units".format(_MAX_UNITS))
        loaded = []
        for name in sorted(aliases)[:_MAX_UNITS]:
            ends = self._ends_of_links([name, *aliases[name]])
            known = sorted({name, *aliases[name], *map(posixpath.basename, ends)})
            loaded.append(self._load(name, known))
            # It depends on the order in which units are loaded which of the files counts.
            own = self._place(self._fragment(name))
            loaded += [self._load(name, known, end) for end in ends if self._place(end) not in (own, None)]
        self._read_others(wanted)
        seen = set(wanted)
        while self._named - seen:
            # What one of them names in turn is among the named ones then.
            new = sorted(self._named - seen)
            seen.update(new)
            loaded += [self._load(name, [name]) for name in new if self._fragment(name)]
        return [unit for unit in loaded if unit.path or unit.entries or unit.doubts or unit.masked]

    def _read_others(self, names: Iterable[str]) -> None:
        """Read the units that start nothing themselves, for the instances of templates that they name."""
        for name in names:
            path = self._fragment(name) if name.endswith(_NAMING) else ""
            for file in [path] * bool(path) + self._drop_ins([name]) if name.endswith(_NAMING) else ():
                if not self._is_masked(file):
                    self._note_instances(self._text(file, self.doubts), name)
        for directory in _RULES:
            for name in [name for name in self._list(directory, set()) if name.endswith(".rules")]:
                # Whether it can be read is for those to say who judge what rules start.
                self._note_instances(self._text(posixpath.join(directory, name), []), name)

    def _note_instances(self, text: str, unit: str) -> None:
        for prefix, instance, kind in _INSTANCE.findall(text):
            named = prefix + expand(instance, unit, self._version)[0] + kind
            if "%" in named:
                continue
            if len(self._named) >= _MAX_INSTANCES:
                self.doubts.append("units name more than {} instances of templates".format(_MAX_INSTANCES))
                return
            self._named.add(named)

    def _target(self, name: str) -> str:
        """Return the name of the unit that ``name`` is an alias of, itself where it is none."""
        for _ in range(_MAX_LINKS):
            path = self._fragment(name)
            target = self._link(path) if path else None
            other = posixpath.basename(target or name)
            is_unit = other.endswith(_TYPES) and posixpath.dirname(target or "") in self._search_path
            if other == name or not is_unit or not self._fragment(other):
                return name
            name = other
        self.doubts.append("{}: links without an end".format(visible(name)))
        return name

    def _ends_of_links(self, names: Iterable[str]) -> List[str]:
        """Return what the links of units lead to where systemd reads that, and takes its name for the unit's, too.

        Versions before 244 do so (open_follow() of core/load-fragment.c).
        """
        found: List[str] = []
        for path in map(self._fragment, names if self._version < _BY_NAMES else ()):
            for _ in range(_MAX_LINKS):
                target = self._link(path) if path else None
                if target is None or not target.endswith(_TYPES):
                    break
                path = target
                found.append(path)
        return list(dict.fromkeys(found))

    def _fragment(self, name: str) -> str:
        """Return the path of the unit file that counts: the first one, for an instance its template's as well."""
        template = re.sub(r"@[^@]*(\.[a-z]+)\Z", r"@\1", name)
        for one in dict.fromkeys((name, template)):
            for directory, names in self._files.items():
                if one in names:
                    return posixpath.join(directory, one)
        return self._dependencies.get(name, "")

    def _link(self, path: str) -> Optional[str]:
        try:
            target = os.readlink(tree.resolve(self._root, path, follow_last=False))
        except OSError:
            return None
        named = posixpath.join(posixpath.dirname(path), os.fsdecode(target))
        if tree.leads_up(named):
            with contextlib.suppress(OSError):
                place = tree.resolve(self._root, named, follow_last=False)
                return tree.path_of(self._root, place)
        return posixpath.normpath(named)

    def _load(self, name: str, names: List[str], path: str = "") -> Unit:
        """Return a unit with all its names; its file is at ``path``, or where its name is found."""
        doubts: List[str] = []
        path = path or self._fragment(name)
        if path and self._is_masked(path):
            return Unit(name, tuple(names), path, True, (), (), {}, ())
        entries: List[Entry] = []
        own = name.rpartition(".")[2].capitalize()  # systemd ignores the sections of other types
        for file in [path] * bool(path) + self._drop_ins(names):
            for section, entry in self._read(file, doubts, name):
                if section == own and self._entries < _MAX_ENTRIES:
                    self._entries += 1
                    entries.append(entry)
                elif section == own:
                    doubts.append("{}: more than {} settings in all units".format(visible(file), _MAX_ENTRIES))
                    break
        unit = Unit(name, tuple(names), path, False, tuple(entries), (), {}, ())
        environment = self._environment(unit, doubts)
        commands = tuple(self._commands(unit, environment, doubts))
        return unit._replace(commands=commands, environment=environment, doubts=tuple(dict.fromkeys(doubts)))

    def _is_masked(self, path: str) -> bool:
        if self._link(path) == "/dev/null":
            return True
        try:
            status = os.lstat(tree.resolve(self._root, path))
            return stat.S_ISREG(status.st_mode) and status.st_size == 0
        except OSError:
            return False

    def _drop_ins(self, names: List[str]) -> List[str]:
        """Return a unit's drop-ins in the order in which they apply: by file name, each from its first directory."""
        chains = [list(self._drop_in_directories(name)) for name in names]
        wanted = [(directory, one) for chain in chains for directory in self._search_path for one in chain]
        if self._version >= _TYPE_DIRECTORIES:
            kind = names[0].rpartition(".")[2] + ".d"
            wanted += [(directory, kind) for directory in self._search_path]
        found: Dict[str, str] = {}
        for directory, one in dict.fromkeys(wanted):
            if one in self._files.get(directory, ()):
                place = posixpath.join(directory, one)
                for file in self._list(place, set()):
                    if file.endswith(".conf") and not file.startswith("."):
                        found.setdefault(file, posixpath.join(place, file))
        return [found[file] for file in sorted(found, key=os.fsencode)]

    def _drop_in_directories(self, name: str) -> Iterator[str]:
        yield name + ".d"
        stem, _, kind = name.rpartition(".")
        if "@" in stem and not stem.endswith("@"):
            yield "{}@.{}.d".format(stem.partition("@")[0], kind)
        prefix = stem.partition("@")[0]
        while self._version >= _PREFIX_DIRECTORIES and "-" in prefix.rstrip("-"):
            prefix = prefix.rstrip("-").rpartition("-")[0]
            yield "{}-.{}.d".format(prefix, kind)

    def _read(self, path: str, doubts: List[str], unit: str = "") -> List[Tuple[str, Entry]]:
        if self._link(path) == "/dev/null":
            return []
        text = self._text(path, doubts)
        self._note_instances(text, unit)
        try:
            return parse(text, path, self._version)
        except Malformed as error:
            doubts.append("{}: {}".format(visible(path), visible(str(error))))
            return []

    def _text(self, path: str, doubts: List[str]) -> str:
        """Return a file's text; empty, and a doubt, where it cannot be read whole."""
        try:
            most = min(_MAX_SIZE, self._left)
            text = tree.read_small(self._root, path, most + 1, "surrogateescape")
            self._left = max(0, self._left - len(text))
            if len(text) <= most:
                return text
            why = "larger than {} bytes, or all units are than {}".format(_MAX_SIZE, _MAX_TOTAL)
        except tree.NotRegular as error:
            why = str(error)
        except OSError as error:
            why = errno.errorcode.get(error.errno or 0, "unreadable")
        doubts.append("{}: {}".format(visible(path), why))
        return ""

    def _list(self, directory: str, seen: Set[bytes]) -> List[str]:
        """Return the names in a directory; of one that was ``seen`` by another path, nothing."""
        try:
            place = tree.resolve(self._root, directory)
            if place in seen:
                return []
            seen.add(place)
            return tree.list_names(self._root, directory)
        except OSError as error:
            if error.errno == errno.EFBIG:
                self.doubts.append("{}: {}".format(directory, error.strerror))
            elif error.errno not in (errno.ENOENT, errno.ENOTDIR):
                self.doubts.append("{}: {}".format(directory, errno.errorcode.get(error.errno or 0, "unreadable")))
            return []

    def _manager_environment(self) -> Dict[str, Entry]:
        """Return the variables that systemd passes to all services: DefaultEnvironment= (systemd-system.conf(5))."""
        found: Dict[str, str] = {}
        for base in _MANAGER_DROP_INS:
            directory = base + "/systemd/system.conf.d"
            for name in self._list(directory, set()):
                if name.endswith(".conf"):
                    found.setdefault(name, posixpath.join(directory, name))
        paths = [found[name] for name in sorted(found)]
        # The first of them counts (systemd-system.conf(5)); versions before 254 read that of /etc alone.
        whole = [base + "/systemd/system.conf" for base in _MANAGER_DROP_INS]
        paths = [one for one in whole if self._link(one) or self._exists(one)][:1] + paths
        default: Dict[str, Entry] = {}
        manager: Dict[str, Entry] = {}
        settings = {"DefaultEnvironment": default, "ManagerEnvironment": manager}
        for path in paths:
            for section, entry in self._read(path, self.doubts):
                if section == "Manager" and entry.key in settings:
                    assign(settings[entry.key], entry, self.doubts, self._version)
        # What one of them sets the other does not take back.
        return {**manager, **{name: one for name, one in default.items() if one.value or name not in manager}}

    def _exists(self, path: str) -> bool:
        return self._place(path) is not None

    def _place(self, path: str) -> Optional[bytes]:
        try:
            return tree.resolve(self._root, path)
        except OSError:
            return None

    def _environment(self, unit: Unit, doubts: List[str]) -> Dict[str, Entry]:
        environment = {**_directories(unit), **self._manager}
        own: Dict[str, Entry] = {}
        for entry in unit.entries:
            if entry.key == "Environment":
                assign(own, entry, doubts, self._version, unit.name)
        environment.update(own)
        for entry in unit.values("EnvironmentFile"):
            for file in self._environment_files(entry.value, unit, doubts):
                try:
                    values = read_environment_file(self._text(file, doubts), self._version)
                except Malformed as error:
                    doubts.append("{}: {}".format(visible(file), error))
                    continue
                environment.update({name: Entry(name, value, file) for name, value in values.items()})
        for entry in unit.values("UnsetEnvironment") if self._version >= _UNSETS else ():
            for word in entry.value.split():
                environment.pop(word, None)
        return environment

    def _environment_files(self, value: str, unit: Unit, doubts: List[str]) -> List[str]:
        path, doubt = expand(value.lstrip("-"), unit.name, self._version)
        directory, pattern = posixpath.split(path)
        if doubt or not path.startswith("/") or re.search(r"[*?[\\]", directory):
            doubts.append("{}: which file this names is not known".format(visible(value)))
            return []
        if re.search(r"[*?[]", pattern):
            return [posixpath.join(directory, one) for one in fnmatch.filter(self._list(directory, set()), pattern)]
        # A missing file sets nothing: the service starts without it, or does not start.
        return [path] if self._exists(path) else []

    def _commands(self, unit: Unit, environment: Dict[str, Entry], doubts: List[str]) -> Iterator[Command]:
        for key in COMMANDS:
            for entry in unit.values(key):
                try:
                    yield from read_commands(entry, unit.name, environment, self._version)
                except Malformed as error:
                    doubts.append("{}: {}: {}".format(visible(entry.path), key, visible(str(error))))


def _directories(unit: Unit) -> Dict[str, Entry]:
    """Return the variables with the directories that systemd makes for a unit (systemd.exec(5), "Environment")."""
    found: Dict[str, Entry] = {}
    for kind, base in _DIRECTORIES.items():
        entries = unit.values(kind.capitalize() + "Directory")
        # A symbolic link to it may follow.
        names = [word.partition(":")[0] for entry in entries for word in entry.value.split()]
        if names:
            name = kind.upper() + "_DIRECTORY"
            found[name] = Entry(name, ":".join(posixpath.join(base, one) for one in names), entries[-1].path)
    return found


def _version_of(root: str) -> int:
    release = (os_release(root) or {}).get("VERSION_ID", "")
    return _VERSIONS.get(release.partition(".")[0], NEWEST)


def _contradictions(root: str, version: int) -> List[str]:
    """Return which versions of systemd a tree has whose rules are others than those of its release's ``version``."""
    found: Set[int] = set()
    for directory in _LIBRARIES:
        with contextlib.suppress(OSError):
            found.update(int(one) for name in tree.list_names(root, directory) for one in _LIBRARY.findall(name)[:1])
    others = [one for one in sorted(found) if one != version and not (version == NEWEST and one >= _LEAST)]
    return ["systemd {} is not the one of the release in os-release".format(one) for one in others[:1]]
