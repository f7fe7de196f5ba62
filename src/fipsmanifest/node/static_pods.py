"""Static pods as the kubelet reads them from files (pkg/kubelet/config/file.go)."""

import errno
import posixpath
import re
from typing import Any, Dict, FrozenSet, Iterator, List, NamedTuple, Optional, Tuple

from ..trust.text import visible
from . import tree
from .formats import yaml

DIRECTORY = "/etc/kubernetes/manifests"
"""Where kubeadm keeps them."""

_KINDS = (("container", "containers"), ("init container", "initContainers"), ("container", "ephemeralContainers"))
_HOOKS = ("postStart", "preStop")
_MAX_PODS = 100
_REFERENCE = re.compile(r"(\$\$)|\$\(([^()]*)\)")


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
    devices: Tuple[str, ...] = ()
    """What asks for devices: annotations (CDI), extended resources and claims to resources."""

    @property
    def programs(self) -> FrozenSet[str]:
        """The names of its images' repositories and of the programs that its containers start."""
        images = (one.image.partition("@")[0].rpartition("/")[2].partition(":")[0] for one in self.containers)
        words = (word for one in self.containers for word in (*one.command, *one.arguments))
        return frozenset(images).union(posixpath.basename(word) for word in words if not word.startswith("-"))


class Malformed(ValueError):
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
        (
            *(name for name in _table(metadata, "annotations") if name.startswith("cdi.k8s.io/")),
            *(name for kind, key in _KINDS for one in _rows(spec, key) for name in _extended(_table(one, "resources"))),
            *(["resourceClaims"] if _rows(spec, "resourceClaims") else []),
        ),
    )


def list_paths(root: str, directory: str = DIRECTORY) -> List[str]:
    """Return the files that the kubelet reads static pods from: those whose name does not begin with a dot.

    A file in the directory's place is read itself. Raise `OSError`, with EFBIG for more than 100 files.
    """
    try:
        names = tree.list_names(root, directory)
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        return [directory]
    paths = [posixpath.join(directory, name) for name in names if not name.startswith(".")]
    if len(paths) > _MAX_PODS:
        raise OSError(errno.EFBIG, "more than {} files".format(_MAX_PODS))
    return paths


def read_file(root: str, path: str) -> Optional[Pod]:
    """Return the pod in a file, None if the kubelet passes over it. Raise `OSError` or `Malformed`."""
    try:
        return parse(tree.read_small(root, path, yaml.MAX_SIZE + 1), path)
    except (FileNotFoundError, NotADirectoryError, tree.NotRegular):
        return None


def read(root: str, directory: str = DIRECTORY) -> Tuple[List[Pod], List[Tuple[str, str]]]:
    """Return the static pods in a directory or file of the node, and each path that cannot be read with the reason.

    Raises nothing.
    """
    found: List[Pod] = []
    doubts: List[Tuple[str, str]] = []
    try:
        paths = list_paths(root, directory)
    except OSError as error:
        return [], [(directory, _reason(error))]
    for path in paths:
        try:
            pod = read_file(root, path)
            found += [] if pod is None else [pod]
        except OSError as error:
            doubts.append((path, _reason(error)))
        except Malformed as error:
            doubts.append((path, visible(str(error))))
    return found, doubts


def _reason(error: OSError) -> str:
    return str(error.strerror) if error.errno == errno.EFBIG else errno.errorcode.get(error.errno or 0, "unreadable")


_KEYS = frozenset(
    ("kind", "metadata", "spec", "containers", "initContainers", "ephemeralContainers", "name", "namespace", "labels")
    + ("image", "command", "args", "env", "envFrom", "value", "valueFrom", "volumeMounts", "volumeDevices")
    + (
        "mountPath",
        "resources",
        "limits",
        "requests",
        "resourceClaims",
        "lifecycle",
        "exec",
        "postStart",
        "preStop",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
    )
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


def _extended(resources: Dict[str, Any]) -> Iterator[str]:
    """Return the extended resources, which have a domain in their name: a device plugin makes something of them."""
    for key in ("limits", "requests"):
        yield from (name for name in _table(resources, key) if "/" in name)


def _container(kind: str, row: Any) -> Container:
    if not isinstance(row, dict):
        raise Malformed("a container is no table")
    environment: Dict[str, Optional[str]] = {}
    for one in _rows(row, "env"):
        from_elsewhere = "valueFrom" in (one if isinstance(one, dict) else {})
        environment[_text(one, "name")] = None if from_elsewhere else _expand(_text(one, "value"), environment)
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


def _expand(value: str, known: Dict[str, Optional[str]]) -> Optional[str]:
    """Return a variable's value with those that were defined before it; None where one of them is from elsewhere.

    A reference to one that is not defined remains (k8s.io/kubernetes/third_party/forked/golang/expansion).
    """
    names = [name for _, name in _REFERENCE.findall(value) if name]
    if any(name in known and known[name] is None for name in names):
        return None
    return _REFERENCE.sub(lambda match: "$" if match.group(1) else str(known.get(match.group(2), match.group())), value)


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
