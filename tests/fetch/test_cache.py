"""The cache that runs share: nothing incomplete, nothing wrong, nothing lost."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fipsmanifest.errors import Incomplete, Refused
from fipsmanifest.fetch.cache import Cache, default_root

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


def test_a_directory_that_cannot_be_made_is_incomplete(tmp_path: Path) -> None:
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


# A directory that others can write to: a link planted there must not make this user write over a file of theirs.


@pytest.mark.parametrize("plant", [Path.symlink_to, Path.hardlink_to])
@pytest.mark.parametrize("suffix", [".json", ".part"])
def test_no_partial_download_is_written_through_a_planted_link(
    cache: Cache, tmp_path: Path, suffix: str, plant: Callable[[Path, Path], None]
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    name = hashlib.sha256(b"key").hexdigest()
    plant(cache.root / f"partial/{name}{suffix}", precious)
    with cache.partial("key") as partial:
        assert (partial.size, partial.facts() == {}) == (0, True) or suffix == ".part" or plant is Path.hardlink_to
        partial.begin({"url": "u"})
        partial.append(iter([DATA]))
        assert cache.adopt(partial, hashlib.sha256(DATA).hexdigest()).path.read_bytes() == DATA
    assert precious.read_text() == "precious"


@pytest.mark.parametrize("plant", [Path.symlink_to, Path.hardlink_to])
def test_a_link_planted_while_a_download_runs_is_neither_written_nor_given_other_permissions(
    cache: Cache, tmp_path: Path, plant: Callable[[Path, Path], None]
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    precious.chmod(0o600)
    for use in ("append", "adopt"):
        with cache.partial("key") as partial:
            partial.begin({})
            partial.path.unlink()
            plant(partial.path, precious)
            with pytest.raises(Incomplete):
                if use == "append":
                    partial.append(iter([DATA]))
                else:
                    cache.adopt(partial, hashlib.sha256(b"precious").hexdigest())
            partial.discard()
    assert (precious.read_text(), precious.stat().st_mode & 0o777) == ("precious", 0o600)


def test_a_lock_is_not_created_through_a_planted_link(cache: Cache, tmp_path: Path) -> None:
    name = hashlib.sha256(b"key").hexdigest()
    (cache.root / f"partial/{name}.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Incomplete, match="cannot use"), cache.partial("key"):
        pass
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("kind", ["link", "fifo", "directory-link"])
def test_a_blob_that_is_no_file_is_not_used(cache: Cache, tmp_path: Path, kind: str) -> None:
    (tmp_path / "elsewhere").write_bytes(DATA)
    digest = hashlib.sha256(DATA).hexdigest()
    if kind == "fifo":
        os.mkfifo(cache.path(digest))
    else:
        cache.path(digest).symlink_to(tmp_path / "elsewhere" if kind == "link" else tmp_path)
    assert cache.get(digest) is None
    assert cache.add(io.BytesIO(DATA), limit=100, name="kubelet") == cache.get(digest)


@pytest.mark.parametrize("directory", ["", "blobs", "blobs/sha256", "partial"])
@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702])
def test_a_directory_that_other_users_can_write_to_is_refused(tmp_path: Path, directory: str, mode: int) -> None:
    cache = Cache(tmp_path / "cache")
    (cache.root / directory).chmod(mode)
    with pytest.raises(Refused, match=f"other users .mode {mode:04o}") as refused:
        Cache(cache.root)
    assert "chmod -R go-w" in refused.value.advice


@pytest.mark.parametrize("directory", ["blobs", "blobs/sha256", "partial"])
def test_a_directory_within_the_cache_that_is_a_link_is_refused(tmp_path: Path, directory: str) -> None:
    cache = Cache(tmp_path / "cache")
    shutil.rmtree(cache.root / directory)
    (cache.root / directory).symlink_to(tmp_path)
    with pytest.raises(Refused, match="is not a directory"):
        Cache(cache.root)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    os.chown(cache.root, 12345, 12345)
    with pytest.raises(Refused, match="belongs to the user with the ID 12345"):
        Cache(cache.root)


def test_the_directories_are_for_this_user_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        cache = Cache(tmp_path / "new/cache")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (cache.root, *cache.root.rglob("*"))} == {0o700}
