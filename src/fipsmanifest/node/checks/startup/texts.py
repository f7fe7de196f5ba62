"""The paths and scripts that commands and scripts on the node name, and the texts that these lead to."""

import fnmatch
import functools
import itertools
import posixpath
import re
from typing import Dict, List, Pattern, Sequence, Set, Tuple

from ... import systemd
from . import shell
from .node_files import NodeFiles

_MAX_SCRIPTS = 50  # that a command leads to, one through another
_MAX_MENTIONS = 100_000  # of paths, in all commands and scripts
_KERNEL = ("/proc/", "/sys/", "/dev/")
_LOGS = "/var/log/"
_OWN_ROOT = re.compile(r"/+proc/+(?:[0-9]+|self|thread-self)/+(?:root|cwd)(?=/)")  # proc(5)
_SPECIFIER = re.compile(r"%[A-Za-z]")  # systemd.unit(5), where its value is not known
_PATTERN = re.compile(r"[*?]")  # glob(7)
_RUN_PARTS = re.compile(r"\brun-parts\s+(?:-\S+\s+)*(/[^\s;&|<>()'\"]+)")
_MAX_FOLLOWED = 20  # scripts that one pattern or directory names
_MAX_MADE = 2000
_MAX_COMMAND = 4096  # characters of a command, and not a script
_MAX_DIRECTORIES = 16  # of a text, in which what it names otherwise is looked for
# What makes a shell read the file whose path follows.
_READ_BY_SHELL = r"(?:(?:^|[\s/;&|('\"])(?:(?:ba|da|k|z)?sh|source|\.))\s+(?:-\S+\s+)*['\"]?"
# What lets a directory be found at another path.
_MOUNTED = re.compile(r"\bmount\s[^\n;&|]*\bbind\b|\bBind(?:ReadOnly)?Paths=|\bln\s+-")


