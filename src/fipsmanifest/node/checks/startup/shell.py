"""Texts of a shell: the commands and paths that they name by variables, quotes and the place of the script itself."""

import functools
import itertools
import posixpath
import re
from typing import Any, Dict, Iterator, List, Tuple

MAX_SCRIPT = 256 * 1024
BETWEEN_PATHS = re.compile(r"[\s'\";|&<>()\[\]{}$`=:,]+")
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")
_ASSIGNED = re.compile(r"(?:^|(?<=[\s;&|('\"]))([A-Za-z_][A-Za-z0-9_]*)=[\"']?([^\s;\"'&|`()]+)", re.MULTILINE)
_LOOP = re.compile(r"\bfor\s+([A-Za-z_][A-Za-z0-9_]*)\s+in\s+([^\n;]*)")
_DEFAULT = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*:?[-=+]([^${}]*)\}")
# The home directory of root, for which the node starts scripts.
_HOME = re.compile(r"(?<![\w/~.$-])(?:~(?:root)?|\$HOME|\$\{HOME\})(?=[\"']?/)")
_OF_ROOT = "/root"
_IN_PATH = re.compile(
    r"/\$\{?([A-Za-z_][A-Za-z0-9_]*)|\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?/|(?<=[\w}])\$\{?([A-Za-z_][A-Za-z0-9_]*)"
)
_WORD = re.compile(r"[^\s;&|<>()`]+")
_QUOTED = re.compile(r"[\w/.-][\"'\\]+[\w/.-]")  # within a path, where a shell removes them
_OWN_DIRECTORY = re.compile(
    r"(?:dirname|%/|readlink)[^\n]{0,100}\$\{?(?:0|BASH_SOURCE)\b|\$\{(?:0|BASH_SOURCE)[^}\n]{0,20}%/"
)
# Words with alternatives (bash(1), "Brace Expansion"), and what of a word is before and behind these.
_BRACED = re.compile(r"\{([^\s{}]{0,400},[^\s{}]{0,400})\}")
_BEFORE = re.compile(r"[^\s;&|<>()`}\"']*\Z")
_BEHIND = re.compile(r"[^\s;&|<>()`\"']{0,200}")
_MAX_BRACED = 200
# The user's column of a system crontab may be missing (crontab(5)).
_CRON = re.compile(r"(?m)^[ \t]*(?:@[a-z]+|(?:[^\s#=]+[ \t]+){4}[^\s#=]+)[ \t]+((?:\S+[ \t]+)?)(\S.*)$")
# Period, delay and name of a job (anacrontab(5)).
_ANACRON = re.compile(r"(?m)^[ \t]*(?:@[a-z]+|[0-9]+)[ \t]+[0-9]+[ \t]+[^\s=]+[ \t]+(\S.*)$")
# A command that names files by a pattern and starts none of them.
_LISTS_FILES = re.compile(
    r"\s*(?:\S*sh\s+(?:-\S+\s+)*)?[\"']?(?:sudo\s+)?(?:\S*/)?(?:rm|chmod|chown|chcon|restorecon|ls|cp|mv|tar|stat|du|rsync|test|\[+)\s"
)
_PIECES = re.compile(r"[^\n;&|]+")
_MAX_ASSIGNED = 1000
_MAX_VALUES = 8  # of one variable
_MAX_VARIABLE_DEPTH = 4
# A variable, a substitution or a pattern of paths where a shell expects a program.
_HIDDEN = re.compile(
    r"(?:^[ \t]*|\b(?:exec|then|do|else|nohup)\s+|[;&|({]\s*|-[A-Za-z]*c\s+)\"?"
    r"(\$\{?[A-Za-z_(][^\s;&|\"']*|`[^`]*`?|/[^\s;&|\"'*?$]*[*?$][^\s;&|\"']*)",
    re.MULTILINE,
)
# A specifier of systemd in such a place, which the instance of a template makes (systemd.unit(5)).
SPECIFIER = re.compile(r"(?:\s-[A-Za-z]*c|\bexec|[;&|(])\s+[\"']?(%[A-Za-z][^\s;&|\"']*)")
COMMENT = re.compile(r"(?m)^[ \t]*#(?!!).*|^#!")  # after "#!" a program follows
WORDS = re.compile(r"[^\s;&|(){}'\"`]+|[;&|(){}\n'\"`]")
_COMMAND_FOLLOWS = frozenset((";", "&", "|", "(", "{", "\n", "'", '"', "`", "exec", "then", "do", "else", "nohup"))
# What is before a command: a shell or its option, what makes it read a script, a program that starts its argument.
_STARTS = re.compile(r"(?:-[A-Za-z]*c|\.|source|(?:/\S*/)?(?:(?:ba|da|k|z)?sh|env|nice|ionice|setsid|nohup))\Z")

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
_LOADER = re.compile(r"(?:ld-linux.*|ld|ld-[0-9.]+|ld-musl.*)\.so[0-9.]*\Z|python[0-9.]*\Z|perl[0-9.]*\Z|lua[0-9.]*\Z")


