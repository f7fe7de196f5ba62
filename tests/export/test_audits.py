"""An audit as JUnit XML and as metrics, of a real bucket."""

from __future__ import annotations

from pathlib import Path

from fipsmanifest.publish.address import open_bucket
from fipsmanifest.publish.publisher import publish
from tests.export.test_formats import junit, prometheus
from tests.support import command
from tests.support.releases import ReleaseKey, wanted_release

MANIFEST = "tool/manifests/v1.21.3/1/manifest-rhel8.json.asc"


def audit(release_key: ReleaseKey, bucket: Path, directory: Path) -> tuple[int, str, str]:
    """Return the exit code, the JUnit file and the metrics."""
    files = ("--junit", directory / "audit.xml", "--metrics", directory / "audit.prom")
    done = command.run("audit", bucket, "--keys", release_key.trust, "--wait", "0", *files)
    return done.returncode, (directory / "audit.xml").read_text(), (directory / "audit.prom").read_text()


def test_a_clean_bucket_passes_in_both_and_a_changed_one_fails_in_both(release_key: ReleaseKey, tmp_path: Path) -> None:
    bucket = tmp_path / "bucket"
    publish(wanted_release(release_key, expires="2099-01-01T00:00:00Z"), open_bucket(str(bucket)), release_key.consumer)

    code, xml, text = audit(release_key, bucket, tmp_path)
    outcomes, found = junit(xml), prometheus(text)
    assert code == 0
    assert outcomes[f"manifest: {MANIFEST}"] == "pass"
    assert set(outcomes.values()) == {"pass"}
    assert found["fipsmanifest_audit_exit_code", ()] == 0
    assert found["fipsmanifest_audit_verified", (("kind", "manifest"),)] == 2
    assert found["fipsmanifest_audit_findings", (("code", "signature"),)] == 0
    # date -u -d 2099-01-01 +%s
    ends = ("fipsmanifest_audit_manifest_expires_timestamp_seconds", (("kubernetes", "v1.21.3"), ("manifest", "rhel8")))
    assert found[ends] == 4070908800

    (bucket / MANIFEST).write_bytes((bucket / MANIFEST).read_bytes().replace(b'"serial": 1', b'"serial": 7'))
    (bucket / "tool" / '<&"x').write_bytes(b"")
    code, xml, text = audit(release_key, bucket, tmp_path)
    outcomes, found = junit(xml), prometheus(text)
    assert code == 3
    assert outcomes[f"finding: {MANIFEST}"] == "failure"
    assert outcomes['finding: tool/<&"x'] == "failure"
    assert found["fipsmanifest_audit_exit_code", ()] == 3
    assert found["fipsmanifest_audit_findings", (("code", "signature"),)] >= 1
    assert found["fipsmanifest_audit_untrusted", ()] >= 1


def test_a_bucket_without_anything_is_no_pass(release_key: ReleaseKey, tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    code, xml, text = audit(release_key, tmp_path / "bucket", tmp_path)

    assert code == 1
    assert set(junit(xml).values()) == {"failure"}
    assert prometheus(text)["fipsmanifest_audit_exit_code", ()] == 1


def test_an_audit_that_could_not_be_made_leaves_no_junit_file_of_an_earlier_one(
    release_key: ReleaseKey, tmp_path: Path
) -> None:
    bucket = tmp_path / "bucket"
    publish(wanted_release(release_key), open_bucket(str(bucket)), release_key.consumer)
    audit(release_key, bucket, tmp_path)

    written = ("--junit", tmp_path / "audit.xml")
    before = (tmp_path / "audit.xml").read_bytes()

    nobody = ("s3://bucket", "--endpoint-url", "http://127.0.0.1:9")
    for words, code in (
        ((*nobody, "--keys", release_key.trust), 4),
        ((bucket, "--keys", tmp_path), 3),
        ((tmp_path / "missing", "--keys", release_key.trust), 2),
    ):
        (tmp_path / "audit.xml").write_bytes(before)
        command.run("audit", *words, *written, code=code)

        assert not (tmp_path / "audit.xml").exists()
