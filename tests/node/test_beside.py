"""Programs beside the listed ones: on disk, and running."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.node.checks import files, processes, procfs
from fipsmanifest.node.result import Listed, Node, Result
from tests.support import roots


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def manifest(root: Path) -> dict[str, Any]:
    return roots.make(root)


def check(root: Path, *manifests: dict[str, Any]) -> dict[str, Result]:
    listed = [Listed(f"m{number}", manifest) for number, manifest in enumerate(manifests)]
    return {result.subject: result for result in files.check(Node(str(root), False, "worker"), listed)}


class TestFiles:
    """Unexpected executables, and several possible paths."""

    def test_another_kubelet_that_path_may_find_first_fails(self, root: Path, manifest: dict[str, Any]) -> None:
        shutil.copy("/usr/bin/env", root / "usr/local/bin/kubelet")

        result = check(root, manifest)["/usr/local/bin/kubelet"]

        assert (result.status, result.evidence["code"]) == ("fail", "unexpected")
        assert result.actual == "sha256:" + roots.sha256(Path("/usr/bin/env"))

    @pytest.mark.parametrize("directory", ["/opt/containerd", "/data/opt"])
    def test_a_program_that_containerd_itself_would_find_first_fails(
        self, directory: str, root: Path, manifest: dict[str, Any]
    ) -> None:
        if directory != "/opt/containerd":
            text = f'[plugins."io.containerd.internal.v1.opt"]\n  path = "{directory}"\n'
            roots.write(root, "/etc/containerd/config.toml", text)
        path = f"{directory}/bin/containerd"
        roots.write(root, path, "")
        shutil.copyfile("/usr/bin/yes", root / path.lstrip("/"))
        assert {result.status for result in check(root, manifest).values()} == {"pass"}
        (root / path.lstrip("/")).chmod(0o755)

        assert check(root, manifest)[path].evidence["code"] == "unexpected"

    def test_where_containerd_finds_programs_first_is_unknown_if_its_configuration_cannot_be_read(
        self, root: Path, manifest: dict[str, Any]
    ) -> None:
        (root / "etc/containerd/config.toml").mkdir(parents=True)

        assert check(root, manifest)["containerd"].evidence["code"] == "configuration"

    def test_the_same_program_at_another_path_passes_and_is_told(self, root: Path, manifest: dict[str, Any]) -> None:
        shutil.copy(root / "usr/bin/kubelet", root / "usr/local/bin/kubelet")
        (root / "usr/local/bin/kubeadm").symlink_to("/usr/bin/kubeadm")

        found = check(root, manifest)

        assert found["/usr/local/bin/kubelet"].evidence["code"] == "another-path"
        assert "/usr/local/bin/kubeadm" not in found
        assert {result.status for result in found.values()} == {"pass"}

    @pytest.mark.parametrize("moved", [True, False])
    def test_the_same_program_at_another_path_with_a_wider_mode_fails(
        self, moved: bool, root: Path, manifest: dict[str, Any]
    ) -> None:
        shutil.copy(root / "usr/bin/kubeadm", root / "usr/local/bin/kubeadm")
        (root / "usr/local/bin/kubeadm").chmod(0o6777 if moved else 0o777)
        if moved:
            (root / "usr/bin/kubeadm").unlink()

        result = check(root, manifest)["/usr/local/bin/kubeadm"]

        assert (result.status, result.evidence["code"]) == ("fail", "mode-wider")

    def test_a_program_elsewhere_with_the_name_of_a_cni_plugin_is_no_finding(
        self, root: Path, manifest: dict[str, Any]
    ) -> None:
        # iproute's, on every node.
        (root / "usr/sbin").mkdir()
        shutil.copy("/usr/bin/env", root / "usr/sbin/bridge")
        (root / "opt/cni/bin").mkdir(parents=True)
        shutil.copy("/usr/bin/false", root / "opt/cni/bin/bridge")
        bridge = roots.file_entry(root, "/opt/cni/bin/bridge", component="cni-plugins", go={"version": "go1.16"})
        manifest["files"].append(bridge)

        assert {result.status for result in check(root, manifest).values()} == {"pass"}

        (root / "usr/libexec/cni").mkdir(parents=True)
        shutil.copy("/usr/bin/env", root / "usr/libexec/cni/bridge")
        assert check(root, manifest)["/usr/libexec/cni/bridge"].status == "fail"

    def test_a_directory_that_may_not_be_looked_into_is_unknown(self, root: Path, manifest: dict[str, Any]) -> None:
        # Only root's own tree is open to root in spite of its mode, so another user runs the check.
        (root / "root").mkdir(mode=0o700)
        for directory in (root, *root.parents[:4]):
            directory.chmod(directory.stat().st_mode | 0o055)
        code = (
            "import os, sys\n"
            f"sys.path[:0] = {sys.path!r}\n"
            "from fipsmanifest.node.checks import files\n"
            "from fipsmanifest.node.result import Listed, Node\n"
            "import concurrent.futures.thread\n"
            "if os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            f"os.path.lexists({str(root)!r}) or sys.exit('the tree cannot be seen')\n"
            f"found = files.check(Node({str(root)!r}, False, 'worker'), [Listed('m', {manifest!r})])\n"
            "print([(one.subject, one.status, one.evidence['code']) for one in found if one.status != 'pass'])\n"
        )
        if os.geteuid() != 0:
            (root / "root").chmod(0)

        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == "[('/root/bin', 'unknown', 'EACCES')]"

    def test_a_file_that_cannot_be_run_is_no_finding(self, root: Path, manifest: dict[str, Any]) -> None:
        (root / "usr/local/bin/kubelet").write_text("notes\n")
        (root / "usr/local/bin/kubeadm").mkdir()

        assert {result.status for result in check(root, manifest).values()} == {"pass"}

    def test_a_program_in_another_of_its_possible_paths_passes(self, root: Path, manifest: dict[str, Any]) -> None:
        (root / "usr/bin/kubeadm").rename(root / "usr/local/bin/kubeadm")

        result = check(root, manifest)["/usr/bin/kubeadm"]

        assert (result.status, result.evidence["path"]) == ("pass", "/usr/local/bin/kubeadm")

    def test_a_path_that_one_of_two_manifests_lists_may_be_missing(self, root: Path, manifest: dict[str, Any]) -> None:
        shim = manifest["files"][2] | {"path": "/usr/local/bin/containerd-shim"}
        newer = manifest | {"files": [*manifest["files"], shim]}

        assert check(root, newer)["/usr/local/bin/containerd-shim"].status == "fail"
        assert check(root, newer, manifest)["/usr/local/bin/containerd-shim"].status == "not-applicable"
        # One that both list may not.
        assert check(root, newer, newer)["/usr/local/bin/containerd-shim"].status == "fail"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], int]]:
    """Run a copy of sleep by the name of a component's program."""
    started: list[subprocess.Popen[bytes]] = []

    def run(path: str) -> int:
        place = tmp_path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            shutil.copyfile("/usr/bin/sleep", place)
            place.chmod(0o755)
        started.append(subprocess.Popen([place, "60"]))
        return started[-1].pid

    yield run
    for process in started:
        process.kill()
        process.wait()


