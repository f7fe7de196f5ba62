"""Budgets: what may be read of all that is packed in one target, to the byte."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from pathlib import Path

import pytest

from fipsmanifest.archive import limits
from fipsmanifest.archive.limits import Allowance, Budget, Cancelled, OverBudget

SMALL = Allowance(expanded=100, expanded_per_byte=2, members=3, seconds=60, bytes_per_second=1)


@pytest.mark.parametrize(
    ("expanded", "members", "over"),
    [
        ([100], [], False),
        ([101], [], True),
        ([50, 50], [], False),
        ([50, 51], [], True),
        ([], [3], False),
        ([], [2, 2], True),
    ],
)
def test_a_budget_is_spent_to_the_last_and_no_further(expanded: list[int], members: list[int], over: bool) -> None:
    budget = Budget("some.tar", SMALL)
    spent: OverBudget | None = None
    try:
        for count in expanded:
            budget.spend(expanded=count)
        for count in members:
            budget.spend(members=count)
    except OverBudget as error:
        spent = error

    assert (spent is not None) == over
    if spent is not None:
        assert spent.exit_code == 4 and spent.message.startswith("some.tar was not opened to its end")
        # What has ended stays at its end, or the next reader would go on.
        with pytest.raises(OverBudget):
            budget.spend()


def test_a_larger_target_may_expand_to_more() -> None:
    budget = Budget("some.tar", SMALL)
    budget.grow(10)

    budget.spend(expanded=120)
    with pytest.raises(OverBudget, match="expands to more bytes"):
        budget.spend(expanded=1)


def test_time_is_part_of_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("fipsmanifest.archive.limits.time.monotonic", lambda: now)
    budget = Budget("some.tar", SMALL)
    budget.spend()
    now += 60
    budget.spend()
    now += 1
    with pytest.raises(OverBudget, match="takes more than 60 seconds"):
        budget.spend()


def test_an_interruption_ends_what_spends() -> None:
    stop = threading.Event()
    budget = Budget("some.tar", SMALL, stop)
    budget.spend()
    stop.set()

    with pytest.raises(Cancelled):
        budget.spend()


def test_only_the_active_budget_is_spent() -> None:
    budget = Budget("some.tar", SMALL)
    limits.spend(expanded=1000)
    with budget.active(), pytest.raises(OverBudget):
        limits.spend(expanded=101)
    limits.spend(expanded=1000)


def test_the_holes_of_a_sparse_file_are_not_stored(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        for place in (0, 1 << 30):
            file.seek(place)
            file.write(b"x" * 4096)
        file.truncate(1 << 40)
    listed = subprocess.run(["du", "-B1", path], capture_output=True, text=True, check=True).stdout
    assert limits.size_of(path) == limits.size_of(tmp_path) == int(listed.split()[0])
    path.write_bytes(b"x" * 5000)
    assert limits.size_of(path) == 5000


def test_where_holes_are_unknown_all_of_a_file_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 20)

    def seek(descriptor: int, position: int, whence: int) -> int:
        if whence == os.SEEK_DATA:
            raise OSError(errno.EINVAL, "Invalid argument")
        return position

    monkeypatch.setattr("fipsmanifest.archive.limits.os.lseek", seek)
    assert limits.size_of(path) == 1 << 20
