"""Publishing to a real S3 server and to a directory; `test_plan.py` has what is decided, on a bucket in memory."""

from __future__ import annotations

import functools
import html
import http.server
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from fipsmanifest.model.identity import ManifestId
from fipsmanifest.publish import index, layout
from fipsmanifest.publish.action import Kind
from fipsmanifest.publish.address import open_bucket
from fipsmanifest.publish.bucket import Absent, Bucket, Matches, NotAnObject
from fipsmanifest.publish.consumer import Consumer
from fipsmanifest.publish.publisher import plan_publication, publish
from tests.support.releases import (
    KUBERNETES,
    ReleaseKey,
    consumer_problems,
    expected_keys,
    tool_bytes,
    wanted_release,
)

POINTER = "tool/manifests/v1.21.3/manifest-rhel8.json.asc"
FIRST = "tool/manifests/v1.21.3/1/manifest-rhel8.json.asc"


def everything(bucket: Bucket) -> dict[str, bytes]:
    return {entry.key: data(bucket, entry.key) for entry in bucket.list("")}


def data(bucket: Bucket, key: str) -> bytes:
    stored = bucket.get(key)
    assert stored is not None, key
    return stored.data


def put(bucket: Bucket, key: str, content: bytes) -> None:
    """Write as a stranger would, without conditions."""
    stored = bucket.get(key)
    only_if = Matches(stored.token) if stored else Absent()
    bucket.put(key, content, only_if=only_if, content_type="text/plain", cache_control="no-cache")


