"""Locks: what was authenticated once is pinned, and a difference is reported with both digests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fipsmanifest.errors import Refused, UsageError
from fipsmanifest.model.artifact import Artifact
from fipsmanifest.state import lock


def artifact(name: str, sha256: str = "a" * 64, signed_by: str | None = None, size: int = 3) -> Artifact:
    return Artifact(
        source="s",
        kind="rpm",
        name=name,
        address=f"https://packages.example/{name}.rpm",
        sha256=sha256,
        size=size,
        path=Path("/nowhere"),
        signed_by=signed_by,
    )


def test_what_was_written_is_read_back_and_accepted(tmp_path: Path) -> None:
    path = tmp_path / "rhel8.lock.json"
    artifacts = [artifact("b"), artifact("a", signed_by="F" * 40)]
    lock.write(lock.load(path), "v1.21.3/rhel8", lock.pins_of(artifacts))
    again = lock.load(path)
    assert [pin.name for pin in again.of("v1.21.3/rhel8") or ()] == ["a", "b"]
    lock.check(again, "v1.21.3/rhel8", reversed(artifacts))


def test_one_file_holds_several_definitions(tmp_path: Path) -> None:
    path = tmp_path / "all.lock.json"
    lock.write(lock.load(path), "v1.21.3/rhel7", lock.pins_of([artifact("seven")]))
    lock.write(lock.load(path), "v1.21.3/rhel8", lock.pins_of([artifact("eight")]))
    assert list(json.loads(path.read_text())["definitions"]) == ["v1.21.3/rhel7", "v1.21.3/rhel8"]


def test_without_a_lock_nothing_is_accepted(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="has no lock"):
        lock.check(lock.load(tmp_path / "none.json"), "v1.21.3/rhel8", [])


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([artifact("a", "b" * 64)], ["a" * 64, "b" * 64]),
        ([artifact("a", signed_by="E" * 40)], ["E" * 40]),
        ([artifact("a", size=4)], ["4 bytes", "locked are 3"]),
        ([], ["no longer names it"]),
        ([artifact("a"), artifact("new", "c" * 64)], ["is not in the lock", "c" * 64]),
    ],
)
def test_every_difference_names_both_sides(tmp_path: Path, found: list[Artifact], words: list[str]) -> None:
    locked = lock.write(lock.load(tmp_path / "l.json"), "d", lock.pins_of([artifact("a")]))
    with pytest.raises(Refused) as caught:
        lock.check(locked, "d", found)
    for word in words:
        assert word in caught.value.message


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"schema": "fipsmanifest/lock/v2", "definitions": {}}', '{"definitions": {"a": 1}}']
)
def test_a_broken_lock_is_never_an_empty_one(tmp_path: Path, text: str) -> None:
    path = tmp_path / "l.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="is not a lock"):
        lock.load(path)
