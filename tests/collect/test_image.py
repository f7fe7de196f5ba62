"""Images pulled from a real registry; skopeo says what their digests are, umoci what is in them."""

import hashlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fipsmanifest.archive.layers import merge, read_layer
from fipsmanifest.collect import image
from fipsmanifest.collect.context import Context
from fipsmanifest.errors import Incomplete, Refused, UsageError
from fipsmanifest.fetch.cache import Cache
from fipsmanifest.fetch.http import Http, Limits
from fipsmanifest.fetch.mirror import Mirrors
from fipsmanifest.model.artifact import Artifact
from fipsmanifest.model.definition import Definition, Images
from fipsmanifest.oci.registry import parse_reference
from fipsmanifest.state.lock import Pin
from tests.support import definitions
from tests.support.faultyhttp import FaultyServer, reset_after
from tests.support.registry import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Registry,
    gzipped,
    make_image,
    make_layer,
    put_blob,
    skopeo,
)

BASE = make_layer({"usr/": b"", "usr/bin/": b"", "bin": "usr/bin", "usr/bin/tool": b"one", "etc/gone": b"x"})
TOP = make_layer({"usr/bin/kube-proxy": os.urandom(300_000), "bin/other": b"two", "etc/.wh.gone": b""})


def definition(*architectures: str) -> Definition:
    source = {"kind": "image", "name": "images", "references": ["x/y:z"]}
    component = {"name": "kube-proxy", "sources": ["images"]}
    return definitions.definition(source, component, architectures=architectures or ("x86_64",))


def refuse(data: bytes, signature: bytes, fingerprints: tuple[str, ...] | None, /) -> str:
    raise Refused("nothing is signed here")


def context(directory: Path, *mirrors: str, pins: tuple[Pin, ...] = (), allow_http: bool = False) -> Context:
    cache = Cache(directory / "cache")
    http = Http(cache, limits=Limits(attempts=2, backoff=0.01, connect=3, read=5), allow_http=allow_http)
    return Context(http, cache, Mirrors.parse(mirrors), refuse, directory, pins)


def nothing(member: object) -> None:
    """Ignore all members."""


def pull(reference: str, where: Context, *architectures: str) -> Artifact:
    source = Images(kind="image", name="images", references=(reference,))
    (job,) = image.jobs(source, definition(*architectures), where)
    with where.http:
        return job()


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        yield registry


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("layout")
    make_image(directory, "v1", {"amd64": [BASE, TOP], "arm64": [BASE, make_layer({"usr/bin/kube-proxy": b"arm"})]})
    make_image(directory, "single", {"amd64": [BASE, TOP]}, index=False)
    return directory


def raw(reference: str) -> bytes:
    return skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{reference}")


def test_an_index_is_followed_to_the_layers_of_the_chosen_platform(
    registry: Registry, layout: Path, tmp_path: Path
) -> None:
    reference = registry.push(layout, "v1", "mesosphere/kube-proxy")
    artifact = pull(reference, context(tmp_path))

    index = raw(reference)
    assert artifact.sha256 == hashlib.sha256(index).hexdigest()
    assert artifact.index == f"sha256:{artifact.sha256}"
    assert (artifact.name, artifact.address, artifact.kind, artifact.size) == (
        reference,
        reference,
        "image",
        len(index),
    )
    assert artifact.path.read_bytes() == index
    (platform,) = artifact.platforms
    manifest = json.loads(
        skopeo(
            "inspect",
            "--raw",
            "--tls-verify=false",
            f"docker://{registry.address}/mesosphere/kube-proxy@{platform.manifest.digest}",
        )
    )
    assert platform.architecture == "x86_64"
    assert platform.config.digest == manifest["config"]["digest"]
    assert [layer.digest for layer in platform.layers] == [layer["digest"] for layer in manifest["layers"]]
    assert platform.diff_ids == tuple("sha256:" + hashlib.sha256(layer).hexdigest() for layer in (BASE, TOP))
    for blob in (platform.manifest, platform.config, *platform.layers):
        assert "sha256:" + hashlib.sha256(blob.path.read_bytes()).hexdigest() == blob.digest
        assert blob.path.stat().st_size == blob.size


