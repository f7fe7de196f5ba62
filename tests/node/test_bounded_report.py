"""Reports of bounded size, as a container's termination message needs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.node.bounded import bounded_json
from fipsmanifest.node.main import main
from fipsmanifest.node.options import CHECKS, SMALLEST_REPORT
from fipsmanifest.node.report import Report
from fipsmanifest.node.result import FAIL, NOT_APPLICABLE, PASS, UNKNOWN, Result
from tests.node.test_report import HOST, NASTY
from tests.support import roots, schemas
from tests.support.forge import Forge

DIGEST = "0123456789abcdef" * 4
MANIFEST = {"file": "manifest-rhel8.json.asc", "sha256": DIGEST, "kubernetes": "1.21.3", "el": 8, "serial": 1}
FULL_HOST = HOST | {"tool_sha256": DIGEST, "started": "2026-11-23T10:00:00Z", "seconds": 1.5}


def bounded(limit: int, *results: Result, **changes: Any) -> dict[str, Any]:
    """Return a bounded report, after checking its size and schema."""
    report = Report("invalid", "live", FULL_HOST, [MANIFEST], results, [])._replace(**changes)

    written = bounded_json(report, limit)

    assert len(written.encode()) <= limit and written.count("\n") == 1
    document: dict[str, Any] = json.loads(written)
    schemas.validate(document, schemas.NODE)
    return document


def many(status: str, number: int) -> list[Result]:
    return [
        Result(check, f"{check}-{index}", status, "x" * 150, "y" * 150, {"component": "kubelet"}, "Look.")
        for index in range(number)
        for check in CHECKS
    ]


@pytest.mark.parametrize("limit", [*range(SMALLEST_REPORT, 1400, 37), 4096, 100_000])
def test_every_limit_gives_a_report_of_the_schema_with_verdict_and_counts(limit: int) -> None:
    results = many(PASS, 900) + many(FAIL, 300) + many(UNKNOWN, 200)

    document = bounded(limit, *results, manifests=[MANIFEST] * 3, warnings=["w" * 300] * 20)

    assert (document["verdict"], document["scope"]) == ("invalid", "live")
    assert document["summary"] == {"pass": 7200, "fail": 2400, "unknown": 1600, "not-applicable": 0}
    assert document["truncated"] and document["left_out"] == 11200 - len(document["checks"])


def test_failures_come_first_and_what_passes_is_only_counted() -> None:
    results = [
        Result("files", "/bin/kubelet", PASS),
        Result("services", "etcd", UNKNOWN, advice="Start it."),
        Result("images", "pause", NOT_APPLICABLE),
        Result("files", "/bin/containerd", FAIL, DIGEST, "f" * 64, {"code": "digest"}, "Install it again."),
    ]

    document = bounded(4096, *results)

    assert [(one["subject"], one["status"]) for one in document["checks"]] == [
        ("/bin/containerd", "fail"),
        ("etcd", "unknown"),
    ]
    assert document["checks"][0]["expected"] == DIGEST
    assert (document["left_out"], document["left_out_by_check"]) == (2, {"files": 1, "images": 1})
    assert document["manifests"] == [MANIFEST] and document["host"]["tool_sha256"] == DIGEST


def test_a_termination_message_names_about_ten_failures_and_the_manifests_digest() -> None:
    document = bounded(4096, *many(FAIL, 30))

    assert len(document["checks"]) >= 8
    assert all(len(one["expected"]) < 100 for one in document["checks"])
    assert document["manifests"][0]["sha256"] == DIGEST
    assert sum(document["left_out_by_check"].values()) == document["left_out"]


def test_names_that_a_node_chose_cannot_make_it_longer_or_invalid() -> None:
    host = FULL_HOST | {"name": "n" * 5000, "os": "\x1b[31m", "kernel": "\u202e" * 500}
    results = [Result("files", NASTY * 3, FAIL, NASTY, NASTY, {"code": "digest", "text": NASTY}, NASTY)] * 50

    for limit in (SMALLEST_REPORT, 1000, 4096):
        bounded(limit, *results, host=host, warnings=[NASTY])


def test_a_node_is_checked_into_a_bounded_file_beside_the_whole_report(
    forge: Forge, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, message = tmp_path / "root", tmp_path / "message"
    root.mkdir()
    signed = tmp_path / "manifest-rhel8.json.asc"
    signed.write_bytes(forge.clearsign(roots.payload_of(roots.make(root))))
    (root / "usr/bin/kubelet").write_bytes(b"another")
    options = ["--json", "--root", str(root), "--only", "files", "--keys", str(forge.trust_directory), str(signed)]

    assert main(["--report", str(message), "--report-limit", "2000", *options]) == 1
    whole = json.loads(capsys.readouterr().out)
    assert main(["--report-limit", "2000", *options]) == 1
    bounded_output = json.loads(capsys.readouterr().out)

    written = json.loads(message.read_text())
    schemas.validate(written, schemas.NODE)
    assert message.stat().st_size <= 2000
    assert "/bin/kubelet" in [one["subject"] for one in written["checks"]]
    assert {one["status"] for one in written["checks"]} == {"fail"}
    assert written["summary"] == whole["summary"] and whole["truncated"] is False
    assert bounded_output["checks"] == written["checks"]


@pytest.mark.parametrize(
    "options", [["--report-limit", "511", "--json"], ["--report-limit", "4096"], ["--report", "x"], ["--report-limit"]]
)
def test_a_limit_that_cannot_be_kept_or_would_be_ignored_is_a_usage_error(options: list[str]) -> None:
    assert main([*options, "manifest.asc"]) == 2
