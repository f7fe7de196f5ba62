"""The audit finds changes that the publisher did not make."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from fipsmanifest.publish.address import open_bucket
from fipsmanifest.publish.audit import audit
from fipsmanifest.publish.bucket import Bucket, Condition, Entry
from fipsmanifest.publish.consumer import Consumer
from fipsmanifest.publish.index import PublishedCertificate
from fipsmanifest.publish.publisher import publish
from fipsmanifest.publish.request import PublishRequest
from fipsmanifest.sign.listing import list_keys
from tests.support import command
from tests.support.releases import ReleaseKey, wanted_manifest, wanted_release

FIRST = "tool/manifests/v1.21.3/1/manifest-rhel8.json.asc"
SECOND = "tool/manifests/v1.21.3/2/manifest-rhel8.json.asc"
POINTER = "tool/manifests/v1.21.3/manifest-rhel8.json.asc"


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReleaseKey]:
    key = ReleaseKey.make(tmp_path_factory.mktemp("stranger"), "Stranger")
    yield key
    key.remove()


def publish_two(bucket: Bucket, key: ReleaseKey) -> None:
    publish(wanted_release(key), bucket, key.consumer)
    publish(wanted_release(key, version="0.2.0", serial=2), bucket, key.consumer)


def test_a_published_bucket_is_clean(bucket: Bucket, release_key: ReleaseKey, consumer: Consumer) -> None:
    publish_two(bucket, release_key)

    result = audit(bucket, consumer)

    assert result.findings == ()
    assert result.exit_code == 0
    assert [record.serial for record in result.published.manifests] == [2, 2, 1, 1]
    assert [tool.version for tool in result.published.tools] == ["0.2.0", "0.1.0"]


def test_an_empty_bucket_is_no_pass(bucket: Bucket, consumer: Consumer) -> None:
    assert audit(bucket, consumer).exit_code == 1


def _flip(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"0755"', b'"4755"', 1))


def _append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"#")


def _copy_from(other: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        root = next(parent for parent in path.parents if parent.name == "bucket")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((root / other).read_bytes())

    return damage


def _enlarge(path: Path) -> None:
    with path.open("ab") as file:
        file.truncate(16 * 1024 * 1024 + 1)


def _make_directory(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir(parents=True)


def _make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")


@pytest.mark.parametrize(
    ("key", "damage", "code", "exit_code"),
    [
        (FIRST, _flip, "signature", 3),
        (FIRST, _copy_from(SECOND), "signature", 3),
        (FIRST.replace("/1/", "/7/"), _copy_from(FIRST), "signature", 3),
        # A manifest without a name is its EL's own.
        (FIRST.replace("rhel8", "rhel-84"), _copy_from(FIRST), "signature", 3),
        (FIRST.replace("rhel8", "ubuntu"), _copy_from(FIRST), "signature", 3),
        (POINTER, _copy_from(FIRST), "pointer", 1),
        (POINTER, Path.unlink, "missing", 1),
        ("tool/manifests/v1.21.3/manifest-rhel9.json.asc", _copy_from(POINTER), "pointer", 3),
        ("tool/manifests/v1.30.0/manifest-rhel8.json.asc", _create, "pointer", 3),
        ("tool/9.9.9/dkp-fips-tool", _create, "unsigned", 3),
        ("tool/0.2.0/dkp-fips-tool", _append, "signature", 3),
        ("tool/0.2.0/dkp-fips-tool.asc", Path.unlink, "missing", 3),
        ("tool/0.2.0/dkp-fips-tool.sha256", Path.unlink, "missing", 1),
        ("tool/0.2.0/dkp-fips-tool.sha256", _copy_from("tool/0.1.0/dkp-fips-tool.sha256"), "sidecar", 1),
        ("tool/dkp-fips-tool", _copy_from("tool/0.1.0/dkp-fips-tool"), "pointer", 1),
        ("tool/0.2.0/backdoor", _create, "foreign", 1),
        ("tool/manifests/v1.21.3/manifest-rhel8.json", _create, "foreign", 1),
        (FIRST, _enlarge, "size", 1),
        ("tool/0.2.0/dkp-fips-tool", _enlarge, "size", 1),
        ("index.html", _enlarge, "size", 1),
        ("index.json", _append, "index", 1),
        ("index.html", Path.unlink, "missing", 1),
        ("index.html", _make_directory, "foreign", 1),
        ("index.json", _make_pipe, "foreign", 1),
        (POINTER, _make_directory, "missing", 1),
    ],
)
def test_whatever_is_changed_is_found_and_named(
    tmp_path: Path,
    release_key: ReleaseKey,
    consumer: Consumer,
    key: str,
    damage: Callable[[Path], None],
    code: str,
    exit_code: int,
) -> None:
    bucket = open_bucket(str(tmp_path / "bucket"))
    publish_two(bucket, release_key)
    damage(tmp_path / "bucket" / key)

    result = audit(bucket, consumer)

    found = [finding for finding in result.findings if finding.code == code]
    assert any(finding.key.startswith(key) for finding in found), result.findings
    assert all(finding.advice for finding in result.findings)
    assert result.exit_code == exit_code


@pytest.mark.parametrize("files", [("",), ("", ".asc", ".sha256")])
def test_a_tool_that_nobody_signed_is_found_where_nothing_else_is_published(
    tmp_path: Path, consumer: Consumer, files: tuple[str, ...]
) -> None:
    for suffix in files:
        _create(tmp_path / "bucket" / f"tool/dkp-fips-tool{suffix}")

    result = audit(open_bucket(str(tmp_path / "bucket")), consumer)

    assert ("tool/dkp-fips-tool", "signature", 3) in {
        (found.key, found.code, found.exit_code) for found in result.findings
    }


def test_the_pointer_of_a_release_that_is_gone_is_found_and_is_no_forgery(
    tmp_path: Path, release_key: ReleaseKey, consumer: Consumer
) -> None:
    bucket = open_bucket(str(tmp_path / "bucket"))
    publish_two(bucket, release_key)
    for key in (FIRST, SECOND):
        (tmp_path / "bucket" / key).unlink()

    found = {(finding.key, finding.code, finding.exit_code) for finding in audit(bucket, consumer).findings}

    assert found == {
        (POINTER, "pointer", 1),
        (FIRST, "lost", 1),
        (SECOND, "lost", 1),
        ("index.json", "index", 1),
        ("index.html", "index", 1),
    }


def _publish_serials(bucket: Bucket, key: ReleaseKey, days: dict[int, str]) -> None:
    for serial, day in days.items():
        publish(wanted_release(key, serial=serial, at=f"202611{day}T100000"), bucket, key.consumer)


def test_a_serial_that_was_signed_before_the_one_it_follows_is_found_until_another_one_follows(
    tmp_path: Path, release_key: ReleaseKey, consumer: Consumer
) -> None:
    bucket = open_bucket(str(tmp_path / "bucket"))
    # A day is what the verifier allows for clocks.
    _publish_serials(bucket, release_key, {1: "18", 2: "17"})
    assert audit(bucket, consumer).findings == ()

    _publish_serials(bucket, release_key, {3: "15"})
    wrong = audit(bucket, consumer)
    _publish_serials(bucket, release_key, {4: "20"})
    after = audit(bucket, consumer)

    assert [(found.key, found.code, found.exit_code) for found in wrong.findings] == [
        (FIRST.replace("/1/", "/3/").replace("rhel8", f"rhel{el}"), "serial", 1) for el in (7, 8)
    ]
    assert "2026-11-15T10:00:00Z, before serial 2" in wrong.findings[0].message
    assert (after.findings, [note.key for note in after.notes]) == ((), [found.key for found in wrong.findings])


def test_serials_that_are_not_there_between_others_are_noted(
    tmp_path: Path, release_key: ReleaseKey, consumer: Consumer
) -> None:
    bucket = open_bucket(str(tmp_path / "bucket"))
    _publish_serials(bucket, release_key, {2: "11", 3: "12", 5: "13", 9: "14"})

    result = audit(bucket, consumer)

    assert result.exit_code == 0
    assert [note.message for note in result.notes if note.key == POINTER] == [
        f"{POINTER} has no serial 4.",
        f"{POINTER} has no serials 6 to 8.",
    ]


class Meanwhile:
    """A bucket to which another publisher writes right after it was listed."""

    def __init__(self, bucket: Bucket, act: Callable[[], object]) -> None:
        self.get, self.put, self.describe, self.sweep = bucket.get, bucket.put, bucket.describe, bucket.sweep
        self._bucket, self._acts = bucket, [act]

    def list(self, prefix: str) -> Iterator[Entry]:
        found = list(self._bucket.list(prefix))
        for act in self._acts:
            act()
        self._acts = []
        yield from found


def test_what_is_published_while_an_audit_reads_is_no_finding(
    bucket: Bucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    publish(wanted_release(release_key), bucket, consumer)
    second, third = (wanted_release(release_key, version=f"0.{serial}.0", serial=serial) for serial in (2, 3))

    # The listing of before has pointers to what is not in it, as with a forgery.
    one_look = audit(Meanwhile(bucket, lambda: publish(second, bucket, consumer)), consumer)
    patient = audit(Meanwhile(bucket, lambda: publish(third, bucket, consumer)), consumer, patience=5)

    assert one_look.exit_code == 3
    assert patient.findings == ()
    assert patient.published.manifests[0].serial == 3


def test_what_a_killed_publisher_left_is_reported_once_nothing_changes_any_more(
    tmp_path: Path, release_key: ReleaseKey, consumer: Consumer
) -> None:
    bucket = open_bucket(str(tmp_path / "bucket"))
    publish_two(bucket, release_key)
    (tmp_path / "bucket" / POINTER).write_bytes((tmp_path / "bucket" / FIRST).read_bytes())
    began = time.monotonic()

    result = audit(bucket, consumer, patience=1.5)

    assert [(found.key, found.code, found.exit_code) for found in result.findings] == [(POINTER, "pointer", 1)]
    assert 1.5 <= time.monotonic() - began < 30


def test_what_no_publication_explains_is_reported_at_once(
    tmp_path: Path, release_key: ReleaseKey, consumer: Consumer
) -> None:
    bucket = open_bucket(str(tmp_path / "bucket"))
    publish_two(bucket, release_key)
    _flip(tmp_path / "bucket" / FIRST)
    (tmp_path / "bucket" / POINTER).unlink()
    began = time.monotonic()

    assert audit(bucket, consumer, patience=60).exit_code == 3
    assert time.monotonic() - began < 30


def test_an_audit_beside_a_publisher_finds_nothing_however_often_it_is_run(
    tmp_path: Path, release_key: ReleaseKey, consumer: Consumer
) -> None:
    bucket = open_bucket(str(tmp_path / "bucket"))
    releases = [wanted_release(release_key, version=f"0.{serial}.0", serial=serial) for serial in range(1, 5)]
    publish(releases[0], bucket, consumer)

    class Slow(Meanwhile):
        def put(self, key: str, data: bytes, *, only_if: Condition, **headers: str) -> None:
            bucket.put(key, data, only_if=only_if, **headers)
            time.sleep(0.05)

    with ThreadPoolExecutor(1) as pool:
        publishing = pool.submit(lambda: [publish(one, Slow(bucket, int), consumer) for one in releases[1:]])
        audits = []
        while not publishing.done():
            audits.append(audit(bucket, consumer, patience=5).findings)
        publishing.result()

    assert audits
    assert {*audits, audit(bucket, consumer).findings} == {()}


def _forged(serial: int, by: str) -> Callable[[Path, ReleaseKey, ReleaseKey], None]:
    """Put a manifest of the revoked key, or of an unknown one, under a serial."""

    def damage(bucket: Path, revoked: ReleaseKey, stranger: ReleaseKey) -> None:
        key = {"revoked": revoked, "stranger": stranger}[by]
        path = bucket / FIRST.replace("/1/", f"/{serial}/")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(wanted_manifest(key, serial=serial, tool="0.2.0").signed)

    return damage


def _pointed_back(bucket: Path, revoked: ReleaseKey, stranger: ReleaseKey) -> None:
    (bucket / POINTER).write_bytes((bucket / FIRST).read_bytes())


def _tool_pointed_back(bucket: Path, revoked: ReleaseKey, stranger: ReleaseKey) -> None:
    for suffix in ("", ".asc", ".sha256"):
        shutil.copy(bucket / f"tool/0.1.0/dkp-fips-tool{suffix}", bucket / f"tool/dkp-fips-tool{suffix}")


def _flipped(bucket: Path, revoked: ReleaseKey, stranger: ReleaseKey) -> None:
    _flip(bucket / FIRST)


def _moved(bucket: Path, revoked: ReleaseKey, stranger: ReleaseKey) -> None:
    shutil.copy(bucket / FIRST, bucket / FIRST.replace("rhel8", "rhel7"))


def _changed_tool(bucket: Path, revoked: ReleaseKey, stranger: ReleaseKey) -> None:
    _append(bucket / "tool/0.1.0/dkp-fips-tool")


def replaced_after_revocation(directory: Path, revoked: ReleaseKey, successor: ReleaseKey) -> Consumer:
    """Publish serial 1 by a key that is revoked then, serial 2 by its successor; give today's trust."""
    publish(wanted_release(revoked), open_bucket(str(directory / "bucket")), revoked.consumer)
    today = revoked.revoked(directory / "today", successor)
    publish(wanted_release(successor, version="0.2.0", serial=2), open_bucket(str(directory / "bucket")), today)
    return today


