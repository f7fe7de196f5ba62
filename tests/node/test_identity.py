"""A component on a live node is recognised by its port, its unit and its options, whatever its file is called."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.node.checks import builds, claims, injected, listening, processes, procfs, services, variables
from fipsmanifest.node.checks.inventory import Inventory
from fipsmanifest.node.packages import Packages
from fipsmanifest.node.result import Listed, Node, Result
from tests.node.test_services import ALLOWED, certificate, free_port, openssl_server
from tests.support import roots

__all__ = ["certificate"]

PYTHON = Path(os.path.realpath(sys.executable))
SLEEP = Path("/usr/bin/sleep")
LISTEN = "import socket, time; s = socket.create_server(('127.0.0.1', {})); print(flush=True); time.sleep(100)"


def entry(name: str, digest: str, **changes: Any) -> dict[str, Any]:
    return {"path": f"/usr/bin/{name}", "role": "program", "sha256": digest, "component": name, **changes}


def listed(*files: dict[str, Any], **node: Any) -> Listed:
    roles = {"worker": sorted({str(file["component"]) for file in files})}
    return Listed("m.asc", {"files": list(files), "node": {"roles": roles, **node}})


def check(manifest: Listed, root: str = "/") -> list[Result]:
    return processes.check(Node(root, True, "worker"), [manifest])


def of(pid: int, found: list[Result]) -> Result:
    return next(one for one in found if pid in one.evidence.get("pids", ()))


@pytest.fixture
def run() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(*command: str | Path, **options: Any) -> subprocess.Popen[str]:
        started.append(subprocess.Popen(command, text=True, **options))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def copy_of(program: Path, place: Path) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(program, place)
    place.chmod(0o755)
    return place


@pytest.fixture
def short() -> Iterator[Path]:
    """A root whose sockets have paths of at most 107 bytes, which is all that there can be (unix(7))."""
    with tempfile.TemporaryDirectory(prefix="fm-", dir="/tmp") as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def static(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that waits, and loads nothing."""
    place = tmp_path_factory.mktemp("static") / "waiting"
    code = "#include <unistd.h>\nint main(void) { for (;;) sleep(9); }\n"
    subprocess.run(["cc", "-x", "c", "-", "-static", "-o", str(place)], input=code, text=True, check=True, timeout=60)
    return place


