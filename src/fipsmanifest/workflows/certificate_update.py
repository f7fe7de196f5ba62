"""A newer table of certificates: verify it, keep it, and apply it to the shipped table of modules."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from ..errors import NotTrusted
from ..inspect import certificates, table
from ..inspect.certificates import CertificateTable
from ..inspect.table import Origin, Table
from ..state import certificates as state
from ..state.certificates import KeptTable
from ..trust.keys import Trust
from ..trust.text import utc_now, visible, write_time
from ..trust.verify import verify_detached
from .verification import Document


@dataclass(frozen=True, slots=True)
class Updated:
    """The result of an update."""

    table: Table
    """The table of modules with the new certificates."""
    changed: bool
    """Whether it was kept just now; False if it was kept already."""


def update(document: Document, trust: Trust, fingerprint: str | None = None) -> Updated:
    """Verify a table of certificates with its detached signature, and keep it.

    Raises `NotTrusted` if its signature is missing or not by a key with the role ``modules``, if it is malformed, older
    than the shipped or the kept one, or turns a certificate into another.
    """
    if document.signature is None:
        raise NotTrusted("The table of certificates has no signature.", "Put its .asc next to it.", reason="unsigned")
    signature = verify_detached(document.data, document.signature, trust, "modules", fingerprint=fingerprint)
    found, shipped = certificates.parse(document.data), table.load()
    if found.date > (utc_now() + timedelta(days=1)).date():
        raise NotTrusted(
            f"The table of certificates is of {found.date}, more than a day ahead.",
            "Set this machine's clock; if it is right, do not use the table.",
            reason="future-signature",
        )
    if found.date < shipped.dated:
        raise _rolled_back(f"is of {found.date}, older than that of this version, of {shipped.dated}")
    kept = KeptTable(
        document.data.decode("ascii"), document.name, signature.fingerprint, write_time(signature.signed_at)
    )
    applied = _applied(shipped, found, kept)
    path = state.kept_file()
    with state.changing(path):
        before = state.read(path)
        if before is not None:
            if before.table == kept.table:
                return Updated(applied, False)
            _refuse_older(found, certificates.parse(before.table.encode()))
        state.write(path, kept)
    return Updated(applied, True)


def newest(shipped: Table, kept: KeptTable) -> Table:
    """Return the table with the kept certificates, or as it is if they are older."""
    found = certificates.parse(kept.table.encode())
    return shipped if found.date < shipped.dated else _applied(shipped, found, kept)


def _refuse_older(found: CertificateTable, before: CertificateTable) -> None:
    if found.serial < before.serial:
        raise _rolled_back(f"has serial {found.serial}, and serial {before.serial} was seen before")
    if found.serial == before.serial:
        raise _rolled_back(f"has serial {found.serial}, which was seen before with other content")
    if found.date < before.date:
        raise _rolled_back(f"is of {found.date}, and one of {before.date} was seen before")


def _rolled_back(what: str) -> NotTrusted:
    return NotTrusted(
        f"The table of certificates {what}.", "Get the newest table from its publisher.", reason="rolled-back"
    )


def _applied(shipped: Table, found: CertificateTable, kept: KeptTable) -> Table:
    origin = Origin(found.serial, visible(kept.source), kept.signed_by, kept.signed_at)
    return certificates.apply(shipped, found, origin)
