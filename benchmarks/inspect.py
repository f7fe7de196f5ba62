"""``inspect`` compared with hashing the files, with searching for symbols, and with itself on more files.

The files are copies of real goboring programs, padded to the sizes of Kubernetes' own; everything is in the page cache.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import file_digest, sha256
from pathlib import Path

from examples.upstream import goprograms

from fipsmanifest.fetch.cache import Cache
from fipsmanifest.inspect import beside, buildinfo, elf_reader, function_table
from fipsmanifest.inspect.analysis import analyze
from fipsmanifest.inspect.inspector import Inspector
from fipsmanifest.inspect.native.library import Library
from fipsmanifest.inspect.scan import scan
from fipsmanifest.inspect.source import OpenFile
from fipsmanifest.inspect.table import load

from .measure import Figure, Run, paired, run

PROGRAM = Path(sys.executable).with_name("fipsmanifest")
#: MiB embedded in each program; with the program itself, 40 to 110 MB.
PADS = (34, 60, 78, 96)
TOTAL = 4_000_000_000
SMALL_FILES = 100_000


def figures() -> Iterator[Figure]:
    """Measure everything that `inspect` promises of its speed."""
    with tempfile.TemporaryDirectory(prefix="fm-bench-", dir=os.environ.get("TMPDIR")) as scratch:
        directory = Path(scratch)
        programs = [goprograms.build(f"pad{pad}", pad=pad) for pad in PADS]
        yield from _beside_the_hash(programs, directory)
        yield from _verdict(programs[0], directory)
        yield _added("in code alone", _all_code(), directory, 0.25)
        yield _added("in a native program", _native(), directory, 0.5)
        yield _reference()
        yield from _linear(programs[0], directory)
        yield from _small_files(directory)


def _beside_the_hash(programs: list[Path], directory: Path) -> Iterator[Figure]:
    corpus = directory / "corpus"
    corpus.mkdir()
    size = count = 0
    while size < TOTAL:
        source = programs[count % len(programs)]
        shutil.copyfile(source, corpus / f"{count:03}")
        size += source.stat().st_size
        count += 1
    # Each core hashes its share of the files in one process.
    share = -(-count // (os.cpu_count() or 1))
    floor = f"printf '%s\\0' {shlex.quote(str(corpus))}/* | xargs -0 -n {share} -P $(nproc) openssl dgst -sha256"
    hashing: Callable[[], Run] = lambda: run(["bash", "-c", floor], dict(os.environ), directory)  # noqa: E731
    hashing()
    ratio, ours, theirs = paired(lambda: _inspected(corpus, directory), hashing)
    detail = (
        f"{size / 1e9:.1f} GB in {count} files; ours {ours.wall:.2f} s ({ours.cpu:.1f} s of CPU), "
        f"openssl {theirs.wall:.2f} s ({theirs.cpu:.1f} s of CPU); load {os.getloadavg()[0]:.1f}"
    )
    yield Figure("inspect / openssl dgst -sha256, one process a core", ratio, "x", 1.35, detail)
    yield Figure("CPU of inspect / CPU of openssl", ours.cpu / theirs.cpu, "x", 1.35, detail)
    largest = max(program.stat().st_size for program in programs)
    detail = f"files of up to {largest / 1e6:.0f} MB on {os.cpu_count()} cores at once"
    yield Figure("peak memory of inspect", ours.peak / 2**20, "MiB", 200, detail)
    shutil.rmtree(corpus)


def _inspected(target: Path, directory: Path) -> Run:
    environment = {**os.environ, "FIPSMANIFEST_CACHE": str(directory / "cache")}
    return run([PROGRAM, "--quiet", "inspect", "--json", target], environment, directory)


def _verdict(program: Path, directory: Path) -> Iterator[Figure]:
    """Measure processor time, on one core: the verdict alone against the hash, and against ``go tool nm``."""
    table = load()
    with program.open("rb") as file:
        source = OpenFile(file.fileno())
        data = program.read_bytes()
        hashing = min(_cpu_seconds(lambda: sha256(data).digest()) for _ in range(9))
        verdict = min(_cpu_seconds(lambda: analyze(source, table)) for _ in range(9))
    size = f"{len(data) / 1e6:.0f} MB"
    detail = f"{size}: verdict {verdict * 1000:.1f} ms, SHA-256 {hashing * 1000:.1f} ms"
    yield Figure("verdict / SHA-256", verdict / hashing, "x", 0.25, detail)
    yield _beside()
    root = goprograms.goroot()
    symbols = f"{shlex.quote(str(root))}/bin/go tool nm {shlex.quote(str(program))} | grep -c goboringcrypto"
    environment = {**os.environ, "GOROOT": str(root), "GOTOOLCHAIN": "local", "HOME": str(directory)}
    listing = min(run(["bash", "-c", symbols], environment, directory).cpu for _ in range(5))
    detail = f"{size}: verdict {verdict * 1000:.1f} ms, go tool nm | grep {listing * 1000:.0f} ms"
    yield Figure("verdict / go tool nm | grep", verdict / listing, "x", 0.2, detail)


def _beside() -> Figure:
    """Measure the list of what is beside the module, in a program with an ordinary function table."""
    program = goprograms.goroot() / "bin" / "go"
    with program.open("rb") as file:
        source = OpenFile(file.fileno())
        headers = elf_reader.read(source)
        go, names = buildinfo.read(source, headers), function_table.read(source, headers)
        assert go is not None
        crypto = analyze(source, load()).crypto
        data = program.read_bytes()
        hashing = min(_cpu_seconds(lambda: sha256(data).digest()) for _ in range(9))
        listing = min(_cpu_seconds(lambda: beside.find(source, headers, names, go, crypto)) for _ in range(9))
    detail = f"{len(data) / 1e6:.0f} MB: list {listing * 1000:.1f} ms, SHA-256 {hashing * 1000:.1f} ms"
    return Figure("list of what is beside the module / SHA-256", listing / hashing, "x", 0.75, detail)


def _added(what: str, program: Path, directory: Path, bound: float) -> Figure:
    """Measure what the verdict adds to reading and hashing a program."""
    inspector = Inspector(load(), directory)
    hashing, inspecting = [], []
    # In turn, so that a machine whose speed drifts slows both.
    for _ in range(60):
        hashing.append(_cpu_seconds(partial(_hashed, program)))
        inspecting.append(_cpu_seconds(partial(inspector.inspect_path, program)))
    alone, both = min(hashing), min(inspecting)
    detail = f"{program.stat().st_size / 1e6:.0f} MB: hash {alone * 1000:.1f} ms, with the verdict {both * 1000:.1f} ms"
    return Figure(f"what the verdict adds to the hash, {what}", both / alone - 1, "x", bound, detail)


def _native() -> Path:
    """Build a program of 110 MB with Go's native module."""
    environment = {"GOFIPS140": "v1.0.0"}
    root = goprograms.native_goroot()
    return goprograms.build("pad96", root=root, boring=False, cgo=False, environment=environment, pad=PADS[-1])


