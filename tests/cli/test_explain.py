"""Every reason of an error is listed and documented, and `explain` explains the terms."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import fipsmanifest
from fipsmanifest import errors
from fipsmanifest.cli.explain import explanations
from fipsmanifest.cluster.reasons import ADVICE as NODE_REASONS
from fipsmanifest.model.explanations import CHECKS, EXIT_CODES, REASONS
from fipsmanifest.model.node_codes import NODE_CODES
from fipsmanifest.node.options import CHECKS as NODE_CHECKS
from tests.cluster.tamperings import TAMPERINGS
from tests.support import command

PACKAGE = Path(fipsmanifest.__file__).parent
PAGE = PACKAGE.parents[1] / "docs" / "reasons.md"
CODES = {reason.name: reason.codes for reason in REASONS}
KINDS = {
    name: kind.exit_code
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.FipsManifestError) and name != "Several"
}


def _raised() -> Iterator[tuple[str, str, str]]:
    """Yield where each reason is given: the place, the name of the error's class, the reason."""
    for path in sorted({*PACKAGE.rglob("*.py")} - {PACKAGE / "errors.py"}):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS:
                given = [keyword.value for keyword in node.keywords if keyword.arg == "reason"]
                for value in [*given, *node.args[2:]]:
                    if isinstance(value, ast.Constant):
                        yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node.func.id, str(value.value)
            if isinstance(node, ast.ClassDef) and node.bases and ast.unparse(node.bases[0]) in KINDS:
                for statement in node.body:
                    if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "reason":
                        assert isinstance(statement.value, ast.Constant)
                        place = f"{path.relative_to(PACKAGE)}:{node.lineno}"
                        yield place, ast.unparse(node.bases[0]), str(statement.value.value)


def test_each_reason_in_the_source_is_listed_with_the_exit_code_of_its_error() -> None:
    raised = list(_raised())
    wrong = [entry for entry in raised if KINDS[entry[1]] not in CODES.get(entry[2], ())]

    assert len(raised) > 100
    assert wrong == []


def test_each_error_has_a_reason_and_no_listed_reason_is_unused() -> None:
    classes = {vars(errors)[name].reason for name in KINDS}
    raised = {reason for _, _, reason in _raised()}

    assert classes <= set(CODES)
    assert set(CODES) == classes | raised | {"interrupted"}


def _node_codes() -> Iterator[tuple[str, str]]:
    """Yield the codes that the node tool's source gives its findings, with the files."""
    for path in sorted((PACKAGE / "node").rglob("*.py")):
        tree = ast.parse(path.read_text())
        constants = {
            ast.unparse(one.targets[0]): one.value.value
            for one in tree.body
            if isinstance(one, ast.Assign) and isinstance(one.value, ast.Constant)
        }
        for node in ast.walk(tree):
            for value in _code_of(node):
                values = [value.body, value.orelse] if isinstance(value, ast.IfExp) else [value]
                for one in values:
                    code = one.value if isinstance(one, ast.Constant) else constants.get(ast.unparse(one))
                    if isinstance(code, str) and code:
                        yield code, str(path.relative_to(PACKAGE))


def _code_of(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the expressions that a piece of source gives a finding's code by."""
    if isinstance(node, ast.Call):
        yield from (keyword.value for keyword in node.keywords if keyword.arg == "code")
        place = {"Problem": 1, "result": 4}.get(ast.unparse(node.func).rpartition(".")[2], len(node.args))
        yield from node.args[place : place + 1]
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        yield from (value for key, value in pairs if isinstance(key, ast.Constant) and key.value == "code")
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).endswith("['code']"):
        yield node.value


def test_each_code_of_a_finding_on_a_node_is_explained_and_no_other() -> None:
    given = dict(_node_codes())

    assert len(given) > 90
    assert {code: place for code, place in given.items() if code not in NODE_CODES} == {}
    assert set(NODE_CODES) - set(given) == set()
    assert {row.code for row in TAMPERINGS} - {"", "ENOENT"} <= set(NODE_CODES)


