"""``fipsmanifest verify``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import FipsManifestError
from . import options, output

if TYPE_CHECKING:
    from ..trust.verify import Signature
    from ..workflows.verification import Verified

#: What says which manifest is wanted; parameter -> option.
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
        str, typer.Argument(metavar="PATH-or-URL", help="A signed manifest, or a node tool with its .asc beside it.")
    ],
    keys: options.Keys = options.KEYS,
    fingerprint: Annotated[
        str | None, typer.Option(envvar="FIPSMANIFEST_FINGERPRINT", metavar="FPR", help="Accept only this key.")
    ] = None,
    kubernetes: Annotated[
        str | None,
        typer.Option(envvar="FIPSMANIFEST_KUBERNETES", metavar="V", help="Accept only this Kubernetes version."),
    ] = None,
    el: Annotated[
        int | None,
        typer.Option("--el", envvar="FIPSMANIFEST_EL", metavar="N", help="Accept only this Enterprise Linux."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            envvar="FIPSMANIFEST_NAME",
            metavar="NAME",
            help="Accept only the manifest of this name, such as rhel-84.  "
            "[default: NAME of a file manifest-NAME.json.asc]",
        ),
    ] = None,
    min_serial: Annotated[
        int | None,
        typer.Option(envvar="FIPSMANIFEST_MIN_SERIAL", metavar="N", min=1, help="Refuse lower serials."),
    ] = None,
    allow_expired: Annotated[
        bool,
        typer.Option("--allow-expired", envvar="FIPSMANIFEST_ALLOW_EXPIRED", help="Only warn where it has expired."),
    ] = False,
    no_state: Annotated[
        bool,
        typer.Option(
            "--no-state",
            envvar="FIPSMANIFEST_NO_STATE",
            help="Neither ask for nor remember the highest serial seen.",
        ),
    ] = False,
    ca_bundle: options.CaBundle = None,
    allow_http: options.AllowHttp = False,
    json: options.Json = False,
) -> None:
    """Verify a signed manifest, or a published node tool, as a consumer does.

    --keys is the directory of keys that you trust. Make it with 'fipsmanifest keys add CERTIFICATE --role manifest
    --fingerprint FPR --signing-key FPR' (and the same for the role tool), with the fingerprints that the publisher
    announces through another channel.

    The highest serial seen of each release is remembered; an older one is refused.
    """
    from ..state import rollback
    from ..trust.document import Bindings
    from ..trust.store import load_trust
    from ..workflows import verification

    if "://" not in document:
        options.refuse_ignored(ctx, {"ca_bundle": "--ca-bundle", "allow_http": "--allow-http"}, "for a path")
    try:
        trust = load_trust(str(keys))
        found = verification.read(document, ca_bundle=ca_bundle, allow_http=allow_http)
        if verification.is_tool(found.data):
            options.refuse_ignored(ctx, _OF_A_MANIFEST, "for a node tool, which is bound to no release")
        wanted = name or verification.name_in(document)
        bindings = Bindings(kubernetes, el, min_serial, allow_expired, wanted)
        verified = verification.verify(found, trust, bindings, fingerprint)
        if verified.manifest is not None and not no_state:
            rollback.check_and_remember(
                rollback.state_file(),
                _release(verified),
                verified.manifest["serial"],
                signed_by=verified.signature.signing_key,
                trust=trust,
            )
    except FipsManifestError as error:
        if json:
            failure = output.error_form(error.exit_code, error.message, error.advice)
            output.write_json({**_form(None), "reason": error.message, "error": failure})
        raise
    if json:
        output.write_json(_form(verified))
    else:
        _tell(verified, document)


def _release(verified: Verified) -> str:
    """Name what serials are counted for: a version's manifest of one name (``v1.21.3/rhel8``)."""
    from ..trust.document import name_of, plain_version

    manifest = verified.manifest or {}
    return f"v{plain_version(manifest['kubernetes'])}/{name_of(manifest)}"


def _form(verified: Verified | None) -> dict[str, Any]:
    """Give the JSON document; what is not known of a document that does not hold is null."""
    from ..trust.text import write_time

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
        "signed_at": write_time(signature.signed_at) if signature else None,
        "kubernetes": manifest.get("kubernetes"),
        "el": manifest.get("el"),
        "serial": manifest.get("serial"),
        "expires": manifest.get("expires"),
        "reason": manifest.get("reason"),
        "tool": _tool_form(verified.payload) if verified and verified.kind == "tool" else None,
        "warnings": list(verified.warnings) if verified else [],
    }


def _tool_form(data: bytes) -> dict[str, str | None]:
    import hashlib

    from ..generate.tool import version_of

    return {"version": version_of(data), "sha256": hashlib.sha256(data).hexdigest()}


_MANIFEST_SAYS = """\
This says who signed these bytes and when, and that the key may sign manifests. It does not say that a node runs
what is listed (run dkp-fips-tool there) or that no newer serial exists, and it certifies nothing."""

_TOOL_SAYS = """\
This says who signed this program and when, and that the key may sign the tool. Run it only from where others
cannot change it."""


def _tell(verified: Verified, name: str) -> None:
    output.write(f"VALID  {output.one_line(name)}")
    if verified.manifest is None:
        tool = _tool_form(verified.payload)
        _rows("what", [f"the node tool dkp-fips-tool, version {tool['version'] or 'not told'}"])
        _rows("sha256", [str(tool["sha256"])])
    else:
        _tell_manifest(verified.manifest)
    _tell_signature(verified.signature)
    for warning in verified.warnings:
        output.say(f"warning: {output.one_line(warning)}")
    output.write()
    output.write(_TOOL_SAYS if verified.manifest is None else _MANIFEST_SAYS)


def _tell_manifest(manifest: dict[str, Any]) -> None:
    serial = f"serial {manifest['serial']}"
    what = f"manifest of Kubernetes {manifest['kubernetes']} for EL {manifest['el']}, {serial}"
    reason = manifest.get("reason")
    _rows("what", [what, *([f"made because: {reason}"] if reason else [])])
    holds = [f"{len(manifest['files'])} files, {len(manifest.get('images') or [])} images"]
    for component in manifest.get("components") or []:
        where = component.get("architecture") or "all"
        because = f" ({component['reason']})" if component.get("reason") else ""
        holds.append(f"{component['verdict']:<12} {component['name']} {where}{because}")
    _rows("holds", holds)
    if manifest.get("expires"):
        _rows("expires", [manifest["expires"]])


def _tell_signature(signature: Signature) -> None:
    from ..trust.text import write_time

    key = signature.trusted
    rows = [key.user_id, f"{signature.fingerprint} (role {key.role}, {key.status})"]
    if signature.signing_key != signature.fingerprint:
        rows.append(f"with its key {signature.signing_key}")
    until = f" until {write_time(key.valid_to)}" if key.valid_to else ""
    rows.append(f"trusted since {write_time(key.valid_from)}{until}")
    if key.reason:
        rows.append(f"{key.status} because: {key.reason}")
    if key.replaced_by:
        rows.append(f"replaced by {key.replaced_by}")
    _rows("signed by", rows)
    _rows("signed at", [f"{write_time(signature.signed_at)} over {signature.hash_name}"])


def _rows(heading: str, rows: Sequence[str]) -> None:
    for row in rows:
        output.write(f"{heading:<10} {output.one_line(row)}")
        heading = ""
