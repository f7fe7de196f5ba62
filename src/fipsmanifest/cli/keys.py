"""``fipsmanifest keys``."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from ..environment import COSIGN_PASSPHRASE, PASSPHRASE, PASSPHRASE_DESCRIPTOR
from ..errors import UsageError
from ..node.version import tool_version
from ..sign import cosign as cosign_keys
from ..sign import keys as directory
from ..sign.cosign import PublicKey
from ..sign.gpg import home, passphrase_from_environment
from ..sign.keys import NewKeys
from ..sign.listing import KeyInfo, list_keys
from ..state import durable
from ..trust.keys import TrustedKey
from ..trust.store import TRUST_FILE, load_trust
from ..trust.text import write_time
from . import completion, options, output
from .columns import Column
from .cosign import new_passphrase
from .reading import read_input
from .verbs import group

app = group("keys")

Fingerprint = Annotated[
    str,
    typer.Argument(metavar="FPR", help="Full fingerprint of the key.", autocompletion=completion.fingerprints),
]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="The reason; it is shown to everyone who verifies.")]
Role = Annotated[
    str | None,
    typer.Option(
        metavar="ROLE",
        help="Change only the entry of this role: manifest, tool, upstream or modules.",
        autocompletion=completion.roles,
    ),
]
ReplacedBy = Annotated[
    str | None,
    typer.Option(
        metavar="FPR",
        help="Full fingerprint of the key that replaces it.",
        autocompletion=completion.fingerprints,
    ),
]
GnupgHome = Annotated[
    Path | None,
    typer.Option("--gnupghome", envvar="GNUPGHOME", metavar="DIR", help="gpg's home directory, with the secret keys."),
]

#: Bytes; a certificate with many user ids and signatures is some 100 kB.
_MAX_CERTIFICATE = 4 << 20

_CHECKLIST = """\
Before you sign anything with this key:
  1. {backup}
  2. Print the revocation certificate, and store it apart from the key, with a person who may declare the key lost.
  3. Remove the primary secret key from machines that only sign, CI too: import only {subkeys} there.
  4. Publish the fingerprint where consumers can compare it: in the documentation, on a web page, in a second channel.
  5. Commit the trust directory; it contains public keys only."""

#: Counted with GnuPG 2.2 and its agent's defaults; an agent that caches passphrases longer asks less often.
_ASKS = (
    "note: gpg asks for the new passphrase twice, and then about four more times: to add the two subkeys, and to "
    "export the backup."
)
_MOVE = "Move {backup}, a tested backup of the secret key, to two encrypted offline media in two places."
_MAKE = "Make a backup on an offline medium: `gpg --armor --export-secret-keys {fingerprint} > backup.asc`."
_EXPORT = "the output of `gpg --armor --export-secret-subkeys {fingerprint}`"


@app.command()
def init(
    user_id: Annotated[str, typer.Option(metavar="'NAME <MAIL>'", help="User ID of the key.")],
    keys: options.Keys = options.KEYS,
    gnupghome: GnupgHome = None,
    bits: Annotated[int, typer.Option(metavar="N", help="RSA key size in bits, 3072 or 4096.")] = 3072,
    valid_to: Annotated[datetime | None, typer.Option(metavar="DATE", help="End of its validity (UTC).")] = None,
    backup: Annotated[
        Path | None,
        typer.Option(
            envvar="FIPSMANIFEST_BACKUP",
            metavar="DIR",
            help="A new directory for the backup: secret key, signing subkeys, revocation certificate.  "
            "[default: below fipsmanifest-backups in gpg's home directory; none with --no-passphrase]",
        ),
    ] = None,
    no_passphrase: Annotated[
        bool, typer.Option("--no-passphrase", help="Create a key without a passphrase, for tests and demos only.")
    ] = False,
    cosign: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also create a key for cosign: the private part in this file, the public one in the trust directory.",
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Create a signing key, and add it to the trust directory.

    The primary key can only certify; it has separate subkeys that sign manifests and the tool. The passphrase is asked
    for by gpg's agent, or taken from FIPSMANIFEST_PASSPHRASE or FIPSMANIFEST_PASSPHRASE_FD; that of the key for cosign
    is in COSIGN_PASSWORD, or asked for.
    """
    for name in _passphrases_set(cosign is not None) if no_passphrase else ():
        output.say(f"note: {name} is set and not used: with --no-passphrase, keys have none.")
    cosign_passphrase = None
    if cosign is not None:
        cosign_keys.check_new(cosign, keys)
        cosign_passphrase = None if no_passphrase else new_passphrase(cosign)
    passphrase = None if no_passphrase else passphrase_from_environment()
    before = _in_force(keys)
    if backup is None and not no_passphrase:
        backup = home(gnupghome) / "fipsmanifest-backups" / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    if passphrase is None and not no_passphrase and sys.stdin is not None and sys.stdin.isatty():
        output.say(_ASKS)
    made = directory.init(
        keys,
        user_id,
        gnupghome=gnupghome,
        passphrase=passphrase,
        protect=not no_passphrase,
        bits=bits,
        valid_to=_utc(valid_to),
        backup_directory=backup,
    )
    public = None if cosign is None else cosign_keys.create(cosign, keys, cosign_passphrase).public
    for fingerprint in before:
        output.say(f"note: The key {fingerprint} is active, too. Sign with --signing-key until it is retired.")
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
                "cosign": {"key": str(cosign), "fingerprint": public.fingerprint} if public else None,
            }
        )
        return
    _print_made(made, backup, cosign, public, keys)


