"""What a manifest says of a module: the table's row, apart from the certificates that cover it."""

from __future__ import annotations

from .. import manifest
from ..inspect.finding import SeenModule
from ..inspect.table import Table
from .assemble import Describe


def describer(table: Table) -> Describe:
    """Give what describes a recognised module by ``table``."""
    rows = {row.id: row for row in table.rows}

    def describe(seen: SeenModule) -> manifest.Module:
        row = rows.get(seen.id)
        certificates = None
        if row is not None and row.row == "shipped" and row.certificates:
            certificates = [
                manifest.Certificate(
                    number=item.number,
                    standard=item.standard,
                    holder=item.holder,
                    historical_since=item.historical_since.isoformat() if item.historical_since else None,
                )
                for item in row.certificates
            ]
        return manifest.Module(
            name=seen.name,
            algorithm=seen.algorithm,
            digest=seen.digest,
            architecture=seen.architecture,
            commit=seen.commit,
            row=seen.row,
            certificates=certificates,
            claimed_by=row.claimed_by if row is not None and row.row == "local" else None,
        )

    return describe
