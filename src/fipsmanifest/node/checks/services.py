"""TLS services: the protocol versions and cipher suites that each accepts, against those that the manifest allows.

Only sockets that listen on this node are asked, at the node's own addresses, and only with ClientHellos.
"""

import socket
import struct
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from .. import tls, tree
from ..result import FAIL, NOT_APPLICABLE, PASS, UNKNOWN, Listed, Node, Result
from ..text import visible

ID = "services"

_SECONDS = 20.0  # for one address; all are asked at once
_MAX_ASKED = 64
_MAX_SHOWN = 40
_LISTEN = "0A"  # TCP_LISTEN, include/net/tcp_states.h
_MAX_TABLE = 4 * 1024 * 1024
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what others listen on

_MAPPED = bytes(10) + b"\xff\xff"

_CLOSE = "Narrow the service to the manifest's list: --tls-min-version and --tls-cipher-suites (etcd: --cipher-suites)."
_START = "Start the service, or leave this out with --skip services."


class _Service(NamedTuple):
    """One service by name and port, and what each manifest allows of it."""

    name: str
    port: int
    allowed: Tuple[Tuple[str, Dict[str, Any]], ...]
    """Manifest's name, and its entry for the service."""


def check(node: Node, manifests: Sequence[Listed]) -> List[Result]:
    """Ask every service of the node's role; raises nothing."""
    if not node.live:
        return [Result(ID, ID, NOT_APPLICABLE, actual="at rest")]
    services = _services(node, manifests)
    if not services:
        return [Result(ID, ID, NOT_APPLICABLE, actual="none listed for this role")]
    from concurrent.futures import ThreadPoolExecutor

    listening = _listening()
    asked = [(service, address) for service in services for address in _addresses(service.port, listening)]
    with ThreadPoolExecutor(min(len(asked), _MAX_ASKED)) as pool:
        results = list(pool.map(lambda one: _check_service(*one), asked[:_MAX_ASKED]))
    if len(asked) > _MAX_ASKED:
        evidence = {"count": len(asked) - _MAX_ASKED}
        advice = "Let the services listen on fewer addresses, or give one manifest at a time."
        actual = "{} of {} addresses were not asked".format(evidence["count"], len(asked))
        results.append(Result(ID, "beyond", UNKNOWN, None, actual, evidence, advice))
    return results


def _services(node: Node, manifests: Sequence[Listed]) -> List[_Service]:
    found: Dict[Tuple[str, int], List[Tuple[str, Dict[str, Any]]]] = {}
    for listed in manifests:
        entries = (listed.manifest.get("node") or {}).get("services") or []
        for entry in entries if isinstance(entries, list) else []:
            if not isinstance(entry, dict):
                continue
            name, port = entry.get("name"), entry.get("port")
            if node.role in (_texts(entry, "roles") or [node.role]) and isinstance(port, int) and 0 < port < 65536:
                found.setdefault((str(name), port), []).append((listed.name, entry))
    return [_Service(name, port, tuple(found[name, port])) for name, port in sorted(found)]