def test_a_first_release_has_the_whole_layout_and_holds_for_a_consumer(
    bucket: Bucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    wanted = wanted_release(release_key)

    publication = publish(wanted, bucket, consumer)

    there = everything(bucket)
    assert there.keys() == expected_keys()
    assert there[FIRST] == there[POINTER] == wanted.manifests[1].signed
    assert there["tool/dkp-fips-tool"] == there["tool/0.1.0/dkp-fips-tool"] == tool_bytes()
    assert consumer_problems(there.get, consumer) == []
    assert len(publication.written) == 12
    steps = [action.step for action in publication.written]
    assert steps == sorted(steps)


def test_coreutils_takes_the_published_sidecar_and_gpg_the_signatures(
    bucket: Bucket, release_key: ReleaseKey, consumer: Consumer, tmp_path: Path
) -> None:
    publish(wanted_release(release_key), bucket, consumer)
    for key in ("tool/dkp-fips-tool", "tool/dkp-fips-tool.sha256", "tool/dkp-fips-tool.asc", POINTER):
        (tmp_path / Path(key).name).write_bytes(data(bucket, key))

    for command in (
        ["sha256sum", "--strict", "-c", "dkp-fips-tool.sha256"],
        ["gpg", "--homedir", str(release_key.home), "--verify", "dkp-fips-tool.asc", "dkp-fips-tool"],
        ["gpg", "--homedir", str(release_key.home), "--verify", "manifest-rhel8.json.asc"],
    ):
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
    assert (tmp_path / "dkp-fips-tool.sha256").read_text().startswith("# tool/0.1.0/dkp-fips-tool\n")


def test_publishing_again_with_other_signatures_of_the_same_payloads_writes_nothing(
    bucket: Bucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    publish(wanted_release(release_key), bucket, consumer)
    before = everything(bucket)

    later = wanted_release(release_key, at="20261121T110000")
    publication = publish(later, bucket, consumer)

    assert publication.written == ()
    assert {action.kind for action in publication.plan.actions} == {Kind.SAME}
    assert everything(bucket) == before


def test_planning_touches_nothing(bucket: Bucket, address: str, release_key: ReleaseKey, consumer: Consumer) -> None:
    plan = plan_publication(wanted_release(release_key), bucket, consumer)

    assert {action.key for action in plan.writes} == expected_keys()
    assert list(bucket.list("")) == []
    assert not Path(address).exists()


def test_a_higher_serial_and_a_newer_tool_move_the_pointers_and_keep_what_was_there(
    bucket: Bucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    publish(wanted_release(release_key), bucket, consumer)
    before = everything(bucket)

    publication = publish(wanted_release(release_key, version="0.2.0", serial=2), bucket, consumer)

    after = everything(bucket)
    assert after.keys() == expected_keys() | expected_keys("0.2.0", 2)
    versioned = {key for key in before if isinstance(layout.read_key(key), ManifestId) and "/1/" in key}
    versioned |= {key for key in before if key.startswith("tool/0.1.0/")}
    assert {key: after[key] for key in versioned} == {key: before[key] for key in versioned}
    assert after[POINTER] == after[FIRST.replace("/1/", "/2/")]
    assert after["tool/dkp-fips-tool"] == tool_bytes("0.2.0")
    assert consumer_problems(after.get, consumer) == []
    order = [action.key for action in publication.written if action.key.startswith("tool/dkp")]
    assert order == ["tool/dkp-fips-tool.asc", "tool/dkp-fips-tool.sha256", "tool/dkp-fips-tool"]
    assert [record.serial for record in index.read(after["index.json"]).manifests] == [2, 2, 1, 1]


def test_what_is_too_large_to_be_of_another_release_is_left_out_and_stops_nobody(
    tmp_path: Path, release_key: ReleaseKey, consumer: Consumer
) -> None:
    root, bucket = tmp_path / "bucket", open_bucket(str(tmp_path / "bucket"))
    publish(wanted_release(release_key, kubernetes="v1.20.1"), bucket, consumer)
    large = [
        "tool/manifests/v1.9.9/1/manifest-rhel8.json.asc",
        "tool/manifests/v1.20.1/manifest-rhel8.json.asc",
        *(f"tool/9.9.9/dkp-fips-tool{suffix}" for suffix in ("", ".sha256", ".asc")),
    ]
    for key in large:
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        with (root / key).open("wb") as file:
            file.truncate(17 << 20)

    plan = publish(wanted_release(release_key), bucket, consumer).plan

    for key in large[:3]:
        assert any(line.startswith(f"{key}: ") and "larger" in line for line in plan.left_out), plan.left_out
    told = index.read(data(bucket, "index.json"))
    assert {item.kubernetes for item in told.manifests} == {KUBERNETES, "v1.20.1"}
    assert [tool.version for tool in told.tools] == ["0.1.0"]
    # Under a key of this layout, it is a conflict.
    with pytest.raises(NotAnObject, match="larger") as caught:
        publish(wanted_release(release_key, kubernetes="v1.20.1"), bucket, consumer)
    assert "move it away" in caught.value.advice


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_in_a_directory_the_tool_can_be_run_and_everything_be_read_whatever_the_umask(
    tmp_path: Path, release_key: ReleaseKey, consumer: Consumer, umask: int
) -> None:
    (tmp_path / "bucket").mkdir()
    before = os.umask(umask)
    try:
        publish(wanted_release(release_key), open_bucket(str(tmp_path / "bucket")), consumer)
    finally:
        os.umask(before)

    tool = tmp_path / "bucket" / "tool" / "dkp-fips-tool"
    assert subprocess.run([tool], capture_output=True, check=True).stdout.startswith(b"0.1.0\n")
    modes = {path: path.stat().st_mode & 0o7777 for path in (tmp_path / "bucket").rglob("*")}
    programs = {tool, tool.parent / "0.1.0" / "dkp-fips-tool"}
    assert {path for path, mode in modes.items() if path.is_file() and mode == 0o755} == programs
    assert {mode for path, mode in modes.items() if path.is_file() and path not in programs} == {0o644}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o755}


def test_the_commands_on_the_page_do_what_they_say_as_they_stand_there(
    tmp_path: Path, release_key: ReleaseKey, consumer: Consumer
) -> None:
    root, reader = tmp_path / "bucket", tmp_path / "reader"
    publish(wanted_release(release_key), open_bucket(str(root)), consumer)
    reader.mkdir()
    shutil.copy(next(release_key.trust.glob("*.asc")), reader / "release-key.asc")
    boxes = re.findall(r"<pre[^>]*><code>(.*?)</code></pre>", (root / "index.html").read_text(), re.DOTALL)
    commands = html.unescape("\n".join(boxes))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    gnupg = Path(tempfile.mkdtemp(prefix="gnupg-"))
    environment = {"PATH": path, "HOME": str(tmp_path), "GNUPGHOME": str(gnupg)}
    serve = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        commands = commands.replace("BASE=https://...", f"BASE=http://127.0.0.1:{server.server_address[1]}")
        commands = commands.replace("FPR=...", f"FPR={release_key.fingerprint}")

        run = subprocess.run(
            ["bash", "-ceu", commands], cwd=reader, env=environment, capture_output=True, text=True, check=False
        )
        server.shutdown()
    shutil.rmtree(gnupg)

    assert run.returncode == 0, run.stderr
    assert "dkp-fips-tool: OK" in run.stdout
    # The output of the tests' own tool, and the behaviour of `fipsmanifest verify`.
    assert "0.1.0\n" in run.stdout
    assert release_key.fingerprint in run.stdout
