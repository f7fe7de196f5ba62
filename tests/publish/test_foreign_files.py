"""In a folder, whatever lies below ``tool/`` and is no published object is named: links, pipes, hidden files, too."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fipsmanifest.publish.address import open_bucket
from fipsmanifest.publish.audit import audit
from fipsmanifest.publish.consumer import Consumer
from fipsmanifest.publish.publisher import publish
from tests.publish.releases import ReleaseKey, wanted_release

POINTER = "tool/manifests/v1.21.3/manifest-rhel8.json.asc"


def _link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def _file(path: Path) -> None:
    path.write_bytes(b"x")


@pytest.mark.parametrize(
    ("key", "put", "exit_code"),
    [
        ("tool/9.9.9/dkp-fips-tool", _link("/etc/passwd"), 1),
        ("tool/9.9.9/dkp-fips-tool.asc", _link("../0.1.0/dkp-fips-tool.asc"), 1),
        ("tool/manifests/v1.21.3/manifest-rhel9.json.asc", _link("manifest-rhel8.json.asc"), 3),
        ("tool/manifests/v1.21.3/2/manifest-rhel8.json.asc", _link("nowhere"), 1),
        ("tool/9.9.9", _link("/etc"), 1),
        ("tool/9.9.9", _link("0.1.0"), 1),
        ("tool/.evil", _file, 1),
        ("tool/.d/dkp-fips-tool", _file, 1),
        ("tool/.writing-4711", _file, 1),
        ("tool/pipe", os.mkfifo, 1),
        ("tool/\udcff", _file, 1),
        ("index.json", _link("/etc/passwd"), 1),
        ("index.html", _link("tool/dkp-fips-tool"), 1),
    ],
)
def test_an_audit_names_it_and_goes_on(
    tmp_path: Path,
    release_key: ReleaseKey,
    consumer: Consumer,
    key: str,
    put: Callable[[Path], None],
    exit_code: int,
) -> None:
    bucket = open_bucket(str(tmp_path / "bucket"))
    publish(wanted_release(release_key), bucket, consumer)
    path = tmp_path / "bucket" / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    put(path)

    result = audit(bucket, consumer)

    assert (key, "foreign") in {(found.key, found.code) for found in result.findings}
    assert result.exit_code == exit_code


def test_what_another_publisher_is_writing_is_none_of_it(
    tmp_path: Path, release_key: ReleaseKey, consumer: Consumer
) -> None:
    bucket = open_bucket(str(tmp_path / "bucket"))
    publish(wanted_release(release_key), bucket, consumer)
    (tmp_path / "bucket" / ".writing-4711").write_bytes(b"half")

    assert ".writing-4711" not in {entry.key for entry in bucket.list("")}
    assert audit(bucket, consumer).findings == ()
