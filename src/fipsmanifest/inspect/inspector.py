"""Inspection of single files: a digest of each one, and a verdict on ELF files (`analysis`).

Each byte is read once from its archive and hashed on the way. Only ELF files are read again, from memory if they are
small and from an unlinked temporary file otherwise, which bounds the use of memory.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import IO, Literal

from .. import __version__
from ..archive.limits import extend, spend, stored_size
from ..archive.member import Content, Damaged, Mark, Member
from ..errors import Incomplete, Refused, UsageError
from ..model.finding import Finding
from . import (
    elf,
)
from .analysis import ElfAnalysis, ProgramAnalyzer, analyze, start_analysis
from .source import Buffer, ByteSource, OpenFile
from .table import Table

#: ELF files up to this size are inspected in memory.
IN_MEMORY = 8 << 20
_CHUNK = 1 << 20
#: Bytes read and hashed at a time from a file on disk; smaller pieces cost more in calls than they save in the cache.
_PIECE = 1 << 19
#: Opening a file may take as long as reading so many bytes: a directory may have a million small ones.
_OPENING = 1 << 16
_PACKAGE = Path(__file__).parents[1]

Role = Literal["program", "config", "doc", "ghost"]


class Inspector:
    """Inspects files against a table of modules. It has no state between files and may be shared by threads."""

    def __init__(self, table: Table, spool: Path, *, callers: bool = False, forbidden: Collection[str] = ()) -> None:
        """Compare with ``table``; put large ELF files into unlinked temporary files in the directory ``spool``.

        ``callers`` searches all code for calls of what is beside the module, which takes as long again. ``forbidden``
        are globs over packages and libraries that are listed where a program has them.
        """
        self._table = table
        self._spool = spool
        self._callers = callers
        self._forbidden = tuple(sorted(set(forbidden)))

    def forbidding(self, forbidden: Collection[str]) -> Inspector:
        """Return this inspector with other globs over packages that are listed."""
        return Inspector(self._table, self._spool, callers=self._callers, forbidden=forbidden)

    @property
    def spool(self) -> Path:
        """The directory for temporary files."""
        return self._spool

    @property
    def fingerprint(self) -> str:
        """Hex digest of this program, the table and the options: findings of another commit may differ."""
        options = f"{self._callers} {self._forbidden}"
        return hashlib.sha256(
            f"{__version__} {_own_sources()} {self._table.fingerprint} {options}".encode()
        ).hexdigest()

    def session(self) -> Session:
        """Return a session for one archive, whose hard links can refer to its earlier members."""
        return Session(self)

    def inspect(self, member: Member) -> Finding | None:
        """Inspect one member; return None for a directory, device or FIFO.

        Reads the member's content to its end. Raises `Refused` if the content does not have the size of the member,
        and for a hard link, which only a `session` can resolve; `Incomplete` if the spool cannot be written.
        """
        if member.type in ("directory", "special"):
            return None
        if member.type == "symlink":
            return Finding(member.path, "symlink", member.mode, None, None, member.mark or "program", member.target)
        if member.type == "hardlink":
            raise _dangling_link(member)
        if member.content is None:
            return Finding(member.path, "file", member.mode, None, None, member.mark or "ghost")
        return self._file(member, member.content, member.content.read(_CHUNK))

    def program(self, member: Member) -> Finding | None:
        """Inspect one member if it is an ELF file; return None for anything else, of which only the start is read.

        For members whose archive has a digest that covers them, such as a layer. Raises as `inspect` does.
        """
        if member.type != "file" or member.content is None:
            return None
        first = member.content.read(_CHUNK)
        return self._file(member, member.content, first) if first[:4] == elf.MAGIC else None

    def inspect_path(
        self, path: Path, name: str | None = None, show: Callable[[bytes | bytearray], object] | None = None
    ) -> Finding:
        """Inspect a file or symbolic link on disk. Its path in the finding is ``name``, or ``path``.

        ``show`` is called with all bytes of a file, in order; a piece is valid during the call only. Raises
        `UsageError` if there is no file or link at ``path``, `Incomplete` if it cannot be read, or not in time.
        """
        named = name if name is not None else str(path)
        try:
            found = path.lstat()
            if stat.S_ISLNK(found.st_mode):
                mode = stat.S_IMODE(found.st_mode)
                return Finding(named, "symlink", mode, None, None, "program", str(path.readlink()))
            # Non-blocking, in case a pipe replaces the file in the meantime.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
            try:
                return self._opened(descriptor, path, named, show)
            finally:
                os.close(descriptor)
        except FileNotFoundError as error:
            raise UsageError(f"{path} does not exist.", "Correct the path.") from error
        except OSError as error:
            raise Incomplete(
                f"{path} cannot be read: {error.strerror}.", "Check its permissions and the disk.", reason="not-read"
            ) from error

    def _opened(
        self, descriptor: int, path: Path, named: str, show: Callable[[bytes | bytearray], object] | None
    ) -> Finding:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(f"{path} is not a regular file.", "Pass a regular file.")
        source = OpenFile(descriptor, found.st_size)
        digest, size = hashlib.sha256(), 0
        buffer = bytearray(min(_PIECE, found.st_size + 1))
        view = memoryview(buffer)
        head, begun = b"", None
        extend(stored_size(descriptor) + _OPENING)
        while length := os.readv(descriptor, [buffer]):
            # A sparse file may have more bytes than can be read in a year.
            spend()
            if not head:
                head = bytes(buffer[:4])
                begun = (
                    start_analysis(source, self._table, self._callers, self._forbidden) if head == elf.MAGIC else None
                )
            digest.update(view[:length])
            if show is not None:
                show(buffer if length == len(buffer) else bytes(view[:length]))
            if isinstance(begun, ProgramAnalyzer):
                begun.feed(size, buffer, length)
            size += length
        finding = _file_finding(named, stat.S_IMODE(found.st_mode), size, digest.hexdigest(), None, head)
        if begun is not None:
            finding = _with_analysis(finding, begun.finish() if isinstance(begun, ProgramAnalyzer) else begun)
        if _change_marks(os.fstat(descriptor)) != _change_marks(found):
            # Digest and verdict could be of different bytes.
            raise Incomplete(
                f"{path} changed while it was read.", "Run it again when no process writes to it.", reason="not-read"
            )
        return finding

    def _file(self, member: Member, content: Content, first: bytes) -> Finding:
        path, mode, size, mark = member.path, member.mode, member.size, member.mark
        if first[:4] != elf.MAGIC:
            digest = _hash_through(path, size, first, content)
            return _file_finding(path, mode, size, digest, mark, first[:4])
        if size <= IN_MEMORY:
            pieces: list[bytes] = []
            digest = _hash_through(path, size, first, content, pieces)
            finding = _file_finding(path, mode, size, digest, mark, first[:4])
            return _with_analysis(finding, self._analyze(Buffer(b"".join(pieces))))
        try:
            with tempfile.TemporaryFile(dir=self._spool, buffering=0) as spooled:
                digest = _hash_through(path, size, first, content, spooled)
                finding = _file_finding(path, mode, size, digest, mark, first[:4])
                source = OpenFile(spooled.fileno(), size)
                return _with_analysis(finding, self._analyze(source))
        except OSError as error:
            raise Incomplete(
                f"{path} cannot be written to {self._spool}: {error.strerror}.",
                "Free space there, or choose another directory: --work for a release, TMPDIR for 'inspect'.",
                reason="not-written",
            ) from error

    def _analyze(self, source: ByteSource) -> ElfAnalysis:
        return analyze(source, self._table, self._callers, self._forbidden)


class Session:
    """The inspection of one archive, member by member and in their order; for one thread."""

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector
        self._seen: dict[str, Finding | None] = {}

    def inspect(self, member: Member) -> Finding | None:
        """Inspect one member as `Inspector.inspect` does; for a hard link, return the finding of its target.

        Raises `Refused` if a hard link's target is not an earlier member of the archive, or is a directory.
        """
        if member.type == "hardlink":
            if member.target not in self._seen:
                raise _dangling_link(member)
            target = self._seen[member.target]
            finding = None if target is None else replace(target, path=member.path)
        else:
            finding = self._inspector.inspect(member)
        if member.type != "directory":
            self._seen[member.path] = finding
        return finding


@cache
def _own_sources() -> str:
    """Return the hex digest of this package's sources.

    Of all of them, as a list of those that findings depend on would once be incomplete.
    """
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        source = path.read_bytes()
        digest.update(f"{path.relative_to(_PACKAGE)} {len(source)}\n".encode() + source)
    return digest.hexdigest()


def _change_marks(found: os.stat_result) -> tuple[int, int, int]:
    """Return the attributes that every write to a file changes."""
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _with_analysis(finding: Finding, analysis: ElfAnalysis) -> Finding:
    return replace(finding, elf=analysis.elf, go=analysis.go, crypto=analysis.crypto)


def _hash_through(
    path: str, size: int, first: bytes, content: Content, sink: list[bytes] | IO[bytes] | None = None
) -> str:
    """Return the SHA-256 of a member's content, of which ``first`` was read already, and copy it to ``sink``."""
    digest, length, chunk = hashlib.sha256(), 0, first
    while chunk:
        length += len(chunk)
        if length > size:
            break
        digest.update(chunk)
        if isinstance(sink, list):
            sink.append(chunk)
        elif sink is not None:
            _write(sink, chunk)
        chunk = content.read(_CHUNK)
    if length != size:
        raise Refused(
            f"{path} does not have the {size} bytes that its archive states.",
            "Fetch the archive again, or contact its publisher.",
            reason="damaged-archive",
        )
    return digest.hexdigest()


def _write(sink: IO[bytes], chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[sink.write(view) :]


def _file_finding(path: str, mode: int, size: int, digest: str, mark: Mark | None, head: bytes) -> Finding:
    return Finding(path, "file", mode, digest, size, _role(mark, mode, head))


def _role(mark: Mark | None, mode: int, head: bytes) -> Role:
    """Return the role of a file. An ELF file is a program even if its package marks it as configuration."""
    if head == elf.MAGIC:
        return "program"
    if mark is not None:
        return mark
    return "program" if head[:2] == b"#!" or mode & 0o111 else "doc"


def _dangling_link(member: Member) -> Damaged:
    return Damaged(
        f"{member.path} is a hard link to {member.target}, which is not an earlier file of its archive.",
        "Such an archive cannot be unpacked; contact its publisher.",
    )
