"""TLS services: the protocol versions and cipher suites that each accepts, against those that the manifest allows.

Only sockets that listen on this node are asked, at the node's own addresses, and only with ClientHellos.
"""

import contextlib
import posixpath
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, FrozenSet, List, NamedTuple, Optional, Sequence, Set, Tuple

from ...trust.text import visible
from .. import deadline, tree
from ..result import FAIL, NOT_APPLICABLE, PASS, UNKNOWN, Listed, Node, Result, of_component, wanted_components
from ..tls import client
from . import listening, procfs
from .inventory import Inventory

ID = "services"

_SECONDS = 20.0  # for one address; all are asked at once
_MAX_ASKED = 64
_MAX_SHOWN = 40
_OWNER_SECONDS = 5.0
_MAX_PROGRAM = 1024 * 1024 * 1024
_TLS13 = "TLSv1.3"

_CLOSE = "Narrow the service to the manifest's list: --tls-min-version and --tls-cipher-suites (etcd: --cipher-suites)."
# crypto/tls of Go, and the options of Kubernetes: none of them names a highest version or a suite of TLS 1.3.
_GO_TLS13 = (
    "A Go program accepts TLS 1.3 with all three of its suites, ChaCha20 among them, unless it was built with "
    "crypto/tls/fipsonly, and no option of Kubernetes changes that: ask upstream for such a build, or the publisher "
    "for a manifest whose node.services allow TLSv1.3."
)
_OTHER_PROGRAM = (
    "Find out who started it, and let the component's own program have the port; a proxy before it needs another port."
)
_START = "Start the service, or leave this out with --skip services."
_TURNS = "Stop all but the one that belongs there, and run this again."
_HIDDEN = "Let nothing else listen on this port, and run this again."


class _Service(NamedTuple):
    """One service by name and port, and what each manifest allows of it."""

    name: str
    port: int
    here: bool
    """Whether the node's role has it; one that it has not is asked where it listens all the same."""
    allowed: Tuple[Tuple[str, Dict[str, Any]], ...]
    """Manifest's name, and its entry for the service."""
    component: Optional[str] = None
    """Whose it is; None if no manifest lists a program of it."""
    programs: FrozenSet[str] = frozenset()
    """Digests of the programs that may have the port; none where the manifests list none, or the role needs none."""

    @property
    def names(self) -> Set[str]:
        """What its program may be called."""
        return {self.name}.union(str(entry["component"]) for _, entry in self.allowed if entry.get("component"))


class _Owner(NamedTuple):
    """The process that has a service's socket."""

    pid: int
    program: str
    """Path of its file."""
    is_own: bool
    """Whether it is the service's component: by its digest where that is listed, or else by its name."""


class _Place(NamedTuple):
    """Where a service is asked."""

    address: Tuple[Any, ...]
    """As connect(2) takes it."""
    inodes: Tuple[int, ...] = ()
    """Of the sockets that listen there; none where none was seen."""
    hidden: bool = False
    """Whether other sockets have every address at which it could be asked."""
    beside: bool = False
    """Whether it is another port of the same process."""


_Asked = Tuple[_Service, _Place, List[Optional[_Owner]]]


def check(node: Node, manifests: Sequence[Listed]) -> List[Result]:
    """Ask every service of the node's role; raises nothing."""
    if not node.live:
        return [Result(ID, ID, NOT_APPLICABLE, actual="at rest")]
    services, listeners = _services(node, manifests), listening.listeners()
    places = [(service, place) for service in services for place in _places(service, listeners)]
    inodes = {inode for _, place in places for inode in place.inodes}
    owners = listening.owners(inodes, _OWNER_SECONDS)
    asked: List[_Asked] = []
    for service, place in places:
        holders: List[Optional[listening.Owner]] = []
        for inode in place.inodes:
            holders.extend(owners.get(inode) or (None,))
        asked.append((service, place, [_owner(node, service, one) for one in holders]))
    asked = [one for one in asked if one[0].here or not all(owner and not owner.is_own for owner in one[2])]
    if not asked:
        return [Result(ID, ID, NOT_APPLICABLE, actual="none listed for this role")]
    asked += _beside(asked, services, listeners)
    with ThreadPoolExecutor(min(len(asked), _MAX_ASKED)) as pool:
        results = list(pool.map(lambda one: _check_service(*one), asked[:_MAX_ASKED]))
    if len(asked) > _MAX_ASKED:
        evidence = {"count": len(asked) - _MAX_ASKED}
        advice = "Let the services listen on fewer addresses, or give one manifest at a time."
        actual = "{} of {} addresses were not asked".format(evidence["count"], len(asked))
        results.append(Result(ID, "beyond", UNKNOWN, None, actual, evidence, advice))
    return results