def _passphrases_set(with_cosign: bool) -> list[str]:
    """Return the names of the variables that are set and contain a passphrase."""
    names = [PASSPHRASE, PASSPHRASE_DESCRIPTOR, *([COSIGN_PASSPHRASE] if with_cosign else [])]
    return [name for name in names if os.environ.get(name)]


def _print_made(made: NewKeys, backup: Path | None, cosign: Path | None, public: PublicKey | None, keys: Path) -> None:
    """Print what was made, and what is left to do."""
    output.write(f"fingerprint   {made.fingerprint}")
    output.write(f"manifest key  {made.manifest_key}")
    output.write(f"tool key      {made.tool_key}")
    output.write(f"certificate   {made.certificate}")
    output.write(f"revocation    {made.revocation}")
    if made.backup is not None:
        output.write(f"backup        {made.backup.secret}")
        output.write(f"              {made.backup.subkeys}")
        output.write(f"              {made.backup.revocation}")
    if public is not None:
        output.write(f"cosign key    {cosign}")
        output.write(f"cosign public {keys / cosign_keys.PUBLIC_NAME}, SHA-256 {public.fingerprint}")
    output.write()
    output.write(
        _CHECKLIST.format(
            backup=_MOVE.format(backup=backup) if made.backup else _MAKE.format(fingerprint=made.fingerprint),
            subkeys=made.backup.subkeys.name if made.backup else _EXPORT.format(fingerprint=made.fingerprint),
        )
    )


