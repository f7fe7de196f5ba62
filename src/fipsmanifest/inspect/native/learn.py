"""From a trusted toolchain to a reference of Go's native module.

The toolchain compiles its standard library with the module's snapshot, in a build cache of its own and without a
network, and the objects are read: the module's own symbols, also those that other packages compile (instances of its
generic functions), the constants that they use, and the runtime's functions that read the default of GODEBUG. On x86_64
these are compiled twice, as for programs and as for position-independent ones and libraries, where thread-local data is
reached differently. What no program has is not compiled: packages for tests, and debugging information.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import Incomplete, UsageError, ValidationFailed
from . import goobject
from .goobject import GoObject, ObjectSymbol, SymbolId
from .records import DIGEST, STATIC, Record, Relocation, Symbol, SymbolKind, digest_of
from .reference import MODULE_PATH, Origin, Reference, reference
from .relocations import Kind
from .sources import Snapshot

_PACKAGES = "crypto/..."
"""What is compiled, with all that it imports: every package that can have an instance of the module's functions."""
_TESTING = "testing"
"""What packages for tests import."""
_WITHOUT_DEBUGGING = "-dwarf=false"
"""A compiler's flag that changes no code; ``go run`` passes it, too."""
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_TIMEOUT = 1800.0
_ADVICE = "Name the root of a Go release (go env GOROOT) of Go 1.24 or later."

_MODULE_KINDS = {
    "STEXTFIPS": SymbolKind.TEXT,
    "SRODATAFIPS": SymbolKind.RODATA,
    "SNOPTRDATAFIPS": SymbolKind.NOPTRDATA,
    "SDATAFIPS": SymbolKind.DATA,
}
_CONSTANT_KINDS = ("SRODATA", "SNOPTRDATA", "SDATA")
#: Data outside the module that decides what its code does: strings, method tables, pointers to functions, dictionaries
#: of generic functions, composite literals, and what type assertions ask for.
_CONSTANTS = re.compile(
    r"go:string\.|go:itab\.|.*(·f$|\.\.dict\.|\.\.stmp_|\.\.typeAssert\.|\.\.interfaceSwitch\.)", re.DOTALL
)
_TYPE = "type:"
_VARIABLE_KINDS = ("SBSS", "SNOPTRBSS")
_RUNTIME, _DEFAULT_GODEBUG = "runtime", "runtime.godebugDefault"

_TYPES = {
    "R_CALL": Kind.RELATIVE,
    "R_PCREL": Kind.RELATIVE,
    "R_TLS_LE": Kind.TLS_OFFSET,
    "R_TLS_IE": Kind.TLS_LOAD,
    "R_CALLARM64": Kind.BRANCH,
    "R_ADDRARM64": Kind.PAGE_ADD,
    "R_ARM64_PCREL_LDST8": Kind.PAGE_8,
    "R_ARM64_PCREL_LDST16": Kind.PAGE_16,
    "R_ARM64_PCREL_LDST32": Kind.PAGE_32,
    "R_ARM64_PCREL_LDST64": Kind.PAGE_64,
    "R_ADDR": Kind.ADDRESS,
}


@dataclass(frozen=True, slots=True)
class Target:
    """What a reference is made for."""

    module: str
    """The module's version, as in the snapshot's file name (``v1.0.0-c2097c7c``)."""
    architecture: str
    """RPM name."""
    level: str
    """GOAMD64 or GOARM64."""
    experiments: str = ""
    """GOEXPERIMENT."""


def learn(root: Path, snapshot: Snapshot, target: Target, *, cache: Path, claimed_by: str = "") -> Reference:
    """Make a reference with the toolchain at ``root``; ``cache`` keeps compiled packages from one call to the next.

    Raise `UsageError` where ``root`` is no such toolchain, `Incomplete` where it does not compile the module, and
    `ValidationFailed` where the objects have something that a reference cannot describe.
    """
    root = root.absolute()  # Go runs in a directory of its own.
    vocabulary = goobject.read_vocabulary(root)
    origin = Origin(
        release_of(root),
        target.architecture,
        target.level,
        target.experiments,
        target.module,
        snapshot.sha256,
        toolchain_digest(root),
        claimed_by,
    )
    records: set[Record] = set()
    archives = _compile(root, target, cache, _packages(root, target, cache))
    records |= _records(list(_objects(archives, vocabulary)))
    if target.architecture == "x86_64":
        # Elsewhere no code of the module has thread-local data.
        packages = [package for package, _ in archives if package.startswith(f"{MODULE_PATH}/{target.module}")]
        archives = _compile(root, target, cache, packages, shared=(f"{MODULE_PATH}/...", _RUNTIME))
        records |= _records(list(_objects(archives, vocabulary)))
    return reference(origin, sorted(records))