def _owner(node: Node, service: _Service, owner: Optional[listening.Owner]) -> Optional[_Owner]:
    if owner is None:
        return None
    called = (posixpath.basename(owner.program), owner.name)
    is_own = any(listening.is_named(one, name) for name in service.names for one in called)
    if service.programs:
        is_own = _digest(node, owner.pid) in service.programs
    return _Owner(owner.pid, owner.program, is_own)


def _digest(node: Node, pid: int) -> str:
    """Return the digest of what a process runs; empty where it has ended, cannot be read or is too large."""
    found: List[str] = []

    def read() -> None:
        with contextlib.suppress(OSError, tree.NotRegular, tree.Unstable):
            found.append(node.digests.of(procfs.link(pid).encode("ascii"), _MAX_PROGRAM, follow=True).sha256)

    deadline.within(_OWNER_SECONDS, read)
    return found[0] if found else ""


def _beside(
    asked: Sequence[_Asked],
    services: Sequence[_Service],
    listeners: Dict[int, List[listening.Listener]],
) -> List[_Asked]:
    """Return the other ports of the processes that have a service's: one may accept what the first does not."""
    named = {service.port for service in services}
    found: List[_Asked] = []
    done: Set[int] = set()
    for service, _, owners in asked:
        for owner in [one for one in owners if one is not None and one.is_own and service.here]:
            held = listening.sockets(owner.pid) if owner.pid not in done else set()
            done.add(owner.pid)
            for port in sorted(port for port, those in listeners.items() if port not in named):
                mine = [one for one in listeners[port] if one.inode in held]
                other = service._replace(port=port)
                found += [(other, place._replace(beside=True), [owner]) for place in _places(other, {port: mine})]
    return found


def _services(node: Node, manifests: Sequence[Listed]) -> List[_Service]:
    found: Dict[Tuple[str, int], List[Tuple[str, Dict[str, Any]]]] = {}
    for listed in manifests:
        entries = (listed.manifest.get("node") or {}).get("services") or []
        for entry in entries if isinstance(entries, list) else []:
            port = entry.get("port") if isinstance(entry, dict) else None
            if isinstance(port, int) and 0 < port < 65536:
                found.setdefault((str(entry.get("name")), port), []).append((listed.name, entry))
    services = []
    inventory = Inventory(manifests)
    required = {name for listed in manifests for name in wanted_components(listed, node.role).here}
    for name, port in sorted(found):
        entries = found[name, port]
        own = [one for one in entries if node.role in (_texts(one[1], "roles") or [node.role])]
        components = {str(entry.get("component") or name) for _, entry in entries}
        programs = [inventory.of(one) for one in components if inventory.component_of(one) in required]
        component = next((inventory.component_of(one) for one in sorted(components) if inventory.of(one)), None)
        allowed = tuple(own or entries)
        services.append(_Service(name, port, bool(own), allowed, component, frozenset().union(*programs)))
    return services


def _places(service: _Service, listeners: Dict[int, List[listening.Listener]]) -> List[_Place]:
    """Return where a service is to be asked: everywhere it listens, or at the loopback where nothing was seen to."""
    found: Dict[Tuple[Any, ...], _Place] = {}
    beside = sorted(listeners.get(service.port, []))
    for one in beside:
        place = listening.askable(one, beside)
        address, scope = place or (one.address, one.scope)
        # The interface's number goes where socket(7) has it.
        where = (address, service.port, 0, scope) if scope else (address, service.port)
        inodes = found[where].inodes if where in found else ()
        found[where] = _Place(where, (*inodes, one.inode), place is None)
    if not found and service.here and service.port not in listeners:
        return [_Place(("127.0.0.1", service.port))]
    return list(found.values())


def _shown_place(address: Tuple[Any, ...]) -> str:
    host, port = address[:2]
    if len(address) > 2:
        with contextlib.suppress(OSError):
            host = "{}%{}".format(host, socket.if_indextoname(address[3]))
    return "[{}]:{}".format(host, port) if ":" in host else "{}:{}".format(host, port)


def _check_service(service: _Service, place: _Place, owners: Sequence[Optional[_Owner]]) -> Result:
    found = _ask(service, place, owners)
    return found._replace(evidence=of_component(found.evidence, service.component))


