"""Directories on disk."""

import os
import socket
from pathlib import Path

import pytest

from fipsmanifest.archive.directory import members
from fipsmanifest.errors import Incomplete


def test_members_come_directory_by_directory_with_type_mode_and_content(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True, mode=0o755)
    (tmp_path / "usr/bin/kubelet").write_bytes(b"\x7fELF")
    (tmp_path / "usr/bin/kubelet").chmod(0o4755)
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "out").symlink_to("/etc")
    found = []
    for member in members(tmp_path):
        data = member.content.read() if member.content else None
        found.append((member.path, member.type, member.mode & 0o7700, member.size, member.target, data))
    assert [(path, kind) for path, kind, *_ in found] == [
        ("/", "directory"),
        ("/bin", "symlink"),
        ("/out", "symlink"),
        ("/usr", "directory"),
        ("/usr/bin", "directory"),
        ("/usr/bin/kubelet", "file"),
    ]
    assert found[1][4] == "usr/bin"
    assert found[5][2:] == (0o4700, 4, None, b"\x7fELF")


def test_what_is_neither_file_nor_directory_is_noted_and_passed_over(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        # The address of a socket is short.
        previous = Path.cwd()
        os.chdir(tmp_path)
        try:
            listener.bind("socket")
        finally:
            os.chdir(previous)
        notes: list[str] = []
        assert [member.path for member in members(tmp_path, note=notes.append)] == ["/"]
    assert [note.split(" is ")[0] for note in notes] == ["'/fifo'", "'/socket'"]


def test_a_directory_that_cannot_be_read_is_incomplete(tmp_path: Path) -> None:
    with pytest.raises(Incomplete, match=r"missing cannot be read: No such file or directory"):
        list(members(tmp_path / "missing"))


def test_names_of_any_bytes_survive(tmp_path: Path) -> None:
    name = os.fsdecode(b"latin-\xe9\n")
    (tmp_path / name).touch()
    assert [member.path for member in members(tmp_path)][1] == f"/{name}"
