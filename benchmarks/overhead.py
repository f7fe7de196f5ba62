"""What a validated module costs: the same program built plain, with goboring and with Go's native module, in one run.

``make overhead`` prints a table of processor time for each operation, and the processor time of a steady control plane:
the real kube-apiserver and etcd under a load, and the part of it that is in the module. These are not
bounds, so nothing fails; `docs/overhead.md` shows a run.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import random
import re
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from examples.upstream import goprograms
from tests.support import controlplane, toolchains

SOURCE = Path(__file__).with_suffix(".go")
API_SERVERS = {
    "plain": controlplane.ROOT / ".cache/kubernetes-plain/kube-apiserver",
    "goboring": controlplane.KUBERNETES / "kube-apiserver",
}
ROWS = {
    "block": "AES-128, one block",
    "call": "call of an empty C function",
    "seal 16": "AES-256-GCM, 16 bytes",
    "seal 256": "AES-256-GCM, 256 bytes",
    "seal 1024": "AES-256-GCM, 1 KiB",
    "seal 8192": "AES-256-GCM, 8 KiB",
    "seal 16384": "AES-256-GCM, 16 KiB",
    "hash 1024": "SHA-256, 1 KiB",
    "handshake": "TLS 1.2 handshake, both ends",
}
_SUITE = "ECDHE-RSA-AES256-GCM-SHA384"

#: The load: leases that are renewed each second, and probes, each with a connection of its own.
_LEASES, _PROBES = 50, 10
#: Functions of BoringCrypto's wrappers, and the calls into C, of which these programs have no others.
_MODULE = "goboringcrypto|crypto/internal/boring|runtime.cgocall"
_WARMING = 10.0


def builds() -> Iterator[tuple[str, Path]]:
    """Yield each program with its name; they differ in the module alone, and in the release of Go."""
    main = SOURCE.read_text("utf-8")
    for release, root in (("Go 1.26.6", toolchains.GO_1_26), ("Go 1.19.8", toolchains.DEBIAN_GO_1_19)):
        if not root.exists():
            print(f"{release} is not measured: it is not installed here.")
            continue
        for name, boring, variables in (
            ("plain", False, {}),
            ("goboring", True, {}),
            ("native", False, {"GOFIPS140": "v1.0.0"}),
        ):
            if name != "native" or root == toolchains.GO_1_26:
                program = goprograms.build("overhead", main=main, root=root, boring=boring, environment=variables)
                yield f"{release} {name}", program


def measured(rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    """Return nanoseconds of processor time by build and operation: the median of rounds in which builds take turns."""
    programs = dict(builds())
    found: dict[str, list[dict[str, float]]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            done = subprocess.run([program, str(seconds)], capture_output=True, text=True, check=True)
            found[name].append(json.loads(done.stdout))
    return {
        name: {row: statistics.median(one[row] for one in results) for row in ROWS} for name, results in found.items()
    }


def table(found: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """Yield the lines of a table in Markdown: nanoseconds, and the ratio to the plain build of the same Go."""
    yield f"| nanoseconds of processor time | {' | '.join(found)} |"
    yield "|---|" + "---:|" * len(found)
    for row, title in ROWS.items():
        cells = []
        for name, figures in found.items():
            plain = found[f"{name.rpartition(' ')[0]} plain"][row]
            ratio = "" if name.endswith("plain") else f" ({figures[row] / plain:.2f} x)"
            cells.append(f"{figures[row]:,.{0 if figures[row] >= 100 else 1}f}{ratio}")
        yield f"| {title} | {' | '.join(cells)} |"


def control_plane(seconds: float, rounds: int) -> Iterator[str]:
    """Yield what a control plane takes with each API server, the module's part of it, and what was not measured."""
    present = {name: path for name, path in API_SERVERS.items() if path.exists()}
    if "goboring" not in present:
        yield "The control plane is NOT measured: there is no goboring kube-apiserver (scripts/kubernetes)."
        return
    found: dict[str, list[_Taken]] = {name: [] for name in present}
    for _ in range(rounds):
        for name, path in present.items():
            with tempfile.TemporaryDirectory(prefix="fm") as directory:
                found[name].append(_loaded(Path(directory), path, seconds))
    yield f"| median of {rounds} rounds of {seconds:.0f} s | {' | '.join(found)} |"
    yield "|---|" + "---:|" * len(found)
    for title, attribute in _TAKEN.items():
        cells = [statistics.median(getattr(one, attribute) for one in results) for results in found.values()]
        yield f"| {title} | {' | '.join(f'{100 * cell:.1f} %' for cell in cells)} |"
    if "plain" in found:
        plain, boring = (statistics.median(one.server for one in found[name]) for name in ("plain", "goboring"))
        yield f"\nThe goboring API server takes {boring / plain:.2f} times the processor time of the plain one."
    else:
        module = statistics.median(one.module for one in found["goboring"])
        yield (
            "\nThe comparison with a plain API server is NOT measured: there is none (scripts/kubernetes plain). "
            f"The increase is about {module / (1 - module):.0%} at most: as if plain cryptography took no time, and "
            "without what calls into C cost the scheduler and the garbage collector."
        )


@dataclass(frozen=True, slots=True)
class _Taken:
    """What a control plane took."""

    server: float
    """The API server's processor time, in cores."""
    store: float
    """etcd's."""
    module: float
    """The part of the API server's time that its own profile finds in the module, and in calls into it."""


