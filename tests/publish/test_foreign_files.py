"""In a directory, everything below ``tool/`` that is not a published object is reported, also hidden files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fipsmanifest.publish.address import open_bucket
from fipsmanifest.publish.audit import audit
from fipsmanifest.publish.bucket import NotAnObject
from fipsmanifest.publish.consumer import Consumer
from fipsmanifest.publish.publisher import publish
from tests.support.releases import ReleaseKey, wanted_release

POINTER = "tool/manifests/v1.21.3/manifest-rhel8.json.asc"


def _link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def _file(path: Path) -> None:
    path.write_bytes(b"x")


FOREIGN: dict[str, Callable[[Path], None]] = {
    "tool/9.9.9/dkp-fips-tool": _link("/etc/passwd"),
    "tool/9.9.9/dkp-fips-tool.asc": _link("../0.1.0/dkp-fips-tool.asc"),
    "tool/manifests/v1.21.3/manifest-rhel9.json.asc": _link("manifest-rhel8.json.asc"),
    "tool/manifests/v1.21.3/2/manifest-rhel8.json.asc": _link("nowhere"),
    "tool/9.9.7": _link("/etc"),
    "tool/9.9.8": _link("0.1.0"),
    "tool/.evil": _file,
    "tool/.d/dkp-fips-tool": _file,
    "tool/.writing-4711": _file,
    "tool/pipe": os.mkfifo,
    "tool/\udcff": _file,
    "index.json": _link("/etc/passwd"),
    "index.html": _link("tool/dkp-fips-tool"),
}


def test_an_audit_names_each_of_them_and_goes_on(tmp_path: Path, release_key: ReleaseKey, consumer: Consumer) -> None:
    bucket = open_bucket(str(tmp_path / "bucket"))
    publish(wanted_release(release_key), bucket, consumer)
    for key, put in FOREIGN.items():
        path = tmp_path / "bucket" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        put(path)

    result = audit(bucket, consumer)

    assert {found.key for found in result.findings if found.code == "foreign"} == FOREIGN.keys()
    # A pointer that is nothing could be anything; the rest is only in the way.
    assert {found.key for found in result.findings if found.exit_code == 3} == {
        "tool/manifests/v1.21.3/manifest-rhel9.json.asc"
    }
    assert len(result.published.manifests) == 2


@pytest.mark.parametrize("target", ["/srv", "notes", "nowhere", "tool"])
def test_nothing_is_published_behind_a_link(tmp_path: Path, release_key: ReleaseKey, target: str) -> None:
    root = tmp_path / "bucket"
    (root / "notes").mkdir(parents=True)
    (root / "tool").symlink_to(target)

    with pytest.raises(NotAnObject, match=r"is a symbolic link|is behind a symbolic link"):
        publish(wanted_release(release_key), open_bucket(str(root)), release_key.consumer)

    assert {path.name for path in root.iterdir()} == {"notes", "tool"}
    assert list((root / "notes").iterdir()) == []


def test_a_bucket_may_be_reached_through_a_link(tmp_path: Path, release_key: ReleaseKey) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "bucket").symlink_to("disk")

    publish(wanted_release(release_key), open_bucket(str(tmp_path / "bucket")), release_key.consumer)

    assert audit(open_bucket(str(tmp_path / "bucket")), release_key.consumer).findings == ()


def test_what_another_publisher_is_writing_is_none_of_it(
    tmp_path: Path, release_key: ReleaseKey, consumer: Consumer
) -> None:
    bucket = open_bucket(str(tmp_path / "bucket"))
    publish(wanted_release(release_key), bucket, consumer)
    (tmp_path / "bucket" / ".writing-4711").write_bytes(b"half")

    assert ".writing-4711" not in {entry.key for entry in bucket.list("")}
    assert audit(bucket, consumer).findings == ()
