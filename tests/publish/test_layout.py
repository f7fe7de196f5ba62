"""Keys, headers and the sidecar, against DESIGN section 7 and coreutils."""

from __future__ import annotations

import fnmatch
import itertools
import json
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fipsmanifest.errors import UsageError, ValidationFailed
from fipsmanifest.model.identity import ManifestId, ReleaseId
from fipsmanifest.publish import layout
from fipsmanifest.publish.layout import Sidecar, ToolKey
from tests.support.releases import expected_keys


@pytest.mark.parametrize(
    ("key", "meaning"),
    [
        ("tool/manifests/v1.21.3/12/manifest-rhel8.json.asc", ManifestId("v1.21.3", "rhel8", 12)),
        ("tool/manifests/v1.21.3/manifest-rhel-84.json.asc", ReleaseId("v1.21.3", "rhel-84")),
        ("tool/0.1.0/dkp-fips-tool.asc", ToolKey("0.1.0", ".asc")),
        ("tool/dkp-fips-tool.sha256", ToolKey(None, ".sha256")),
        ("tool/dkp-fips-tool", ToolKey(None, "")),
    ],
)
def test_a_key_of_the_layout_is_read_as_it_is_written(key: str, meaning: ManifestId | ReleaseId | ToolKey) -> None:
    assert layout.read_key(key) == meaning
    if isinstance(meaning, ManifestId):
        assert layout.manifest(meaning) == key
    elif isinstance(meaning, ReleaseId):
        assert layout.pointer(meaning) == key
    else:
        assert layout.tool(meaning.version, meaning.suffix) == key


@pytest.mark.parametrize(
    "key",
    [
        "tool/manifests/v1.21.3/0/manifest-rhel8.json.asc",
        "tool/manifests/v1.21.3/01/manifest-rhel8.json.asc",
        "tool/manifests/1.21.3/1/manifest-rhel8.json.asc",
        "tool/manifests/v1.21.3/1/manifest-rhel8.json",
        "tool/manifests/v1.21.3/1/2/manifest-rhel8.json.asc",
        "tool/manifests/dkp-fips-tool",
        "tool/0.1.0/dkp-fips-tool.sig",
        "tool/0.1.0/dkp-fips-tool\n",
        "index.html",
    ],
)
def test_any_other_key_is_none_of_the_layout(key: str) -> None:
    assert layout.read_key(key) is None


@pytest.mark.parametrize(
    ("kubernetes", "name", "serial"),
    [("v1.21.3", "../x", 1), ("1.21.3", "rhel8", 1), ("v1.21.3", "rhel8", 0), ("v1.21.3/x", "rhel8", 1)],
)
def test_names_that_would_leave_the_layout_are_refused(kubernetes: str, name: str, serial: int) -> None:
    with pytest.raises(UsageError):
        layout.manifest(ManifestId(kubernetes, name, serial))


def test_coreutils_takes_the_sidecar_and_refuses_it_for_other_bytes(tmp_path: Path) -> None:
    tool = tmp_path / "dkp-fips-tool"
    tool.write_bytes(b"tool")
    digest = subprocess.run(["sha256sum", tool], capture_output=True, text=True, check=True).stdout.split()[0]
    (tmp_path / "sidecar").write_bytes(layout.sidecar("0.1.0", digest))

    check = ["sha256sum", "--strict", "--check", "sidecar"]
    assert subprocess.run(check, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    tool.write_bytes(b"tooi")
    assert subprocess.run(check, cwd=tmp_path, capture_output=True, check=False).returncode == 1
    assert layout.read_sidecar(layout.sidecar("0.1.0", digest)) == Sidecar("0.1.0", digest)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"00" * 32 + b"  dkp-fips-tool\n",
        b"# tool/0.1.0/dkp-fips-tool\n" + b"0" * 63 + b"  dkp-fips-tool\n",
        b"# tool/../dkp-fips-tool\n" + b"0" * 64 + b"  dkp-fips-tool\n",
        b"# tool/0.1.0/dkp-fips-tool\n" + b"0" * 64 + b"  dkp-fips-tool\n\n",
        b"\xff\xfe",
    ],
)
def test_anything_but_the_two_lines_is_no_sidecar(data: bytes) -> None:
    with pytest.raises(ValidationFailed):
        layout.read_sidecar(data)


def test_tool_versions_are_ordered_as_people_mean_them() -> None:
    # The order of PEP 440.
    ascending = ["0.9", "0.10.dev1", "0.10a1", "0.10b1", "0.10rc1", "0.10rc2", "0.10", "0.10.post1", "0.10.1", "1.0"]
    ascending += ["1.0+g1", "1.0+2", "1.0+10", "1.0.post2", "1.0.post10", "2", "10"]

    for lower, higher in itertools.pairwise(ascending):
        assert layout.version_order(lower) < layout.version_order(higher), (lower, higher)
    with pytest.raises(UsageError):
        layout.version_order("latest")


def test_of_two_equal_versions_one_is_the_newer_on_every_machine() -> None:
    assert layout.version_order("0.1") < layout.version_order("0.1.0")
    assert layout.version_order("0.1")[0] == layout.version_order("0.1.0")[0]


@given(st.from_regex(re.compile(rf"tool/{layout._VERSION}/dkp-fips-tool", re.ASCII), fullmatch=True))
def test_every_version_that_has_a_key_has_a_place_in_the_order(key: str) -> None:
    parsed = layout.read_key(key)

    assert isinstance(parsed, layout.ToolKey) and parsed.version is not None
    layout.version_order(parsed.version)


def test_the_documented_policy_allows_what_is_published_and_no_removal() -> None:
    page = (Path(__file__).parents[2] / "docs" / "publishing.md").read_text()
    (block,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    statements = json.loads(block)["Statement"]

    allowed = [
        pattern
        for statement in statements
        if "s3:PutObject" in statement["Action"] and "s3:GetObject" in statement["Action"]
        for pattern in statement["Resource"]
    ]
    for key in expected_keys():
        assert any(fnmatch.fnmatchcase(f"arn:aws:s3:::NAME/fips/{key}", pattern) for pattern in allowed), key
    assert not fnmatch.filter(["arn:aws:s3:::NAME/fips/website.html", "arn:aws:s3:::NAME/index.html"], allowed[0])
    assert "Delete" not in block
