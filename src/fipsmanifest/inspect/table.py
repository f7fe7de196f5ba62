"""The table of known modules: the shipped ``modules.toml``, and a user's own rows in the same format."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ..errors import UsageError
from ..model import documents
from .native.library import Library

HEAD = 64
"""Number of bytes of a module's text by which it is found."""

_SHIPPED = Path(__file__).with_name("modules.toml")
_ALGORITHMS = {"hmac-sha256": 32, "hmac-sha512": 64}
_MAX_TEXT = 16 << 20
#: TOML 1.0, "Keys".
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate of the Cryptographic Module Validation Program."""

    number: int
    """In NIST's list."""
    module: str
    """The module's name and version on the certificate."""
    standard: Literal["FIPS 140-2", "FIPS 140-3"]
    """The standard of the validation."""
    holder: str
    """The vendor."""
    source: str
    """Where this was published."""
    confidence: Literal["high", "medium", "low"]
    """The confidence that number, module and standard belong together."""
    level: int | None = None
    """Overall security level, if known."""
    historical_since: date | None = None
    """The day on which it moved to the historical list, or the latest possible one."""
    sunset: date | None = None
    """The future day on which it moves there, if known."""

    def status(self, day: date) -> Literal["active", "historical"]:
        """Return the certificate's status on a day. It is never stored, because it changes without a new fact."""
        end = self.historical_since or self.sunset
        return "historical" if end and day >= end else "active"

    def standing(self, day: date) -> str:
        """Describe the status on a day, with the day on which it changes."""
        end = self.historical_since or self.sunset
        if end is None:
            return "active, its end is not known"
        return f"{'active until' if day < end else 'historical since'} {end}"


@dataclass(frozen=True, slots=True)
class Row:
    """One build of a module, as it is in executables."""

    id: str
    """Its key in manifests."""
    name: str
    """Its name."""
    commit: str
    """The BoringSSL commit that it was built from."""
    tag: str
    """The BoringSSL tag; empty if there is none."""
    architecture: str
    """RPM name."""
    text_length: int
    """Bytes from BORINGSSL_bcm_text_start to _end."""
    algorithm: str
    """``hmac-sha256`` or ``hmac-sha512``; the key is 64 zero bytes (BoringSSL, ``crypto/fipsmodule/bcm.c``)."""
    digest: bytes
    """The integrity digest over the text."""
    digest_offset: int
    """Where the digest is stored, relative to the text's start."""
    head: bytes
    """The text's first 64 bytes."""
    object_before: int
    """Bytes of the module's own object file before the text, in memory."""
    object_length: int
    """Bytes of that object's code; calls from within it do not count."""
    entry_points: Mapping[str, int]
    """Functions that Go calls, by name, as offsets from the text's start."""
    seen_in: tuple[str, ...] = ()
    """Toolchains that it was taken from."""
    certificates: tuple[Certificate, ...] = ()
    """The certificates of the module; always empty for local rows."""
    claimed_by: str = ""
    """Who vouches for a local row."""
    row: Literal["shipped", "local"] = "shipped"
    """The table that it comes from."""


@dataclass(frozen=True, slots=True)
class NativeRow:
    """One version of Go's native module, which each toolchain compiles from the same source."""

    version: str
    """As ``GOFIPS140`` in build info names it (``v1.0.0-c2097c7c``)."""
    name: str
    """What its makers call it."""
    source: str
    """Hex SHA-256 of the zip with its source, as ``lib/fips140/fips140.sum`` of a Go release has it."""
    certificates: tuple[Certificate, ...] = ()
    """What covers it."""
    validation: Literal["validated", "in-process", "none"] = "none"
    """``in-process`` where a laboratory has it and there is no certificate yet."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where certificates that are newer than the shipped ones come from (`.certificates`)."""

    serial: int
    """The number of their table."""
    source: str
    """The file or address."""
    signed_by: str
    """Full fingerprint of the key."""
    signed_at: str
    """The signature's date, RFC 3339."""


