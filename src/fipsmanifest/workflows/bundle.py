"""Pack a release for an air-gapped site in one tar: tool, signatures, manifest, certificates and instructions."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ..errors import Incomplete, NotTrusted
from ..model.definition import Definition
from ..model.identity import ManifestId
from ..publish import bundles, layout
from ..publish.bucket import Bucket
from ..publish.consumer import Consumer, read_tool
from ..publish.layout import ToolKey
from ..publish.snapshot import missed
from ..sign.cosign import PublicKey
from ..sign.sigstore import SUFFIX
from ..state.workspace import Workspace, read
from ..trust.armor import armor
from ..trust.document import Bindings
from ..trust.keys import Trust
from ..trust.openpgp import Certificate
from ..trust.verify import verify_cleartext
from .published_tool import require_tool_of

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

_COSIGN = """
Where cosign's key is pinned (cosign.pub, from your own copy; --insecure-ignore-tlog: no transparency log is asked):

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
    manifest_bundle: bytes | None = None
    """The manifest's Sigstore bundle, if it was signed for cosign, too."""
    tool_bundle: bytes | None = None
    """The tool's."""
    warnings: tuple[str, ...] = ()
    """What a person should know of where they are from, a sentence each."""


def from_work(definition: Definition, work: Workspace) -> Parts:
    """Return the signed files of the work directory. Raises `Incomplete` if one does not exist."""
    again = f"fipsmanifest release {definition.kubernetes}"
    tool, sidecar, signature = (read(work.tool / f"{layout.TOOL}{end}", again) for end in ("", ".sha256", ".asc"))
    optional = (work.sigstore(definition), work.tool / layout.sigstore(layout.TOOL))
    of_manifest, of_tool = (read(path, again) if path.is_file() else None for path in optional)
    version = layout.read_sidecar(sidecar).version
    return Parts(read(work.signed(definition), again), tool, signature, version, of_manifest, of_tool)


def from_bucket(definition: Definition, bucket: Bucket, consumer: Consumer) -> Parts:
    """Return the newest published manifest and the newest tool.

    Raises `Incomplete` if an object does not exist, and `NotTrusted` for the manifest, also if a pointer is not that of
    the highest serial or version which the bucket has or had.
    """
    release = definition.id.release
    # Before the pointers: a publication that ends meanwhile moves these.
    published, withdrawn = _published(bucket, consumer)
    manifest = _get(bucket, layout.pointer(release))
    # Those beside pointers may be of the objects before them.
    serial = consumer.manifest(manifest).manifest["serial"]
    version = layout.read_sidecar(_get(bucket, layout.tool(None, ".sha256"))).version
    serials = [key.serial for key in published if isinstance(key, ManifestId) and key.release == release]
    if serial < max(serials, default=0):
        raise _rolled_back(bucket, layout.pointer(release), f"serial {serial}", f"serial {max(serials)}")
    # A tool's program is written after its other files.
    tools = [key.version for key in published if isinstance(key, ToolKey) and key.version and not key.suffix]
    newest = max(tools, key=layout.version_order, default=version)
    if layout.version_order(version) < layout.version_order(newest):
        raise _rolled_back(bucket, layout.tool(None, ".sha256"), f"version {version}", f"version {newest}")
    tool, signature = (_get(bucket, layout.tool(version, suffix)) for suffix in ("", ".asc"))
    signed = (layout.manifest(release.issue(serial)), layout.tool(version))
    found = (bucket.get(layout.sigstore(key)) for key in signed)
    of_manifest, of_tool = (stored.data if stored else None for stored in found)
    newer = [
        f"{layout.manifest(key)} was withdrawn, as index.json says, which is not signed."
        for key in sorted(key for key in withdrawn if isinstance(key, ManifestId))
        if key.release == release and key.serial > serial
    ]
    return Parts(manifest, tool, signature, version, of_manifest, of_tool, tuple(newer))


def _published(bucket: Bucket, consumer: Consumer) -> tuple[list[object], list[object]]:
    """Return what the bucket has, or lost, by the keys, and what was withdrawn, which is not missed."""
    keys = {entry.key for entry in bucket.list(layout.ROOT)}
    gone, withdrawn = missed(bucket.get(layout.INDEX_JSON), keys, consumer)
    return [layout.read_key(key) for key in {*keys, *gone} - set(withdrawn)], [*map(layout.read_key, withdrawn)]


