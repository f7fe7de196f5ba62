"""``fipsmanifest keys``."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError
from . import options, output
from .reading import read_input

if TYPE_CHECKING:
    from ..sign.listing import KeyInfo
    from ..trust.store import TrustedKey

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    suggest_commands=False,  # click suggests, too
    help="The trust folder: who may sign manifests, the tool, and upstream packages.",
)

Fingerprint = Annotated[str, typer.Argument(metavar="FPR", help="Full fingerprint.")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why; everyone who verifies will read it.")]
Role = Annotated[str | None, typer.Option(metavar="ROLE", help="Only its entry for manifest, tool or upstream.")]
ReplacedBy = Annotated[str | None, typer.Option(metavar="FPR", help="The key that takes its place.")]
GnupgHome = Annotated[
    Path | None, typer.Option("--gnupghome", envvar="GNUPGHOME", metavar="DIR", help="Where gpg keeps secret keys.")
]

#: Bytes; a certificate with many user ids and signatures is some 100 kB.
_MAX_CERTIFICATE = 4 << 20

_CHECKLIST = """\
Before you sign anything with it:
  1. {backup}
  2. Keep the revocation certificate apart from the key, printed, with whoever may declare it lost.
  3. Take the primary's secret off machines that only sign, the CI's too: they import {subkeys} alone.
  4. Publish the fingerprint where consumers can compare it: documentation, web page, a second channel.
  5. Commit the trust folder; it holds public parts only."""

#: Counted with GnuPG 2.2 and its agent's defaults; an agent that keeps passphrases longer asks less often.
_ASKS = (
    "note: gpg asks for the new passphrase twice, and then for the same one about four times more: to add the two "
    "subkeys, and to export the backup."
)
_MOVE = "Move {folder} to two encrypted media in two places, offline: it was restored once, and is the key."
_MAKE = "There is no backup: `gpg --armor --export-secret-keys {fingerprint} > backup.asc`, on an offline medium."
_EXPORT = "what `gpg --armor --export-secret-subkeys {fingerprint}` writes"


@app.command()
def init(
    user_id: Annotated[str, typer.Option(metavar="'NAME <MAIL>'", help="Whose key it is.")],
    keys: options.Keys = options.KEYS,
    gnupghome: GnupgHome = None,
    bits: Annotated[int, typer.Option(help="RSA bits, 3072 or 4096.")] = 3072,
    valid_to: Annotated[datetime | None, typer.Option(metavar="DATE", help="End of its validity (UTC).")] = None,
    backup: Annotated[
        Path | None,
        typer.Option(
            envvar="FIPSMANIFEST_BACKUP",
            metavar="DIR",
            help="A new folder for the backup: secret key, signing subkeys, revocation certificate.  "
            "[default: fipsmanifest-backups in gpg's home; none with --no-passphrase]",
        ),
    ] = None,
    no_passphrase: Annotated[
        bool, typer.Option("--no-passphrase", help="Make a key without a passphrase: for tests and demos only.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Make a certify-only key with separate signing subkeys for manifests and for the tool, and trust it.

    The passphrase comes from gpg's agent, FIPSMANIFEST_PASSPHRASE or FIPSMANIFEST_PASSPHRASE_FD.
    """
    from ..sign import keys as folder
    from ..sign.gpg import home, passphrase_from_environment

    passphrase = None if no_passphrase else passphrase_from_environment()
    before = _in_force(keys)
    if backup is None and not no_passphrase:
        backup = home(gnupghome) / "fipsmanifest-backups" / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    if passphrase is None and not no_passphrase and sys.stdin is not None and sys.stdin.isatty():
        output.say(_ASKS)
    made = folder.init(
        keys,
        user_id,
        gnupghome=gnupghome,
        passphrase=passphrase,
        protect=not no_passphrase,
        bits=bits,
        valid_to=_utc(valid_to),
        backup_folder=backup,
    )
    for fingerprint in before:
        output.say(f"note: the key {fingerprint} is in force, too; until it is retired, sign with --signing-key.")
    if json:
        output.write_json(
            {
                "schema": "fipsmanifest/keys-init/v1",
                "fingerprint": made.fingerprint,
                "manifest_key": made.manifest_key,
                "tool_key": made.tool_key,
                "certificate": str(made.certificate),
                "revocation": str(made.revocation),
                "backup": {name: str(path) for name, path in asdict(made.backup).items()} if made.backup else None,
            }
        )
        return
    output.write(f"fingerprint   {made.fingerprint}")
    output.write(f"manifest key  {made.manifest_key}")
    output.write(f"tool key      {made.tool_key}")
    output.write(f"certificate   {made.certificate}")
    output.write(f"revocation    {made.revocation}")
    if made.backup is not None:
        output.write(f"backup        {made.backup.secret}")
        output.write(f"              {made.backup.subkeys}")
        output.write(f"              {made.backup.revocation}")
    output.write()
    output.write(
        _CHECKLIST.format(
            backup=_MOVE.format(folder=backup) if made.backup else _MAKE.format(fingerprint=made.fingerprint),
            subkeys=made.backup.subkeys.name if made.backup else _EXPORT.format(fingerprint=made.fingerprint),
        )
    )


