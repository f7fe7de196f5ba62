"""``fipsmanifest modules``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..errors import Incomplete, UsageError
from ..inspect import learn as learning
from ..inspect.native import learn as learn_native
from ..inspect.native.library import SUFFIX
from ..inspect.native.reference import Origin, encode
from ..inspect.native.sources import snapshots
from ..inspect.table import Certificate, NativeRow, Table, emit, extended, load
from ..model.finding import IN_PROCESS
from ..state import durable
from ..trust.store import load_trust
from ..workflows import certificate_update, certificates, verification
from . import options, output
from .columns import Column
from .verbs import group

app = group("modules")


_ROWS = (
    Column("id", 28, middle=True),
    Column("architecture", 12, rank=2),
    Column("digest", 16, rank=3),
    Column("certificates", 24),
    Column("seen in", 12, rank=1),
)
_NATIVE = (
    Column("native module", 13),
    Column("source", 16, rank=2),
    Column("validation", 24),
    Column("references of toolchains", 16, rank=1),
)
_CERTIFICATES = (
    Column("certificate", 11),
    Column("module", 16),
    Column("standard", 10, rank=1),
    Column("status", 27),
    Column("confidence", 10, rank=3),
    Column("in the table", 12, rank=2),
)


@app.command("list")
def list_(modules: options.Modules = None, references: options.References = None, json: options.Json = False) -> None:
    """List the modules that can be proven, and the status of their certificates today."""
    table = certificates.load(modules, references)
    today = datetime.now(UTC).date()
    if json:
        output.write_json(_document(table, today))
    else:
        _print(table, today)


def _document(table: Table, today: date) -> dict[str, Any]:
    """Return the JSON document of `list_`."""
    listed: list[dict[str, Any]] = [
        {
            "id": row.id,
            "name": row.name,
            "commit": row.commit,
            "tag": row.tag,
            "architecture": row.architecture,
            "text_length": row.text_length,
            "algorithm": row.algorithm,
            "digest": row.digest.hex(),
            "digest_offset": row.digest_offset,
            "head": row.head.hex(),
            "entry_points": dict(row.entry_points),
            "row": row.row,
            "claimed_by": row.claimed_by or None,
            "seen_in": list(row.seen_in),
            "certificates": [_certificate(item, today) for item in row.certificates],
        }
        for row in table.rows
    ]
    return {
        "schema": "fipsmanifest/modules/v1",
        "day": today.isoformat(),
        "table": _table(table),
        "modules": listed,
        "native": [_native(row, table, today) for row in table.native],
        "certificates": [_certificate(item, today) for item in table.certificates],
    }


def _print(table: Table, today: date) -> None:
    """Print the modules, then the native ones, then the certificates."""
    output.table(
        _ROWS,
        [
            [
                row.id,
                row.architecture,
                row.digest.hex()[:16],
                _listed(row.certificates, today)
                or (f"none; claimed by {row.claimed_by}" if row.claimed_by else "none known"),
                ", ".join(row.seen_in),
            ]
            for row in table.rows
        ],
    )
    output.write()
    output.table(
        _NATIVE,
        [
            [
                row.version,
                row.source[:16],
                _listed(row.certificates, today)
                or (IN_PROCESS if row.validation == "in-process" else "no certificate"),
                ", ".join(sorted({origin.go for origin in _origins(row, table)})) or "none",
            ]
            for row in table.native
        ],
    )
    output.write()
    covered = {item.number for row in table.rows for item in row.certificates}
    covered |= {item.number for row in table.native for item in row.certificates}
    output.table(
        _CERTIFICATES,
        [
            [
                str(item.number),
                item.module,
                item.standard,
                item.standing(today),
                item.confidence,
                "yes" if item.number in covered else "no",
            ]
            for item in table.certificates
        ],
    )
    output.write()
    output.write(_about(table))
    output.write("That a module is recognised is evidence, not a certification.")
    output.write(table.on_140_2(today))


def _listed(found: Iterable[Certificate], today: date) -> str:
    return ", ".join(f"{item.number} ({item.standard}, {item.status(today)})" for item in found)


def _table(table: Table) -> dict[str, Any]:
    """Return where the certificates come from."""
    origin = table.origin
    return {
        "date": table.dated.isoformat(),
        "source": "shipped" if origin is None else origin.source,
        "serial": None if origin is None else origin.serial,
        "signed_by": None if origin is None else origin.signed_by,
        "signed_at": None if origin is None else origin.signed_at,
    }


def _about(table: Table) -> str:
    if (origin := table.origin) is None:
        return f"Table of certificates of {table.dated}, which this version brings."
    return (
        f"Table of certificates of {table.dated}, serial {origin.serial}, from {output.one_line(origin.source)}, "
        f"signed {origin.signed_at} by {origin.signed_by}."
    )


@app.command()
def update(
    ctx: typer.Context,
    table: Annotated[
        str, typer.Argument(metavar="FILE-or-URL", help="A signed table of certificates, with its .asc beside it.")
    ],
    keys: options.Keys = options.KEYS,
    fingerprint: Annotated[str | None, typer.Option(metavar="FPR", help="Accept this key only.")] = None,
    ca_bundle: options.CaBundle = None,
    allow_http: options.AllowHttp = False,
    json: options.Json = False,
) -> None:
    """Verify a newer table of certificates, and keep it for 'inspect', 'audit' and 'modules list'.

    It must be signed by a key with the role modules. It can add certificates to known modules and change their dates;
    no module, digest or verdict depends on it. An older table than the one before is refused.
    """
    if "://" not in table:
        options.refuse_ignored(ctx, {"ca_bundle": "--ca-bundle", "allow_http": "--allow-http"}, "for a path")
    trust = load_trust(str(keys))
    document = verification.read(
        table,
        ca_bundle=ca_bundle,
        allow_http=allow_http,
        detached=True,
        advice="Name a table of certificates, with its .asc beside it.",
    )
    done = certificate_update.update(document, trust, fingerprint)
    if json:
        form = {"schema": "fipsmanifest/modules-update/v1", "changed": done.changed, "table": _table(done.table)}
        output.write_json(form)
        return
    output.write(_about(done.table))
    output.write("It is used from now on." if done.changed else "It was in use already.")


def _origins(row: NativeRow, table: Table) -> list[Origin]:
    """Return what the references of a version of the native module were made of."""
    places = (place for _, place in sorted(table.references.places.items()))
    return [place.origin for place in places if place.origin.source == row.source]


def _native(row: NativeRow, table: Table, today: date) -> dict[str, Any]:
    return {
        "version": row.version,
        "name": row.name,
        "source": row.source,
        "validation": row.validation,
        "certificates": [_certificate(item, today) for item in row.certificates],
        "references": [asdict(origin) for origin in _origins(row, table)],
    }


def _certificate(item: Certificate, today: date) -> dict[str, Any]:
    return {
        "number": item.number,
        "module": item.module,
        "standard": item.standard,
        "holder": item.holder,
        "level": item.level,
        "historical_since": item.historical_since.isoformat() if item.historical_since else None,
        "sunset": item.sunset.isoformat() if item.sunset else None,
        "status": item.status(today),
        "confidence": item.confidence,
        "source": item.source,
    }


@app.command()
def learn(
    ctx: typer.Context,
    claimed_by: Annotated[
        str, typer.Option("--claimed-by", metavar="WHO", help="Who claims that this is a validated module.")
    ],
    object_: Annotated[
        Path | None,
        typer.Argument(metavar="[OBJECT]", help="The goboringcrypto_linux_ARCH.syso of a trusted toolchain."),
    ] = None,
    id_: Annotated[str, typer.Option("--id", metavar="ID", help="Name of the new row; for OBJECT.")] = "",
    name: Annotated[str, typer.Option("--name", metavar="TEXT", help="Name of the module.")] = "BoringCrypto",
    commit: Annotated[str, typer.Option("--commit", metavar="SHA", help="BoringSSL commit, if known.")] = "",
    tag: Annotated[str, typer.Option("--tag", metavar="TAG", help="BoringSSL tag, if known.")] = "",
    seen_in: Annotated[
        list[str] | None,
        typer.Option("--seen-in", metavar="GO", help="A Go toolchain that contains the module. Repeatable."),
    ] = None,
    native: Annotated[
        Path | None,
        typer.Option(
            "--native",
            metavar="GOROOT",
            help="Instead of OBJECT: the root of a trusted Go release, whose native FIPS module is compiled.",
        ),
    ] = None,
    output_: Annotated[
        Path, typer.Option("--output", metavar="DIR", help="For --native: where to write, for --references.")
    ] = Path("references"),
    architecture: Annotated[
        Literal["x86_64", "aarch64"], typer.Option("--architecture", help="For --native: what to compile for.")
    ] = "x86_64",
    level: Annotated[
        str, typer.Option("--level", metavar="LEVEL", help="For --native: GOAMD64 or GOARM64.  [default: v1, v8.0]")
    ] = "",
    experiments: Annotated[str, typer.Option("--experiments", metavar="LIST", help="For --native: GOEXPERIMENT.")] = "",
    json: options.Json = False,
) -> None:
    """Derive a row for --modules or, with --native, references for --references, from a trusted toolchain.

    A row is printed. References say what each function of Go's native module is once this toolchain has compiled it.
    """
    if native is not None:
        row_options = {"object_": "OBJECT", "id_": "--id", "name": "--name", "commit": "--commit", "tag": "--tag"}
        options.refuse_ignored(ctx, {**row_options, "seen_in": "--seen-in"}, "with --native")
        if not claimed_by.strip():
            raise UsageError("--claimed-by is empty.", "Name who vouches that the reference is of a reviewed module.")
        request = (architecture, level or _LEVELS[architecture], experiments)
        _learn_native(native, request, claimed_by, output_, json=json)
        return
    ignored = {"output_": "--output", "architecture": "--architecture", "level": "--level"}
    options.refuse_ignored(ctx, {**ignored, "experiments": "--experiments"}, "without --native")
    if object_ is None:
        raise UsageError("OBJECT is missing.", "Name a toolchain's module object, or its root with --native.")
    for option, value in (("--id", id_), ("--claimed-by", claimed_by)):
        if not value.strip():
            raise UsageError(
                f"{option} is empty.",
                "Name the row by --id, and who claims that the module is validated by --claimed-by.",
            )
    row = learning.learn(object_, learning.Provenance(id_, name, commit, tag, tuple(seen_in or ()), claimed_by))
    text = emit([row])
    # Check that --modules accepts the row.
    extended(load(), text, "The new row")
    if json:
        output.write_json({"schema": "fipsmanifest/modules-learn/v1", "id": id_, "toml": text})
    else:
        output.write(text.rstrip("\n"))


_LEVELS = {"x86_64": "v1", "aarch64": "v8.0"}


def _learn_native(root: Path, request: tuple[str, str, str], claimed_by: str, directory: Path, *, json: bool) -> None:
    """Write a reference of each version of the native module that a toolchain has."""
    architecture, level, experiments = request
    written = []
    with tempfile.TemporaryDirectory(prefix="fipsmanifest-") as cache:
        for snapshot in snapshots(root, {row.version: row.source for row in load().native}):
            target = learn_native.Target(snapshot.version, architecture, level, experiments)
            made = learn_native.learn(root, snapshot, target, cache=Path(cache), claimed_by=claimed_by)
            path = directory / f"{made.origin.go}-{architecture}-{level}-{snapshot.version}{SUFFIX}"
            try:
                durable.make_directory(directory)
            except OSError as error:
                raise Incomplete(f"{directory} cannot be made: {error.strerror}.", "Name another --output.") from error
            durable.write(path, encode([made]))
            written.append({"file": str(path), "digest": made.digest, **asdict(made.origin)})
    if json:
        output.write_json({"schema": "fipsmanifest/modules-learn/v1", "references": written})
        return
    for item in written:
        output.write(f"{item['file']}: {item['module']} by {item['go']}, reference {item['digest']}")
