"""Which TLS versions and suites a service accepts: real servers of Go and OpenSSL, and hostile sockets."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from examples.upstream import goprograms

from fipsmanifest.node import report
from fipsmanifest.node.checks import listening, services
from fipsmanifest.node.result import Listed, Node, Result
from fipsmanifest.node.tls import client as tls
from fipsmanifest.node.tls import suites

ALLOWED = [
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
]

_SERVER = """\
package main

import (
	"crypto/tls"
	"os"
)

func main() {
	certificate, err := tls.LoadX509KeyPair(os.Args[3], os.Args[4])
	if err != nil {
		panic(err)
	}
	listener, err := tls.Listen("tcp", os.Args[2], &tls.Config{
		Certificates: []tls.Certificate{certificate}, %s,
	})
	if err != nil {
		panic(err)
	}
	for {
		if connection, err := listener.Accept(); err == nil {
			go connection.(*tls.Conn).Handshake()
		}
	}
}
"""

# What the API server of a FIPS release does with --tls-min-version and --tls-cipher-suites, and a client CA.
_NARROWED = (
    _SERVER
    % """MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{
			tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
		}, ClientAuth: tls.RequireAndVerifyClientCert"""
)

_WEAK = (
    _SERVER
    % """MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{
			tls.TLS_RSA_WITH_RC4_128_SHA, tls.TLS_ECDHE_RSA_WITH_RC4_128_SHA, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA,
			tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
		}"""
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    directory = tmp_path_factory.mktemp("certificate")
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def running(port: int, *command: str | Path, environment: Mapping[str, str] | None = None) -> Iterator[int]:
    """Run a server until it listens, and stop it afterwards."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment
    ) as run:
        try:
            for _ in range(200):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                assert run.poll() is None, run.stderr and run.stderr.read()
                time.sleep(0.05)
            yield port
        finally:
            run.kill()
            run.communicate()


def go_server(
    program: Path, certificate: tuple[Path, Path], environment: Mapping[str, str] | None = None
) -> contextlib.AbstractContextManager[int]:
    port = free_port()
    return running(port, program, "serve", f"127.0.0.1:{port}", *certificate, environment=environment)


def openssl_server(
    certificate: tuple[Path, Path], *options: str, environment: Mapping[str, str] | None = None
) -> contextlib.AbstractContextManager[int]:
    port = free_port()
    command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-quiet", "-cert", str(certificate[0])]
    return running(port, *command, "-key", str(certificate[1]), *options, environment=environment)


def manifest(port: int, **changes: Any) -> Listed:
    service = {
        "name": "kube-apiserver",
        "component": "kube-apiserver",
        "port": port,
        "roles": ["control-plane"],
        "tls_versions": ["TLSv1.2"],
        "cipher_suites": ALLOWED,
        "preferred": ALLOWED[0],
    } | changes
    return Listed("m.asc", {"node": {"services": [service]}})


def check(port: int, **changes: Any) -> Result:
    results = services.check(Node("/", True, "control-plane"), [manifest(port, **changes)])
    assert len(results) == 1
    return results[0]


def outside(result: Result) -> list[str]:
    assert (result.status, result.evidence["code"]) == ("fail", "not-allowed"), result
    return list(result.evidence["outside"])