@dataclass(frozen=True)
class Table:
    """All rows that modules are compared with, and the references of Go's native module."""

    rows: tuple[Row, ...]
    """Shipped ones first."""
    certificates: tuple[Certificate, ...] = field(default=())
    """All certificates of the shipped table, including those without a row."""
    native: tuple[NativeRow, ...] = ()
    """Versions of Go's native module."""
    references: Library = field(default_factory=Library, compare=False)
    """What toolchains compile of Go's native module."""
    dated: date = field(default=date.min, compare=False)
    """The day of the list of certificates."""
    origin: Origin | None = field(default=None, compare=False)
    """Where the certificates come from; None for the shipped ones."""

    def of(self, architecture: str) -> tuple[Row, ...]:
        """Return the rows of an architecture (RPM name)."""
        return tuple(row for row in self.rows if row.architecture == architecture)

    def row(self, identifier: str) -> Row | None:
        """Return the row with an id; None if there is none."""
        return next((row for row in self.rows if row.id == identifier), None)

    def native_row(self, version: str) -> NativeRow | None:
        """Return the row of a version of Go's native module; None for one that is not known."""
        return next((row for row in self.native if row.version == version), None)

    def certified(self, standard: str) -> frozenset[str]:
        """Return the digests (hex) of the modules with a certificate of a standard (``FIPS 140-3``)."""
        rows = ((row.digest.hex(), row.certificates) for row in self.rows)
        native = ((row.source, row.certificates) for row in self.native)
        return frozenset(
            digest for digest, found in (*rows, *native) if any(item.standard == standard for item in found)
        )

    def on_140_2(self, day: date) -> str:
        """Describe the status of the FIPS 140-2 certificates on a day, in a sentence."""
        old = [item for item in self.certificates if item.standard == "FIPS 140-2"]
        last = max(item.historical_since for item in old if item.historical_since is not None)
        if day < last:
            return f"All FIPS 140-2 certificates move to the historical list by {last}."
        historical = f"All FIPS 140-2 certificates have been on the historical list since {last}, some longer"
        return f"{historical}: not revoked, and not for new procurement."

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 that changes when anything in any row or reference does."""
        rows = repr([[asdict(row) for row in self.rows], [asdict(row) for row in self.native]])
        return hashlib.sha256(f"{rows} {self.references.fingerprint}".encode()).hexdigest()


def load(local: Path | None = None, references: Path | None = None) -> Table:
    """Read the shipped table, a user's own rows (``--modules FILE``) and own references (``--references DIR``).

    Raises `UsageError` if the user's file is not a valid table: each row must have ``claimed_by``, and there must be no
    certificates.
    """
    table = parse(_SHIPPED.read_text("utf-8"), _SHIPPED.name)
    if references is not None:
        table = replace(table, references=Library((references,)))
        # So that a mistake in them is reported before anything is inspected.
        table.references.check()
    if local is None:
        return table
    try:
        text = local.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{local} cannot be read: {error}.", "Pass a file made by 'modules learn'.") from error
    return extended(table, text, str(local))


def extended(table: Table, text: str, name: str) -> Table:
    """Return ``table`` with a user's own rows from TOML ``text``, which errors call ``name``.

    Raises `UsageError` as `load` does.
    """
    own = parse(text, name, local=True)
    ids = {row.id for row in table.rows}
    for row in own.rows:
        if row.id in ids:
            raise UsageError(f"{name} defines {row.id}, which is already in the table.", "Change the row's id.")
        ids.add(row.id)
    return replace(table, rows=table.rows + own.rows)


def parse(text: str, name: str, *, local: bool = False) -> Table:
    """Read a table from TOML text, which errors call ``name``. Raises `UsageError` if it is not valid."""
    try:
        document = documents.read_toml(text)
        certificates = {entry["number"]: Certificate(**entry) for entry in document.get("certificate", [])}
        rows = tuple(_row(entry, certificates, local=local) for entry in document["module"])
        native = tuple(_native_row(entry, certificates) for entry in document.get("native", []))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"{name} is not a table of modules: {reason}.", "Make rows with 'modules learn'.") from error
    if local and certificates:
        raise UsageError(
            f"{name} has certificates, which local rows must not have.", "State who vouches in claimed_by instead."
        )
    if local and native:
        raise UsageError(
            f"{name} has versions of Go's native module, which local tables cannot.",
            "Make a reference of it with 'modules learn --native'.",
        )
    if not rows:
        raise UsageError(f"{name} has no rows.", "Make rows with 'modules learn'.")
    day = document.get("date")
    if not local and not isinstance(day, date):
        raise UsageError(f"{name} has no date.", "State the day of the list of certificates.")
    return Table(rows, tuple(certificates.values()), native, dated=day if isinstance(day, date) else date.min)


def _native_row(entry: dict[str, Any], certificates: Mapping[int, Certificate]) -> NativeRow:
    numbers = entry.get("certificates", [])
    row = NativeRow(**{**entry, "certificates": tuple(certificates[number] for number in numbers)})
    if not re.fullmatch(r"[0-9a-f]{64}", row.source) or (row.validation == "validated") != bool(row.certificates):
        raise ValueError(f"{row.version}: source is not a SHA-256 digest, or validation does not fit the certificates")
    return row


def _row(entry: dict[str, Any], certificates: Mapping[int, Certificate], *, local: bool) -> Row:
    fields = dict(entry)
    numbers = fields.pop("certificates", [])
    if local and numbers:
        raise ValueError(f"{entry['id']} names certificates, which local rows must not have")
    if local and not str(fields.get("claimed_by", "")).strip():
        raise ValueError(f"{entry['id']} has no claimed_by")
    unknown = [number for number in numbers if number not in certificates]
    if unknown:
        raise ValueError(f"{entry['id']} names certificate {unknown[0]}, which is not described")
    row = Row(
        **{
            **fields,
            "digest": bytes.fromhex(fields["digest"]),
            "head": bytes.fromhex(fields["head"]),
            "seen_in": tuple(fields.get("seen_in", ())),
            "certificates": tuple(certificates[number] for number in numbers),
            "row": "local" if local else "shipped",
        }
    )
    _check(row)
    return row


def _check(row: Row) -> None:
    if not row.id.strip():
        raise ValueError("a row has no id")
    if _ALGORITHMS.get(row.algorithm) != len(row.digest):
        raise ValueError(f"{row.id}: the digest does not fit {row.algorithm!r}")
    if len(row.head) != HEAD:
        raise ValueError(f"{row.id}: head is not {HEAD} bytes")
    if not HEAD <= row.text_length <= _MAX_TEXT or row.digest_offset < row.text_length:
        raise ValueError(f"{row.id}: text_length or digest_offset is out of range")
    if row.digest_offset > _MAX_TEXT or not 0 <= row.object_before <= row.object_length <= _MAX_TEXT:
        raise ValueError(f"{row.id}: object_before or object_length is out of range")
    if not row.entry_points:
        raise ValueError(f"{row.id}: no entry points, so no call could be found")
    if not all(0 <= offset < row.text_length for offset in row.entry_points.values()):
        raise ValueError(f"{row.id}: an entry point is outside the text")


def emit(rows: Sequence[Row]) -> str:
    """Return rows as TOML, the same text for the same rows."""
    return "\n".join(_emit(row) for row in rows)


def _emit(row: Row) -> str:
    lines = [
        "[[module]]",
        f"id = {_quoted(row.id)}",
        f"name = {_quoted(row.name)}",
        f"commit = {_quoted(row.commit)}",
        f"tag = {_quoted(row.tag)}",
        f"architecture = {_quoted(row.architecture)}",
        f"text_length = {row.text_length:#x}",
        f"algorithm = {_quoted(row.algorithm)}",
        f"digest = {_quoted(row.digest.hex())}",
        f"digest_offset = {row.digest_offset:#x}",
        f"head = {_quoted(row.head.hex())}",
        f"object_before = {row.object_before:#x}",
        f"object_length = {row.object_length:#x}",
        f"seen_in = [{', '.join(map(_quoted, row.seen_in))}]",
    ]
    if row.claimed_by:
        lines.append(f"claimed_by = {_quoted(row.claimed_by)}")
    if row.certificates:
        lines.append(f"certificates = [{', '.join(str(item.number) for item in row.certificates)}]")
    lines += ["", "[module.entry_points]"]
    lines += [f"{_key(name)} = {offset:#x}" for name, offset in sorted(row.entry_points.items())]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    """Return a TOML key, quoted if needed: compilers name parts of functions with dots, which separate keys."""
    return name if _BARE_KEY.fullmatch(name) else _quoted(name)


def _quoted(text: str) -> str:
    """Return a TOML basic string."""
    escaped = "".join(
        f"\\u{ord(c):04x}" if ord(c) < 0x20 or ord(c) == 0x7F else {'"': '\\"', "\\": "\\\\"}.get(c, c) for c in text
    )
    return f'"{escaped}"'
