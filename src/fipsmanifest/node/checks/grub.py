"""GRUB's menus: the files that they take in, and the kernel command lines that they make.

Rules: GRUB's manual, "Shell-like scripting" and "The list of commands"; the environment block; blscfg of Enterprise
Linux, which makes a command of each entry of the Boot Loader Specification.
"""

import posixpath
import re
from typing import Callable, Dict, Iterator, List, Optional, Sequence

DIRECTORY = "/boot/grub2"
VENDORS = "/boot/efi/EFI"
"""With a directory for each system that starts with EFI."""
MENUS = ("grub.cfg", "custom.cfg", "user.cfg")
"""The menu, and what it takes in (41_custom, 01_users)."""
BLOCK = "grubenv"
"""The environment block, beside them."""
_MAX_FILES = 100
_MAX_LINES = 100  # that variables make of one
_MAX_DEPTH = 4  # of variables in variables
_COMMENT = re.compile(r"^[ \t]*#.*", re.MULTILINE)
_BEGINS = r"(?:^|[;{&|]|\b(?:then|else|do)\b)[ \t]*"
_KERNEL = re.compile(
    _BEGINS + r"[\"']?(?:linux|linux16|linuxefi)[\"']?[ \t]+((?:\"[^\"]*\"|'[^']*'|[^\n;\"'])*)", re.MULTILINE
)
_ASSIGNED = re.compile(
    _BEGINS + r"(?:set[ \t]+|export[ \t]+)?([A-Za-z_]\w*)=(\"[^\"]*\"|'[^']*'|[^\s;]*)", re.MULTILINE | re.ASCII
)
_TAKES_IN = re.compile(_BEGINS + r"(?:\.|source|configfile|normal|legacy_configfile)[ \t]+([^\s;}]+)", re.MULTILINE)
_DEVICE = re.compile(r"\([^()]*\)")
_OF_PREFIX = re.compile(r"\$(?:\{\w+\}|\w+)/(?=[^$]+\Z)")  # $prefix, ${config_directory}
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))", re.ASCII)
# The menu of EL8 sets it where the environment block has none.
_FALLBACK = "kernelopts"


class TooMany(Exception):
    """There are more files or command lines than any boot loader needs."""


def with_taken_in(menus: Dict[str, str], read: Callable[[str], Optional[str]]) -> Dict[str, str]:
    """Return menus, by path, with the files that they take in; raises `TooMany`.

    ``read`` returns a file's text, and None where there is none. The files of another disk are not found.
    """
    found = {path: _joined(text) for path, text in menus.items()}
    waiting = list(found)
    for path in waiting:  # grows meanwhile
        for word in _TAKES_IN.findall(found[path]):
            for place in _places(word.strip("\"'"), path):
                text = read(place) if place not in found else None
                if text is not None:
                    found[place] = _joined(text)
                    waiting.append(place)
        if len(waiting) > _MAX_FILES:
            raise TooMany()
    return found


def _joined(text: str) -> str:
    """Return a menu without comments and with its continued lines in one."""
    return _COMMENT.sub("", text.replace("\\\n", ""))


def _places(word: str, menu: str) -> List[str]:
    """Return where on the node a file or directory may be that a menu names: its disk's root may be /boot or /."""
    path = _DEVICE.sub("", word)
    if _OF_PREFIX.match(path):
        below = _OF_PREFIX.sub("", path, 1)
        return [posixpath.join(base, below) for base in dict.fromkeys((posixpath.dirname(menu), DIRECTORY))]
    return [] if "$" in path or not path.startswith("/") else ["/boot" + path, path]


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
            found.setdefault(name, []).append(value)
    is_kept = _FALLBACK in found
    for menu in menus.values():
        for name, value in _ASSIGNED.findall(menu):
            if not (is_kept and name == _FALLBACK):
                found.setdefault(name, []).append(value.strip("\"'"))
    return found


def command_lines(text: str, variables: Dict[str, List[str]]) -> Iterator[str]:
    """Return each kernel with its command line as the commands of a menu load them; raises `TooMany`."""
    for line in _KERNEL.findall(text):
        for meant in _expanded(line, variables):
            # What has blanks between quotation marks is passed to the kernel between double ones.
            yield meant.replace("'", '"').replace("\\", "")


def _expanded(line: str, variables: Dict[str, List[str]]) -> List[str]:
    found = [line]
    for _ in range(_MAX_DEPTH):
        names = {one or other for text in found for one, other in _VARIABLE.findall(text)}
        for name in sorted(names):
            form = re.compile(r"\$(?:\{%s\}|%s\b)" % (name, name), re.ASCII)
            values = variables.get(name) or [""]
            found = list(dict.fromkeys(value.join(form.split(text)) for text in found for value in values))
            if len(found) > _MAX_LINES:
                raise TooMany()
    return found
