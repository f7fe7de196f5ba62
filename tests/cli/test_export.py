"""``fipsmanifest export`` as pipelines run it: what is signed is verified, and bad input ends with the usual codes."""

from __future__ import annotations

import hashlib
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.export.formats import FORMATS
from tests.export import samples
from tests.support import command, programs
from tests.support.command import PROGRAM
from tests.support.releases import ReleaseKey


@pytest.fixture(scope="module")
def signed(release_key: ReleaseKey, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the signed manifest."""
    path = tmp_path_factory.mktemp("signed") / "manifest-rhel8.json.asc"
    path.write_bytes(release_key.clearsign(canonical(samples.manifest())))
    return path


def canonical(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


def run(*arguments: str | Path, stdin: bytes = b"", code: int = 0) -> subprocess.CompletedProcess[bytes]:
    """Run `export` and expect this exit code."""
    done = command.run_bytes("export", *arguments, stdin=stdin)
    assert done.returncode == code, done.stderr.decode()
    return done


def test_a_signed_manifest_is_verified_and_the_export_says_by_whom(signed: Path, release_key: ReleaseKey) -> None:
    done = run("in-toto", signed, "--keys", release_key.trust)
    signature = json.loads(done.stdout)["predicate"]["signature"]

    assert signature == {
        "state": "verified",
        "fingerprint": release_key.fingerprint,
        "signedAt": "2026-11-20T10:00:00Z",
    }
    assert done.stderr == b""


def test_a_signature_that_does_not_hold_is_not_exported(signed: Path, release_key: ReleaseKey, tmp_path: Path) -> None:
    other = tmp_path / "changed.asc"
    other.write_bytes(signed.read_bytes().replace(b'"serial": 1', b'"serial": 2'))

    done = run("in-toto", other, "--keys", release_key.trust, code=3)
    assert done.stdout == b""
    assert run("in-toto", signed, "--keys", release_key.trust, "--fingerprint", "0" * 40, code=3).stdout == b""


def test_without_verification_the_export_and_a_note_say_so(
    signed: Path, release_key: ReleaseKey, tmp_path: Path
) -> None:
    done = run("in-toto", signed, "--unverified")
    assert json.loads(done.stdout)["predicate"]["signature"] == {"state": "not-verified"}
    assert b"not verified" in done.stderr

    payload = tmp_path / "manifest-rhel8.json"
    payload.write_bytes(canonical(samples.manifest()))
    done = run("in-toto", payload)
    assert json.loads(done.stdout)["predicate"]["signature"] == {"state": "unsigned"}
    assert b"is not signed" in done.stderr
    # With keys, a manifest must be verified.
    assert run("in-toto", payload, "--keys", release_key.trust, code=3).stdout == b""


def test_an_option_that_would_be_ignored_is_an_error(signed: Path, release_key: ReleaseKey, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_bytes(canonical(samples.node()))

    run("junit", report, "--keys", release_key.trust, code=2)
    run("junit", report, "--unverified", code=2)
    run("junit", report, "--resource-uri", "https://example.com", code=2)
    run("junit", signed, "--unverified", "--keys", release_key.trust, code=2)
    run("junit", report, "--json", code=2)
    run("cyclonedx", report, code=2)
    run("spdx", report, code=2)


def test_an_expired_manifest_is_exported_only_where_that_is_allowed(release_key: ReleaseKey, tmp_path: Path) -> None:
    expired = tmp_path / "manifest-rhel8.json.asc"
    expired.write_bytes(release_key.clearsign(canonical(samples.manifest(expires="2026-11-21T00:00:00Z"))))

    assert run("junit", expired, "--keys", release_key.trust, code=3).stdout == b""
    assert b"expired" in run("junit", expired, "--keys", release_key.trust, "--allow-expired").stderr


def test_with_a_file_the_bytes_go_there_and_json_says_what_they_are(tmp_path: Path) -> None:
    target = tmp_path / "report.xml"
    done = run("junit", "-", "--output", target, "--json", stdin=canonical(samples.node()))
    said = json.loads(done.stdout)

    assert said["sha256"] == hashlib.sha256(target.read_bytes()).hexdigest()
    assert (said["format"], said["source"]["kind"]) == ("junit", "node")
    assert run("junit", "-", stdin=canonical(samples.node())).stdout == target.read_bytes()


#: All end with 3. A sample is validated when it is made, which is not done for who only collects tests.
BAD: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "not JSON": lambda: b"\x7fELF\x02\x01\x01\x00",
    "a list": lambda: b"[]",
    "nested": lambda: b"[" * 100_000,
    "a number of many digits": lambda: b'{"schema": ' + b"1" * 10_000 + b"}",
    "another document": lambda: b'{"schema": "fipsmanifest/verify/v1", "valid": true}',
    "a newer manifest": lambda: canonical(samples.manifest(schema="fipsmanifest/v2")),
    "a manifest without files": lambda: canonical({"schema": "fipsmanifest/v1", "kubernetes": "v1.21.3"}),
    "a manifest with a key twice": lambda: b'{"schema": "fipsmanifest/v1", "schema": "fipsmanifest/v1"}',
    "a truncated manifest": lambda: canonical(samples.manifest())[:900],
    "a report without checks": lambda: b'{"schema": "fipsmanifest/node/v1", "verdict": "valid"}',
    "a report with two verdicts": lambda: b'{"verdict": "invalid",' + canonical(samples.valid_node())[1:],
    "a gate with two decisions": lambda: canonical(samples.passed_inspection()).replace(
        b'"passed": true', b'"passed": false, "passed": true'
    ),
    "an unknown verdict": lambda: canonical(samples.node()).replace(b'"verdict": "invalid"', b'"verdict": "good"'),
    "an unknown verdict of a program": lambda: canonical(samples.inspection()).replace(b'"plain"', b'"fine"'),
    "an error instead of a result": lambda: b'{"schema": "fipsmanifest/error/v1", "error": {"code": 4}}',
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_ends_with_its_code_and_without_output(name: str) -> None:
    done = run("junit", "-", stdin=BAD[name](), code=3)

    assert done.stdout == b""
    assert done.stderr.startswith(b"error: ")
    assert b"Traceback" not in done.stderr
    assert len(done.stderr) < 1000


def test_a_truncated_signed_manifest_is_refused(signed: Path, release_key: ReleaseKey, tmp_path: Path) -> None:
    cut = tmp_path / "manifest-rhel8.json.asc"
    cut.write_bytes(signed.read_bytes()[:-200])

    run("junit", cut, "--keys", release_key.trust, code=3)
    run("junit", cut, "--unverified", code=3)
    run("junit", tmp_path / "missing.json", code=2)
    run("junit", tmp_path, code=2)


def test_what_inspect_writes_is_exported_in_every_format_that_takes_it(tmp_path: Path) -> None:
    found = command.run_bytes("inspect", "--require", "proven", "--json", programs.boring()).stdout

    for name, form in FORMATS.items():
        if "inspection" in form.takes:
            assert run(name, "-", stdin=found).stdout != b""
    assert json.loads(run("in-toto", "-", stdin=found).stdout)["predicate"]["verificationResult"] == "PASSED"


def _limited() -> None:
    # The address space is larger than what is resident: interpreter and libraries are mapped.
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))


@pytest.mark.parametrize("name", FORMATS)
def test_ten_thousand_files_take_at_most_200_mb(name: str, tmp_path: Path) -> None:
    entry = samples.program("/usr/bin/kubelet", "proven", "module-proven", component="kubelet")
    entry["crypto"]["evidence"] |= samples.EVIDENCE
    files = [{**entry, "path": f"/usr/bin/program-{number}"} for number in range(10_000)]
    document = tmp_path / "manifest-rhel8.json"
    document.write_bytes(canonical(samples.manifest(files=files)))
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, "
        "stderr=subprocess.DEVNULL); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    measured = subprocess.run(
        [sys.executable, "-c", code, PROGRAM, "export", name, document],
        capture_output=True,
        check=True,
        timeout=60,
        preexec_fn=_limited,
    )

    assert int(measured.stdout) < 200 * 1024  # KiB


@pytest.mark.parametrize(("schema", "key"), [("inspect/v1", "files"), ("node/v1", "checks"), ("v1", "files")])
def test_a_million_malformed_entries_are_one_error_in_bounded_memory(schema: str, key: str, tmp_path: Path) -> None:
    document = tmp_path / "hostile.json"
    document.write_text(f'{{"schema": "fipsmanifest/{schema}", "{key}": [{"[]," * 1_000_000}[]]}}')

    ended = subprocess.run(
        [PROGRAM, "export", "html", document], capture_output=True, text=True, timeout=120, preexec_fn=_limited
    )

    assert (ended.returncode, len(ended.stderr) < 1000) == (3, True), ended.stderr[:1000]


def test_more_entries_than_a_report_can_have_are_refused(tmp_path: Path) -> None:
    document = tmp_path / "hostile.json"
    checks = [samples.check("files", "/usr/bin/kubelet", "pass")] * 200_001
    # Not as samples.node(checks=...), which compares each with the schema.
    document.write_text(json.dumps(samples.node() | {"checks": checks}))

    refused = command.run("export", "html", document, code=3).stderr

    assert "at most 200000 items" in refused


def test_inspect_writes_the_same_findings_to_files_beside_its_output(tmp_path: Path) -> None:
    words = ("inspect", "--require", "proven", programs.boring(), programs.plain())
    files = ("--html", tmp_path / "gate.html", "--junit", tmp_path / "gate.xml", "--sarif", tmp_path / "gate.sarif")
    found = command.run_bytes(*words, "--json", *files)

    assert found.returncode == 5
    document = found.stdout
    assert (tmp_path / "gate.xml").read_bytes() == run("junit", "-", stdin=document).stdout
    assert (tmp_path / "gate.html").read_bytes() == run("html", "-", stdin=document).stdout
    assert (tmp_path / "gate.sarif").read_bytes() == run("sarif", "-", stdin=document).stdout

    # A file that cannot be written does not pass, hides no refusal, and leaves the output whole.
    missing = tmp_path / "gate.xml" / "x"
    both = command.run_bytes(*words, "--json", "--junit", missing)
    alone = command.run_bytes(*words[:4], "--junit", missing)
    assert (both.returncode, alone.returncode) == (5, 4)
    assert json.loads(both.stdout)["files"] == json.loads(document)["files"]


@pytest.mark.parametrize("mistake", [("missing",), ("--exceptions", "missing.toml"), ("",), ("--callers",)])
def test_a_gate_that_ends_without_a_decision_leaves_no_report_of_an_earlier_one(
    mistake: tuple[str, ...], tmp_path: Path
) -> None:
    files = [tmp_path / name for name in ("gate.html", "gate.xml", "gate.sarif")]
    words = ("inspect", "--require", "proven", "--html", files[0], "--junit", files[1], "--sarif", files[2])
    command.run(*words, programs.boring())
    assert all(file.exists() for file in files)

    command.run(*words, programs.boring(), *mistake, code=2)

    assert not any(file.exists() for file in files)


def test_the_node_tool_writes_the_metrics_that_an_export_of_its_report_has(
    release_key: ReleaseKey, tmp_path: Path
) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "manifest.asc").write_bytes(release_key.clearsign(canonical(samples.manifest())))
    (tmp_path / "changed.asc").write_bytes(b"not signed")

    def check(name: str) -> tuple[int, bytes, bytes]:
        where = ("--root", tmp_path / "root", "--role", "worker", "--keys", release_key.trust)
        files = ("--json", "--metrics", tmp_path / "node.prom", tmp_path / name)
        done = command.run_bytes("check", "node", *where, *files)
        return done.returncode, done.stdout, (tmp_path / "node.prom").read_bytes()

    for name, verdict in (("manifest.asc", "invalid"), ("changed.asc", "untrusted")):
        code, report, metrics = check(name)
        assert json.loads(report)["verdict"] == verdict
        assert code == {"invalid": 1, "untrusted": 3}[verdict]
        assert metrics == run("prometheus", "-", stdin=report).stdout
        assert f'fipsmanifest_node_verdict{{verdict="{verdict}"}} 1\n'.encode() in metrics

    # As for other reports: a file that cannot be written is a mistake, and found before the node is checked.
    missing = ("--metrics", tmp_path / "no" / "node.prom", tmp_path / "manifest.asc")
    command.run("check", "node", "--keys", release_key.trust, *missing, code=2)