#: Packages whose refusals each have a cause of their own: scripts handle them differently.
_OWN = ("archive", "oci", "collect", "fetch")


def test_no_refusal_of_foreign_bytes_has_only_the_general_reason() -> None:
    general = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for name in _OWN
        for path in sorted((PACKAGE / name).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Refused", "Incomplete")
        if len(node.args) < 3 and not any(keyword.arg == "reason" for keyword in node.keywords)
    ]

    assert general == []


def test_the_page_lists_each_reason_with_its_exit_code() -> None:
    listed = re.findall(r"^\| `([a-z-]+)` \| ([0-9, ]+) \| (.+?) \| (.+?) \|$", PAGE.read_text(), re.MULTILINE)
    assert listed == [
        (reason.name, ", ".join(map(str, reason.codes)), reason.meaning, reason.advice) for reason in REASONS
    ]


def test_the_page_lists_each_exit_code() -> None:
    listed = re.findall(r"^\| (\d+) \| (.+?) \| (.*?) \|$", PAGE.read_text(), re.MULTILINE)
    assert [(int(code), meaning, advice.strip()) for code, meaning, advice in listed] == [
        (item.code, item.meaning, item.advice) for item in EXIT_CODES
    ]


def test_each_check_of_the_node_tool_is_explained() -> None:
    assert tuple(CHECKS) == NODE_CHECKS


@pytest.mark.parametrize(
    ("word", "kinds"),
    [
        ("5", ["exit code"]),
        ("declared", ["verdict"]),
        ("fips-mode", ["check"]),
        ("proven", ["verdict", "requirement"]),
        ("plain-crypto", ["evidence code"]),
        ("timed-out", ["node without an answer"]),
        ("untrusted", ["verdict on a node"]),
        ("sidecar", ["finding on a node", "finding of an audit"]),
        ("snapshot-file", ["finding on a node"]),
        ("partial", ["scope of a node report"]),
    ],
)
def test_a_word_is_explained(word: str, kinds: list[str]) -> None:
    done = command.run("explain", word, "--json", code=0)
    found = json.loads(done.stdout)["explanations"]

    assert [item["kind"] for item in found] == kinds
    assert all(item["meaning"].endswith(".") for item in found)
    assert command.run("explain", word).stdout.count("\n") >= 1


def test_what_reports_of_nodes_and_clusters_and_audits_say_is_explained() -> None:
    found = {(item.kind, item.word): item for item in explanations()}
    schema = json.loads((PACKAGE / "node/schema.json").read_text())["properties"]

    assert [word for kind, word in found if kind == "verdict on a node"] == schema["verdict"]["enum"]
    assert [word for kind, word in found if kind == "scope of a node report"] == schema["scope"]["enum"]
    # What the code raises, and what the documentation lists.
    audited = "".join(path.read_text() for path in (PACKAGE / "publish/audit").glob("*.py"))
    codes = set(re.findall(r'\.found\([^,()]+(?:\([^()]*\))?, "([a-z]+)"', audited))
    assert len(codes) > 8
    assert codes <= {word for kind, word in found if kind == "finding of an audit"}
    nodes = [item for (kind, _), item in found.items() if kind == "node without an answer"]
    assert len(nodes) == len(NODE_REASONS)
    assert all(item.meaning.endswith(".") for item in nodes)


def test_everything_is_listed_without_placeholders() -> None:
    done = command.run("explain", code=0)

    assert len(done.stdout.splitlines()) > 130
    assert not re.search(r"[{}]", done.stdout)


def test_an_error_has_its_reason_in_json(tmp_path: Path) -> None:
    done = command.run("verify", tmp_path / "missing.asc", "--keys", tmp_path, "--json")
    assert json.loads(done.stdout)["error"]["reason"] == "trust-directory"

    unknown = command.run("explain", "--json", "no-such-word")
    assert (unknown.returncode, json.loads(unknown.stdout)["error"]["reason"]) == (2, "usage")
    option = command.run("explain", "--json", "--no-such-option")
    assert (option.returncode, json.loads(option.stdout)["error"]["reason"]) == (2, "usage")
