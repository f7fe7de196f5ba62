"""The records of published manifests and tools, and ``index.json``, which is written from them. Pure.

The index carries no trust: it names signed objects and repeats part of their content.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from ..errors import Conflict
from ..model.identity import ManifestId
from ..sign.sigstore import SUFFIX
from . import layout
from .layout import SigstoreKey, ToolKey

SCHEMA = "fipsmanifest/index/v1"

#: An upper limit for serials, sizes and certificate numbers.
_MAX_NUMBER = 10**9

#: For untrusted JSON: no unknown keys, and numbers that are integers.
_EXACT = ConfigDict(extra="forbid")
Number = Annotated[int, Field(strict=True, ge=0, lt=_MAX_NUMBER)]


@dataclass(frozen=True, slots=True)
class PublishedComponent:
    """The verdict on one component, as in the manifest."""

    __pydantic_config__: ClassVar[ConfigDict] = _EXACT

    name: str
    """``kubelet``."""
    architecture: str
    """RPM name."""
    requirement: str
    """``proven``, ``module`` or ``known``."""
    verdict: str
    """The verdict: ``proven``, ``plain`` and so on."""
    modules: tuple[str, ...]
    """The modules in its programs, by name."""
    certificates: tuple[str, ...] = ()
    """The certificates of those modules: ``FIPS 140-2 certificate 4407``."""
    reason: str = ""
    """Why it is not required to be proven; empty if it is."""
    in_process: tuple[str, ...] = ()
    """Those of the modules, by name, that have no certificate yet, because their validation is in process."""


@dataclass(frozen=True, slots=True)
class PublishedCertificate:
    """A validation of one of the modules. The reader computes its status for the current day."""

    __pydantic_config__: ClassVar[ConfigDict] = _EXACT

    number: Number
    """``4407``."""
    standard: str
    """``FIPS 140-2``."""
    holder: str
    """The vendor that holds the certificate."""
    historical_since: str
    """The day of its move to the historical list; empty if unknown."""

    def status(self, day: date) -> Literal["active", "historical"]:
        """Return its status on ``day`` according to the manifest."""
        return "historical" if self.historical_since and self.historical_since <= day.isoformat() else "active"


@dataclass(frozen=True, slots=True)
class PublishedManifest:
    """One serial of one manifest."""

    __pydantic_config__: ClassVar[ConfigDict] = _EXACT

    key: str
    """The key of the object, which never changes."""
    size: Number
    """Bytes, with the signature."""
    sha256: str
    """Digest of the signed file, hex."""
    kubernetes: str
    """``v1.21.3``."""
    name: str
    """``rhel8``."""
    el: Number
    """8."""
    serial: Number
    """1, 2, ..."""
    created: str
    """The release's date, RFC 3339."""
    expires: str
    """The time from which verifiers refuse it, RFC 3339; empty for never."""
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
    """The modules found in it, by name."""
    certificates: tuple[PublishedCertificate, ...]
    """The certificates of those modules."""
    since: Number
    """The serial before this one that is published and verifies; 0 for none."""
    changes: tuple[str, ...]
    """What changed since then, one line each; after some, a last one has the count of the rest."""
    signer: str = ""
    """The user ID of the signer's key, from the trust directory; only the fingerprint identifies the key."""

    @property
    def id(self) -> ManifestId:
        """The identity of the manifest."""
        return ManifestId(self.kubernetes, self.name, self.serial)


@dataclass(frozen=True, slots=True)
class PublishedTool:
    """One version of the node tool."""

    __pydantic_config__: ClassVar[ConfigDict] = _EXACT

    version: str
    """``0.1.0``."""
    sha256: str
    """Its digest, hex."""
    size: Number
    """Bytes."""
    fingerprint: str
    """The signer's full fingerprint."""


@dataclass(frozen=True, slots=True)
class PublishedBundle:
    """The Sigstore bundle of a manifest or tool."""

    __pydantic_config__: ClassVar[ConfigDict] = _EXACT

    key: str
    """The key of the bundle, which never changes."""
    size: Number
    """Bytes."""
    signs: str
    """SHA-256 of the object that it signs, hex."""
    hint: str
    """Which key made it, as the bundle says: the SHA-256 of a public key, base64."""

    @property
    def of(self) -> str:
        """The key of the object that it signs."""
        return self.key.removesuffix(SUFFIX)


@dataclass(frozen=True, slots=True)
class PublishedContents:
    """All records of a bucket."""

    manifests: tuple[PublishedManifest, ...] = ()
    """By version, name and serial, the newest first."""
    tools: tuple[PublishedTool, ...] = ()
    """The newest first."""
    withdrawn: tuple[str, ...] = ()
    """Sorted keys of withdrawn objects: published, and removed on purpose. No listing contains this
    (`docs/adr/0011-what-was-published-is-missed.md`)."""
    bundles: tuple[PublishedBundle, ...] = ()
    """Sorted by key."""
    outdated: frozenset[str] = frozenset()
    """Keys of records that an older version wrote with fewer fields: those records are created again. Never written."""


#: What an index has a record of.
Published = PublishedManifest | PublishedTool | PublishedBundle


