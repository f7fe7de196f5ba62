"""What we judge of an image archive must be what skopeo and umoci take out of it, however its documents are changed.

Each case changes a good archive, which has both ``index.json`` and ``manifest.json``, in one or two ways. Whatever
image a peer then makes of it must be one that was judged here, by the digests of its uncompressed layers, unless the
archive or that entry was refused or its bytes are searched. A test run tries some dozens,
``make fuzz`` as many as fit into ``FIPSMANIFEST_FUZZ_SECONDS``; ``FIPSMANIFEST_FUZZ_SEED`` and the number in a failure
repeat a case.
"""

from __future__ import annotations

import copy
import gzip
import hashlib
import io
import json
import os
import random
import subprocess
import sys
import tarfile
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.archive.layers import layer_members
from fipsmanifest.collect.imagearchive import images_in, open_archive
from fipsmanifest.errors import FipsManifestError
from fipsmanifest.fetch.cache import Cache
from tests.support.registry import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, make_layer

SECONDS = float(os.environ.get("FIPSMANIFEST_FUZZ_SECONDS", "1"))
SEED = os.environ.get("FIPSMANIFEST_FUZZ_SEED", "1")
CASES = 60 if SECONDS <= 1 else 1_000_000

NAME = "docker.io/team/kubelet:v1"
PLAIN, GOOD, OTHER = (make_layer({"usr/bin/kubelet": text * 40}) for text in (b"plain", b"good", b"other"))


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def described(data: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(data), "size": len(data)}


def encode(value: object) -> bytes:
    return json.dumps(value).encode()


def config_of(layers: list[bytes], **more: object) -> dict[str, Any]:
    rootfs = {"type": "layers", "diff_ids": [digest(layer) for layer in layers]}
    return {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs, **more}


@dataclass
class Image:
    """The documents of an archive before they are written, to be changed by `CHANGES`."""

    layers: list[bytes] = field(default_factory=lambda: [PLAIN, GOOD])
    config: dict[str, Any] = field(default_factory=lambda: config_of([PLAIN, GOOD]))
    manifest: dict[str, Any] = field(default_factory=dict)
    entry: dict[str, Any] = field(default_factory=dict)
    index: dict[str, Any] = field(default_factory=dict)
    saved: dict[str, Any] = field(default_factory=dict)
    config_type: str = OCI_CONFIG
    layer_type: str = OCI_LAYER
    nested: bool = False
    text: dict[str, Callable[[bytes], bytes]] = field(default_factory=dict)
    """Changes of the written documents, by name: index.json, manifest, config, manifest.json."""
    members: Callable[[list[tuple[tarfile.TarInfo, bytes]]], list[tuple[tarfile.TarInfo, bytes]]] = list

    def write(self, path: Path) -> None:
        blobs = [PLAIN, GOOD, OTHER]
        config = self._written("config", self.config)
        layers = [described(layer, self.layer_type) for layer in self.layers]
        manifest = self._written(
            "manifest",
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": described(config, self.config_type),
                "layers": layers,
                **self.manifest,
            },
        )
        other_config = encode(config_of([OTHER]))
        other = encode(
            {
                "schemaVersion": 2,
                "config": described(other_config, OCI_CONFIG),
                "layers": [described(OTHER, OCI_LAYER)],
            }
        )
        blobs += [config, manifest, other_config, other]
        entry = {**described(manifest, OCI_MANIFEST), **self.entry}
        if self.nested:
            inner = encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]})
            blobs.append(inner)
            entry = described(inner, OCI_INDEX)
        entry["annotations"] = {"org.opencontainers.image.ref.name": NAME}
        index = self._written("index.json", {"schemaVersion": 2, "manifests": [entry], **self.index})
        paths = ["blobs/sha256/" + digest(layer)[7:] for layer in self.layers]
        table = {"Config": "blobs/sha256/" + digest(config)[7:], "RepoTags": [NAME], "Layers": paths}
        saved = self._written("manifest.json", [{**table, **self.saved}])
        members = [("blobs/sha256/" + digest(blob)[7:], blob) for blob in dict.fromkeys(blobs)]
        members += [("index.json", index), ("manifest.json", saved), ("oci-layout", b'{"imageLayoutVersion": "1.0.0"}')]
        with tarfile.open(path, "w") as tar:
            for info, data in self.members([(tarfile.TarInfo(name), data) for name, data in members]):
                if info.isreg():
                    info.size = len(data)
                tar.addfile(info, io.BytesIO(data))

    def _written(self, name: str, value: object) -> bytes:
        return self.text.get(name, bytes)(encode(value))


