"""``fipsmanifest verify``."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import FipsManifestError, UsageError
from ..generate.tool import version_of
from ..model.identity import ManifestId
from ..sign.cosign import PublicKey, read_public_key
from ..state import rollback
from ..trust.document import Bindings, name_of, plain_version
from ..trust.keys import Trust
from ..trust.store import load_trust
from ..trust.text import write_time
from ..trust.verify import Signature
from ..workflows import verification
from ..workflows.verification import VerifiedBundle, VerifiedDocument
from . import completion, options, output

#: Options that restrict which manifest is accepted; parameter -> option.
_OF_A_MANIFEST = {
    "kubernetes": "--kubernetes",
    "el": "--el",
    "name": "--name",
    "min_serial": "--min-serial",
    "allow_expired": "--allow-expired",
    "no_state": "--no-state",
}


def verify(
    ctx: typer.Context,
    document: Annotated[
        str,
        typer.Argument(metavar="PATH-or-URL", help="A signed manifest, or a node tool whose .asc is beside it."),
    ],
    keys: options.Keys = options.KEYS,
    cosign_key: Annotated[
        Path | None,
        typer.Option(
            envvar="FIPSMANIFEST_COSIGN_PUB",
            metavar="FILE",
            help="Verify the .sigstore.json beside it with this public key of cosign. The trust directory is then used "
            "only if --keys names it: both must have signed.",
        ),
    ] = None,
    fingerprint: Annotated[
        str | None,
        typer.Option(
            envvar="FIPSMANIFEST_FINGERPRINT",
            metavar="FPR",
            help="Accept this key only.",
            autocompletion=completion.signing_keys,
        ),
    ] = None,
    kubernetes: Annotated[
        str | None,
        typer.Option(envvar="FIPSMANIFEST_KUBERNETES", metavar="V", help="Accept this Kubernetes version only."),
    ] = None,
    el: Annotated[
        int | None,
        typer.Option("--el", envvar="FIPSMANIFEST_EL", metavar="N", help="Accept this Enterprise Linux release only."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            envvar="FIPSMANIFEST_NAME",
            metavar="NAME",
            help="Accept the manifest of this name only, for example rhel-84.  "
            "[default: NAME of a file manifest-NAME.json.asc]",
        ),
    ] = None,
    min_serial: Annotated[
        int | None,
        typer.Option(envvar="FIPSMANIFEST_MIN_SERIAL", metavar="N", min=1, help="Refuse lower serials."),
    ] = None,
    allow_expired: Annotated[
        bool,
        typer.Option(
            "--allow-expired", envvar="FIPSMANIFEST_ALLOW_EXPIRED", help="Accept an expired manifest, with a warning."
        ),
    ] = False,
    no_state: Annotated[
        bool,
        typer.Option(
            "--no-state",
            envvar="FIPSMANIFEST_NO_STATE",
            help="Neither check nor store the highest serial that was verified before.",
        ),
    ] = False,
    ca_bundle: options.CaBundle = None,
    allow_http: options.AllowHttp = False,
    json: options.Json = False,
) -> None:
    """Verify a signed manifest, or a published node tool, as a consumer does.

    --keys is the directory with the keys that you trust. Create it with 'fipsmanifest keys add CERTIFICATE --role
    manifest --fingerprint FPR --signing-key FPR' (and again with --role tool), with the fingerprints that the publisher
    announces through another channel.

    --cosign-key verifies without a trust directory, as 'cosign verify-blob --key' does.

    The highest serial of each release is stored; a lower one is refused from then on.
    """
    if "://" not in document:
        options.refuse_ignored(ctx, {"ca_bundle": "--ca-bundle", "allow_http": "--allow-http"}, "for a path")
    try:
        trust, key = _trusted(ctx, keys, fingerprint, cosign_key)
        found = verification.read(
            document,
            ca_bundle=ca_bundle,
            allow_http=allow_http,
            detached=None if trust is not None else False,
            bundle=key is not None,
        )
        if verification.is_tool(found.data):
            options.refuse_ignored(ctx, _OF_A_MANIFEST, "for a node tool, which does not belong to a release")
        wanted = name or verification.name_in(document)
        bindings = Bindings(kubernetes, el, min_serial, allow_expired, wanted)
        by_cosign = None if key is None else verification.verify_bundle(found, key, bindings)
        by_gpg = None if trust is None else verification.verify(found, trust, bindings, fingerprint)
        verified = _Result.of(by_gpg, by_cosign)
        if verified.manifest is not None and not no_state:
            _refuse_rollback(verified, verified.manifest, trust)
    except FipsManifestError as error:
        if json:
            failure = output.form_of(error)
            output.write_json({**_document(None), "reason": error.message, "error": failure})
        raise
    if json:
        output.write_json(_document(verified))
    else:
        _print(verified, document)


@dataclass(frozen=True, slots=True)
class _Result:
    """What was verified, by one signature or by two."""

    kind: str
    manifest: dict[str, Any] | None
    payload: bytes
    signature: Signature | None
    cosign_key: PublicKey | None
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, by_gpg: VerifiedDocument | None, by_cosign: VerifiedBundle | None) -> _Result:
        # Both read the same bytes, of which the verifier's reading is that of gpgv, too.
        found = by_gpg or by_cosign
        if found is None:
            raise ValueError("nothing was verified")
        warnings = dict.fromkeys((*(by_gpg.warnings if by_gpg else ()), *(by_cosign.warnings if by_cosign else ())))
        signature = by_gpg.signature if by_gpg else None
        key = by_cosign.key if by_cosign else None
        return cls(found.kind, found.manifest, found.payload, signature, key, tuple(warnings))


def _trusted(
    ctx: typer.Context, keys: Path, fingerprint: str | None, cosign_key: Path | None
) -> tuple[Trust | None, PublicKey | None]:
    """Return the keys by which to verify; with ``cosign_key``, those of the trust directory only if it was named."""
    if cosign_key is None:
        return load_trust(str(keys)), None
    source = ctx.get_parameter_source("keys")
    named = source is not None and source.name != "DEFAULT"
    if fingerprint is not None and not named:
        raise UsageError("--fingerprint has no effect with --cosign-key alone.", "Add --keys DIR, or remove it.")
    return load_trust(str(keys)) if named else None, read_public_key(cosign_key)


def _refuse_rollback(verified: _Result, manifest: dict[str, Any], trust: Trust | None) -> None:
    key = verified.cosign_key.fingerprint if verified.cosign_key else None
    rollback.check_and_remember(
        rollback.state_file(),
        _identity(manifest),
        signed_by=verified.signature.signing_key if verified.signature else f"cosign:{key}",
        trust=trust or Trust((), (), "no trust directory"),
        cosign_key=key,
    )


def _identity(manifest: dict[str, Any]) -> ManifestId:
    """Return the identity by which serials are compared: with the ``v`` that the version may lack."""
    return ManifestId(f"v{plain_version(manifest['kubernetes'])}", name_of(manifest), manifest["serial"])


def _document(verified: _Result | None) -> dict[str, Any]:
    """Return the JSON document; its values are null if verification failed."""
    signature = verified.signature if verified else None
    manifest = (verified.manifest if verified else None) or {}
    return {
        "schema": "fipsmanifest/verify/v1",
        "kind": verified.kind if verified else None,
        "valid": verified is not None,
        "fingerprint": signature.fingerprint if signature else None,
        "signing_key": signature.signing_key if signature else None,
        "user_id": signature.trusted.user_id if signature else None,
        "role": signature.trusted.role if signature else None,
        "cosign_key": verified.cosign_key.fingerprint if verified and verified.cosign_key else None,
        "signed_at": write_time(signature.signed_at) if signature else None,
        "kubernetes": manifest.get("kubernetes"),
        "el": manifest.get("el"),
        "serial": manifest.get("serial"),
        "expires": manifest.get("expires"),
        "reason": manifest.get("reason"),
        "tool": _tool(verified.payload) if verified and verified.kind == "tool" else None,
        "warnings": list(verified.warnings) if verified else [],
    }


def _tool(data: bytes) -> dict[str, str | None]:
    return {"version": version_of(data), "sha256": hashlib.sha256(data).hexdigest()}


_MANIFEST_MEANING = """\
The signature shows who signed this manifest and when, and that the key may sign manifests. It does not show that a
node runs the listed files (run dkp-fips-tool on the node), or that there is no newer serial. It certifies nothing."""

_TOOL_MEANING = """\
The signature shows who signed this program and when, and that the key may sign the tool. Store it where other users
cannot change it."""

_MANIFEST_BY_COSIGN = """\
The bundle shows that the holder of this key signed this manifest; it has no date and no role. It does not show that a
node runs the listed files (run dkp-fips-tool on the node), or that there is no newer serial. It certifies nothing."""

_TOOL_BY_COSIGN = """\
The bundle shows that the holder of this key signed this program; it has no date and no role. Store the program where
other users cannot change it."""


def _print(verified: _Result, name: str) -> None:
    output.write(f"VALID  {output.one_line(name)}")
    if verified.manifest is None:
        tool = _tool(verified.payload)
        _rows("what", [f"the node tool dkp-fips-tool, version {tool['version'] or 'unknown'}"])
        _rows("sha256", [str(tool["sha256"])])
    else:
        _print_manifest(verified.manifest)
    if verified.signature is not None:
        _print_signature(verified.signature)
    if (key := verified.cosign_key) is not None:
        _rows("signed by", [f"the cosign key {key.origin}", f"SHA-256 {key.fingerprint}"])
    for warning in verified.warnings:
        output.say(f"warning: {output.one_line(warning)}")
    output.write()
    output.write(_meaning(verified))


def _meaning(verified: _Result) -> str:
    """Return what the signatures show, and what they do not."""
    if verified.signature is None:
        return _TOOL_BY_COSIGN if verified.manifest is None else _MANIFEST_BY_COSIGN
    return _TOOL_MEANING if verified.manifest is None else _MANIFEST_MEANING


def _print_manifest(manifest: dict[str, Any]) -> None:
    serial = f"serial {manifest['serial']}"
    what = f"manifest of Kubernetes {manifest['kubernetes']} for EL {manifest['el']}, {serial}"
    reason = manifest.get("reason")
    _rows("what", [what, *([f"reason: {reason}"] if reason else [])])
    holds = [f"{_counted(manifest['files'], 'file')}, {_counted(manifest.get('images') or [], 'image')}"]
    for component in manifest.get("components") or []:
        where = component.get("architecture") or "all"
        because = f" ({component['reason']})" if component.get("reason") else ""
        holds.append(f"{component['verdict']:<12} {component['name']} {where}{because}")
    _rows("contains", holds)
    if manifest.get("expires"):
        _rows("expires", [manifest["expires"]])


def _print_signature(signature: Signature) -> None:
    key = signature.trusted
    rows = [key.user_id, f"{signature.fingerprint} (role {key.role}, {key.status})"]
    if signature.signing_key != signature.fingerprint:
        rows.append(f"with the subkey {signature.signing_key}")
    until = f" until {write_time(key.valid_to)}" if key.valid_to else ""
    rows.append(f"trusted since {write_time(key.valid_from)}{until}")
    if key.reason:
        rows.append(f"{key.status}, reason: {key.reason}")
    if key.replaced_by:
        rows.append(f"replaced by {key.replaced_by}")
    _rows("signed by", rows)
    _rows("signed at", [f"{write_time(signature.signed_at)} over {signature.hash_name}"])


def _rows(heading: str, rows: Sequence[str]) -> None:
    for row in rows:
        output.write(f"{heading:<10} {output.one_line(row)}")
        heading = ""


def _counted(things: Sized, name: str) -> str:
    return f"{len(things)} {name}" + ("" if len(things) == 1 else "s")
