"""TLS services: the protocol versions and cipher suites that each accepts, against those that the manifest allows.

Only sockets that listen on this node are asked, at the node's own addresses, and only with ClientHellos.
"""

import contextlib
import posixpath
import socket
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from .. import tls
from ..result import FAIL, NOT_APPLICABLE, PASS, UNKNOWN, Listed, Node, Result
from ..text import visible
from . import listening

ID = "services"

_SECONDS = 20.0  # for one address; all are asked at once
_MAX_ASKED = 64
_MAX_SHOWN = 40
_OWNER_SECONDS = 5.0
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what others listen on

_CLOSE = "Narrow the service to the manifest's list: --tls-min-version and --tls-cipher-suites (etcd: --cipher-suites)."
_START = "Start the service, or leave this out with --skip services."


class _Service(NamedTuple):
    """One service by name and port, and what each manifest allows of it."""

    name: str
    port: int
    allowed: Tuple[Tuple[str, Dict[str, Any]], ...]
    """Manifest's name, and its entry for the service."""


class _Place(NamedTuple):
    """Where a service is asked."""

    address: Tuple[Any, ...]
    """As connect(2) takes it."""
    inode: int
    """Of the socket that listens there; 0 where none was seen."""


def check(node: Node, manifests: Sequence[Listed]) -> List[Result]:
    """Ask every service of the node's role; raises nothing."""
    if not node.live:
        return [Result(ID, ID, NOT_APPLICABLE, actual="at rest")]
    services = _services(node, manifests)
    if not services:
        return [Result(ID, ID, NOT_APPLICABLE, actual="none listed for this role")]
    from concurrent.futures import ThreadPoolExecutor

    listeners = listening.listeners()
    asked = [(service, place) for service in services for place in _places(service, listeners)]
    inodes = {place.inode for _, place in asked if place.inode}
    owners = listening.owners(inodes, [service.name for service in services], _OWNER_SECONDS)
    with ThreadPoolExecutor(min(len(asked), _MAX_ASKED)) as pool:
        one_by_one = [(service, place.address, owners.get(place.inode)) for service, place in asked[:_MAX_ASKED]]
        results = list(pool.map(lambda one: _check_service(*one), one_by_one))
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


def _places(service: _Service, listeners: Dict[int, List[listening.Listener]]) -> List[_Place]:
    """Give where a service is to be asked: everywhere it listens, or at the loopback where nothing was seen to."""
    found: Dict[Tuple[Any, ...], _Place] = {}
    for one in sorted(listeners.get(service.port, [])):
        address = _ANYWHERE.get(one.address, one.address)
        # The interface's number goes where socket(7) has it.
        where = (address, service.port, 0, one.scope) if one.scope else (address, service.port)
        found.setdefault(where, _Place(where, one.inode))
    return list(found.values()) or [_Place(("127.0.0.1", service.port), 0)]


def _shown_place(address: Tuple[Any, ...]) -> str:
    host, port = address[:2]
    if len(address) > 2:
        with contextlib.suppress(OSError):
            host = "{}%{}".format(host, socket.if_indextoname(address[3]))
    return "[{}]:{}".format(host, port) if ":" in host else "{}:{}".format(host, port)


def _check_service(service: _Service, address: Tuple[Any, ...], owner: Optional[listening.Owner]) -> Result:
    subject = "{} [{}]".format(visible(service.name, 60), visible(_shown_place(address)))
    expected = _expected(service.allowed[0][1])
    allowed = [suite for _, entry in service.allowed for suite in _order(entry)]
    try:
        found = tls.ask(address, allowed, _SECONDS)
    except tls.Refused as error:
        return Result(ID, subject, UNKNOWN, expected, "nothing answers ({})".format(error), {}, _START)
    result = _judge(service, subject, expected, found)
    return result if owner is None else result._replace(evidence=dict(result.evidence, **_served_by(service, owner)))


def _served_by(service: _Service, owner: listening.Owner) -> Dict[str, Any]:
    """Say which program has the port: what was found is said of that one, whoever it is."""
    names = {service.name}.union(str(entry["component"]) for _, entry in service.allowed if entry.get("component"))
    own = any(
        listening.is_named(one, name) for name in names for one in (posixpath.basename(owner.program), owner.name)
    )
    return {"program": visible(owner.program), "pid": owner.pid, "another_program": not own}


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
