"""``fipsmanifest modules``."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import UsageError
from ..inspect import learn as learning
from ..inspect.table import Certificate, emit, extended, load
from . import options, output
from .verbs import VERBS

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, suggest_commands=False, help=VERBS["modules"].summary)


@app.command("list")
def list_(modules: options.Modules = None, json: options.Json = False) -> None:
    """List the modules that can be proven, and the status of their certificates today."""
    table = load(modules)
    today = datetime.now(UTC).date()
    if json:
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
        certificates = [_certificate(item, today) for item in table.certificates]
        output.write_json(
            {
                "schema": "fipsmanifest/modules/v1",
                "day": today.isoformat(),
                "modules": listed,
                "certificates": certificates,
            }
        )
        return
    output.table(
        ["id", "architecture", "digest", "certificates", "seen in"],
        [
            [
                row.id,
                row.architecture,
                row.digest.hex()[:16],
                ", ".join(f"{item.number} ({item.standard}, {item.status(today)})" for item in row.certificates)
                or (f"none; claimed by {row.claimed_by}" if row.claimed_by else "none known"),
                ", ".join(row.seen_in),
            ]
            for row in table.rows
        ],
    )
    output.write()
    covered = {item.number for row in table.rows for item in row.certificates}
    output.table(
        ["certificate", "module", "standard", "status", "confidence", "in the table"],
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
    output.write("That a module is recognised is evidence, not a certification.")
    output.write(table.on_140_2(today))


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
    object_: Annotated[
        Path, typer.Argument(metavar="OBJECT", help="The goboringcrypto_linux_ARCH.syso of a trusted toolchain.")
    ],
    id_: Annotated[str, typer.Option("--id", metavar="ID", help="Name of the new row.")],
    claimed_by: Annotated[
        str, typer.Option("--claimed-by", metavar="WHO", help="Who claims that this is a validated module.")
    ],
    name: Annotated[str, typer.Option("--name", metavar="TEXT", help="Name of the module.")] = "BoringCrypto",
    commit: Annotated[str, typer.Option("--commit", metavar="SHA", help="BoringSSL commit, if known.")] = "",
    tag: Annotated[str, typer.Option("--tag", metavar="TAG", help="BoringSSL tag, if known.")] = "",
    seen_in: Annotated[
        list[str] | None,
        typer.Option("--seen-in", metavar="GO", help="A Go toolchain that contains the module. Repeatable."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Print a row for --modules, derived from a trusted toolchain's module object."""
    for option, value in (("--id", id_), ("--claimed-by", claimed_by)):
        if not value.strip():
            raise UsageError(f"{option} is empty.", "A row needs an ID, and who claims that it is validated.")
    row = learning.learn(object_, learning.Provenance(id_, name, commit, tag, tuple(seen_in or ()), claimed_by))
    text = emit([row])
    # Check that --modules accepts the row.
    extended(load(), text, "The new row")
    if json:
        output.write_json({"schema": "fipsmanifest/modules-learn/v1", "id": id_, "toml": text})
    else:
        output.write(text.rstrip("\n"))
