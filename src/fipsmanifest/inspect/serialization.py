"""The JSON forms of findings and modules: entries of ``files[]`` and ``modules{}`` of a manifest."""

from __future__ import annotations

from typing import Any

from ..model.finding import CryptoFacts, DetectedModule, Finding, GoFacts
from .table import Row, Table

#: Build settings that matter for cryptography or identify the source; the others differ between machines of builders.
SETTINGS_THAT_MATTER = frozenset(
    {
        "-buildmode",
        "-compiler",
        "-tags",
        "-trimpath",
        "CGO_ENABLED",
        "DefaultGODEBUG",
        "GOAMD64",
        "GOARCH",
        "GOARM64",
        "GOEXPERIMENT",
        "GOFIPS140",
        "GOOS",
        "vcs.modified",
        "vcs.revision",
        "vcs.time",
    }
)


def to_json(finding: Finding) -> dict[str, Any]:
    """Return the manifest's entry for a finding. Keys that do not apply are absent; ``mode`` has octal digits."""
    entry: dict[str, Any] = {
        "path": finding.path,
        "type": finding.type,
        "role": finding.role,
        "mode": f"{finding.mode:04o}",
        "sha256": finding.sha256,
        "size": finding.size,
        "target": finding.target,
        "architecture": finding.elf.machine if finding.elf else None,
        "go": _go(finding.go) if finding.go else None,
        "crypto": _crypto(finding.crypto) if finding.crypto else None,
    }
    return {key: value for key, value in entry.items() if value is not None}


def module_to_json(module: DetectedModule, table: Table) -> dict[str, Any]:
    """Return the manifest's entry for a module: the row of the table, with certificates for a shipped row only.

    Keys that do not apply are absent.
    """
    row = table.row(module.id)
    shipped = row.certificates if row is not None and row.row == "shipped" else ()
    native = next((item for item in table.native if item.source == module.digest and module.row == "shipped"), None)
    if native is not None:
        shipped = native.certificates
    certificates = [
        {
            "number": item.number,
            "standard": item.standard,
            "holder": item.holder,
            **({"historical_since": item.historical_since.isoformat()} if item.historical_since else {}),
        }
        for item in shipped
    ]
    entry = {
        "name": module.name,
        "algorithm": module.algorithm,
        "digest": module.digest,
        "architecture": module.architecture,
        "commit": module.commit,
        "row": module.row,
        "certificates": certificates or None,
        "claimed_by": _claimed_by(module, row, table),
        "validation": native.validation if native is not None and not native.certificates else None,
    }
    return {key: value for key, value in entry.items() if value is not None}


def _claimed_by(seen: DetectedModule, row: Row | None, table: Table) -> str | None:
    """Return who vouches for a local row, or for the references of a module that do not ship."""
    if row is not None:
        return row.claimed_by if row.row == "local" else None
    if seen.row != "local":
        return None
    return table.references.claimed_by(seen.digest)


def _go(go: GoFacts) -> dict[str, Any]:
    settings = {key: go.settings[key] for key in sorted(go.settings) if key in SETTINGS_THAT_MATTER}
    entry = {"version": go.version, "path": go.path, "module": go.module, "settings": settings or None}
    return {key: value for key, value in entry.items() if value is not None}


def _crypto(crypto: CryptoFacts) -> dict[str, Any]:
    entry: dict[str, Any] = {"verdict": str(crypto.verdict), "evidence": dict(crypto.evidence)}
    if crypto.module:
        entry["module"] = crypto.module.id
    if crypto.callers is not None:
        entry["callers"] = {
            package: {"functions": list(found.functions), "more": found.more}
            for package, found in sorted(crypto.callers.items())
        }
    return entry
