"""The store that runs share: nothing half, nothing wrong, nothing lost."""

from __future__ import annotations

import hashlib
import io
import os
import time
from pathlib import Path

import pytest

from fipsmanifest.collect.cache import Cache, default_root
from fipsmanifest.errors import Incomplete, Refused

DATA = b"a kubelet"


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path)


def test_what_was_added_is_found_by_its_digest(cache: Cache) -> None:
    file = cache.add(io.BytesIO(DATA), limit=100, name="kubelet")
    assert (file.path.read_bytes(), file.size) == (DATA, len(DATA))
    assert file.path.name == file.sha256 == hashlib.sha256(DATA).hexdigest()
    assert cache.get(file.sha256) == file
    assert Cache(cache.root).get(file.sha256) == file
    assert cache.get("0" * 64) is None
    assert list((cache.root / "partial").iterdir()) == []


@pytest.mark.parametrize("damage", [b"a kubelex", b"", b"a kubelet and more"])
def test_a_damaged_blob_is_not_given_but_removed(cache: Cache, damage: bytes) -> None:
    file = cache.add(io.BytesIO(DATA), limit=100, name="kubelet")
    file.path.write_bytes(damage)
    os.utime(file.path, (1, 1))
    assert cache.get(file.sha256) is None
    assert not file.path.exists()


def test_a_blob_that_changes_behind_its_size_and_date_is_hashed_again(cache: Cache) -> None:
    file = cache.add(io.BytesIO(DATA), limit=100, name="kubelet")
    before = file.path.stat()
    time.sleep(0.02)
    file.path.write_bytes(DATA[::-1])
    os.utime(file.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cache.get(file.sha256) is None


def test_more_than_the_limit_is_refused_and_leaves_nothing(cache: Cache) -> None:
    with pytest.raises(Refused, match="kubelet is larger than 8 bytes"):
        cache.add(io.BytesIO(DATA), limit=8, name="kubelet")
    assert list((cache.root / "partial").iterdir()) == []
    assert list((cache.root / "blobs/sha256").iterdir()) == []


def test_a_reader_that_fails_leaves_nothing(cache: Cache) -> None:
    class Broken:
        def read(self, _: int = -1, /) -> bytes:
            raise Refused("truncated")

    with pytest.raises(Refused, match="truncated"):
        cache.add(Broken(), limit=100, name="kubelet")
    assert list((cache.root / "partial").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_incomplete(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Incomplete, match="cannot use"):
        Cache(tmp_path / "file" / "cache")


def test_the_cache_lies_where_the_xdg_specification_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_root() == tmp_path / "fipsmanifest"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_root() == tmp_path / ".cache" / "fipsmanifest"


def test_what_a_run_left_long_ago_is_swept_away_and_what_is_recent_is_kept(cache: Cache) -> None:
    old, recent = cache.root / "partial/old.part", cache.root / "partial/recent.part"
    old.write_bytes(b"x")
    recent.write_bytes(b"x")
    os.utime(old, (1, 1))
    Cache(cache.root)
    assert not old.exists()
    assert recent.exists()


@pytest.mark.parametrize("facts", [b"", b"{", b"[1]", b"\xff\xfe"])
def test_damaged_notes_on_a_part_are_taken_for_none(cache: Cache, facts: bytes) -> None:
    with cache.partial("key") as partial:
        partial.begin({"url": "u", "validator": '"v"'})
        assert partial.facts() == {"url": "u", "validator": '"v"'}
        partial.path.with_suffix(".json").write_bytes(facts)
        assert partial.facts() == {}
