"""A node that does not answer: the tool reports what it knows once the time is over, and ends at a signal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.node import deadline
from tests.support import roots, schemas
from tests.support.command import PROGRAM
from tests.support.forge import Forge

SILENT, HANGING = ((sys.executable, "-m", "tests.node.hanging", kind) for kind in ("silent", "root"))
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="root alone mounts")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def signed(forge: Forge, root: Path, tmp_path: Path) -> Path:
    path = tmp_path / "m.asc"
    path.write_bytes(forge.clearsign(roots.payload_of(roots.make(root))))
    return path


def run(*command: Any, limit: float) -> tuple[int, dict[str, Any], float]:
    """Return the exit code, the report and the seconds that the command took."""
    begun = time.monotonic()
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=100, check=False)
    seconds = time.monotonic() - begun
    assert seconds < limit and done.stdout, (seconds, done)
    report = json.loads(done.stdout)
    schemas.validate(report, schemas.NODE)
    return done.returncode, report, seconds


def statuses(report: dict[str, Any]) -> dict[tuple[str, str], str]:
    return {(one["id"], one["subject"]): one["status"] for one in report["checks"]}


class TestFileSystemThatDoesNotAnswer:
    """FUSE at a directory of the tree: its readers cannot even be killed."""

    def test_the_rest_of_the_node_is_judged(self, tool: Path, signed: Path, root: Path, tmp_path: Path) -> None:
        junit = tmp_path / "junit.xml"
        command = ["sh", tool, "--json", "--root", root, "--role", "worker", "--timeout", "8", "--junit", junit, signed]
        code, report, _ = run(*SILENT, root / "usr/local/bin", *command, limit=12)

        found = statuses(report)
        assert (code, report["verdict"]) == (4, "incomplete")
        assert found["files", "/usr/bin/kubeadm"] == "pass"
        assert found["files", "/usr/local/bin/containerd"] == "unknown"
        assert found["platform", "operating-system"] == "pass"
        late = next(one for one in report["checks"] if one["subject"] == "/usr/local/bin/containerd")
        assert late["evidence"] == {"code": "ETIMEDOUT", "component": "containerd"}
        assert "does not answer" in late["advice"]
        assert found["files", str(root / "usr/local/bin")] == "unknown"
        assert "fail" not in found.values()
        assert junit.read_text().endswith("</testsuite>\n")

    def test_where_the_whole_tree_hangs_every_check_is_unknown(self, tool: Path, signed: Path, root: Path) -> None:
        command = ["sh", tool, "--json", "--root", root, "--timeout", "3", signed]
        code, report, _ = run(*SILENT, root, *command, limit=8)

        found = statuses(report)
        assert (code, report["verdict"]) == (4, "incomplete")
        for name in ("platform", "fips-mode", "files", "startup", "images"):
            assert "unknown" in {status for (check, _), status in found.items() if check == name}, name
        assert "pass" not in {status for (name, _), status in found.items() if name != "signature"}

    def test_one_that_stops_to_answer_takes_its_checks_alone(self, tool: Path, signed: Path, root: Path) -> None:
        (root / "etc/kubernetes/manifests").mkdir()
        command = ["sh", tool, "--json", "--root", root, "--timeout", "10", "--only", "fips-mode,startup", signed]
        code, report, seconds = run(*HANGING, root / "etc/kubernetes/manifests", *command, limit=13)

        found = statuses(report)
        assert code == 4 and seconds > 2
        assert found["fips-mode", "crypto-policy"] == "pass"
        assert found["startup", "startup"] == found["platform", "role"] == "unknown"


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one name more than are read."""
    directory = tmp_path_factory.mktemp("crowded") / "names"
    directory.mkdir()
    for number in range(20_001):
        (directory / str(number)).symlink_to("/nowhere")
    return directory


