"""Files that reports are written to: opened before the node is inspected, changed only once there is a report."""

import contextlib
import errno
import io
import os
import stat
from typing import Iterator, Sequence, Tuple

from ..errors import UsageError
from ..trust.links import refuse_links
from ..trust.text import visible


@contextlib.contextmanager
def open_file(path: str, others: Sequence[str]) -> Iterator[io.FileIO]:
    """Open a file for a report; raise `UsageError` if it cannot be written, or is one of ``others``.

    It keeps its content until `write`. A new file is removed if nothing is written.
    """
    file, is_new = _open(path, others)
    try:
        yield file
    finally:
        if is_new and file.tell() == 0:
            with contextlib.suppress(OSError):
                os.unlink(path)
        file.close()


def write(file: io.FileIO, text: str) -> None:
    """Replace the content of an open file by an ASCII text; raise `OSError`."""
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        os.ftruncate(file.fileno(), 0)
    left = memoryview(text.encode("ascii"))
    while left:
        left = left[file.write(left) :]


def _open(path: str, others: Sequence[str]) -> Tuple[io.FileIO, bool]:
    """Return the open file, and whether it is new."""
    with contextlib.suppress(OSError):
        # Neither may be written over: what the tool reads, and what it runs from.
        if any(os.path.samefile(path, other) for other in others):
            raise UsageError(
                "The report cannot replace {}, which the tool reads or runs from.".format(visible(path)),
                "Name another file.",
            )
    # A FIFO without a reader is an error: a reader may never come.
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    is_new = False
    try:
        refuse_links(path)
        try:
            descriptor = os.open(path, flags)
        except FileNotFoundError:
            descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
            is_new = True
    except OSError as error:
        is_link = error.strerror == os.strerror(errno.ELOOP)
        reason = "it is a link" if is_link else visible(str(error.strerror))
        raise UsageError("{} cannot be written: {}.".format(visible(path), reason), "Name another file.")
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and (status.st_nlink > 1 or status.st_uid != os.geteuid()):
        # In a directory that others may write to, the name may be a link to another file.
        os.close(descriptor)
        reason = "it has another owner" if status.st_nlink == 1 else "it has another name as well (a hard link)"
        raise UsageError("{} cannot be overwritten: {}.".format(visible(path), reason), "Name another file.")
    os.set_blocking(descriptor, True)
    return io.FileIO(descriptor, "w"), is_new
