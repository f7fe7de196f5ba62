"""Reports: what programs, people and CI read, for any node."""

from __future__ import annotations

import itertools
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.node import host, provenance, report
from fipsmanifest.node.checks import files
from fipsmanifest.node.report import Report
from fipsmanifest.node.result import FAIL, INCOMPLETE, NOT_APPLICABLE, PASS, UNKNOWN, VALID, Listed, Node, Result
from tests.support import roots, schemas

HOST = {"name": "node-1", "root": "/", "role": "worker", "os": "rhel", "os_version": "8.4", "kernel": "4.18"}
HOST |= {"architecture": "x86_64", "tool": "0.1", "python": "3.6.8", "hash": "openssl"}
NASTY = '\x1b[31m<b a="1">\'&amp;\x00\u202e\ud800]]>' + "&" * 2000


def made(*results: Result, **changes: Any) -> Report:
    return Report("invalid", "live", HOST, [{"file": "m.asc"}], results, [])._replace(**changes)


def statuses(document: dict[str, Any]) -> list[str]:
    return [check["status"] for check in document["checks"]]


def test_the_published_schema_is_one() -> None:
    import jsonschema

    jsonschema.Draft202012Validator.check_schema(schemas.NODE)


def test_json_fits_the_schema_and_has_failures_first() -> None:
    given = [
        Result("files", str(number), status, advice="Look.")
        for number, status in enumerate([PASS, NOT_APPLICABLE, FAIL, UNKNOWN, FAIL])
    ]

    document = json.loads(report.to_json(made(*given)))

    schemas.validate(document, schemas.NODE)
    assert [check["subject"] for check in document["checks"]] == ["2", "4", "3", "0", "1"]
    assert (document["truncated"], document["left_out"]) == (False, 0)


def test_a_report_stays_small_keeps_its_failures_and_says_what_it_left_out() -> None:
    passes = [Result("processes", f"p{number}", PASS, "x" * 200, "y" * 200) for number in range(20000)]
    failures = [Result("files", f"f{number}", FAIL, advice="Look.") for number in range(10)]

    for written in (report.to_json(made(*passes, *failures)), report.to_text(made(*passes, *failures))):
        assert len(written) < 1048576 - 65536
        assert all(f"f{number}" in written for number in range(10))
    document = json.loads(report.to_json(made(*passes, *failures)))
    assert document["truncated"] and document["left_out"] == 20010 - len(document["checks"])
    assert document["summary"]["pass"] == 20000 and statuses(document)[:10] == [FAIL] * 10
    schemas.validate(document, schemas.NODE)
    assert len(report.to_junit(made(*passes, *failures))) < 1048576


@pytest.mark.parametrize("status", [PASS, FAIL, UNKNOWN, NOT_APPLICABLE])
def test_whatever_a_node_calls_its_things_xml_and_text_stay_whole(status: str) -> None:
    one = Result("files", NASTY, status, NASTY, NASTY, {"code": NASTY}, NASTY)

    suite = ElementTree.fromstring(report.to_junit(made(one, verdict=VALID)))  # noqa: S314 - our own

    case = suite[0]
    assert str(case.get("name")).startswith('\\x1b[31m<b a="1">\'&amp;\\x00\\u202e\\ud800]]>&&&')
    assert (suite.get("tests"), len(case)) == ("1", 0 if status == PASS else 1)
    text = report.to_text(made(one))
    assert text.isascii() and text.replace("\n", "").isprintable()
    json.loads(report.to_json(made(one)))


def test_text_says_what_a_pass_has_to_say(tmp_path: Path) -> None:
    manifest = roots.make(tmp_path)
    (tmp_path / "usr/bin/kubelet").chmod(0o700)
    (tmp_path / "usr/bin/kubeadm").rename(tmp_path / "usr/local/bin/kubeadm")
    (tmp_path / "etc/kubernetes/kubelet.conf").write_text("changed\n")

    results = files.check(Node(str(tmp_path), False, "worker"), [Listed("m", manifest)])

    lines = report.to_text(made(*results)).splitlines()
    notes = {above.split()[0]: line for above, line in itertools.pairwise(lines) if line.startswith("    ")}
    elsewhere = "    note: it is at another path than the listed one"
    assert notes == {
        "/bin/kubelet": "    note: its mode is stricter than the listed one",
        "/usr/bin/kubeadm": elsewhere,
        "/usr/local/bin/kubeadm": elsewhere,
        "/etc/kubernetes/kubelet.conf": "    note: it differs from the listed one, and is an administrator's",
    }


@pytest.mark.parametrize(
    ("evidence", "note"),
    [
        ({"path": "not-listed"}, "it runs from a path that is not listed"),
        ({"code": "other-preferred"}, "it prefers another suite than the listed one"),
        ({"code": "deleted", "path": "/usr/bin/x"}, None),
    ],
)
def test_only_what_is_known_is_noted(evidence: dict[str, Any], note: str | None) -> None:
    for check in ("processes", "services"):
        text = report.to_text(made(Result(check, "kubelet", PASS, evidence=evidence)))

        assert [line[10:] for line in text.splitlines() if "note: " in line] == [note] * (note is not None)


