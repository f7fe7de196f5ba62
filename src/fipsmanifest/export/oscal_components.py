"""A manifest as an OSCAL component-definition. Pure.

Each component of the release is a ``software`` component; each certificate of a module is a ``validation`` component
with a ``validation-details`` link. A component links to validations only if it is proven: its validated module's own
code is in every Go program of it. The document claims no more than that, and certifies nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..model.manifest import Certificate, ComponentVerdict, Manifest
from . import oscal_parts
from .documents import Source
from .identity import CERTIFICATES, identifier
from .programs import programs
from .settings import Settings


def build(source: Source, manifest: Manifest, settings: Settings) -> dict[str, Any]:
    """Return the component-definition."""
    name = manifest.name or f"rhel{manifest.el}"
    version = oscal_parts.markup(manifest.kubernetes)
    title = f"Kubernetes {version} for Enterprise Linux {manifest.el}, serial {manifest.serial}"
    used = _modules_by_component(source)
    certificates: dict[tuple[str, int], Certificate] = {}
    for identity in sorted({identity for identities in used.values() for identity in identities}):
        module = manifest.modules.get(identity)
        for certificate in (module.certificates or []) if module is not None else []:
            certificates[certificate.standard, certificate.number] = certificate
    components = [_validation(source, certificate) for _, certificate in sorted(certificates.items())]
    by_name: dict[str, list[ComponentVerdict]] = {}
    for item in manifest.components:
        by_name.setdefault(item.name, []).append(item)
    components += [
        _software(source, manifest, component, items, used.get(component, set()))
        for component, items in sorted(by_name.items())
    ]
    document: dict[str, Any] = {
        "uuid": identifier(source, "oscal", "component-definition", settings.tool_version),
        "metadata": oscal_parts.metadata(source, title, str(manifest.serial), manifest.created, settings),
        "back-matter": {"resources": [oscal_parts.resource(source, "The manifest", f"manifest-{name}.json")]},
    }
    if components:
        document["components"] = components
    return document


def _modules_by_component(source: Source) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for program in programs(source):
        if program.component is not None and program.module is not None and program.verdict == "proven":
            found.setdefault(program.component, set()).add(program.module)
    return found


def _validation_uuid(source: Source, certificate: Certificate) -> str:
    return identifier(source, "validation", certificate.standard, str(certificate.number))


def _validation(source: Source, certificate: Certificate) -> dict[str, Any]:
    since = certificate.historical_since
    standard = oscal_parts.line(certificate.standard).lower().replace(" ", "-")
    props = [
        oscal_parts.nist("validation-type", standard),
        oscal_parts.nist("validation-reference", str(certificate.number)),
        oscal_parts.own("holder", certificate.holder),
    ]
    if since is not None:
        props.append(oscal_parts.own("historical-since", since))
    history = f" It is on the historical list since {since}." if since is not None else ""
    return {
        "uuid": _validation_uuid(source, certificate),
        "type": "validation",
        "title": f"{oscal_parts.markup(certificate.standard)} certificate {certificate.number}",
        "description": f"A validation of the CMVP, held by {oscal_parts.markup(certificate.holder)}.{history}",
        "props": props,
        "links": [{"href": f"{CERTIFICATES}{certificate.number}", "rel": "validation-details"}],
    }


def _software(
    source: Source, manifest: Manifest, name: str, items: Iterable[ComponentVerdict], used: set[str]
) -> dict[str, Any]:
    items = list(items)
    proven = all(item.requirement == "proven" and item.verdict == "proven" for item in items)
    props = [oscal_parts.nist("version", f"{manifest.kubernetes}+{manifest.build_metadata}")] if _is_of(name) else []
    for item in items:
        props.append(oscal_parts.own("verdict", f"{item.verdict} ({item.architecture})"))
        props.append(oscal_parts.own("requirement", item.requirement))
    reasons = sorted({item.reason for item in items if item.reason})
    said = "Every Go program of it contains a known validated module, unchanged, and calls it."
    if not proven:
        said = "It is not proven to use a validated module: " + ", ".join(
            f"'{item.verdict}' ({oscal_parts.markup(item.architecture)}), required '{item.requirement}'"
            for item in items
        )
        said += "." + "".join(f" {oscal_parts.markup(reason)}" for reason in reasons)
    component: dict[str, Any] = {
        "uuid": identifier(source, "component", name),
        "type": "software",
        "title": oscal_parts.markup(name),
        "description": said,
        "props": props,
    }
    certificates: dict[tuple[str, int], Certificate] = {}
    for identity in sorted(used) if proven else ():
        module = manifest.modules.get(identity)
        if module is None:
            continue
        props.append(oscal_parts.own("module", f"{identity} {module.algorithm} {module.digest}"))
        certificates |= {(item.standard, item.number): item for item in module.certificates or []}
    if certificates:
        component["links"] = [
            {"href": f"#{_validation_uuid(source, item)}", "rel": "validation"}
            for _, item in sorted(certificates.items())
        ]
        component["control-implementations"] = [_cryptography(source, name, certificates)]
    return component


def _is_of(name: str) -> bool:
    """Return whether a component has Kubernetes' own version; others have versions that a manifest does not name."""
    return name.startswith("kube")


def _cryptography(source: Source, name: str, certificates: dict[tuple[str, int], Certificate]) -> dict[str, Any]:
    """Return what the component offers to control SC-13 (Cryptographic Protection)."""
    listed = ", ".join(
        f"{oscal_parts.markup(standard)} certificate {number}" for standard, number in sorted(certificates)
    )
    return {
        "uuid": identifier(source, "control-implementation", name),
        "source": oscal_parts.CATALOG,
        "description": "What the manifest shows of the cryptography in this component.",
        "implemented-requirements": [
            {
                "uuid": identifier(source, "implemented-requirement", name, "sc-13"),
                "control-id": "sc-13",
                "description": "The module's own bytes are in each Go program of this component, and Go's "
                f"cryptography calls them. The module is covered by {listed}. Whether the node runs in FIPS mode "
                "is not part of this.",
            }
        ],
    }
