"""Static pods as the kubelet reads them from files (pkg/kubelet/config/file.go)."""

import errno
import posixpath
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ..trust.text import visible
from . import tree, yaml

DIRECTORY = "/etc/kubernetes/manifests"
"""Where kubeadm keeps them."""

_KINDS = (("container", "containers"), ("init container", "initContainers"), ("container", "ephemeralContainers"))
_HOOKS = ("postStart", "preStop")
_MAX_PODS = 100


class Container(NamedTuple):
    """A container of a pod."""

    kind: str
    """``container`` or ``init container``."""
    name: str
    image: str
    command: Tuple[str, ...]
    """What starts in place of the image's entry point; empty where that is kept."""
    arguments: Tuple[str, ...]
    environment: Dict[str, Optional[str]]
    """None for a value that comes from elsewhere."""
    mounts: Tuple[str, ...]
    """Where volumes are mounted."""
    hooks: Tuple[str, ...]
    """Programs that are started in it beside the command."""


class Pod(NamedTuple):
    """A pod's definition."""

    path: str
    """The file that defines it."""
    name: str
    namespace: str
    component: str
    """Its label ``component``, which kubeadm sets."""
    containers: Tuple[Container, ...]


class Malformed(Exception):
    """It is no pod that can be read exactly; the text says why."""


def parse(text: str, path: str) -> Pod:
    """Return the pod that a file defines; raises `Malformed`."""
    try:
        document = yaml.read(text)
    except yaml.Malformed as error:
        raise Malformed("it cannot be read exactly: {}".format(error))
    # Go matches keys in any case where none fits exactly (sigs.k8s.io/yaml).
    _refuse_other_case(document)
    if not isinstance(document, dict) or document.get("kind") != "Pod":
        raise Malformed("it is no pod")
    metadata, spec = _table(document, "metadata"), _table(document, "spec")
    containers = [
        _container(kind, one) for kind, key in _KINDS for one in _rows(spec, key)
    ]  # fmt: skip
    if not containers:
        raise Malformed("it has no containers")
    return Pod(
        path,
        _text(metadata, "name"),
        _text(metadata, "namespace"),
        _text(_table(metadata, "labels"), "component"),
        tuple(containers),
    )


def read(root: str, directory: str = DIRECTORY) -> Tuple[List[Pod], List[Tuple[str, str]]]:
    """Return the static pods in a directory or file of the node, and what cannot be read, each path with its reason.

    The kubelet reads every file of the directory whose name does not begin with a dot; raises nothing.
    """
    found: List[Pod] = []
    doubts: List[Tuple[str, str]] = []
    try:
        names = tree.list_names(root, directory)
        paths = [posixpath.join(directory, name) for name in names if not name.startswith(".")]
    except NotADirectoryError:
        paths = [directory]
    except OSError as error:
        missing = error.errno == errno.ENOENT
        return [], [] if missing else [(directory, errno.errorcode.get(error.errno or 0, "unreadable"))]
    if len(paths) > _MAX_PODS:
        doubts.append((directory, "more than {} files".format(_MAX_PODS)))
    for path in paths[:_MAX_PODS]:
        try:
            found.append(parse(tree.read_small(root, path, yaml.MAX_SIZE + 1), path))
        except tree.NotRegular:
            continue  # The kubelet passes over what is no file.
        except OSError as error:
            if error.errno != errno.ENOENT:
                doubts.append((path, errno.errorcode.get(error.errno or 0, "unreadable")))
        except Malformed as error:
            doubts.append((path, visible(str(error))))
    return found, doubts


_KEYS = frozenset(
    ("kind", "metadata", "spec", "containers", "initContainers", "ephemeralContainers", "name", "namespace", "labels")
    + ("image", "command", "args", "env", "envFrom", "value", "valueFrom", "volumeMounts", "volumeDevices")
    + ("mountPath", "lifecycle", "exec", "postStart", "preStop", "livenessProbe", "readinessProbe", "startupProbe")
)
_FREE = frozenset(("labels", "annotations", "nodeSelector", "matchLabels"))  # tables with keys of their own
_FOLDED = {key.lower(): key for key in _KEYS}


def _refuse_other_case(value: Any) -> None:
    if isinstance(value, list):
        for one in value:
            _refuse_other_case(one)
    for key, one in value.items() if isinstance(value, dict) else ():
        if key not in _FREE:
            _refuse_other_case(one)
        if _FOLDED.get(key.casefold(), key) != key:
            raise Malformed("the key {} is written in another case".format(visible(repr(key), 60)))


def _container(kind: str, row: Any) -> Container:
    if not isinstance(row, dict):
        raise Malformed("a container is no table")
    environment: Dict[str, Optional[str]] = {}
    for one in _rows(row, "env"):
        from_elsewhere = "valueFrom" in (one if isinstance(one, dict) else {})
        environment[_text(one, "name")] = None if from_elsewhere else _text(one, "value")
    if _rows(row, "envFrom"):
        environment["envFrom"] = None
    hooks = [_table(_table(row, "lifecycle"), name) for name in _HOOKS]
    hooks += [_table(row, name) for name in ("livenessProbe", "readinessProbe", "startupProbe")]
    commands = [_words(_table(one, "exec"), "command") for one in hooks]
    return Container(
        kind,
        _text(row, "name"),
        _text(row, "image"),
        _words(row, "command"),
        _words(row, "args"),
        environment,
        tuple(posixpath.normpath("/" + _text(one, "mountPath").lstrip("/")) for one in _rows(row, "volumeMounts")),
        tuple(command[0] for command in commands if command),
    )


def _is_empty(value: Any) -> bool:
    return value in (None, "", "null", "~", "Null", "NULL")


def _table(table: Any, key: str) -> Dict[str, Any]:
    value = table.get(key) if isinstance(table, dict) else None
    if _is_empty(value):
        return {}
    if not isinstance(value, dict):
        raise Malformed("{} is no table".format(key))
    return value


def _rows(table: Dict[str, Any], key: str) -> List[Any]:
    value = table.get(key)
    if _is_empty(value):
        return []
    if not isinstance(value, list):
        raise Malformed("{} is no list".format(key))
    return value


def _text(table: Any, key: str) -> str:
    value = table.get(key) if isinstance(table, dict) else None
    if _is_empty(value):
        return ""
    if not isinstance(value, str):
        raise Malformed("{} is no text".format(key))
    return value


def _words(table: Dict[str, Any], key: str) -> Tuple[str, ...]:
    words = _rows(table, key)
    if not all(isinstance(word, str) for word in words):
        raise Malformed("{} is no list of text".format(key))
    return tuple(words)
