"""``fipsmanifest verify``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import FipsManifestError
from . import options, output

if TYPE_CHECKING:
    from ..verification import Verified


def verify(
    ctx: typer.Context,
    document: Annotated[
        str, typer.Argument(metavar="PATH-or-URL", help="A signed manifest, or a node tool with its .asc beside it.")
    ],
    keys: options.Keys = options.KEYS,
    fingerprint: Annotated[str | None, typer.Option(metavar="FPR", help="Accept only this key.")] = None,
    kubernetes: Annotated[str | None, typer.Option(metavar="V", help="Accept only this Kubernetes version.")] = None,
    el: Annotated[int | None, typer.Option("--el", metavar="N", help="Accept only this Enterprise Linux.")] = None,
    min_serial: Annotated[int | None, typer.Option(metavar="N", min=1, help="Refuse lower serials.")] = None,
    allow_expired: Annotated[bool, typer.Option("--allow-expired", help="Only warn where it has expired.")] = False,
    no_state: Annotated[
        bool, typer.Option("--no-state", help="Neither ask for nor remember the highest serial seen.")
    ] = False,
    ca_bundle: options.CaBundle = None,
    allow_http: options.AllowHttp = False,
    json: options.Json = False,
) -> None:
    """Verify a signed manifest, or a published node tool, as a consumer does.

    The highest serial seen of each release is remembered; an older one is refused.
    """
    from .. import freshness, verification
    from ..node.document import Bindings
    from ..node.trust import load_trust

    if "://" not in document:
        options.refuse_ignored(ctx, {"ca_bundle": "--ca-bundle", "allow_http": "--allow-http"}, "for a path")
    try:
        trust = load_trust(str(keys))
        found = verification.read(document, ca_bundle=ca_bundle, allow_http=allow_http)
        verified = verification.verify(found, trust, Bindings(kubernetes, el, min_serial, allow_expired), fingerprint)
        if verified.manifest is not None and not no_state:
            freshness.check_and_remember(freshness.state_file(), _release(verified), verified.manifest["serial"])
    except FipsManifestError as error:
        if not json:
            raise
        output.write_json({"valid": False, "reason": error.message, "advice": error.advice, "code": error.exit_code})
        raise typer.Exit(error.exit_code) from error
    if json:
        output.write_json(_form(verified))
    else:
        _tell(verified, document)


def _release(verified: Verified) -> str:
    """Name what serials are counted for: a version's manifest of one name (``v1.21.3/rhel8``)."""
    manifest = verified.manifest or {}
    name = manifest.get("name") or f"el{manifest['el']}"
    return f"{manifest['kubernetes']}/{name}"


def _form(verified: Verified) -> dict[str, Any]:
    from ..node.text import write_time

    manifest = verified.manifest or {}
    return {
        "schema": "fipsmanifest/verify/v1",
        "kind": verified.kind,
        "valid": True,
        "fingerprint": verified.signature.fingerprint,
        "signing_key": verified.signature.signing_key,
        "user_id": verified.signature.trusted.user_id,
        "signed_at": write_time(verified.signature.signed_at),
        "kubernetes": manifest.get("kubernetes"),
        "el": manifest.get("el"),
        "serial": manifest.get("serial"),
        "expires": manifest.get("expires"),
        "reason": manifest.get("reason"),
        "warnings": list(verified.warnings),
    }


def _tell(verified: Verified, name: str) -> None:
    from ..node.text import write_time

    signature, manifest = verified.signature, verified.manifest
    output.write(f"VALID  {name}")
    if manifest is not None:
        serial = f"serial {manifest['serial']}"
        reason = f" ({manifest['reason']})" if manifest.get("reason") else ""
        output.write(
            f"what       manifest of Kubernetes {manifest['kubernetes']} for EL {manifest['el']}, {serial}{reason}"
        )
        output.write(f"holds      {len(manifest['files'])} files, {len(manifest.get('images', []))} images")
        for component in manifest.get("components", []):
            output.write(f"           {component['name']}: {component['verdict']} ({component['architecture']})")
    else:
        output.write("what       the node tool dkp-fips-tool")
    output.write(f"signed by  {signature.trusted.user_id}")
    output.write(f"           {signature.fingerprint} (role {signature.trusted.role}, {signature.trusted.status})")
    if signature.signing_key != signature.fingerprint:
        output.write(f"           with its key {signature.signing_key}")
    output.write(f"           trusted since {write_time(signature.trusted.valid_from)}")
    output.write(f"signed at  {write_time(signature.signed_at)}")
    for warning in verified.warnings:
        output.say(f"warning: {warning}")
    output.write()
    output.write(
        "This says who signed these bytes and when, and that the key is trusted for it. It does not say that a"
    )
    output.write("node runs them (run dkp-fips-tool there), and it certifies nothing.")
