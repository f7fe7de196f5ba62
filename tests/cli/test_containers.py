"""``inspect`` on containers of every format: opened, or named and refused; never passed over beside a good program."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import signal
import subprocess
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from tests.archive.test_ar import member as ar_member
from tests.archive.test_cpioarchive import END, entry
from tests.archive.test_signatures import NOT_OPENED
from tests.cli.test_inspect import Ended, inspect
from tests.support import programs
from tests.support.command import PROGRAM
from tests.support.registry import gzipped, make_layer
from tests.support.zips import Archive, Part


@pytest.fixture(scope="module")
def plain() -> bytes:
    """An archive that a gate must not pass."""
    return programs.plain().read_bytes()


def in_zip(data: bytes, name: str = "kubelet") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


def in_deb(data: bytes) -> bytes:
    tarball = lzma.compress(make_layer({"usr/bin/kubelet": data}), preset=0)
    members = [("debian-binary", b"2.0\n"), ("control.tar.gz", gzip.compress(make_layer({"control": b"x"})))]
    return b"!<arch>\n" + b"".join(ar_member(n.encode(), d) for n, d in [*members, ("data.tar.xz", tarball)])


PACK: dict[str, Callable[[bytes], bytes]] = {
    "zip": in_zip,
    "zip behind a program": lambda data: b"\x7fELF" + bytes(4000) + in_zip(data),
    "deb": in_deb,
    "cpio": lambda data: entry(b"kubelet", data) + END,
    "initramfs": lambda data: entry(b"a", b"microcode") + END + bytes(512) + gzipped(entry(b"kubelet", data) + END),
    "gzip": gzipped,
    "xz": lambda data: lzma.compress(data, preset=0),
    "zstd": zstandard.compress,
    "bzip2": lambda data: bz2.compress(data, 1),
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE, preset=0),
    "zip in a tar in a zip": lambda data: in_zip(make_layer({"x": in_zip(data)}), "y"),
    "gzip in a gzip": lambda data: gzipped(gzipped(data)),
}


def beside_a_good_program(directory: Path, name: str, data: bytes) -> Ended:
    (directory / "dist").mkdir()
    shutil.copy(programs.boring(), directory / "dist/good")
    (directory / "dist" / name).write_bytes(data)
    return inspect(directory, "dist", "--require", "proven", "--json")


@pytest.mark.parametrize("pack", PACK)
def test_a_plain_program_is_found_in_a_container_beside_a_good_one(tmp_path: Path, plain: bytes, pack: str) -> None:
    ended = beside_a_good_program(tmp_path, "data.bin", PACK[pack](plain))
    assert ended.code == 5
    assert ended.document["gate"]["passed"] is False
    verdicts = [file["crypto"]["verdict"] for file in ended.files if file.get("container") and "crypto" in file]
    assert verdicts == ["plain"]
    assert not ended.document["unopened"]


@pytest.mark.parametrize("pack", ["zip", "deb", "cpio", "gzip", "zstd"])
def test_a_container_is_opened_that_is_named_itself(tmp_path: Path, pack: str) -> None:
    (tmp_path / "some").write_bytes(PACK[pack](programs.boring().read_bytes()))
    ended = inspect(tmp_path, "some", "--require", "proven")
    assert ended.code == 0, ended.stderr
    assert "gate: passed; 1 proven" in ended.stdout


@pytest.mark.parametrize("name", NOT_OPENED)
def test_a_format_that_is_not_opened_is_named_and_refused(tmp_path: Path, name: str) -> None:
    ended = beside_a_good_program(tmp_path, "data", NOT_OPENED[name])
    assert ended.code == 5
    (unopened,) = ended.document["unopened"]
    assert (unopened["path"], unopened["format"]) == ("dist/data", name)
    shown = inspect(tmp_path, "dist")
    assert shown.code == 4
    assert f"not opened: dist/data ({name})" in shown.stdout
    assert inspect(tmp_path, "dist/data").code == 4


def test_an_exception_lets_what_is_not_opened_pass_and_nothing_else(tmp_path: Path, plain: bytes) -> None:
    image = NOT_OPENED["qcow2 disk image"]
    with tarfile.open(tmp_path / "bundle.tar", "w") as tar:
        for name, data in (("good", programs.boring().read_bytes()), ("disk.img", image)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    exceptions = tmp_path / "exceptions.toml"
    exceptions.write_text('[[exceptions]]\npath = "/disk.img"\nverdict = "unopened"\nreason = "checked by hand"\n')
    gate = ("--require", "proven", "--exceptions", "exceptions.toml")
    ended = inspect(tmp_path, "bundle.tar", *gate)
    assert ended.code == 0, ended.stderr
    assert "not opened: /disk.img in bundle.tar (qcow2 disk image)" in ended.stdout
    assert "accepted: /disk.img in bundle.tar is 'unopened': checked by hand" in ended.stdout
    document = inspect(tmp_path, "bundle.tar", *gate, "--json").document
    assert document["gate"]["excuses"][0]["verdict"] == "unopened"
    # An exception for a program does not cover it, and this one no program.
    exceptions.write_text('[[exceptions]]\npath = "*"\nverdict = "plain"\nreason = "r"\n')
    assert inspect(tmp_path, "bundle.tar", *gate).code == 5
    exceptions.write_text('[[exceptions]]\npath = "*.img"\nverdict = "unopened"\nreason = "r"\n')
    (tmp_path / "bad").write_bytes(plain)
    assert inspect(tmp_path, "bad", "bundle.tar", *gate).code == 5


def test_what_is_excused_unopened_proves_nothing(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(NOT_OPENED["qcow2 disk image"])
    (tmp_path / "e.toml").write_text('[[exceptions]]\npath = "d*"\nverdict = "unopened"\nreason = "r"\n')
    ended = inspect(tmp_path, "disk", "--require", "proven", "--exceptions", "e.toml")
    assert ended.code == 5
    assert "no program here" in ended.stderr


def test_an_encrypted_member_is_named_and_the_rest_is_judged(tmp_path: Path) -> None:
    parts = [Part(b"secret", flags=1, data=b"12345"), Part(b"kubelet", programs.boring().read_bytes())]
    (tmp_path / "some.zip").write_bytes(Archive(parts).build())
    ended = inspect(tmp_path, "some.zip", "--require", "proven", "--json")
    assert ended.code == 5
    assert ended.verdicts() == {"/kubelet": "proven"}
    assert ended.document["unopened"] == [
        {
            "path": "/secret",
            "container": "some.zip",
            "format": "encrypted ZIP member",
            "reason": "it is encrypted",
        }
    ]


def test_a_damaged_member_leaves_the_rest_judged(tmp_path: Path) -> None:
    parts = [Part(b"kubelet", programs.boring().read_bytes()), Part(b"x", local={"crc": 1}, central={"crc": 1})]
    (tmp_path / "some.zip").write_bytes(Archive(parts).build())
    ended = inspect(tmp_path, "some.zip", "--require", "proven", "--json")
    assert ended.code == 5
    assert ended.verdicts() == {"/kubelet": "proven"}
    assert "'/x' is not a valid ZIP member" in ended.document["errors"][0]["message"]


def test_an_archive_behind_a_long_program_within_a_tarball_is_named(tmp_path: Path, plain: bytes) -> None:
    # Only its end shows that it is one, when its beginning is gone.
    data = b"\x7fELF" + bytes(3 << 20) + in_zip(plain)
    (tmp_path / "some.tar").write_bytes(make_layer({"setup": data, "good": programs.boring().read_bytes()}))
    ended = inspect(tmp_path, "some.tar", "--require", "proven", "--json")
    assert ended.code == 5
    (unopened,) = ended.document["unopened"]
    assert (unopened["path"], unopened["format"]) == ("/setup", "ZIP archive behind other data")


def bomb(copies: int, size: int) -> bytes:
    inner = zstandard.compress(make_layer({"zeros": bytes(size)}))
    return zstandard.compress(make_layer({f"{number}.tar.zst": inner for number in range(copies)}))


def test_a_small_file_that_expands_without_end_is_an_error_and_the_other_targets_are_judged(tmp_path: Path) -> None:
    (tmp_path / "bomb").write_bytes(bomb(60, 64 << 20))
    shutil.copy(programs.boring(), tmp_path / "good")
    ended = inspect(tmp_path, "bomb", "good", "--json", "--max-expanded", "1")
    assert ended.code == 4
    (error,) = ended.document["errors"]
    assert error["message"].startswith("bomb was not opened to its end: what is packed in it expands to more bytes")
    assert ended.verdicts() == {"good": "proven"}


def test_a_file_that_takes_too_long_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bomb").write_bytes(bomb(40, 256 << 20))
    ended = inspect(tmp_path, "bomb", "--json", "--max-seconds", "1")
    assert ended.code == 4
    (error,) = ended.document["errors"]
    assert "bomb was not opened to its end: it takes more than 1 seconds" in error["message"]


# Its eight tebibytes are not stored, so they allow no more time.
@pytest.mark.parametrize("head", [b"", b"\x7fELF", make_layer({"a": b"1"})[:1024]])
def test_a_sparse_file_is_not_read_for_longer_than_allowed(tmp_path: Path, head: bytes) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.write(head)
        file.truncate(8 << 40)
    shutil.copy(programs.boring(), tmp_path / "good")
    ended = inspect(tmp_path, "sparse", "good", "--json", "--max-seconds", "1")
    assert ended.code == 4
    assert "sparse was not opened to its end: it takes more than 1 seconds" in ended.document["errors"][0]["message"]
    assert ended.verdicts() == {"good": "proven"}


@pytest.mark.parametrize("pack", [gzip.compress, in_zip, lambda data: make_layer({"x": data})])
def test_what_is_packed_in_itself_again_and_again_is_named(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    data = b"text"
    for _ in range(9):
        data = pack(data)
    (tmp_path / "deep").write_bytes(data)
    ended = inspect(tmp_path, "deep", "--json")
    assert ended.code == 4
    (unopened,) = ended.document["unopened"]
    assert "is in more than 5 other containers" in unopened["reason"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_at_once_and_leaves_nothing(tmp_path: Path, number: signal.Signals, code: int) -> None:
    (tmp_path / "bomb").write_bytes(bomb(400, 256 << 20))
    (tmp_path / "tmp").mkdir()
    environment = os.environ | {"TMPDIR": str(tmp_path / "tmp"), "FIPSMANIFEST_CACHE": str(tmp_path / "cache")}
    words: list[str | Path] = [PROGRAM, "inspect", "bomb", "--max-expanded", "9000"]
    process = subprocess.Popen(
        words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    # Its threads are at work once something is in the temporary directory.
    while time.monotonic() < deadline and not any((tmp_path / "tmp").glob("*/*")):
        time.sleep(0.01)
    process.send_signal(number)
    sent = time.monotonic()
    _, told = process.communicate(timeout=60)
    assert process.returncode == code
    assert time.monotonic() - sent < 30  # it would run for minutes
    assert "interrupted: there is no result" in told
    assert "kept" not in told
    assert list((tmp_path / "tmp").iterdir()) == []
