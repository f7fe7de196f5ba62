"""Processes that end while they are read."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from fipsmanifest.node.checks import injected, processes, procfs
from fipsmanifest.node.result import Listed, Node
from tests.support import roots

PID = 4711


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a process's directory, below a /proc that has no other."""
    (tmp_path / "kubelet").write_bytes(b"kubelet")
    own = tmp_path / "proc" / str(PID)
    own.mkdir(parents=True)
    (own / "exe").symlink_to(tmp_path / "kubelet")
    (own / "comm").write_text("kubelet\n")
    (tmp_path / "proc/self").mkdir()
    (tmp_path / "proc/self/mountinfo").write_text("")
    monkeypatch.setattr(procfs, "PROC", str(tmp_path / "proc"))
    return own


@pytest.mark.parametrize(
    ("number", "before", "after"),
    [(errno.ENOENT, True, True), (errno.ESRCH, True, True), (errno.EACCES, False, True), (errno.EIO, False, False)],
)
def test_what_the_kernel_refuses_has_ended_only_where_its_directory_is_gone(
    number: int, before: bool, after: bool, proc: Path
) -> None:
    assert procfs.has_ended(PID, OSError(number, "")) is before
    shutil.rmtree(proc)
    assert procfs.has_ended(PID, OSError(number, "")) is after


@pytest.mark.parametrize(("ends", "codes"), [(True, []), (False, ["mappings"])])
def test_a_program_that_ends_while_it_is_examined_is_no_finding(
    ends: bool, codes: list[str], proc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = proc.parents[1] / "kubelet"

    def look(*_: object) -> None:
        if ends:
            shutil.rmtree(proc)
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(injected, "look", look)
    file = {"path": str(path), "role": "program", "sha256": roots.sha256(path), "component": "kubelet"}
    manifest = {"files": [file], "node": {"roles": {"worker": ["kubelet"]}}}
    found = processes.check(Node("/", True, "worker"), [Listed("m.asc", manifest)])

    seen = [one for one in found if one.subject.startswith(str(path))]
    assert [one.evidence["code"] for one in seen if "code" in one.evidence] == codes
    assert seen