def test_the_merged_layers_hold_what_umoci_unpacks(registry: Registry, layout: Path, tmp_path: Path) -> None:
    artifact = pull(registry.push(layout, "single", "mesosphere/kube-proxy"), context(tmp_path))
    (platform,) = artifact.platforms

    def digest(member: object) -> str | None:
        content = getattr(member, "content", None)
        return hashlib.sha256(content.read()).hexdigest() if content else None

    changes = [
        read_layer(layer, diff_id, digest) for layer, diff_id in zip(platform.layers, platform.diff_ids, strict=True)
    ]
    found = dict(merge(changes))

    subprocess.run(
        ["umoci", "unpack", "--rootless", "--image", f"{layout}:single", str(tmp_path / "bundle")],
        check=True,
        capture_output=True,
    )
    root = tmp_path / "bundle/rootfs"
    unpacked = {
        "/" + str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink()
    }
    assert found == unpacked
    assert found["/usr/bin/other"] == hashlib.sha256(b"two").hexdigest()


def test_every_architecture_of_the_definition_is_taken(registry: Registry, layout: Path, tmp_path: Path) -> None:
    artifact = pull(registry.push(layout, "v1", "both"), context(tmp_path), "x86_64", "aarch64")
    assert [platform.architecture for platform in artifact.platforms] == ["x86_64", "aarch64"]
    # The layer that they share is in the cache once.
    assert artifact.platforms[0].layers[0].path == artifact.platforms[1].layers[0].path


def test_an_image_without_an_index_is_taken(registry: Registry, layout: Path, tmp_path: Path) -> None:
    reference = registry.push(layout, "single", "single")
    artifact = pull(reference, context(tmp_path))
    assert artifact.index is None
    assert artifact.sha256 == hashlib.sha256(raw(reference)).hexdigest()
    assert artifact.platforms[0].manifest.digest == f"sha256:{artifact.sha256}"


def test_dockers_own_manifests_and_lists_are_taken(registry: Registry, layout: Path, tmp_path: Path) -> None:
    reference = registry.push(layout, "v1", "docker-list", "--format", "v2s2")
    document = json.loads(raw(reference))
    assert document["mediaType"] == "application/vnd.docker.distribution.manifest.list.v2+json"
    artifact = pull(reference, context(tmp_path))
    assert artifact.sha256 == hashlib.sha256(raw(reference)).hexdigest()
    (platform,) = artifact.platforms
    assert platform.manifest.media_type == "application/vnd.docker.distribution.manifest.v2+json"
    assert platform.layers[0].media_type == "application/vnd.docker.image.rootfs.diff.tar.gzip"


def test_zstd_layers_are_taken(registry: Registry, tmp_path: Path) -> None:
    make_image(tmp_path / "layout", "v1", {"amd64": [BASE, TOP]}, zstd=True)
    reference = registry.push(tmp_path / "layout", "v1", "zstd")
    (platform,) = pull(reference, context(tmp_path)).platforms
    assert platform.layers[1].media_type.endswith("+zstd")
    assert read_layer(platform.layers[1], platform.diff_ids[1], nothing)


def test_a_reference_with_a_digest_needs_no_tag(registry: Registry, layout: Path, tmp_path: Path) -> None:
    reference = registry.push(layout, "v1", "by-digest")
    digest = hashlib.sha256(raw(reference)).hexdigest()
    artifact = pull(f"{registry.address}/by-digest@sha256:{digest}", context(tmp_path))
    assert artifact.sha256 == digest


def test_a_mirror_changes_where_an_image_comes_from_and_not_its_name(
    registry: Registry, layout: Path, tmp_path: Path
) -> None:
    registry.push(layout, "v1", "mirror/kube-proxy")
    reference = "docker.io/mesosphere/kube-proxy:v1"
    artifact = pull(reference, context(tmp_path, f"docker.io/mesosphere={registry.address}/mirror"))
    assert (artifact.name, artifact.address) == (reference, reference)


