"""Pack a release for an air-gapped site in one tar: tool, signatures, manifest, certificates and instructions."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..errors import Incomplete, NotTrusted
from ..model.definition import Definition
from ..publish import layout
from ..publish.bucket import Bucket
from ..publish.consumer import Consumer, read_tool
from ..state.workspace import Workspace, read
from ..trust.armor import armor
from ..trust.document import Bindings
from ..trust.store import Trust
from ..trust.text import visible
from ..trust.verify import verify_cleartext

_INSTRUCTIONS = """\
{kubernetes} FIPS builds for Enterprise Linux {el}, serial {serial}
signed {signed_at} by {fingerprint}

On the machine where you pinned the fingerprint (compare it with the one you know from elsewhere):

    gpg --show-keys --with-fingerprint certificates/*.asc
    sha256sum -c dkp-fips-tool.sha256
    gpgv --keyring certificates/keyring.gpg dkp-fips-tool.asc dkp-fips-tool
    gpgv --keyring certificates/keyring.gpg --output - {manifest}

On each node:

    chmod +x dkp-fips-tool
    ./dkp-fips-tool --json {manifest}

Exit codes: 0 valid, 1 the node is not what the manifest lists, 3 not trusted, 4 incomplete (unknown is never a pass).
This is evidence of what runs on a node; it certifies nothing. FIPS 140-2 certificates have been on the historical
list since 2026-09-21.
"""


@dataclass(frozen=True, slots=True)
class Parts:
    """The files of a bundle, before they are verified."""

    manifest: bytes
    """The signed manifest."""
    tool: bytes
    """The node tool."""
    signature: bytes
    """The tool's detached signature."""
    version: str
    """The tool's version."""


def from_work(definition: Definition, work: Workspace) -> Parts:
    """Return the signed files of the work directory. Raises `Incomplete` if one does not exist."""
    again = f"fipsmanifest release {definition.kubernetes}"
    tool, sidecar, signature = (read(work.tool / f"{layout.TOOL}{end}", again) for end in ("", ".sha256", ".asc"))
    return Parts(read(work.signed(definition), again), tool, signature, layout.read_sidecar(sidecar).version)


def from_bucket(definition: Definition, bucket: Bucket) -> Parts:
    """Return the newest published manifest and its tool. Raises `Incomplete` if an object does not exist."""
    manifest = _get(bucket, layout.pointer(definition.id.release))
    sidecar = layout.read_sidecar(_get(bucket, layout.tool(None, ".sha256")))
    tool, signature = (_get(bucket, layout.tool(sidecar.version, suffix)) for suffix in ("", ".asc"))
    return Parts(manifest, tool, signature, sidecar.version)


def _get(bucket: Bucket, key: str) -> bytes:
    stored = bucket.get(key)
    if stored is None:
        raise Incomplete(f"{key} is not in {bucket.describe()}.", "Publish the release first.", reason="not-found")
    return stored.data


@dataclass(frozen=True, slots=True)
class ReleaseBundle:
    """A bundle with a summary of its manifest."""

    data: bytes
    """The tar."""
    serial: int
    """The manifest's serial."""
    fingerprint: str
    """The full fingerprint of the manifest's signer."""
    signed_at: datetime
    """The time of the manifest's signature."""


def pack(definition: Definition, parts: Parts, trust: Trust) -> ReleaseBundle:
    """Verify the parts, and return the bundle; its bytes depend on the parts only.

    Raises `NotTrusted`, also for the manifest of another name and for a tool that is older than the manifest's.
    """
    bindings = Bindings(kubernetes=definition.kubernetes, el=definition.el, name=definition.name)
    signed = verify_cleartext(parts.manifest, trust, bindings=bindings)
    read_tool(parts.tool, parts.signature, Consumer.trusting(trust), parts.version)
    digest = hashlib.sha256(parts.tool).hexdigest()
    _require_tool_of(signed.manifest, parts.version, digest)
    certificates = trust.carried().certificates
    if not certificates:
        raise NotTrusted(
            "The trust directory has no certificate for the bundle.", "Add one with 'fipsmanifest keys add'."
        )
    name = f"{definition.manifest_name}.asc"
    text = _INSTRUCTIONS.format(
        kubernetes=definition.kubernetes,
        el=definition.el,
        serial=signed.manifest["serial"],
        signed_at=f"{signed.signed_at:%Y-%m-%d}",
        fingerprint=signed.fingerprint,
        manifest=name,
    )
    files = {
        "README.txt": (text.encode(), 0o644),
        layout.TOOL: (parts.tool, 0o755),
        f"{layout.TOOL}.asc": (parts.signature, 0o644),
        f"{layout.TOOL}.sha256": (layout.sidecar(parts.version, digest), 0o644),
        name: (parts.manifest, 0o644),
        "certificates/keyring.gpg": (b"".join(one.packets for one in certificates), 0o644),
    }
    for one in certificates:
        files[f"certificates/{one.primary.fingerprint}.asc"] = (armor(one.packets, b"PUBLIC KEY BLOCK"), 0o644)
    data = _tar(f"fips-{definition.kubernetes}-{definition.name}", files, signed.signed_at)
    return ReleaseBundle(data, int(signed.manifest["serial"]), signed.fingerprint, signed.signed_at)


def _require_tool_of(manifest: Mapping[str, Any], version: str, sha256: str) -> None:
    """Raise `NotTrusted` unless a tool is the one that the manifest names, or a newer one."""
    named = manifest.get("tool") or {}
    if not named.get("version"):
        return
    if version == named["version"] and sha256 == named.get("sha256"):
        return
    if layout.version_order(version) > layout.version_order(named["version"]):
        return
    raise NotTrusted(
        f"The tool is version {version} with SHA-256 {sha256}, and the manifest was published with version "
        f"{visible(named['version'])} with SHA-256 {visible(str(named.get('sha256')))}.",
        "Get the tool that belongs to the manifest, or a newer one.",
        reason="rolled-back",
    )


def _tar(directory: str, files: dict[str, tuple[bytes, int]], at: datetime) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            data, mode = files[name]
            info = tarfile.TarInfo(f"{directory}/{name}")
            info.size, info.mode, info.mtime = len(data), mode, int(at.timestamp())
            archive.addfile(info, io.BytesIO(data))
    return packed.getvalue()
