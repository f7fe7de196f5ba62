"""The tool on a running node: from end to end, by old and new Pythons and in hostile places."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from examples.upstream import goprograms

from tests.node.test_services import ALLOWED, certificate, free_port, go_server, openssl_server
from tests.support import roots, schemas
from tests.support.forge import PYTHONS, Forge

__all__ = ["certificate"]


@pytest.fixture
def sign(forge: Forge, tmp_path: Path) -> Callable[..., Path]:
    def signed(port: int, **changes: Any) -> Path:
        root = tmp_path / "root"
        root.mkdir()
        manifest = roots.make(root) | changes
        service = {"name": "kubelet", "component": "kubelet", "port": port, "roles": ["worker"]}
        service |= {"tls_versions": ["TLSv1.2"], "cipher_suites": ALLOWED, "preferred": ALLOWED[0]}
        manifest["node"] |= {"services": [service]}
        path = tmp_path / "m.asc"
        path.write_bytes(forge.clearsign(roots.payload_of(manifest)))
        return path

    return signed


def run(command: Sequence[str | Path], **options: Any) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, **options)
    assert "Traceback" not in done.stderr and done.stdout, done.stderr
    report = json.loads(done.stdout)
    schemas.validate(report, schemas.NODE)
    return done.returncode, report


def named(report: dict[str, Any], check: str) -> list[dict[str, Any]]:
    return [one for one in report["checks"] if one["id"] == check]


@pytest.mark.parametrize("python", PYTHONS)
def test_every_python_asks_services_alike(
    python: str, tool: Path, certificate: tuple[Path, Path], sign: Callable[..., Path]
) -> None:
    start: list[str | Path] = [python, "-I", "-S", "-B", tool, "--json", "--role", "worker", "--only", "services"]
    with openssl_server(certificate, "-tls1_2", "-cipher", "AES256-GCM-SHA384:AES128-SHA") as port:
        code, report = run([*start, sign(port)])

    assert (code, report["verdict"], report["scope"]) == (1, "invalid", "partial")
    service = named(report, "services")[0]
    assert service["evidence"]["outside"] == ["TLS_RSA_WITH_AES_128_CBC_SHA"]
    assert service["evidence"]["preferred"] == "TLS_RSA_WITH_AES_256_GCM_SHA384"
    # The line of a component says what its service's does.
    assert [(one["name"], one["status"]) for one in report["components"]] == [("kubelet", "fail")]


def test_a_plain_go_service_is_invalid_and_nothing_listening_is_incomplete(
    tool: Path, certificate: tuple[Path, Path], sign: Callable[..., Path]
) -> None:
    start: list[str | Path] = ["sh", tool, "--json", "--role", "worker", "--only", "services"]
    with go_server(goprograms.build("plain", boring=False), certificate) as port:
        manifest = sign(port)
        code, _ = run([*start, manifest])
        assert code == 1

    code, report = run([*start, manifest])
    assert (code, report["verdict"]) == (4, "incomplete")


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Path]:
    """A program of a component's name that runs."""
    place = tmp_path / "running/kubelet"
    place.parent.mkdir()
    shutil.copyfile("/usr/bin/sleep", place)
    place.chmod(0o755)
    process = subprocess.Popen([place, "100"])
    yield place
    process.kill()
    process.wait()


@pytest.mark.parametrize("python", PYTHONS)
def test_every_python_finds_an_unlisted_kubelet_that_runs(
    python: str, tool: Path, running: Path, sign: Callable[..., Path], tmp_path: Path
) -> None:
    start: list[str | Path] = [python, "-I", "-S", "-B", tool, "--json", "--role", "worker", "--only", "processes"]

    code, report = run([*start, "--root", tmp_path, "--live", sign(free_port())])

    mine = [one for one in named(report, "processes") if one["subject"].startswith(str(running))]
    assert code == 1 and [one["evidence"]["code"] for one in mine] == ["outside"]
    size = Path("/usr/bin/sleep").stat().st_size
    assert mine[0]["actual"] == f"{size} bytes, the size of no listed program"


def test_a_worker_that_runs_a_control_planes_program_is_in_doubt(
    tool: Path, certificate: tuple[Path, Path], running: Path, sign: Callable[..., Path]
) -> None:
    scheduler = shutil.copy(running, running.with_name("kube-scheduler"))
    start: list[str | Path] = ["sh", tool, "--json", "--root", running.parents[1], "--live", "--only", "services"]
    with openssl_server(certificate, "-tls1_2", "-cipher", "AES256-GCM-SHA384") as port:
        # None of its programs is openssl's, which would have a component's port without being listed for it.
        manifest = sign(port, files=[])
        with subprocess.Popen([scheduler, "100"]) as process:
            in_doubt, named_role = run([*start, manifest]), run([*start, "--role", "worker", manifest])
            process.kill()

    assert in_doubt[0] == 4
    assert [(one["subject"], one["status"]) for one in named(in_doubt[1], "platform")] == [("role", "unknown")]
    assert named_role[0] == 0, named_role


def test_a_gpgv_and_a_crictl_first_in_path_are_not_run(tool: Path, sign: Callable[..., Path], tmp_path: Path) -> None:
    for name in ("gpgv", "crictl", "ctr", "sha256sum"):
        place = tmp_path / "bin" / name
        place.parent.mkdir(exist_ok=True)
        place.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        place.chmod(0o755)
    environment = {"PATH": f"{tmp_path}/bin:/usr/bin", "LC_ALL": "POSIX"}

    run(["/bin/sh", tool, "--json", "--root", tmp_path / "root", "--live", sign(free_port())], env=environment)

    assert not (tmp_path / "ran").exists()


def in_memory() -> set[Path]:
    return {place for directory in ("/dev/shm", "/run") for place in Path(directory).glob("fipsmanifest-[0-9]*-*")}  # noqa: S108


def test_a_read_only_root_and_a_mount_without_execution_are_enough(
    tool: Path, sign: Callable[..., Path], tmp_path: Path
) -> None:
    manifest = sign(free_port())
    script = (
        'mount -t tmpfs -o noexec none "$1" && cp "$2" "$1/tool" && mount -o remount,ro,bind / && '
        '! touch /etc/written 2>/dev/null && exec sh "$1/tool" --json --root "$3" "$4"'
    )
    (tmp_path / "noexec").mkdir()
    before = in_memory()

    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    command: list[str | Path] = [
        "unshare",
        *user,
        "--mount",
        "sh",
        "-c",
        script,
        "sh",
        tmp_path / "noexec",
        tool,
        tmp_path / "root",
        manifest,
    ]
    code, report = run(command)

    assert (code, report["verdict"]) == (0, "valid")
    # Others have theirs at work; who leaves one behind has ended.
    gone = [place for place in in_memory() - before if not Path("/proc", place.name.split("-")[1]).exists()]
    assert not [place for place in gone if place.exists()]