def test_a_mirror_of_docker_hub_also_serves_short_names(registry: Registry, layout: Path, tmp_path: Path) -> None:
    registry.push(layout, "v1", "hub/library/pause")
    assert pull("pause:v1", context(tmp_path, f"docker.io=http://{registry.address}/hub")).name == "pause:v1"


def test_nothing_is_fetched_again_that_the_lock_pins_and_the_cache_has(layout: Path, tmp_path: Path) -> None:
    with Registry() as registry:
        reference = registry.push(layout, "v1", "pinned")
        first = pull(reference, context(tmp_path))
    pin = Pin(address=reference, name=reference, sha256=first.sha256, size=first.size)
    again = pull(reference, context(tmp_path, pins=(pin,)))  # the registry is gone
    assert again == first


def test_a_moved_tag_is_seen_though_the_lock_pins_another(registry: Registry, layout: Path, tmp_path: Path) -> None:
    reference = registry.push(layout, "v1", "moved")
    pin = Pin(address=reference, name=reference, sha256="0" * 64, size=1)
    assert pull(reference, context(tmp_path, pins=(pin,))).sha256 == hashlib.sha256(raw(reference)).hexdigest()


# What is not there


def test_a_platform_that_is_missing_is_named_with_what_there_is(registry: Registry, tmp_path: Path) -> None:
    make_image(tmp_path / "layout", "s390x", {"s390x": [BASE], "arm64": [BASE]})
    reference = registry.push(tmp_path / "layout", "s390x", "platforms")
    with pytest.raises(
        Incomplete, match=r"platforms:s390x is not made for linux/amd64\. .*'linux/s390x', 'linux/arm64'"
    ):
        pull(reference, context(tmp_path))


def test_a_single_image_of_another_architecture_is_named(registry: Registry, layout: Path, tmp_path: Path) -> None:
    reference = registry.push(layout, "single", "another")
    with pytest.raises(Incomplete, match=r"not made for aarch64\. It is made for: 'x86_64'"):
        pull(reference, context(tmp_path), "aarch64")