def test_what_a_revoked_key_signed_is_a_note_once_it_is_replaced(
    tmp_path: Path, release_key: ReleaseKey, other_key: ReleaseKey
) -> None:
    today = replaced_after_revocation(tmp_path, release_key, other_key)

    result = audit(open_bucket(str(tmp_path / "bucket")), today)

    assert (result.exit_code, result.findings) == (0, ())
    assert [(note.key, note.replaced_by) for note in result.notes] == [
        ("tool/0.1.0/dkp-fips-tool", "tool/0.2.0/dkp-fips-tool"),
        (FIRST.replace("rhel8", "rhel7"), SECOND.replace("rhel8", "rhel7")),
        (FIRST, SECOND),
    ]


@pytest.mark.parametrize(
    "damage",
    [_forged(3, "revoked"), _forged(1, "stranger"), _pointed_back, _tool_pointed_back, _flipped, _moved, _changed_tool],
    ids=["a higher serial", "a stranger's", "pointer back", "tool back", "changed", "elsewhere", "changed tool"],
)
def test_a_revocation_excuses_nothing_else(
    tmp_path: Path,
    release_key: ReleaseKey,
    other_key: ReleaseKey,
    stranger: ReleaseKey,
    damage: Callable[[Path, ReleaseKey, ReleaseKey], None],
) -> None:
    today = replaced_after_revocation(tmp_path, release_key, other_key)
    damage(tmp_path / "bucket", release_key, stranger)

    assert audit(open_bucket(str(tmp_path / "bucket")), today).exit_code == 3