def release_of(root: Path) -> str:
    """Return a toolchain's version, as its programs' build info has it. Raise `UsageError` where there is none."""
    try:
        lines = (root / "VERSION").read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{root} is not the root of a Go release: {error}.", _ADVICE) from error
    if not lines or not re.fullmatch(r"go1\.[0-9]+\S*", lines[0].strip()):
        raise UsageError(f"{root}/VERSION does not name a Go release.", _ADVICE)
    return lines[0].strip()


def toolchain_digest(root: Path) -> str:
    """Return the hex SHA-256 over the compiler and the assembler of a toolchain, by name and digest."""
    digest = hashlib.sha256()
    directories = sorted((root / "pkg" / "tool").glob("linux_*"))
    try:
        for name in ("asm", "compile"):
            data = (directories[0] / name).read_bytes()
            digest.update(f"{name} {hashlib.sha256(data).hexdigest()}\n".encode())
    except (IndexError, OSError) as error:
        raise UsageError(f"{root} does not hold Go's compiler.", _ADVICE) from error
    return digest.hexdigest()


def _packages(root: Path, target: Target, cache: Path) -> list[str]:
    """Return the packages to compile: those of programs, without those for tests."""
    listed = _list(root, target, cache, ["-f", '{{.ImportPath}}\t{{join .Deps " "}}'], [_PACKAGES])
    pairs = [line.partition("\t") for line in listed]
    return [package for package, _, imports in pairs if _TESTING not in imports.split(" ")]


def _compile(
    root: Path, target: Target, cache: Path, packages: Sequence[str], *, shared: Sequence[str] = ()
) -> list[tuple[str, Path]]:
    """Compile packages and all that they import, and return the archive of each.

    Those that the patterns ``shared`` match are compiled as for position-independent programs.
    """
    flags = [f"-gcflags=all={_WITHOUT_DEBUGGING}"]
    for pattern in shared:
        flags += [f"-gcflags={pattern}={_WITHOUT_DEBUGGING} -shared", f"-asmflags={pattern}=-shared"]
    options = ["-export", "-deps", "-trimpath", *flags, "-f", "{{.ImportPath}}\t{{.Export}}"]
    pairs = [line.partition("\t") for line in _list(root, target, cache, options, packages)]
    return [(package, Path(archive)) for package, _, archive in pairs if archive]


def _list(root: Path, target: Target, cache: Path, options: Sequence[str], packages: Sequence[str]) -> list[str]:
    """Return what ``go list`` prints with some options about packages."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "go.mod").write_text("module references\n\ngo 1.24\n", "ascii")
        try:
            run = subprocess.run(
                [str(root / "bin" / "go"), "list", *options, "--", *packages],
                cwd=directory,
                env=_environment(root, target, cache),
                capture_output=True,
                text=True,
                check=False,
                timeout=_TIMEOUT,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Incomplete(f"{root} does not compile the module: {error}.", _ADVICE) from error
    if run.returncode != 0:
        raise Incomplete(f"{root} does not compile the module: {run.stderr.strip()[-1000:]}", _ADVICE)
    return run.stdout.splitlines()


def _environment(root: Path, target: Target, cache: Path) -> dict[str, str]:
    """Return what the toolchain sees: none of the caller's settings, and no network."""
    level = "GOAMD64" if target.architecture == "x86_64" else "GOARM64"
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(cache),
        "GOROOT": str(root),
        "GOPATH": str(cache / "path"),
        "GOMODCACHE": str(cache / "modules"),
        "GOCACHE": str(cache / "build"),
        "GOENV": "off",
        "GOFLAGS": "-modcacherw",
        "GOPROXY": "off",
        "GOSUMDB": "off",
        "GOTELEMETRY": "off",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "CGO_ENABLED": "0",
        "GOOS": "linux",
        "GOARCH": _ARCHITECTURES[target.architecture],
        level: target.level,
        "GOEXPERIMENT": target.experiments,
        "GOFIPS140": target.module,
    }


def _objects(archives: Sequence[tuple[str, Path]], vocabulary: goobject.Vocabulary) -> Iterator[GoObject]:
    for package, archive in archives:
        for data in goobject.objects(archive):
            yield GoObject(data, package, vocabulary)


