"""What admission made of a run's objects: webhooks and policies may change what a pod starts and what it sees.

What decides neither stays theirs to change: labels, tolerations, resources, further containers with volumes of their
own, a registry's name.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..trust.text import visible
from .objects import CONTAINER

#: Further variables that change what the shell, Python, OpenSSL or gpgv do.
_VARIABLES = re.compile(
    r"(?:(?:LD|GLIBC|OPENSSL|BASH|FIPSMANIFEST)_.+|PYTHON.+|ENV|GCONV_PATH|GNUPGHOME|SHELLOPTS|LOCPATH|TMPDIR)\Z"
)
#: Beside the pod's own mounts, what further ones may not cover.
_SEEN = ("/proc", "/sys", "/dev", "/bin", "/sbin")
_MAX_NAME = 100
#: Each may write to a volume that it mounts, before the pod's own container starts or while it runs.
_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
_STARTED = ("args", "envFrom", "lifecycle")


def find_change(sent: Mapping[str, Any], seen: Mapping[str, Any]) -> str:
    """Return what of a pod's specification (core/v1 PodSpec) differs from what was sent; empty where nothing does.

    Never raises, whatever form ``seen`` has.
    """
    return next(_changes(sent, seen), "")


def find_payload_change(sent: Mapping[str, Any], stored: Mapping[str, Any]) -> str:
    """Return what of a ConfigMap (core/v1) differs from what was sent; empty where nothing does.

    Its content is compared alone, and that it cannot be changed any more. Never raises, whatever form ``stored`` has.
    """
    wanted, found = sent["binaryData"], stored.get("binaryData")
    found = found if isinstance(found, Mapping) else {}
    for name in sorted({*wanted, *map(str, found)}):
        if found.get(name) != wanted.get(name):
            return visible(name, _MAX_NAME)
    if stored.get("data"):
        return "data"
    return "" if stored.get("immutable") is True else "immutable"


def _changes(sent: Mapping[str, Any], seen: Mapping[str, Any]) -> Iterator[str]:
    # Another runtime class may start the pod in a machine of its own, with another kernel and other processes.
    for key in ("hostPID", "hostNetwork", "runtimeClassName"):
        if seen.get(key) is not sent.get(key):
            yield key
    own, found = _by(sent.get("containers"), "name").get(CONTAINER, {}), _by(seen.get("containers"), "name")
    container = found.get(CONTAINER, {})
    if container.get("command") != own.get("command"):
        yield "command"
    yield from (key for key in _STARTED if container.get(key))
    yield from _variables(_by(own.get("env"), "name"), _by(container.get("env"), "name"))
    yield from _mounts(_by(own.get("volumeMounts"), "mountPath"), _by(container.get("volumeMounts"), "mountPath"))
    volumes, ours = _by(seen.get("volumes"), "name"), _by(sent.get("volumes"), "name")
    for kind in _CONTAINERS:
        for name, other in _by(seen.get(kind), "name").items():
            if (kind, name) != ("containers", CONTAINER):
                shared = ours.keys() & _by(other.get("volumeMounts"), "name").keys()
                yield from (f"container {name} with the volume {volume}" for volume in sorted(shared))
    for name, volume in ours.items():
        if not _has(volumes.get(name), volume):
            yield f"volume {name}"


def _variables(own: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    for name, variable in own.items():
        there = found.get(name)
        # An empty value is not stored.
        if there is None or there.get("valueFrom") or there.get("value", "") != variable.get("value", ""):
            yield f"variable {name}"
    yield from (f"variable {name}" for name in found if name not in own and _VARIABLES.match(name))


def _mounts(own: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    for path, mount in own.items():
        there = found.get(path, {})
        if not _has(there, mount) or there.get("subPath") or there.get("subPathExpr"):
            yield f"mount {path}"
    for path in found:
        place = posixpath.normpath("/" + path.lstrip("/"))
        if path not in own and any(_overlap(place, one) for one in (*own, *_SEEN)):
            yield f"mount {path}"


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}/") or other.startswith(one.rstrip("/") + "/")


def _has(found: Any, wanted: Any) -> bool:
    """Return whether a value has all that is ``wanted``; the API server adds what it has by default."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(_has(found.get(key), one) for key, one in wanted.items())
    # The API server adds nothing to a list: a part of a ConfigMap under another name is a change.
    return bool(found == wanted)


def _by(rows: Any, key: str) -> dict[str, Any]:
    """Return a list's objects by a text that each has."""
    listed: Sequence[Any] = rows if isinstance(rows, list) else []
    return {row[key]: row for row in listed if isinstance(row, Mapping) and isinstance(row.get(key), str)}