@pytest.mark.parametrize(
    ("check", "directory"),
    [
        ("startup", "/etc/kubernetes/manifests"),
        ("startup", "/etc/systemd/system"),
        ("startup", "/etc/cni/net.d"),
        ("startup", "/opt/cni/bin"),
        ("startup", "/etc/ld.so.conf.d/named"),
        ("startup", "/etc/cron.d"),
        ("fips-mode", "/boot/loader/entries"),
        ("images", "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots"),
    ],
)
def test_a_directory_with_more_names_than_are_read_is_unknown(
    check: str, directory: str, tool: Path, signed: Path, root: Path, crowded: Path
) -> None:
    place = root / directory[1:]
    place.parent.mkdir(parents=True, exist_ok=True)
    if directory.startswith("/etc/ld.so"):
        roots.write(root, "/etc/ld.so.conf", f"{directory}\n")
    crowded.rename(place)
    try:
        code, report, _ = run("sh", tool, "--json", "--root", root, "--only", check, signed, limit=20)
    finally:
        place.rename(crowded)

    unknown = [one for one in report["checks"] if one["status"] == "unknown"]
    assert code == 4 and any(directory in str(one) or "snapshots" in str(one) for one in unknown), unknown


class TestSignals:
    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    @pytest.mark.parametrize("program", ["tool", "check node"])
    def test_it_ends_at_once_and_an_older_report_stays(
        self, program: str, number: int, code: int, tool: Path, signed: Path, root: Path, tmp_path: Path, forge: Forge
    ) -> None:
        junit = tmp_path / "junit.xml"
        junit.write_text("older")
        start = ["sh", tool] if program == "tool" else [PROGRAM, "check", "node", "--keys", forge.trust_directory]
        command = [*HANGING, root / "usr/local/bin", *start, "--root", root, "--junit", junit, signed]
        with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None and process.stdout.readline().startswith(b"Host:")
            time.sleep(1)
            begun = time.monotonic()
            process.send_signal(number)
            said = process.communicate(timeout=60)[1]
            seconds = time.monotonic() - begun

        assert process.returncode == code and seconds < 2, (seconds, said)
        assert b"interrupted" in said and b"Traceback" not in said
        assert junit.read_text() == "older"

    def test_a_new_report_that_was_not_written_does_not_stay(
        self, tool: Path, signed: Path, root: Path, tmp_path: Path
    ) -> None:
        junit = tmp_path / "junit.xml"
        command = [*HANGING, root / "usr/local/bin", "sh", tool, "--root", root, "--junit", junit, signed]
        with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None and process.stdout.readline()
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)

        assert process.returncode == 143 and not junit.exists()


class TestChildProcess:
    def test_what_it_sent_before_it_was_killed_stays(self) -> None:
        # As the kernel does where memory is short (OOM): it kills the process that has most of it.
        def work(send: deadline.Send) -> None:
            send(["files", ["x" * 200_000]])
            os.kill(os.getpid(), signal.SIGKILL)

        received: list[Any] = []

        assert deadline.run_child(30, work, received.append) == "it was ended by a signal"
        assert received == [["files", ["x" * 200_000]]]

    def test_what_it_raises_is_named(self) -> None:
        def work(send: deadline.Send) -> None:
            raise LookupError("nothing there")

        with pytest.raises(deadline.ChildFailed, match="LookupError: nothing there"):
            deadline.run_child(30, work, print)


@pytest.mark.parametrize("text", ["0", "-1", "x", "1000000", "1.5"])
def test_a_time_that_is_none_is_a_usage_error(text: str, tool: Path, signed: Path) -> None:
    done = subprocess.run(["sh", str(tool), "--timeout", text, str(signed)], capture_output=True, check=False)

    assert done.returncode == 2 and b"seconds" in done.stderr


def test_no_report_is_written_through_another_users_link(tool: Path, signed: Path, root: Path, tmp_path: Path) -> None:
    # A directory as /tmp is: any user may plant a link in the path of the report.
    (tmp_path / "mine").mkdir()
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "reports").symlink_to(tmp_path / "mine")
    os.chown(shared / "reports", 65534, 65534, follow_symlinks=False)
    junit = shared / "reports" / "junit.xml"
    done = subprocess.run(
        ["sh", str(tool), "--root", str(root), "--junit", str(junit), str(signed)], capture_output=True, check=False
    )

    assert done.returncode == 2 and b"another user's link" in done.stderr
    assert list((tmp_path / "mine").iterdir()) == []