def test_a_tag_that_is_missing_is_incomplete(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(Incomplete, match="404"):
        pull(f"{registry.address}/nothing:v1", context(tmp_path))


@pytest.mark.parametrize(
    ("text", "full", "base"),
    [
        ("pause", "docker.io/library/pause:latest", "https://registry-1.docker.io/v2/library/pause"),
        ("mesosphere/etcd:v3", "docker.io/mesosphere/etcd:v3", "https://registry-1.docker.io/v2/mesosphere/etcd"),
        ("docker.io/etcd:v3", "docker.io/library/etcd:v3", "https://registry-1.docker.io/v2/library/etcd"),
        ("k8s.gcr.io/pause:3.4.1", "k8s.gcr.io/pause:3.4.1", "https://k8s.gcr.io/v2/pause"),
        ("localhost:5000/a/b:v1", "localhost:5000/a/b:v1", "http://localhost:5000/v2/a/b"),
        ("127.0.0.1:5000/a:v1", "127.0.0.1:5000/a:v1", "http://127.0.0.1:5000/v2/a"),
        ("https://127.0.0.1:5000/a:v1", "127.0.0.1:5000/a:v1", "https://127.0.0.1:5000/v2/a"),
        ("http://mirror/a:v1", "mirror/a:v1", "http://mirror/v2/a"),
        (f"r.example.com/a@sha256:{'0' * 64}", f"r.example.com/a@sha256:{'0' * 64}", "https://r.example.com/v2/a"),
        (
            f"r.example.com/a:v1@sha256:{'0' * 64}",
            f"r.example.com/a:v1@sha256:{'0' * 64}",
            "https://r.example.com/v2/a",
        ),
    ],
)
def test_a_reference_is_read_as_docker_reads_it(text: str, full: str, base: str) -> None:
    reference = parse_reference(text)
    assert (reference.text, reference.base) == (full, base)


@pytest.mark.parametrize("reference", ["UPPER/case:v1", "a b", "host/x@sha256:12", "x:y:z", "http://x/../y"])
def test_what_is_no_reference_is_named(reference: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not an image reference"):
        image.jobs(Images(kind="image", name="i", references=(reference,)), definition(), context(tmp_path))


# Registries and images that contradict themselves


def served_by_hand(directory: Path, name: str, data: bytes) -> Path:
    path = directory / "v2/kube-proxy/manifests" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


# The registry is a plain server here, because a real one never answers this way.
def test_a_registry_that_serves_another_manifest_than_asked_is_refused(layout: Path, tmp_path: Path) -> None:
    entries = json.loads((layout / "index.json").read_text())["manifests"]
    asked, other = (entry["digest"] for entry in entries)
    served_by_hand(tmp_path / "web", asked, (layout / "blobs/sha256" / other[7:]).read_bytes())
    with FaultyServer(tmp_path / "web") as server:
        host = server.url.removeprefix("http://")
        with pytest.raises(Refused, match=rf"the registry serves {other}; it must be {asked}"):
            pull(f"{host}/kube-proxy:v1@{asked}", context(tmp_path))


def test_an_index_whose_manifest_is_another_one_is_refused(layout: Path, tmp_path: Path) -> None:
    entries = json.loads((layout / "index.json").read_text())["manifests"]
    index = (layout / "blobs/sha256" / entries[0]["digest"][7:]).read_bytes()
    asked, other = (entry["digest"] for entry in json.loads(index)["manifests"])
    served_by_hand(tmp_path / "web", "v1", index)
    served_by_hand(tmp_path / "web", asked, (layout / "blobs/sha256" / other[7:]).read_bytes())
    with FaultyServer(tmp_path / "web") as server, pytest.raises(Refused, match=f"serves {other}; it must be {asked}"):
        pull(f"{server.url.removeprefix('http://')}/kube-proxy:v1", context(tmp_path))


def test_a_layer_that_breaks_off_is_resumed_where_it_broke(layout: Path, tmp_path: Path) -> None:
    entries = json.loads((layout / "index.json").read_text())["manifests"]
    manifest = (layout / "blobs/sha256" / entries[1]["digest"][7:]).read_bytes()
    served_by_hand(tmp_path / "web", "v1", manifest)
    blobs = tmp_path / "web/v2/kube-proxy/blobs"
    blobs.mkdir()
    parts = [json.loads(manifest)["config"], *json.loads(manifest)["layers"]]
    for part in parts:
        (blobs / part["digest"]).write_bytes((layout / "blobs/sha256" / part["digest"][7:]).read_bytes())
    with FaultyServer(tmp_path / "web") as server:
        path = f"/v2/kube-proxy/blobs/{parts[-1]['digest']}"
        server.faults[path] = [reset_after(100_000)]
        artifact = pull(f"{server.url.removeprefix('http://')}/kube-proxy:v1", context(tmp_path))
        ranges = [headers.get("Range") for asked, headers in server.requests if asked == path]
    assert ranges[0] is None
    assert len(ranges) == 2 and ranges[1] is not None and ranges[1] != "bytes=0-"
    assert hashlib.sha256(artifact.platforms[0].layers[-1].path.read_bytes()).hexdigest() == parts[-1]["digest"][7:]


def test_images_pulled_at_once_fetch_the_layer_that_they_share_once(tmp_path: Path) -> None:
    layout, web = tmp_path / "layout", tmp_path / "web"
    shared = make_layer({"usr/bin/base": os.urandom(400_000)})
    tags = [f"v{number}" for number in range(6)]
    for tag in tags:
        make_image(layout, tag, {"amd64": [shared, make_layer({tag: b"own"})]}, index=False)
    blobs = web / "v2/kube-proxy/blobs"
    blobs.mkdir(parents=True)
    for entry in json.loads((layout / "index.json").read_text())["manifests"]:
        tag = entry["annotations"]["org.opencontainers.image.ref.name"]
        served_by_hand(web, tag, (layout / "blobs/sha256" / entry["digest"][7:]).read_bytes())
    for blob in (layout / "blobs/sha256").iterdir():
        (blobs / f"sha256:{blob.name}").write_bytes(blob.read_bytes())
    with FaultyServer(web) as server, ThreadPoolExecutor(6) as pool:
        where = context(tmp_path)
        references = tuple(f"{server.url.removeprefix('http://')}/kube-proxy:{tag}" for tag in tags)
        source = Images(kind="image", name="images", references=references)
        with where.http:
            found = list(pool.map(lambda job: job(), image.jobs(source, definition(), where)))
        asked = [path for path, _ in server.requests]
    assert [artifact.name for artifact in found] == list(references)
    assert len({artifact.platforms[0].layers[0].path for artifact in found}) == 1
    assert len(asked) == len(set(asked)) == 6 * 3 + 1  # a manifest, a configuration and a layer each, and the shared


def test_a_manifest_beyond_its_cap_is_refused(tmp_path: Path) -> None:
    served_by_hand(tmp_path / "web", "v1", b"[" + b" " * (4 << 20) + b"]")
    with FaultyServer(tmp_path / "web") as server, pytest.raises(Refused, match=f"longer than {4 << 20} bytes"):
        pull(f"{server.url.removeprefix('http://')}/kube-proxy:v1", context(tmp_path))


@pytest.mark.parametrize("change", ["damaged", "short"])
def test_a_layer_with_other_bytes_is_refused_and_named(registry: Registry, tmp_path: Path, change: str) -> None:
    layer = make_layer({"usr/bin/x": os.urandom(5000)})
    make_image(tmp_path / "layout", "v1", {"amd64": [layer]})
    reference = registry.push(tmp_path / "layout", "v1", f"spoiled-{change}")
    compressed = gzipped(layer)
    digest = "sha256:" + hashlib.sha256(compressed).hexdigest()
    spoiled = compressed[:-10] if change == "short" else compressed[:-10] + bytes(10)
    registry.blob_path(digest).write_bytes(spoiled)
    with pytest.raises(Refused, match=digest.removeprefix("sha256:")):
        pull(reference, context(tmp_path))


def hand_made(
    registry: Registry, directory: Path, name: str, document: Mapping[str, object], media_type: str = OCI_MANIFEST
) -> str:
    """Put a document into the registry's storage as a tag, past the checks of its interface."""
    layout = directory / "layout"
    make_image(layout, "v1", {"amd64": [BASE]}, index=False)
    registry.push(layout, "v1", name)
    data = json.dumps({"schemaVersion": 2, "mediaType": media_type, **document}).encode()
    digest = hashlib.sha256(data).hexdigest()
    registry.blob_path(digest).parent.mkdir(parents=True, exist_ok=True)
    registry.blob_path(digest).write_bytes(data)
    tree = registry.directory / "data/docker/registry/v2/repositories" / name / "_manifests"
    for link in (tree / "revisions/sha256" / digest / "link", tree / "tags/v1/current/link"):
        link.parent.mkdir(parents=True, exist_ok=True)
        link.write_text(f"sha256:{digest}")
    return f"{registry.address}/{name}:v1"


def parts(directory: Path, layer: bytes = BASE, **config: object) -> tuple[dict[str, object], dict[str, object]]:
    diff_ids = ["sha256:" + hashlib.sha256(layer).hexdigest()]
    document = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids}, **config}
    return (
        put_blob(directory, json.dumps(document).encode(), OCI_CONFIG),
        put_blob(directory, gzipped(layer), OCI_LAYER + "+gzip"),
    )


