"""Describe a verified manifest as the index and the page show it. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC

from ..model.diff import Difference, compare
from ..model.manifest import ComponentVerdict, File, Manifest, Module
from .consumer import StoredManifest
from .index import PublishedCertificate, PublishedComponent, PublishedManifest

#: The limits for the listed changes of a serial, in lines and characters; `fipsmanifest diff` prints all changes.
MAX_CHANGES = 12
MAX_CHANGE = 160

#: The longest value that a change shows, in characters; digests are longer.
_MAX_SHOWN = 40

#: Keys that differ between any two serials.
_ALWAYS_DIFFER = frozenset({"serial", "reason", "created"})


def describe(
    key: str, name: str, data: bytes, signed: StoredManifest, before: StoredManifest | None
) -> PublishedManifest:
    """Return the record of a verified manifest whose signed file is ``data``.

    ``before`` is the manifest of the highest lower serial that is published and verifies.
    """
    document = signed.document
    certificates = {
        PublishedCertificate(item.number, item.standard, item.holder, item.historical_since or "")
        for module in document.modules.values()
        for item in module.certificates or ()
    }
    modules = _modules_of_components(document)
    return PublishedManifest(
        key=key,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        kubernetes=document.kubernetes,
        name=name,
        el=document.el,
        serial=document.serial,
        created=document.created,
        expires=document.expires or "",
        signed_at=signed.signed_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        fingerprint=signed.fingerprint,
        reason=document.reason or "",
        tool_version=document.tool.version,
        tool_sha256=document.tool.sha256,
        components=tuple(
            _component(part, modules.get((part.name, part.architecture), [])) for part in document.components
        ),
        modules=tuple(sorted({module.name for module in document.modules.values()})),
        certificates=tuple(sorted(certificates, key=lambda item: (item.standard, item.number))),
        since=before.document.serial if before else 0,
        changes=_changes(before, signed) if before else (),
        signer=signed.signer,
    )


def _component(part: ComponentVerdict, modules: Sequence[Module]) -> PublishedComponent:
    return PublishedComponent(
        part.name,
        part.architecture,
        part.requirement,
        part.verdict,
        tuple(sorted({module.name for module in modules})),
        _certificates_of(modules),
        part.reason or "",
        tuple(sorted(module.name for module in modules if module.validation == "in-process")),
    )


def _modules_of_components(document: Manifest) -> dict[tuple[str, str], list[Module]]:
    """Return the modules in each component's programs, by component and architecture."""
    found: dict[tuple[str, str], dict[str, Module]] = {}

    def take(component: str | None, architecture: str | None, file: File) -> None:
        identifier = (file.crypto.module if file.crypto else None) or ""
        if identifier in document.modules:
            found.setdefault((component or "", architecture or ""), {})[identifier] = document.modules[identifier]

    for file in document.files:
        take(file.component, file.architecture, file)
    for image in document.images:
        for platform in image.platforms:
            for file in platform.files:
                take(image.component, platform.architecture, file)
    return {part: list(modules.values()) for part, modules in found.items()}


def _certificates_of(modules: Iterable[Module]) -> tuple[str, ...]:
    certificates = {(item.standard, item.number) for module in modules for item in module.certificates or ()}
    return tuple(f"{standard} certificate {number}" for standard, number in sorted(certificates))


def _changes(before: StoredManifest, after: StoredManifest) -> tuple[str, ...]:
    differences = [
        difference
        for difference in compare(before.content, after.content)
        if difference.is_shown and difference.subject not in _ALWAYS_DIFFER
    ]
    lines = [_change(difference) for difference in differences[:MAX_CHANGES]]
    left = len(differences) - len(lines)
    return (*lines, f"and {left} more") if left else tuple(lines)


def _change(difference: Difference) -> str:
    line = f"{difference.component}: " if difference.component else ""
    line += f"{difference.subject} {difference.change}"
    before, after = difference.before, difference.after
    if before is not None and after is not None and max(len(before), len(after)) <= _MAX_SHOWN:
        line += f" from {before} to {after}"
    return line if len(line) <= MAX_CHANGE else line[: MAX_CHANGE - 3] + "..."
