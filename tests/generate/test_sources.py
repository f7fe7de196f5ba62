"""The sources in a manifest: never a path of the machine that it was made on."""

from __future__ import annotations

from pathlib import Path

import pytest

from fipsmanifest.generate.assemble import source_records
from fipsmanifest.model.artifact import Artifact
from fipsmanifest.model.definition_file import load

RHEL8 = (Path(__file__).parents[2] / "releases/v1.21.3/rhel8.toml").read_text()
SOURCE = '\n[[sources]]\nkind = "rpm-folder"\nname = "carried"\nurl = "{url}"\npackages = ["kubelet-1.21.3-0"]\n'


@pytest.mark.parametrize(
    ("url", "found", "named"),
    [
        ("/home/somebody/bundle/", "/home/somebody/bundle/deep/1.rpm", "file:bundle/deep/1.rpm"),
        ("file:///home/somebody/bundle.tar", "file:///home/somebody/bundle.tar/1.rpm", "file:bundle.tar/1.rpm"),
        ("/home/somebody/{arch}/rpms", "/home/somebody/x86_64/rpms/1.rpm", "file:rpms/1.rpm"),
        ("bundles/rpms", "bundles/rpms/1.rpm", "bundles/rpms/1.rpm"),
        ("https://example.com/a.tar", "https://example.com/a.tar/1.rpm", "https://example.com/a.tar/1.rpm"),
    ],
)
def test_a_source_is_named_without_its_place_on_this_machine(url: str, found: str, named: str, tmp_path: Path) -> None:
    path = tmp_path / "rhel8.toml"
    path.write_text(RHEL8 + SOURCE.replace("{url}", url))
    artifact = Artifact(
        source="carried",
        kind="rpm",
        name="kubelet-1.21.3-0.x86_64",
        address=found,
        sha256="0" * 64,
        size=1,
        path=tmp_path / "blob",
        architecture="x86_64",
        signed_by=None,
    )
    (record,) = source_records(load(path), [artifact])
    assert record.address == named
    assert "somebody" not in record.model_dump_json()
