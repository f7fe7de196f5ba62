"""Scanning any path: the order of what is found, what cannot be read, and how far the work runs ahead."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.errors import FipsManifestError, Incomplete, UsageError
from fipsmanifest.fetch.cache import Cache
from fipsmanifest.inspect.inspector import Inspector
from fipsmanifest.inspect.nested import LocatedFinding
from fipsmanifest.inspect.scan import RemoteImage, scan
from fipsmanifest.inspect.table import load
from fipsmanifest.progress import SILENT, Task
from tests.support import programs
from tests.support.registry import make_image, make_layer


@pytest.fixture
def inspector(tmp_path: Path) -> Inspector:
    spool = tmp_path / "spool"
    spool.mkdir()
    return Inspector(load(), spool)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def many(directory: Path, count: int) -> Path:
    for number in range(count):
        place = directory / f"{number % 7:02}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:05}").write_text(str(number))
    return directory


def test_a_large_directory_is_told_in_order_each_file_once(tmp_path: Path, inspector: Inspector, cache: Cache) -> None:
    root = many(tmp_path / "root", 3000)
    found = [item.finding.path for item in scan([root], inspector, cache) if isinstance(item, LocatedFinding)]
    assert found == sorted(str(path) for path in root.rglob("*") if path.is_file())


def test_targets_are_told_in_the_order_in_which_they_were_named(
    tmp_path: Path, inspector: Inspector, cache: Cache
) -> None:
    root = many(tmp_path / "root", 40)
    first = tmp_path / "zzz"
    first.write_bytes(programs.boring().read_bytes())
    found = [
        item.finding.path for item in scan([first, root, first], inspector, cache) if isinstance(item, LocatedFinding)
    ]
    assert (found[0], found[-1], len(found)) == (str(first), str(first), 42)


def test_a_file_that_goes_away_while_its_directory_is_read_is_an_error_and_the_others_are_told(
    tmp_path: Path, inspector: Inspector, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = many(tmp_path / "root", 20)
    inspect_path = Inspector.inspect_path

    def racing(self: Inspector, path: Path, *arguments: Any) -> object:
        if path.name == "00005":
            path.unlink()
        return inspect_path(self, path, *arguments)

    # The moment between listing and opening cannot be reached otherwise.
    monkeypatch.setattr(Inspector, "inspect_path", racing)
    outcomes = list(scan([root], inspector, cache))
    (error,) = [item for item in outcomes if not isinstance(item, LocatedFinding)]
    assert isinstance(error, Incomplete)
    assert "00005" in error.message
    assert len(outcomes) == 20


def test_a_directory_that_may_not_be_read_is_an_error_and_the_others_are_told(
    tmp_path: Path, inspector: Inspector, cache: Cache
) -> None:
    root = many(tmp_path / "root", 14)
    for path in [tmp_path, *tmp_path.parents]:
        if not path.stat().st_mode & 0o001:
            path.chmod(path.stat().st_mode | 0o711)
    (root / "03").chmod(0)
    # Root may read everything, so it becomes another user for a while.
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        told = list(scan([root], inspector, cache))
    finally:
        os.seteuid(user)
    (error,) = [item for item in told if not isinstance(item, LocatedFinding)]
    assert isinstance(error, Incomplete)
    assert str(root / "03") in error.message
    assert len(told) == 13


def test_a_path_that_is_not_there_is_said_before_anything_is_looked_at(
    tmp_path: Path, inspector: Inspector, cache: Cache
) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        next(scan([many(tmp_path / "root", 3), tmp_path / "missing"], inspector, cache))


def test_work_does_not_run_far_ahead_of_who_takes_it(tmp_path: Path, inspector: Inspector, cache: Cache) -> None:
    pulled: list[int] = []
    lock = threading.Lock()

    def remote(number: int) -> RemoteImage:
        def pull() -> None:
            with lock:
                pulled.append(number)
            raise Incomplete(f"{number} cannot be had.")

        return RemoteImage(str(number), pull)  # type: ignore[arg-type]

    taking = scan([remote(number) for number in range(1000)], inspector, cache)
    first = next(taking)
    assert isinstance(first, Incomplete)
    time.sleep(0.2)
    assert len(pulled) < 100
    assert len(list(taking)) == 999


def test_stopping_early_leaves_nothing_running(tmp_path: Path, inspector: Inspector, cache: Cache) -> None:
    before = threading.active_count()
    taking = scan([many(tmp_path / "root", 500)], inspector, cache)
    next(taking)
    taking.close()
    # Threads of the test before this one may end meanwhile.
    assert threading.active_count() <= before


def test_progress_counts_every_byte(tmp_path: Path, inspector: Inspector, cache: Cache) -> None:
    root = many(tmp_path / "root", 200)
    counted: list[int] = []

    class Counting:
        def task(self, *_: object) -> Task:
            return self

        def note(self, text: str) -> None:
            SILENT.note(text)

        def advance(self, amount: int) -> None:
            counted.append(amount)

        def total(self, amount: int) -> None: ...

        def done(self) -> None: ...

    list(scan([root], inspector, cache, Counting()))
    assert sum(counted) == sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def told(root: list[Path], inspector: Inspector, cache: Cache) -> dict[str, str]:
    """Return each program by its path with its verdict, and each error by the path that it begins with."""
    found = {}
    for item in scan(root, inspector, cache):
        if isinstance(item, LocatedFinding) and item.finding.crypto:
            found[item.finding.path] = str(item.finding.crypto.verdict)
        elif isinstance(item, FipsManifestError):
            found[item.message.partition(" ")[0]] = item.message.partition(" ")[2]
    return found


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    directory = tmp_path / "outside"
    directory.mkdir()
    shutil.copy(programs.c_program(), directory / "runc")
    (directory / "some.tar").write_bytes(make_layer({"opt/runc": programs.c_program().read_bytes()}))
    (directory / "text").write_text("text")
    (tmp_path / "root/usr/bin").mkdir(parents=True)
    return directory


def test_what_a_link_leads_to_outside_of_all_that_is_named_is_looked_at(
    tmp_path: Path, outside: Path, inspector: Inspector, cache: Cache
) -> None:
    root = tmp_path / "root"
    (root / "usr/bin/absolute").symlink_to(outside / "runc")
    (root / "usr/bin/relative").symlink_to("../../../outside/runc")
    (root / "usr/bin/again").symlink_to("relative")
    (root / "runc").symlink_to("../runc")
    (tmp_path / "runc").symlink_to("outside/runc")
    (root / "packed").symlink_to(outside / "some.tar")
    (root / "text").symlink_to(outside / "text")
    (root / "folder").symlink_to(outside)
    found = told([root], inspector, cache)
    assert found.pop(f"{root}/folder") == f"leads out of {root}, to the directory {outside}, which is not inspected."
    links = {f"{root}/{name}": "not-go" for name in ("runc", "usr/bin/absolute", "usr/bin/again", "usr/bin/relative")}
    assert found == {"/opt/runc": "not-go", **links}
    # What is named as well is inspected in its own place.
    found = told([root, outside], inspector, cache)
    assert found == {"/opt/runc": "not-go", f"{outside}/runc": "not-go"}
    # A link that climbs out is no node's own, whatever the root has at such a path.
    (root / "outside").mkdir()
    shutil.copy(programs.boring(), root / "outside/runc")
    assert told([root / "usr/bin"], inspector, cache)[f"{root}/usr/bin/relative"] == "not-go"


@pytest.mark.parametrize(
    ("directory", "target", "link"),
    [("up", ".", "up/../runc"), ("usr/bin/up", "..", "usr/bin/up/../../runc"), ("up", "usr/..", "up/./../runc")],
)
def test_a_link_that_climbs_out_over_another_link_is_followed_out(
    tmp_path: Path, outside: Path, inspector: Inspector, cache: Cache, directory: str, target: str, link: str
) -> None:
    # By its name alone the link leads to the harmless file in the root; the kernel opens the one above.
    root = tmp_path / "root"
    (root / directory).symlink_to(target)
    (root / "link").symlink_to(link)
    (root / "runc").write_text("#!/bin/sh\n")
    shutil.copy(outside / "runc", tmp_path / "runc")
    assert (root / "link").read_bytes() == (tmp_path / "runc").read_bytes()
    assert told([root], inspector, cache) == {f"{root}/link": "not-go"}


def test_a_path_that_is_too_long_to_open_is_an_error_and_the_others_are_told(
    tmp_path: Path, inspector: Inspector, cache: Cache
) -> None:
    root = many(tmp_path / "root", 3)
    here = Path.cwd()
    os.chdir(root)
    try:
        for _ in range(20):
            Path("a" * 240).mkdir()
            os.chdir("a" * 240)
    finally:
        os.chdir(here)
    outcomes = list(scan([root], inspector, cache))
    (error,) = [item for item in outcomes if not isinstance(item, LocatedFinding)]
    assert isinstance(error, Incomplete)
    assert "File name too long" in error.message
    assert len(outcomes) == 4


def test_the_links_of_a_node_s_root_stay_in_it(
    tmp_path: Path, outside: Path, inspector: Inspector, cache: Cache
) -> None:
    root = tmp_path / "root"
    there = root / str(outside).lstrip("/")
    there.mkdir(parents=True)
    (there / "runc").write_text("#!/bin/sh\n")
    links: dict[str, str | Path] = {
        "usr/bin/runc": outside / "runc",  # the root has it, too
        "usr/folder": outside,
        "bin": "usr/bin",
        "lock": "run/lock",
        "mtab": "/proc/self/mounts",
        "fd": "/proc/self/fd",
        "loop": "loop",
        "gone": "/no/such/program",
        "below": "/etc/passwd/x",
        "slash": "../outside/runc/",  # to open it is an error (ENOTDIR)
        "null": "/dev/null",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    assert told([root], inspector, cache) == {}


def test_a_link_out_of_the_directory_of_an_image_archive_is_refused(
    tmp_path: Path, outside: Path, inspector: Inspector, cache: Cache
) -> None:
    layout = tmp_path / "layout"
    make_image(layout, "v1", {"amd64": [make_layer({"opt/runc": programs.c_program().read_bytes()})]})
    (layout / "inside").symlink_to("index.json")
    assert told([layout], inspector, cache) == {"/opt/runc": "not-go"}
    (layout / "runc").symlink_to(outside / "runc")
    assert "'/runc' leads out of the archive, to " in told([layout], inspector, cache)["layout:"]