def _reference() -> Figure:
    """Measure how long it takes to load a reference of Go's native module, the largest file's."""
    key = max(Library().places.values(), key=lambda place: place.path.stat().st_size).origin.key
    times = []
    for _ in range(9):
        library = Library()
        library.check()
        times.append(_cpu_seconds(partial(library.find, key)))
    detail = f"{' '.join(filter(None, key))}, one of {len(Library().places)}"
    return Figure("loading a reference of the native module", min(times) * 1000, "ms", 30, detail)


def _hashed(path: Path) -> bytes:
    with path.open("rb", buffering=0) as file:
        return file_digest(file, "sha256").digest()


def _all_code() -> Path:
    """Build a stripped goboring program that is nearly all code: that of Go's compiler, eight times over."""
    compiler = goprograms.goroot() / "pkg/tool/linux_amd64/compile"
    with compiler.open("rb") as file:
        text = elf_reader.read(OpenFile(file.fileno())).section(".text")
    assert text is not None
    lines = [".section .text", ".rept 8", f'.incbin "{compiler}", {text.offset}, {text.size}', ".endr"]
    source = "\n".join([*lines, '.section .note.GNU-stack,"",@progbits', ""])
    main = 'package main\n\n// void nothing(void) {}\nimport "C"\nimport "crypto/sha256"\n\n'
    main += "func main() { C.nothing(); println(sha256.Sum256(nil)[0]) }\n"
    return goprograms.build("code", main=main, files={"code.S": source}, ldflags="-s -w")


def _linear(program: Path, directory: Path) -> Iterator[Figure]:
    """Measure the processor time that a file takes alone, among 10 and among 100."""
    times: dict[int, float] = {}
    for count in (1, 10, 100):
        corpus = directory / f"files-{count}"
        corpus.mkdir()
        for number in range(count):
            # The same bytes under many names: reading them costs the same as if they were others.
            os.link(_copied(program, directory), corpus / f"{number:03}")
        times[count] = min(_cpu_seconds(partial(_survey, corpus, directory)) for _ in range(3))
    detail = ", ".join(f"{count} files {seconds:.2f} s" for count, seconds in times.items())
    yield Figure("CPU of a file of 10 / of a file alone", times[10] / 10 / times[1], "x", 1.25, detail)
    yield Figure("CPU of a file of 100 / of a file of 10", times[100] / 100 / (times[10] / 10), "x", 1.25, detail)


def _copied(program: Path, directory: Path) -> Path:
    copy = directory / program.name
    if not copy.exists():
        shutil.copyfile(program, copy)
    return copy


def _survey(corpus: Path, directory: Path) -> None:
    for _ in scan([corpus], Inspector(load(), directory), Cache(directory / "cache")):
        pass


def _small_files(directory: Path) -> Iterator[Figure]:
    runs: dict[int, Run] = {}
    for count in (SMALL_FILES // 10, SMALL_FILES):
        corpus = directory / f"small-{count}"
        for number in range(count):
            if number % 1000 == 0:
                place = corpus / f"{number // 1000:03}"
                place.mkdir(parents=True)
            (place / f"{number:06}").write_bytes(b"%d\n" % number)
        _inspected(corpus, directory)
        runs[count] = _inspected(corpus, directory)
    few, many = runs[SMALL_FILES // 10], runs[SMALL_FILES]
    detail = ", ".join(
        f"{count} files {run.wall:.2f} s ({run.cpu:.1f} s of CPU), {run.peak >> 20} MiB" for count, run in runs.items()
    )
    yield Figure("CPU of 100,000 small files / ten times that of 10,000", many.cpu / (10 * few.cpu), "x", 1.25, detail)
    yield Figure("peak memory of 100,000 small files", many.peak / 2**20, "MiB", 200, detail)
    yield Figure("peak memory of 100,000 small files / of 10,000", many.peak / few.peak, "x", 1.25, detail)


def _cpu_seconds(work: Callable[[], object]) -> float:
    """Return processor time of all threads: what the machine does besides is not counted."""
    started = time.process_time()
    work()
    return time.process_time() - started
