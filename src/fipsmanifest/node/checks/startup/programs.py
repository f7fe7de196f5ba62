"""The programs that the manifests list, and which of them a path, a name or a text on the node leads to."""

import contextlib
import errno
import os
import posixpath
import re
import stat
from typing import Any, Dict, FrozenSet, List, NamedTuple, Optional, Sequence, Set, Tuple

from ... import owners, systemd, tree
from ...provenance import has_mode
from ...result import Listed, Node, image_files, is_own_program
from .. import builds, configuration_files, files
from . import shell
from .node_files import NodeFiles
from .own_mounts import Mounts
from .texts import Texts

LISTED = "listed"
OTHER = "other"
MISSING = "missing"
UNREADABLE = "unreadable"
_HASH_ANYWAY = 1024 * 1024 * 1024
_PLUGINS = ("/opt/cni/", "/usr/libexec/cni/")
_MAX_WITHIN = 50  # units with mounts of their own, which differ
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
    replaceable: owners.Replaceable = owners.Replaceable()
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

    def __init__(self, node: Node, manifests: Sequence[Listed], node_files: Optional[NodeFiles] = None) -> None:
        self._node = node
        self._manifests = manifests
        self.node_files = NodeFiles(node, None, {}) if node_files is None else node_files
        self.texts = Texts(self.node_files)
        self._within: Dict[Mounts, Programs] = {}
        self._accounts = owners.accounts_of(node)
        self._packages = builds.Builds(manifests)
        self._builds: Dict[bytes, Optional[str]] = {}
        self._usual: Optional[FrozenSet[str]] = None
        """The names in the directories that are searched unless something else is said."""
        self._named_builds: Dict[str, List[OtherBuild]] = {}
        """Name -> the other builds that have it, in the usual directories."""
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
        self.configurations: Set[str] = set()
        """The files that a component's command names, and from which its unit takes variables."""
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
            place = tree.resolve(*self.node_files.locate(path))
            if is_compared:
                self._places[place] = owner
            self.paths.add(self.node_files.resolved(path))

    @property
    def hosted(self) -> Set[str]:
        """The names of programs in packages, and of their components."""
        return set(self.host).union(*self.host.values())

    @property
    def is_live(self) -> bool:
        """Whether the node runs: the check of processes judges what was started then."""
        return self._node.live

    def within(self, mounts: Mounts) -> "Optional[Programs]":
        """Return the programs as a unit with mounts of its own finds them; None for more such units than nodes have."""
        if mounts not in self._within:
            if len(self._within) >= _MAX_WITHIN:
                return None
            own = NodeFiles(self._node, mounts, self.node_files.unexamined)
            self._within[mounts] = Programs(self._node, self._manifests, own)
        return self._within[mounts]

    def find(self, path: str) -> Found:
        """Return what a path leads to; raises nothing."""
        try:
            place = tree.resolve(*self.node_files.locate(path))
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
            return Found(LISTED, path, *owner, owners.find_replaceable(self._node, path, self._accounts))
        return Found(LISTED, path, *owner)  # the files check judges it

    def find_open(self, link: str) -> Found:
        """Return what a link of /proc leads to, by its bytes alone. Raise `OSError` where there is nothing any more."""
        owner = None
        with contextlib.suppress(tree.NotRegular, tree.Unstable):
            if os.stat(link).st_size in self._sizes:
                owner = self._digests.get(self._node.digests.of(os.fsencode(link), _HASH_ANYWAY, follow=True).sha256)
        return Found(OTHER, link) if owner is None else Found(LISTED, link, *owner)

    def is_plugin(self, component: str) -> bool:
        """Return whether all of a component's programs in packages are plugins (CNI)."""
        return component in self.host and component not in self._hosted

    def look_up(self, name: str, directories: Sequence[str]) -> Found:
        """Return what a name leads to as execvp(3) looks for it; the name itself where it is a path."""
        if "/" in name:
            return self.find(name)
        for directory in directories:
            path = posixpath.join(directory, name)
            if self.node_files.is_program(path):
                return self.find(path)
        return Found(MISSING, name)

    def build_of(self, path: str) -> Optional[str]:
        """Return the component that an executable is a build of, by the main package in its Go build info.

        What is too large to be searched is noted in `unexamined`.
        """
        try:
            place = tree.resolve(*self.node_files.locate(path))
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
            self.node_files.unexamined[path] = str(error)
            return None
        finally:
            os.close(descriptor)

    def _builds_by_name(self, text: str) -> List[OtherBuild]:
        """Return the other builds in the usual directories that a word of a text names."""
        words = shell.BETWEEN_PATHS.split(shell.COMMENT.sub("", text))
        if self._usual is None:
            self._usual = frozenset(name for one in systemd.DEFAULT_PATH for name in self.node_files.names(one))
        return [one for name in sorted(self._usual.intersection(words)) for one in self._builds_at(name)]

    def _builds_at(self, name: str) -> List[OtherBuild]:
        if name not in self._named_builds:
            others = [(one, self.build_of(one)) for one in self.texts.by_name(name) if self.find(one).status == OTHER]
            self._named_builds[name] = [OtherBuild(one, component) for one, component in others if component]
        return self._named_builds[name]

    def builds_by_pattern(self, text: str) -> List[OtherBuild]:
        """Return the other builds of a component that commands of a text may start by a pattern of paths."""
        found = self.texts.by_pattern(text)
        others = [(one, self.build_of(one)) for one in found if self.find(one).status == OTHER]
        return [OtherBuild(one, component) for one, component in others if component is not None]

    def builds_in(self, text: str, *paths: str) -> List[OtherBuild]:
        """Return the programs in a command or script that are other builds of a component, whatever they are called.

        ``paths`` are further ones that it names. Without execution rights a program may be loaded or copied as well.
        """
        found = []
        named = self.texts.paths(text)
        for path in dict.fromkeys([*paths, *named, *self.texts.joined(text, named)]):
            if self.find(path).status == OTHER:
                component = self.build_of(path)
                found += [OtherBuild(path, component)] if component else []
        return list(dict.fromkeys([*found, *self._builds_by_name(text)]))

    def others_in(self, text: str) -> List[str]:
        """Return the paths in a command or script that have a component's name and are not listed programs."""
        named = self._mentioned(text)
        named += [
            one
            for one in self.texts.joined(text, self.texts.paths(text))
            if posixpath.basename(one) in self.names and one not in named
        ]
        return [one for one in named if self.node_files.is_program(one) and self.find(one).status == OTHER]

    def configured_by(self, arguments: Sequence[str]) -> List[Tuple[str, str]]:
        """Return the components whose configuration a command's options name, each with the file."""
        found = []
        for path in configuration_files.named_in(arguments):
            with contextlib.suppress(OSError, tree.NotRegular):
                text = tree.read_small(*self.node_files.locate(path), configuration_files.MAX_SIZE)
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
            if not (word.startswith("-") or "=" in word or shell.is_wrapper(word)):
                found = self.look_up(word, systemd.DEFAULT_PATH)
                if found.status == OTHER and self.node_files.is_program(found.path):
                    return True
        return False

    def listed_in(self, text: str) -> List[str]:
        """Return the listed programs that a command or script names by their paths."""
        return [one for one in self._mentioned(text) if self.find(one).status == LISTED]

    def _mentioned(self, text: str) -> List[str]:
        return [one for one in self.texts.paths(text) if posixpath.basename(one) in self.names]

    def called_in(self, text: str) -> List[str]:
        """Return the names of programs that a shell's text calls by a name alone, or a path with a variable in it."""
        found = set(self.names).intersection(shell.called(text))
        for word in shell.WORDS.findall(text):
            if "/" in word and not word.startswith("/") and posixpath.basename(word) in self.names:
                found.add(posixpath.basename(word))
        return sorted(found)