# Each text is judged from several sides, one after the other.
@functools.lru_cache(maxsize=8)
def called(text: str) -> Tuple[str, ...]:
    """Return the names without a directory that a shell's text calls as commands."""
    found: Dict[str, None] = {}
    before = ";"
    for word in WORDS.findall(text):
        if "/" not in word and (before in _COMMAND_FOLLOWS or "=" in before or _STARTS.match(before)):
            found[word] = None
        before = word
    return tuple(found)


def expand(text: str, path: str = "") -> str:
    """Return ``text`` with what a shell makes of its words: variables, defaults, quotes and the script's own directory.

    ``path`` is the script's. Each variable is replaced by the paths, or parts of paths, that are assigned to it.
    """
    copies = list(dict.fromkeys([text, *_with_values(_DEFAULT.sub(r"\1", _HOME.sub(_OF_ROOT, text)))]))
    found = "\n".join(copies)
    words = [one for one in dict.fromkeys(_WORD.findall(found)) if "/" in one and _QUOTED.search(one)]
    words = [re.sub(r"[\"'\\]", "", one) for one in words]
    words += list(_without_braces(found))
    own = [posixpath.dirname(path)] if path and _OWN_DIRECTORY.search(text) else []
    return "\n".join([found, *words, *own])


def _without_braces(text: str) -> Iterator[str]:
    """Return the paths that a shell makes of words with alternatives in braces."""
    waiting: List[str] = []
    for match in itertools.islice(_BRACED.finditer(text), _MAX_BRACED):
        before = _BEFORE.search(text[max(match.start() - 200, 0) : match.start()])
        behind = _BEHIND.match(text, match.end())
        word = "".join(part.group() for part in (before, match, behind) if part is not None)
        waiting += [word] if "/" in word else []
    for word in waiting:  # grows meanwhile
        first = _BRACED.search(word)
        if first is None:
            yield word
        elif len(waiting) < _MAX_BRACED:
            waiting += [word[: first.start()] + one + word[first.end() :] for one in first.group(1).split(",")]


def cron_commands(text: str) -> str:
    """Return the commands of a crontab, each in a line: with the user's column, and without it."""
    found = [(user + command, command) for user, command in _CRON.findall(text)]
    return "\n".join([*(one for pair in found for one in pair), *_ANACRON.findall(text)])


def starting(text: str) -> str:
    """Return the commands of a text without those that name files and start none."""
    return "\n".join(one for one in _PIECES.findall(COMMENT.sub("", text)) if not _LISTS_FILES.match(one))


def _values(text: str) -> Dict[str, List[str]]:
    """Return the paths, and parts of paths, that are assigned to each variable; a substitution is none."""
    assigned = _ASSIGNED.findall(text)
    assigned += [(name, word) for name, words in _LOOP.findall(text) for word in re.split(r"[\s\"']+", words) if word]
    parts = {one for found in _IN_PATH.findall(text) for one in found}
    found: Dict[str, List[str]] = {}
    for name, value in assigned[:_MAX_ASSIGNED]:
        if (value[0] in "/$" or name in parts) and not value.endswith("$"):
            found.setdefault(name, []).append(value)
    return found


def _with_values(text: str) -> Iterator[str]:
    yield text
    values = _values(text) if "$" in text else {}
    for number in range(min(max(map(len, values.values())), _MAX_VALUES) if values else 0):
        copy = text
        for _ in range(_MAX_VARIABLE_DEPTH):
            copy = _VARIABLE.sub(lambda match, number=number: _value(values, match, number), copy)  # type: ignore[misc]
            if len(copy) > MAX_SCRIPT * 4 or "$" not in copy:
                break
        yield copy[: MAX_SCRIPT * 4]


def _value(values: Dict[str, List[str]], match: Any, number: int) -> str:
    found = values.get(match.group(1) or match.group(2))
    return match.group(0) if found is None else found[min(number, len(found) - 1)]


def hidden_commands(text: str) -> List[str]:
    """Return the variables, substitutions and patterns that a shell's text starts as programs and gives no value."""
    text = COMMENT.sub("", text)
    known = {name for name, _ in _ASSIGNED.findall(text)}.difference(
        name for name, value in _ASSIGNED.findall(text) if value.endswith("$")
    )
    found = set()
    for word in _HIDDEN.findall(text):
        names = [one or other for one, other in _VARIABLE.findall(word)]
        if not names or not known.issuperset(names):
            found.add(word)
    return sorted(found)


def is_wrapper(program: str) -> bool:
    """Return whether a program is known to start the one that its arguments name."""
    name = posixpath.basename(program)
    return name in _WRAPPERS or _LOADER.match(name) is not None
