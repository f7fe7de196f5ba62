"""Nothing is written through a link that another user planted, whichever file it is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fipsmanifest.cli import summary
from fipsmanifest.errors import FipsManifestError, Incomplete
from fipsmanifest.model.identity import ManifestId
from fipsmanifest.state import durable, rollback
from fipsmanifest.trust.keys import Trust

_OTHER = 65534
_BEFORE = "kept as it was\n"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="root alone gives links away")


def _remember(path: Path) -> None:
    trust = Trust((), (), "")
    rollback.check_and_remember(path, ManifestId("v1.21.3", "rhel8", 1), signed_by="0" * 40, trust=trust)


#: What writes, and the name beside ``path`` that it opens.
WRITERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "the lock of the serials seen": (_remember, "file.lock"),
    "a job's summary": (lambda path: summary.write(path, ["text"]), "file.json"),
    "a summary that is only tried": (summary.require_file, "file.json"),
}


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Return a directory that all users may write to, as ``/tmp`` is."""
    directory = tmp_path / "shared"
    directory.mkdir()
    directory.chmod(0o1777)
    return directory


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """Return a file that must not be changed."""
    file = tmp_path / "precious"
    file.write_text(_BEFORE)
    return file


def _planted(link: Path, target: Path) -> None:
    link.symlink_to(target)
    os.lchown(link, _OTHER, _OTHER)


@needs_root
@pytest.mark.parametrize("writer", WRITERS)
def test_a_planted_link_is_not_written_through(writer: str, shared: Path, precious: Path) -> None:
    write, name = WRITERS[writer]
    _planted(shared / name, precious)
    with pytest.raises(FipsManifestError):
        write(shared / "file.json")
    assert precious.read_text() == _BEFORE


@pytest.mark.parametrize("writer", WRITERS)
def test_a_planted_hard_link_is_not_written_through(writer: str, shared: Path, precious: Path) -> None:
    write, name = WRITERS[writer]
    (shared / name).hardlink_to(precious)
    with pytest.raises(FipsManifestError):
        write(shared / "file.json")
    assert precious.read_text() == _BEFORE


@needs_root
@pytest.mark.parametrize(
    "write",
    [
        lambda path: durable.write(path, b"new"),
        lambda path: summary.write(path, ["text"]),
        _remember,
    ],
)
@pytest.mark.parametrize("inside", ["", "deeper/"])
def test_nothing_is_made_behind_a_planted_directory(
    write: Callable[[Path], None], inside: str, shared: Path, tmp_path: Path
) -> None:
    target = tmp_path / "home"
    target.mkdir()
    _planted(shared / "work", target)
    with pytest.raises(FipsManifestError, match="another user's link"):
        write(shared / "work" / f"{inside}file.json")
    assert list(target.iterdir()) == []


def test_a_link_is_replaced_and_what_it_leads_to_stays(shared: Path, precious: Path) -> None:
    (shared / "manifest.json").symlink_to(precious)
    durable.write(shared / "manifest.json", b"new")
    assert (shared / "manifest.json").read_bytes() == b"new"
    assert precious.read_text() == _BEFORE


def test_links_of_this_user_and_of_the_directorys_owner_are_followed(shared: Path, precious: Path) -> None:
    (shared / "own").symlink_to(precious)
    summary.write(shared / "own", ["more"])
    assert precious.read_text() == _BEFORE + "more\n"
    (shared / "directory").symlink_to(precious.parent)
    durable.write(shared / "directory" / "made", b"new")
    assert (precious.parent / "made").read_bytes() == b"new"


def test_a_summary_goes_to_a_pipe_that_somebody_reads() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "w"):
        summary.write(Path(f"/dev/fd/{writing}"), ["text"])
        assert os.read(reading, 100) == b"text\n"


@needs_root
def test_a_summary_of_another_user_is_appended_to(tmp_path: Path) -> None:
    file = tmp_path / "summary.md"
    file.write_text(_BEFORE)
    os.chown(file, _OTHER, _OTHER)
    summary.write(file, ["text"])
    assert file.read_text() == _BEFORE + "text\n"


@pytest.mark.parametrize("linked", [False, True])
def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path, linked: bool) -> None:
    # As for a device: root could replace even /dev/null and /dev/stdout by a file.
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        durable.write(tmp_path / ("link" if linked else "pipe"), b"report")
        assert os.read(reader, 100) == b"report"
    finally:
        os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / "link").is_symlink()


def test_a_pipe_that_nobody_reads_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Incomplete, match="could not be written"):
        durable.write(tmp_path / "pipe", b"report")
    assert (tmp_path / "pipe").is_fifo()


def test_an_open_file_is_written_to_by_its_descriptor(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as file:
        file.write(b"before ")
        file.flush()
        durable.write(Path(f"/proc/self/fd/{file.fileno()}"), b"report")
    assert (tmp_path / "out").read_bytes() == b"before report"
