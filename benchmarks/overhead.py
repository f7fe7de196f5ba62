"""What a validated module costs: the same program built plain, with goboring and with Go's native module, in one run.

``make overhead`` prints a table of processor time for each operation, and the processor time of a steady control plane:
the real kube-apiserver and etcd under the same load, if `scripts/kubernetes` has built both API servers. These are not
bounds, so nothing fails; `docs/overhead.md` shows a run.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
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
_LEASES, _PROBES = 20, 5
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
    """Yield what a control plane takes with each API server, or why that was not measured."""
    missing = [name for name, path in API_SERVERS.items() if not path.exists()]
    if missing:
        yield (
            f"The control plane is NOT measured: there is no {' and no '.join(missing)} kube-apiserver "
            "(scripts/kubernetes, scripts/kubernetes plain)."
        )
        return
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in API_SERVERS}
    for _ in range(rounds):
        for name, path in API_SERVERS.items():
            with tempfile.TemporaryDirectory(prefix="fm") as folder:
                found[name].append(_loaded(Path(folder), path, seconds))
    yield f"| % of one core, median of {rounds} rounds of {seconds:.0f} s | plain | goboring | ratio |"
    yield "|---|---:|---:|---:|"
    for number, title in enumerate(("kube-apiserver", "etcd (plain in both)")):
        plain, boring = (statistics.median(one[number] for one in found[name]) for name in ("plain", "goboring"))
        yield f"| {title} | {plain * 100:.1f} | {boring * 100:.1f} | {boring / plain:.2f} x |"


def _loaded(folder: Path, server: Path, seconds: float) -> tuple[float, float]:
    """Return the share of a core that API server and etcd take under the load."""
    with controlplane.running(folder, ["--tls-min-version=VersionTLS12"], server) as plane:
        load = _Load(plane)
        load.run(_WARMING)
        before = [_processor(plane.processes[name].pid) for name in ("kube-apiserver", "etcd")]
        started = time.monotonic()
        load.run(seconds)
        lasted = time.monotonic() - started
        after = [_processor(plane.processes[name].pid) for name in ("kube-apiserver", "etcd")]
    server_used, store_used = ((end - start) / lasted for start, end in zip(before, after, strict=True))
    return server_used, store_used


class _Load:
    """What a quiet cluster asks of its API server: leases renewed over open connections, and probes that connect."""

    def __init__(self, plane: controlplane.ControlPlane) -> None:
        self._port = plane.port
        self._headers = {"Authorization": f"Bearer {plane.admin}", "Content-Type": "application/json"}
        self._context = ssl.create_default_context(cafile=str(plane.folder / "apiserver.crt"))
        self._context.check_hostname = False
        self._context.maximum_version = ssl.TLSVersion.TLSv1_2
        self._context.set_ciphers(_SUITE)
        self._kept = self._connect()
        self._place = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
        for number in range(_LEASES):
            self._ask(self._kept, "POST", self._place, self._lease(number))

    def run(self, seconds: float) -> None:
        """Ask at an even pace."""
        end, turn = time.monotonic() + seconds, 0
        next_turn = time.monotonic()
        while time.monotonic() < end:
            self._ask(self._kept, "PUT", f"{self._place}/node-{turn % _LEASES}", self._lease(turn % _LEASES))
            if turn % (_LEASES // _PROBES) == 0:
                probe = self._connect()
                self._ask(probe, "GET", "/readyz")
                probe.close()
            turn += 1
            next_turn += 1 / _LEASES
            time.sleep(max(0.0, next_turn - time.monotonic()))

    def _connect(self) -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection("127.0.0.1", self._port, context=self._context, timeout=60)
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
        connection.request(verb, path, body, self._headers)
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
        print("\n" + "\n".join(control_plane(chosen.control_plane, 2)))
    else:
        print("\nThe control plane is NOT measured: it was left out.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
