"""What a path on this disk is, told by its content, and what is in it."""

from __future__ import annotations

import io
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from ..errors import Incomplete, Refused, UsageError
from . import folder, rpm, tar
from .decompress import TooDemanding, compression_of, reader
from .limits import DEFAULT, Limits
from .member import Content, Joined, Member

Kind = Literal["file", "folder", "rpm", "tar", "image-archive"]

#: The lead of an RPM (RPM V4 package format, "Lead").
_RPM = b"\xed\xab\xee\xdb"

#: A tar header's length, by which it is told.
_BLOCK = 512

#: What the members of an image archive are called, in any of its forms: ``docker save`` old and new, OCI layout.
_IMAGE_NAMES = re.compile(
    r"/(oci-layout|index\.json|manifest\.json|repositories|blobs(/.*)?|[0-9a-f]{64}(\.json|\.tar|/.*)?)"
)


def kind_of(path: Path) -> Kind:
    """Say what ``path`` is. A compressed file that holds no tar is a plain file.

    Raises `UsageError` for a path that is not there or is a device, FIFO or socket, `Incomplete` where it cannot be
    read.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return "image-archive" if (path / "oci-layout").is_file() and (path / "index.json").is_file() else "folder"
        if not stat.S_ISREG(mode):
            raise UsageError(f"{path} is neither a file nor a folder.", "Name a file or a folder.")
        with path.open("rb") as file:
            if file.read(len(_RPM)) == _RPM:
                return "rpm"
        return _kind_of_tar(path)
    except FileNotFoundError as error:
        raise UsageError(f"{path} is not there.", "Check the path.") from error
    except OSError as error:
        raise Incomplete(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from error


def may_hold_members(path: Path) -> bool:
    """Tell, by its first block alone, whether ``path`` can be a package or an archive; `kind_of` knows.

    Raises `Incomplete` where it cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_BLOCK)
    except OSError as error:
        raise Incomplete(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from error
    return head.startswith(_RPM) or compression_of(head) != "none" or tar.is_header(head)


def holds_members(first: bytes, *, whole: bool) -> bool:
    """Tell by the first bytes of a file, a megabyte or the ``whole``, whether it is a package or an archive.

    Where a part of it does not tell, it may be; `kind_of` knows.
    """
    return first.startswith(_RPM) or _is_tar(io.BytesIO(first), "", whole=whole)


def _is_tar(file: Content, name: str, *, whole: bool = True) -> bool:
    """Tell whether a stream is a tar, compressed or not; a compressed file that holds none is a plain file.

    One that asks for more memory than it may have counts as a tar: whoever opens it will hear why. So does one of which
    this is not the ``whole`` and no more than empty members, long names and comments.
    """
    head = file.read(_BLOCK)
    if tar.is_header(head):
        # Before any compression, as unpackers do: the first member's name may well begin as compressed bytes do.
        return True
    try:
        block = reader(Joined(head, file), limit=DEFAULT.expanded, name=name).read(_BLOCK)
    except TooDemanding:
        return True
    except Refused:
        return not whole
    return tar.is_header(block) or (len(block) < _BLOCK and not whole)


def _kind_of_tar(path: Path) -> Kind:
    with path.open("rb") as file:
        if not _is_tar(file, path.name):
            return "file"
    with path.open("rb") as file:
        stream = reader(file, limit=DEFAULT.expanded, name=path.name)
        try:
            names = (member.path for member in tar.members(stream, root="/", archive=path.name))
            first = next((name for name in names if name != "/"), "")
        except Refused:
            # It is a tar, if a bad one: whoever reads it will hear why.
            return "tar"
    return "image-archive" if _IMAGE_NAMES.fullmatch(first) else "tar"


def members_of(
    path: Path, *, name: str = "", note: Callable[[str], object] = str, limits: Limits = DEFAULT
) -> Iterator[Member]:
    """Give the members of a folder, package or tar; of a plain file, that file alone, named as ``path`` is.

    An image archive gives the files that it consists of; what is in its images, `imagearchive.images_in` gives.
    ``name`` is what errors call a package or archive; ``note`` is told what in a folder is passed over. Raises as
    `kind_of` and as the module for that kind.
    """
    kind = kind_of(path)
    if kind == "rpm":
        return rpm.members(path, name, limits=limits)
    if path.is_dir():
        return folder.members(path, note=note)
    if kind in ("tar", "image-archive"):
        return tar.tarball_members(path, archive=name, limits=limits)
    return folder.file_member(path, str(path), follow=True)
