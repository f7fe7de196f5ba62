"""GRUB's menus: the files that they take in, and the kernel command lines that they make.

Rules: GRUB's manual, "Shell-like scripting" and "The list of commands"; its script/yylex.l and lib/cmdline.c; the
environment block; blscfg of Enterprise Linux, which makes a command of each entry of the Boot Loader Specification.
"""

import functools
import posixpath
import re
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Set, Tuple

DIRECTORY = "/boot/grub2"
VENDORS = "/boot/efi/EFI"
"""With a directory for each system that starts with EFI."""
MENUS = ("grub.cfg", "custom.cfg", "user.cfg")
"""The menu, and what it takes in (41_custom, 01_users)."""
BLOCK = "grubenv"
"""The environment block, beside them."""
FALLBACK = "kernelopts"
"""The menu of EL8 sets it where the environment block has none."""
_MAX_FILES = 100
_MAX_SIZE = 256 * 1024  # of a menu; grub2-mkconfig writes a tenth of it
_MAX_WORD = 16 * 1024  # of a word, and of a command line
_MAX_LINES = 100  # that variables make of one
_MAX_DEPTH = 4  # of variables in variables
_TOKEN = re.compile(
    r"(?P<blank>[ \t\r]+|\\\n)|(?P<end>[;\n{}&|<>])|(?P<comment>#[^\n]*)"
    r"|(?P<word>(?:\\[\s\S]|'[^']*'?|\"(?:\\[\s\S]|[^\"\\])*\"?|\$\{[^}\s]{0,100}\}|[^\s;{}&|<>\\'\"])+|\\)"
)
_PART = re.compile(r"\\([\s\S])|'([^']*)'?|\"((?:\\[\s\S]|[^\"\\])*)\"?|\\")
_WITHIN = re.compile(r"\\([$\"\\])|\\\n")
_HEXADECIMAL = re.compile(r"\\x([0-9A-Fa-f]{2})")
_KEYWORDS = frozenset(("if", "then", "else", "elif", "fi", "while", "until", "do", "done", "time", "!"))
_KERNEL = ("linux", "linux16", "linuxefi")
_TAKES_IN = (".", "source", "configfile", "normal")
# Other loaders, menus of other kinds, and commands that are made of words.
_OTHER = re.compile(r"(?:chainloader|multiboot2?|module2?|xen_\w+|legacy_\w+|extract_\w+|syslinux_\w+|uki|eval)\Z")
_SETS = re.compile(r"(?:--set|-s)(?:=(.*))?\Z", re.DOTALL)  # of search, probe, regexp and others
_BLOCK_FILE = re.compile(r"(?:--file|-f)(?:=(.*))?\Z", re.DOTALL)
_ASSIGNED = re.compile(r"([A-Za-z_]\w*)=(.*)\Z", re.DOTALL | re.ASCII)
_DEVICE = re.compile(r"\([^()]*\)")
_OF_PREFIX = re.compile(r"\$(?:\{\w+\}|\w+)/(?=[^$]+\Z)")  # $prefix, ${config_directory}
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))", re.ASCII)
_POSITIONAL = re.compile(r"\$\{?[0-9@*#?]")
# What replaces letters that are only letters: a dollar sign, a backslash and quotation marks.
_LETTERS = dict(zip("$\\'\"", "\x00\x01\x02\x03"))  # noqa: B905 - new in Python 3.10


class TooMany(Exception):
    """There are more files or command lines than any boot loader needs."""


class Unclear(Exception):
    """A menu starts something in a way whose command line is not known."""


# Each menu is read from several sides, one after the other.
@functools.lru_cache(maxsize=8)
def commands(text: str) -> Tuple[Tuple[str, ...], ...]:
    """Return the words of each command in a menu, with their quotation marks, without keywords before it."""
    if len(text) > _MAX_SIZE:
        raise TooMany()
    found: List[Tuple[str, ...]] = []
    words: List[str] = []
    for match in _TOKEN.finditer(text + "\n"):
        if match.end() - match.start() > _MAX_WORD:
            raise TooMany()
        if match.lastgroup == "word" and (words or match.group() not in _KEYWORDS):
            words.append(match.group())
        elif match.lastgroup == "end":
            found += [tuple(words)] if words else []
            words = []
    return tuple(found)


