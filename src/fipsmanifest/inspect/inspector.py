"""Look at one file after another: hash it, and judge it where it is an ELF file.

Each byte is read once from its archive and hashed on the way. Only ELF files are looked at again, from memory where
they are small and else from an unlinked temporary file, so that memory stays small whatever the file.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Literal

from .. import __version__
from ..archive.member import Content, Mark, Member
from ..errors import Incomplete, Refused, UsageError
from ..model.finding import CryptoFacts, ElfFacts, Finding, GoFacts, Verdict
from . import (
    boring,
    buildinfo,
    cryptocode,
    dependencies,
    elf,
    functab,
    functions,
    gosigns,
    loader,
    signals,
    verdict,
    wrappers,
)
from .native import integrity as native
from .source import Buffer, ByteSource, OpenFile
from .sweep import Sweep, sweep
from .table import Table

#: ELF files up to this size are inspected in memory.
IN_MEMORY = 8 << 20
_CHUNK = 1 << 20
#: Read and hashed at a time from a file on disk; with less, the calls cost more than a cache that holds it all saves.
_PIECE = 1 << 19
_UPX = b"UPX!"
_UPX_REACH = 1 << 10

Role = Literal["program", "config", "doc", "ghost"]


@dataclass(frozen=True, slots=True)
class Looked:
    """What the bytes of an ELF file show."""

    elf: ElfFacts | None
    """None where not even the header can be read."""
    go: GoFacts | None
    """Build info."""
    crypto: CryptoFacts
    """The verdict."""


class Inspector:
    """Inspects files against one table of modules; holds no state between files and may be shared by threads."""

    def __init__(self, table: Table, spool: Path) -> None:
        """Compare with ``table``; put large ELF files into unlinked temporary files in the folder ``spool``."""
        self._table = table
        self._spool = spool

    @property
    def spool(self) -> Path:
        """The folder for temporary files."""
        return self._spool

    @property
    def fingerprint(self) -> str:
        """Hex digest that changes when this code's version or anything in the table does."""
        return hashlib.sha256(f"{__version__} {self._table.fingerprint}".encode()).hexdigest()

    def session(self) -> Session:
        """Begin an archive, whose hard links can refer to its earlier members."""
        return Session(self)

    def inspect(self, member: Member) -> Finding | None:
        """Inspect one member by itself; None for a directory, device or FIFO.

        Reads the member's content to its end. Raises `Refused` where the content is not as long as the member
        says, and for a hard link, which only a `session` can resolve; `Incomplete` where the disk refuses.
        """
        if member.type in ("directory", "special"):
            return None
        if member.type == "symlink":
            return Finding(member.path, "symlink", member.mode, None, None, member.mark or "program", member.target)
        if member.type == "hardlink":
            raise _dangling(member)
        if member.content is None:
            return Finding(member.path, "file", member.mode, None, None, member.mark or "ghost")
        return self._file(member, member.content, member.content.read(_CHUNK))

    def program(self, member: Member) -> Finding | None:
        """Inspect one member where it is an ELF file; None for anything else, of which only the start is read.

        For what a digest of the whole covers already, such as a layer. Raises as `inspect` does.
        """
        if member.type != "file" or member.content is None:
            return None
        first = member.content.read(_CHUNK)
        return self._file(member, member.content, first) if first[:4] == elf.MAGIC else None

    def inspect_path(
        self, path: Path, name: str | None = None, show: Callable[[bytes], object] | None = None
    ) -> Finding:
        """Inspect a file or symbolic link on disk, named ``name`` or as it is in the finding.

        ``show`` is called with all of a file's bytes, in order.
        Raises `UsageError` where it is neither or is not there, `Incomplete` where it cannot be read.
        """
        named = name if name is not None else str(path)
        try:
            found = path.lstat()
            if stat.S_ISLNK(found.st_mode):
                mode = stat.S_IMODE(found.st_mode)
                return Finding(named, "symlink", mode, None, None, "program", str(path.readlink()))
            # Not blocking: a pipe that took the file's place must not hold us.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
            try:
                return self._opened(descriptor, path, named, show)
            finally:
                os.close(descriptor)
        except FileNotFoundError as error:
            raise UsageError(f"{path} is not there.", "Name a file that exists.") from error
        except OSError as error:
            raise Incomplete(
                f"{path} cannot be read: {error.strerror}.", "Check its permissions and the disk."
            ) from error

    def _opened(self, descriptor: int, path: Path, named: str, show: Callable[[bytes], object] | None) -> Finding:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(f"{path} is not a file.", "Name a regular file.")
        source = OpenFile(descriptor, found.st_size)
        digest, size = hashlib.sha256(), 0
        buffer = bytearray(min(_PIECE, found.st_size + 1))
        view = memoryview(buffer)
        head, begun = b"", None
        while length := os.readv(descriptor, [buffer]):
            if not head:
                head = bytes(buffer[:4])
                begun = begin(source, self._table) if head == elf.MAGIC else None
            digest.update(view[:length])
            if show is not None:
                show(bytes(view[:length]))
            if isinstance(begun, Program):
                begun.show(size, buffer, length)
            size += length
        finding = _plain(named, stat.S_IMODE(found.st_mode), size, digest.hexdigest(), None, head)
        if begun is not None:
            finding = _judged(finding, begun.judge() if isinstance(begun, Program) else begun)
        if _state(os.fstat(descriptor)) != _state(found):
            # The verdict would be on other bytes than the digest.
            raise Incomplete(f"{path} changed while it was read.", "Run it again when nothing writes there.")
        return finding

    def _file(self, member: Member, content: Content, first: bytes) -> Finding:
        path, mode, size, mark = member.path, member.mode, member.size, member.mark
        if first[:4] != elf.MAGIC:
            digest = _hash_through(path, size, first, content)
            return _plain(path, mode, size, digest, mark, first[:4])
        if size <= IN_MEMORY:
            pieces: list[bytes] = []
            digest = _hash_through(path, size, first, content, pieces)
            finding = _plain(path, mode, size, digest, mark, first[:4])
            return _judged(finding, look(Buffer(b"".join(pieces)), self._table))
        try:
            with tempfile.TemporaryFile(dir=self._spool, buffering=0) as spooled:
                digest = _hash_through(path, size, first, content, spooled)
                finding = _plain(path, mode, size, digest, mark, first[:4])
                return _judged(finding, look(OpenFile(spooled.fileno(), size), self._table))
        except OSError as error:
            raise Incomplete(
                f"{path} could not be kept in {self._spool}: {error.strerror}.", "Free space or choose another folder."
            ) from error