OTHER_CONFIG = "blobs/sha256/" + digest(encode(config_of([OTHER])))[7:]
OTHER_LAYER = "blobs/sha256/" + digest(OTHER)[7:]
OTHER_SAVED = encode([{"Config": OTHER_CONFIG, "RepoTags": [NAME], "Layers": [OTHER_LAYER]}])


def twice(key: str, value: object, *, first: bool) -> Callable[[bytes], bytes]:
    """Put a second ``key`` into a JSON object, before or behind all others."""
    more = f"{json.dumps(key)}: {json.dumps(value)}".encode()

    def change(data: bytes) -> bytes:
        start, end = data.index(b"{"), data.rindex(b"}")
        if first:
            return data[: start + 1] + more + b", " + data[start + 1 :]
        return data[:end] + b", " + more + data[end:]

    return change


def add_member(name: str, data: bytes, *, first: bool, kind: bytes = tarfile.REGTYPE, link: str = "") -> Any:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> list[tuple[tarfile.TarInfo, bytes]]:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        return [(info, data), *members] if first else [*members, (info, data)]

    return change


def linked(name: str, kind: bytes) -> Any:
    """Store a document under another name, and a link to it in its place."""

    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> list[tuple[tarfile.TarInfo, bytes]]:
        changed = []
        for info, data in members:
            if info.name == name:
                place = tarfile.TarInfo("x-" + name)
                changed.append((place, data))
                info.type, info.linkname, data = kind, place.name, b""
            changed.append((info, data))
        return changed

    return change


def change_image(random: random.Random, image: Image) -> str:
    """Change one thing and return what."""
    first = random.random() < 0.5
    spelling = random.choice(["plain", "upper", "title", "long-s"])
    other_layers = [described(OTHER, OCI_LAYER)]
    other_config = described(encode(config_of([OTHER])), OCI_CONFIG)
    saved_key, saved_value = random.choice(
        [
            ("Config", OTHER_CONFIG), ("Layers", [OTHER_LAYER]), ("RepoTags", ["docker.io/other:v1"]),
            ("Layers", ["blobs/sha256/" + digest(PLAIN)[7:]]), ("Layers", []),
        ]
    )  # fmt: skip
    document, key, value = random.choice(
        [
            ("manifest", "layers", other_layers),
            ("manifest", "config", other_config),
            ("manifest", "mediaType", OCI_INDEX),
            ("manifest", "manifests", []),
            ("config", "rootfs", config_of([OTHER])["rootfs"]),
            ("config", "os", "windows"),
            ("index.json", "manifests", []),
            ("index.json", "layers", other_layers),
            ("index.json", "schemaVersion", 1),
            ("manifest.json", saved_key, saved_value),
        ]
    )
    what = random.choice(list(CHANGES))
    if what == "key":
        spelled = {"upper": key.upper(), "title": key.title(), "long-s": key.replace("s", "\u017f")}.get(spelling, key)
        image.text[document] = twice(spelled, value, first=first)
        return f"{document} also has {spelled} ({'first' if first else 'last'})"
    if what == "saved":
        image.saved[saved_key] = saved_value
        return f"manifest.json has another {saved_key}"
    if what == "member":
        name = random.choice(["manifest.json", "index.json", "./manifest.json", "./index.json"])
        data = OTHER_SAVED if "manifest" in name else encode({"schemaVersion": 2, "manifests": []})
        image.members = add_member(name, data, first=first)
        return f"a second {name} ({'first' if first else 'last'})"
    if what == "link":
        name, kind = random.choice(["manifest.json", "index.json"]), random.choice([tarfile.SYMTYPE, tarfile.LNKTYPE])
        image.members = linked(name, kind)
        return f"{name} is a link of type {kind.decode()}"
    if what == "tail":
        image.text[document] = lambda data: data + random.choice([b"{}", b" ", b"\n\n", b"\0", b"]"])
        return f"{document} goes on behind its end"
    return CHANGES[what](random, image) or what


