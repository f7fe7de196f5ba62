"""What a program asks to be loaded with it is in the evidence, and shown; expected values are readelf's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fipsmanifest.archive.member import Member
from fipsmanifest.inspect.analysis import analyze
from fipsmanifest.inspect.inspector import Inspector
from fipsmanifest.inspect.source import Buffer
from fipsmanifest.inspect.table import load
from fipsmanifest.inspect.verdict import describe_verdict
from fipsmanifest.model.finding import CryptoFacts, Verdict
from tests.support import edits, programs

from . import forgeries

TABLE = load()
KEYS = {"interpreter", "libraries", "loading", "build_infos"}


def judged(data: bytes) -> CryptoFacts:
    return analyze(Buffer(data), TABLE).crypto


def readelf(directory: Path, data: bytes, option: str) -> str:
    (directory / "program").write_bytes(data)
    return subprocess.run(
        ["readelf", "-W", option, directory / "program"], check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.parametrize(
    "make",
    [
        programs.boring,
        programs.boring_pie,
        programs.boring_external,
        programs.boring_static,
        programs.boring_static_pie,
        programs.boring_c_shared,
        programs.boring_tls,
    ],
)
def test_an_ordinary_program_asks_for_nothing_unusual(make: object) -> None:
    assert callable(make)
    crypto = judged(make().read_bytes())
    assert crypto.verdict is Verdict.PROVEN
    assert not KEYS & set(crypto.evidence)


@pytest.mark.parametrize(
    ("options", "tag", "code"),
    [
        ("-Wl,-rpath,/opt/x -Wl,--disable-new-dtags", "(RPATH)", "rpath"),
        ("-Wl,-rpath,/opt/x -Wl,--enable-new-dtags", "(RUNPATH)", "runpath"),
        ("-Wl,--audit=/opt/a.so", "(AUDIT)", "audit"),
        ("-Wl,--depaudit=/opt/a.so", "(DEPAUDIT)", "depaudit"),
    ],
)
def test_where_libraries_come_from_and_who_audits_them_is_shown(
    tmp_path: Path, options: str, tag: str, code: str
) -> None:
    data = programs.boring_linked_with(options)
    assert tag in readelf(tmp_path, data, "-d")
    crypto = judged(data)
    assert (crypto.verdict, crypto.evidence["loading"]) == (Verdict.PROVEN, [code])
    assert describe_verdict(crypto).endswith(f"{code}.")


@pytest.mark.parametrize("name", ["libx.so.6", "libc.so.7", "o/../c.so"])
def test_a_library_that_is_not_the_systems_is_named(tmp_path: Path, name: str) -> None:
    data = programs.boring().read_bytes().replace(b"\0libc.so.6\0", b"\0" + name.encode() + b"\0")
    assert f"Shared library: [{name}]" in readelf(tmp_path, data, "-d")
    crypto = judged(data)
    assert (crypto.verdict, crypto.evidence["libraries"]) == (Verdict.PROVEN, [name])
    assert f"It loads {name}." in describe_verdict(crypto)


def test_an_unusual_interpreter_is_named_and_nothing_is_proven_by_the_file_then(tmp_path: Path) -> None:
    data = forgeries.another_interpreter()
    assert "/odd64/ld-linux-x86-64.so.2" in readelf(tmp_path, data, "-l")
    crypto = judged(data)
    assert (crypto.verdict, crypto.evidence["interpreter"]) == (Verdict.DECLARED, "/odd64/ld-linux-x86-64.so.2")
    assert "/odd64/ld-linux-x86-64.so.2" in describe_verdict(crypto)


def test_the_kernel_takes_the_first_interpreter_so_that_counts() -> None:
    data = forgeries.another_interpreter()
    headers = edits.program_headers(data)
    (own,) = (header for header in headers if header[0] == 3)
    usual = [*own]
    usual[2] = len(data)
    data = edits.put_program_headers(data, [own, usual, *(item for item in headers if item[0] not in (3, 4))])
    assert judged(data + b"/lib64/ld-linux-x86-64.so.2\0").verdict is Verdict.DECLARED
    swapped = edits.put_program_headers(data, [usual, own, *(item for item in headers if item[0] not in (3, 4))])
    assert judged(swapped + b"/lib64/ld-linux-x86-64.so.2\0").verdict is Verdict.PROVEN


def test_what_an_interpreter_is_called_cannot_write_to_the_screen() -> None:
    hostile = b"/x\x1b[31m\xff\n{}".ljust(28, b"\0")
    data = programs.boring().read_bytes().replace(b"/lib64/ld-linux-x86-64.so.2\0", hostile)
    crypto = judged(data)
    assert crypto.evidence["interpreter"] == "/x\\x1b[31m\\xff\\x0a{}"
    assert describe_verdict(crypto).isprintable()


def test_a_stack_that_can_be_executed_is_shown(tmp_path: Path) -> None:
    data = programs.boring_linked_with("-Wl,-z,execstack")
    assert "RWE" in readelf(tmp_path, data, "-l")
    crypto = judged(data)
    assert (crypto.verdict, crypto.evidence["loading"]) == (Verdict.PROVEN, ["executable-stack"])


@pytest.mark.parametrize("appended", [False, True], ids=["embedded", "appended"])
def test_another_go_program_within_one_is_shown(tmp_path: Path, appended: bool) -> None:
    if appended:
        data = programs.boring().read_bytes() + programs.plain().read_bytes()
    else:
        data = programs.with_embedded(programs.plain())
    assert data.count(edits.BUILD_INFO) == 2
    crypto = judged(data)
    assert (crypto.verdict, crypto.evidence["build_infos"]) == (Verdict.PROVEN, 2)
    assert describe_verdict(crypto).endswith("It contains another Go program.")
    # The same where the file is read once, from a disk or an archive.
    (tmp_path / "program").write_bytes(data)
    inspector = Inspector(TABLE, tmp_path)
    assert inspector.inspect_path(tmp_path / "program").crypto == crypto
    with (tmp_path / "program").open("rb") as content:
        member = Member("program", "file", 0o755, len(data), content=content)
        found = inspector.inspect(member)
    assert found is not None and found.crypto == crypto


def test_the_magic_of_build_info_alone_is_no_program() -> None:
    data = programs.boring_padded().read_bytes()
    at = -(-data.index(programs.pad_start("sha")) // 16) * 16
    assert "build_infos" not in judged(edits.put(data, at, edits.BUILD_INFO + b"go")).evidence