def test_junit_counts_what_it_shows() -> None:
    suite = ElementTree.fromstring(  # noqa: S314 - our own
        report.to_junit(made(*(Result("files", status, status) for status in (PASS, FAIL, UNKNOWN, NOT_APPLICABLE))))
    )

    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "4",
        "failures": "1",
        "errors": "1",
        "skipped": "1",
    }
    assert [case[0].tag for case in suite if len(case)] == ["failure", "error", "skipped"]
    assert all(case[0].get("type") for case in suite if len(case) and case[0].tag != "skipped")


@pytest.mark.parametrize(("verdict", "errors"), [(VALID, []), (INCOMPLETE, [("node", INCOMPLETE)])])
def test_junit_says_that_a_node_of_which_nothing_passed_is_no_pass(verdict: str, errors: list[Any]) -> None:
    results = (Result("signature", "m.asc", PASS), Result("services", "services", NOT_APPLICABLE))

    suite = ElementTree.fromstring(report.to_junit(made(*results, verdict=verdict)))  # noqa: S314 - our own

    assert [(case.get("name"), case[0].get("type")) for case in suite if case.find("error") is not None] == errors
    assert (suite.get("tests"), suite.get("errors")) == (str(2 + len(errors)), str(len(errors)))
    assert suite.find("system-out") is None


def test_junit_stays_small_where_everything_must_be_escaped() -> None:
    flood = [Result("files", f"&{number}" + "&" * 190, FAIL, "<" * 500, ">" * 300) for number in range(3000)]

    written = report.to_junit(made(*flood))

    suite = ElementTree.fromstring(written)  # noqa: S314 - our own
    cases = [child for child in suite if child.tag == "testcase"]
    assert len(written) < 1048576 and suite.get("tests") == suite.get("failures") == str(len(cases))
    assert suite[-1].text == f"{3000 - len(cases)} more results had no room."


#: What Jenkins' and Surefire's schemas know of each element: attributes that must be there, and others that may.
JUNIT = {
    "testsuite": ({"name", "tests", "failures", "errors"}, {"skipped", "time", "timestamp", "hostname"}),
    "testcase": ({"name"}, {"classname", "time"}),
    "failure": (set(), {"type", "message"}),
    "error": (set(), {"type", "message"}),
    "skipped": (set(), {"type", "message"}),
    "system-out": (set(), set()),
}


def test_junit_has_the_elements_and_attributes_that_its_readers_know() -> None:
    results = [Result("files", status, status, advice="Look.") for status in (PASS, FAIL, UNKNOWN, NOT_APPLICABLE)]
    results += [Result("files", str(number), NOT_APPLICABLE, "x" * 900) for number in range(2000)]

    suite = ElementTree.fromstring(report.to_junit(made(*results)))  # noqa: S314 - our own

    assert {element.tag for element in suite.iter()} == set(JUNIT)
    for element in suite.iter():
        required, optional = JUNIT[element.tag]
        assert required <= set(element.keys()) <= required | optional


def test_services_are_shown_as_their_first_users_knew_them() -> None:
    suites = {"TLSv1.2": ["TLS_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"]}
    evidence = {"suites": suites, "preferred": "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"}

    lines = report.to_text(made(Result("services", "etcd [127.0.0.1:2379]", PASS, evidence=evidence))).splitlines()

    at = next(number for number, line in enumerate(lines) if line.startswith("Service: etcd [127.0.0.1:2379]"))
    assert lines[at].endswith("[OK]")
    assert [line.strip() for line in lines[at + 1 : at + 4]] == [
        "Versions: TLSv1.2",
        "Preferred Cipher: TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "Supported Ciphers: TLS_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    ]


def test_each_component_has_one_line_and_its_worst_result_decides() -> None:
    def of(component: str, check: str, status: str) -> Result:
        return Result(check, f"{component} {check} {status}", status, evidence={"component": component})

    given = [of("kubelet", "files", PASS), of("etcd", "files", PASS), of("kubelet", "processes", FAIL)]
    given += [of("etcd", "images", UNKNOWN), of("runc", "files", PASS), of("runc", "files", NOT_APPLICABLE)]

    lines = [line.split() for line in report.to_text(made(*given)).splitlines() if line.startswith("Component: ")]

    assert lines == [
        ["Component:", "etcd", "(files,", "images)", "[UNKNOWN]"],
        ["Component:", "kubelet", "(files,", "processes)", "[FAIL]"],
        ["Component:", "runc", "(files)", "[OK]"],
    ]


def test_text_says_whose_hash_it_was() -> None:
    assert "hashed with the host's OpenSSL" in host.heading(HOST)
    assert "Python's own code" in host.heading(HOST | {"hash": "builtin"})


def test_colour_is_for_terminals() -> None:
    assert "\x1b[31m[FAIL]" in report.to_text(made(Result("files", "x", FAIL)), colour=True)
    assert "\x1b" not in report.to_text(made(Result("files", "x", FAIL)))


def test_a_module_that_is_in_process_is_told_as_such_and_has_no_certificate() -> None:
    module = {"name": "Go Cryptographic Module v1.26.0", "digest": "ab" * 32, "validation": "in-process"}
    (described,) = provenance.modules({"modules": {"go-native-v1.26.0-x86_64": module}}, "2026-11-29")
    line = provenance.module_line(described)
    assert line == "Module: Go Cryptographic Module v1.26.0 go-native-v1.26.0-x86_64, in process, no certificate"
    assert described["certificates"] == []
