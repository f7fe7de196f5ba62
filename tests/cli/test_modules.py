"""``fipsmanifest modules``: what is known, and a row of one's own from a toolchain to a verdict."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from examples.upstream import goprograms

import fipsmanifest.inspect
from fipsmanifest.inspect.native.library import Library
from fipsmanifest.inspect.native.reference import decode
from tests.support import command, edits, programs, toolchains


def run(directory: Path, *words: str | Path, code: int = 0, timeout: int = 60) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory)}
    return command.run(*words, cwd=directory, env=environment, code=code, timeout=timeout)


def document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    return found


#: Number -> standard and how sure, as the certificates' own pages and the policies that were read say.
CERTIFICATES = {
    2964: ("FIPS 140-2", "high"),
    3318: ("FIPS 140-2", "high"),
    3678: ("FIPS 140-2", "medium"),
    3702: ("FIPS 140-2", "high"),
    3836: ("FIPS 140-2", "high"),
    4407: ("FIPS 140-2", "medium"),
    4735: ("FIPS 140-3", "high"),
    4953: ("FIPS 140-3", "low"),
    5247: ("FIPS 140-3", "high"),
}


def test_the_list_has_every_known_certificate_with_its_status_and_how_sure_it_is(tmp_path: Path) -> None:
    listed = document(run(tmp_path, "modules", "list", "--json"))
    found = {item["number"]: (item["standard"], item["confidence"]) for item in listed["certificates"]}
    assert found == CERTIFICATES
    for item in listed["certificates"]:
        assert item["status"] == ("historical" if item["standard"] == "FIPS 140-2" else "active")
    of_rows = {row["id"]: [item["number"] for item in row["certificates"]] for row in listed["modules"]}
    assert of_rows["boringcrypto-20220613-x86_64"] == [4735]
    # What docs/proof.md takes from a row to repeat the proof by hand.
    (shown,) = [row for row in listed["modules"] if row["id"] == "boringcrypto-20210429-x86_64"]
    assert (shown["text_length"], shown["digest_offset"]) == (0xBE290, 0xBE7AA)
    assert shown["head"].startswith("41574156534989d64989f74889fbe887e70b00f640")
    assert shown["entry_points"]["BORINGSSL_bcm_power_on_self_test"] == 0x5E3B0
    told = run(tmp_path, "modules", "list").stdout
    (d2iq,) = [line for line in told.splitlines() if line.startswith("3702")]
    assert "D2iQ" in d2iq
    assert d2iq.split()[-1] == "no"
    assert "historical list since 2026-09-21, some longer: not revoked, and not for new procurement" in told
    (native,) = [line for line in told.splitlines() if line.startswith("5247")]
    assert "active until 2031-04-26" in native


@pytest.fixture
def unknown(tmp_path: Path) -> Path:
    """A toolchain's module object as another maker would have it: other bytes, its own digest right."""
    syso = goprograms.goroot() / "src/crypto/internal/boring/syso/goboringcrypto_linux_amd64.syso"
    data = syso.read_bytes()
    start = data.index(edits.module_object("amd64")[:4096])
    path = tmp_path / "theirs.syso"
    path.write_bytes(edits.redo_digest(edits.flip(data, start + 0x4321), start))
    return path