def test_pointers_that_lead_back_to_what_is_refused_are_named_and_moved_on_by_the_next_publication(
    tmp_path: Path, release_key: ReleaseKey, other_key: ReleaseKey
) -> None:
    root, today = tmp_path / "bucket", replaced_after_revocation(tmp_path, release_key, other_key)
    for damage in (_pointed_back, _tool_pointed_back):
        damage(root, release_key, other_key)

    found = {item.key: item for item in audit(open_bucket(str(root)), today).findings if item.exit_code == 3}
    publish(PublishRequest((wanted_manifest(other_key, tool="0.2.0", serial=2),)), open_bucket(str(root)), today)

    assert found.keys() == {POINTER, "tool/dkp-fips-tool"}
    assert "has the bytes of serial 1, which is refused: " in found[POINTER].message
    assert found[POINTER].advice == "Publish that release again."
    assert "has the bytes of version 0.1.0, which is refused: " in found["tool/dkp-fips-tool"].message
    assert audit(open_bucket(str(root)), today).findings == ()


def run_audit(bucket: Path, keys: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return command.run("audit", bucket, "--keys", keys, "--wait", "0", *more)


def test_a_nightly_job_is_told_of_keys_near_their_end_and_of_certificates_by_todays_date(
    tmp_path: Path, release_key: ReleaseKey
) -> None:
    publish_two(open_bucket(str(tmp_path / "bucket")), release_key)
    keys = tmp_path / "keys"
    shutil.copytree(release_key.trust, keys)
    trust = json.loads((keys / "trust.json").read_text())

    def end(days: int) -> None:
        moment = datetime.now(UTC) + timedelta(days=days, minutes=5)
        trust["keys"] = [{**entry, "valid_to": moment.strftime("%Y-%m-%dT%H:%M:%SZ")} for entry in trust["keys"]]
        (keys / "trust.json").write_text(json.dumps(trust))

    end(29)
    keys.chmod(0o777)
    exposed = json.loads(run_audit(tmp_path / "bucket", keys, "--json").stdout)["warnings"]
    keys.chmod(0o755)
    assert len(exposed) == 2 and "Every user of this machine can write to" in exposed[0]

    run = run_audit(tmp_path / "bucket", keys, "--json")
    words = run_audit(tmp_path / "bucket", keys)

    document = json.loads(run.stdout)
    assert (run.returncode, document["findings"]) == (0, [])
    (warning,) = document["warnings"]
    assert release_key.fingerprint in warning and "29 days" in warning
    (certificate,) = document["certificates"]
    assert (certificate["number"], certificate["status"]) == (3678, "historical")
    assert "FIPS 140-2 certificate 3678 (Google, LLC): historical since 2026-09-21" in words.stdout
    assert "  warning: The lifetime of" in words.stdout and words.stdout.count("ends in 29 days: add") == 1
    for days, told in (
        (1, "ends in 1 day: add"),
        (0, "ends within a day: add"),
        (-1, "has ended: new signatures are refused"),
    ):
        end(days)
        assert told in str(list_keys(keys)[0].warning)


def test_a_certificate_is_active_until_the_day_of_its_move() -> None:
    certificate = PublishedCertificate(1, "FIPS 140-2", "Somebody", "2026-09-21")

    assert certificate.status(date(2026, 9, 20)) == "active"
    assert certificate.status(date(2026, 9, 21)) == "historical"
    assert PublishedCertificate(2, "FIPS 140-3", "Somebody", "").status(date(2030, 1, 1)) == "active"


def test_the_command_ends_with_the_code_of_the_worst_finding(tmp_path: Path, release_key: ReleaseKey) -> None:
    publish_two(open_bucket(str(tmp_path / "bucket")), release_key)
    (tmp_path / "bucket" / "index.html").unlink()
    assert run_audit(tmp_path / "bucket", release_key.trust).returncode == 1
    _flip(tmp_path / "bucket" / FIRST)

    run = run_audit(tmp_path / "bucket", release_key.trust)

    assert run.returncode == 3
    (line,) = [line for line in run.stdout.splitlines() if FIRST in line]
    assert line.startswith(f"  signature: {FIRST} does not verify: ")
    assert line.endswith("Find out who wrote it; move it away, or publish under the next serial or version.")
    assert line.count(FIRST) == 1
    assert "3 manifests and 2 tools verified, " in run.stdout


def test_the_command_waits_for_a_publication_under_way_and_says_so(tmp_path: Path, release_key: ReleaseKey) -> None:
    publish_two(open_bucket(str(tmp_path / "bucket")), release_key)
    (tmp_path / "bucket" / "index.html").unlink()

    run = run_audit(tmp_path / "bucket", release_key.trust, "--wait", "0.5")

    assert run.returncode == 1
    assert "may be caused by a publication in progress" in run.stderr
    assert "4 manifests and 2 tools verified, 1 finding." in run.stdout
