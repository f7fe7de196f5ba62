"""The reader of YAML, compared with PyYAML: what it reads is what PyYAML reads, the rest it refuses."""

from __future__ import annotations

import random

import pytest
import yaml as peer  # type: ignore[import-untyped]

from fipsmanifest.node.formats import yaml

# As kubeadm 1.21 writes it.
POD = """\
apiVersion: v1
kind: Pod
metadata:
  annotations:
    kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint: 10.0.0.1:6443
  creationTimestamp: null
  labels:
    component: kube-apiserver
  name: kube-apiserver
spec:
  containers:
  - command:
    - kube-apiserver
    - --etcd-servers=https://127.0.0.1:2379
    image: k8s.gcr.io/kube-apiserver:v1.21.3
    livenessProbe:
      failureThreshold: 8
    volumeMounts:
    - mountPath: /etc/ssl/certs
      readOnly: true
  hostNetwork: true
  volumes:
  - hostPath:
      path: /etc/ssl/certs
    name: ca-certs
status: {}
"""
JSON = '{"a": [1, {"b": "x\\u0041"}],\n  "c": {"d": null, "e":true}}\n'
FORMS = (
    "a:\n- b: c\n  d: [x, y, {z: 1}]\n-\n  e: 'f''g' # c\n- - h\n  - i\nj: |\n  text\n   more\n\nk: |-\n    z\n"
    'l: "q\\n"\n"m n": {"o":p, q: r}\n'
)


def reads(text: str) -> object:
    found = peer.load(text, Loader=peer.BaseLoader)  # noqa: S506 - it makes text, lists and dictionaries alone
    return "" if found is None else found


@pytest.mark.parametrize("text", [POD, JSON, FORMS, "", "# c\n", "---\na: b\n", "a\n", "- a\n", "a:\r\n  b: c\r\n"])
def test_usual_documents_are_read(text: str) -> None:
    assert yaml.read(text) == reads(text)


def test_whatever_is_read_is_read_as_pyyaml_reads_it() -> None:
    pick = random.Random(1)
    read = 0
    for _ in range(4000):
        lines = pick.choice((POD, JSON, FORMS)).split("\n")
        first = pick.randrange(len(lines))
        letters = list("\n".join(lines[first : first + pick.randrange(1, 9)]))
        for _ in range(pick.choice((0, 1, 1, 2, 3))):
            place = pick.randrange(len(letters) + 1)
            letter = pick.choice("\"'[]{}:,#\n -|>&*!%@`?\\\ta1.\u00e9\x85\ufeff\r")
            letters[place : place + pick.choice((0, 1))] = [letter, *" " * pick.choice((0, 0, 0, 2))]
        text = "".join(letters)
        try:
            found = yaml.read(text)
        except yaml.Malformed:
            continue
        assert found == reads(text), text
        read += 1
    assert read > 1000


@pytest.mark.parametrize(
    "text",
    [
        "a: &x b\nc: *x\n", "a: !!str b\n", "a: b\na: c\n", "a: {b: c, b: d}\n", "<<: {a: b}\n",
        "%YAML 1.2\n---\na: b\n",
        "a: b\n---\nc: d\n", "a: b\n...\n", "? a\n: b\n", "a: b\n  c\n", "a: >\n  b\n", "a:\tb\n", "a: 'b\n  c'\n",
        'a: "\\x41"\n', "a: [b\n", "a: [b]]\n", "a: b: c\n", "  a: b\nc: d\n", "a:\n    b: c\n  d: e\n", "a: @b\n",
        "a: \x00\n", "[" * 5000, "a: " + "{a: " * 5000, "- " * 5000, "\n".join(" " * n + "a:" for n in range(400)),
        "a: " + "x" * (yaml.MAX_SIZE + 1), 'a: "\\ud800"\n',
    ],
)  # fmt: skip
def test_what_readers_differ_in_and_what_is_no_yaml_is_refused(text: str) -> None:
    with pytest.raises(yaml.Malformed):
        yaml.read(text)