def _rolled_back(bucket: Bucket, pointer: str, served: str, published: str) -> NotTrusted:
    return NotTrusted(
        f"{pointer} in {bucket.describe()} has {served}, and {published} is published.",
        "Run `fipsmanifest audit` on the bucket; the next publication moves the pointer.",
        reason="rolled-back",
    )


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
    sigstore: tuple[str, ...]
    """The names of the Sigstore bundles in it."""
    warnings: tuple[str, ...]
    """Those of its parts, and why other Sigstore bundles are not in it, a sentence each."""


def pack(definition: Definition, parts: Parts, trust: Trust, cosign_keys: tuple[PublicKey, ...] = ()) -> ReleaseBundle:
    """Verify the parts, and return the bundle; its bytes depend on the parts and keys only.

    Raises `NotTrusted`, also for the manifest of another name and for a tool that is older than the manifest's. A
    Sigstore bundle that does not verify is left out: it is optional.
    """
    consumer = Consumer.trusting(trust, cosign_keys)
    # A reissue has a higher serial than its definition.
    bindings = Bindings(definition.kubernetes, definition.el, definition.serial, name=definition.name)
    signed = verify_cleartext(parts.manifest, trust, bindings=bindings)
    tool = read_tool(parts.tool, parts.signature, consumer, parts.version)
    digest = hashlib.sha256(parts.tool).hexdigest()
    require_tool_of(signed.manifest, parts.version, digest)
    certificates = _certificates(trust, (signed.fingerprint, tool.fingerprint))
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
    optional = {name: (parts.manifest, parts.manifest_bundle), layout.TOOL: (parts.tool, parts.tool_bundle)}
    held, left_out = _sigstore(optional, consumer)
    if held:
        files |= {bundle: (data, 0o644) for bundle, data in held.items()}
        files |= {f"certificates/cosign-{key.fingerprint[:16]}.pub": (key.pem, 0o644) for key in cosign_keys}
        files["README.txt"] = ((text + _COSIGN + "".join(map(_verify_with_cosign, held))).encode(), 0o644)
    for one in certificates:
        files[f"certificates/{one.primary.fingerprint}.asc"] = (armor(one.packets, b"PUBLIC KEY BLOCK"), 0o644)
    data = _tar(f"fips-{definition.kubernetes}-{definition.name}", files, signed.signed_at)
    serial = int(signed.manifest["serial"])
    return ReleaseBundle(data, serial, signed.fingerprint, signed.signed_at, tuple(held), (*parts.warnings, *left_out))


def _certificates(trust: Trust, signers: Sequence[str]) -> list[Certificate]:
    """Return the certificates of active keys and of the bundle's own signers, without those of revoked keys.

    gpgv, which the bundle's instructions use, accepts any key of a keyring, and knows nothing of trust.json.
    """
    carried = trust.carried()
    revoked = [key.fingerprint for key in trust.keys if key.status == "revoked"]
    wanted = [*signers, *(key.fingerprint for key in carried.keys if key.status == "active")]
    return [one for one in carried.certificates if any(map(one.has, wanted)) and not any(map(one.has, revoked))]


def _sigstore(
    optional: Mapping[str, tuple[bytes, bytes | None]], consumer: Consumer
) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Return the Sigstore bundles that verify, by the names that they get, and why others do not."""
    held, left_out = {}, []
    for name, (signed, data) in optional.items():
        if data is not None:
            try:
                bundles.check(data, hashlib.sha256(signed).hexdigest(), consumer)
                held[layout.sigstore(name)] = data
            except NotTrusted as error:
                left_out.append(f"{layout.sigstore(name)} is left out: {error.message}")
    return held, tuple(left_out)


def _verify_with_cosign(bundle: str) -> str:
    signed = bundle.removesuffix(SUFFIX)
    return f"    cosign verify-blob --key cosign.pub --bundle {bundle} --insecure-ignore-tlog {signed}\n"


def _tar(directory: str, files: dict[str, tuple[bytes, int]], at: datetime) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            data, mode = files[name]
            info = tarfile.TarInfo(f"{directory}/{name}")
            info.size, info.mode, info.mtime = len(data), mode, int(at.timestamp())
            archive.addfile(info, io.BytesIO(data))
    return packed.getvalue()