@app.command()
def add(
    certificate: Annotated[str, typer.Argument(metavar="CERTIFICATE", help="A file with the public key, or -.")],
    role: Annotated[str, typer.Option(metavar="ROLE", help="manifest, tool or upstream.")],
    fingerprint: Annotated[
        str | None, typer.Option(metavar="FPR", help="The full fingerprint that you know from elsewhere.")
    ] = None,
    signing_key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FPR",
            help="Only this key of the certificate may sign; can be given several times.  "
            "[default: each that can sign now]",
        ),
    ] = None,
    keys: options.Keys = options.KEYS,
    valid_from: Annotated[
        datetime | None,
        typer.Option(
            metavar="DATE",
            help="Start of its validity (UTC), 2026-01-31 or 2026-01-31T08:00:00.  [default: when the key was made]",
        ),
    ] = None,
    valid_to: Annotated[datetime | None, typer.Option(metavar="DATE", help="End of its validity (UTC).")] = None,
    json: options.Json = False,
) -> None:
    """Trust a public key in a role, or renew its certificate.

    The entry names the keys that may sign. One that the certificate gets later signs nothing here until it is named.
    """
    from ..sign import keys as folder
    from ..sign.listing import list_keys

    entry = folder.add(
        keys,
        read_input(certificate, _MAX_CERTIFICATE, "Name a file with a public key."),
        role,
        fingerprint=fingerprint,
        signing_keys=signing_key or (),
        valid_from=_utc(valid_from),
        valid_to=_utc(valid_to),
    )
    _show([entry], json=json)
    if len(entry.signing_keys) > 1 and not signing_key:
        output.say(f"note: each of these {len(entry.signing_keys)} keys may sign; --signing-key names fewer.")
    info = next(one for one in list_keys(keys) if one.entry == entry)
    for unnamed in info.unnamed:
        output.say(f"note: its key {unnamed} signs nothing here; --signing-key would name it.")
    if info.warning:
        output.say(f"warning: {info.warning}")
    if fingerprint is None:
        output.say("Compare this fingerprint with one that you got another way; next time give it with --fingerprint.")


