"""Boot entries beside GRUB's menus: those of the Boot Loader Specification, and unified kernel images."""

import os
import posixpath
import re
from typing import AbstractSet, Dict, Iterator, List, Sequence

from .. import tree
from ..formats import pe

DIRECTORY = "/boot/loader/entries"
"""Of GRUB, where its menu takes them in."""
FIRMWARES = ("/boot/efi/loader/entries", "/efi/loader/entries")
"""Of systemd-boot, which reads no menu."""
IMAGES = ("/boot/efi/EFI/Linux", "/efi/EFI/Linux", "/boot/EFI/Linux")
_ADDONS = ("../../loader/addons", "{}.extra.d")  # for all images, and for one (systemd-stub(7))
# What dracut calls its rescue image and entry; a name that merely holds the word starts a system as any other does.
_RESCUE = re.compile(r"(.*?)-?0-rescue(?:-.*)?\.conf\Z")


def without_rescue(names: Sequence[str], chosen: AbstractSet[str]) -> List[str]:
    """Return the names of entries in a directory, without those of dracut's rescue system.

    One that is started by default counts as any other: the one of the ``chosen`` names, and one beside no entry of the
    same machine, as the highest name comes first.
    """
    found = [name for name in names if name.endswith(".conf")]
    rescue = {name: match.group(1) for name, match in ((one, _RESCUE.match(one)) for one in found) if match is not None}
    others = [name for name in found if name not in rescue]
    return [
        name
        for name in found
        if name not in rescue or name[:-5] in chosen or not any(one.startswith(rescue[name]) for one in others)
    ]


def fields(text: str) -> Dict[str, List[str]]:
    """Return the values of each key of an entry."""
    found: Dict[str, List[str]] = {}
    for words in (line.split(None, 1) for line in text.splitlines()):
        if len(words) > 1 and not words[0].startswith("#"):
            found.setdefault(words[0], []).append(words[1].strip())
    return found


def options(entry: Dict[str, List[str]]) -> str:
    """Return the kernel command line of an entry, as systemd-boot passes it on."""
    return " ".join(entry.get("options", []))


def commands(entry: Dict[str, List[str]]) -> str:
    """Return the commands that GRUB makes of an entry: it copies the values into them as they are."""
    lines = ["linux {} {}".format((entry.get("linux") or ["x"])[0], options(entry))]
    lines += ["{} {}".format(key, value) for key in ("initrd", "devicetree") for value in entry.get(key, [])]
    return "\n".join(lines)


def places(path: str, value: str) -> List[str]:
    """Return where the firmware's program may be that an entry names: below the top of the entry's disk."""
    return [posixpath.normpath(posixpath.join(posixpath.dirname(path), "../..", value.lstrip("/")))]


def is_image(name: str) -> bool:
    """Return whether a file has the name of a unified kernel image; the firmware reads it in any case."""
    return name.lower().endswith(".efi")


def image_command_lines(root: str, path: str) -> Iterator[str]:
    """Return the command lines of a unified kernel image, each with its add-ons'. Raise `OSError` or `ValueError`."""
    added: List[str] = []
    for place in _ADDONS:
        directory = posixpath.normpath(posixpath.join(posixpath.dirname(path), place.format(path)))
        try:
            names = tree.list_names(root, directory)
        except (FileNotFoundError, NotADirectoryError):
            continue
        for name in [one for one in names if one.lower().endswith(".addon.efi")]:
            added += _read(root, posixpath.join(directory, name))
    for line in _read(root, path) or [""]:
        yield " ".join([line, *added])


def _read(root: str, path: str) -> List[str]:
    try:
        descriptor = tree.open_file(tree.resolve(root, path))
    except tree.NotRegular as error:
        raise ValueError(str(error))
    try:
        return pe.command_lines(descriptor)
    finally:
        os.close(descriptor)
