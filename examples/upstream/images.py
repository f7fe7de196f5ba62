"""Real container images of the small upstream, and how they get into a registry.

Blobs are made as files under their digests, manifests in the three forms that registries hold: a Docker manifest, a
Docker manifest list and an OCI index (OCI image specification; Docker image manifest version 2, schema 2).
"""

from __future__ import annotations

import hashlib
import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from fipsmanifest.errors import Incomplete
from fipsmanifest.model.architecture import to_oci

from .packages import deterministic_gzip, tar_of

Form = Literal["docker", "docker-list", "oci-index"]

_DOCKER = "application/vnd.docker"
_OCI = "application/vnd.oci.image"
_MEDIA_TYPES = {
    "docker": {
        "index": f"{_DOCKER}.distribution.manifest.list.v2+json",
        "manifest": f"{_DOCKER}.distribution.manifest.v2+json",
        "config": f"{_DOCKER}.container.image.v1+json",
        "layer": f"{_DOCKER}.image.rootfs.diff.tar.gzip",
    },
    "oci": {
        "index": f"{_OCI}.index.v1+json",
        "manifest": f"{_OCI}.manifest.v1+json",
        "config": f"{_OCI}.config.v1+json",
        "layer": f"{_OCI}.layer.v1.tar+gzip",
    },
}

#: The lowest layer of every image, as of a distroless base.
_BASE = (("etc/passwd", b"root:x:0:0:root:/root:/sbin/nologin\n", 0o644), ("etc/group", b"root:x:0:\n", 0o644))


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest, list or index, and what it is pushed as."""

    media_type: str
    body: bytes
    tag: str | None
    """Only the outermost document has one."""

    @property
    def digest(self) -> str:
        """``sha256:HEX``."""
        return "sha256:" + hashlib.sha256(self.body).hexdigest()


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image is made of for one architecture."""

    architecture: str
    """``x86_64`` or ``aarch64``."""
    config: str
    """Digest of its configuration; its file is in the directory that `make` gets, like the layers'."""
    layers: tuple[str, ...]
    """Digests of the compressed layers, lowest first."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image ready to be pushed."""

    reference: str
    """``docker.io/mesosphere/etcd:v3.4.13_fips.0``."""
    platforms: tuple[Platform, ...]
    documents: tuple[Document, ...]
    """Inner ones first."""

    @property
    def blobs(self) -> tuple[str, ...]:
        """Digests of all that it is made of beside documents."""
        return tuple(digest for platform in self.platforms for digest in (platform.config, *platform.layers))

    @property
    def repository(self) -> str:
        """``docker.io/mesosphere/etcd``: upstream's host is kept as the first part, so that hosts do not mix."""
        return self.reference.rpartition(":")[0]


def make(reference: str, programs: Mapping[str, Mapping[str, Path]], form: Form, blobs: Path) -> Image:
    """Make the image ``reference``: by architecture, programs (path in the image -> file) in one layer over the base.

    ``blobs`` is the directory that blobs are kept in, by digest. An image of several architectures always has an index.
    """
    if form == "docker" and len(programs) > 1:
        form = "docker-list"
    types = _MEDIA_TYPES["oci" if form == "oci-index" else "docker"]
    tag = reference.rpartition(":")[2]
    platforms, manifests, entries = [], [], []
    for architecture, files in programs.items():
        platform, body = _platform(architecture, files, types, blobs)
        manifest = Document(types["manifest"], json.dumps(body, indent=3).encode(), tag if form == "docker" else None)
        platforms.append(platform)
        manifests.append(manifest)
        entries.append(
            {
                "mediaType": manifest.media_type,
                "digest": manifest.digest,
                "size": len(manifest.body),
                "platform": {"architecture": to_oci(architecture), "os": "linux"},
            }
        )
    if form == "docker":
        return Image(reference, tuple(platforms), tuple(manifests))
    index = {"schemaVersion": 2, "mediaType": types["index"], "manifests": entries}
    outermost = Document(types["index"], json.dumps(index, indent=3).encode(), tag)
    return Image(reference, tuple(platforms), (*manifests, outermost))