def test_a_learnt_row_proves_a_module_that_only_its_user_vouches_for(tmp_path: Path, unknown: Path) -> None:
    data = programs.boring().read_bytes()
    start = edits.module_offset(data)
    (tmp_path / "kubelet").write_bytes(edits.redo_digest(edits.flip(data, start + 0x4321), start))
    gate = ("inspect", "--require", "proven", "kubelet", "--json")
    (before,) = document(run(tmp_path, *gate, code=5))["files"]
    assert before["crypto"]["verdict"] == "unlisted"
    words = ("modules", "learn", unknown, "--id", "theirs-x86_64", "--claimed-by", "Example Labs", "--seen-in", "go1")
    (tmp_path / "mine.toml").write_text(run(tmp_path, *words).stdout)

    told = document(run(tmp_path, *gate, "--modules", "mine.toml"))
    (after,) = told["files"]
    assert (after["crypto"]["verdict"], after["crypto"]["module"]) == ("proven", "theirs-x86_64")
    assert after["module_digest"] == before["module_digest"]
    module = told["modules"]["theirs-x86_64"]
    assert (module["row"], module["claimed_by"]) == ("local", "Example Labs")
    assert "certificates" not in module
    rows = document(run(tmp_path, "modules", "list", "--modules", "mine.toml", "--json"))["modules"]
    (row,) = [row for row in rows if row["id"] == "theirs-x86_64"]
    assert (row["row"], row["claimed_by"], row["certificates"]) == ("local", "Example Labs", [])
    local = "module theirs-x86_64: local, claimed by Example Labs; no certificate is known"
    for form in ((), ("--markdown",)):
        told_so = run(tmp_path, "inspect", "kubelet", "--modules", "mine.toml", *form).stdout
        assert "  theirs-x86_64 (local)  " in told_so or "| theirs-x86_64 (local) |" in told_so
        assert local in told_so
    assert "none; claimed by Example Labs" in run(tmp_path, "modules", "list", "--modules", "mine.toml").stdout


def test_learning_what_is_no_module_says_so(tmp_path: Path, unknown: Path) -> None:
    words = ("--id", "x", "--claimed-by", "me")
    shutil.copy(programs.boring(), tmp_path / "kubelet")
    assert "kubelet" in run(tmp_path, "modules", "learn", "kubelet", *words, code=2).stderr
    data = unknown.read_bytes()
    unknown.write_bytes(edits.flip(data, data.index(edits.module_object("amd64")[:64]) + 0x9000))
    assert "integrity digest" in run(tmp_path, "modules", "learn", unknown, *words, code=1).stderr
    run(tmp_path, "modules", "learn", unknown, "--id", "x", code=2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--id", "x", "--claimed-by", " "), "--claimed-by is empty"),
        (("--id", "", "--claimed-by", "me"), "--id is empty"),
        (("--id", "boringcrypto-20210429-x86_64", "--claimed-by", "me"), "which is already in the table"),
    ],
)
def test_no_row_is_printed_that_a_table_of_ones_own_could_not_have(
    tmp_path: Path, unknown: Path, words: tuple[str, ...], said: str
) -> None:
    done = run(tmp_path, "modules", "learn", unknown, *words, code=2)
    assert (said in done.stderr, done.stdout) == (True, "")


def test_the_shipped_table_is_no_table_of_ones_own(tmp_path: Path) -> None:
    shutil.copy(Path(fipsmanifest.inspect.__file__).with_name("modules.toml"), tmp_path / "shipped.toml")
    assert "names certificates" in run(tmp_path, "modules", "list", "--modules", "shipped.toml", code=2).stderr


@pytest.mark.nightly
def test_a_reference_that_is_made_again_is_the_shipped_one(tmp_path: Path) -> None:
    # A relative root: Go itself runs in another directory.
    (tmp_path / "go").symlink_to(toolchains.GO_1_24)
    command = ("modules", "learn", "--native", "go", "--claimed-by", "", "--json")
    assert "--claimed-by is empty" in run(tmp_path, *command, code=2).stdout
    done = run(tmp_path, *command[:-2], "the release engineers", "--json", timeout=280)
    (made,) = document(done)["references"]
    again = decode((tmp_path / made["file"]).read_bytes(), made["file"], 0)
    shipped = Library().find(again.origin.key)
    assert shipped is not None
    assert replace(again.origin, claimed_by="") == shipped.origin
    assert again.origin.claimed_by == "the release engineers"
    assert again.records == shipped.records
    assert len(again.records) > 1_000


def test_references_of_what_is_no_toolchain_are_refused(tmp_path: Path) -> None:
    done = run(tmp_path, "modules", "learn", "--native", tmp_path, "--claimed-by", "us", code=2)
    assert "Name the root of a Go release" in done.stderr
    assert list(tmp_path.iterdir()) == []