class Session:
    """The inspection of one archive, member by member, in its order; for one thread."""

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector
        self._seen: dict[str, Finding | None] = {}

    def inspect(self, member: Member) -> Finding | None:
        """Inspect one member as `Inspector.inspect` does; a hard link is its target under another name.

        Raises `Refused` where a hard link's target was not an earlier member of the archive, or a directory.
        """
        if member.type == "hardlink":
            if member.target not in self._seen:
                raise _dangling(member)
            target = self._seen[member.target]
            finding = None if target is None else replace(target, path=member.path)
        else:
            finding = self._inspector.inspect(member)
        if member.type != "directory":
            self._seen[member.path] = finding
        return finding


class Program:
    """An ELF file that is, or claims to be, a Go program; its bytes may be shown while they are read to be hashed."""

    def __init__(self, source: ByteSource, table: Table, headers: elf.Elf, go: GoFacts | None) -> None:
        self._source = source
        self._table = table
        self._headers = headers
        self._go = go
        self._swept = Sweep(headers, table.of(headers.facts.machine))

    def show(self, offset: int, data: bytearray, length: int) -> None:
        """Look at the first ``length`` bytes of ``data``, which stand at ``offset``; to be shown all, in order."""
        self._swept.show(offset, data, length)

    def judge(self) -> Looked:
        """Give the verdict; where not all was shown, the code is read."""
        if self._swept.shown < self._source.size:
            self._swept = sweep(self._source, self._headers, self._table.of(self._headers.facts.machine))
        try:
            crypto = _crypto(self._source, self._headers, self._go, self._table, self._swept)
        except elf.Unreadable as error:
            crypto = verdict.unreadable(error.code)
        return Looked(self._headers.facts, self._go, crypto)


def begin(source: ByteSource, table: Table) -> Program | Looked:
    """Read an ELF file's headers and build info; where they settle the matter, return the verdict at once."""
    facts, go = None, None
    try:
        headers = elf.read(source)
        facts = headers.facts
        go = buildinfo.read(source, headers)
    except elf.Unreadable as error:
        settled = _without_build_info(source, headers) if facts is not None else None
        if settled in (verdict.not_go(), verdict.other_compiler()):
            # The magic alone, as in a program or library that looks for it in others.
            return Looked(facts, None, settled)
        code = "debugging-information" if elf.seems_without_code(source) else error.code
        return Looked(facts, go, verdict.unreadable(code))
    settled = _without_build_info(source, headers) if go is None else None
    return Looked(facts, None, settled) if settled else Program(source, table, headers, go)


def look(source: ByteSource, table: Table) -> Looked:
    """Judge the bytes of an ELF file; never raises for what is in them."""
    begun = begin(source, table)
    return begun.judge() if isinstance(begun, Program) else begun


def _state(found: os.stat_result) -> tuple[int, int, int]:
    """Give what every write to a file changes."""
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _judged(finding: Finding, looked: Looked) -> Finding:
    return replace(finding, elf=looked.elf, go=looked.go, crypto=looked.crypto)


