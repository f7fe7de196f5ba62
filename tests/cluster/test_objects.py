"""What a run creates: the pod of a node, packed manifests, the objects of a dry run and of a schedule."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import random
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.cluster.nodes import pause_image, read_node, running_image
from fipsmanifest.cluster.objects import RunObjects
from fipsmanifest.cluster.payload import MAX_PART, make_payload
from fipsmanifest.errors import NotTrusted, UsageError
from fipsmanifest.workflows import check_cluster
from tests.cluster.conftest import World
from tests.cluster.test_bad_input import apply
from tests.cluster.test_lifecycle import command, valid
from tests.support import roots
from tests.support.fakekubelet import Reports, create_nodes, node
from tests.support.forge import Forge
from tests.support.releases import tool_bytes


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["registry.k8s.io/pause:3.9"], "registry.k8s.io/pause:3.9"),
        (["k8s.gcr.io/pause@sha256:1234", "k8s.gcr.io/pause:3.2"], "k8s.gcr.io/pause:3.2"),
        (["docker.io/rancher/mirrored-pause:3.6"], "docker.io/rancher/mirrored-pause:3.6"),
        (["602401143452.dkr.ecr.us-west-2.amazonaws.com/eks/pause:3.5"],) * 2,
        (["registry.k8s.io/pause-amd64:3.1"], "registry.k8s.io/pause-amd64:3.1"),
        (["example.com/pauses:1"], None),
        (["example.com/pause/app:1"], None),
        ([], None),
    ],
)
def test_the_pause_image_is_known_under_its_names(names: list[str], found: Any) -> None:
    expected = found[0] if isinstance(found, list) else found
    assert pause_image([{"names": ["example.com/app:1"]}, {"names": names}]) == expected


@pytest.mark.parametrize(
    "item", [{}, {"status": None}, {"metadata": [], "status": {"images": 7, "conditions": [None]}}]
)
def test_a_node_object_of_any_form_is_read(item: dict[str, Any]) -> None:
    assert read_node(item).image is None
    assert running_image(item) is None


def test_a_pod_has_the_least_that_the_check_needs() -> None:
    payload = make_payload(b"#!tool", [("manifest-rhel8.json.asc", b"signed")])
    objects = RunObjects("0123456789", "fips", payload, 300)
    arm = node(
        "arm", architecture="arm64", osImage="Ubuntu 22.04", labels={"node-role.kubernetes.io/control-plane": ""}
    )

    pod = objects.pod(read_node(arm), "pause", 1, "control-plane")

    spec, container = pod["spec"], pod["spec"]["containers"][0]
    assert spec["nodeName"] == "arm" and spec["automountServiceAccountToken"] is False
    assert spec["tolerations"] == [{"operator": "Exists"}] and read_node(arm).control_plane
    assert container["securityContext"] == {
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], "add": ["DAC_READ_SEARCH", "SYS_PTRACE"]},
    }
    assert container["imagePullPolicy"] == "Never" and container["resources"]["limits"]["memory"] == "64Mi"
    hosts = {one["name"]: one["hostPath"] for one in spec["volumes"] if "hostPath" in one}
    # Ubuntu on arm64 has no /usr/lib64, and a missing directory must not be made on the node.
    assert {one["path"] for one in hosts.values()} == {"/", "/usr", "/usr/lib"}
    assert {one["type"] for one in hosts.values()} == {"Directory"}
    assert all(one["readOnly"] for one in container["volumeMounts"] if one["name"] in hosts)
    assert container["command"][-3:] == ["--report-limit", "4096", "/payload/manifest-rhel8.json.asc"]
    assert "control-plane" in container["command"]


def test_manifests_that_are_too_large_for_one_config_map_are_put_together_by_the_pods_own_commands(
    tmp_path: Path,
) -> None:
    # Incompressible, so that it needs several parts.
    data = random.Random(1).randbytes(MAX_PART * 2)
    payload = make_payload(b"#!tool", [("manifest-rhel8.json.asc", data), ("a b.asc", b"other")])

    assert payload.packed and len(payload.parts) == 4 and payload.names == ("manifest-rhel8.json.asc", "manifest-2.asc")
    assert all(sum(len(content) for _, content in part) <= MAX_PART for part in payload.parts)
    (tmp_path / "payload").mkdir()
    for name, content in (file for part in payload.parts for file in part):
        (tmp_path / "payload" / name).write_bytes(content)
    script = payload.unpacking() + ":"
    for place, here in {"/payload": f"{tmp_path}/payload", ">/tmp": f">{tmp_path}"}.items():
        script = script.replace(place, here)
    subprocess.run(["sh", "-ec", script], check=True)
    assert (tmp_path / "manifest-rhel8.json.asc").read_bytes() == data
    assert (tmp_path / "manifest-2.asc").read_bytes() == b"other"
    assert gzip.decompress(dict(payload.parts[-1])["manifest-2.asc.gz.00"]) == b"other"


def test_the_same_manifest_twice_is_one_and_too_many_or_too_much_is_refused() -> None:
    assert make_payload(b"#!", [("a.asc", b"x"), ("b.asc", b"x")]).names == ("a.asc",)
    with pytest.raises(UsageError, match="17 manifests"):
        make_payload(b"#!", [(f"{number}.asc", str(number).encode()) for number in range(17)])
    noise = random.Random(2).randbytes(MAX_PART * 8)
    with pytest.raises(UsageError, match="at most 8"):
        make_payload(b"#!" * 1000, [("a.asc", noise)])


def test_a_dry_run_prints_what_the_api_server_would_take_and_creates_nothing(world: World) -> None:
    create_nodes(world.api, [node("one"), node("windows", operatingSystem="windows")])

    done = subprocess.run(command(world, "--dry-run"), capture_output=True, text=True, timeout=60, check=True)

    items = json.loads(done.stdout)["items"]
    assert [item["kind"] for item in items] == ["Namespace", "Lease", "ConfigMap", "Pod"]
    assert world.left() == []
    path = f"/api/v1/namespaces/{world.request.namespace}"
    world.api.create(f"{path}/pods?dryRun=All", items[3])
    world.api.create(f"{path}/configmaps?dryRun=All", items[2])


def test_a_schedule_can_be_applied_and_carries_keys_and_manifests(world: World, trusted: Forge, tmp_path: Path) -> None:
    # The API server of these tests is older than batch/v1.
    manifest = {**roots.make(tmp_path / "root"), "kubernetes": "v1.20.2"}
    path = tmp_path / "manifest-rhel8.json.asc"
    path.write_bytes(trusted.clearsign(roots.payload_of(manifest)))
    items = scheduled(replace(world, request=replace(world.request, manifests=(str(path),))))

    apply(world, items)
    job = next(item for item in items if item["kind"] == "CronJob")
    container = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    assert container["command"][-3:-1] == ["--role=worker", "--min-serial=1"]
    assert container["command"][-1:] == ["/config/manifests/manifest-rhel8.json.asc"]
    maps = {item["metadata"]["name"]: set(item["binaryData"]) for item in items if item["kind"] == "ConfigMap"}
    assert maps["fipsmanifest-check-manifests"] == {"manifest-rhel8.json.asc"}
    assert "trust.json" in maps["fipsmanifest-check-keys"]
    assert job["apiVersion"] == "batch/v1beta1"


def test_a_schedule_for_kubernetes_1_21_and_later_has_the_cron_job_that_is_left_there(world: World) -> None:
    (job,) = (item for item in scheduled(world) if item["kind"] == "CronJob")
    assert job["apiVersion"] == "batch/v1"


SCHEDULED = ("--print-cronjob", "--cronjob-image", "registry.example/fipsmanifest:1")


def test_a_schedule_carries_every_manifest_whatever_their_files_are_called(
    world: World, trusted: Forge, tmp_path: Path
) -> None:
    content, paths = roots.make(tmp_path / "root"), []
    for serial in (1, 2, 3):
        path = tmp_path / str(serial) / ("manifest-3.asc" if serial == 1 else "manifest-rhel8.json.asc")
        path.parent.mkdir()
        path.write_bytes(trusted.clearsign(roots.payload_of({**content, "serial": serial, "reason": "again"})))
        paths.append(str(path))
    items = scheduled(replace(world, request=replace(world.request, manifests=tuple(paths))))

    (stored,) = (one["binaryData"] for one in items if one["metadata"]["name"] == "fipsmanifest-check-manifests")
    assert {base64.b64decode(one) for one in stored.values()} == {Path(path).read_bytes() for path in paths}
    (job,) = (item for item in items if item["kind"] == "CronJob")
    words = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["command"]
    assert {Path(word).name for word in words if word.startswith("/config/manifests/")} == set(stored)


def test_an_older_manifest_than_the_named_serial_is_refused_before_anything_is_created(world: World) -> None:
    for serial in (None, 1):
        check_cluster.prepare(replace(world.request, min_serial=serial))
    with pytest.raises(NotTrusted, match="older than serial 1000") as caught:
        check_cluster.prepare(replace(world.request, min_serial=1000))
    assert caught.value.reason == "rolled-back"


def scheduled(world: World) -> list[dict[str, Any]]:
    """Return what --print-cronjob prints."""
    options = [*SCHEDULED, "--role", "worker", "--min-serial", "1"]
    done = subprocess.run(command(world, *options), capture_output=True, text=True, timeout=60, check=True)
    items: list[dict[str, Any]] = json.loads(done.stdout)["items"]
    return items


def test_a_control_plane_is_checked_as_one_whatever_it_runs(world: World) -> None:
    roles: dict[str, str] = {}

    def behave(name: str, pod: Any, reports: Reports) -> Any:
        words = pod["spec"]["containers"][0]["command"]
        roles[name] = words[words.index("--role") + 1]
        return reports.report(name, pod)

    labels = {"node-role.kubernetes.io/master": ""}
    world.check([node("worker"), node("master", labels=labels)], behave)
    assert roles == {"worker": "auto", "master": "control-plane"}
    world.request = replace(world.request, role="control-plane")
    report = world.check([], valid)
    assert list(report.aggregate.nodes) == ["master"]


def test_a_tool_that_is_not_signed_is_refused(world: World, tmp_path: Path) -> None:
    tool = tmp_path / "dkp-fips-tool"
    tool.write_bytes(b"#!/bin/sh\n")
    with pytest.raises(UsageError, match="asc does not exist"):
        check_cluster.prepare(replace(world.request, tool=tool))
    with pytest.raises(UsageError, match="is not a node tool"):
        check_cluster.prepare(replace(world.request, tool=Path(world.request.manifests[0])))


def test_an_older_tool_than_that_of_a_manifest_is_refused(world: World, trusted: Forge, tmp_path: Path) -> None:
    tool, manifest = tmp_path / "dkp-fips-tool", tmp_path / "manifest-rhel8.json.asc"
    tool.write_bytes(tool_bytes("0.9.0"))
    (tmp_path / "dkp-fips-tool.asc").write_bytes(trusted.detach(tool.read_bytes()))
    content = roots.make(tmp_path / "root")

    def prepare(version: str, program: bytes) -> None:
        named = {"version": version, "sha256": hashlib.sha256(program).hexdigest()}
        manifest.write_bytes(trusted.clearsign(roots.payload_of({**content, "tool": named})))
        check_cluster.prepare(replace(world.request, tool=tool, manifests=(str(manifest),)))

    prepare("0.9.0", tool_bytes("0.9.0"))
    prepare("0.8.0", b"another")
    for version in ("0.9.0", "0.10.0"):
        with pytest.raises(NotTrusted, match="the manifest was published with") as caught:
            prepare(version, b"another")
        assert caught.value.reason == "rolled-back"


IGNORED = (
    *([*SCHEDULED, *ignored] for ignored in (["--junit", "x"], ["--metrics", "x"], ["--keep"], ["--dry-run"])),
    *(["--dry-run", *ignored] for ignored in (["--report-dir", "x"], ["--junit", "x"], ["--output-configmap", "x"])),
)


def test_options_that_would_be_ignored_or_mean_nothing_are_usage_errors(world: World) -> None:
    for options in (
        ["--role", "master"],
        ["--timeout", "soon"],
        ["--schedule", "@daily"],
        ["--print-cronjob"],
        *IGNORED,
    ):
        done = subprocess.run(command(world, *options), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2, (options, done.stderr)


def test_no_variable_of_an_image_reaches_the_shell_of_the_pod() -> None:
    # bash takes functions from variables of any name (bash(1), "exported functions"), and Dockerfiles may set those.
    payload = make_payload(b"#!tool", [("m.asc", b"signed")])
    spec = RunObjects("0123456789", "fips", payload, 300).pod(read_node(node("one")), "pause", 1, "auto")["spec"]
    (container,) = spec["containers"]
    script = container["command"].index("-c") + 1
    command = [*container["command"][:script], "type nice; env"]
    # Debian's sh is dash, the nodes' is bash.
    command = ["/bin/bash" if one == "/usr/bin/sh" else one for one in command]
    image = {"BASH_FUNC_nice%%": "() { echo function of the image; }", "OPENSSL_CONF": "/x", "BASH_ENV": "/x"}
    variables = {one["name"]: one["value"] for one in container["env"]}

    done = subprocess.run(command, env={**image, **variables}, capture_output=True, text=True, check=True)

    assert "of the image" not in done.stdout
    assert {line.partition("=")[0] for line in done.stdout.splitlines() if "=" in line} <= {
        *("PATH", "HOME", "PWD", "SHLVL", "_"),
    }