def put_into(registry: Registry, name: str, directory: Path, *descriptors: dict[str, object]) -> None:
    for descriptor in descriptors:
        digest = str(descriptor["digest"]).removeprefix("sha256:")
        registry.blob_path(digest).parent.mkdir(parents=True, exist_ok=True)
        registry.blob_path(digest).write_bytes((directory / "blobs/sha256" / digest).read_bytes())
        link = registry.directory / "data/docker/registry/v2/repositories" / name / "_layers/sha256" / digest / "link"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.write_text(f"sha256:{digest}")


def test_an_index_entry_with_another_size_is_refused(registry: Registry, layout: Path, tmp_path: Path) -> None:
    reference = registry.push(layout, "single", "sizes")
    manifest = raw(reference)
    entry = {
        "digest": "sha256:" + hashlib.sha256(manifest).hexdigest(),
        "size": len(manifest) + 1,
        "mediaType": OCI_MANIFEST,
        "platform": {"os": "linux", "architecture": "amd64"},
    }
    reference = hand_made(registry, tmp_path, "sizes", {"manifests": [entry]}, OCI_INDEX)
    with pytest.raises(Refused, match=rf"has {len(manifest)} bytes; the index says {len(manifest) + 1}"):
        pull(reference, context(tmp_path))


def test_an_index_that_lies_about_an_architecture_is_refused(registry: Registry, tmp_path: Path) -> None:
    digest = make_image(tmp_path / "arm", "v1", {"arm64": [BASE]}, index=False)
    reference = registry.push(tmp_path / "arm", "v1", "arm-for-amd")
    entry = {
        "digest": digest,
        "size": len(raw(reference)),
        "mediaType": OCI_MANIFEST,
        "platform": {"os": "linux", "architecture": "amd64"},
    }
    reference = hand_made(registry, tmp_path, "arm-for-amd", {"manifests": [entry]}, OCI_INDEX)
    with pytest.raises(Incomplete, match=r"not made for x86_64\. It is made for: 'aarch64'"):
        pull(reference, context(tmp_path))