def _without_build_info(source: ByteSource, headers: elf.Elf) -> CryptoFacts | None:
    """Judge what is not a Go program; None for one whose build info is missing."""
    if headers.facts.type not in ("exec", "dyn"):
        return verdict.not_go()
    if _packed(source):
        return verdict.unreadable("packed")
    compiler = gosigns.compiler(source, headers)
    if compiler is not None:
        # gccgo's smallest programs have as few pages as debugging information, for their runtime is a library.
        if headers.hollow and (compiler == "gc" or elf.seems_without_code(source)):
            return verdict.not_go("no-code")
        if elf.seems_without_code(source):
            return verdict.unreadable("debugging-information")
        return verdict.other_compiler() if compiler == "gccgo" else None
    # Without sections and without any sign of Go, nothing says that what is seen is what will run.
    return verdict.not_go() if headers.sections else verdict.unreadable("no-section-headers")


def _crypto(source: ByteSource, headers: elf.Elf, go: GoFacts | None, table: Table, swept: Sweep) -> CryptoFacts:
    claimed = bool(verdict.claims(go))
    symbols = 0 if claimed or swept.heads else signals.symbols(source, headers)
    modules = boring.search(source, headers, table, swept.heads, thorough=claimed or symbols > 0)
    seen = verdict.Seen(
        headers.facts,
        go,
        tuple(modules),
        standard=swept.standard,
        symbols=symbols,
        text_relocations=headers.text_relocations,
        dependencies=dependencies.read(source, headers),
        build_infos=swept.build_infos,
    )
    if modules:
        whole = next((module for module in modules if module.row and module.stored_at is not None), None)
        if whole and not any(module.wired for module in modules):
            seen = replace(seen, by_loader=loader.named(source, headers, whole))
        if any(module.stored_at is not None for module in modules):
            seen = replace(seen, wrappers=wrappers.read(source, headers, modules))
        return verdict.judge(seen)
    seen = replace(seen, native=native.read(source, headers))
    claimed = claimed or symbols > 0 or go is None or native.version(go) is not None
    if swept.standard and not claimed and not swept.boring:
        # Plain cryptography, and no sign of goboring or of a fork that calls its marker: nothing changes that.
        return verdict.judge(seen)
    table_of_functions = functab.read(source, headers)
    version = native.version(go) if go else None
    seen = replace(
        seen,
        data=tuple(boring.in_data(source, headers, table)),
        markers=signals.markers(source, headers),
        packages=signals.packages(source, table_of_functions, version),
        forks=signals.forks(source, table_of_functions),
        symbols=symbols or signals.symbols(source, headers),
    )
    judged = verdict.judge(seen)
    return _without_other(source, headers, table_of_functions, seen) if judged.verdict == Verdict.NO_CRYPTO else judged


def _without_other(
    source: ByteSource, headers: elf.Elf, table: functab.FunctionTable, seen: verdict.Seen
) -> CryptoFacts:
    """Judge a program without Go's cryptography by whatever other there may be."""
    names = functions.names(source, headers, table)
    if names is None:
        return verdict.judge(replace(seen, functions=False))
    return verdict.judge(replace(seen, other=cryptocode.look(source, names, table.memory)))


def _packed(source: ByteSource) -> bool:
    """Tell UPX by the magic in its headers, near either end of the file."""
    return _UPX in source.read_at(0, _UPX_REACH) or _UPX in source.read_at(max(source.size - _UPX_REACH, 0), _UPX_REACH)


def _hash_through(
    path: str, size: int, first: bytes, content: Content, sink: list[bytes] | IO[bytes] | None = None
) -> str:
    """Hash a member's content, ``first`` being what was read of it, and leave a copy in ``sink``."""
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
            f"{path} is not as long as its archive says ({size} bytes).", "Fetch the archive again, or ask its maker."
        )
    return digest.hexdigest()


def _write(sink: IO[bytes], chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[sink.write(view) :]


def _plain(path: str, mode: int, size: int, digest: str, mark: Mark | None, head: bytes) -> Finding:
    return Finding(path, "file", mode, digest, size, _role(mark, mode, head))


def _role(mark: Mark | None, mode: int, head: bytes) -> Role:
    """Say what a file is for; an ELF file is a program even where its package calls it configuration."""
    if head == elf.MAGIC:
        return "program"
    if mark is not None:
        return mark
    return "program" if head[:2] == b"#!" or mode & 0o111 else "doc"


def _dangling(member: Member) -> Refused:
    return Refused(
        f"{member.path} is a hard link to {member.target}, which is not an earlier file of its archive.",
        "Such an archive cannot be unpacked; ask its maker.",
    )