def _platform(
    architecture: str, files: Mapping[str, Path], types: Mapping[str, str], blobs: Path
) -> tuple[Platform, dict[str, object]]:
    """Make configuration and layers, and return them with the manifest that names them."""
    members = [(path.lstrip("/"), program.read_bytes(), 0o755) for path, program in files.items()]
    tars = [tar_of(_BASE), tar_of(members)]
    diff_ids = [_digest(tar) for tar in tars]
    layers = [_layer(tar, types["layer"], blobs) for tar in tars]
    config = _put(
        json.dumps(
            {
                "architecture": to_oci(architecture),
                "os": "linux",
                "created": "2021-08-01T00:00:00Z",
                "config": {"Entrypoint": [next(iter(files))]},
                "rootfs": {"type": "layers", "diff_ids": diff_ids},
                "history": [{"created": "2021-08-01T00:00:00Z", "created_by": "demo"} for _ in diff_ids],
            }
        ).encode(),
        types["config"],
        blobs,
    )
    manifest = {"schemaVersion": 2, "mediaType": types["manifest"], "config": config, "layers": layers}
    names = tuple(str(layer["digest"]) for layer in layers)
    return Platform(architecture, str(config["digest"]), names), manifest


def blob_path(blobs: Path, digest: str) -> Path:
    """Return the path of the blob of that digest."""
    return blobs / digest.removeprefix("sha256:")


def push(image: Image, blobs: Path, registry: str) -> None:
    """Push an image to ``registry`` (``http://HOST:PORT``), unless it is there (OCI distribution specification).

    Raises `Incomplete` where the registry refuses.
    """
    connection = http.client.HTTPConnection(urlsplit(registry).netloc, timeout=60)
    base = f"/v2/{image.repository}"
    try:
        outermost = image.documents[-1]
        headers = {"Accept": outermost.media_type}
        status, answered = _call(connection, "HEAD", f"{base}/manifests/{outermost.tag}", headers=headers)
        if status == 200 and answered.get("Docker-Content-Digest") == outermost.digest:
            return
        for digest in image.blobs:
            if _call(connection, "HEAD", f"{base}/blobs/{digest}")[0] == 200:
                continue
            answered = _expect(202, connection, "POST", f"{base}/blobs/uploads/")
            upload = urlsplit(answered["Location"])
            target = f"{upload.path}?{upload.query}&digest={digest}"
            _expect(201, connection, "PUT", target, blob_path(blobs, digest).read_bytes())
        for document in image.documents:
            target = f"{base}/manifests/{document.tag or document.digest}"
            _expect(201, connection, "PUT", target, document.body, {"Content-Type": document.media_type})
    finally:
        connection.close()


def _call(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, str]]:
    connection.request(method, target, body, headers or {})
    response = connection.getresponse()
    response.read()
    return response.status, dict(response.headers.items())


def _expect(
    wanted: int,
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> dict[str, str]:
    status, answered = _call(connection, method, target, body, headers)
    if status != wanted:
        raise Incomplete(f"The registry answered {status} to {method} {target}.")
    return answered


def _layer(tar: bytes, media_type: str, blobs: Path) -> dict[str, str | int]:
    """Compress ``tar`` into a blob, or find the one it was compressed into before."""
    known = blobs / f"{_digest(tar).removeprefix('sha256:')}.gz-of"
    if known.exists() and (blob := blobs / known.read_text()).exists():
        return {"mediaType": media_type, "size": blob.stat().st_size, "digest": f"sha256:{blob.name}"}
    made = _put(deterministic_gzip(tar), media_type, blobs)
    known.write_text(str(made["digest"]).removeprefix("sha256:"))
    return made


def _put(data: bytes, media_type: str, blobs: Path) -> dict[str, str | int]:
    blobs.mkdir(parents=True, exist_ok=True)
    digest = _digest(data)
    path = blob_path(blobs, digest)
    if not path.exists():
        made = path.with_suffix(".new")
        made.write_bytes(data)
        made.replace(path)
    return {"mediaType": media_type, "size": len(data), "digest": digest}


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