_TAKEN = {
    "kube-apiserver, of one core": "server",
    "etcd (plain in both), of one core": "store",
    "in the module, of the time of kube-apiserver": "module",
}


def _loaded(directory: Path, server: Path, seconds: float) -> _Taken:
    """Measure API server and etcd under the load."""
    with controlplane.running(directory, ["--tls-min-version=VersionTLS12"], server) as plane:
        load = _Load(plane)
        load.run(_WARMING)
        processes = [plane.processes[name].pid for name in ("kube-apiserver", "etcd")]
        before = [_processor(process) for process in processes]
        started = time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            profile = pool.submit(load.profile, seconds)
            load.run(seconds)
            lasted = time.monotonic() - started
            server_used, store_used = (
                (_processor(process) - was) / lasted for process, was in zip(processes, before, strict=True)
            )
            return _Taken(server_used, store_used, _part_in_module(profile.result(), directory))


def _part_in_module(profile: bytes, directory: Path) -> float:
    """Return the part of a profile's samples that are in BoringCrypto or in calls into it."""
    file = directory / "profile"
    file.write_bytes(profile)
    go = str(toolchains.DEBIAN_GO_1_19 / "bin/go")
    command = [go, "tool", "pprof", "-top", f"-focus={_MODULE}", str(file)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "PPROF_TMPDIR": str(directory)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    shown = re.search(r"accounting for [^,]+, ([0-9.]+)% of", done.stdout)
    # Without a sample that fits, pprof fails and says so.
    if shown is None and "no samples" not in done.stderr:
        raise RuntimeError(done.stderr)
    return float(shown[1]) / 100 if shown else 0.0


class _Load:
    """What a quiet cluster asks of its API server: leases renewed over open connections, and probes that connect."""

    def __init__(self, plane: controlplane.ControlPlane) -> None:
        self._port = plane.port
        self._headers = {"Authorization": f"Bearer {plane.admin}"}
        self._context = ssl.create_default_context(cafile=str(plane.directory / "apiserver.crt"))
        self._context.check_hostname = False
        self._context.maximum_version = ssl.TLSVersion.TLSv1_2
        self._context.set_ciphers(_SUITE)
        self._kept = self._connect()
        self._place = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
        # The API server makes this namespace some time after it is ready.
        while self._status("/api/v1/namespaces/default") == http.client.NOT_FOUND:
            time.sleep(0.2)
        for number in range(_LEASES):
            self._ask(self._kept, "POST", self._place, self._lease(number))

    def run(self, seconds: float) -> None:
        """Ask at the same times in each run, but in no rhythm: that of a profile's samples would be in step with it."""
        pauses = random.Random(1)  # noqa: S311 - spreads load, guards nothing
        end, turn = time.monotonic() + seconds, 0
        next_turn = time.monotonic()
        while time.monotonic() < end:
            self._ask(self._kept, "PATCH", f"{self._place}/node-{turn % _LEASES}", self._lease(turn % _LEASES))
            if turn % (_LEASES // _PROBES) == 0:
                probe = self._connect()
                self._ask(probe, "GET", "/readyz")
                probe.close()
            turn += 1
            next_turn += pauses.expovariate(_LEASES)
            time.sleep(max(0.0, next_turn - time.monotonic()))

    def profile(self, seconds: float) -> bytes:
        """Return the API server's own profile of its processor time."""
        connection = self._connect()
        connection.request("GET", f"/debug/pprof/profile?seconds={seconds:.0f}", headers=self._headers)
        response = connection.getresponse()
        found = response.read()
        connection.close()
        if response.status != http.client.OK:
            raise RuntimeError(f"no profile: {response.status} {found[:200]!r}")
        return found

    def _status(self, path: str) -> int:
        self._kept.request("GET", path, headers=self._headers)
        response = self._kept.getresponse()
        response.read()
        return response.status

    def _connect(self) -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection("127.0.0.1", self._port, context=self._context, timeout=180)
        connection.connect()
        return connection

    def _lease(self, number: int) -> bytes:
        now = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": f"node-{number}", "namespace": "default"},
            "spec": {"holderIdentity": f"node-{number}", "leaseDurationSeconds": 40, "renewTime": now},
        }
        return json.dumps(lease).encode()

    def _ask(self, connection: http.client.HTTPSConnection, verb: str, path: str, body: bytes | None = None) -> None:
        form = "application/merge-patch+json" if verb == "PATCH" else "application/json"
        connection.request(verb, path, body, {**self._headers, "Content-Type": form})
        response = connection.getresponse()
        text = response.read()
        if response.status >= 300:
            raise RuntimeError(f"{verb} {path}: {response.status} {text[:200]!r}")


def _processor(process: int) -> float:
    """Return the seconds that a process has run (proc(5))."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine() -> str:
    """Return a line on the machine that measures."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} x {model}; Linux {platform.release()}; load average at the start {load:.1f}"


def main(words: list[str]) -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="make overhead")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.2, help="for each operation, build and round")
    parser.add_argument("--control-plane", type=float, default=45.0, help="seconds for each round; 0 leaves it out")
    chosen = parser.parse_args(words)
    print(f"{machine()}\n", flush=True)
    print("\n".join(table(measured(chosen.rounds, chosen.seconds))), flush=True)
    if chosen.control_plane:
        print("\n" + "\n".join(control_plane(chosen.control_plane, 3)))
    else:
        print("\nThe control plane is NOT measured: it was left out.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
