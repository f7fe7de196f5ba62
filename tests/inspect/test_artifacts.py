"""What an artifact of a release holds more than once."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from fipsmanifest.errors import Refused
from fipsmanifest.inspect.artifacts import Inspection
from fipsmanifest.inspect.inspector import Inspector
from fipsmanifest.inspect.table import load
from fipsmanifest.model.artifact import Artifact
from fipsmanifest.model.finding import Finding
from tests.fuzz.tars import END, header, member
from tests.inspect import programs


def inspected(folder: Path, data: bytes) -> tuple[Finding, ...]:
    path = folder / "some.tar"
    path.write_bytes(data + END)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    artifact = Artifact(
        source="some", kind="tarball", name="some.tar", address="some.tar", sha256=digest, size=len(data), path=path
    )
    spool = folder / "spool"
    spool.mkdir(exist_ok=True)
    with Inspection(Inspector(load(), spool), folder / "findings") as inspection:
        inspection.add(artifact)
        (found,) = inspection.result()
    return found.findings


# The manifest can name one of them only, and some unpackers leave the first.
def test_a_tarball_with_two_programs_of_one_path_is_refused_and_the_path_named(tmp_path: Path) -> None:
    plain, boring = programs.plain().read_bytes(), programs.boring().read_bytes()
    with pytest.raises(Refused, match=r"some\.tar has '/usr/bin/kubelet' twice, and the first is another program"):
        inspected(tmp_path, member("usr/bin/kubelet", plain) + member("./usr/bin/kubelet", boring))


def test_a_tarball_may_have_the_same_program_or_a_text_twice(tmp_path: Path) -> None:
    boring = programs.boring().read_bytes()
    found = inspected(
        tmp_path,
        member("kubelet", boring) + member("./kubelet", boring) + member("README", b"1") + member("README", b"2"),
    )
    assert {finding.path: finding.sha256 for finding in found} == {
        "/kubelet": hashlib.sha256(boring).hexdigest(),
        "/README": hashlib.sha256(b"2").hexdigest(),
    }


def test_devices_and_fifos_are_not_listed_and_hard_links_to_them_neither(tmp_path: Path) -> None:
    special = header("console", kind=b"3") + header("sda", kind=b"4") + header("initctl", kind=b"6")
    links = header("tty", kind=b"1", target="console") + header("soft", kind=b"2", target="README")
    more = header("hard", kind=b"1", target="soft") + member("README", b"1")
    found = inspected(tmp_path, special + links + more)
    assert [(finding.path, finding.type, finding.target) for finding in found] == [
        ("/soft", "symlink", "README"),
        ("/hard", "symlink", "README"),
        ("/README", "file", None),
    ]
