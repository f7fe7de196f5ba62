"""The manifest document: its model, its one canonical form, its JSON Schema.

The keys are the contract with consumers; the node tool reads the same document with the standard library alone.
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

#: gpg silently truncates longer cleartext lines at 19,995 bytes; ours stop far below (measured fact).
MAX_LINE = 4096

Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
OciDigest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


def _exists(text: str) -> str:
    """Refuse a day that no calendar has, and a time that no clock shows."""
    if read_time(text) is None:
        raise ValueError("there is no such time")
    return text


Time = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"), AfterValidator(_exists)]
Day = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$"), AfterValidator(_exists)]
#: A verdict, which JSON has as a string.
_Verdict = Annotated[Verdict, Field(strict=False)]


class _Object(BaseModel):
    """A JSON object; an absent key means that there is nothing to say."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Go(_Object):
    """Go build info of a program."""

    version: str
    path: str | None = None
    module: str | None = None
    settings: dict[str, str] = {}


class Crypto(_Object):
    """The verdict on a program and what it rests on."""

    verdict: _Verdict
    module: str | None = None
    """A key of the manifest's ``modules``."""
    evidence: dict[str, str | int | bool | list[str] | list[int]] = {}


class File(_Object):
    """One file or link, as it must be found."""

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
    """A container image by every identity that a runtime may print."""

    reference: str
    component: str
    index: OciDigest | None = None
    platforms: list[Platform]


class ComponentVerdict(_Object):
    """What is required of a component and what its bytes say, for one architecture."""

    name: str
    architecture: str
    requirement: RequirementName
    reason: str | None = None
    verdict: _Verdict


class Certificate(_Object):
    """A validation that a module's makers hold; its status is the reader's to compute."""

    number: int
    standard: str
    holder: str
    historical_since: Day | None = None


class Module(_Object):
    """A cryptographic module seen in the release's programs."""

    name: str
    algorithm: str
    digest: str
    architecture: str
    commit: str | None = None
    row: Literal["shipped", "local"] | None = None
    certificates: list[Certificate] | None = None
    claimed_by: str | None = None


class SourceRecord(_Object):
    """Where something came from."""

    name: str
    kind: Literal["rpm", "tarball", "image"]
    address: str
    sha256: Hex
    size: int
    signed_by: str | None = None


class OperatingSystem(_Object):
    """An operating system that the release is for."""

    id: str
    versions: list[str]


class Service(_Object):
    """A TLS service and what it may accept."""

    name: str
    component: str
    port: int
    roles: list[str]
    tls_versions: list[str]
    cipher_suites: list[str]
    preferred: str | None = None


class Node(_Object):
    """What the node tool is to require."""

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
    """Which of a version's manifests it is (``rhel8``, ``rhel-84``): what its address says."""
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
        """Give the JSON object, without the keys that have nothing to say."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def payload(self) -> bytes:
        """Give the canonical bytes that are signed."""
        return canonical(self.document())


def canonical(document: dict[str, Any]) -> bytes:
    """Write JSON in the one form that is signed: ASCII, sorted keys, two spaces, one LF at the end.

    Raises `Refused` where a line would be longer than signing tools carry safely.
    """
    text = json.dumps(document, ensure_ascii=True, sort_keys=True, indent=2, allow_nan=False) + "\n"
    longest = max(len(line) for line in text.split("\n"))
    if longest > MAX_LINE:
        raise Refused(
            f"A line of the manifest would be {longest} bytes long; signatures carry at most {MAX_LINE}.",
            "Shorten the reason or path of that length in the definition.",
        )
    return text.encode("ascii")


def parse(document: dict[str, Any]) -> Manifest:
    """Read a manifest's JSON object. Raises `NotTrusted` where it is not one of ours."""
    if document.get("schema") != SCHEMA:
        raise NotTrusted(
            f"This is not a manifest: its schema is {document.get('schema')!r}.",
            f"A manifest says {SCHEMA!r}.",
        )
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise NotTrusted(f"The manifest is not well-formed: {where}: {first['msg']}.", "Fetch it again.") from error


def json_schema() -> dict[str, Any]:
    """Give the manifest's JSON Schema (2020-12)."""
    schema = Manifest.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