def test_an_artifact_that_is_no_image_is_refused(registry: Registry, tmp_path: Path) -> None:
    _, layer = parts(tmp_path)
    config = put_blob(tmp_path, b'{"name": "chart"}', "application/vnd.cncf.helm.config.v1+json")
    reference = hand_made(registry, tmp_path, "chart", {"config": config, "layers": [layer]})
    put_into(registry, "chart", tmp_path, config, layer)
    with pytest.raises(Refused, match=r"not a container image: its configuration is 'application/vnd"):
        pull(reference, context(tmp_path))


# containerd 1.6 unpacks and runs such an image: it asks the configuration for its layers, and not for its type.
def test_an_image_that_calls_itself_a_chart_is_an_image(registry: Registry, tmp_path: Path) -> None:
    config, layer = parts(tmp_path)
    config["mediaType"] = "application/vnd.cncf.helm.config.v1+json"
    reference = hand_made(registry, tmp_path, "no-chart", {"config": config, "layers": [layer]})
    put_into(registry, "no-chart", tmp_path, config, layer)
    assert pull(reference, context(tmp_path)).platforms[0].architecture == "x86_64"


# docker's own store unpacks a layer whatever it is called.
@pytest.mark.parametrize(("data", "is_image"), [(BASE, True), (b"", True), (b"{}", False), (b"x" * 2000, False)])
def test_a_layer_of_an_unknown_type_is_one_if_it_can_be_unpacked(
    data: bytes, is_image: bool, registry: Registry, tmp_path: Path
) -> None:
    config, _ = parts(tmp_path, data)
    layer = put_blob(tmp_path, data, "application/vnd.example.thing")
    name = f"unknown-{len(data)}"
    reference = hand_made(registry, tmp_path, name, {"config": config, "layers": [layer]})
    put_into(registry, name, tmp_path, config, layer)
    if is_image:
        assert pull(reference, context(tmp_path)).platforms
    else:
        with pytest.raises(Refused, match="not a container image: it holds 'application/vnd"):
            pull(reference, context(tmp_path))


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ],
)
def test_a_layer_that_is_not_distributed_with_the_image_is_refused(
    media_type: str, registry: Registry, tmp_path: Path
) -> None:
    config, layer = parts(tmp_path)
    layer["mediaType"] = media_type
    reference = hand_made(registry, tmp_path, "foreign", {"config": config, "layers": [layer]})
    put_into(registry, "foreign", tmp_path, config, layer)
    with pytest.raises(Refused, match="is not distributed with the image"):
        pull(reference, context(tmp_path))