def set_types(random: random.Random, image: Image) -> str:
    image.config_type = random.choice(
        [OCI_CONFIG, "application/octet-stream", "application/vnd.cncf.helm.config.v1+json", ""]
    )
    image.layer_type = random.choice([OCI_LAYER, OCI_LAYER + "+foo", OCI_LAYER + "+gzip", "application/json", ""])
    return f"types {image.config_type!r}, {image.layer_type!r}"


def set_platform(random: random.Random, image: Image) -> str:
    values = ["linux", "Linux", "windows", "", None, "amd64", "x86_64", "arm64", "unknown"]
    image.entry["platform"] = {"os": random.choice(values), "architecture": random.choice(values)}
    image.config["os"] = random.choice(values)
    return f"platform {image.entry['platform']}, configuration for {image.config['os']}"


def set_layers(random: random.Random, image: Image) -> str:
    image.layers = random.choice([[PLAIN], [GOOD, PLAIN], [PLAIN, GOOD, OTHER], [OTHER], []])
    if random.random() < 0.5:
        image.config = config_of(image.layers)
    return f"{len(image.layers)} layers"


def set_field(random: random.Random, image: Image) -> str:
    place = random.choice([image.manifest, image.entry, image.index])
    key = random.choice(["schemaVersion", "mediaType", "artifactType", "size", "digest", "urls", "data", "manifests"])
    place[key] = random.choice([None, 1, 2.0, "", OCI_INDEX, OCI_MANIFEST, [], ["http://127.0.0.1:1/"], "e30="])
    return f"{key} is {place[key]!r}"


def nest(_: random.Random, image: Image) -> str:
    image.nested = True
    return "an index within the index"


CHANGES: dict[str, Callable[[random.Random, Image], str]] = {
    **dict.fromkeys(("key", "saved", "member", "link", "tail"), lambda *_: ""),
    "types": set_types,
    "platform": set_platform,
    "layers": set_layers,
    "field": set_field,
    "nest": nest,
}