class TestPorts:
    """The process that listens on a component's port."""

    def listen(self, run: Callable[..., subprocess.Popen[str]], port: int) -> int:
        process = run(PYTHON, "-c", LISTEN.format(port), stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline()
        return process.pid

    @pytest.mark.parametrize("by", ["definition", "default"])
    def test_an_unlisted_program_at_a_components_port_fails_whatever_its_name(
        self, by: str, run: Callable[..., subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        port = free_port()
        own = [{"name": "kubelet", "component": "kubelet", "port": port}] if by == "definition" else []
        if by == "default":
            monkeypatch.setitem(claims._PORTS, "kubelet", port)
        pid = self.listen(run, port)

        found = of(pid, check(listed(entry("kubelet", "0" * 64), services=own)))

        assert (found.status, found.evidence["code"]) == ("fail", "another-program")
        assert found.evidence["claims"] == [f"port {port}"] and found.evidence["component"] == "kubelet"

    def test_the_listed_program_at_the_port_passes_and_counts_as_seen(
        self, run: Callable[..., subprocess.Popen[str]]
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            pid = run(SLEEP, "100", pass_fds=[listener.fileno()]).pid
            own = [{"name": "kubelet", "component": "kubelet", "port": listener.getsockname()[1]}]
        time.sleep(0.2)

        results = check(listed(entry("kubelet", roots.sha256(SLEEP)), services=own))

        assert of(pid, results).status == "pass", of(pid, results)
        assert "not-running" not in {one.evidence.get("code") for one in results}

    def test_a_listed_program_that_was_handed_the_socket_does_not_hide_the_one_that_opened_it(
        self, run: Callable[..., subprocess.Popen[str]]
    ) -> None:
        code = (
            "import socket, subprocess, time; s = socket.create_server(('127.0.0.1', 0)); "
            "p = subprocess.Popen(['/usr/bin/sleep', '100'], pass_fds=[s.fileno()]); "
            "print(s.getsockname()[1], p.pid, flush=True); time.sleep(100)"
        )
        process = run(PYTHON, "-c", code, stdout=subprocess.PIPE)
        assert process.stdout is not None
        port, child = map(int, process.stdout.readline().split())
        try:
            own = [{"name": "kubelet", "component": "kubelet", "port": port}]
            results = check(listed(entry("kubelet", roots.sha256(SLEEP)), services=own))
        finally:
            os.kill(child, signal.SIGKILL)

        assert of(process.pid, results).evidence["code"] == "another-program"

    def test_whoever_listens_on_containerds_socket_is_containerd_whatever_name_it_was_bound_by(
        self, run: Callable[..., subprocess.Popen[str]], short: Path
    ) -> None:
        place = short / "run/containerd/containerd.sock"
        place.parent.mkdir(parents=True)
        code = (
            "import os, socket, sys, time; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1] + '.x'); s.listen(); "
            "os.rename(sys.argv[1] + '.x', sys.argv[1]); print(flush=True); time.sleep(100)"
        )
        process = run(PYTHON, "-c", code, place, stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline()

        found = of(process.pid, check(listed(entry("containerd", "0" * 64)), str(short)))

        assert (found.status, found.evidence["code"]) == ("fail", "another-program")
        assert found.evidence["claims"] == ["socket /run/containerd/containerd.sock"]

    @pytest.mark.parametrize("kernel", ["with unix_diag", "without unix_diag"])
    @pytest.mark.parametrize("how", ["starts the listed one", "ends"])
    def test_a_program_that_was_handed_containerds_socket_fails_whatever_became_of_the_one_that_made_it(
        self,
        how: str,
        kernel: str,
        run: Callable[..., subprocess.Popen[str]],
        short: Path,
        static: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        place = short / "run/containerd/containerd.sock"
        place.parent.mkdir(parents=True)
        code = (
            "import os, socket, sys, time; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); "
            "child = os.fork(); print(child, flush=True) if child else time.sleep(100); s.close(); "
            "sys.argv[2:] and os.execv(sys.argv[2], ['containerd'])"
        )
        if kernel == "without unix_diag":
            monkeypatch.setattr(listening, "_SOCK_DIAG", 21)  # no protocol
        then = [copy_of(static, short / "usr/bin/containerd")] if how == "starts the listed one" else []
        process = run(PYTHON, "-c", code, place, *then, stdout=subprocess.PIPE)
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            time.sleep(0.2)
            results = check(listed(entry("containerd", roots.sha256(static))), str(short))
        finally:
            os.kill(child, signal.SIGKILL)

        found = of(child, results)
        assert (found.status, found.evidence["code"]) == ("fail", "another-program")
        assert found.evidence["claims"] == ["socket /run/containerd/containerd.sock"]

    def test_the_listed_containerd_at_its_socket_passes(
        self, run: Callable[..., subprocess.Popen[str]], short: Path, static: Path
    ) -> None:
        place = short / "run/containerd/containerd.sock"
        place.parent.mkdir(parents=True)
        code = (
            "import os, socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); "
            "s.set_inheritable(True); print(flush=True); os.execv(sys.argv[2], ['containerd'])"
        )
        program = copy_of(static, short / "usr/bin/containerd")
        process = run(PYTHON, "-c", code, place, program, stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline()
        time.sleep(0.2)

        results = check(listed(entry("containerd", roots.sha256(static))), str(short))

        assert of(process.pid, results).evidence["claims"] == ["socket /run/containerd/containerd.sock"]
        # Those of other processes are of other tests, which run a containerd at the same time.
        own = [one for one in results if process.pid in one.evidence.get("pids", [process.pid])]
        assert {one.status for one in own} == {"pass"}

    def test_a_service_that_another_program_serves_fails_even_where_its_suites_are_allowed(
        self, certificate: tuple[Path, Path]
    ) -> None:
        with openssl_server(certificate, "-tls1_2", "-cipher", "AES256-GCM-SHA384") as port:
            entries = [{"name": "kubelet", "component": "kubelet", "port": port, "tls_versions": ["TLSv1.2"]}]
            entries[0]["cipher_suites"] = ALLOWED

            def status(digest: str) -> tuple[str, Any]:
                manifest = listed(entry("kubelet", digest), services=entries)
                [found] = services.check(Node("/", True, "worker"), [manifest])
                return found.status, found.evidence.get("code")

            assert status("0" * 64) == ("fail", "another-program")
            assert status(roots.sha256(Path("/usr/bin/openssl"))) == ("pass", None)

    def test_another_port_of_a_component_is_asked_and_one_without_tls_is_told(
        self, certificate: tuple[Path, Path], run: Callable[..., subprocess.Popen[str]]
    ) -> None:
        first, second, plain = free_port(), free_port(), free_port()
        code = f"""
import socket, ssl, threading
def serve(port, context):
    listener = socket.create_server(("127.0.0.1", port))
    while True:
        connection, _ = listener.accept()
        try:
            if context: context.wrap_socket(connection, server_side=True).close()
            else: connection.sendall(b"HTTP/1.0 400 Bad Request\\r\\n\\r\\n"); connection.close()
        except OSError: pass
def context(cipher):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain({str(certificate[0])!r}, {str(certificate[1])!r})
    made.maximum_version = ssl.TLSVersion.TLSv1_2
    made.set_ciphers(cipher)
    return made
for port, own in (({first}, context("AES256-GCM-SHA384")), ({second}, context("AES256-SHA256")), ({plain}, None)):
    threading.Thread(target=serve, args=(port, own)).start()
"""
        process = run(PYTHON, "-c", code, stderr=subprocess.DEVNULL)
        for port in (first, second, plain):
            for _ in range(100):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
        entries = [{"name": "kubelet", "component": "kubelet", "port": first, "tls_versions": ["TLSv1.2"]}]
        entries[0]["cipher_suites"] = ALLOWED
        manifest = listed(entry("kubelet", roots.sha256(PYTHON)), services=entries)

        found = {one.subject: one for one in services.check(Node("/", True, "worker"), [manifest])}

        assert process.poll() is None
        assert {subject.partition(":")[2].rstrip("]"): one.status for subject, one in found.items()} == {
            str(first): "pass",
            str(second): "fail",
            str(plain): "not-applicable",
        }


def in_unit(name: str) -> Iterator[Path]:
    """Make a control group of a unit's name, as systemd does for its services."""
    for hierarchy in ("systemd", "pids", "unified", "."):
        group = Path("/sys/fs/cgroup", hierarchy, f"fm-{os.getpid()}.slice", f"{name}.service")
        try:
            group.mkdir(parents=True)
        except OSError:
            continue
        yield group
        for _ in range(100):
            try:
                group.rmdir()
                group.parent.rmdir()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"{group} is still in use")
    pytest.fail("no control group can be made")


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone makes control groups")
class TestUnits:
    """The main process of kubelet.service, by its control group."""

    @pytest.fixture
    def unit(self) -> Iterator[Path]:
        yield from in_unit("kubelet")

    @pytest.fixture
    def start(
        self, unit: Path, run: Callable[..., subprocess.Popen[str]]
    ) -> Iterator[Callable[..., subprocess.Popen[str]]]:
        started: list[subprocess.Popen[str]] = []

        def begin(*command: str | Path, **options: Any) -> subprocess.Popen[str]:
            started.append(run(*command, **options))
            (unit / "cgroup.procs").write_text(str(started[-1].pid))
            return started[-1]

        yield begin
        for process in started:
            process.kill()
            process.wait()

    @pytest.mark.parametrize("name", ["agent", "kubelet-1.20", "containerd-shim-agent"])
    def test_another_program_in_the_kubelets_unit_fails(
        self, name: str, start: Callable[..., subprocess.Popen[str]], tmp_path: Path
    ) -> None:
        pid = start(copy_of(SLEEP, tmp_path / name), "100").pid

        found = of(pid, check(listed(entry("kubelet", "0" * 64))))

        assert (found.status, found.evidence["code"]) == ("fail", "another-program")
        assert found.evidence["claims"] == ["unit kubelet.service"]

    def test_a_kubelet_that_runs_from_memory_fails(self, start: Callable[..., subprocess.Popen[str]]) -> None:
        code = (
            "import os; d = os.memfd_create('k', 0); os.write(d, open('/usr/bin/sleep', 'rb').read()); "
            "os.execve(d, ['kubelet', '100'], {})"
        )
        process = start(PYTHON, "-c", code)
        while "memfd" not in str(Path(f"/proc/{process.pid}/exe").readlink()):
            time.sleep(0.01)

        found = of(process.pid, check(listed(entry("kubelet", "0" * 64))))

        assert (found.status, found.evidence["code"]) == ("fail", "deleted")

    def test_a_listed_kubelet_by_another_name_passes_and_a_helper_that_outlived_its_parent_is_no_finding(
        self, start: Callable[..., subprocess.Popen[str]], tmp_path: Path
    ) -> None:
        kubelet = start(copy_of(SLEEP, tmp_path / "kubelet"), "100").pid
        helper = start("/usr/bin/tail", "-f", "/dev/null").pid

        results = check(listed(entry("kubelet", roots.sha256(SLEEP))))

        assert of(kubelet, results).status == "pass"
        assert (of(helper, results).status, of(helper, results).evidence["code"]) == ("not-applicable", "beside")


class TestOptions:
    """Options that only one component has."""

    @pytest.mark.parametrize("option", ["--bootstrap-kubeconfig=/x", "--config=/var/lib/kubelet/config.yaml"])
    def test_a_program_with_the_kubelets_options_is_unknown(
        self, option: str, run: Callable[..., subprocess.Popen[str]]
    ) -> None:
        code = "print(flush=True); import time; time.sleep(100)"
        process = run(PYTHON, "-c", code, option, stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline()

        found = of(process.pid, check(listed(entry("kubelet", "0" * 64))))

        assert (found.status, found.evidence["code"]) == ("unknown", "another-program")

    @pytest.mark.parametrize(("kind", "is_found"), [("KubeletConfiguration", True), ("SiteConfiguration", False)])
    def test_a_program_with_the_kubelets_options_in_a_file_of_its_own_is_unknown(
        self, kind: str, is_found: bool, run: Callable[..., subprocess.Popen[str]], tmp_path: Path
    ) -> None:
        (tmp_path / "site.yaml").write_text(f"apiVersion: kubelet.config.k8s.io/v1beta1\nkind: {kind}\n")
        code = "print(flush=True); import time; time.sleep(100)"
        process = run(PYTHON, "-c", code, "--config", tmp_path / "site.yaml", stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline()

        found = [
            (one.status, one.evidence["code"])
            for one in check(listed(entry("kubelet", "0" * 64)))
            if process.pid in one.evidence.get("pids", ())
        ]

        assert found == ([("unknown", "another-program")] if is_found else [])

    def test_a_shell_that_has_them_in_a_command_is_none(self, run: Callable[..., subprocess.Popen[str]]) -> None:
        process = run("sh", "-c", "read x # kubelet --bootstrap-kubeconfig=/x", stdin=subprocess.PIPE)

        found = check(listed(entry("kubelet", "0" * 64)))

        assert not [one for one in found if process.pid in one.evidence.get("pids", ())]


class TestBuilds:
    """Programs that only build info identifies."""

    @pytest.fixture
    def program(self, tmp_path: Path) -> Path:
        place = copy_of(SLEEP, tmp_path / "web")
        with place.open("ab") as file:
            file.write(b"\0path\tk8s.io/kubernetes/cmd/kube-scheduler\nmod\tk8s.io/kubernetes\n")
        return place

    def manifest(self, digest: str) -> Listed:
        package = {"path": "k8s.io/kubernetes/cmd/kube-scheduler"}
        return listed(entry("kube-scheduler", digest, go=package, size=SLEEP.stat().st_size))

    def test_another_build_fails_whatever_it_is_called(
        self, program: Path, run: Callable[..., subprocess.Popen[str]]
    ) -> None:
        process = run(program, "100")

        found = of(process.pid, check(self.manifest("0" * 64)))

        assert (found.status, found.evidence["code"]) == ("fail", "other-build")
        assert found.evidence["component"] == "kube-scheduler"

    def test_another_build_with_the_options_of_a_component_fails_as_one_without_them(
        self, run: Callable[..., subprocess.Popen[str]], tmp_path: Path
    ) -> None:
        program = copy_of(Path("/bin/dash"), tmp_path / "agent")
        with program.open("ab") as file:
            file.write(b"\0path\tk8s.io/kubernetes/cmd/kube-scheduler\nmod\tk8s.io/kubernetes\n")
        option = "--authentication-kubeconfig=/etc/kubernetes/scheduler.conf"
        process = run(program, "-c", "read x", option, stdin=subprocess.PIPE)
        time.sleep(0.2)

        found = [one for one in check(self.manifest("0" * 64)) if process.pid in one.evidence.get("pids", ())]

        assert [(one.status, one.evidence["code"]) for one in found] == [("fail", "other-build")]

    def test_the_listed_one_by_another_name_is_no_finding(
        self, program: Path, run: Callable[..., subprocess.Popen[str]]
    ) -> None:
        process = run(program, "100")
        manifest = self.manifest(roots.sha256(program))
        manifest.manifest["files"][0]["size"] = program.stat().st_size

        found = check(manifest)

        assert not [one for one in found if process.pid in one.evidence.get("pids", ())]

    def test_one_that_is_too_large_to_search_is_unknown(
        self, program: Path, run: Callable[..., subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(builds, "LARGEST", program.stat().st_size - 1)
        process = run(program, "100")

        found = of(process.pid, check(self.manifest("0" * 64)))

        assert (found.status, found.evidence["code"]) == ("unknown", "too-large")


class TestInjected:
    """Libraries that a component's process has and does not need."""

    NAME = f"kubelet-{os.getpid()}"

    @pytest.fixture
    def library(self, tmp_path: Path) -> Path:
        source, built = tmp_path / "evil.c", tmp_path / "libc-evil.so"
        source.write_text("int evil;\n")
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", built, source], check=True)
        return built

    def manifest(self, tmp_path: Path) -> Listed:
        file = entry("kubelet", roots.sha256(SLEEP), path=f"{tmp_path}/bin/{self.NAME}")
        return listed(file)

    def test_a_program_with_the_c_library_alone_passes(
        self, run: Callable[..., subprocess.Popen[str]], tmp_path: Path
    ) -> None:
        pid = run(copy_of(SLEEP, tmp_path / "bin" / self.NAME), "100", env={"GODEBUG": "x=1"}).pid
        time.sleep(0.2)

        found = of(pid, check(self.manifest(tmp_path)))

        assert found.status == "pass", found
        assert found.evidence["godebug"] == "x=1"

    # containerd's opt plugin gives each shim one, whether it is there or not.
    @pytest.mark.parametrize(
        ("value", "status"),
        [
            ("{0}/absent", "pass"),
            ("{0}/empty:{0}/absent", "pass"),
            ("{0}/absent:{0}/bin", "fail"),
            ("{0}/absent:", "fail"),
            ("absent", "fail"),
            ("{0}/absent/$ORIGIN", "fail"),
        ],
    )
    def test_a_search_path_without_a_library_passes(
        self, value: str, status: str, run: Callable[..., subprocess.Popen[str]], tmp_path: Path
    ) -> None:
        (tmp_path / "empty").mkdir()
        program = copy_of(SLEEP, tmp_path / "bin" / self.NAME)
        pid = run(program, "100", env={"LD_LIBRARY_PATH": value.format(tmp_path)}).pid
        time.sleep(0.2)

        found = of(pid, check(self.manifest(tmp_path)))

        assert found.status == status, found
        assert status == "pass" or found.evidence["code"] == "loader-environment"

    @pytest.mark.parametrize("how", ["LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH", "deleted"])
    def test_what_the_loader_was_told_to_load_fails(
        self, how: str, run: Callable[..., subprocess.Popen[str]], library: Path, tmp_path: Path
    ) -> None:
        program = copy_of(SLEEP, tmp_path / "bin" / self.NAME)
        variable = "LD_PRELOAD" if how == "deleted" else how
        pid = run(program, "100", env={variable: str(library.parent if "PATH" in how else library)}).pid
        time.sleep(0.2)
        if how == "deleted":
            library.unlink()

        found = of(pid, check(self.manifest(tmp_path)))

        assert found.status == "fail", found
        assert found.evidence["code"] in ("library", "loader-environment")
        assert bool([one for one in found.evidence["problems"] if "libc-evil" in one]) or how == "LD_LIBRARY_PATH"

    @pytest.mark.skipif(os.geteuid() != 0, reason="root alone mounts")
    def test_the_hosts_ld_so_preload_fails(self, library: Path, tmp_path: Path) -> None:
        # In a mount namespace of its own: the machine's file is left alone.
        program = copy_of(SLEEP, tmp_path / "bin" / self.NAME)
        (tmp_path / "preload").write_text(f"# ours\n{library}\n")
        script = 'touch /etc/ld.so.preload; mount --bind "$1" /etc/ld.so.preload; LD_DEBUG= exec "$2" 100'
        had = Path("/etc/ld.so.preload").exists()
        command = ["unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path / "preload"), str(program)]
        with subprocess.Popen(command) as process:
            try:
                while Path(f"/proc/{process.pid}/exe").readlink().name != self.NAME:
                    time.sleep(0.01)
                time.sleep(0.2)
                found = of(process.pid, check(self.manifest(tmp_path)))
            finally:
                process.kill()
                if not had:
                    Path("/etc/ld.so.preload").unlink(missing_ok=True)

        assert (found.status, found.evidence["code"]) in (("fail", "preload"), ("fail", "library")), found

    # Go takes an empty value for off.
    @pytest.mark.parametrize("setting", ["a=b,fips140=off", "fips140="])
    def test_fips_mode_that_is_turned_off_by_godebug_fails(
        self, run: Callable[..., subprocess.Popen[str]], tmp_path: Path, setting: str
    ) -> None:
        program = copy_of(SLEEP, tmp_path / "bin" / self.NAME)
        pid = run(program, "100", env={"GODEBUG": setting}).pid
        time.sleep(0.2)

        found = of(pid, check(self.manifest(tmp_path)))

        assert (found.status, found.evidence["code"]) == ("fail", "godebug")

    # The golang-fips toolchain, and openssl-env(7).
    @pytest.mark.parametrize(
        ("name", "value", "status"),
        [
            ("GOLANG_FIPS", "0", "fail"),
            ("OPENSSL_FORCE_FIPS_MODE", "0", "fail"),
            ("OPENSSL_CONF", "/etc/other.cnf", "unknown"),
            ("OPENSSL_MODULES", "/opt/modules", "unknown"),
            ("GOLANG_FIPS", "1", "pass"),
            ("HOME", "/root", "pass"),
        ],
    )
    def test_a_variable_that_changes_cryptography_is_told_of_what_runs_with_it(
        self, run: Callable[..., subprocess.Popen[str]], tmp_path: Path, name: str, value: str, status: str
    ) -> None:
        pid = run(copy_of(SLEEP, tmp_path / "bin" / self.NAME), "100", env={name: value}).pid
        time.sleep(0.2)

        found = of(pid, check(self.manifest(tmp_path)))

        assert found.status == status, found
        if status != "pass":
            assert (found.evidence["code"], found.evidence["problems"]) == ("environment", [f"{name}={value}"])

    def test_fips_mode_is_no_matter_to_a_program_with_boringcrypto(
        self, run: Callable[..., subprocess.Popen[str]], tmp_path: Path
    ) -> None:
        program = copy_of(SLEEP, tmp_path / "bin" / self.NAME)
        manifest = self.manifest(tmp_path)
        for file in manifest.manifest["files"]:
            file["crypto"] = {"verdict": "proven", "module": "boringcrypto-20210429-x86_64"}
        pid = run(program, "100", env={"GODEBUG": "fips140=off"}).pid
        time.sleep(0.2)

        found = of(pid, check(manifest))

        assert (found.status, found.evidence["godebug"]) == ("pass", "fips140=off")

    # internal/godebug, "parse": it reads from the end, and what was set is left.
    @pytest.mark.parametrize(
        ("value", "mode"),
        [("fips140=on", "on"), ("fips140=off,a=b,fips140=only", "only"), ("xfips140=off", None), ("fips140=", "")],
    )
    def test_the_last_setting_of_fips140_counts(self, value: str, mode: str | None) -> None:
        assert variables.fips140(value) == mode

    def test_executable_memory_of_no_file_is_unknown(
        self, run: Callable[..., subprocess.Popen[str]], tmp_path: Path
    ) -> None:
        program = copy_of(PYTHON, tmp_path / "bin" / self.NAME)
        code = "import mmap, time; m = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE, 7); print(flush=True); time.sleep(100)"
        environment = {"PYTHONHOME": sys.base_prefix}
        process = run(program, "-c", code, stdout=subprocess.PIPE, env=environment)
        assert process.stdout is not None and process.stdout.readline()

        found = injected.look(Node("/", True, "worker"), process.pid, False, Inventory([]), Packages("/"))

        assert "anonymous-code" in {one.code for one in found}


class TestRequired:
    """What a role requires has to run."""

    def test_a_required_kube_proxy_that_does_not_run_fails_and_other_daemons_are_unknown(
        self, run: Callable[..., subprocess.Popen[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pid = run(copy_of(SLEEP, tmp_path / "fm-seen"), "100").pid
        monkeypatch.setattr(procfs, "pids", lambda: [pid])  # the machine may run a kubelet
        files = [entry("fm-seen", roots.sha256(SLEEP))]
        names = ("kube-proxy", "kube-scheduler", "etcd", "kubelet")
        files += [entry(name, str(number) * 64) for number, name in enumerate(names)]

        found = check(listed(*files))

        assert of(pid, found).status == "pass"
        absent = {one.subject: one.status for one in found if one.evidence.get("code") == "not-running"}
        assert absent == {name: "fail" if name == "kube-proxy" else "unknown" for name in names}
        advice = next(one.advice for one in found if one.subject == "kube-proxy")
        assert "Cilium" in advice and "node.roles" in advice

    def test_what_no_role_requires_may_be_absent(
        self, run: Callable[..., subprocess.Popen[str]], tmp_path: Path
    ) -> None:
        run(copy_of(SLEEP, tmp_path / "fm-seen"), "100")
        manifest = listed(entry("fm-seen", roots.sha256(SLEEP)), entry("kube-proxy", "1" * 64))
        manifest.manifest["node"]["roles"] = {"worker": ["fm-seen"]}

        assert {one.subject for one in check(manifest)}.isdisjoint({"kube-proxy"})


class TestLimits:
    """Programs that take long to read."""

    def test_only_a_size_that_is_listed_is_hashed(
        self, run: Callable[..., subprocess.Popen[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place = copy_of(SLEEP, tmp_path / TestInjected.NAME)
        os.truncate(place, 1 << 31)
        pid = run(place, "100").pid
        node = Node("/", True, "worker")
        monkeypatch.setattr(node.digests, "of", lambda *_, **__: pytest.fail("it is hashed"))

        found = of(pid, processes.check(node, [listed(entry("kubelet", "0" * 64, path=f"/x/{place.name}", size=5))]))

        assert (found.status, found.actual) == ("fail", "2147483648 bytes, the size of no listed program")

    def test_a_reader_that_is_held_up_ends_in_time_and_gives_no_pass(
        self, run: Callable[..., subprocess.Popen[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place = copy_of(SLEEP, tmp_path / TestInjected.NAME)
        run(place, "100")
        monkeypatch.setattr(processes, "_SECONDS", 0.5)
        monkeypatch.setattr(procfs, "parent", lambda _: 0)
        monkeypatch.setattr(processes._Check, "_digest", lambda *_: time.sleep(5))

        found = check(listed(entry("kubelet", "0" * 64, path=f"/x/{place.name}")))

        assert ("deadline", "unknown") in {(one.subject, one.status) for one in found}