def platform(architecture: str) -> dict[str, object]:
    return {"platform": {"os": "linux", "architecture": architecture}}


# containerd's platforms.Normalize and images.Manifest: other names of a machine, entries without a platform, which come
# after those that have one, and indexes within the index.
@pytest.mark.parametrize(
    ("entries", "chosen"),
    [
        (lambda amd, arm: [{**amd, **platform("x86_64")}, {**arm, **platform("aarch64")}], 0),
        (lambda amd, arm: [{**arm, **platform("arm64")}, {**amd, **platform("AMD64")}], 1),
        (lambda amd, arm: [arm, amd], 1),
        (lambda amd, arm: [arm, {**amd, **platform("amd64")}], 1),
    ],
)
def test_an_entry_is_chosen_as_containerd_chooses_it(
    entries: Callable[[dict[str, object], dict[str, object]], list[dict[str, object]]],
    chosen: int,
    tmp_path: Path,
    registry: Registry,
) -> None:
    layout = tmp_path / "layout"
    made = {}
    for machine in ("amd64", "arm64"):
        named = make_image(layout, machine, {machine: [BASE]}, index=False)
        size = (layout / "blobs/sha256" / named[7:]).stat().st_size
        made[machine] = {"mediaType": OCI_MANIFEST, "digest": named, "size": size}
    listed = entries(made["amd64"], made["arm64"])
    for nested in (False, True):
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed}
        if nested:
            index["manifests"] = [put_blob(layout, json.dumps(index).encode(), OCI_INDEX)]
        reference = registry.put(layout, f"chosen-{int(nested)}", index)
        artifact = pull(reference, context(tmp_path / str(nested)))
        assert [one.manifest.digest for one in artifact.platforms] == [listed[chosen]["digest"]]
        assert artifact.platforms[0].architecture == "x86_64"


def test_a_configuration_with_fewer_layers_than_the_manifest_is_refused(registry: Registry, tmp_path: Path) -> None:
    config, layer = parts(tmp_path, rootfs={"type": "layers", "diff_ids": []})
    reference = hand_made(registry, tmp_path, "fewer", {"config": config, "layers": [layer]})
    put_into(registry, "fewer", tmp_path, config, layer)
    with pytest.raises(Refused, match="has 1 layers, and its configuration lists 0"):
        pull(reference, context(tmp_path))


def test_a_configuration_beyond_its_cap_is_refused(registry: Registry, tmp_path: Path) -> None:
    config, layer = parts(tmp_path)
    config["size"] = 17 << 20
    reference = hand_made(registry, tmp_path, "large", {"config": config, "layers": [layer]})
    with pytest.raises(Refused, match=f"{config['digest']} has {17 << 20} bytes; at most {16 << 20}"):
        pull(reference, context(tmp_path))


def test_a_layer_that_is_not_its_diff_id_is_refused_after_its_end(registry: Registry, tmp_path: Path) -> None:
    wrong = "sha256:" + "1" * 64
    config, layer = parts(tmp_path, rootfs={"type": "layers", "diff_ids": [wrong]})
    reference = hand_made(registry, tmp_path, "diff-id", {"config": config, "layers": [layer]})
    put_into(registry, "diff-id", tmp_path, config, layer)
    (platform,) = pull(reference, context(tmp_path)).platforms
    with pytest.raises(Refused, match=rf"layer {layer['digest']} is sha256:.* uncompressed; .* says {wrong}"):
        read_layer(platform.layers[0], platform.diff_ids[0], nothing)
