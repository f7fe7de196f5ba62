"""Image archives in every form that skopeo writes, and malformed ones: directory, tar, compressed tar."""

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.archive.layers import merge, read_layer
from fipsmanifest.archive.member import Member
from fipsmanifest.collect import imagearchive
from fipsmanifest.collect.context import Context
from fipsmanifest.errors import Incomplete, Refused, UsageError
from fipsmanifest.fetch.cache import Cache
from fipsmanifest.model.artifact import Artifact, SkippedPart
from fipsmanifest.model.definition import ImageArchive
from fipsmanifest.state.lock import Pin
from tests.collect.test_image import context, definition
from tests.support.faultyhttp import FaultyServer
from tests.support.registry import OCI_CONFIG, OCI_MANIFEST, gzipped, make_image, make_layer, put_blob, skopeo

LAYERS = [make_layer({"usr/bin/base": os.urandom(50_000)}), make_layer({"usr/bin/kube-proxy": os.urandom(90_000)})]
DIFF_IDS = tuple("sha256:" + hashlib.sha256(layer).hexdigest() for layer in LAYERS)
NAME = "docker.io/mesosphere/kube-proxy:v1.21.3_fips.0"


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("oci") / "layout"
    make_image(directory, NAME, {"amd64": LAYERS, "arm64": LAYERS[:1]})
    make_image(directory, "other", {"amd64": LAYERS[:1]}, index=False)
    return directory


@pytest.fixture(scope="module")
def saved(layout: Path) -> Path:
    path = layout.parent / "saved.tar"
    skopeo("copy", "--override-arch=amd64", f"oci:{layout}:{NAME}", f"docker-archive:{path}:{NAME}")
    return path


def jobs(url: str, references: tuple[str, ...], where: Context, *architectures: str) -> list[Callable[[], Artifact]]:
    source = ImageArchive(kind="image-archive", name="bundle", url=url, references=references)
    return imagearchive.jobs(source, definition(*architectures), where)


def take(path: Path | str, where: Context, reference: str = NAME, *architectures: str) -> Artifact:
    with where.http:
        (job,) = jobs(str(path), (reference,), where, *architectures)
        return job()


def programs(artifact: Artifact) -> dict[str, str]:
    def digest(member: object) -> str | None:
        content = getattr(member, "content", None)
        return hashlib.sha256(content.read()).hexdigest() if content else None

    (platform,) = artifact.platforms
    return dict(merge([read_layer(*pair, digest) for pair in zip(platform.layers, platform.diff_ids, strict=True)]))


def packed(directory: Path, path: Path, *options: str) -> Path:
    subprocess.run(["tar", "-C", str(directory), "-cf", str(path), *options, "."], check=True)
    return path


PACKINGS = {"tar": [], "tar.gz": ["-z"], "tar.xz": ["-J"], "tar.zst": ["--zstd"]}


@pytest.mark.parametrize("packing", ["directory", *PACKINGS])
def test_an_oci_layout_gives_what_a_registry_would(layout: Path, packing: str, tmp_path: Path) -> None:
    path = layout
    if packing != "directory":
        path = packed(layout, tmp_path / f"images.{packing}", *PACKINGS[packing])
    artifact = take(path, context(tmp_path))
    raw = skopeo("inspect", "--raw", f"oci:{layout}:{NAME}")
    assert artifact.index == f"sha256:{hashlib.sha256(raw).hexdigest()}"
    assert (artifact.name, artifact.address) == (NAME, str(path))
    (platform,) = artifact.platforms
    assert platform.manifest.digest == json.loads(raw)["manifests"][0]["digest"]
    assert platform.diff_ids == DIFF_IDS
    assert sorted(programs(artifact)) == ["/usr/bin/base", "/usr/bin/kube-proxy"]