class Texts:
    """What texts name, up to a limit on all of them."""

    def __init__(self, files: NodeFiles) -> None:
        self._files = files
        self._mentions = _MAX_MENTIONS
        self._made: Dict[str, List[str]] = {}
        """Pattern -> the files that it fits."""

    def followed(self, text: str, path: str = "") -> str:
        """Return ``text`` with the text files that it names, and those that these name (`sh FILE`, `. FILE`).

        Variables that are assigned a path in a text are replaced by it. ``path`` is where a script is.
        """
        texts = [shell.expand(text, path)]
        seen: Set[str] = set()
        most = _MAX_SCRIPTS
        for one in texts:  # grows meanwhile
            listed = [path for path in self._listed_by(one) if path not in seen] if len(texts) <= most else []
            # An ordinary script may read a whole directory.
            most = min(most + len(listed), 4 * _MAX_SCRIPTS)
            named = self.paths(one)
            called = self._called(one, named, one is texts[0])
            for path in [*listed, *named, *called]:
                if path in seen:
                    continue
                if len(texts) > most:
                    self._files.unexamined[path] = "more than {} scripts lead to it".format(_MAX_SCRIPTS)
                    return "\n".join(texts)
                seen.add(path)
                # A log names what once was started.
                is_log = path.startswith(_LOGS) and not (self._files.is_program(path) or _is_read_by_shell(path, one))
                found = None if is_log else self._files.text(path)
                if found is not None and len(found) == shell.MAX_SCRIPT and _is_read_by_shell(path, one):
                    self._files.unexamined[path] = "a script of {} bytes or more".format(shell.MAX_SCRIPT)
                texts += [] if found is None else [shell.expand(found, path)]
        return "\n".join(texts)

    def paths(self, text: str) -> List[str]:
        """Return the paths in a command or script, without those of the kernel's file systems."""
        return self._within_limit(list(_paths_in(text)))

    def _within_limit(self, paths: List[str]) -> List[str]:
        """Return the paths up to the limit on those of all texts; beyond it they are noted in `unexamined`."""
        if len(paths) > self._mentions:
            self._files.unexamined["commands and scripts"] = "they name more than {} paths".format(_MAX_MENTIONS)
        paths = paths[: self._mentions]
        self._mentions -= len(paths)
        return paths

    def joined(self, text: str, paths: Sequence[str]) -> List[str]:
        """Return what the relative paths, commands and paths of another root in a text lead to below a directory of it.

        A text may enter a directory, search it for programs or make it its root (cd, PATH, chroot), or mount it over
        another one.
        """
        found: List[str] = []
        some = (path for path in paths if posixpath.normpath(path) != "/" and self._files.names(path))
        directories = list(itertools.islice(some, _MAX_DIRECTORIES))
        if not directories:
            return []
        words = list(dict.fromkeys(shell.BETWEEN_PATHS.split(shell.COMMENT.sub("", text))))
        below = [one.lstrip("./") for one in words if "/" in one]
        if _MOUNTED.search(text):
            below += [one.split("/", count)[-1] for one in below for count in range(1, one.count("/") + 1)]
        below += shell.called(text)
        for directory in directories:
            names = self._files.names(directory)
            found += [posixpath.join(directory, one) for one in below if one.partition("/")[0] in names]
        return self._within_limit(list(dict.fromkeys(found)))

    def _called(self, text: str, paths: Sequence[str], is_first: bool) -> List[str]:
        """Return the scripts that a command calls by a relative path or, where it ``is_first``, a name."""
        if len(text) > _MAX_COMMAND:  # a script; those of the system call a hundred of their own
            return []
        found = [path for name in shell.called(text) for path in self.by_name(name)] if is_first else []
        found += self.joined(text, paths)
        # What a shell reads needs no first line.
        return [one for one in found if self._files.script(one) is not None or _is_read(one, text)]

    def by_name(self, name: str) -> List[str]:
        """Return the paths of a name in the directories that are searched unless something else is said."""
        return [posixpath.join(one, name) for one in systemd.DEFAULT_PATH if name in self._files.names(one)]

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
            named = [(one, fnmatch.filter(sorted(self._files.names(one or "/")), part)) for one in made]
            made = ["{}/{}".format(one, name) for one, names in named for name in names][:_MAX_MADE]
            made = self._within_limit(made)
        return [one for one in made if self._files.is_file(one)]

    def by_pattern(self, text: str) -> List[str]:
        """Return the files that commands of a text may start by a pattern of paths."""
        return self.may_be(shell.starting(text), _PATTERN) if "*" in text or "?" in text else []

    def _listed_by(self, text: str) -> List[str]:
        """Return the scripts that a text names by patterns, and those of directories whose scripts it starts."""
        found = self.by_pattern(text)
        found = [one for one in found if one.endswith(".sh") or self._files.script(one) is not None][:_MAX_FOLLOWED]
        for directory in _RUN_PARTS.findall(text):
            found += [posixpath.join(directory, name) for name in sorted(self._files.names(directory))[:_MAX_FOLLOWED]]
        return found


# Each text is judged from several sides, one after the other.
@functools.lru_cache(maxsize=8)
def _paths_in(text: str) -> Tuple[str, ...]:
    words = dict.fromkeys(_OWN_ROOT.sub("", one) for one in shell.BETWEEN_PATHS.split(shell.COMMENT.sub("", text)))
    return tuple(one for one in words if one.startswith("/") and not one.startswith(_KERNEL))


def _is_read(path: str, text: str) -> bool:
    """Return whether a text lets a shell read a file of a path's name, in a directory that it finds out."""
    name = re.escape(posixpath.basename(path))
    return (
        re.search(r"(?:^|[\s;&|('\"])(?:source|\.)\s+['\"]?[^\n;&|]{0,200}/" + name + r"(?![\w.-])", text) is not None
    )


def _is_read_by_shell(path: str, text: str) -> bool:
    return re.search(_READ_BY_SHELL + re.escape(path), text) is not None
