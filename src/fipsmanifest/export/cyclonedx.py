"""CycloneDX 1.6 (ECMA-424) with a cryptography bill of materials: file -> module -> algorithms. Pure.

A program is a component of type ``file`` that depends on its module, a ``library`` that provides algorithms, which are
``cryptographic-asset`` components. An algorithm is listed for modules of the shipped table only, if their digest is the
table's; its ``certificationLevel`` comes from the certificates that the document names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..inspect import table
from ..inspect.table import Row, Table
from ..model.manifest import Manifest, Module
from . import algorithms
from .documents import Inspection, Source
from .identity import CERTIFICATES, identifier, visible
from .programs import Program, gate_passed, modules, programs
from .settings import Settings
from .text import Record, record, write_json

_PLATFORMS = {"x86_64": "x86_64", "aarch64": "armv8-a", "ppc64le": "ppc64le", "s390x": "s390x"}
_MODULE_DIGEST = {"hmac-sha256": "HMAC-SHA-256", "hmac-sha512": "HMAC-SHA-512"}


def render(source: Source, settings: Settings) -> str:
    """Return the bill of materials of a manifest or an inspection."""
    found, version = _Found(source), settings.specification
    # Two documents do not have one serial number.
    name = "cyclonedx" if version == "1.6" else f"cyclonedx-{version}"
    document: dict[str, Any] = {
        "$schema": f"http://cyclonedx.org/schema/bom-{version}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": version,
        "serialNumber": f"urn:uuid:{identifier(source, name, settings.tool_version)}",
        "version": 1,
        "metadata": _metadata(source, settings),
        "components": found.components,
        "dependencies": found.dependencies,
    }
    if _is_incomplete(source):
        document["compositions"] = [{"aggregate": "incomplete", "assemblies": [_ROOT]}]
    return write_json(document, depth=2)


_ROOT = "document"


class _Found:
    """The components and their dependencies."""

    def __init__(self, source: Source) -> None:
        self.components: list[Record] = []
        self.dependencies: list[Record] = []
        self._table = table.load()
        known = modules(source)
        files = self._files(source, known)
        for name, module in known.items():
            self._module(name, module)
        self.dependencies.insert(0, record({"ref": _ROOT, "dependsOn": files}))

    def _files(self, source: Source, known: Mapping[str, Module]) -> list[str]:
        refs = []
        for number, program in enumerate(programs(source), 1):
            ref = f"file-{number}"
            refs.append(ref)
            self.components.append(record(_file(ref, program)))
            needed = [_module_ref(program.module)] if program.module in known and program.module else []
            self.dependencies.append(record({"ref": ref, "dependsOn": needed}))
        return refs

    def _module(self, name: str, module: Module) -> None:
        ref = _module_ref(name)
        row = _shipped(self._table, name, module)
        provided = []
        for algorithm in algorithms.of_module(row) if row is not None else ():
            provided.append(f"{ref}/{algorithm.name}")
            self.components.append(record(_algorithm(provided[-1], algorithm, module, self._table)))
            self.dependencies.append(record({"ref": provided[-1]}))
        self.components.append(record(_library(ref, name, module)))
        self.dependencies.append(record({"ref": ref, "provides": provided} if provided else {"ref": ref}))


def _module_ref(name: str) -> str:
    return f"module/{visible(name)}"


def _shipped(known: Table, name: str, module: Module) -> Row | None:
    """Return the table's row of a module, if the document's digest is that row's: its id alone proves nothing."""
    row = known.row(name)
    return row if row is not None and row.digest.hex() == module.digest else None


