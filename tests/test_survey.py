"""Looking at anything: the order of what is found, what cannot be read, and how far the work runs ahead."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from fipsmanifest.collect.cache import Cache
from fipsmanifest.errors import Incomplete, UsageError
from fipsmanifest.inspect.inspector import Inspector
from fipsmanifest.inspect.table import load
from fipsmanifest.packed import Located
from fipsmanifest.progress import SILENT, Task
from fipsmanifest.survey import RemoteImage, survey
from tests.inspect import programs


@pytest.fixture
def inspector(tmp_path: Path) -> Inspector:
    spool = tmp_path / "spool"
    spool.mkdir()
    return Inspector(load(), spool)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def many(folder: Path, count: int) -> Path:
    for number in range(count):
        place = folder / f"{number % 7:02}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:05}").write_text(str(number))
    return folder


def test_a_large_folder_is_told_in_order_each_file_once(tmp_path: Path, inspector: Inspector, cache: Cache) -> None:
    root = many(tmp_path / "root", 3000)
    found = [item.finding.path for item in survey([root], inspector, cache) if isinstance(item, Located)]
    assert found == sorted(str(path) for path in root.rglob("*") if path.is_file())


def test_targets_are_told_in_the_order_in_which_they_were_named(
    tmp_path: Path, inspector: Inspector, cache: Cache
) -> None:
    root = many(tmp_path / "root", 40)
    first = tmp_path / "zzz"
    first.write_bytes(programs.boring().read_bytes())
    found = [item.finding.path for item in survey([first, root, first], inspector, cache) if isinstance(item, Located)]
    assert (found[0], found[-1], len(found)) == (str(first), str(first), 42)


def test_a_file_that_goes_away_while_its_folder_is_read_is_an_error_and_the_others_are_told(
    tmp_path: Path, inspector: Inspector, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = many(tmp_path / "root", 20)
    inspect_path = Inspector.inspect_path

    def racing(self: Inspector, path: Path, name: str | None = None) -> object:
        if path.name == "00005":
            path.unlink()
        return inspect_path(self, path, name)

    # The moment between listing and opening cannot be had otherwise.
    monkeypatch.setattr(Inspector, "inspect_path", racing)
    outcomes = list(survey([root], inspector, cache))
    (error,) = [item for item in outcomes if not isinstance(item, Located)]
    assert isinstance(error, Incomplete)
    assert "00005" in error.message
    assert len(outcomes) == 20


def test_a_folder_that_may_not_be_read_is_an_error_and_the_others_are_told(
    tmp_path: Path, inspector: Inspector, cache: Cache
) -> None:
    root = many(tmp_path / "root", 14)
    for path in [tmp_path, *tmp_path.parents]:
        if not path.stat().st_mode & 0o001:
            path.chmod(path.stat().st_mode | 0o711)
    (root / "03").chmod(0)
    # Root may read everything, so it becomes somebody else for a while.
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        told = list(survey([root], inspector, cache))
    finally:
        os.seteuid(user)
    (error,) = [item for item in told if not isinstance(item, Located)]
    assert isinstance(error, Incomplete)
    assert str(root / "03") in error.message
    assert len(told) == 13


def test_a_path_that_is_not_there_is_said_before_anything_is_looked_at(
    tmp_path: Path, inspector: Inspector, cache: Cache
) -> None:
    with pytest.raises(UsageError, match="is not there"):
        next(survey([many(tmp_path / "root", 3), tmp_path / "missing"], inspector, cache))


def test_work_does_not_run_far_ahead_of_who_takes_it(tmp_path: Path, inspector: Inspector, cache: Cache) -> None:
    pulled: list[int] = []
    lock = threading.Lock()

    def remote(number: int) -> RemoteImage:
        def pull() -> None:
            with lock:
                pulled.append(number)
            raise Incomplete(f"{number} cannot be had.")

        return RemoteImage(str(number), pull)  # type: ignore[arg-type]

    taking = survey([remote(number) for number in range(1000)], inspector, cache)
    first = next(taking)
    assert isinstance(first, Incomplete)
    time.sleep(0.2)
    assert len(pulled) < 100
    assert len(list(taking)) == 999


def test_stopping_early_leaves_nothing_running(tmp_path: Path, inspector: Inspector, cache: Cache) -> None:
    before = threading.active_count()
    taking = survey([many(tmp_path / "root", 500)], inspector, cache)
    next(taking)
    taking.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


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

    list(survey([root], inspector, cache, Counting()))
    assert sum(counted) == sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
