"""The table of known modules: ``modules.toml`` as it ships, and a user's own rows in the same form."""

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
"""Bytes of a module's text that it is found by."""

_SHIPPED = Path(__file__).with_name("modules.toml")
_ALGORITHMS = {"hmac-sha256": 32, "hmac-sha512": 64}
_LARGEST_TEXT = 16 << 20
#: TOML 1.0, "Keys".
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate of the Cryptographic Module Validation Program."""

    number: int
    """As NIST lists it."""
    module: str
    """The module's name and version on the certificate."""
    standard: Literal["FIPS 140-2", "FIPS 140-3"]
    """What it was validated against."""
    holder: str
    """The vendor."""
    source: str
    """Where this can be looked up."""
    confidence: Literal["high", "medium", "low"]
    """How sure it is that number, module and standard belong together."""
    level: int | None = None
    """Overall security level, where it is known."""
    historical_since: date | None = None
    """The day on which it moved to the historical list at the latest."""
    sunset: date | None = None
    """The day on which it is to move there, where that is known and yet to come."""

    def status(self, day: date) -> Literal["active", "historical"]:
        """Say what the certificate is on a day; never stored, since it changes without any new fact."""
        end = self.historical_since or self.sunset
        return "historical" if end and day >= end else "active"

    def standing(self, day: date) -> str:
        """Say the same in words, with the day that it rests on."""
        end = self.historical_since or self.sunset
        if end is None:
            return "active, its end is not known here"
        return f"{'active until' if day < end else 'historical since'} {end}"


@dataclass(frozen=True, slots=True)
class Row:
    """One validated module as it stands in an executable."""

    id: str
    """The name that manifests use."""
    name: str
    """What its makers call it."""
    commit: str
    """The BoringSSL commit that it was built from."""
    tag: str
    """The BoringSSL tag, empty where there is none."""
    architecture: str
    """RPM name."""
    text_length: int
    """Bytes from BORINGSSL_bcm_text_start to _end."""
    algorithm: str
    """``hmac-sha256`` or ``hmac-sha512``; the key is 64 zero bytes (BoringSSL, ``crypto/fipsmodule/bcm.c``)."""
    digest: bytes
    """The integrity digest over the text."""
    digest_offset: int
    """Where that digest is stored, counted from the text's start."""
    head: bytes
    """The text's first 64 bytes."""
    object_before: int
    """Bytes of the module's own object file that stand before the text in memory."""
    object_length: int
    """Bytes of that object's code in all: calls from within it show nothing."""
    entry_points: Mapping[str, int]
    """Functions that Go calls, by name, as offsets from the text's start."""
    seen_in: tuple[str, ...] = ()
    """Toolchains that it was taken from."""
    certificates: tuple[Certificate, ...] = ()
    """What covers it; always empty for local rows."""
    claimed_by: str = ""
    """Who vouches for a local row."""
    row: Literal["shipped", "local"] = "shipped"
    """Which table it comes from."""


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


@dataclass(frozen=True)
class Table:
    """All rows that modules are compared with, and the references of Go's native module."""

    rows: tuple[Row, ...]
    """Shipped ones first."""
    certificates: tuple[Certificate, ...] = field(default=())
    """All certificates that the shipped table knows, those without a row too."""
    native: tuple[NativeRow, ...] = ()
    """Versions of Go's native module."""
    references: Library = field(default_factory=Library, compare=False)
    """What toolchains compile of Go's native module."""

    def of(self, architecture: str) -> tuple[Row, ...]:
        """Give the rows for one architecture (RPM name)."""
        return tuple(row for row in self.rows if row.architecture == architecture)

    def row(self, identifier: str) -> Row | None:
        """Give the row of that id."""
        return next((row for row in self.rows if row.id == identifier), None)

    def native_row(self, version: str) -> NativeRow | None:
        """Return the row of a version of Go's native module; None for one that is not known."""
        return next((row for row in self.native if row.version == version), None)

    def on_140_2(self, day: date) -> str:
        """Say in a sentence where the FIPS 140-2 certificates stand on a day."""
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

    Raises `UsageError` where the user's file cannot be meant as a table: it must name ``claimed_by`` for each row
    and may carry no certificates.
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
        raise UsageError(f"{local} cannot be read: {error}.", "Name a file made by `modules learn`.") from error
    return extended(table, text, str(local))