def _metadata(source: Source, settings: Settings) -> dict[str, Any]:
    document = source.document
    component: dict[str, Any] = {"bom-ref": _ROOT, "type": "platform", "name": "inspection"}
    found = {"document-sha256": source.sha256, "signature": source.signature.state}
    if source.signature.fingerprint:
        found |= {"signed-by": source.signature.fingerprint, "signed-at": source.signature.signed_at or ""}
    if isinstance(document, Manifest):
        component |= {"name": "kubernetes", "version": f"{document.kubernetes}+{document.build_metadata}"}
        found |= {"el": str(document.el), "serial": str(document.serial), "manifest": document.name or ""}
        found |= {"expires": document.expires or ""}
    elif isinstance(document, Inspection):
        gate = document.gate
        found["gate"] = "none" if gate is None else "passed" if gate_passed(source) else "not passed"
    metadata: dict[str, Any] = {
        "tools": {"components": [{"type": "application", "name": "fipsmanifest", "version": settings.tool_version}]},
        "component": component,
        "properties": _properties({key: value for key, value in found.items() if value}),
    }
    if isinstance(document, Inspection):
        metadata["properties"] += [
            _property("unopened", json.dumps(item.model_dump(exclude_none=True), sort_keys=True))
            for item in document.unopened
        ]
    if source.date is not None:
        metadata["timestamp"] = source.date
    return metadata


def _is_incomplete(source: Source) -> bool:
    document = source.document
    return isinstance(document, Inspection) and bool(document.unopened or document.errors or not document.files)


def _file(ref: str, program: Program) -> dict[str, Any]:
    found = {
        "verdict": str(program.verdict),
        "code": program.code,
        "reason": program.sentence,
        "component": program.component or "",
        "container": program.container or "",
        "architecture": program.architecture or "",
        "go": program.go or "",
        "evidence": json.dumps(program.evidence, sort_keys=True),
    }
    component: dict[str, Any] = {
        "bom-ref": ref,
        "type": "file",
        "name": visible(program.path),
        "properties": _properties({key: value for key, value in found.items() if value}),
    }
    beside = program.evidence.get("beside_module")
    if isinstance(beside, list):
        component["properties"] += [_property("beside-module", str(name)) for name in beside]
    if program.sha256 is not None:
        component["hashes"] = [{"alg": "SHA-256", "content": program.sha256}]
    return component


def _library(ref: str, name: str, module: Module) -> dict[str, Any]:
    certificates = module.certificates or []
    found = {
        "id": name,
        "architecture": module.architecture,
        "integrity": f"{_MODULE_DIGEST.get(module.algorithm, module.algorithm)} {module.digest}",
        "table": module.row or "none",
        "claimed-by": module.claimed_by or "",
    }
    rows = _properties({key: value for key, value in found.items() if value})
    for certificate in certificates:
        since = f", historical since {certificate.historical_since}" if certificate.historical_since else ""
        rows.append(
            _property("certificate", f"{certificate.standard} {certificate.number} ({certificate.holder}){since}")
        )
    component: dict[str, Any] = {"bom-ref": ref, "type": "library", "name": visible(module.name), "properties": rows}
    if module.commit:
        component["version"] = visible(module.commit)
    if certificates:
        component["externalReferences"] = [
            {"type": "certification-report", "url": f"{CERTIFICATES}{certificate.number}"}
            for certificate in _unique(certificates)
        ]
    return component


def _algorithm(ref: str, algorithm: algorithms.Algorithm, module: Module, known: Table) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "primitive": algorithm.primitive,
        "cryptoFunctions": list(algorithm.functions),
        "certificationLevel": sorted(_levels(module, known)) or ["unknown"],
    }
    if module.architecture in _PLATFORMS:
        properties["implementationPlatform"] = _PLATFORMS[module.architecture]
    return {
        "bom-ref": ref,
        "type": "cryptographic-asset",
        "name": algorithm.name,
        "cryptoProperties": {"assetType": "algorithm", "algorithmProperties": properties},
    }


def _levels(module: Module, known: Table) -> Iterator[str]:
    """Yield CycloneDX's names for the certificates that the document names, if the table has their level."""
    levels = {item.number: item.level for item in known.certificates}
    for certificate in _unique(module.certificates or []):
        level = levels.get(certificate.number)
        standard = certificate.standard.lower().replace("fips ", "fips")
        if level is not None and standard in ("fips140-2", "fips140-3"):
            yield f"{standard}-l{level}"


def _unique(certificates: Sequence[Any]) -> list[Any]:
    return list({certificate.number: certificate for certificate in certificates}.values())


def _properties(found: Mapping[str, str]) -> list[dict[str, str]]:
    return [_property(name, value) for name, value in found.items()]


def _property(name: str, value: str) -> dict[str, str]:
    return {"name": f"fipsmanifest:{name}", "value": visible(value)}
