"""A newer table of certificates: what it may change in the table of modules, and what not. Pure.

NIST's list of certificates changes more often than this program. A table, signed by a key with the role ``modules``,
can add certificates to modules that are known, and change their dates. It cannot add a module or a digest, and nothing
becomes proven by it or stops being proven: a verdict depends on the bytes of a program alone. It takes nothing away
either: a certificate that the table of this version has stays, with its standard and module.

::

    {"schema": "fipsmanifest/certificates/v1", "serial": 1, "date": "2026-12-01",
     "certificates": [{"number": 5678, "module": "...", "standard": "FIPS 140-3", "holder": "...", "source": "https://...",
                       "confidence": "high", "level": 1, "historical_since": null, "sunset": "2031-12-01",
                       "covers": ["go-native-v1.0.0-c2097c7c"]}],
     "in_process": ["go-native-v1.26.0"]}

``covers`` and ``in_process`` name modules as manifests do; those that this version does not know are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import NotTrusted
from ..trust import strictjson
from ..trust.text import visible
from .table import Certificate, NativeRow, Origin, Table

SCHEMA = "fipsmanifest/certificates/v1"
MAX_BYTES = 1 << 20

_Text = Annotated[str, Field(min_length=1, max_length=300, pattern=r"^[ -~]+$")]
_Number = Annotated[int, Field(strict=True, ge=1, lt=1_000_000)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ListedCertificate(_Part):
    """One certificate of a table, with the modules that it covers."""

    number: _Number
    """In NIST's list."""
    module: _Text
    """The module's name and version on the certificate."""
    standard: Literal["FIPS 140-2", "FIPS 140-3"]
    """The standard of the validation."""
    holder: _Text
    """The vendor."""
    source: _Text
    """Where this was published."""
    confidence: Literal["high", "medium", "low"]
    """The confidence that number, module and standard belong together."""
    level: Annotated[int, Field(strict=True, ge=1, le=4)] | None = None
    """Overall security level, if known."""
    historical_since: date | None = None
    """The day on which it moved to the historical list."""
    sunset: date | None = None
    """The day on which it moves there."""
    covers: Annotated[tuple[_Text, ...], Field(max_length=200)] = ()
    """The modules that it covers, by id."""

    def certificate(self) -> Certificate:
        """Return it as the table of modules has it."""
        return Certificate(**self.model_dump(exclude={"covers"}))


class CertificateTable(_Part):
    """A table of certificates."""

    schema_: Annotated[Literal["fipsmanifest/certificates/v1"], Field(alias="schema")]
    """Its format."""
    serial: Annotated[int, Field(strict=True, ge=1, lt=10**9)]
    """1, 2, ...; a higher one replaces a lower one."""
    date: date
    """The day of the list that it was made from."""
    certificates: Annotated[tuple[ListedCertificate, ...], Field(max_length=1000)]
    """In any order."""
    in_process: Annotated[tuple[_Text, ...], Field(max_length=200)] = ()
    """Modules that a laboratory has, and that have no certificate yet, by id."""


def parse(payload: bytes) -> CertificateTable:
    """Read a table of certificates. Raises `NotTrusted` for another document, and for a malformed one."""
    if len(payload) > MAX_BYTES:
        raise _malformed(f"it has {len(payload)} bytes, more than {MAX_BYTES}")
    document = strictjson.parse_object(payload, _malformed)
    if document.get("schema") != SCHEMA:
        raise NotTrusted(
            f"The file is not a table of certificates: its schema is {visible(repr(document.get('schema')))}, "
            f"not {SCHEMA}.",
            "Name the table that its publisher signed, or use a newer fipsmanifest for a newer schema.",
            reason="wrong-document",
        )
    try:
        table = CertificateTable.model_validate_json(payload)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise _malformed(f"{visible(where)}: {visible(first['msg'])}") from error
    numbers = [item.number for item in table.certificates]
    if len(numbers) != len(set(numbers)):
        raise _malformed("it has a certificate twice")
    return table


def apply(table: Table, update: CertificateTable, origin: Origin) -> Table:
    """Return the table of modules with newer certificates. Raises `NotTrusted` if one would be turned into another."""
    known = {item.number: item for item in table.certificates}
    listed = {item.number: item.certificate() for item in update.certificates}
    for number in known.keys() & listed.keys():
        before, after = known[number], listed[number]
        if (before.standard, before.module) != (after.standard, after.module):
            raise NotTrusted(
                f"The table of certificates says of certificate {number} that it is of {visible(after.module)} "
                f"({after.standard}), not of {before.module} ({before.standard}).",
                "Ask its publisher which of the two is right; if it is the table, use a newer fipsmanifest.",
                reason="malformed",
            )

    def covering(identifier: str, before: Iterable[Certificate]) -> tuple[Certificate, ...]:
        numbers = {item.number: None for item in before}
        numbers |= {item.number: None for item in update.certificates if identifier in item.covers}
        return tuple(listed.get(number) or known[number] for number in numbers)

    def native(row: NativeRow) -> NativeRow:
        identifier = f"go-native-{row.version}"
        certificates = covering(identifier, row.certificates)
        waits = row.validation == "in-process" or identifier in update.in_process
        without: Literal["in-process", "none"] = "in-process" if waits else "none"
        return replace(row, certificates=certificates, validation="validated" if certificates else without)

    # A user's own rows have no certificates, whatever their id.
    rows = (
        row if row.row == "local" else replace(row, certificates=covering(row.id, row.certificates))
        for row in table.rows
    )
    return replace(
        table,
        rows=tuple(rows),
        native=tuple(map(native, table.native)),
        certificates=tuple((known | listed).values()),
        dated=update.date,
        origin=origin,
    )


def _malformed(reason: str) -> NotTrusted:
    return NotTrusted(
        f"The table of certificates is malformed: {reason}.", "Get it again from its publisher.", reason="malformed"
    )