def extended(table: Table, text: str, name: str) -> Table:
    """Give ``table`` with a user's own rows, which ``text`` has in TOML; ``name`` is what errors call it.

    Raises `UsageError` as `load`.
    """
    own = parse(text, name, local=True)
    taken = {row.id for row in table.rows}
    for row in own.rows:
        if row.id in taken:
            raise UsageError(f"{name} names {row.id}, which is a row already.", "Give the row another id.")
        taken.add(row.id)
    return replace(table, rows=table.rows + own.rows)


def parse(text: str, name: str, *, local: bool = False) -> Table:
    """Read a table from TOML text; ``name`` is what errors call it. Raises `UsageError` on any mistake in it."""
    try:
        document = documents.read_toml(text)
        certificates = {entry["number"]: Certificate(**entry) for entry in document.get("certificate", [])}
        rows = tuple(_row(entry, certificates, local=local) for entry in document["module"])
        native = tuple(_native_row(entry, certificates) for entry in document.get("native", []))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"{name} is not a table of modules: {reason}.", "Make rows with `modules learn`.") from error
    if local and certificates:
        raise UsageError(
            f"{name} carries certificates, which local rows cannot.", "Say who vouches in claimed_by instead."
        )
    if local and native:
        raise UsageError(
            f"{name} has versions of Go's native module, which local tables cannot.",
            "Make a reference of it with `modules learn --native`.",
        )
    if not rows:
        raise UsageError(f"{name} has no rows.", "Make rows with `modules learn`.")
    return Table(rows, tuple(certificates.values()), native)


def _native_row(entry: dict[str, Any], certificates: Mapping[int, Certificate]) -> NativeRow:
    numbers = entry.get("certificates", [])
    row = NativeRow(**{**entry, "certificates": tuple(certificates[number] for number in numbers)})
    if not re.fullmatch(r"[0-9a-f]{64}", row.source) or (row.validation == "validated") != bool(row.certificates):
        raise ValueError(f"{row.version}: the source or the validation cannot be")
    return row


def _row(entry: dict[str, Any], certificates: Mapping[int, Certificate], *, local: bool) -> Row:
    fields = dict(entry)
    numbers = fields.pop("certificates", [])
    if local and numbers:
        raise ValueError(f"{entry['id']} names certificates, which local rows cannot")
    if local and not str(fields.get("claimed_by", "")).strip():
        raise ValueError(f"{entry['id']} does not say claimed_by")
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
    if not HEAD <= row.text_length <= _LARGEST_TEXT or row.digest_offset < row.text_length:
        raise ValueError(f"{row.id}: text_length or digest_offset cannot be")
    if row.digest_offset > _LARGEST_TEXT or not 0 <= row.object_before <= row.object_length <= _LARGEST_TEXT:
        raise ValueError(f"{row.id}: the object's extent cannot be")
    if not row.entry_points:
        raise ValueError(f"{row.id}: no entry points, so no call could ever be seen")
    if not all(0 <= offset < row.text_length for offset in row.entry_points.values()):
        raise ValueError(f"{row.id}: an entry point lies outside the text")


def emit(rows: Sequence[Row]) -> str:
    """Write rows in the table's TOML form, the same text for the same rows."""
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
    """Give a TOML key: compilers name parts of functions with dots, which would divide it."""
    return name if _BARE_KEY.fullmatch(name) else _quoted(name)


def _quoted(text: str) -> str:
    """Give a TOML basic string."""
    escaped = "".join(
        f"\\u{ord(c):04x}" if ord(c) < 0x20 or ord(c) == 0x7F else {'"': '\\"', "\\": "\\\\"}.get(c, c) for c in text
    )
    return f'"{escaped}"'
