"""Image archives as skopeo writes them in every form, and as nobody should: folder, tar, compressed tar."""

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fipsmanifest.artifact import Artifact
from fipsmanifest.collect import imagearchive
from fipsmanifest.collect.cache import Cache
from fipsmanifest.collect.context import Context
from fipsmanifest.definition import ImageArchive
from fipsmanifest.errors import Incomplete, Refused, UsageError
from fipsmanifest.lock import Pin
from fipsmanifest.unpack.layers import merge, read_layer
from tests.collect.test_image import context, definition
from tests.faultyhttp import FaultyServer
from tests.servers_registry import make_image, make_layer, skopeo

LAYERS = [make_layer({"usr/bin/base": os.urandom(50_000)}), make_layer({"usr/bin/kube-proxy": os.urandom(90_000)})]
DIFF_IDS = tuple("sha256:" + hashlib.sha256(layer).hexdigest() for layer in LAYERS)
NAME = "docker.io/mesosphere/kube-proxy:v1.21.3_fips.0"


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("oci") / "layout"
    make_image(folder, NAME, {"amd64": LAYERS, "arm64": LAYERS[:1]})
    make_image(folder, "other", {"amd64": LAYERS[:1]}, index=False)
    return folder


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


def packed(folder: Path, path: Path, *options: str) -> Path:
    subprocess.run(["tar", "-C", str(folder), "-cf", str(path), *options, "."], check=True)
    return path


PACKINGS = {"tar": [], "tar.gz": ["-z"], "tar.xz": ["-J"], "tar.zst": ["--zstd"]}


@pytest.mark.parametrize("packing", ["folder", *PACKINGS])
def test_an_oci_layout_gives_what_a_registry_would(layout: Path, packing: str, tmp_path: Path) -> None:
    path = layout
    if packing != "folder":
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


# Old docker wrote a folder per layer, and a link where two images share one.
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


# Docker 25 and later, and containerd: the whole name stands in an annotation of containerd's, the tag in OCI's.
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


def spoiled(layout: Path, folder: Path, digest: str, data: bytes | None) -> Path:
    copy = folder / "spoiled"
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
    with pytest.raises(Refused, match=f"{DIFF_IDS[0]} is {DIFF_IDS[1]}"):
        take(packed(tree, tmp_path / "spoiled.tar"), context(tmp_path))


@pytest.mark.parametrize(
    ("manifest", "why"),
    [
        ("{}", "not the one of 'docker save'"),
        ('[{"Config": "c.json"}]', "not the one of 'docker save'"),
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
    with pytest.raises(Refused, match=r"x\.tar is no image archive"):
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