def by_skopeo(transport: str, path: Path, directory: Path) -> tuple[str, ...] | None:
    """Return the digests of the uncompressed layers that skopeo copies, None where it refuses."""
    out = directory / f"{transport}-out"
    done = subprocess.run(
        ["skopeo", "copy", "-q", "--override-os=linux", "--override-arch=amd64", f"{transport}:{path}:{NAME}",
         f"dir:{out}"],
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    if done.returncode:
        return None
    # The files themselves: its manifest may be one of those that Python reads otherwise. Their order is in it alone.
    manifest = (out / "manifest.json").read_bytes()
    found = {path.name: digest(expanded(path.read_bytes())) for path in out.iterdir()}
    layers = [name for name in found if found[name] in LAYERS]
    return tuple(found[name] for name in sorted(layers, key=lambda name: manifest.rfind(name.encode())))


def by_umoci(path: Path, directory: Path) -> tuple[str, ...] | None:
    """Return the layers whose kubelet umoci leaves, as `by_skopeo`; umoci takes no image by a name with a slash."""
    layout, bundle = directory / "layout", directory / "bundle"
    layout.mkdir()
    subprocess.run(["tar", "-C", str(layout), "-xf", str(path)], capture_output=True, check=False)
    index = layout / "index.json"
    if not index.is_file():
        return None
    index.write_bytes(index.read_bytes().replace(NAME.encode(), b"v1"))
    done = subprocess.run(
        ["umoci", "unpack", "--rootless", "--image", f"{layout}:v1", str(bundle)],
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    program = bundle / "rootfs/usr/bin/kubelet"
    if done.returncode or not program.is_file():
        return None
    return (digest(program.read_bytes()),)


def expanded(data: bytes) -> bytes:
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


LAYERS = {digest(layer) for layer in (PLAIN, GOOD, OTHER)}
PROGRAMS = {digest(text * 40): digest(layer) for text, layer in ((b"plain", PLAIN), (b"good", GOOD), (b"other", OTHER))}


def judged(path: Path, directory: Path) -> tuple[set[tuple[str, ...]], set[str]] | None:
    """Return the layers of each image that is judged here, and the layers that are searched one by one.

    None where the archive or a part of it is refused, which no gate lets pass.
    """
    cache = Cache(directory / "cache")
    try:
        archive = open_archive(path, cache)
        contents = images_in(archive, cache, "x")
        for image in contents.images:
            (platform,) = image.platforms
            for layer, diff_id in zip(platform.layers, platform.diff_ids, strict=True):
                deque(layer_members(layer, diff_id), maxlen=0)
        rest = {
            digest(member.content.read())
            for member in archive.store.others(contents.parts)
            if member.content is not None
        }
    except FipsManifestError:
        return None
    if any(isinstance(item, FipsManifestError) for item in contents.left_out):
        return None
    return {image.platforms[0].diff_ids for image in contents.images}, rest


def run_case(seed: str, directory: Path, counts: Counter[str]) -> str | None:
    """Try one archive; return what is wrong."""
    chance = random.Random(seed)
    image = copy.deepcopy(Image())
    changes = [change_image(chance, image) for _ in range(chance.choice([1, 1, 2]))]
    path = directory / "x.tar"
    image.write(path)
    ours = judged(path, directory)
    counts["refused" if ours is None else "judged"] += 1
    peers = {
        "skopeo oci-archive": by_skopeo("oci-archive", path, directory),
        "skopeo docker-archive": by_skopeo("docker-archive", path, directory),
        "umoci": by_umoci(path, directory),
    }
    for peer, layers in peers.items():
        if layers is None:
            counts[f"{peer} refuses"] += 1
            continue
        counts[f"{peer} takes"] += 1
        if ours is None:
            continue
        images, rest = ours
        seen = layers in images or set(layers) <= rest
        if peer == "umoci":
            top = {PROGRAMS[layers[0]]}
            seen = any(top == set(found[-1:]) for found in images) or top <= rest
        if not seen:
            return (
                f"case {seed}: {'; '.join(changes)}: {peer} takes {layers}; judged were {sorted(images)}, rest {rest}"
            )
    return None


@pytest.mark.fuzz
@pytest.mark.timeout(SECONDS * 3 + 300)
def test_no_peer_takes_an_image_that_was_not_judged(tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    end = time.monotonic() + max(SECONDS, 20)
    wrong = []
    for number in range(CASES):
        if time.monotonic() > end and (number >= 20 or SECONDS > 1):
            break
        directory = tmp_path / str(number)
        directory.mkdir()
        if found := run_case(f"{SEED}-{number}", directory, counts):
            wrong.append(found)
        subprocess.run(["rm", "-rf", str(directory)], check=True)
    sys.stdout.write(json.dumps({"seed": SEED, **counts}) + "\n")
    assert not wrong, "\n".join(wrong[:10])
    assert counts["skopeo oci-archive takes"] and counts["skopeo docker-archive takes"] and counts["umoci takes"]
    assert counts["judged"] and counts["refused"]


def test_the_archive_that_is_changed_is_one_that_all_read_alike(tmp_path: Path) -> None:
    Image().write(tmp_path / "x.tar")
    layers = (digest(PLAIN), digest(GOOD))
    assert judged(tmp_path / "x.tar", tmp_path) == ({layers}, judged_rest())
    assert by_skopeo("oci-archive", tmp_path / "x.tar", tmp_path) == layers
    assert by_skopeo("docker-archive", tmp_path / "x.tar", tmp_path) == layers
    assert by_umoci(tmp_path / "x.tar", tmp_path) == (digest(b"good" * 40),)


def judged_rest() -> set[str]:
    """Return the digests of all that is in an unchanged archive and no part of its image."""
    blobs: set[str] = set()
    image = Image()

    def note(members: list[tuple[tarfile.TarInfo, bytes]]) -> list[tuple[tarfile.TarInfo, bytes]]:
        blobs.update(digest(data) for _, data in members)
        return []

    image.members = note
    image.write(Path(os.devnull))
    return blobs - {digest(PLAIN), digest(GOOD), digest(encode(image.config))}
