"""How the tool is started: closed descriptors, a running machine's tree, a report where other users may write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

from fipsmanifest.errors import NotTrusted
from fipsmanifest.node import host
from fipsmanifest.trust import strictjson
from tests.support import roots
from tests.support.forge import GOOD_MANIFEST, Forge

LOOK = "import sys; from fipsmanifest.node import host; print(host.doubt_by_machine(sys.argv[1]) is not None)"


@pytest.fixture
def signed(forge: Forge, tmp_path: Path) -> Path:
    path = tmp_path / "m.asc"
    path.write_bytes(forge.clearsign(roots.payload_of(roots.make(tmp_path / "root"))))
    return path


def at_rest(tool: Path, root: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["sh", str(tool), "--root", str(root), "--role", "worker", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


class TestDescriptors:
    """Standard input, output and error that the caller of the tool has closed."""

    @pytest.mark.parametrize("closed", ["0<&-", "2>&-", "0<&- 2>&-", "0<&- 1>&- 2>&-"])
    def test_what_is_said_to_a_closed_one_goes_into_no_file(
        self, closed: str, tool: Path, signed: Path, tmp_path: Path
    ) -> None:
        junit = tmp_path / "junit.xml"
        script = f'exec sh "$1" --root "$2" --role worker --junit "$3" "$4" {closed}'
        command = ["sh", "-c", script, "sh", *map(str, (tool, tmp_path / "root", junit, signed))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)

        # Without a standard output, the missing report must not be taken for a verdict.
        assert done.returncode == (4 if "1>&-" in closed else 0), done
        assert not junit.exists() if "1>&-" in closed else junit.read_text().endswith("</testsuite>\n")
        assert not junit.exists() or "Verdict" not in junit.read_text()

    def test_every_one_of_them_is_open_afterwards(self) -> None:
        code = (
            "import os; os.close(0); os.close(2)\n"
            "from fipsmanifest.node import descriptors; descriptors.fill()\n"
            "print([os.readlink(f'/proc/self/fd/{n}') for n in (0, 2)], os.open('/etc/passwd', 0) > 2)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

        assert done.stdout == "['/dev/null', '/dev/null'] True\n"

    def test_the_command_without_output_is_incomplete(self) -> None:
        program = Path(sys.executable).with_name("fipsmanifest")
        done = subprocess.run(["sh", "-c", f"{program} definitions list >&-"], capture_output=True, check=False)

        assert done.returncode == 4 and b"output is closed" in done.stderr


class TestJunit:
    """A report in a directory where others may write."""

    @pytest.mark.parametrize("kind", ["link", "dangling link", "hard link"])
    def test_nothing_is_written_through_a_link(self, kind: str, tool: Path, signed: Path, tmp_path: Path) -> None:
        other, junit = tmp_path / "other", tmp_path / "junit.xml"
        other.write_text("precious")
        if kind == "hard link":
            junit.hardlink_to(other)
        else:
            junit.symlink_to(other if kind == "link" else tmp_path / "absent")

        done = at_rest(tool, tmp_path / "root", "--junit", junit, signed)

        assert done.returncode == 2 and "link" in done.stderr, done
        assert other.read_text() == "precious" and not (tmp_path / "absent").exists()

    @pytest.mark.skipif(os.geteuid() != 0, reason="root alone gives files away")
    def test_another_users_file_is_not_written_over(self, tool: Path, signed: Path, tmp_path: Path) -> None:
        junit = tmp_path / "junit.xml"
        junit.write_text("theirs")
        os.chown(junit, 65534, 65534)

        done = at_rest(tool, tmp_path / "root", "--junit", junit, signed)

        assert (done.returncode, junit.read_text()) == (2, "theirs")

    def test_ones_own_older_report_is_replaced(self, tool: Path, signed: Path, tmp_path: Path) -> None:
        junit = tmp_path / "junit.xml"
        junit.write_text("x" * 100_000)

        assert at_rest(tool, tmp_path / "root", "--junit", junit, signed).returncode == 0
        assert junit.read_text().startswith("<?xml") and "xxxx" not in junit.read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone mounts")
class TestForgottenLive:
    """--root without --live at a tree that is a running machine's."""

    def look(self, script: str, *arguments: str | Path) -> str:
        command = ["unshare", "--mount", "--pid", "--fork", "sh", "-ec", script, "sh", sys.executable, LOOK]
        done = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def test_the_hosts_root_with_its_proc_is_told(self, tmp_path: Path) -> None:
        script = 'mount -t proc proc /proc; mount --rbind / "$3"; exec "$1" -c "$2" "$3"'

        assert self.look(script, tmp_path) == "True"

    def test_the_machines_own_root_is_told(self) -> None:
        assert self.look('mount -t proc proc /proc; exec "$1" -c "$2" /') == "True"

    def test_a_hosts_root_without_its_proc_is_known_by_this_containers_own_layers(self, tmp_path: Path) -> None:
        # As a container of containerd's sees itself, and its host at /host by a bind mount that is not recursive.
        script = """
mount -t tmpfs none "$3"
mkdir -p "$3/up" "$3/work" "$3/merged"
mount -t overlay overlay -o "lowerdir=/,upperdir=$3/up,workdir=$3/work" "$3/merged"
mkdir -p "$3/merged/host" "$3/merged/other"
mount --rbind / "$3/merged/host"
umount -l "$3/merged/host/proc" || true
mount -t proc proc "$3/merged/proc"
for tree in /host /other; do chroot "$3/merged" "$1" -c "$2" "$tree"; done
"""
        assert self.look(script, tmp_path).split() == ["True", "False"]

    def test_an_unpacked_tree_is_none_even_where_proc_was_mounted_into_it(self, tmp_path: Path) -> None:
        # As builders of machine images do, to run programs in it.
        script = 'mount -t proc proc /proc; mkdir "$3/proc"; mount -t proc proc "$3/proc"; exec "$1" -c "$2" "$3"'

        assert self.look(script, tmp_path) == "False"
        assert host.doubt_by_machine(str(tmp_path)) is None

    def test_the_verdict_is_incomplete(self, tool: Path, signed: Path) -> None:
        script = 'mount -t proc proc /proc; exec sh "$3" --json --only platform --root / "$4"'
        command = ["unshare", "--mount", "--pid", "--fork", "sh", "-ec", script, "sh", "x", "x", str(tool), str(signed)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)

        report: dict[str, Any] = json.loads(done.stdout)
        [doubt] = [one for one in report["checks"] if one["subject"] == "live"]
        assert (doubt["status"], doubt["evidence"]["code"]) == ("unknown", "running")
        assert "--live" in doubt["advice"]


