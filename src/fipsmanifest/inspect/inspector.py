"""Inspection of single files: a digest of each one, and a verdict on ELF files.

Each byte is read once from its archive and hashed on the way. Only ELF files are read again, from memory if they are
small and from an unlinked temporary file otherwise, which bounds the use of memory.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import IO, Literal

from .. import __version__
from ..archive.limits import extend, spend, stored_size
from ..archive.member import Content, Damaged, Mark, Member
from ..errors import Incomplete, Refused, UsageError
from ..model.finding import CryptoFacts, ElfFacts, Finding, GoFacts, Verdict
from . import (
    beside,
    boring,
    buildinfo,
    callers,
    compiler,
    dependencies,
    dynamic_calls,
    elf,
    elf_reader,
    fipsinfo,
    function_table,
    functions,
    other_crypto,
    signals,
    verdict,
    wrappers,
)
from .native import proof
from .source import Buffer, ByteSource, OpenFile
from .sweep import Sweep, sweep
from .table import Table

#: ELF files up to this size are inspected in memory.
IN_MEMORY = 8 << 20
_CHUNK = 1 << 20
#: Bytes read and hashed at a time from a file on disk; smaller pieces cost more in calls than they save in the cache.
_PIECE = 1 << 19
#: Opening a file may take as long as reading so many bytes: a directory may have a million small ones.
_OPENING = 1 << 16
_UPX = b"UPX!"
_UPX_REACH = 1 << 10
_PACKAGE = Path(__file__).parents[1]

Role = Literal["program", "config", "doc", "ghost"]


@dataclass(frozen=True, slots=True)
class ElfAnalysis:
    """The result of the analysis of an ELF file."""

    elf: ElfFacts | None
    """Facts of the header; None where it cannot be read."""
    go: GoFacts | None
    """Build info; None where there is none."""
    crypto: CryptoFacts
    """The verdict."""


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
                "Free space or choose another directory.",
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


class ProgramAnalyzer:
    """The analysis of a Go program, which takes the file's bytes as they are read for hashing, or reads them itself."""

    def __init__(
        self,
        source: ByteSource,
        table: Table,
        headers: elf.Elf,
        go: GoFacts | None,
        *,
        with_callers: bool,
        forbidden: Collection[str],
    ) -> None:
        self._with_callers = with_callers
        self._forbidden = forbidden
        self._source = source
        self._table = table
        self._headers = headers
        self._go = go
        # Where the program claims a module, it is searched for at every byte of its data, but only if it is missed.
        self._in_data = not verdict.claims(go)
        self._swept = Sweep(headers, table.of(headers.facts.machine), in_data=self._in_data)

    def feed(self, offset: int, data: bytearray, length: int) -> None:
        """Process the first ``length`` bytes of ``data``, which are at ``offset``. Pieces must be in order."""
        self._swept.feed(offset, data, length)

    def finish(self) -> ElfAnalysis:
        """Return the analysis; reads the program's code and data if `feed` did not get all of the file."""
        if self._swept.fed < self._source.size:
            rows = self._table.of(self._headers.facts.machine)
            self._swept = sweep(self._source, self._headers, rows, in_data=self._in_data)
        try:
            crypto = _judge_crypto(self._source, self._headers, self._go, self._table, self._swept)
            crypto = self._with_beside(crypto)
        except elf.UnreadableElf as error:
            crypto = verdict.unreadable(error.code)
        return ElfAnalysis(self._headers.facts, self._go, crypto)

    def _with_beside(self, crypto: CryptoFacts) -> CryptoFacts:
        """Add what is beside the module to the verdict on a program that can be judged."""
        if self._go is None or crypto.verdict == Verdict.UNREADABLE:
            return crypto
        names = function_table.read(self._source, self._headers)
        found = beside.find(self._source, self._headers, names, self._go, crypto, self._forbidden)
        calling = callers.find(self._source, self._headers, names, found.packages) if self._with_callers else None
        return replace(crypto, evidence={**crypto.evidence, **found.evidence}, callers=calling)


def start_analysis(
    source: ByteSource, table: Table, with_callers: bool = False, forbidden: Collection[str] = ()
) -> ProgramAnalyzer | ElfAnalysis:
    """Read an ELF file's headers and build info; return the analysis if these are enough for a verdict."""
    facts, go = None, None
    try:
        headers = elf_reader.read(source)
        facts = headers.facts
        go = buildinfo.read(source, headers)
    except elf.UnreadableElf as error:
        settled = _judge_without_build_info(source, headers) if facts is not None else None
        if settled in (verdict.not_go(), verdict.other_compiler()):
            # The magic alone, as in a program or library that searches other files for it.
            return ElfAnalysis(facts, None, settled)
        code = "debugging-information" if elf_reader.claims_debug_only(source) else error.code
        return ElfAnalysis(facts, go, verdict.unreadable(code))
    settled = _judge_without_build_info(source, headers) if go is None else None
    if settled is not None:
        return ElfAnalysis(facts, None, settled)
    return ProgramAnalyzer(source, table, headers, go, with_callers=with_callers, forbidden=forbidden)