def contents(
    manifests: Iterable[PublishedManifest],
    tools: Iterable[PublishedTool],
    withdrawn: Iterable[str] = (),
    bundles: Iterable[PublishedBundle] = (),
) -> PublishedContents:
    """Sort records for display; of several records with the same key the last is used."""
    by_key = {record.key: record for record in manifests}
    by_version = {record.version: record for record in tools}
    return PublishedContents(
        tuple(
            sorted(
                sorted(by_key.values(), key=lambda record: record.name),
                key=lambda record: (_kubernetes_order(record.kubernetes), record.serial),
                reverse=True,
            )
        ),
        tuple(sorted(by_version.values(), key=lambda record: layout.version_order(record.version), reverse=True)),
        tuple(sorted(set(withdrawn))),
        tuple(sorted({record.key: record for record in bundles}.values(), key=lambda record: record.key)),
    )


def objects(indexed: PublishedContents) -> dict[str, Published]:
    """Return the records of the objects in an index that never change, by key."""
    found: dict[str, Published] = {record.key: record for record in indexed.manifests}
    found |= {record.key: record for record in indexed.bundles}
    for record in indexed.tools:
        found |= {layout.tool(record.version, suffix): record for suffix in layout.TOOL_SUFFIXES}
    return found


def same_content(indexed: Published, made: Published) -> bool:
    """Return whether two records can describe the same payload: only the signature and the predecessor differ."""
    return _bare(indexed) == _bare(made)


def _bare(record: Published) -> Published:
    if isinstance(record, PublishedBundle):
        return dataclasses.replace(record, size=0, signs="", hint="")
    if isinstance(record, PublishedTool):
        return dataclasses.replace(record, fingerprint="")
    # An older version's record of the same manifest lacks what is derived from the rest.
    components = tuple(
        dataclasses.replace(part, certificates=(), reason="", in_process=()) for part in record.components
    )
    return dataclasses.replace(
        record, size=0, sha256="", signed_at="", fingerprint="", signer="", since=0, changes=(), components=components
    )


def newest(published: PublishedContents) -> dict[str, PublishedManifest]:
    """Return the record of the highest serial of each release, by the key of its pointer."""
    found: dict[str, PublishedManifest] = {}
    for record in published.manifests:
        pointer = layout.pointer(record.id.release)
        if pointer not in found or found[pointer].serial < record.serial:
            found[pointer] = record
    return found


def write(published: PublishedContents) -> bytes:
    """Return the bytes of ``index.json``; they depend on the contents only."""
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "about": "Carries no trust: verify the signed objects that it names.",
        "manifests": [dataclasses.asdict(record) for record in published.manifests],
        "tools": [dataclasses.asdict(record) for record in published.tools],
    }
    if published.withdrawn:
        document["withdrawn"] = list(published.withdrawn)
    if published.bundles:
        document["bundles"] = [dataclasses.asdict(record) for record in published.bundles]
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode("ascii")


def read(data: bytes) -> PublishedContents:
    """Read ``index.json``, which is untrusted input.

    Raises `Conflict` if fipsmanifest did not write it. Records are skipped that are malformed, or whose key belongs to
    another object.
    """
    try:
        # A number above the limit is not converted: for thousands of digits Python raises an error or is slow.
        document = json.loads(data, parse_int=lambda digits: int(digits) if len(digits) < len(str(_MAX_NUMBER)) else -1)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise Conflict(
            f"{layout.INDEX_JSON} in the bucket was not written by fipsmanifest.",
            "Move it away, or use a prefix.",
            reason="foreign-object",
        )
    manifests = _records(_MANIFEST, document.get("manifests"), _has_own_key)
    tools = _records(_TOOL, document.get("tools"), _has_valid_version)
    withdrawn = _valid(_WITHDRAWN, document.get("withdrawn")) or ()
    return PublishedContents(
        manifests,
        tools,
        tuple(sorted(filter(layout.never_changes, set(withdrawn)))),
        _records(_BUNDLE, document.get("bundles"), _has_bundle_key),
        frozenset(str(item.get("key")) for item in _objects(document.get("manifests")) if "signer" not in item),
    )


#: A field with a default may be missing: older versions did not write it.
_MANIFEST = TypeAdapter(PublishedManifest)
_TOOL = TypeAdapter(PublishedTool)
_BUNDLE = TypeAdapter(PublishedBundle)
_WITHDRAWN: TypeAdapter[tuple[str, ...]] = TypeAdapter(tuple[str, ...])

Record = TypeVar("Record")


def _records(
    adapter: TypeAdapter[Record], items: object, is_consistent: Callable[[Record], bool]
) -> tuple[Record, ...]:
    """Return the valid records whose key belongs to the object that they describe."""
    valid = (_valid(adapter, item) for item in _objects(items))
    return tuple(record for record in valid if record is not None and is_consistent(record))


def _valid(adapter: TypeAdapter[Record], item: object) -> Record | None:
    try:
        return adapter.validate_python(item)
    except ValidationError:
        return None


def _objects(items: object) -> list[dict[str, Any]]:
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _has_own_key(record: PublishedManifest) -> bool:
    return layout.read_key(record.key) == record.id


def _has_bundle_key(record: PublishedBundle) -> bool:
    return isinstance(layout.read_key(record.key), SigstoreKey) and layout.never_changes(record.key)


def _has_valid_version(record: PublishedTool) -> bool:
    return layout.read_key(f"{layout.ROOT}{record.version}/{layout.TOOL}") == ToolKey(record.version, "")


def _kubernetes_order(version: str) -> tuple[tuple[int, ...], bool, str]:
    release, _, candidate = version.removeprefix("v").partition("-")
    return tuple(int(part) for part in release.split(".") if part.isdigit()), not candidate, candidate
