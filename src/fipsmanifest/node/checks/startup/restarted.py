"""Containers that containerd starts again by itself, in any namespace: those with a label of its restart monitor.

Rules: containerd's runtime/restart (the labels) and metadata/buckets.go.
"""

import contextlib
import json
import posixpath
from typing import Any, Dict, Iterator, List, Tuple

from ....trust.text import visible
from ... import tree
from ...containerd import bolt
from ...result import FAIL, Node, Result
from .. import container_pods
from . import changes, other_commands, static_pods
from .programs import Programs
from .results import result

_LABEL, _STARTED = b"containerd.io/restart.status", b"running"
_MAX_CONTAINERS = 1000


def check(node: Node, programs: Programs) -> List[Result]:
    """Judge what containerd starts again that is a component's; raises nothing.

    On a running node the processes are compared. That the database cannot be read is for the check of images to say.
    """
    results: List[Result] = []
    with contextlib.suppress(OSError, bolt.Malformed, bolt.Busy):
        for name, image, specification in [] if node.live else _restarted(node):
            results += _judge(name, image, specification, programs)
    return results


def _restarted(node: Node) -> Iterator[Tuple[str, str, bytes]]:
    """Return name, image and specification of each container that is started again; raises as `bolt.read`."""
    place = tree.resolve(node.root, container_pods.METADATA)
    for namespace in bolt.read(place, container_pods.BUCKETS[:1]):
        buckets = (*container_pods.BUCKETS[:1], namespace, b"containers")
        labels = bolt.read(place, buckets, b"labels")
        names = [name for name, one in labels.items() if one.get(_LABEL) == _STARTED]
        found: Dict[bytes, Dict[bytes, bytes]] = bolt.read(place, buckets) if names else {}
        for name in names[:_MAX_CONTAINERS]:
            one = found.get(name, {})
            shown = "{}/{}".format(container_pods.text(namespace), container_pods.text(name))
            yield shown, container_pods.text(one.get(b"image", b"")), one.get(b"spec", b"")


def _judge(name: str, image: str, specification: bytes, programs: Programs) -> Iterator[Result]:
    root, words, sources = _read(specification)
    subject = "{} (container)".format(visible(name, 100))
    started = posixpath.join(root, words[0].lstrip("/")) if root and words else ""
    builds = programs.builds_in(" ".join(sources), *([started] if started.startswith("/") else []))
    command = " ".join(words)
    for one in builds[:1]:
        advice = other_commands.INSTEAD.format(container_pods.METADATA)
        yield result(subject, FAIL, "listed programs", one.shown, "other-build", container_pods.METADATA, advice)
    is_component = changes.names_daemon(" ".join([image, *words[:1]])) or any(
        form.search(" " + command.replace("_", "-")) for form in static_pods.OPTIONS.values()
    )
    if is_component and not builds:
        text = "{} {}".format(image, command).strip()
        yield other_commands.judge_container(subject, text, container_pods.METADATA, None)


def _read(specification: bytes) -> Tuple[str, List[str], List[str]]:
    """Return root, command and sources of mounts in a container's specification (OCI runtime-spec).

    The database has it as JSON within a message of protocol buffers, behind the name of its type.
    """
    text = specification.decode("utf-8", "replace")
    with contextlib.suppress(ValueError, TypeError, AttributeError, RecursionError):
        document: Any = json.JSONDecoder().raw_decode(text[max(text.find("{"), 0) :])[0]
        words = [str(one) for one in (document.get("process") or {}).get("args") or []]
        sources = [str(one.get("source")) for one in document.get("mounts") or []]
        return str((document.get("root") or {}).get("path") or ""), words, sources
    return "", [], []