class TestProcesses:
    """What runs."""

    NAME = f"kubelet-{os.getpid()}"

    def listed(self, digest: str, path: str, **changes: Any) -> Listed:
        file = {"path": path, "type": "file", "role": "program", "sha256": digest, "component": "kubelet", **changes}
        return Listed("m.asc", {"files": [file], "node": {"roles": {"worker": ["kubelet"]}}})

    def look(self, pid: int, listed: Listed, role: str = "worker") -> Result:
        found = processes.check(Node("/", True, role), [listed])
        return next(result for result in found if pid in result.evidence.get("pids", ()))

    def test_processes_of_one_program_are_one_result(self, start: Callable[[str], int], tmp_path: Path) -> None:
        pids = [start(f"bin/{self.NAME}") for _ in range(3)]
        sleep = roots.sha256(Path("/usr/bin/sleep"))

        result = self.look(pids[0], self.listed(sleep, f"{tmp_path}/bin/{self.NAME}"))

        assert (result.status, result.evidence["pids"], result.evidence["count"]) == ("pass", pids, 3)
        assert result.evidence["manifest"] == "m.asc" and "path" not in result.evidence

    def test_a_listed_program_outside_the_listed_paths_passes_and_is_told(self, start: Callable[[str], int]) -> None:
        pid = start(f"elsewhere/{self.NAME}")

        result = self.look(pid, self.listed(roots.sha256(Path("/usr/bin/sleep")), f"/usr/bin/{self.NAME}"))

        assert (result.status, result.evidence["path"]) == ("pass", "not-listed")

    def test_an_unlisted_program_outside_the_listed_paths_fails(self, start: Callable[[str], int]) -> None:
        pid = start(f"elsewhere/{self.NAME}")

        result = self.look(pid, self.listed("0" * 64, f"/usr/bin/{self.NAME}"))

        assert (result.status, result.evidence["code"]) == ("fail", "outside")

    def test_a_program_of_another_role_is_looked_at_as_well(self, start: Callable[[str], int]) -> None:
        pid = start(f"elsewhere/{self.NAME}")

        assert self.look(pid, self.listed("0" * 64, f"/usr/bin/{self.NAME}"), "other").status == "fail"

    def test_the_shells_that_images_bring_are_not_compared_with_the_hosts(self, start: Callable[[str], int]) -> None:
        pid = start("bin/sleep")
        file = {"path": "/bin/sleep", "role": "program", "sha256": "0" * 64}
        image = {"reference": "etcd", "component": "kubelet", "platforms": [{"files": [file]}]}
        listed = Listed("m", {"files": [], "images": [image], "node": {"roles": {"worker": ["kubelet"]}}})

        found = processes.check(Node("/", True, "worker"), [listed])

        assert not [result for result in found if pid in result.evidence.get("pids", ())]

    def test_a_replaced_program_is_named_with_what_to_do(self, start: Callable[[str], int], tmp_path: Path) -> None:
        pid = start(f"bin/{self.NAME}")
        place = tmp_path / "bin" / self.NAME
        place.unlink()
        shutil.copyfile("/usr/bin/true", place)

        result = self.look(pid, self.listed(roots.sha256(Path("/usr/bin/sleep")), str(place)))

        assert (result.status, result.evidence["code"]) == ("fail", "deleted")
        assert "a listed file" in str(result.actual) and "Restart" in result.advice

    @pytest.mark.parametrize("aside", ["{}.old", ".{}~"])
    def test_a_program_that_was_moved_aside_while_it_runs_is_still_compared(
        self, aside: str, start: Callable[[str], int], tmp_path: Path
    ) -> None:
        # /proc/PID/exe then bears the new name and no "(deleted)".
        name = self.NAME[:15]
        pid = start(f"bin/{name}")
        place = tmp_path / "bin" / name
        place.rename(place.with_name(aside.format(name)))
        shutil.copyfile("/usr/bin/true", place)

        result = self.look(pid, self.listed(roots.sha256(place), str(place)))

        assert (result.status, result.evidence["code"]) == ("fail", "outside")
        assert aside.format(name) in result.subject

    def test_a_process_that_ends_under_the_reader_is_no_finding(
        self, start: Callable[[str], int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ended, ending = start(f"bin/{self.NAME}"), start(f"other/{self.NAME}")
        os.kill(ended, signal.SIGKILL)  # a zombie from here on: its parent has not waited for it

        def pids() -> Iterator[int]:
            yield from (ended, ending)
            # It was listed, and is gone before it is hashed.
            os.kill(ending, signal.SIGKILL)
            os.waitpid(ending, 0)
            yield 2**22 + 1  # above kernel.pid_max

        monkeypatch.setattr(procfs, "pids", pids)
        found = processes.check(Node("/", True, "worker"), [self.listed("0" * 64, f"/usr/bin/{self.NAME}")])

        assert [(one.subject, one.status) for one in found] == [("processes", "unknown")]

    def test_a_script_of_a_components_name_is_unknown(self, tmp_path: Path) -> None:
        script = tmp_path / self.NAME[:15]
        script.write_text("#!/bin/sh\nread line\n")
        script.chmod(0o755)
        with subprocess.Popen([script], stdin=subprocess.PIPE) as process:
            while Path(f"/proc/{process.pid}/comm").read_text().rstrip("\n") != script.name:
                time.sleep(0.01)
            found = processes.check(Node("/", True, "worker"), [self.listed("0" * 64, f"/usr/bin/{script.name}")])
            process.communicate(b"\n")

        mine = [result for result in found if process.pid in result.evidence.get("pids", ())]
        assert [(one.status, one.evidence["code"]) for one in mine] == [("unknown", "script")]

    @pytest.mark.parametrize("script", [False, True])
    def test_what_a_loader_or_an_interpreter_was_told_to_run_is_unknown(self, script: bool, tmp_path: Path) -> None:
        # Neither its file nor its process bears the component's name.
        name = self.NAME[:15]
        place = tmp_path / name
        if script:
            place.write_text("read line\n")
            start: list[str | Path] = ["/bin/sh", "-u", place]
        else:
            shutil.copy("/usr/bin/cat", place)
            start = [next(Path("/").glob("lib*/ld-linux-*.so.*")), place]
        listed = self.listed("0" * 64, f"/usr/bin/{name}")
        with subprocess.Popen(start, stdin=subprocess.PIPE) as process:
            result = self.look(process.pid, listed)
            process.communicate(b"\n")

        assert (result.status, result.evidence["code"]) == ("unknown", "script")

    @pytest.mark.parametrize(
        "command", [["sh", "-ec", "read line # {}"], ["sh", "/dev/stdin", "{}"], ["tail", "-f", "{}"]]
    )
    def test_what_only_names_a_component_is_none_of_it(self, command: list[str], tmp_path: Path) -> None:
        place = tmp_path / self.NAME[:15]
        place.touch()
        with subprocess.Popen([word.format(place) for word in command], stdin=subprocess.PIPE) as process:
            found = processes.check(Node("/", True, "worker"), [self.listed("0" * 64, f"/usr/bin/{place.name}")])
            process.kill()

        assert not [result for result in found if process.pid in result.evidence.get("pids", ())]

    def test_an_unlisted_program_that_was_started_through_a_link_of_a_components_name_fails(
        self, start: Callable[[str], int], tmp_path: Path
    ) -> None:
        # /proc/PID/exe is the link's target; comm is the link.
        shutil.copy("/usr/bin/sleep", tmp_path / "evil")
        name = f"{self.NAME}-controller-manager"
        link = tmp_path / name[:15]
        link.symlink_to(tmp_path / "evil")
        pid = start(link.name)

        bad = self.look(pid, self.listed("0" * 64, f"/usr/bin/{name}"))
        good = self.look(pid, self.listed(roots.sha256(tmp_path / "evil"), f"/usr/bin/{name}"))

        assert (bad.status, bad.evidence["code"]) == ("fail", "outside")
        assert good.status == "pass"

    def test_a_copy_that_was_put_aside_and_runs_is_compared(self, start: Callable[[str], int]) -> None:
        pid = start(f"bin/{self.NAME}.bak")

        assert self.look(pid, self.listed("0" * 64, f"/usr/bin/{self.NAME}")).status == "fail"

    def test_a_program_elsewhere_with_the_name_of_a_cni_plugin_is_none(self, start: Callable[[str], int]) -> None:
        listed = self.listed("0" * 64, f"/opt/cni/bin/{self.NAME[:15]}", component="cni-plugins", go={})
        listed.manifest["files"][0]["go"] = {"version": "go1.16"}
        outside, inside = start(f"bin/{self.NAME[:15]}"), start(f"cni/bin/{self.NAME[:15]}")

        found = processes.check(Node("/", True, "worker"), [listed])

        assert not [result for result in found if outside in result.evidence.get("pids", ())]
        # A component that belongs to no role is compared where it runs.
        assert self.look(inside, listed).status == "fail"

    def test_a_node_whose_daemons_do_not_run_is_unknown(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        proc = tmp_path / "proc/7"
        proc.mkdir(parents=True)
        shutil.copy("/usr/bin/true", tmp_path / "kubectl")
        (proc / "exe").symlink_to(tmp_path / "kubectl")
        (tmp_path / "proc/self").mkdir()
        (tmp_path / "proc/self/mountinfo").write_text("")
        monkeypatch.setattr(procfs, "PROC", str(tmp_path / "proc"))
        listed = self.listed(
            roots.sha256(tmp_path / "kubectl"), f"{tmp_path}/kubectl", component="kubectl", go={"v": 1}
        )
        listed.manifest["files"].append(
            listed.manifest["files"][0] | {"path": "/usr/bin/kubelet", "component": "kubelet"}
        )

        found = processes.check(Node("/", True, "worker"), [listed])

        assert [(one.status, one.evidence.get("code")) for one in found] == [("pass", None), ("unknown", "not-running")]

    def test_a_program_that_only_has_a_components_name_within_its_own_is_none(
        self, start: Callable[[str], int]
    ) -> None:
        pid = start("bin/my-kubelet-helper")
        found = processes.check(Node("/", True, "worker"), [self.listed("0" * 64, "/usr/bin/kubelet")])

        assert not [result for result in found if pid in result.evidence.get("pids", ())]

    def test_processes_that_end_meanwhile_are_no_finding_and_a_missing_proc_is_unknown(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        listed = self.listed("0" * 64, f"/usr/bin/{self.NAME}")
        # An entry without anything in it is what is left of a process while it is taken away.
        for pid in ("7", "8", "self"):
            (tmp_path / "proc" / pid).mkdir(parents=True)
        (tmp_path / "proc/self/mountinfo").write_text("")
        (tmp_path / "proc/8/exe").symlink_to(f"/nowhere/{self.NAME}")
        for proc in ("proc", "nowhere"):
            monkeypatch.setattr(procfs, "PROC", str(tmp_path / proc))

            found = processes.check(Node("/", True, "worker"), [listed])

            assert [(result.subject, result.status) for result in found] == [("processes", "unknown")]

    def test_a_node_that_may_not_be_looked_at_is_unknown(self, start: Callable[[str], int]) -> None:
        pid = start(f"bin/{self.NAME[:15]}")
        listed = self.listed("0" * 64, f"/usr/bin/{self.NAME[:15]}")
        code = (
            "import os, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            f"sys.path[:0] = {sys.path!r}\n"
            "from fipsmanifest.node.checks import processes\n"
            "from fipsmanifest.node.result import Listed, Node\n"
            f"found = processes.check(Node('/', True, 'worker'), [Listed('m', {listed.manifest!r})])\n"
            "print([(one.subject, one.status) for one in found])\n"
        )
        modules = "import fipsmanifest.node.checks.processes\n"

        done = subprocess.run([sys.executable, "-c", modules + code], capture_output=True, text=True, check=False)

        assert pid and done.returncode == 0, done.stderr
        # Whose other containers on the machine are is unknown as well.
        assert "('hidden', 'unknown')" in done.stdout and "'pass'" not in done.stdout


UID = "8e0b4ba1-3c64-4a9d-9a3f-0d4b1c2d3e4f"
ID = "ab" * 32


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"0::/kubepods/burstable/pod{UID}/{ID}\n", (ID, UID)),
        (
            f"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID.replace('-', '_')}.slice/"
            f"cri-containerd-{ID}.scope\n",
            (ID, UID),
        ),
        (f"11:pids:/containerd.service/kubepods-pod{UID.replace('-', '_')}.slice:cri-containerd:{ID}\n", (ID, UID)),
        (
            f"0::/kubepods.slice/kubepods-pod{UID.replace('-', '_')}.slice/crio-{ID}.scope\n",
            (ID, UID),
        ),
        (
            # cgroup v1, as runc and the CRI plugin of containerd 1.6 leave it (seen with crictl runp and start).
            f"9:name=systemd:/kubepods/burstable/pod{UID}/{ID}\n1:cpu:/kubepods/burstable/pod{UID}/{ID}\n0::/\n",
            (ID, UID),
        ),
        (f"0::/../../kubepods-besteffort-pod{UID.replace('-', '_')}.slice/cri-containerd-{ID}.scope\n", (ID, UID)),
        (f"4:memory:/kubepods/besteffort/pod{'c' * 32}/{ID}\n1:name=systemd:/\n", (ID, "c" * 32)),
        ("0::/system.slice/kubelet.service\n", (None, None)),
        ("garbage", (None, None)),
        ("", (None, None)),
    ],
)  # fmt: skip
def test_container_and_pod_are_read_from_control_groups(text: str, expected: tuple[str | None, str | None]) -> None:
    assert procfs.read_cgroup(text) == expected