@app.command()
def add(
    certificate: Annotated[
        str, typer.Argument(metavar="CERTIFICATE", help="A file with the public key, or - for stdin.")
    ],
    role: Annotated[
        str,
        typer.Option(
            metavar="ROLE",
            help="What it may sign: manifest, tool, upstream or modules.",
            autocompletion=completion.roles,
        ),
    ],
    fingerprint: Annotated[
        str | None,
        typer.Option(metavar="FPR", help="The expected full fingerprint, from another channel than the file."),
    ] = None,
    signing_key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FPR",
            help="The key of the certificate that may sign. Repeatable.  [default: each that can sign now]",
        ),
    ] = None,
    keys: options.Keys = options.KEYS,
    valid_from: Annotated[
        datetime | None,
        typer.Option(
            metavar="DATE",
            help="Start of its validity (UTC), 2026-01-31 or 2026-01-31T08:00:00.  [default: the key's creation time]",
        ),
    ] = None,
    valid_to: Annotated[datetime | None, typer.Option(metavar="DATE", help="End of its validity (UTC).")] = None,
    json: options.Json = False,
) -> None:
    """Add a public key in a role to the trust directory, or update its certificate.

    The entry lists the keys of the certificate that may sign. Signatures of a subkey that is added to the certificate
    later are not accepted until it is listed, too.
    """
    entry = directory.add(
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
        output.say(f"note: All these {len(entry.signing_keys)} keys may sign; restrict them with --signing-key.")
    info = next(one for one in list_keys(keys) if one.entry == entry)
    for unnamed in info.unnamed:
        output.say(f"note: Signatures of its key {unnamed} are not accepted; add it with --signing-key.")
    if info.warning:
        output.say(f"warning: {info.warning}")
    if fingerprint is None:
        output.say(
            "note: Compare this fingerprint with one from another channel; next time pass that one with --fingerprint."
        )


_COLUMNS = (
    Column("fingerprint", 40, middle=True),
    Column("role", 8),
    Column("status", 19),
    Column("days left", 9, rank=1),
    Column("user id", 8, rank=2),
)


@app.command("list")
def list_(keys: options.Keys = options.KEYS, json: options.Json = False) -> None:
    """List the keys with their role, status and remaining days, and report what needs attention."""
    infos = list_keys(keys)
    trust = load_trust(str(keys))
    edition = trust.edition
    for sentence in trust.exposure():
        output.say(f"warning: {sentence}")
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
        _COLUMNS,
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
    output.write(f"edition {edition}: the node tool with these keys is dkp-fips-tool {tool_version(edition)}")
    if any(info.can_sign is None and info.bits is not None for info in infos):
        output.say("warning: Expiry and revocation of the certificates are unknown without gpg; install gnupg.")
    for info in infos:
        if info.warning:
            output.say(f"warning: {info.warning}")


def _listed(info: KeyInfo) -> dict[str, Any]:
    return {
        **info.entry.to_json(),
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
    """Retire a key: its older signatures remain valid, new ones are refused."""
    _show(directory.retire(keys, fingerprint, reason, role=role, replaced_by=replaced_by), json=json)


@app.command()
def revoke(
    fingerprint: Fingerprint,
    reason: Reason,
    role: Role = None,
    replaced_by: ReplacedBy = None,
    keys: options.Keys = options.KEYS,
    json: options.Json = False,
) -> None:
    """Revoke a key: all its signatures are refused.

    Run 'fipsmanifest reissue' afterwards for each release that is to stay published.
    """
    _show(directory.revoke(keys, fingerprint, reason, role=role, replaced_by=replaced_by), json=json)


@app.command()
def export(
    fingerprint: Fingerprint,
    keys: options.Keys = options.KEYS,
    binary: Annotated[bool, typer.Option("--binary", help="Write binary, for a keyring of gpgv, not armor.")] = False,
    to: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Output file.  [default: stdout]")
    ] = None,
    json: options.Json = False,
) -> None:
    """Print a key's public certificate."""
    data = directory.export(keys, fingerprint, binary=binary)
    if json:
        armored = directory.export(keys, fingerprint).decode("ascii")
        output.write_json({"schema": "fipsmanifest/certificate/v1", "fingerprint": fingerprint, "armored": armored})
    if to is not None:
        durable.write(to, data)
    elif json:
        return
    elif binary and sys.stdout.isatty():
        raise UsageError("Standard output is a terminal, and the certificate is binary.", "Add --output FILE.")
    else:
        sys.stdout.buffer.write(data)


def _show(entries: list[TrustedKey], *, json: bool) -> None:
    if json:
        output.write_json({"schema": "fipsmanifest/keys/v1", "keys": [entry.to_json() for entry in entries]})
        return
    for entry in entries:
        output.write(f"{entry.fingerprint}  {entry.role}  {entry.status}  {output.one_line(entry.user_id)}")
        for key in entry.signing_keys if entry.status == "active" else ():
            output.write(f"  signs with {key}")


def _in_force(keys: Path) -> list[str]:
    """Return the manifest keys that are active already."""
    listed = load_trust(str(keys)).keys if (keys / TRUST_FILE).exists() else ()
    return [entry.fingerprint for entry in listed if entry.role == "manifest" and entry.status == "active"]


def _days(left: int | None) -> str:
    if left is None:
        return "unlimited"
    return str(left) if left >= 0 else "expired"


def _utc(value: datetime | None) -> datetime | None:
    return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value