@pytest.mark.parametrize("opening", ["[", '{"a":', '{"a": ['])
def test_json_of_any_depth_is_an_error_of_its_own(opening: str) -> None:
    for depth in (31, 33, 1000, 100_000, 1_000_000):
        with pytest.raises(NotTrusted):
            strictjson.parse_object((opening * depth).encode(), lambda reason: NotTrusted(reason, ""))


def test_a_manifest_of_deep_json_is_not_trusted(forge: Forge, tool: Path, tmp_path: Path) -> None:
    deep = "[\n" * 100_000 + "]\n" * 100_000
    path = tmp_path / "m.asc"
    path.write_bytes(forge.clearsign(f'{{"a": {deep}}}\n'.encode()))

    done = at_rest(tool, tmp_path, path)

    assert done.returncode == 3 and "nested" in done.stdout, done


class TestAuditor:
    """What a report says to a reader who was not there."""

    MODULES: ClassVar = {
        "boringcrypto-x": {
            "name": "BoringCrypto",
            "digest": "ab" * 32,
            "certificates": [
                {"number": 4407, "standard": "FIPS 140-2", "holder": "Google", "historical_since": "2020-01-01"},
                {"number": 9999, "standard": "FIPS 140-3", "holder": "Google", "historical_since": "9999-01-01"},
            ],
        }
    }

    @pytest.fixture
    def manifest(self, forge: Forge, tmp_path: Path) -> Path:
        made = roots.make(tmp_path / "root")
        made["files"][0]["crypto"] = {"verdict": "proven", "module": "boringcrypto-x"}
        components = [
            {"name": "kubelet", "architecture": "x86_64", "requirement": "proven", "verdict": "proven"},
            {"name": "kubeadm", "architecture": "x86_64", "requirement": "known", "verdict": "plain", "reason": "why"},
        ]
        path = tmp_path / "m.asc"
        made |= {"modules": self.MODULES, "components": components}
        path.write_bytes(forge.clearsign(roots.payload_of(GOOD_MANIFEST | made)))
        return path

    def test_modules_certificates_digests_and_the_run_are_in_the_json(
        self, tool: Path, manifest: Path, tmp_path: Path
    ) -> None:
        done = at_rest(tool, tmp_path / "root", "--json", manifest)

        report = json.loads(done.stdout)
        assert report["host"]["tool_sha256"] == roots.sha256(tool)
        assert report["host"]["started"] <= report["host"]["finished"] and report["host"]["seconds"] >= 0
        assert report["manifest"]["sha256"] == roots.sha256(manifest)
        [module] = report["manifest"]["modules"]
        assert [(one["number"], one["status"]) for one in module["certificates"]] == [
            (4407, "historical"),
            (9999, "active"),
        ]
        rows = {one["name"]: one for one in report["components"]}
        assert (rows["kubelet"]["verdict"], rows["kubelet"]["modules"]) == ("proven", ["boringcrypto-x"])
        assert (rows["kubeadm"]["requirement"], rows["kubeadm"]["reason"]) == ("known", "why")
        assert rows["kubelet"]["status"] == "pass"

    def test_the_text_says_that_a_plain_build_is_known_and_plain(
        self, tool: Path, manifest: Path, tmp_path: Path
    ) -> None:
        lines = at_rest(tool, tmp_path / "root", manifest).stdout.splitlines()

        shown = {line.split()[1]: line.split("  ")[-1].strip() for line in lines if line.startswith("Component:")}
        assert (shown["kubelet"], shown["kubeadm"]) == ("[OK]", "[OK, known: not a FIPS build]")
        kubelet = next(number for number, line in enumerate(lines) if line.startswith("Component: kubelet "))
        assert lines[kubelet + 1] == "    listed as: proven (boringcrypto-x)"
        [module] = [line for line in lines if line.startswith("Module: ")]
        assert "certificate 4407 (FIPS 140-2, Google): historical since 2020-01-01" in module
        assert any(line.startswith("Run: ") and roots.sha256(tool) in line for line in lines)
        assert f"Digest: sha256:{roots.sha256(manifest)}" in lines