def _plain(word: str) -> str:
    """Return a word without its quotation marks; a dollar sign that begins no variable is kept from doing so."""
    return _PART.sub(_part, word)


def _part(match: Any) -> str:
    escaped, single, double = match.groups()
    if escaped is not None:
        return "" if escaped == "\n" else _LETTERS.get(escaped, escaped)
    if single is not None:
        return _as_letters(single)
    return _WITHIN.sub(lambda one: _LETTERS[one.group(1)] if one.group(1) else "", double or "").replace("'", "\x02")


def _as_letters(text: str) -> str:
    return "".join(_LETTERS.get(letter, letter) for letter in text)


def _restored(text: str) -> str:
    for letter, one in _LETTERS.items():
        text = text.replace(one, letter)
    return text


def with_taken_in(menus: Dict[str, str], read: Callable[[str], Optional[str]]) -> Dict[str, str]:
    """Return menus, by path, with the files that they take in; raises `TooMany`.

    ``read`` returns a file's text, and None where there is none. The files of another disk are not found.
    """
    found = dict(menus)
    waiting = list(found)
    for path in waiting:  # grows meanwhile
        variables = variables_of({path: found[path]}, [])
        named = [words[1] for words in commands(found[path]) if _plain(words[0]) in _TAKES_IN and len(words) > 1]
        for word in dict.fromkeys(one for name in named for one in (name, *_expanded(name, variables, True))):
            for place in _places(_restored(_plain(word)), path):
                text = read(place) if place not in found else None
                if text is not None:
                    found[place] = text
                    waiting.append(place)
        if len(waiting) > _MAX_FILES or sum(map(len, found.values())) > 2 * _MAX_SIZE:
            raise TooMany()
    return found


def _places(path: str, menu: str) -> List[str]:
    """Return where on the node a file or directory may be that a menu names: its disk's root may be /boot or /."""
    path = _DEVICE.sub("", path)
    if _OF_PREFIX.match(path):
        below = _OF_PREFIX.sub("", path, 1)
        return [posixpath.join(base, below) for base in dict.fromkeys((posixpath.dirname(menu), DIRECTORY))]
    return [] if "$" in path or not path.startswith("/") else ["/boot" + path, path]


def takes_entries(text: str) -> bool:
    """Return whether a menu takes in the entries of the Boot Loader Specification."""
    return any(_plain(words[0]) == "blscfg" for words in commands(text))


def blocks_of(menus: Dict[str, str]) -> List[str]:
    """Return the environment blocks with names of their own that menus load (``load_env --file``)."""
    found: List[str] = []
    for path, menu in menus.items():
        for words in [words for words in commands(menu) if _plain(words[0]) == "load_env"]:
            found += [place for word in _values(words, _BLOCK_FILE) for place in _places(_restored(word), path)]
    return list(dict.fromkeys(found))


def _values(words: Sequence[str], option: Any) -> List[str]:
    """Return the values of an option of a command."""
    found = []
    for word, following in zip(words, (*words[1:], "")):  # noqa: B905 - new in Python 3.10
        match = option.match(_plain(word))
        if match is not None:
            found.append(_plain(following) if match.group(1) is None else match.group(1))
    return found


def entry_directories(variables: Dict[str, List[str]]) -> List[str]:
    """Return the directories other than the usual one that entries may be taken from."""
    return [place for value in variables.get("blsdir", []) for place in _places(value, "")]


