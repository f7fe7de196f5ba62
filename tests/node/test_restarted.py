"""Containers that containerd's restart monitor starts again by itself, as a real containerd keeps them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from fipsmanifest.node.checks import container_pods
from tests.node.test_starters import tree_with_another_build
from tests.support import runtime

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containerd runs as root alone")

LABEL = ("--label", "containerd.io/restart.status=running")


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The database of a containerd that has one container, by what that is."""
    directory = tmp_path_factory.mktemp("databases")
    created: dict[str, tuple[str, ...]] = {
        "another build": (*LABEL, "/opt/plain", "x", "/agent"),
        "another build in a mount": (*LABEL, "--mount", "type=bind,src=/opt/plain/agent,dst=/x", "/opt/r", "x", "/x"),
        "a component's program": (*LABEL, "/opt/r", "x", "/usr/local/bin/kube-apiserver"),
        "a component's option": (*LABEL, "/opt/r", "x", "/x", "--etcd_servers=https://127.0.0.1"),
        "one that is not started again": ("/opt/r", "x", "/usr/local/bin/kube-apiserver"),
        "an application": (*LABEL, "/opt/r", "x", "/usr/bin/node_exporter", "--path.rootfs=/host"),
    }
    with runtime.running() as containerd:
        for number, words in enumerate(created.values()):
            containerd.ctr("--namespace", "site", "containers", "create", "--rootfs", *words)
            shutil.copy(containerd.root / container_pods.METADATA.lstrip("/"), directory / str(number))
            containerd.ctr("--namespace", "site", "containers", "rm", "x")
    return {name: directory / str(number) for number, name in enumerate(created)}


@pytest.mark.parametrize(
    ("what", "found"),
    [
        ("another build", [("fail", "site/x (container)", "other-build")]),
        ("another build in a mount", [("fail", "site/x (container)", "other-build")]),
        ("a component's program", [("unknown", "site/x (container)", "other-root")]),
        ("a component's option", [("unknown", "site/x (container)", "other-root")]),
        ("one that is not started again", []),
        ("an application", []),
    ],
)
def test_a_container_that_containerd_starts_again_is_judged(
    what: str, found: list[tuple[str, str, str]], databases: dict[str, Path], tmp_path: Path
) -> None:
    tree = tree_with_another_build(tmp_path)
    tree.place(container_pods.METADATA).parent.mkdir(parents=True)
    shutil.copy(databases[what], tree.place(container_pods.METADATA))

    assert tree.bad() == found


def test_a_database_that_is_none_is_for_the_images_to_report(tmp_path: Path) -> None:
    tree = tree_with_another_build(tmp_path)
    tree.write(container_pods.METADATA, "no database")

    assert tree.bad() == []
