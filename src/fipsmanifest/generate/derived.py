"""Check a generated manifest without its artifacts: everything that follows from its facts is derived again.

A manifest consists of facts (files and what was found in them, the platforms of images), which only inspecting the
artifacts can give, and of what `assemble` derives from these facts, the definition and the table of modules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import Refused
from ..inspect.artifacts import InspectedArtifact
from ..inspect.table import Row, Table
from ..model import manifest
from ..model.artifact import Artifact
from ..model.definition import Definition
from ..model.finding import CryptoFacts, DetectedModule, ElfFacts, Finding, GoFacts, native_module
from .assemble import ANY, Describe, assemble
from .modules import describer


def underivable(
    document: manifest.Manifest,
    definition: Definition,
    artifacts: Sequence[Artifact],
    table: Table,
    tool: manifest.Tool,
    source_date_epoch: int | None,
) -> list[str]:
    """Return the keys of ``document`` whose values do not follow from its own facts and the other arguments.

    The artifacts are compared with the lock by the caller. Raises `Refused` as `assemble` does, if a component has not
    what is required of it, and for an image that is not what was pinned.
    """
    for artifact in artifacts:
        _check_image(artifact)
    inspected = [found for artifact in sorted(artifacts, key=_order) for found in _inspected(document, artifact)]
    again = assemble(definition, inspected, _describer(document, table), tool, source_date_epoch)
    stated, derived = document.document(), again.document()
    return sorted(key for key in stated.keys() | derived.keys() if stated.get(key) != derived.get(key))


def _order(artifact: Artifact) -> tuple[str, str, str]:
    return artifact.kind, artifact.address, artifact.name


def _check_image(artifact: Artifact) -> None:
    """Refuse an image whose index, or only manifest, is not the document whose digest the lock has."""
    if artifact.kind != "image":
        return
    pinned = f"sha256:{artifact.sha256}"
    manifests = [platform.manifest.digest for platform in artifact.platforms]
    if pinned != artifact.index and (artifact.index is not None or manifests != [pinned]):
        raise Refused(
            f"{artifact.name} is pinned as {pinned}, and the list of artifacts has "
            f"{artifact.index or ', '.join(manifests) or 'no platform'}.",
            "Generate it again; if the error remains, do not sign it.",
            reason="lock-differs",
        )


def _inspected(document: manifest.Manifest, artifact: Artifact) -> Iterator[InspectedArtifact]:
    """Yield an artifact, or each platform of an image, with the files that ``document`` has of it."""
    modules = document.modules
    if artifact.kind != "image":
        files = [item for item in document.files if item.source == artifact.name]
        yield InspectedArtifact(artifact, artifact.architecture or ANY, None, _findings(files, modules))
        return
    for platform in artifact.platforms:
        files = [
            item
            for image in document.images
            if image.reference == artifact.name
            for found in image.platforms
            if found.architecture == platform.architecture
            for item in found.files
        ]
        yield InspectedArtifact(artifact, platform.architecture, platform, _findings(files, modules))


def _findings(files: Iterable[manifest.File], modules: Mapping[str, manifest.Module]) -> tuple[Finding, ...]:
    return tuple(_finding(item, modules) for item in files)


def _finding(item: manifest.File, modules: Mapping[str, manifest.Module]) -> Finding:
    # Of the ELF header a manifest has the architecture alone, and nothing else of it is written again.
    machine = item.architecture if item.crypto and item.architecture != ANY else None
    crypto, go = item.crypto, item.go
    return Finding(
        path=item.path,
        type=item.type,
        mode=int(item.mode, 8),
        sha256=item.sha256,
        size=item.size,
        role=item.role,
        target=item.target,
        elf=ElfFacts(64, machine, "exec") if machine else None,
        go=GoFacts(go.version, go.path, go.module, go.settings) if go else None,
        crypto=CryptoFacts(crypto.verdict, _seen(crypto.module, modules), crypto.evidence) if crypto else None,
    )


def _seen(identifier: str | None, modules: Mapping[str, manifest.Module]) -> DetectedModule | None:
    if identifier is None:
        return None
    found = modules.get(identifier)
    if found is None:
        raise Refused(f"The manifest does not describe the module {identifier}.", "Generate it again.")
    return DetectedModule(
        identifier, found.name, found.algorithm, found.digest, found.architecture, found.row, found.commit
    )


def _describer(document: manifest.Manifest, table: Table) -> Describe:
    """Describe modules from the table. Whose claim a user's own row is, only the machine that has the row knows."""
    describe = describer(table)

    def described(seen: DetectedModule) -> manifest.Module:
        known = table.row(seen.id) or _native(seen, table)
        if (seen.row == "shipped" or isinstance(known, DetectedModule)) and (
            known is None or _identity(known) != _identity(seen)
        ):
            raise Refused(
                f"The module {seen.id} is not described as the table of modules has it.", "Generate it again."
            )
        module = describe(seen)
        if seen.row != "local" or isinstance(known, Row):
            return module
        return module.model_copy(update={"claimed_by": document.modules[seen.id].claimed_by})

    return described


def _native(seen: DetectedModule, table: Table) -> DetectedModule | None:
    """Return Go's native module as the table has it; None for a version that is not in it, and for other modules."""
    found = (native_module(item.version, item.source, seen.architecture, seen.row) for item in table.native)
    return next((item for item in found if item.id == seen.id), None)


def _identity(module: Any) -> tuple[str, str, str, str, str | None, str | None]:
    """Return what a row and a module seen in a file have in common."""
    digest = module.digest.hex() if isinstance(module.digest, bytes) else module.digest
    return module.name, module.algorithm, digest, module.architecture, module.row, module.commit or None
