"""Components' configuration files, known by their content: a program that is given one does that component's work."""

import re
from typing import Iterator, Mapping, Optional, Sequence

MAX_SIZE = 64 * 1024
"""Bytes of a file by which it is known."""
_MAX_FILES = 8  # that one command names
# What a file is named by: kubelet, kube-proxy and kube-scheduler --config, containerd -c, etcd --config-file.
_OPTION = re.compile(r"--?(?:[a-z_-]*conf[a-z_-]*|c)(?:=(.*))?\Z", re.DOTALL)
# The kinds of k8s.io/kubernetes' component configurations; etcd's configuration file has its options as keys.
_KIND = re.compile(r"\bkind[\"']?\s*:\s*[\"']?(Kubelet|KubeProxy|KubeScheduler|KubeControllerManager)Configuration\b")
_KINDS = {
    "Kubelet": "kubelet",
    "KubeProxy": "kube-proxy",
    "KubeScheduler": "kube-scheduler",
    "KubeControllerManager": "kube-controller-manager",
}
_ETCD = re.compile(r"(?:^|[\"'{,\s])(?:initial-cluster|listen-(?:client|peer)-urls)[\"']?\s*:(?!\S*//)", re.MULTILINE)
_CONTAINERD = re.compile(r"^[ \t]*\[[ \t]*plugins[ \t]*\.[ \t]*[\"']?(?:io\.containerd\.|cri\b)", re.MULTILINE)
# etcd takes each option from a variable as well (etcd's docs, "Configuration options").
_VARIABLES = frozenset(("ETCD_INITIAL_CLUSTER", "ETCD_LISTEN_PEER_URLS", "ETCD_LISTEN_CLIENT_URLS", "ETCD_CONFIG_FILE"))


def named_in(arguments: Sequence[str]) -> Iterator[str]:
    """Return the absolute paths that options of a command name as its configuration."""
    found = []
    for word, following in zip(arguments, (*arguments[1:], "")):  # noqa: B905 - new in Python 3.10
        match = _OPTION.match(word)
        if match is not None:
            found.append(following if match.group(1) is None else match.group(1))
    yield from [one for one in found if one.startswith("/")][:_MAX_FILES]


def component_of(text: str) -> Optional[str]:
    """Return the component whose configuration a text is; None for any other."""
    kind = _KIND.search(text)
    if kind is not None:
        return _KINDS[kind.group(1)]
    if _CONTAINERD.search(text):
        return "containerd"
    return "etcd" if _ETCD.search(text) else None


def component_of_variables(environment: Mapping[str, object]) -> Optional[str]:
    """Return the component that environment variables configure; None where they configure none."""
    return "etcd" if _VARIABLES.intersection(environment) else None