def _ask(service: _Service, place: _Place, owners: Sequence[Optional[_Owner]]) -> Result:
    shown = visible(_shown_place(place.address))
    subject = "{} {}".format(visible(service.name, 60), shown if shown.startswith("[") else "[{}]".format(shown))
    expected = _expected(service.allowed[0][1])
    allowed = [suite for _, entry in service.allowed for suite in _order(entry)]
    if place.hidden:
        actual = "listens where other sockets answer"
        return Result(ID, subject, UNKNOWN, expected, actual, {"code": "hidden"}, _HIDDEN)
    try:
        found = client.ask(place.address, allowed, _SECONDS)
    except client.Refused as error:
        if place.beside:
            return Result(ID, subject, NOT_APPLICABLE, None, "another port of the component, closed meanwhile")
        return Result(ID, subject, UNKNOWN, expected, "nothing answers ({})".format(error), {}, _START)
    result = _judge(service, subject, expected, found)
    if place.beside and not found.suites and not any(how.startswith("alert") for how in found.alerts.values()):
        # Health, metrics and the kubelet's read-only port: not TLS, and nothing that a definition allows or denies.
        actual = "another port of the component, which does not speak TLS"
        result = result._replace(status=NOT_APPLICABLE, expected=None, actual=actual, advice="")
        result = result._replace(evidence={"code": "cleartext", "connections": found.connections})
    known = [owner for owner in owners if owner is not None]
    if known:
        result = result._replace(evidence=dict(result.evidence, **_served_by(known)))
    strangers = [owner for owner in known if service.here and service.programs and not owner.is_own]
    if strangers and result.status in (PASS, UNKNOWN):
        evidence = dict(result.evidence, code="another-program")
        actual = "{} has the port, which no manifest lists for it".format(visible(strangers[0].program))
        return result._replace(status=FAIL, actual=actual, evidence=evidence, advice=_OTHER_PROGRAM)
    if result.status == PASS and len(owners) > 1 and (len(known) < len(owners) or len({one.pid for one in known}) > 1):
        # The kernel gives each connection to one of them (SO_REUSEPORT, socket(7)).
        evidence = dict(result.evidence, code="several", count=len(owners))
        return result._replace(status=UNKNOWN, actual="several processes take turns", evidence=evidence, advice=_TURNS)
    return result


def _served_by(known: Sequence[_Owner]) -> Dict[str, Any]:
    """Return evidence of the program that has the port; one that is not the component's comes first."""
    owner = min(known, key=lambda one: one.is_own)
    return {"program": visible(owner.program), "pid": owner.pid, "another_program": not owner.is_own}


def _judge(service: _Service, subject: str, expected: str, found: client.Accepted) -> Result:
    evidence: Dict[str, Any] = {
        "versions": list(found.suites),
        "suites": {version: suites[:_MAX_SHOWN] for version, suites in found.suites.items()},
        "preferred": found.preferred,
        "refused": found.alerts,
        "connections": found.connections,
    }
    actual = _shown(found)
    outside = [_outside(entry, found) for _, entry in service.allowed]
    fitting = [one for number, one in enumerate(service.allowed) if not outside[number]]
    if not fitting:
        evidence.update(code="not-allowed", outside=outside[0][:_MAX_SHOWN])
        return Result(ID, subject, FAIL, expected, actual, evidence, _advice(found, outside[0]))
    if found.problem is not None:
        advice = "Find out why the service does not answer as a TLS server does."
        return Result(ID, subject, UNKNOWN, expected, found.problem, dict(evidence, code="no-answer"), advice)
    evidence["manifest"], entry = fitting[0]
    if entry.get("preferred") not in (None, found.preferred):
        evidence["code"] = "other-preferred"
    return Result(ID, subject, PASS, expected, actual, evidence)


def _advice(found: client.Accepted, outside: Sequence[str]) -> str:
    """Return what to do about versions and suites that are not allowed."""
    only_new = set(outside) <= {_TLS13, *found.suites.get(_TLS13, [])}
    return _GO_TLS13 if only_new else _CLOSE + " " + _GO_TLS13 if _TLS13 in outside else _CLOSE


def _outside(entry: Dict[str, Any], found: client.Accepted) -> List[str]:
    """Return the versions and suites that are accepted and not allowed."""
    versions = _texts(entry, "tls_versions")
    names = set(_texts(entry, "cipher_suites"))
    accepted: Set[str] = {suite for suites in found.suites.values() for suite in suites}
    return [version for version in found.suites if version not in versions] + sorted(accepted - names)


def _order(entry: Dict[str, Any]) -> List[str]:
    """Return the allowed suites, the preferred one first: a server without a preference takes the first."""
    names = _texts(entry, "cipher_suites")
    preferred = entry.get("preferred")
    return [name for name in names if name == preferred] + [name for name in names if name != preferred]


def _texts(entry: Dict[str, Any], name: str) -> List[str]:
    values: Optional[Any] = entry.get(name)
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []


def _expected(entry: Dict[str, Any]) -> str:
    return visible(_line(_texts(entry, "tls_versions"), _texts(entry, "cipher_suites")), 1000)


def _shown(found: client.Accepted) -> str:
    suites = [suite for version in found.suites.values() for suite in version]
    return visible(_line(list(found.suites), sorted(set(suites), key=suites.index)[:_MAX_SHOWN]), 2000)


def _line(versions: Sequence[str], suites: Sequence[str]) -> str:
    return "{}: {}".format(", ".join(versions) or "no version", ", ".join(suites) or "no suite")
