"""Publishing to a real S3 server and to a folder: one behaviour, two stores."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import html
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.errors import Conflict, FipsManifestError, NotTrusted, Refused
from fipsmanifest.publish import index, layout
from fipsmanifest.publish.action import Kind
from fipsmanifest.publish.address import open_bucket
from fipsmanifest.publish.audit import audit
from fipsmanifest.publish.bucket import Absent, Bucket, Matches, NotAnObject
from fipsmanifest.publish.consumer import Consumer
from fipsmanifest.publish.page import render
from fipsmanifest.publish.publisher import plan_publication, publish
from fipsmanifest.publish.request import PublishRequest
from fipsmanifest.publish.snapshot import published_manifest
from tests.support.releases import (
    KUBERNETES,
    ReleaseKey,
    consumer_problems,
    document,
    expected_keys,
    payload,
    tool_bytes,
    wanted_manifest,
    wanted_release,
    wanted_tool,
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
    """Write as a stranger would: over whatever is there."""
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


def test_another_payload_under_a_published_serial_stops_before_the_first_write(
    bucket: Bucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    publish(wanted_release(release_key), bucket, consumer)
    before = everything(bucket)
    changed = PublishRequest(
        (wanted_manifest(release_key, kubelet=b"another", at="20261122T120000"), wanted_manifest(release_key, el=7)),
        wanted_tool(release_key, "0.2.0"),
    )

    with pytest.raises(Conflict) as caught:
        publish(changed, bucket, consumer)

    assert caught.value.exit_code == 6
    for expected in (
        hashlib.sha256(payload()).hexdigest(),
        hashlib.sha256(payload(kubelet=b"another")).hexdigest(),
        "2026-11-20 10:00:00",
        "2026-11-22 12:00:00",
        release_key.fingerprint,
    ):
        assert expected in caught.value.message
    assert everything(bucket) == before


def test_another_tool_under_a_published_version_is_a_conflict(
    bucket: Bucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    publish(wanted_release(release_key), bucket, consumer)
    before = everything(bucket)
    other = tool_bytes() + b"exit 0\n"
    tool = wanted_tool(release_key)
    changed = PublishRequest((), type(tool)(tool.version, other, release_key.detach(other)))

    with pytest.raises(FipsManifestError) as caught:
        publish(changed, bucket, consumer)

    assert caught.value.exit_code == 6
    assert hashlib.sha256(other).hexdigest() in str(caught.value)
    assert hashlib.sha256(tool_bytes()).hexdigest() in str(caught.value)
    assert everything(bucket) == before


def test_a_higher_serial_and_a_newer_tool_move_the_pointers_and_keep_what_was_there(
    bucket: Bucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    publish(wanted_release(release_key), bucket, consumer)
    before = everything(bucket)

    publication = publish(wanted_release(release_key, version="0.2.0", serial=2), bucket, consumer)

    after = everything(bucket)
    assert after.keys() == expected_keys() | expected_keys("0.2.0", 2)
    versioned = {key for key in before if isinstance(layout.read_key(key), layout.ManifestKey) and "/1/" in key}
    versioned |= {key for key in before if key.startswith("tool/0.1.0/")}
    assert {key: after[key] for key in versioned} == {key: before[key] for key in versioned}
    assert after[POINTER] == after[FIRST.replace("/1/", "/2/")]
    assert after["tool/dkp-fips-tool"] == tool_bytes("0.2.0")
    assert consumer_problems(after.get, consumer) == []
    order = [action.key for action in publication.written if action.key.startswith("tool/dkp")]
    assert order == ["tool/dkp-fips-tool.asc", "tool/dkp-fips-tool.sha256", "tool/dkp-fips-tool"]
    assert [record.serial for record in index.read(after["index.json"]).manifests] == [2, 2, 1, 1]


def test_publishing_an_older_release_again_leaves_the_pointers_at_the_newer_one(
    bucket: Bucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    publish(wanted_release(release_key), bucket, consumer)
    publish(wanted_release(release_key, version="0.2.0", serial=2), bucket, consumer)
    before = everything(bucket)

    publication = publish(wanted_release(release_key), bucket, consumer)

    assert publication.written == ()
    assert everything(bucket) == before


def test_a_lower_serial_that_was_never_published_is_a_conflict(
    bucket: Bucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    publish(wanted_release(release_key, serial=3), bucket, consumer)

    with pytest.raises(FipsManifestError, match=r"Serial 3 .* is published already") as caught:
        publish(wanted_release(release_key, serial=2), bucket, consumer)

    assert caught.value.exit_code == 6


@pytest.mark.parametrize(
    "key", ["index.html", "index.json", POINTER, "tool/dkp-fips-tool", "tool/dkp-fips-tool.sha256", FIRST]
)
def test_a_strangers_object_in_our_place_is_a_conflict_and_stays(
    bucket: Bucket, release_key: ReleaseKey, consumer: Consumer, key: str
) -> None:
    put(bucket, key, b"<html>a stranger's</html>")

    with pytest.raises(FipsManifestError) as caught:
        publish(wanted_release(release_key), bucket, consumer)

    assert caught.value.exit_code == 6
    assert key in str(caught.value)
    assert everything(bucket) == {key: b"<html>a stranger's</html>"}


def test_other_objects_in_the_bucket_are_left_alone(
    bucket: Bucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    put(bucket, "README.txt", b"ours since 2021")
    put(bucket, "tool/notes/old", b"something else")

    publish(wanted_release(release_key), bucket, consumer)

    assert everything(bucket).keys() == expected_keys() | {"README.txt", "tool/notes/old"}
    assert data(bucket, "README.txt") == b"ours since 2021"


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
    # In one's own way it is in the way.
    with pytest.raises(NotAnObject, match="larger") as caught:
        publish(wanted_release(release_key, kubernetes="v1.20.1"), bucket, consumer)
    assert "move it away" in caught.value.advice


def test_a_manifest_that_names_an_unpublished_tool_is_refused(
    bucket: Bucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    wanted = PublishRequest((wanted_manifest(release_key, tool="0.9.0"),), wanted_tool(release_key, "0.1.0"))

    with pytest.raises(Refused, match=r"names the tool 0\.9\.0"):
        publish(wanted, bucket, consumer)

    assert everything(bucket) == {}


def test_a_manifest_is_not_published_under_another_version_el_or_serial(
    bucket: Bucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    signed = wanted_manifest(release_key).signed
    manifest = type(wanted_manifest(release_key))
    for kubernetes, name, serial in (("v1.21.4", "rhel8", 1), (KUBERNETES, "rhel7", 1), (KUBERNETES, "rhel8", 2)):
        with pytest.raises(NotTrusted):
            publish(
                PublishRequest((manifest(kubernetes, name, serial, signed),), wanted_tool(release_key)),
                bucket,
                consumer,
            )

    assert everything(bucket) == {}


def test_what_the_wrong_key_signed_is_not_published(bucket: Bucket, consumer: Consumer, other_key: ReleaseKey) -> None:
    with pytest.raises(NotTrusted):
        publish(wanted_release(other_key), bucket, consumer)

    assert everything(bucket) == {}


def test_a_manifest_that_was_tampered_with_in_the_bucket_is_a_conflict_that_says_so(
    bucket: Bucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    publish(wanted_release(release_key), bucket, consumer)
    put(bucket, FIRST, data(bucket, FIRST).replace(b'"0755"', b'"4755"'))

    with pytest.raises(FipsManifestError, match="does not verify") as caught:
        publish(wanted_release(release_key), bucket, consumer)

    assert caught.value.exit_code == 6


def test_the_pipeline_finds_what_is_published_before_it_signs(
    bucket: Bucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    assert published_manifest(bucket, KUBERNETES, "rhel8", consumer) is None
    publish(wanted_release(release_key), bucket, consumer)
    publish(wanted_release(release_key, serial=2), bucket, consumer)

    newest = published_manifest(bucket, KUBERNETES, "rhel8", consumer)
    first = published_manifest(bucket, KUBERNETES, "rhel8", consumer, serial=1)

    assert newest is not None and newest[1].payload == payload(serial=2)
    assert newest[1].fingerprint == release_key.fingerprint
    assert first is not None and first[1].payload == payload()
    assert published_manifest(bucket, KUBERNETES, "rhel9", consumer) is None


def test_an_index_that_was_lost_or_is_stale_is_made_again_from_what_is_there(
    bucket: Bucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    publish(wanted_release(release_key), bucket, consumer)
    good = everything(bucket)
    put(bucket, "index.json", index.write(index.PublishedContents()))

    publication = publish(PublishRequest(), bucket, consumer)

    assert [action.key for action in publication.written] == ["index.json"]
    assert everything(bucket) == good


def _lie(told: dict[str, Any], field: str, value: Any) -> None:
    told["manifests"][-1][field] = value


def _lie_about_a_verdict(told: dict[str, Any]) -> None:
    told["manifests"][-1]["components"][0]["verdict"] = "trustme"


def _lie_about_a_tool(told: dict[str, Any]) -> None:
    told["tools"][0]["version"] = "9" * 5000


@pytest.mark.parametrize(
    "lie",
    [
        functools.partial(_lie, field="kubernetes", value="v" + "9" * 5000),
        functools.partial(_lie, field="name", value="../evil"),
        functools.partial(_lie, field="reason", value="\ud800"),
        functools.partial(_lie, field="sha256", value="00" * 32),
        functools.partial(_lie, field="el", value=7),
        _lie_about_a_verdict,
        _lie_about_a_tool,
    ],
)
def test_what_somebody_wrote_into_the_index_is_found_by_an_audit_and_made_again_by_the_next_publication(
    tmp_path: Path, release_key: ReleaseKey, consumer: Consumer, lie: Callable[[dict[str, Any]], None]
) -> None:
    bucket = open_bucket(str(tmp_path / "bucket"))
    publish(wanted_release(release_key), bucket, consumer)
    good = everything(bucket)
    told = json.loads(good["index.json"])
    lie(told)
    put(bucket, "index.json", json.dumps(told).encode())

    found = audit(bucket, consumer)
    publish(PublishRequest(), bucket, consumer)

    assert [(finding.key, finding.code, finding.exit_code) for finding in found.findings] == [
        ("index.json", "index", 1),
    ]
    assert everything(bucket) == good


def test_an_index_of_an_older_version_is_completed_by_the_next_publication_and_still_names_what_is_lost(
    tmp_path: Path, release_key: ReleaseKey, consumer: Consumer
) -> None:
    bucket = open_bucket(str(tmp_path / "bucket"))
    publish(wanted_release(release_key), bucket, consumer)
    good = everything(bucket)
    document = json.loads(good["index.json"])
    for record in document["manifests"]:
        del record["signer"]
        for part in record["components"]:
            del part["certificates"], part["reason"]
    older = json.dumps(document, indent=2, sort_keys=True).encode() + b"\n"
    put(bucket, "index.json", older)
    digest = re.compile(rb'(name="index-sha256" content=")[0-9a-f]{64}')
    put(bucket, "index.html", digest.sub(rb"\g<1>" + hashlib.sha256(older).hexdigest().encode(), good["index.html"]))

    publish(PublishRequest(), bucket, consumer)
    assert everything(bucket) == good

    put(bucket, "index.json", older)
    (tmp_path / "bucket" / document["manifests"][0]["key"]).unlink()
    with pytest.raises(Conflict, match="missing"):
        publish(PublishRequest(), bucket, consumer)


def test_what_is_published_again_is_told_as_it_is_though_index_and_page_lie_alike(
    tmp_path: Path, release_key: ReleaseKey, consumer: Consumer
) -> None:
    bucket, wanted = open_bucket(str(tmp_path / "bucket")), wanted_release(release_key)
    publish(wanted, bucket, consumer)
    good = everything(bucket)
    told = index.read(good["index.json"])
    lies = dataclasses.replace(
        told, manifests=tuple(dataclasses.replace(record, sha256="00" * 32, reason="!") for record in told.manifests)
    )
    put(bucket, "index.json", index.write(lies))
    put(bucket, "index.html", render(lies))

    publish(wanted, bucket, consumer)

    assert everything(bucket) == good


def test_an_index_and_a_page_that_lie_alike_are_found_and_made_anew_once_one_of_them_is_moved_away(
    tmp_path: Path, release_key: ReleaseKey, consumer: Consumer
) -> None:
    bucket = open_bucket(str(tmp_path / "bucket"))
    publish(wanted_release(release_key), bucket, consumer)
    good = everything(bucket)
    told = index.read(good["index.json"])
    lies = dataclasses.replace(told, manifests=tuple(dataclasses.replace(item, reason="!") for item in told.manifests))
    put(bucket, "index.json", index.write(lies))
    put(bucket, "index.html", render(lies))

    assert {(found.key, found.exit_code) for found in audit(bucket, consumer).findings} == {
        ("index.json", 1),
        ("index.html", 1),
    }
    (tmp_path / "bucket" / "index.html").unlink()
    publish(PublishRequest(), bucket, consumer)

    assert everything(bucket) == good


def test_after_a_key_is_revoked_a_reissue_by_another_key_takes_the_pointers_and_the_index(
    bucket: Bucket, release_key: ReleaseKey, consumer: Consumer, other_key: ReleaseKey, tmp_path: Path
) -> None:
    publish(wanted_release(release_key), bucket, consumer)
    today = release_key.revoked(tmp_path / "trust", other_key)
    assert published_problem(bucket, today) == "revoked"

    publish(wanted_release(other_key, version="0.2.0", serial=2), bucket, today)

    there = everything(bucket)
    assert there[POINTER] == there[FIRST.replace("/1/", "/2/")]
    assert there["tool/dkp-fips-tool"] == tool_bytes("0.2.0")
    assert [record.serial for record in index.read(there["index.json"]).manifests] == [2, 2]
    assert consumer_problems(there.get, today) == []


def published_problem(bucket: Bucket, consumer: Consumer) -> str:
    with pytest.raises(NotTrusted) as caught:
        published_manifest(bucket, KUBERNETES, "rhel8", consumer)
    return "revoked" if "revoked" in caught.value.message else caught.value.message


def test_a_plan_as_json_says_what_would_be_done_and_with_which_bytes(
    bucket: Bucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    wanted = wanted_release(release_key)

    actions = plan_publication(wanted, bucket, consumer).document()["actions"]

    assert {action["action"] for action in actions} == {"create"}
    by_key = {action["key"]: action for action in actions}
    assert by_key[FIRST]["sha256"] == hashlib.sha256(wanted.manifests[1].signed).hexdigest()
    assert [action["step"] for action in actions if action["key"].startswith("tool/dkp")] == [
        "tool-signature-pointer",
        "tool-sidecar-pointer",
        "tool-pointer",
    ]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_in_a_folder_the_tool_can_be_run_and_everything_be_read_whatever_the_umask(
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


def test_the_index_says_what_changed_since_the_serial_before_and_no_more_than_fits(
    bucket: Bucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    (kubelet,) = document()["files"]
    many = [{**kubelet, "path": f"/opt/{'x' * 300}/{number}"} for number in range(40)]
    publish(wanted_release(release_key), bucket, consumer)
    publish(wanted_release(release_key, serial=2, files=[kubelet, *many]), bucket, consumer)
    publish(wanted_release(release_key, serial=3, files=[kubelet, *many], kubelet=b"x"), bucket, consumer)

    records = {item.serial: item for item in index.read(data(bucket, "index.json")).manifests if item.el == 8}

    assert (records[1].since, records[1].changes) == (0, ())
    assert records[2].since == 1
    assert len(records[2].changes) == 13
    assert records[2].changes[0].startswith("kubelet: /opt/xxx")
    assert records[2].changes[-1] == "and 28 more"
    assert max(map(len, records[2].changes)) <= 160
    # `files` was given, so the third says what the second says.
    assert (records[3].since, records[3].changes) == (2, ())


def test_after_a_revocation_changes_are_told_since_a_serial_that_is_still_good(
    bucket: Bucket, release_key: ReleaseKey, other_key: ReleaseKey, tmp_path: Path
) -> None:
    both = release_key.revoked(tmp_path / "both", other_key, "active")
    publish(wanted_release(release_key), bucket, both)
    publish(wanted_release(other_key, version="0.2.0", serial=2, kubelet=b"x"), bucket, both)
    before = [(item.serial, item.since) for item in index.read(data(bucket, "index.json")).manifests if item.el == 8]
    today = release_key.revoked(tmp_path / "today", other_key)

    publish(PublishRequest(), bucket, today)

    after = index.read(data(bucket, "index.json"))
    assert before == [(2, 1), (1, 0)]
    assert [(item.serial, item.since, item.changes) for item in after.manifests if item.el == 8] == [(2, 0, ())]
    assert [tool.version for tool in after.tools] == ["0.2.0"]
    # The audit, which believes no index, comes to the same.
    assert audit(bucket, today).findings == ()


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
    # What the tool of these tests says, and what `fipsmanifest verify` does.
    assert "0.1.0\n" in run.stdout
    assert release_key.fingerprint in run.stdout