def read_block(text: str) -> Dict[str, str]:
    """Return the variables of an environment block; of two of one name the first counts."""
    pairs = [line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#")]
    return {name: value for name, _, value in reversed(pairs)}


def variables_of(menus: Dict[str, str], blocks: Sequence[Dict[str, str]]) -> Dict[str, List[str]]:
    """Return every value that a variable may have: of any environment block, and any that a menu sets."""
    found: Dict[str, List[str]] = {}
    for block in blocks:
        for name, value in block.items():
            # What a block has is expanded in entries alone.
            found.setdefault(name, []).extend(dict.fromkeys((value, _as_letters(value))))
    is_kept = FALLBACK in found
    for menu in menus.values():
        for name, value in _assigned(menu):
            if not (is_kept and name == FALLBACK):
                found.setdefault(name, []).append(value)
    return found


def _assigned(menu: str) -> Iterator[Tuple[str, str]]:
    for words in commands(menu):
        name = _plain(words[0])
        if name == "for" and len(words) > 3:
            yield from ((_plain(words[1]), _plain(one)) for one in words[3:])
        elif name == "unset":
            yield from ((_plain(one), "") for one in words[1:])
        for one in words[1:] if name in ("set", "export") else words[:1]:
            match = _ASSIGNED.match(_plain(one))
            if match is not None:
                yield match.group(1), match.group(2)


def command_lines(text: str, variables: Dict[str, List[str]]) -> Iterator[str]:
    """Return each kernel with its command line as the commands of a menu load them; raises `TooMany` or `Unclear`."""
    elsewhere: Set[str] = set()
    for words in commands(text):
        elsewhere.update(one.rpartition(":")[2] for one in _values(words, _SETS))
        elsewhere.update(_plain(one) for one in words[1:] if _plain(words[0]) == "read")
    for words in commands(text):
        for name in {_plain(one) for one in _expanded(words[0], variables)}:
            if _OTHER.match(name):
                raise Unclear(_restored(" ".join(words[:2])))
            if name in _KERNEL:
                line = " ".join(words[1:])
                # What a command finds out, as the number of a disk, is a part of a word.
                whole = [
                    one or other for word in words[2:] for one, other in _VARIABLE.findall(word) if "=" not in word
                ]
                if _POSITIONAL.search(line) or elsewhere.intersection(whole):
                    raise Unclear(_restored(line[:100]))
                for meant in _expanded(line, variables):
                    yield _as_the_kernel_gets(meant)


def _as_the_kernel_gets(line: str) -> str:
    """Return a command line with the words of a command: what has blanks is between quotation marks (lib/cmdline.c)."""
    words = [match.group() for match in _TOKEN.finditer(line) if match.lastgroup == "word"]
    words = [_HEXADECIMAL.sub(_letter, _restored(_plain(word))) for word in words]
    return " ".join('"{}"'.format(word) if re.search(r"\s", word) else word for word in words)


def _without_expansion(match: Any) -> str:
    part = str(match.group()).replace("\\$", "\x00")
    return part if match.group(3) is not None else part.replace("$", "\x00")


def _letter(match: Any) -> str:
    return chr(int(match.group(1), 16))


def _expanded(line: str, variables: Dict[str, List[str]], keep: bool = False) -> List[str]:
    """Return what variables make of a line; one without a value is nothing, or stays where ``keep`` says so."""
    # Between single quotation marks and behind a backslash, a dollar sign is none of a variable.
    found = [_PART.sub(_without_expansion, line)]
    for _ in range(_MAX_DEPTH):
        names = {one or other for text in found for one, other in _VARIABLE.findall(text)}
        if len(names) > _MAX_LINES:
            raise TooMany()
        for name in sorted(names.intersection(variables) if keep else names):
            form = re.compile(r"\$(?:\{%s\}|%s\b)" % (name, name), re.ASCII)
            values = [
                re.sub(r"[\\'\"]", lambda match: _LETTERS[match.group()], one) for one in variables.get(name, [""])
            ]
            if max(map(len, found)) * max(map(len, values or [""])) > _MAX_SIZE * _MAX_LINES:
                raise TooMany()
            found = list(dict.fromkeys(value.join(form.split(text)) for text in found for value in values or [""]))
            if len(found) > _MAX_LINES or max(map(len, found)) > _MAX_WORD:
                raise TooMany()
    return found