@app.command("list")
def list_(keys: options.Keys = options.KEYS, json: options.Json = False) -> None:
    """List the keys with their role, status and days left, and what their certificates say of them."""
    from ..node.version import tool_version
    from ..sign.listing import list_keys
    from ..trust.store import load_trust

    infos = list_keys(keys)
    edition = load_trust(str(keys)).edition
    if json:
        output.write_json(
            {
                "schema": "fipsmanifest/keys/v1",
                "edition": edition,
                "tool_version": tool_version(edition),
                "keys": [_listed(info) for info in infos],
            }
        )
        return
    output.table(
        ["fingerprint", "role", "status", "days left", "user id"],
        [
            [
                info.entry.fingerprint,
                info.entry.role,
                "active, cannot sign"
                if info.entry.status == "active" and info.can_sign is False
                else info.entry.status,
                _days(info.days_left),
                info.entry.user_id,
            ]
            for info in infos
        ],
    )
    output.write(f"edition {edition}: these keys make dkp-fips-tool {tool_version(edition)}")
    if any(info.can_sign is None and info.bits is not None for info in infos):
        output.say("warning: without gpg nobody knows whether the certificates have expired or were revoked.")
    for info in infos:
        if info.warning:
            output.say(f"warning: {info.warning}")


def _listed(info: KeyInfo) -> dict[str, Any]:
    from ..trust.text import write_time

    return {
        **info.entry.form(),
        "bits": info.bits,
        "can_sign": info.can_sign,
        "openpgp_expires": write_time(info.expires) if info.expires else None,
        "days_left": info.days_left,
        "unnamed_keys": list(info.unnamed),
        "warning": info.warning,
    }


@app.command()
def retire(
    fingerprint: Fingerprint,
    reason: Reason,
    role: Role = None,
    replaced_by: ReplacedBy = None,
    keys: options.Keys = options.KEYS,
    json: options.Json = False,
) -> None:
    """End a key's life: what it signed stays good, what it signs from now on is refused."""
    from ..sign import keys as folder

    _show(folder.retire(keys, fingerprint, reason, role=role, replaced_by=replaced_by), json=json)


@app.command()
def revoke(
    fingerprint: Fingerprint,
    reason: Reason,
    role: Role = None,
    replaced_by: ReplacedBy = None,
    keys: options.Keys = options.KEYS,
    json: options.Json = False,
) -> None:
    """Refuse everything that a key ever signed. Then run 'reissue' for what is to stay published."""
    from ..sign import keys as folder

    _show(folder.revoke(keys, fingerprint, reason, role=role, replaced_by=replaced_by), json=json)


@app.command()
def export(
    fingerprint: Fingerprint,
    keys: options.Keys = options.KEYS,
    binary: Annotated[bool, typer.Option("--binary", help="Not armored, as old gpgv wants its keyrings.")] = False,
    to: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to a file.  [default: stdout]")
    ] = None,
    json: options.Json = False,
) -> None:
    """Write a key's public certificate."""
    from ..sign import keys as folder
    from ..state import durable

    data = folder.export(keys, fingerprint, binary=binary)
    if json:
        armored = folder.export(keys, fingerprint).decode("ascii")
        output.write_json({"schema": "fipsmanifest/certificate/v1", "fingerprint": fingerprint, "armored": armored})
    if to is not None:
        durable.write(to, data)
    elif json:
        return
    elif binary and sys.stdout.isatty():
        raise UsageError("A binary certificate is not for a terminal.", "Write it to a file with --output.")
    else:
        sys.stdout.buffer.write(data)


def _show(entries: list[TrustedKey], *, json: bool) -> None:
    if json:
        output.write_json({"schema": "fipsmanifest/keys/v1", "keys": [entry.form() for entry in entries]})
        return
    for entry in entries:
        output.write(f"{entry.fingerprint}  {entry.role}  {entry.status}  {output.one_line(entry.user_id)}")
        for key in entry.signing_keys if entry.status == "active" else ():
            output.write(f"  signs with {key}")


def _in_force(keys: Path) -> list[str]:
    """Name the manifest keys that are in force already."""
    from ..trust.store import TRUST_FILE, load_trust

    listed = load_trust(str(keys)).keys if (keys / TRUST_FILE).exists() else ()
    return [entry.fingerprint for entry in listed if entry.role == "manifest" and entry.status == "active"]


def _days(left: int | None) -> str:
    if left is None:
        return "no end"
    return str(left) if left >= 0 else "ended"


def _utc(value: datetime | None) -> datetime | None:
    return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value
