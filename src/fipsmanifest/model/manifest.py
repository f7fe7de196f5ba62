"""The manifest document: its model, its canonical form and its JSON Schema.

The keys are the contract with consumers. The node tool reads the same document with the standard library alone.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ..errors import NotTrusted, Refused
from ..trust.text import read_time
from .acceptance import RequirementName
from .finding import Verdict

SCHEMA = "fipsmanifest/v1"

#: gpg silently truncates cleartext lines at 19,995 bytes (measured); this limit is far below.
MAX_LINE = 4096

Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
OciDigest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


def _check_exists(text: str) -> str:
    """Raise `ValueError` for a date or time that does not exist."""
    if read_time(text) is None:
        raise ValueError("the date or time does not exist")
    return text


Time = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"), AfterValidator(_check_exists)]
Day = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$"), AfterValidator(_check_exists)]
#: A verdict, which JSON has as a string.
_Verdict = Annotated[Verdict, Field(strict=False)]


class _Object(BaseModel):
    """A JSON object; a key without a value is absent."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Go(_Object):
    """Go build info of a program."""

    version: str
    path: str | None = None
    module: str | None = None
    settings: dict[str, str] = {}


class Crypto(_Object):
    """The verdict on a program, with its evidence."""

    verdict: _Verdict
    module: str | None = None
    """A key of the manifest's ``modules``."""
    evidence: dict[str, str | int | bool | list[str] | list[int]] = {}


class File(_Object):
    """One file or link, as it must be on a node or in an image."""

    path: str
    type: Literal["file", "symlink"]
    role: Literal["program", "config", "doc", "ghost"]
    sha256: Hex | None = None
    size: Annotated[int, Field(ge=0)] | None = None
    mode: Annotated[str, Field(pattern=r"^[0-7]{4}$")]
    target: str | None = None
    component: str | None = None
    source: str | None = None
    architecture: str | None = None
    go: Go | None = None
    crypto: Crypto | None = None


class Platform(_Object):
    """One platform of an image."""

    architecture: str
    manifest: OciDigest
    config: OciDigest
    layers: list[OciDigest]
    diff_ids: list[OciDigest]
    files: list[File]


class Image(_Object):
    """A container image, by all identities that runtimes show."""

    reference: str
    component: str
    index: OciDigest | None = None
    platforms: list[Platform]


class ComponentVerdict(_Object):
    """The requirement of a component and the verdict on it, for one architecture."""

    name: str
    architecture: str
    requirement: RequirementName
    reason: str | None = None
    verdict: _Verdict


class Certificate(_Object):
    """A validation of a module; readers compute its status for their own day."""

    number: int
    standard: str
    holder: str
    historical_since: Day | None = None


class Module(_Object):
    """A cryptographic module in programs of the release."""

    name: str
    algorithm: str
    digest: str
    architecture: str
    commit: str | None = None
    row: Literal["shipped", "local"] | None = None
    certificates: list[Certificate] | None = None
    claimed_by: str | None = None
    validation: Literal["in-process", "none"] | None = None


class SourceRecord(_Object):
    """Where an artifact came from."""

    name: str
    kind: Literal["rpm", "tarball", "image"]
    address: str
    sha256: Hex
    size: int
    signed_by: str | None = None


class OperatingSystem(_Object):
    """An operating system that the release supports."""

    id: str
    versions: list[str]


class Service(_Object):
    """A TLS service, with the versions and suites that it may accept."""

    name: str
    component: str
    port: int
    roles: list[str]
    tls_versions: list[str]
    cipher_suites: list[str]
    preferred: str | None = None


class Node(_Object):
    """What the node tool requires."""

    operating_systems: list[OperatingSystem]
    fips_mode: bool
    roles: dict[str, list[str]]
    services: list[Service]


class Tool(_Object):
    """The node tool published with the manifest."""

    version: str
    sha256: Hex


class Manifest(_Object):
    """The document that is signed and published."""

    schema_: Literal["fipsmanifest/v1"] = Field(alias="schema")
    name: str | None = None
    """Its name among the manifests of a version (``rhel8``, ``rhel-84``), which is part of its address."""
    kubernetes: str
    build_metadata: str
    el: int
    serial: Annotated[int, Field(ge=1)]
    reason: str | None = None
    created: Time
    expires: Time | None = None
    components: list[ComponentVerdict]
    files: list[File]
    images: list[Image]
    modules: dict[str, Module]
    sources: list[SourceRecord]
    node: Node
    tool: Tool

    def document(self) -> dict[str, Any]:
        """Return the JSON object, without keys that have no value."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def payload(self) -> bytes:
        """Return the canonical bytes that are signed."""
        return canonical(self.document())


def canonical(document: dict[str, Any]) -> bytes:
    """Return JSON in the form that is signed: ASCII, sorted keys, indented by two spaces, one LF at the end.

    Raises `Refused` if a line would be longer than `MAX_LINE` bytes.
    """
    text = json.dumps(document, ensure_ascii=True, sort_keys=True, indent=2, allow_nan=False) + "\n"
    longest = max(len(line) for line in text.split("\n"))
    if longest > MAX_LINE:
        raise Refused(
            f"A line of the manifest would be {longest} bytes long; at most {MAX_LINE} can be signed.",
            "Shorten the reason or path of that length in the definition.",
        )
    return text.encode("ascii")


def parse(document: dict[str, Any]) -> Manifest:
    """Read a manifest's JSON object. Raises `NotTrusted` if it is not a valid manifest."""
    if document.get("schema") != SCHEMA:
        raise NotTrusted(
            f"This is not a manifest: its schema is {document.get('schema')!r}.",
            f"Name a manifest, whose schema is {SCHEMA!r}.",
            reason="wrong-document",
        )
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise NotTrusted(
            f"The manifest is not well-formed: {where}: {first['msg']}.", "Fetch it again.", reason="malformed"
        ) from error


def json_schema() -> dict[str, Any]:
    """Return the manifest's JSON Schema (2020-12)."""
    schema = Manifest.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