def _listening() -> Dict[int, List[str]]:
    """Give the addresses that this node listens on, by port, as proc(5) lists them; empty where it cannot be told."""
    found: Dict[int, List[str]] = {}
    for path, family in (("/proc/net/tcp", socket.AF_INET), ("/proc/net/tcp6", socket.AF_INET6)):
        try:
            lines = tree.read_small("/", path, _MAX_TABLE).split("\n")[1:]
        except (OSError, tree.NotRegular):
            continue
        for line in lines:
            fields = line.split()
            if len(fields) > 3 and fields[3] == _LISTEN:
                address, _, port = fields[1].partition(":")
                # Each 32-bit word stands there in the machine's own byte order.
                words = struct.unpack(">{}I".format(len(address) // 8), bytes.fromhex(address))
                packed = struct.pack("={}I".format(len(words)), *words)
                found.setdefault(int(port, 16), []).append(_text(family, packed))
    return found


def _text(family: int, packed: bytes) -> str:
    """Write an address; an IPv4 one that is mapped into IPv6 (RFC 4291, 2.5.5.2) as IPv4."""
    if packed.startswith(_MAPPED):
        return socket.inet_ntop(socket.AF_INET, packed[len(_MAPPED) :])
    return socket.inet_ntop(family, packed)


def _addresses(port: int, listening: Dict[int, List[str]]) -> List[Tuple[str, int]]:
    """Give where a port is to be asked: everywhere it listens, or at the loopback where nothing was seen to."""
    own = sorted({_ANYWHERE.get(address, address) for address in listening.get(port, [])})
    return [(address, port) for address in own or ["127.0.0.1"]]


def _check_service(service: _Service, address: Tuple[str, int]) -> Result:
    where = "[{}]:{}".format(*address) if ":" in address[0] else "{}:{}".format(*address)
    subject = "{} [{}]".format(visible(service.name, 60), where)
    expected = _expected(service.allowed[0][1])
    allowed = [suite for _, entry in service.allowed for suite in _order(entry)]
    try:
        found = tls.ask(address, allowed, _SECONDS)
    except tls.Refused as error:
        return Result(ID, subject, UNKNOWN, expected, "nothing answers ({})".format(error), {}, _START)
    return _judge(service, subject, expected, found)


def _judge(service: _Service, subject: str, expected: str, found: tls.Accepted) -> Result:
    evidence: Dict[str, Any] = {
        "versions": list(found.suites),
        "suites": {version: suites[:_MAX_SHOWN] for version, suites in found.suites.items()},
        "preferred": found.preferred,
        "refused": found.alerts,
        "connections": found.connections,
    }
    actual = _shown(found)
    outside = {name: _outside(entry, found) for name, entry in service.allowed}
    fitting = [name for name in outside if not outside[name]]
    if not fitting:
        evidence.update(code="not-allowed", outside=outside[service.allowed[0][0]][:_MAX_SHOWN])
        return Result(ID, subject, FAIL, expected, actual, evidence, _CLOSE)
    if found.problem is not None:
        advice = "Look into why the service does not answer as a TLS server does."
        return Result(ID, subject, UNKNOWN, expected, found.problem, dict(evidence, code="no-answer"), advice)
    evidence["manifest"] = fitting[0]
    entry = dict(service.allowed)[fitting[0]]
    if entry.get("preferred") not in (None, found.preferred):
        evidence["code"] = "other-preferred"
    return Result(ID, subject, PASS, expected, actual, evidence)


def _outside(entry: Dict[str, Any], found: tls.Accepted) -> List[str]:
    """Give the versions and suites that are accepted and not allowed."""
    versions = _texts(entry, "tls_versions")
    names = set(_texts(entry, "cipher_suites"))
    accepted: Set[str] = {suite for suites in found.suites.values() for suite in suites}
    return [version for version in found.suites if version not in versions] + sorted(accepted - names)


def _order(entry: Dict[str, Any]) -> List[str]:
    """Give the allowed suites, the preferred one first: a server without a preference takes the first."""
    names = _texts(entry, "cipher_suites")
    preferred = entry.get("preferred")
    return [name for name in names if name == preferred] + [name for name in names if name != preferred]


def _texts(entry: Dict[str, Any], name: str) -> List[str]:
    values: Optional[Any] = entry.get(name)
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []


def _expected(entry: Dict[str, Any]) -> str:
    return visible(_line(_texts(entry, "tls_versions"), _texts(entry, "cipher_suites")), 1000)


def _shown(found: tls.Accepted) -> str:
    suites = [suite for version in found.suites.values() for suite in version]
    return visible(_line(list(found.suites), sorted(set(suites), key=suites.index)[:_MAX_SHOWN]), 2000)


def _line(versions: Sequence[str], suites: Sequence[str]) -> str:
    return "{}: {}".format(", ".join(versions) or "no version", ", ".join(suites) or "no suite")