def analyze(
    source: ByteSource, table: Table, with_callers: bool = False, forbidden: Collection[str] = ()
) -> ElfAnalysis:
    """Analyze an ELF file; ``with_callers`` also finds who calls what is beside the module.

    ``forbidden`` are globs over packages that are listed as beside it. Its content never causes an exception.
    """
    begun = start_analysis(source, table, with_callers, forbidden)
    return begun.finish() if isinstance(begun, ProgramAnalyzer) else begun


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


def _judge_without_build_info(source: ByteSource, headers: elf.Elf) -> CryptoFacts | None:
    """Judge a file without build info; return None for a Go program, whose build info is missing."""
    if headers.facts.type not in ("exec", "dyn"):
        return verdict.not_go()
    if _is_packed(source):
        return verdict.unreadable("packed")
    compiler_name = compiler.detect(source, headers)
    if compiler_name is not None:
        # The smallest programs of gccgo have as few pages as debugging information: their runtime is a library.
        if headers.maps_little and (compiler_name == "gc" or elf_reader.claims_debug_only(source)):
            return verdict.not_go("no-code")
        if elf_reader.claims_debug_only(source):
            return verdict.unreadable("debugging-information")
        return None if compiler_name == "gc" else verdict.other_compiler()
    # Without sections and signs of Go, as in a packed program: what runs may not be what is in the file.
    return verdict.not_go() if headers.sections else verdict.unreadable("no-section-headers")


def _judge_crypto(source: ByteSource, headers: elf.Elf, go: GoFacts | None, table: Table, swept: Sweep) -> CryptoFacts:
    claimed = bool(verdict.claims(go))
    symbols = 0 if claimed or swept.heads else signals.symbols(source, headers)
    modules = boring.find_modules(source, headers, table, swept.heads, thorough=claimed or symbols > 0)
    observed = verdict.Observations(
        headers.facts,
        go,
        tuple(modules),
        standard=swept.markers.standard > 0,
        symbols=symbols,
        text_relocations=headers.text_relocations,
        dependencies=dependencies.read(source, headers),
        build_infos=swept.build_infos,
    )
    if modules:
        whole = next((module for module in modules if module.row and module.stored_at is not None), None)
        if whole and not any(module.wired for module in modules):
            observed = replace(observed, by_loader=dynamic_calls.requested_entry_points(source, headers, whole))
        if any(module.stored_at is not None for module in modules):
            observed = replace(observed, wrappers=wrappers.read(source, headers, modules))
        return verdict.judge(observed)
    observed = replace(observed, native=fipsinfo.read(source, headers))
    claimed = claimed or symbols > 0 or go is None or fipsinfo.version(go) is not None
    if swept.markers.standard and not claimed and not swept.markers.boring:
        # Plain cryptography, and no sign of goboring or of a fork that calls its marker.
        return verdict.judge(observed)
    table_of_functions = function_table.read(source, headers)
    version = fipsinfo.version(go) if go else None
    symbols = symbols or signals.symbols(source, headers)
    claimed = bool(verdict.claims(go, symbols))
    # What Go's compiler makes for x86_64 is aligned; a forgery need not be.
    everywhere = claimed or headers.facts.machine != "x86_64"
    packages = signals.packages(source, table_of_functions, version)
    observed = replace(
        observed,
        data=tuple(boring.find_in_data(source, headers, table, swept.data_heads, thorough=claimed)),
        markers=signals.markers(source, headers) if everywhere else swept.markers,
        packages=packages,
        forks=signals.forks(source, table_of_functions, boring=packages.boring),
        symbols=symbols,
    )
    if go is not None and version is not None and observed.native is not None and observed.native.is_intact:
        found = proof.examine(source, headers, go, table_of_functions, observed.native, table.references)
        observed = replace(observed, proof=found)
    judged = verdict.judge(observed)
    return (
        _judge_other_crypto(source, headers, table_of_functions, observed)
        if judged.verdict == Verdict.NO_CRYPTO
        else judged
    )


def _judge_other_crypto(
    source: ByteSource, headers: elf.Elf, table: function_table.FunctionTable, observed: verdict.Observations
) -> CryptoFacts:
    """Judge a program without cryptography of Go's standard library by evidence of any other."""
    names = functions.function_names(source, headers, table)
    if names is None:
        return verdict.judge(replace(observed, functions=False))
    return verdict.judge(replace(observed, other=other_crypto.detect(source, names, table.memory)))


def _is_packed(source: ByteSource) -> bool:
    """Return whether UPX's magic is near either end of the file, where its headers are."""
    return _UPX in source.read_at(0, _UPX_REACH) or _UPX in source.read_at(max(source.size - _UPX_REACH, 0), _UPX_REACH)


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
