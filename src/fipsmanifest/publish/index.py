"""What is published, as data: one record per manifest and per tool, and ``index.json`` made of them. Pure.

The index carries no trust: it names signed objects and repeats what they say.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any, TypeVar

from ..errors import Conflict
from . import layout
from .consumer import SignedManifest

SCHEMA = "fipsmanifest/index/v1"


@dataclass(frozen=True, slots=True)
class PublishedComponent:
    """One component's verdict, as the manifest gives it."""

    name: str
    """``kubelet``."""
    architecture: str
    """RPM name."""
    requirement: str
    """``proven``, ``module`` or ``known``."""
    verdict: str
    """What its bytes say."""


@dataclass(frozen=True, slots=True)
class PublishedManifest:
    """One serial of one manifest."""

    key: str
    """Where it lies for good."""
    size: int
    """Bytes, with the signature."""
    sha256: str
    """Digest of the signed file, hex."""
    kubernetes: str
    """``v1.21.3``."""
    name: str
    """``rhel8``."""
    el: int
    """8."""
    serial: int
    """1, 2, ..."""
    created: str
    """The release's date, RFC 3339."""
    signed_at: str
    """The signature's date, RFC 3339."""
    fingerprint: str
    """The signer's full fingerprint."""
    reason: str
    """Why the serial was issued; empty for the first."""
    tool_version: str
    """The node tool published with it."""
    tool_sha256: str
    """That tool's digest, hex."""
    components: tuple[PublishedComponent, ...]
    """Every component."""
    modules: tuple[str, ...]
    """The modules seen in it, by name."""
    certificates: tuple[str, ...]
    """The certificates of those modules, as ``FIPS 140-2 #3678, historical since 2026-09-21``."""


@dataclass(frozen=True, slots=True)
class PublishedTool:
    """One version of the node tool."""

    version: str
    """``0.1.0``."""
    sha256: str
    """Its digest, hex."""
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything that is published."""

    manifests: tuple[PublishedManifest, ...] = ()
    """By version, name and serial, the newest first."""
    tools: tuple[PublishedTool, ...] = ()
    """The newest first."""


def contents(manifests: Iterable[PublishedManifest], tools: Iterable[PublishedTool]) -> Contents:
    """Put records in the order in which they are shown; of several with one key the last counts."""
    by_key = {record.key: record for record in manifests}
    by_version = {record.version: record for record in tools}
    return Contents(
        tuple(
            sorted(
                sorted(by_key.values(), key=lambda record: record.name),
                key=lambda record: (_kubernetes_order(record.kubernetes), record.serial),
                reverse=True,
            )
        ),
        tuple(sorted(by_version.values(), key=lambda record: layout.version_order(record.version), reverse=True)),
    )


def describe(key: str, name: str, data: bytes, signed: SignedManifest) -> PublishedManifest:
    """Make the record of a verified manifest whose signed file is ``data``."""
    document = signed.document
    certificates = {
        f"{certificate.standard} #{certificate.number}"
        + (f", historical since {certificate.historical_since}" if certificate.historical_since else "")
        for module in document.modules.values()
        for certificate in module.certificates or ()
    }
    return PublishedManifest(
        key=key,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        kubernetes=document.kubernetes,
        name=name,
        el=document.el,
        serial=document.serial,
        created=document.created,
        signed_at=signed.signed_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        fingerprint=signed.fingerprint,
        reason=document.reason or "",
        tool_version=document.tool.version,
        tool_sha256=document.tool.sha256,
        components=tuple(
            PublishedComponent(part.name, part.architecture, part.requirement, part.verdict)
            for part in document.components
        ),
        modules=tuple(sorted({module.name for module in document.modules.values()})),
        certificates=tuple(sorted(certificates)),
    )


def write(published: Contents) -> bytes:
    """Write ``index.json``: the same bytes for the same contents."""
    document = {
        "schema": SCHEMA,
        "about": "Carries no trust: verify the signed objects that it names.",
        "manifests": [dataclasses.asdict(record) for record in published.manifests],
        "tools": [dataclasses.asdict(record) for record in published.tools],
    }
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode("ascii")


def read(data: bytes) -> Contents:
    """Read ``index.json``. Raises `Conflict` where it is not ours; a record that is not well-formed is left out."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise Conflict(
            f"{layout.INDEX_JSON} in the bucket was not written by fipsmanifest.", "Move it away, or use a prefix."
        )
    manifests = [_manifest(item) for item in _objects(document, "manifests")]
    tools = [_record(PublishedTool, item) for item in _objects(document, "tools")]
    return Contents(tuple(filter(None, manifests)), tuple(filter(None, tools)))


Record = TypeVar("Record", PublishedComponent, PublishedManifest, PublishedTool)


def _objects(document: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    items = document.get(key)
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _manifest(item: dict[str, Any]) -> PublishedManifest | None:
    components = tuple(_record(PublishedComponent, part) for part in _objects(item, "components"))
    lists = {key: item.get(key) for key in ("modules", "certificates")}
    if None in components or not all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) for names in lists.values()
    ):
        return None
    texts = {key: tuple(names) for key, names in lists.items() if names is not None}
    return _record(PublishedManifest, {**item, **texts, "components": components})


def _record(kind: type[Record], item: dict[str, Any]) -> Record | None:
    """Make a record of an object that has exactly its fields, in their types."""
    types = {"str": str, "int": int}
    fields = {field.name: types.get(str(field.type), tuple) for field in dataclasses.fields(kind)}
    if item.keys() != fields.keys() or any(type(item[name]) is not wanted for name, wanted in fields.items()):
        return None
    return kind(**item)


def _kubernetes_order(version: str) -> tuple[tuple[int, ...], bool, str]:
    release, _, candidate = version.removeprefix("v").partition("-")
    return tuple(int(part) for part in release.split(".") if part.isdigit()), not candidate, candidate