def _records(objects: Sequence[GoObject]) -> set[Record]:
    """Return the records of the module's symbols, and of those that they need."""
    compiled: dict[str, GoObject] = {}
    for item in objects:
        # The compiler's object is the first of an archive; those of the assembler follow.
        compiled.setdefault(item.package, item)
    found: set[Record] = set()
    constants: dict[SymbolId, list[tuple[GoObject, int]]] = {}
    functions: set[Record] = set()
    variables: set[Record] = set()
    needed: list[Symbol] = []
    for item in objects:
        for number in range(item.defined):
            kind = item.kind(number)
            chosen = _MODULE_KINDS.get(kind)
            if chosen is not None:
                record = _record(item.symbol(number, compiled), chosen)
                found.add(record)
                needed += [relocation.target for relocation in record.relocations]
            elif kind in _VARIABLE_KINDS:
                variables.add(_without_bytes(item, number, SymbolKind.VARIABLE))
            elif kind in _CONSTANT_KINDS:
                name = item.id(number).name
                if name.startswith(_TYPE) or _CONSTANTS.match(name):
                    constants.setdefault(item.id(number), []).append((item, number))
            elif kind == "STEXT":
                functions.add(_without_bytes(item, number, SymbolKind.FUNCTION))
                if item.package == _RUNTIME:
                    symbol = item.symbol(number, compiled)
                    if any(relocation.target.name == _DEFAULT_GODEBUG for relocation in symbol.relocations):
                        found.add(_record(symbol, SymbolKind.READER))
    found |= _constants(needed, constants, compiled)
    targets = {relocation.target for record in found for relocation in record.relocations}
    own = {record.symbol for record in found}
    return found | {record for record in functions | variables if record.symbol in targets - own}


def _constants(
    needed: list[Symbol],
    constants: Mapping[SymbolId, Sequence[tuple[GoObject, int]]],
    compiled: Mapping[str, GoObject],
) -> set[Record]:
    """Return the records of the constants that are needed, and of those that these need."""
    by_symbol = {_symbol(identifier): entries for identifier, entries in constants.items()}
    found: set[Record] = set()
    done: set[Symbol] = set()
    while needed:
        symbol = needed.pop()
        if symbol in done:
            continue
        done.add(symbol)
        for item, number in by_symbol.get(symbol, ()):
            if symbol.name.startswith(_TYPE):
                found.add(_type(item.symbol(number, compiled)))
                continue
            record = _record(item.symbol(number, compiled), SymbolKind.CONSTANT)
            found.add(record)
            needed += [relocation.target for relocation in record.relocations]
    return found


def _record(symbol: ObjectSymbol, kind: SymbolKind) -> Record:
    relocations = sorted(_relocations(symbol))
    data = symbol.data.ljust(symbol.size, b"\0")
    return Record(_symbol(symbol.id), kind, symbol.size, digest_of(data, relocations), tuple(relocations))


def _type(symbol: ObjectSymbol) -> Record:
    """Return the record of a type's descriptor, which has the hash of the type; what it refers to is not followed."""
    fields = sorted({(item.offset, item.size) for item in symbol.relocations if item.size})
    kinds = {4: Kind.ANY_4, 8: Kind.ANY_8}
    relocations = [Relocation(offset, kinds[size], False, 0, Symbol("", 0)) for offset, size in fields]
    data = symbol.data.ljust(symbol.size, b"\0")
    return Record(_symbol(symbol.id), SymbolKind.TYPE, symbol.size, digest_of(data, relocations), tuple(relocations))


def _without_bytes(item: GoObject, number: int, kind: SymbolKind) -> Record:
    """Return the record of a symbol that is known by its name and size alone."""
    size = item.size(number) if kind is SymbolKind.VARIABLE else 0
    return Record(_symbol(item.id(number)), kind, size, bytes(DIGEST), ())


def _relocations(symbol: ObjectSymbol) -> Iterator[Relocation]:
    for item in symbol.relocations:
        # Without a field they only say what is used.
        if item.size == 0:
            continue
        kind = _TYPES.get(item.type)
        if kind is None or (kind is Kind.ADDRESS and item.size != 8):
            raise ValidationFailed(
                f"{symbol.id.name} has a relocation that is not known: {item.type} of {item.size} bytes.",
                "This release of Go needs a newer fipsmanifest.",
            )
        yield Relocation(item.offset, kind, item.weak, item.addend, _symbol(item.target))


def _symbol(identifier: SymbolId) -> Symbol:
    if identifier.abi == goobject.STATIC:
        return Symbol(identifier.name, STATIC, identifier.scope)
    return Symbol(identifier.name, identifier.abi)
