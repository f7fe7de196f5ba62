"""Members as they stream past, files on disk, links, and what stays in memory."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from examples.upstream.goprograms import build

from fipsmanifest.archive.member import Mark, Member
from fipsmanifest.errors import Incomplete, Refused, UsageError
from fipsmanifest.inspect.inspector import IN_MEMORY, Inspector
from fipsmanifest.inspect.serialization import to_json
from fipsmanifest.inspect.table import load
from fipsmanifest.model.finding import Verdict
from tests.support import programs

TABLE = load()


@pytest.fixture
def inspector(tmp_path: Path) -> Inspector:
    return Inspector(TABLE, tmp_path)


def file_member(
    data: bytes, path: str = "/usr/bin/x", mode: int = 0o755, mark: Mark | None = None, size: int | None = None
) -> Member:
    return Member(path, "file", mode, len(data) if size is None else size, mark=mark, content=io.BytesIO(data))


def large_program() -> Path:
    path = build("large", main=programs.SHA_MAIN, pad=8)
    assert path.stat().st_size > IN_MEMORY
    return path


@pytest.mark.parametrize("program", [programs.boring, large_program])
def test_a_member_and_the_same_file_on_disk_are_seen_alike(inspector: Inspector, program: object) -> None:
    assert callable(program)
    path: Path = program()
    data = path.read_bytes()
    finding = inspector.inspect(file_member(data, "/usr/bin/kubelet", path.stat().st_mode & 0o7777))
    assert finding == inspector.inspect_path(path, "/usr/bin/kubelet")
    assert finding is not None
    assert (finding.sha256, finding.size) == (hashlib.sha256(data).hexdigest(), len(data))
    assert finding.crypto is not None
    assert finding.crypto.verdict is Verdict.PROVEN


def test_nothing_is_left_in_the_spool(inspector: Inspector, tmp_path: Path) -> None:
    inspector.inspect(file_member(large_program().read_bytes()))
    assert list(tmp_path.iterdir()) == []


def test_a_large_file_that_is_no_elf_is_never_spooled(tmp_path: Path) -> None:
    # The spool is a directory that does not exist: anything spooled would fail.
    inspector = Inspector(TABLE, tmp_path / "missing")
    data = b"text " * (3 << 20)
    finding = inspector.inspect(file_member(data, mode=0o644))
    assert finding is not None
    assert (finding.sha256, finding.role, finding.crypto) == (hashlib.sha256(data).hexdigest(), "doc", None)
    with pytest.raises(Incomplete, match="cannot be written"):
        inspector.inspect(file_member(large_program().read_bytes()))


@pytest.mark.parametrize(
    ("data", "mode", "mark", "role"),
    [
        (b"\x7fELF", 0o644, None, "program"),
        (b"\x7fELF", 0o644, "config", "program"),
        (b"#!/bin/sh\n", 0o644, None, "program"),
        (b"#!/bin/sh\n", 0o755, "config", "config"),
        (b"data", 0o755, None, "program"),
        (b"data", 0o644, None, "doc"),
        (b"data", 0o644, "config", "config"),
        (b"data", 0o644, "doc", "doc"),
        (b"", 0o644, None, "doc"),
    ],
)
def test_a_files_role_follows_from_its_bytes_its_mode_and_its_package(
    inspector: Inspector, data: bytes, mode: int, mark: Mark | None, role: str
) -> None:
    finding = inspector.inspect(file_member(data, mode=mode, mark=mark))
    assert finding is not None
    assert finding.role == role


def test_directories_give_nothing_and_links_their_target(inspector: Inspector) -> None:
    assert inspector.inspect(Member("/usr", "directory", 0o755, 0)) is None
    link = inspector.inspect(Member("/usr/bin/sh", "symlink", 0o777, 0, target="bash"))
    assert link is not None
    assert (link.type, link.role, link.target, link.sha256, link.size) == ("symlink", "program", "bash", None, None)
    ghost = inspector.inspect(Member("/var/log/x", "file", 0o600, 0, mark="ghost"))
    assert ghost is not None
    assert (ghost.role, ghost.sha256, ghost.size) == ("ghost", None, None)


def test_a_hard_link_is_the_file_that_it_links_to(inspector: Inspector) -> None:
    session = inspector.session()
    first = session.inspect(file_member(programs.boring().read_bytes(), "/usr/bin/a"))
    second = session.inspect(Member("/usr/bin/b", "hardlink", 0o755, 0, target="/usr/bin/a"))
    third = session.inspect(Member("/usr/bin/c", "hardlink", 0o755, 0, target="/usr/bin/b"))
    assert first is not None and second is not None and third is not None
    assert (second.path, third.path) == ("/usr/bin/b", "/usr/bin/c")
    assert first.sha256 == second.sha256 == third.sha256
    assert third.crypto == first.crypto
    assert third.type == "file"


def test_a_hard_link_to_nothing_is_refused(inspector: Inspector) -> None:
    link = Member("/usr/bin/b", "hardlink", 0o755, 0, target="/usr/bin/a")
    with pytest.raises(Refused, match="/usr/bin/a"):
        inspector.session().inspect(link)


@pytest.mark.parametrize("claimed", [0, 5, 3999, 4001, 100_000])
@pytest.mark.parametrize("magic", [b"\x7fELF", b"text"])
def test_a_member_of_another_length_than_its_archive_says_is_refused(
    inspector: Inspector, claimed: int, magic: bytes
) -> None:
    with pytest.raises(Refused, match="does not have the"):
        inspector.inspect(file_member(magic.ljust(4000, b"x"), size=claimed))


def test_paths_that_are_no_files_are_refused(inspector: Inspector, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("missing", "pipe", "."):
        with pytest.raises(UsageError):
            inspector.inspect_path(tmp_path / name)


def test_the_manifests_form_keeps_what_matters_and_no_builders_paths(inspector: Inspector) -> None:
    entry = to_json(inspector.inspect_path(programs.boring(), "/usr/bin/kubelet"))
    assert (entry["path"], entry["mode"], entry["architecture"]) == ("/usr/bin/kubelet", "0755", "x86_64")
    assert entry["go"]["settings"]["GOEXPERIMENT"] == "boringcrypto"
    assert entry["crypto"]["verdict"] == "proven"
    assert entry["crypto"]["module"] == "boringcrypto-20210429-x86_64"
    assert "elf" not in entry
    assert None not in entry.values()


def test_one_inspector_serves_several_threads(inspector: Inspector) -> None:
    paths = [programs.boring(), programs.plain(), large_program(), programs.plain_without_crypto()] * 4
    expected = [inspector.inspect_path(path) for path in paths]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(inspector.inspect_path, paths)) == expected


def test_memory_stays_small_whatever_the_file(tmp_path: Path) -> None:
    # In a process of its own, since what is measured is the most that the process ever had. (getrusage's maximum
    # would begin with that of the process that started it.)
    program = tmp_path / "program"
    program.write_bytes(large_program().read_bytes())
    os.truncate(program, 110 << 20)
    script = textwrap.dedent("""
        import sys
        from concurrent.futures import ThreadPoolExecutor
        from pathlib import Path
        from fipsmanifest.inspect.inspector import Inspector
        from fipsmanifest.inspect.table import load
        from fipsmanifest.archive.member import Member

        path = Path(sys.argv[1])
        inspector = Inspector(load(), path.parent)

        def work(_):
            with path.open("rb") as file:
                return inspector.inspect(Member("/x", "file", 0o755, path.stat().st_size, content=file))

        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(work, range(4)))
        peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
        print(peak, {str(item.crypto.verdict) for item in found})
    """)
    run = subprocess.run([sys.executable, "-c", script, program], capture_output=True, text=True, check=True)
    kibibytes, verdicts = run.stdout.split(maxsplit=1)
    assert verdicts.strip() == "{'proven'}"
    assert int(kibibytes) < 100 * 1024
