"""The single file in hostile surroundings: environments, missing rights, no output, signals."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.generate.tool import build_tool
from tests.support import roots, schemas
from tests.support.forge import Forge

NOBODY = 65534
#: Where temporary files may be, for as long as they are needed.
MEMORY = (Path("/run"), Path("/dev/shm"))  # noqa: S108


@dataclass
class Place:
    """A directory that all users may enter, with a tool, a node's root and a manifest in it."""

    directory: Path
    forge: Forge
    manifest: dict[str, Any]

    @property
    def root(self) -> Path:
        return self.directory / "root"

    def signed(self) -> Path:
        path = self.directory / "manifest-rhel8.json.asc"
        path.write_bytes(self.forge.clearsign(roots.payload_of(self.manifest)))
        return path

    def command(self, *arguments: str | Path) -> list[str]:
        return ["sh", str(self.directory / "dkp-fips-tool"), "--root", str(self.root), *map(str, arguments)]

    def run(self, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        command = self.command(*arguments, self.signed())
        done = subprocess.run(command, text=True, timeout=60, check=False, **({"capture_output": True} | options))
        assert "Traceback" not in (done.stderr or "") and "Exception ignored" not in (done.stderr or ""), done.stderr
        return done

    def report(self, *arguments: str | Path, **options: Any) -> tuple[int, dict[str, Any]]:
        done = self.run("--json", *arguments, **options)
        report = json.loads(done.stdout)
        schemas.validate(report, schemas.NODE)
        return done.returncode, report


@pytest.fixture
def place(forge: Forge) -> Iterator[Place]:
    # Other users cannot enter pytest's own directories.
    directory = Path(tempfile.mkdtemp(prefix="fm-place-"))
    directory.chmod(0o755)
    build_tool(forge.trust_directory, directory / "dkp-fips-tool")
    (directory / "root").mkdir()
    yield Place(directory, forge, roots.make(directory / "root"))
    subprocess.run(["chmod", "-R", "u+rwX", directory], check=True)
    shutil.rmtree(directory)


def left_by(pid: int) -> list[Path]:
    return [path for directory in MEMORY for path in directory.glob(f"fipsmanifest-{pid}-*")]


class TestTheEnvironment:
    """The user's environment has no effect."""

    def test_python_settings_and_modules_of_the_directory_are_not_used(self, place: Place) -> None:
        hostile = place.directory / "hostile"
        hostile.mkdir()
        for name in ("json", "re", "sitecustomize", "usercustomize", "argparse", "typing", "fipsmanifest"):
            (hostile / f"{name}.py").write_text(f"open({str(hostile / 'ran')!r}, 'w')\nraise SystemExit(0)\n")
        environment = {
            "PATH": "/usr/bin",
            "PYTHONPATH": str(hostile),
            "PYTHONHOME": str(hostile),
            "PYTHONSTARTUP": str(hostile / "json.py"),
            "PYTHONINSPECT": "1",
            "PYTHONUSERBASE": str(hostile),
            "HOME": str(hostile),
        }

        code, report = place.report(cwd=hostile, env=environment)

        assert (code, report["verdict"]) == (0, "valid")
        assert not (hostile / "ran").exists()

    def test_nothing_is_left_behind(self, place: Place) -> None:
        def listing() -> dict[str, tuple[int, int, int]]:
            found = [path for path in place.directory.rglob("*") if path.is_file() and not path.is_symlink()]
            states = {path: path.stat() for path in found}
            return {str(path): (one.st_ino, one.st_size, one.st_mtime_ns) for path, one in states.items()}

        signed = place.signed()
        before, home = listing(), {"HOME": str(place.directory), "TMPDIR": str(place.directory), "PATH": "/usr/bin"}

        with subprocess.Popen(
            place.command(signed), cwd=place.directory, env=home, stdout=subprocess.DEVNULL
        ) as process:
            assert process.wait() == 0

        assert listing() == before and not left_by(process.pid)


class TestOutput:
    """A report that cannot be delivered is no verdict."""

    def test_a_full_disk_is_incomplete(self, place: Place) -> None:
        with Path("/dev/full").open("w") as full:
            for form in ([], ["--json"]):
                done = place.run(*form, stdout=full, stderr=subprocess.PIPE, capture_output=False)
                assert (done.returncode, done.stderr.count("\n")) == (4, 1), done.stderr
                assert "No space left on device" in done.stderr

    def test_closed_outputs_are_incomplete(self, place: Place) -> None:
        for closed in (">&-", ">&- 2>&-"):
            command = ["sh", "-c", f'"$@" {closed}', "sh", *place.command(place.signed())]
            assert subprocess.run(command, check=False, capture_output=True).returncode == 4

    def test_a_junit_file_that_cannot_be_written_is_said_before_anything_is_read(self, place: Place) -> None:
        done = place.run("--junit", place.directory / "nowhere" / "junit.xml")

        assert (done.returncode, done.stdout) == (2, "")

    def test_a_junit_file_without_room_does_not_take_the_report_with_it(self, place: Place) -> None:
        done = place.run("--junit", "/dev/full", "--json")

        assert done.returncode == 4 and json.loads(done.stdout)["verdict"] == "valid"

    def test_a_fifo_that_nobody_writes_to_is_no_manifest_and_no_hang(self, place: Place) -> None:
        fifo = place.directory / "fifo"
        os.mkfifo(fifo)

        done = subprocess.run(place.command(fifo), check=False, capture_output=True, timeout=60)

        assert done.returncode == 3

    def test_a_pipe_is_read_to_its_end(self, place: Place) -> None:
        script = 'signed=$1; shift; "$@" <(sleep 0.2; cat "$signed")'
        command = ["bash", "-c", script, "bash", str(place.signed()), *place.command("--json")]

        assert subprocess.run(command, check=False, capture_output=True, timeout=60).returncode == 0


def on_a_terminal(place: Place, *arguments: str | Path, **variables: str) -> str:
    terminal, end = pty.openpty()
    with os.fdopen(terminal, "rb") as reading:
        command = place.command(*arguments, place.signed())
        process = subprocess.Popen(command, stdout=end, stderr=end, env={"PATH": "/usr/bin", **variables})
        os.close(end)
        output = b""
        # Linux reports an error for a terminal whose other end is closed.
        with contextlib.suppress(OSError):
            while part := os.read(reading.fileno(), 65536):
                output += part
        assert process.wait() == 0
    return output.decode("ascii")


def test_colour_is_for_terminals_and_for_those_who_want_it(place: Place) -> None:
    assert "\x1b[32m[OK]\x1b[0m" in on_a_terminal(place)
    assert "\x1b" not in on_a_terminal(place, NO_COLOR="1")
    assert "\x1b" not in on_a_terminal(place, "--json")
    assert "\x1b" not in place.run().stdout


def own_processes() -> list[str]:
    """Return a command that runs another one where the processes of this machine are not seen.

    Empty where that is not permitted, as in most containers: there, a machine's processes are not seen anyway.
    """
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    command = ["unshare", *user, "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"]
    permitted = subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    return command if permitted else []


def test_a_file_that_is_installed_unpacked_and_running_is_read_once(place: Place) -> None:
    kubelet, size = place.root / "usr/bin/kubelet", 64 << 20
    shutil.copyfile("/usr/bin/sleep", kubelet)
    kubelet.chmod(0o755)
    os.truncate(kubelet, size)
    place.manifest["files"][0] = roots.file_entry(place.root, "/bin/kubelet")
    for library in re.findall(r"(/\S+) \(0x", subprocess.check_output(["ldd", "/usr/bin/sleep"], text=True)):
        # Without a database of packages, a library is the node's by its bytes.
        copy = place.root / str(Path(library).resolve())[1:]
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(library, copy)
    store = place.root / "var/lib/containerd/io.containerd.content.v1.content/blobs/sha256"
    unpacked = place.root / "var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs/kubelet"
    for directory in (store, unpacked.parent):
        directory.mkdir(parents=True)
    unpacked.hardlink_to(kubelet)
    blob = store / roots.sha256(kubelet)
    blob.hardlink_to(kubelet)
    file = roots.file_entry(unpacked.parent, "/kubelet")
    platform = {"architecture": "x86_64", "manifest": f"sha256:{blob.name}", "config": f"sha256:{blob.name}"}
    image = {"reference": "kubelet:v1", "component": "kubelet", "platforms": [platform | {"files": [file]}]}
    place.manifest["images"] = [image]
    only = ["--json", "--live", "--role", "worker", "--only", "files,images,processes"]
    command = place.command(*only, place.signed())
    output, counted = place.directory / "report.json", place.directory / "io"
    code = (
        "import os, shutil, subprocess, sys\n"
        "running = subprocess.Popen([sys.argv[1], '60'])\n"
        "process = subprocess.Popen(sys.argv[4:], stdout=open(sys.argv[2], 'wb'))\n"
        # The kernel keeps the entry of a process until its parent waits for it.
        "os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)\n"
        "shutil.copyfile('/proc/{}/io'.format(process.pid), sys.argv[3])\n"
        "process.wait()\n"
        "running.kill()\n"
    )
    words = [*own_processes(), sys.executable, "-c", code, str(kubelet), str(output), str(counted), *command]
    subprocess.run(words, check=True, timeout=60)

    (read,) = map(int, re.findall(r"^rchar: (\d+)$", counted.read_text(), re.MULTILINE))
    passed = [one for one in json.loads(output.read_text())["checks"] if one["status"] == "pass"]
    of_kubelet = [one["id"] for one in passed if one["evidence"].get("component") == "kubelet"]
    assert {"files", "images", "processes"} <= set(of_kubelet)
    assert size < read < 1.5 * size


class TestVerdicts:
    """Nothing checked is incomplete."""

    def test_a_run_in_which_nothing_of_the_node_was_looked_at_is_incomplete(self, place: Place) -> None:
        code, report = place.report("--only", "processes,services")

        assert (code, report["verdict"], report["scope"]) == (4, "incomplete", "partial")

    def test_the_signature_alone_may_be_asked_for(self, place: Place) -> None:
        code, report = place.report("--only", "signature")

        assert (code, report["verdict"], report["scope"]) == (0, "valid", "partial")


class TestWithoutRights:
    """Run by ``nobody``: what may not be read is unknown, and unknown is never a pass."""

    def nobody(self, place: Place, *arguments: str) -> tuple[int, dict[str, Any]]:
        user: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        return place.report(*arguments, **user)

    def test_what_everybody_may_read_is_checked(self, place: Place) -> None:
        code, report = self.nobody(place)

        assert (code, report["verdict"]) == (0, "valid")

    def test_a_program_that_may_not_be_read_is_unknown(self, place: Place) -> None:
        (place.root / "usr/bin/kubelet").chmod(0o711)

        code, report = self.nobody(place)

        unknown = [one for one in report["checks"] if one["status"] == "unknown"]
        assert (code, report["verdict"]) == (4, "incomplete")
        assert [(one["subject"], one["evidence"]["code"]) for one in unknown] == [("/bin/kubelet", "EACCES")]

    def test_an_os_release_that_may_not_be_read_is_unknown(self, place: Place) -> None:
        roots.write(place.root, "/etc/os-release", 'ID="rhel"\nVERSION_ID="8.4"\n')
        (place.root / "etc/os-release").chmod(0o600)

        code, report = self.nobody(place)

        assert code == 4
        assert "operating-system" in [one["subject"] for one in report["checks"] if one["status"] == "unknown"]

    def test_directories_that_may_not_be_entered_are_unknown(self, place: Place) -> None:
        store = place.root / "var/lib/containerd/io.containerd.content.v1.content"
        (store / "blobs/sha256").mkdir(parents=True)
        for directory in (place.root / "usr/local/bin", store):
            directory.chmod(0)

        code, report = self.nobody(place)

        assert (code, report["verdict"]) == (4, "incomplete")
        unknown = {one["subject"] for one in report["checks"] if one["status"] == "unknown"}
        assert {"/usr/local/bin/containerd", "content-store"} <= unknown

    def test_a_role_and_static_pods_that_may_not_be_looked_up_are_unknown(self, place: Place) -> None:
        # kubeadm makes this directory for root alone; if it were not read, a control plane would pass as a worker.
        manifests = place.root / "etc/kubernetes/manifests"
        manifests.mkdir()
        (manifests / "kube-apiserver.yaml").write_text("{}")
        manifests.chmod(0o700)

        code, report = self.nobody(place)
        assert code == 4
        assert [one["subject"] for one in report["checks"] if one["status"] == "unknown"] == [
            "role",
            "/etc/kubernetes/manifests",
        ]
        assert self.nobody(place, "--role", "worker")[0] == 4
        assert self.nobody(place, "--role", "worker", "--skip", "startup")[0] == 0
        # A check that is the same for every role does not need it.
        assert self.nobody(place, "--only", "platform")[0] == 0


def reads(pid: int, file: Path) -> bool:
    """Return whether the process or a child of it, which each check is, has the file open."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for process in (str(pid), *children):
        with contextlib.suppress(FileNotFoundError):
            if any(opened.resolve() == file for opened in Path("/proc", process, "fd").iterdir()):
                return True
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_files_are_read_ends_it_at_once_and_leaves_nothing(place: Place, number: signal.Signals) -> None:
    kubelet = place.root / "usr/bin/kubelet"
    os.truncate(kubelet, 1 << 40)
    place.manifest["files"][0]["size"] = 1 << 40
    command = [sys.executable, "-I", "-S", "-B", *place.command(place.signed())[1:]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not reads(process.pid, kubelet):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        begun = time.monotonic()
        try:
            output, error = process.communicate(timeout=60)
        finally:
            process.kill()

    assert process.returncode == 128 + number
    assert time.monotonic() - begun < 10
    assert error == "dkp-fips-tool: interrupted.\n"
    assert output.startswith("Host: ") and "Verdict" not in output
    assert not left_by(process.pid)