@pytest.mark.parametrize("compressor", [[], ["gzip"], ["xz", "-1"], ["zstd", "-q"]])
def test_an_archive_of_docker_save_is_named_by_its_configuration(
    saved: Path, compressor: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "saved.tar"
    shutil.copy(saved, path)
    if compressor:
        path.write_bytes(subprocess.run([*compressor, "-c", path], check=True, capture_output=True).stdout)
    artifact = take(path, context(tmp_path))
    with tarfile.open(saved) as tar:
        manifest = json.load(tar.extractfile("manifest.json") or pytest.fail())
        config = (tar.extractfile(manifest[0]["Config"]) or pytest.fail()).read()
    (platform,) = artifact.platforms
    assert artifact.sha256 == hashlib.sha256(config).hexdigest()
    assert platform.config.digest == platform.manifest.digest == f"sha256:{artifact.sha256}"
    assert artifact.index is None
    assert platform.diff_ids == DIFF_IDS
    assert [layer.digest for layer in platform.layers] == list(DIFF_IDS)
    assert sorted(programs(artifact)) == ["/usr/bin/base", "/usr/bin/kube-proxy"]


def test_the_registry_form_and_the_saved_form_hold_the_same_files(layout: Path, saved: Path, tmp_path: Path) -> None:
    assert programs(take(layout, context(tmp_path))) == programs(take(saved, context(tmp_path)))


# Old docker wrote a directory per layer, and a link where two images share one.
def test_links_to_a_layer_of_another_image_are_followed(saved: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    subprocess.run(["tar", "-C", str(saved.parent), "-xf", str(saved), "--one-top-level=" + str(tree)], check=True)
    manifest = json.loads((tree / "manifest.json").read_text())
    for number, layer in enumerate(manifest[0]["Layers"]):
        (tree / f"old{number}").mkdir()
        (tree / f"old{number}/layer.tar").symlink_to(f"../{layer}")
    manifest[0]["Layers"] = [f"old{number}/layer.tar" for number in range(2)]
    (tree / "manifest.json").write_text(json.dumps(manifest))
    packed(tree, tmp_path / "old.tar")
    assert len(programs(take(tmp_path / "old.tar", context(tmp_path)))) == 2
    assert len(programs(take(tree, context(tmp_path)))) == 2


def test_a_short_name_means_docker_hub(layout: Path, tmp_path: Path) -> None:
    assert take(layout, context(tmp_path), "mesosphere/kube-proxy:v1.21.3_fips.0").index


# Docker 25 and later, and containerd: the whole name is in an annotation of containerd's, the tag in OCI's.
def test_a_layout_that_docker_saved_is_searched_by_the_whole_name(layout: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(layout, tree)
    index = json.loads((tree / "index.json").read_text())
    for entry, name in zip(index["manifests"], [NAME, "docker.io/mesosphere/etcd:v1.21.3_fips.0"], strict=True):
        entry["annotations"] = {
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": "v1.21.3_fips.0",
        }
    (tree / "index.json").write_text(json.dumps(index))
    digests = [take(tree, context(tmp_path), name).sha256 for name in (NAME, "mesosphere/etcd:v1.21.3_fips.0")]
    assert digests == [entry["digest"][7:] for entry in index["manifests"]]
    with pytest.raises(Refused, match="several images with the name v1"):
        take(tree, context(tmp_path), "v1.21.3_fips.0")


def test_an_archive_is_fetched_from_an_address(saved: Path, tmp_path: Path) -> None:
    with FaultyServer(saved.parent) as server:
        artifact = take(f"{server.url}/saved.tar", context(tmp_path))
    assert artifact.address.endswith("/saved.tar")


@pytest.mark.parametrize("form", ["layout", "saved"])
def test_an_archive_is_not_fetched_again_for_images_that_are_pinned_and_cached(
    form: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    path: Path = request.getfixturevalue(form)
    first = take(path, context(tmp_path))
    pin = Pin(address=str(path), name=NAME, sha256=first.sha256, size=first.size)
    gone = context(tmp_path, f"{path}={tmp_path}/gone", pins=(pin,))
    assert take(path, gone) == first
    for layer in first.platforms[0].layers:
        layer.path.unlink()
    with pytest.raises((Incomplete, UsageError)):
        take(path, gone)


def test_a_name_that_is_not_there_is_named_with_those_that_are(layout: Path, tmp_path: Path) -> None:
    with pytest.raises(Incomplete, match=r"layout has no image with the name etcd:v3.*_fips\.0', 'other'"):
        take(layout, context(tmp_path), "etcd:v3")


def test_a_platform_that_is_not_there_is_named(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(Incomplete, match=r"not made for aarch64\. It is made for: 'x86_64'"):
        take(saved, context(tmp_path), NAME, "aarch64")


def test_every_image_and_platform_can_be_looked_through(layout: Path, saved: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    found = imagearchive.images_in(imagearchive.open_archive(layout, cache), cache, "layout").images
    assert [(image.name, image.platforms[0].architecture) for image in found] == [
        (NAME, "x86_64"),
        (NAME, "aarch64"),
        ("other", "x86_64"),
    ]
    found = imagearchive.images_in(imagearchive.open_archive(saved, cache), cache, "saved").images
    assert [(image.name, image.platforms[0].diff_ids) for image in found] == [(NAME, DIFF_IDS)]


def test_a_platform_that_an_archive_leaves_out_is_no_fault_of_it(layout: Path, tmp_path: Path) -> None:
    part = tmp_path / "part"
    shutil.copytree(layout, part)
    index = json.loads(skopeo("inspect", "--raw", f"oci:{layout}:{NAME}"))
    (part / "blobs/sha256" / index["manifests"][1]["digest"][7:]).unlink()
    cache = Cache(tmp_path / "cache")
    found = imagearchive.images_in(imagearchive.open_archive(part, cache), cache, "part").images
    assert [image.platforms[0].architecture for image in found] == ["x86_64", "x86_64"]


# Archives that lie


def spoiled(layout: Path, directory: Path, digest: str, data: bytes | None) -> Path:
    copy = directory / "spoiled"
    shutil.copytree(layout, copy)
    place = copy / "blobs/sha256" / digest.removeprefix("sha256:")
    place.unlink()
    if data is not None:
        place.write_bytes(data)
    return copy


@pytest.mark.parametrize("part", ["index", "manifest", "config", "layer"])
@pytest.mark.parametrize("change", ["bytes", "missing", "longer"])
def test_a_part_that_is_not_what_it_is_named_is_refused(layout: Path, part: str, change: str, tmp_path: Path) -> None:
    genuine = take(layout, context(tmp_path / "first"))
    (platform,) = genuine.platforms
    digest = {
        "index": f"sha256:{genuine.sha256}",
        "manifest": platform.manifest.digest,
        "config": platform.config.digest,
        "layer": platform.layers[1].digest,
    }[part]
    data = bytearray((layout / "blobs/sha256" / digest[7:]).read_bytes())
    data[-1] ^= 1
    spoiled_data = {"bytes": bytes(data), "missing": None, "longer": bytes(data) + b" "}[change]
    copy = spoiled(layout, tmp_path, digest, spoiled_data)
    for path in (copy, packed(copy, tmp_path / "spoiled.tar")):
        with pytest.raises(Refused, match=digest.removeprefix("sha256:")):
            take(path, context(tmp_path / "second"))


def test_a_saved_layer_that_is_not_its_diff_id_is_refused(saved: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    subprocess.run(["tar", "-xf", str(saved), "--one-top-level=" + str(tree)], check=True)
    layer = tree / json.loads((tree / "manifest.json").read_text())[0]["Layers"][0]
    layer.chmod(0o644)
    layer.write_bytes(LAYERS[1])
    with pytest.raises(Refused, match=f"the file for {DIFF_IDS[0]} has the digest {DIFF_IDS[1]}"):
        take(packed(tree, tmp_path / "spoiled.tar"), context(tmp_path))


@pytest.mark.parametrize(
    ("manifest", "why"),
    [
        ("{}", "not in the form of 'docker save'"),
        ('[{"Config": "c.json"}]', "not in the form of 'docker save'"),
        ("[", "is not JSON"),
        ('[{"Config": "../../etc/passwd", "Layers": [], "RepoTags": ["x:y"]}]', r"'\.\./\.\./etc/passwd' leads out"),
        ('[{"Config": "missing", "Layers": [], "RepoTags": ["x:y"]}]', "has no 'missing'"),
        ('[{"Config": "link", "Layers": [], "RepoTags": ["x:y"]}]', "has no 'link'"),
        ('[{"Config": "c.json", "Layers": ["l"], "RepoTags": ["x:y"]}]', "has 0 layers, and manifest.json 1"),
        ('[{"Config": "c", "Layers": [], "RepoTags": ["x:y"]}, {"Config": "d", "Layers": [], "RepoTags": ["x:y"]}]',
         "several images"),
    ],
)  # fmt: skip
def test_a_saved_archive_that_makes_no_sense_is_refused(manifest: str, why: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "manifest.json").write_text(manifest)
    (tree / "c.json").write_text('{"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": []}}')
    (tree / "link").symlink_to("/etc/passwd")
    for path in (tree, packed(tree, tmp_path / "tree.tar")):
        with pytest.raises(Refused, match=why):
            take(path, context(tmp_path), "x:y")


def test_a_tar_that_is_no_image_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").touch()
    with pytest.raises(Refused, match=r"x\.tar is not an image archive"):
        take(packed(tmp_path / "tree", tmp_path / "x.tar"), context(tmp_path))


def test_a_file_that_is_no_tar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"no tar" * 1000)
    with pytest.raises(Refused, match=r"x\.tar is not a tar archive"):
        take(tmp_path / "x.tar", context(tmp_path))


@pytest.mark.parametrize("cut", [0.3, 0.9])
@pytest.mark.parametrize("option", ["plain", "-z"])
def test_an_archive_that_was_cut_is_refused(layout: Path, cut: float, option: str, tmp_path: Path) -> None:
    path = packed(layout, tmp_path / "x.tar", *([option] if option != "plain" else []))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * cut)])
    with pytest.raises(Refused, match=r"x\.tar"):
        take(path, context(tmp_path))


def test_an_archive_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Incomplete, match=r"nothing\.tar"):
        take(tmp_path / "nothing.tar", context(tmp_path))


# An archive that has both an index.json and a manifest.json: skopeo oci-archive: and containerd read the one, skopeo
# docker-archive: and docker before 25 the other one.


def both_ways(directory: Path, *, config: bytes | None = None, **saved: object) -> Path:
    """Make a layout of one image, and a manifest.json for the same image but for what is given."""
    tree = directory / "both"
    shutil.rmtree(tree, ignore_errors=True)
    digest = make_image(tree, NAME, {"amd64": LAYERS}, index=False)
    manifest = json.loads((tree / "blobs/sha256" / digest[7:]).read_text())
    path = "blobs/sha256/" + manifest["config"]["digest"][7:]
    if config is not None:
        path = "config.json"
        (tree / path).write_bytes(config)
    entry = {
        "Config": path,
        "RepoTags": [NAME],
        "Layers": ["blobs/sha256/" + layer["digest"][7:] for layer in manifest["layers"]],
        **saved,
    }
    (tree / "manifest.json").write_text(json.dumps([entry]))
    return tree


def config_of(*layers: bytes) -> bytes:
    diff_ids = ["sha256:" + hashlib.sha256(layer).hexdigest() for layer in layers]
    return json.dumps({"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": diff_ids}}).encode()


def contents(path: Path, directory: Path) -> imagearchive.Contents:
    cache = Cache(directory / "cache")
    return imagearchive.images_in(imagearchive.open_archive(path, cache), cache, path.name)


def test_an_archive_with_both_documents_for_the_same_image_is_one_image(tmp_path: Path) -> None:
    tree = both_ways(tmp_path)
    for path in (tree, packed(tree, tmp_path / "both.tar")):
        assert [image.platforms[0].diff_ids for image in contents(path, tmp_path).images] == [DIFF_IDS]
        assert sorted(programs(take(path, context(tmp_path)))) == ["/usr/bin/base", "/usr/bin/kube-proxy"]


# `ctr images export` names the compressed layers in manifest.json, and others expand them into files of their own.
def test_the_layers_of_the_second_document_may_be_other_files_with_the_same_content(tmp_path: Path) -> None:
    tree = both_ways(tmp_path, Layers=["0/layer.tar", "1/layer.tar"])
    for number, layer in enumerate(LAYERS):
        (tree / str(number)).mkdir()
        (tree / str(number) / "layer.tar").write_bytes(layer)
    assert len(contents(tree, tmp_path).images) == 1
    (tree / "1/layer.tar").write_bytes(LAYERS[0])
    with pytest.raises(Refused, match=f"the file for {DIFF_IDS[1]} has the digest {DIFF_IDS[0]}"):
        contents(tree, tmp_path)


@pytest.mark.parametrize("form", ["directory", "tar"])
@pytest.mark.parametrize(
    ("config", "saved", "why"),
    [
        (config_of(LAYERS[0]), {"Layers": ["0/layer.tar"]}, "says that .*kube-proxy.* and index.json says something"),
        (config_of(LAYERS[0]), {"RepoTags": []}, "says that an image has the configuration"),
        (config_of(*LAYERS), {"RepoTags": ["docker.io/other:v1"]}, "says that 'docker.io/other:v1' has"),
        (None, {"Layers": ["0/layer.tar"]}, "has 2 layers, and manifest.json 1"),
        (None, {"Layers": ["0/layer.tar"] * 2}, f"the file for {DIFF_IDS[1]} has the digest {DIFF_IDS[0]}"),
        (None, {"LAYERS": ["0/layer.tar"]}, "manifest.json has the key 'LAYERS'"),
    ],
)
def test_an_archive_whose_two_documents_differ_is_refused(
    form: str, config: bytes | None, saved: dict[str, object], why: str, tmp_path: Path
) -> None:
    tree = both_ways(tmp_path, config=config, **saved)
    (tree / "0").mkdir()
    (tree / "0/layer.tar").write_bytes(LAYERS[0])
    path = tree if form == "directory" else packed(tree, tmp_path / "both.tar")
    with pytest.raises(Refused, match=why) as refused:
        contents(path, tmp_path)
    assert refused.value.exit_code == 5
    with pytest.raises(Refused, match=why):
        take(path, context(tmp_path))


def test_a_name_that_the_two_documents_give_to_different_images_is_refused(tmp_path: Path) -> None:
    tree = both_ways(tmp_path)
    make_image(tree, "docker.io/other:v1", {"amd64": LAYERS[:1]}, index=False)
    assert len(contents(tree, tmp_path).images) == 2
    saved = json.loads((tree / "manifest.json").read_text())
    saved[0]["RepoTags"] = ["other:v1"]
    (tree / "manifest.json").write_text(json.dumps(saved))
    with pytest.raises(Refused, match="says that 'other:v1' has the configuration"):
        contents(tree, tmp_path)


# skopeo reads the first member of a name (docker-archive:) or the last (oci-archive:), and what a link names never.
@pytest.mark.parametrize("document", ["index.json", "manifest.json"])
@pytest.mark.parametrize("trick", ["twice", "dot", "symlink", "hardlink", "directory-link"])
def test_a_document_that_tools_may_read_from_different_members_is_refused(
    document: str, trick: str, tmp_path: Path
) -> None:
    tree = both_ways(tmp_path)
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        for file in sorted(tree.rglob("*")):
            if file.is_file() and file.name != document:
                tar.add(file, str(file.relative_to(tree)))
        if trick in ("twice", "dot"):
            tar.add(tree / document, document)
            tar.add(tree / document, ("./" if trick == "dot" else "") + document)
        else:
            tar.add(tree / document, "elsewhere")
            link = tarfile.TarInfo(document)
            link.type = tarfile.LNKTYPE if trick == "hardlink" else tarfile.SYMTYPE
            link.linkname = "./elsewhere" if trick == "directory-link" else "elsewhere"
            tar.addfile(link)
    with pytest.raises(Refused, match=f"(several members|a link) with the name '{document}'"):
        contents(path, tmp_path)


# What air-gap tools put beside an image


def beside(tree: Path, name: str, config: dict[str, object], layers: list[dict[str, object]], **entry: object) -> None:
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers}
    named = put_blob(tree, json.dumps(document).encode(), OCI_MANIFEST)
    index = json.loads((tree / "index.json").read_text())
    annotations = {"org.opencontainers.image.ref.name": name}
    index["manifests"].append({**named, "annotations": annotations, **entry})
    (tree / "index.json").write_text(json.dumps(index))