class TestRealServers:
    """What is accepted, found without a TLS library."""

    def test_a_narrowed_goboring_server_that_wants_client_certificates_passes(
        self, certificate: tuple[Path, Path]
    ) -> None:
        with go_server(goprograms.build("kube-apiserver", main=_NARROWED), certificate) as port:
            result = check(port)

        assert result.status == "pass", result
        assert result.evidence["versions"] == ["TLSv1.2"]
        assert sorted(result.evidence["suites"]["TLSv1.2"]) == sorted(ALLOWED)
        assert result.evidence["preferred"] in ALLOWED
        assert result.evidence["manifest"] == "m.asc"

    def test_a_plain_go_server_accepts_what_a_fips_one_may_not(self, certificate: tuple[Path, Path]) -> None:
        with go_server(goprograms.build("plain", boring=False), certificate) as port:
            found = outside(check(port))

        # Go 1.21 with an RSA certificate: crypto/tls, cipherSuitesPreferenceOrder and defaultCipherSuitesTLS13.
        assert "TLSv1.3" in found
        assert {"TLS_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"} <= set(found)
        assert "TLSv1.1" not in found and "TLSv1.0" not in found

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            (["-tls1_2", "-cipher", "AES256-GCM-SHA384"], []),
            (["-tls1_2", "-cipher", "AES128-SHA"], ["TLS_RSA_WITH_AES_128_CBC_SHA"]),
            (
                ["-tls1", "-cipher", "AES128-SHA:@SECLEVEL=0"],
                ["TLSv1.0", "TLS_RSA_WITH_AES_128_CBC_SHA"],
            ),
            (["-tls1_1", "-cipher", "AES256-SHA:@SECLEVEL=0"], ["TLSv1.1", "TLS_RSA_WITH_AES_256_CBC_SHA"]),
            (
                ["-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"],
                ["TLSv1.3", "TLS_AES_256_GCM_SHA384"],
            ),
            (["-tls1_2", "-cipher", "NULL-SHA256:@SECLEVEL=0"], ["TLS_RSA_WITH_NULL_SHA256"]),
            (["-tls1_2", "-cipher", "AECDH-AES256-SHA:@SECLEVEL=0"], ["TLS_ECDH_anon_WITH_AES_256_CBC_SHA"]),
            (["-tls1_2", "-cipher", "CAMELLIA128-SHA:ARIA128-GCM-SHA256"], None),
            (
                ["-tls1_2", "-curves", "brainpoolP384r1", "-cipher", "ECDHE-RSA-AES256-SHA384"],
                ["TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384"],
            ),
            (
                ["-tls1_3", "-curves", "ffdhe8192", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"],
                ["TLSv1.3", "TLS_CHACHA20_POLY1305_SHA256"],
            ),
            (
                ["-tls1_2", "-Verify", "1", "-cipher", "AES256-SHA256"],
                ["TLS_RSA_WITH_AES_256_CBC_SHA256"],
            ),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else None,
    )
    def test_each_forbidden_version_and_suite_of_openssl_is_named(
        self, options: list[str], expected: list[str] | None, certificate: tuple[Path, Path]
    ) -> None:
        with openssl_server(certificate, *options) as port:
            result = check(port)

        if expected is None:
            expected = ["TLS_RSA_WITH_ARIA_128_GCM_SHA256", "TLS_RSA_WITH_CAMELLIA_128_CBC_SHA"]
        assert (outside(result) if result.status == "fail" else []) == expected
        assert result.status == ("fail" if expected else "pass")

    def test_a_plain_go_server_with_the_oldest_that_it_has_is_seen_through(
        self, certificate: tuple[Path, Path]
    ) -> None:
        # Debian's OpenSSL has neither RC4 nor 3DES any more; Go 1.21 has both.
        with go_server(goprograms.build("weak", main=_WEAK, boring=False), certificate) as port:
            found = outside(check(port))

        assert found == [
            "TLSv1.0",
            "TLSv1.1",
            "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
            "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
            "TLS_RSA_WITH_RC4_128_SHA",
        ]

    def test_the_servers_own_preference_is_told(self, certificate: tuple[Path, Path]) -> None:
        chosen = "TLS_RSA_WITH_AES_128_GCM_SHA256"
        options = ["-tls1_2", "-serverpref", "-cipher", "AES128-GCM-SHA256:AES256-GCM-SHA384"]
        with openssl_server(certificate, *options) as port:
            result = check(port)

        assert (result.status, result.evidence["preferred"], result.evidence["code"]) == (
            "pass",
            chosen,
            "other-preferred",
        )

    def test_any_of_several_manifests_may_allow_it_and_is_named(self, certificate: tuple[Path, Path]) -> None:
        with openssl_server(certificate, "-tls1_2", "-cipher", "AES256-GCM-SHA384") as port:
            strict = manifest(port, cipher_suites=ALLOWED[:1])._replace(name="strict")
            wide = manifest(port)._replace(name="wide")
            result = services.check(Node("/", True, "control-plane"), [strict, wide])[0]

        assert (result.status, result.evidence["manifest"]) == ("pass", "wide")

    def test_the_table_has_the_names_that_openssl_has(self) -> None:
        command = ["openssl", "ciphers", "-V", "-stdname", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        pairs = re.findall(r"0x(..),0x(..) - (TLS_\S+)", listed)

        assert len(pairs) > 100
        assert [name for high, low, name in pairs if suites.name_of(int(high + low, 16)) != name] == []


Behaviour = Callable[[socket.socket], None]


@contextlib.contextmanager
def hostile(
    behave: Behaviour, address: tuple[str, int] = ("127.0.0.1", 0), opened: socket.socket | None = None
) -> Iterator[int]:
    """Serve connections with ``behave``, one thread each."""
    stop = threading.Event()
    listener = opened or socket.create_server(address)
    listener.settimeout(0.1)

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            behave(connection)

    def accept() -> None:
        threads = []
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                threads.append(threading.Thread(target=serve, args=(listener.accept()[0],)))
                threads[-1].start()
        for thread in threads:
            thread.join()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        stop.set()
        thread.join()
        listener.close()


def silent(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def drip(connection: socket.socket) -> None:
    for byte in b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc" + bytes(1000):
        connection.sendall(bytes([byte]))
        time.sleep(0.1)


def reset(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def say(data: bytes) -> Behaviour:
    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(data)

    return behave


def hello(suite: int, version: int = 0x0303) -> bytes:
    body = min(version, 0x0303).to_bytes(2, "big") + bytes(33) + suite.to_bytes(2, "big") + b"\0"
    if version == 0x0304:
        body += b"\x00\x06\x00\x2b\x00\x02\x03\x04"  # supported_versions (RFC 8446, 4.2.1)
    message = b"\x02" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x03" + len(message).to_bytes(2, "big") + message


def offers(data: bytes, version: int, suite: int) -> bool:
    """Read a ClientHello's version, and whether it offers a suite."""
    offered = 0x0304 if b"\x00\x2b\x00\x03\x02\x03\x04" in data else int.from_bytes(data[9:11], "big")
    begin = 44 + data[43] + 2
    end = begin + int.from_bytes(data[begin - 2 : begin], "big")
    return offered == version and suite.to_bytes(2, "big") in [data[at : at + 2] for at in range(begin, end, 2)]


def only(suite: int) -> Behaviour:
    """Accept one suite in TLS 1.2, and close silently if it is not offered."""

    def behave(connection: socket.socket) -> None:
        if offers(connection.recv(65536), 0x0303, suite):
            connection.sendall(hello(suite))

    return behave


def dies_after(count: int, server: int, end: bytes | None) -> Behaviour:
    """Pass ``count`` connections on to the port ``server``; end all later ones with ``end``, or a reset for None."""
    connections = itertools.count(1)

    def behave(connection: socket.socket) -> None:
        if next(connections) > count:
            return reset(connection) if end is None else say(end)(connection)
        with socket.create_connection(("127.0.0.1", server)) as onward:
            onward.sendall(connection.recv(65536))
            while answer := onward.recv(65536):
                connection.sendall(answer)
                if len(answer) >= 7:
                    break
        return None

    return behave


class TestHostileServers:
    """No hang, no traceback, no wrong pass."""

    @pytest.mark.parametrize(
        ("behave", "told"),
        [
            (silent, "does not answer in time"),
            (drip, "does not answer in time"),
            (reset, "refuses every version"),
            (say(b""), "refuses every version"),
            (say(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "not TLS"),
            (say(bytes(70000)), "not TLS"),
            (say(b"\x15\x03\x03\x00\x02\x01\x70" * 10000), "alert after alert"),
            (say(b"\x15\x03\x03\x00\x02\x02\x28"), "alert 40"),
            (say(b"\x15\x03\x03\x00\x02\x07\x07"), "an alert that is none"),
            (say(b"\x16\x03\x03\x40\x00\x02\xff\xff\xff" + bytes(70000)), "without end|not TLS"),
            (say((b"\x16\x03\x03\x40\x00\x02\xff\xff\xff" + bytes(0x4000 - 4)) * 4), "without end"),
            (say(b"\x16\x03\x03\x00\x04\x0e\0\0\0"), "another message"),
            (say(b"\x16\x03\x03\x00\x08\x02\0\0\x04\x03\x03\0\0"), "malformed"),
            (say(b"\x16\x03\x03\x00"), "middle of its answer"),
            (say(hello(0x5600)), "not offered"),
            (say(hello(0xC02F)), "not offered"),
        ],
    )
    def test_an_answer_that_is_none_is_unknown(
        self, behave: Behaviour, told: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if behave in (silent, drip):
            # The others answer at once, or as soon as a machine at work lets them.
            monkeypatch.setattr(tls, "CONNECTION_SECONDS", 0.3)
        started = time.monotonic()
        with hostile(behave) as port:
            result = check(port)

        assert result.status == "unknown" and re.search(told, str(result.actual)), result
        assert time.monotonic() - started < 10

    @pytest.mark.parametrize("end", [b"", None, b"\x15\x03\x03\x00\x02\x02\x28"], ids=["close", "reset", "alert"])
    def test_one_that_stops_answering_halfway_does_not_refuse_the_rest(
        self, end: bytes | None, certificate: tuple[Path, Path]
    ) -> None:
        # It has what is allowed first, and then what is not.
        weak = ["-no_tls1_3", "-serverpref", "-cipher", "AES256-GCM-SHA384:AES128-SHA"]
        with openssl_server(certificate, *weak) as server:
            found = []
            for count in (1, 2, 3, 4, 99):
                with hostile(dies_after(count, server, end)) as port:
                    found.append(check(port))

        assert [result.status for result in found] == ["unknown", "unknown", "fail", "fail", "fail"], found
        assert "stops answering" in str(found[1].actual)

    def test_one_that_closes_without_a_word_and_answers_on_is_taken_to_refuse(self) -> None:
        with hostile(only(0xC030)) as port:
            result = check(port)

        assert (result.status, result.evidence["suites"]) == ("pass", {"TLSv1.2": ALLOWED[:1]}), result
        assert result.evidence["refused"] == dict.fromkeys(["SSLv3", "TLSv1.0", "TLSv1.1", "TLSv1.3"], "closed")

    def test_one_that_was_not_there_at_first_is_asked_again(self) -> None:
        connections = itertools.count(1)

        def late(connection: socket.socket) -> None:
            data = connection.recv(65536)
            if next(connections) == 1:
                return
            for version, suite in ((0x0304, 0x1303), (0x0303, 0xC030)):
                if offers(data, version, suite):
                    connection.sendall(hello(suite, version))

        with hostile(late) as port:
            result = check(port)

        assert outside(result) == ["TLSv1.3", "TLS_CHACHA20_POLY1305_SHA256"]

    def test_one_that_holds_every_connection_is_left_in_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(services, "_SECONDS", 1.0)
        with hostile(silent) as port:
            started = time.monotonic()
            result = check(port)
            spent = time.monotonic() - started

        assert result.status == "unknown" and spent < 2.5

    def test_nothing_but_a_client_hello_is_sent(self) -> None:
        received: list[bytes] = []

        def record(connection: socket.socket) -> None:
            received.append(connection.recv(65536))
            connection.sendall(hello(0xC030))
            received.append(connection.recv(65536))

        with hostile(record) as port:
            check(port)

        assert received
        for data in filter(None, received):
            length = int.from_bytes(data[3:5], "big")
            assert data[0] == 0x16 and data[5] == 0x01 and len(data) == length + 5

    def test_a_server_that_insists_on_the_extended_master_secret_is_answered(self) -> None:
        # Red Hat's OpenSSL 3 in FIPS mode refuses TLS 1.2 without it, and would look as if it had no TLS 1.2.
        def insist(connection: socket.socket) -> None:
            data = connection.recv(65536)
            insists = b"\x00\x17\x00\x00" in data and data[9:11] == b"\x03\x03" and b"\x00\x05" in data
            connection.sendall(hello(0x0005) if insists else b"\x15\x03\x03\x00\x02\x02\x28")

        with hostile(insist) as port:
            result = check(port)

        assert result.status == "fail" and "TLS_RSA_WITH_RC4_128_SHA" in result.evidence["outside"], result


def asked_at(port: int) -> list[tuple[Any, ...]]:
    places = services._places(services._Service("etcd", port, True, ()), listening.listeners())
    return [place.address for place in places]


def beside(address: str, port: int, v6only: bool = False) -> socket.socket:
    """Listen where others may listen as well."""
    opened = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if ":" in address:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
    opened.bind((address, port))
    opened.listen()
    return opened


def test_a_service_that_is_as_it_should_be_is_asked_few_times(certificate: tuple[Path, Path]) -> None:
    # Each connection is a line in its log: one for each suite and version, and one for what it prefers.
    with openssl_server(certificate, "-tls1_2", "-cipher", "AES256-GCM-SHA384") as port:
        result = check(port)

    assert (result.status, result.evidence["connections"]) == ("pass", 7)


class TestWhichServices:
    """The node's role, and where to ask."""

    def test_a_required_service_that_does_not_listen_is_unknown(self) -> None:
        result = check(free_port())

        assert result.status == "unknown" and "nothing answers" in str(result.actual)

    def test_another_roles_services_are_not_asked(self) -> None:
        result = services.check(Node("/", True, "worker"), [manifest(1)])[0]

        assert (result.status, result.actual) == ("not-applicable", "none listed for this role")

    @pytest.mark.parametrize(
        "entries",
        [
            [None],
            ["etcd"],
            [[]],
            [{}],
            [{"port": "1"}],
            [{"port": True, "roles": 7}],
            [{"port": 99999}],
            {"a": 1},
            "x",
            7,
        ],
    )
    def test_odd_entries_are_no_services(self, entries: Any) -> None:
        listed = Listed("m", {"node": {"services": entries}})

        assert {result.status for result in services.check(Node("/", True, "worker"), [listed])} <= {
            "not-applicable",
            "unknown",
        }

    def test_at_rest_nothing_is_asked(self, tmp_path: Path) -> None:
        assert services.check(Node(str(tmp_path), False, "control-plane"), [manifest(1)])[0].status == "not-applicable"

    @pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.9", "::1"])
    def test_a_service_is_found_wherever_on_the_node_it_listens(self, address: str) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.create_server((address, 0), family=family) as listener:
            port = listener.getsockname()[1]

            assert asked_at(port) == [(address, port)]

    @pytest.mark.skipif(os.geteuid() != 0, reason="root alone makes networks")
    def test_a_link_local_address_is_asked_on_its_interface(self, certificate: tuple[Path, Path]) -> None:
        # In a network of its own, where the loopback is given such an address.
        script = """
set -e
ip link set lo up
ip address add fe80::5/64 dev lo
openssl s_server -accept "[fe80::5%lo]:6443" -quiet -tls1_2 -cipher AES256-GCM-SHA384 -cert "$1" -key "$2" &
trap "kill $!" EXIT
for _ in $(seq 100); do grep -q " 0A " /proc/net/tcp6 && break; sleep 0.05; done
"$3" -c "$4"
"""
        look = f"""
from fipsmanifest.node.checks import services
from fipsmanifest.node.result import Listed, Node
for one in services.check(Node("/", True, "control-plane"), [Listed("m", {manifest(6443).manifest!r})]):
    print(one.subject, one.status, one.evidence["program"].rpartition("/")[2])
"""
        given = [*map(str, certificate), sys.executable, look]
        command = ["unshare", "--net", "sh", "-c", script, "sh", *given]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

        assert done.stdout == "kube-apiserver [fe80::5%lo]:6443 pass openssl\n", done.stderr

    @pytest.mark.parametrize("name", ["kube-apiserver", "openssl"])
    def test_what_has_the_port_is_named(self, name: str, certificate: tuple[Path, Path], tmp_path: Path) -> None:
        program = tmp_path / name
        shutil.copy("/usr/bin/openssl", program)
        port = free_port()
        options = ["-accept", f"127.0.0.1:{port}", "-quiet", "-tls1_2", "-cipher", "AES256-GCM-SHA384"]
        with running(port, program, "s_server", *options, "-cert", certificate[0], "-key", certificate[1]):
            result = check(port)

        assert (result.status, result.evidence["program"]) == ("pass", str(program))
        assert result.evidence["another_program"] is (name != "kube-apiserver")
        report_line = report.to_text(report.Report("valid", "live", {}, [], [result], []))
        assert ("(another program has the port)" in report_line) is (name != "kube-apiserver")

    @pytest.mark.parametrize(
        ("address", "written"),
        [
            ("fd00::ffff:1", "fd00::ffff:1"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("::ffff:0.0.0.0", "0.0.0.0"),
            ("2001:db8::ffff:0:1", "2001:db8::ffff:0:1"),
            ("::1", "::1"),
        ],
    )
    def test_only_a_mapped_address_is_taken_for_ipv4(self, address: str, written: str) -> None:
        assert listening.written(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, address)) == written

    def test_more_addresses_than_are_asked_are_unknown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(services, "_MAX_ASKED", 2)
        port = free_port()
        with contextlib.ExitStack() as stack:
            for last in (1, 2, 3):
                stack.enter_context(hostile(say(b"\x15\x03\x03\x00\x02\x02\x28"), (f"127.0.0.{last}", port)))
            found = services.check(Node("/", True, "control-plane"), [manifest(port)])

        assert [result.status for result in found] == ["unknown"] * 3
        assert (found[-1].subject, found[-1].actual) == ("beyond", "1 of 3 addresses were not asked")

    def test_a_service_on_every_address_is_asked_at_the_loopback(self) -> None:
        with socket.create_server(("0.0.0.0", 0)) as listener:
            port = listener.getsockname()[1]

            assert asked_at(port) == [("127.0.0.1", port)]

    @pytest.mark.parametrize(("everywhere", "own"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("::", "127.0.0.1")])
    def test_a_good_service_at_the_loopback_hides_no_weak_one_on_every_address(self, everywhere: str, own: str) -> None:
        weak = beside(everywhere, 0)
        port = weak.getsockname()[1]
        with hostile(only(0x0005), opened=weak), hostile(only(0xC030), opened=beside(own, port)):
            found = services.check(Node("/", True, "control-plane"), [manifest(port)])

        assert sorted(result.status for result in found) == ["fail", "pass"], found

    def test_a_service_that_cannot_be_asked_apart_from_others_is_unknown(self) -> None:
        taken = [listening.Listener(address, scope, 7) for address, scope in listening._own_addresses()]
        everywhere = [listening.Listener("0.0.0.0", 0, 8), listening.Listener("::", 0, 9)]
        service = services._Service("etcd", 2379, True, (("m", {}),))

        places = services._places(service, {2379: taken + everywhere})

        hidden = [place for place in places if place.hidden]
        assert [place.address for place in hidden] == [("::", 2379)]
        assert services._check_service(service, hidden[0], [None]).status == "unknown"

    def test_processes_that_take_turns_at_one_address_are_unknown(self) -> None:
        with beside("127.0.0.1", 0) as first:
            port = first.getsockname()[1]
            serve = f"with hostile(only(0xC030), opened=beside('127.0.0.1', {port})): print(flush=True); time.sleep(60)"
            command = [sys.executable, "-c", f"from tests.node.test_services import *\n{serve}"]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as other, hostile(only(0xC030), opened=first):
                try:
                    assert other.stdout is not None and other.stdout.readline()
                    result = check(port)
                finally:
                    other.kill()

        assert (result.status, result.evidence["code"]) == ("unknown", "several"), result

    @pytest.mark.skipif(os.geteuid() != 0, reason="root alone makes networks")
    def test_a_service_on_every_address_is_asked_where_ipv6_is_switched_off(self) -> None:
        look = "result = check(port); print(result.subject, result.status)"
        serve = f"with hostile(only(0xC030), opened=beside('::', 6443)) as port: {look}"
        script = """
set -e
ip link set lo up
mount -t proc proc /proc
echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
exec "$@"
"""
        given = [sys.executable, "-c", f"from tests.node.test_services import *\n{serve}"]
        command = ["unshare", "--net", "--mount", "--pid", "--fork", "sh", "-c", script, "sh", *given]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

        assert done.stdout == "kube-apiserver [127.0.0.1:6443] pass\n", done.stderr

    def test_another_roles_service_is_asked_where_its_own_program_listens(self) -> None:
        def asked(name: str) -> list[tuple[str, str]]:
            with hostile(only(0x0005)) as port:
                found = services.check(Node("/", True, "worker"), [manifest(port, name=name, component=name)])
            return [(result.status, result.evidence.get("code", "")) for result in found]

        assert asked(Path("/proc/self/exe").readlink().name) == [("fail", "not-allowed")]
        # A worker may have a proxy before the API servers of others: that one is not the component.
        assert asked("kube-apiserver") == [("not-applicable", "")]

    def test_what_another_role_may_accept_is_not_taken_for_this_ones(self) -> None:
        strict, wide = manifest(1).manifest["node"]["services"][0], {"roles": ["worker"], "cipher_suites": None}
        entries = [strict, strict | wide | {"cipher_suites": ["TLS_RSA_WITH_RC4_128_SHA"]}]
        with hostile(only(0x0005)) as port:
            listed = Listed("m", {"node": {"services": [entry | {"port": port} for entry in entries]}})
            found = services.check(Node("/", True, "control-plane"), [listed])

        assert [result.status for result in found] == ["fail"]