def platform(system: str) -> dict[str, object]:
    return {"platform": {"os": system, "architecture": "amd64"}}


FAKE = b'{"architecture": "", "os": "", "rootfs": {"type": "layers", "diff_ids": ["sha256:' + b"0" * 64 + b'"]}}'
TAR = "application/vnd.oci.image.layer.v1.tar"
HELM = "application/vnd.cncf.helm.config.v1+json"


@pytest.mark.parametrize(
    ("config", "config_type", "layer", "layer_type", "why"),
    [
        (FAKE, OCI_CONFIG, b"{}", "application/vnd.dev.cosign.simplesigning.v1+json", "it holds 'application/vnd.dev"),
        (b"{}", OCI_CONFIG, b"{}", "application/vnd.in-toto+json", "it holds 'application/vnd.in-toto"),
        (b"{}", HELM, LAYERS[0], "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "its configuration is 'app"),
        (b"{}", "application/vnd.oci.empty.v1+json", b"{}", "application/spdx+json", "its configuration is 'app"),
        (config_of(LAYERS[0]).replace(b"linux", b"windows"), OCI_CONFIG, LAYERS[0], TAR, "made for 'windows'"),
    ],
)
def test_what_no_runtime_would_run_is_left_out_with_its_reason(
    config: bytes, config_type: str, layer: bytes, layer_type: str, why: str, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    make_image(tree, NAME, {"amd64": LAYERS}, index=False)
    beside(tree, "x:1", put_blob(tree, config, config_type), [put_blob(tree, layer, layer_type)])
    found = contents(tree, tmp_path)
    assert [image.name for image in found.images] == [NAME]
    (left_out,) = found.left_out
    assert isinstance(left_out, SkippedPart)
    assert left_out.name.startswith("tree: x:1@sha256:")
    assert why in left_out.why
    # Its bytes are searched in any case, whatever its type says.
    others = {hashlib.sha256(m.content.read()).digest() for m in open_store(tree, tmp_path, found) if m.content}
    assert hashlib.sha256(layer).digest() in others


def open_store(tree: Path, directory: Path, found: imagearchive.Contents) -> Iterator[Member]:
    return imagearchive.open_archive(tree, Cache(directory / "cache")).store.others(found.parts)


@pytest.mark.parametrize(
    ("system", "entry"),
    [
        ("windows", {}),
        ("linux", platform("windows")),
        ("linux", platform("unknown") | {"annotations": {"vnd.docker.reference.type": "attestation-manifest"}}),
    ],
)
def test_a_layer_of_an_image_that_is_left_out_is_looked_through_whoever_shares_it(
    system: str, entry: dict[str, Any], tmp_path: Path
) -> None:
    """umoci and skopeo read such an image by its name, and then it has what the other one hides of the layer."""
    tree = tmp_path / "tree"
    make_image(tree, NAME, {"amd64": [LAYERS[0], make_layer({"usr/.wh.bin": b""})]}, index=False)
    config = put_blob(tree, config_of(LAYERS[0]).replace(b"linux", system.encode()), OCI_CONFIG)
    shared = put_blob(tree, gzipped(LAYERS[0]), TAR + "+gzip")
    beside(tree, "x:1", config, [shared], **entry)
    found = contents(tree, tmp_path)
    assert [image.name for image in found.images] == [NAME]
    assert f"/blobs/sha256/{shared['digest'][7:]}" not in found.parts
    # Its configuration, and the layer that it alone has.
    assert len(found.parts) == 2


def test_a_layer_of_a_saved_image_that_is_left_out_is_looked_through_whoever_shares_it(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    files = {"a.tar": LAYERS[0], "b.tar": LAYERS[1], "good.json": config_of(*LAYERS)}
    files["other.json"] = config_of(LAYERS[0]).replace(b"linux", b"windows")
    for name, data in files.items():
        (tree / name).write_bytes(data)
    images = [
        {"Config": "good.json", "RepoTags": [NAME], "Layers": ["a.tar", "b.tar"]},
        {"Config": "other.json", "RepoTags": ["x:1"], "Layers": ["a.tar"]},
    ]
    (tree / "manifest.json").write_text(json.dumps(images))
    found = contents(tree, tmp_path)
    assert [image.name for image in found.images] == [NAME]
    assert found.parts == {"/good.json", "/b.tar"}


# ctr of containerd 1.6 imports and unpacks each of these: neither the types nor the system of the configuration count.
@pytest.mark.parametrize(
    ("config", "config_type", "layer_type", "entry"),
    [
        (config_of(LAYERS[0]), HELM, TAR, {}),
        (config_of(LAYERS[0]), "application/octet-stream", TAR, {}),
        (config_of(LAYERS[0]), OCI_CONFIG, TAR + "+foo", {}),
        (config_of(LAYERS[0]), OCI_CONFIG, TAR, {"artifactType": "application/vnd.example"}),
        (config_of(LAYERS[0]).replace(b'"os": "linux", "architecture": "amd64", ', b""), OCI_CONFIG, TAR, {}),
        (config_of(LAYERS[0]).replace(b"linux", b"windows"), OCI_CONFIG, TAR, platform("linux")),
        (config_of(LAYERS[0]), OCI_CONFIG, TAR, platform("LINUX")),
        (config_of(LAYERS[0]), OCI_CONFIG, TAR, platform("")),
    ],
)
def test_what_a_runtime_would_run_is_judged_whatever_it_calls_itself(
    config: bytes, config_type: str, layer_type: str, entry: dict[str, object], tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    make_image(tree, NAME, {"amd64": LAYERS}, index=False)
    layer = put_blob(tree, LAYERS[0], layer_type)
    beside(tree, "x:1", put_blob(tree, config, config_type), [layer], **entry)
    found = contents(tree, tmp_path)
    assert ([image.name for image in found.images], found.left_out) == ([NAME, "x:1"], ())


# imgcrypt decrypts the first for containerd, and singularity, nydus and dragonfly have the others.
@pytest.mark.parametrize("kind", ["tar+gzip+encrypted", "squashfs", "nydus.blob.v1", "v1.tar+encrypted"])
def test_an_image_with_a_layer_that_only_an_extension_unpacks_is_an_error(kind: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    make_image(tree, NAME, {"amd64": LAYERS}, index=False)
    layer = put_blob(tree, b"unreadable", f"application/vnd.oci.image.layer.{kind}")
    beside(tree, "x:1", put_blob(tree, config_of(b"unknown"), OCI_CONFIG), [layer])
    found = contents(tree, tmp_path)
    assert [image.name for image in found.images] == [NAME]
    (error,) = found.left_out
    assert isinstance(error, Refused)
    assert "is in a format that is not supported ('application/vnd.oci.image.layer." in error.message


@pytest.mark.parametrize(
    ("config", "layers"), [(config_of(), LAYERS[:1]), (b"{}", LAYERS[:1]), (config_of(*LAYERS), LAYERS[:1])]
)
def test_an_image_that_is_damaged_is_an_error_and_the_others_are_judged(
    config: bytes, layers: list[bytes], tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    make_image(tree, NAME, {"amd64": LAYERS}, index=False)
    beside(tree, "x:1", put_blob(tree, config, OCI_CONFIG), [put_blob(tree, layer, TAR) for layer in layers])
    found = contents(tree, tmp_path)
    assert [image.name for image in found.images] == [NAME]
    (error,) = found.left_out
    assert isinstance(error, Refused)


def test_an_archive_without_any_image_is_an_error(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    make_image(tree, NAME, {"amd64": LAYERS}, index=False)
    index = json.loads((tree / "index.json").read_text())
    index["manifests"] = []
    (tree / "index.json").write_text(json.dumps(index))
    beside(tree, "x:1", put_blob(tree, b"{}", HELM), [put_blob(tree, b"{}", "application/json")])
    found = contents(tree, tmp_path)
    assert found.images == ()
    assert [type(item) for item in found.left_out] == [SkippedPart, Refused]
