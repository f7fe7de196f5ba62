"""The documents that are exported: a manifest, a node report, the report of a cluster, an inspection. Pure.

Reports and inspections are not signed, and anyone may have written them: each is checked for the types of the
keys that the exports use. Other keys are ignored, so that documents of newer tools can be exported.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError

from ..errors import NotTrusted, UsageError
from ..model import documents, manifest
from ..model.manifest import Crypto, Go, Hex, Manifest, Module, Time
from ..node.report import SCHEMA as NODE_SCHEMA
from ..trust.document import read_manifest

CLUSTER_SCHEMA = "fipsmanifest/cluster/v1"
INSPECTION_SCHEMA = "fipsmanifest/inspect/v1"

#: The size limit of a document in bytes: an inspection of 100,000 files is about 40 MB.
MAX_BYTES = 64 << 20

Kind = Literal["manifest", "node", "cluster", "inspection"]


T = TypeVar("T")
#: More than an inspection or a report of this size has.
_MAX_ENTRIES = 200_000
#: A list whose check ends at the first error: pydantic keeps a kilobyte of each, and a hostile list may have millions.
Array = Annotated[list[T], FailFast(), Field(max_length=_MAX_ENTRIES)]


class _Object(BaseModel):
    """A JSON object of a document that is not signed."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class Certificate(_Object):
    """A module's certificate in a node report."""

    number: int | None = None
    standard: str | None = None
    holder: str | None = None
    status: str | None = None
    """On the day of the report."""
    historical_since: str | None = None


class NodeModule(_Object):
    """A module that a manifest in a node report names."""

    id: str
    name: str | None = None
    commit: str | None = None
    digest: str | None = None
    claimed_by: str | None = None
    validation: str | None = None
    certificates: Array[Certificate] = []


class ManifestRecord(_Object):
    """A manifest that a node was compared with; one that is not trusted has its file's name alone."""

    file: str
    fingerprint: str | None = None
    signed_at: str | None = None
    kubernetes: str | None = None
    el: int | None = None
    serial: int | None = None
    created: str | None = None
    expires: str | None = None
    sha256: str | None = None
    fips_mode: bool | None = None
    """Whether it requires nodes to be in FIPS mode; None in a node report, which has results of that."""
    modules: Array[NodeModule] = []


class Check(_Object):
    """One result of a node check."""

    id: str
    subject: str
    status: Literal["pass", "fail", "unknown", "not-applicable"]
    expected: str | None = None
    actual: str | None = None
    evidence: dict[str, Any] = {}
    advice: str = ""


class NodeComponent(_Object):
    """A component of a node, with the worst status of its checks."""

    name: str
    status: Literal["pass", "fail", "unknown", "not-applicable"]
    requirement: str | None = None
    verdict: str | None = None
    reason: str | None = None
    modules: Array[str] = []


class Host(_Object):
    """The node that was checked."""

    name: str | None = None
    root: str = "/"
    role: str | None = None
    os: str | None = None
    os_version: str | None = None
    kernel: str | None = None
    architecture: str | None = None
    tool: str | None = None
    tool_sha256: str | None = None
    started: Time | None = None
    finished: Time | None = None


class Summary(_Object):
    """The number of results of each status, including those that the report left out."""

    passed: Annotated[int, Field(alias="pass", ge=0)]
    failed: Annotated[int, Field(alias="fail", ge=0)]
    unknown: Annotated[int, Field(ge=0)]
    not_applicable: Annotated[int, Field(alias="not-applicable", ge=0)]


class NodeReport(_Object):
    """``fipsmanifest/node/v1``."""

    verdict: Literal["valid", "invalid", "incomplete", "untrusted"]
    scope: Literal["live", "at-rest", "partial"]
    host: Host
    manifests: Array[ManifestRecord] = []
    summary: Summary
    left_out: Annotated[int, Field(ge=0)] = 0
    checks: Array[Check]
    components: Array[NodeComponent] = []
    warnings: Array[str] = []

    @property
    def hides_failures(self) -> bool:
        """Whether results that the report left out are failures or unknown, or its verdict has no result behind it."""
        failed, unknown = self._count("fail"), self._count("unknown")
        unexplained = (self.verdict == "invalid" and not failed) or (self.verdict == "incomplete" and not unknown)
        return failed < self.summary.failed or unknown < self.summary.unknown or unexplained

    @property
    def is_valid(self) -> bool:
        """Whether the verdict is valid, results say so, and nothing contradicts that."""
        contradicts = self._count("fail") or self._count("unknown") or self.hides_failures
        contradicts = contradicts or any(one.status in ("fail", "unknown") for one in self.components)
        return self.verdict == "valid" and self._count("pass") > 0 and not contradicts

    def _count(self, status: str) -> int:
        return sum(check.status == status for check in self.checks)


class ClusterName(_Object):
    """Which cluster was checked."""

    server: str
    context: str = ""


class ClusterFinding(_Object):
    """What nodes report beside passes; each different finding is listed once."""

    status: Literal["fail", "unknown"]
    check: str
    component: str | None = None
    code: str | None = None
    subject: str
    expected: str | None = None
    actual: str | None = None
    advice: str = ""
    nodes: Annotated[int, Field(ge=0)]
    examples: Array[str] = []


class ClusterNode(_Object):
    """A node with its verdict; ``unknown`` where no report counts."""

    name: str
    verdict: Literal["valid", "invalid", "incomplete", "untrusted", "unknown"]
    reason: str | None = None
    detail: str | None = None
    findings: Array[Annotated[int, Field(ge=0)]] = []
    left_out: Annotated[int, Field(ge=0)] = 0


class ClusterDocument(_Object):
    """``fipsmanifest/cluster/v1``."""

    verdict: Literal["valid", "invalid", "incomplete", "untrusted"]
    cluster: ClusterName
    manifests: Array[ManifestRecord] = []
    started: Time
    finished: Time
    findings: Array[ClusterFinding]
    nodes: Array[ClusterNode]
    warnings: Array[str] = []

    @property
    def is_valid(self) -> bool:
        """Whether there are nodes, all of them are valid, and nothing contradicts that."""
        valid = [node for node in self.nodes if node.verdict == "valid" and not node.findings and not node.left_out]
        return self.verdict == "valid" and not self.findings and bool(self.nodes) and len(valid) == len(self.nodes)


class InspectedGo(Go):
    """Go build info in an inspection."""

    model_config = ConfigDict(extra="ignore")


class InspectedCrypto(Crypto):
    """The verdict on a program in an inspection."""

    model_config = ConfigDict(extra="ignore")


class InspectedCertificate(manifest.Certificate):
    """A certificate in an inspection, which has its status of that day as well."""

    model_config = ConfigDict(extra="ignore")


class InspectedModule(Module):
    """A module in an inspection."""

    model_config = ConfigDict(extra="ignore")

    certificates: list[InspectedCertificate] | None = None  # type: ignore[assignment]


class InspectedFile(_Object):
    """One file of an inspection."""

    path: str
    container: str | None = None
    sha256: Hex | None = None
    size: Annotated[int, Field(ge=0)] | None = None
    architecture: str | None = None
    go: InspectedGo | None = None
    crypto: InspectedCrypto | None = None
    sentence: str = ""


class Unopened(_Object):
    """A container that was not opened."""

    path: str
    container: str | None = None
    format: str
    reason: str


class Failure(_Object):
    """Why an inspection did not end with 0; it names a program that the gate refuses, or none."""

    code: int
    message: str
    advice: str = ""
    path: str | None = None
    container: str | None = None
    verdict: str | None = None


class AppliedException(_Object):
    """A program or container that the gate accepts because of an exception."""

    path: str
    container: str | None = None
    verdict: str
    reason: str


class Gate(_Object):
    """The decision of ``--require proven``."""

    require: str
    passed: bool
    proven: Annotated[int, Field(ge=0)]
    modules: Array[str] = []
    accepted: Array[AppliedException] = Field([], alias="excuses")


class Inspection(_Object):
    """``fipsmanifest/inspect/v1``."""

    files: Array[InspectedFile]
    modules: dict[str, InspectedModule] = {}
    unopened: Array[Unopened] = []
    errors: Array[Failure] = []
    gate: Gate | None = None

    @property
    def refused(self) -> dict[tuple[str, str | None], Failure]:
        """The programs that the gate refuses, by path and container, whatever their verdict is."""
        return {(error.path, error.container): error for error in self.errors if error.path is not None}

    @property
    def exceptions(self) -> dict[tuple[str, str | None, str], AppliedException]:
        """What the gate accepts, by path, container and verdict, which is ``unopened`` for a container."""
        accepted = self.gate.accepted if self.gate is not None else []
        return {(item.path, item.container, item.verdict): item for item in accepted}


@dataclass(frozen=True, slots=True)
class SignatureState:
    """What is known of a document's signature."""

    state: Literal["verified", "not-verified", "unsigned"]
    """``not-verified`` for a signed file whose signature was not checked."""
    fingerprint: str | None = None
    """The primary key's, if the signature was verified."""
    signed_at: str | None = None
    """Like ``2026-11-23T10:00:00Z``, if the signature was verified."""


@dataclass(frozen=True, slots=True)
class Source:
    """A document to export. Two sources of the same bytes and signature state have the same exports."""

    document: Manifest | NodeReport | ClusterDocument | Inspection
    """What was read."""
    sha256: str
    """Of the bytes that were read: a manifest's payload, or a report."""
    signature: SignatureState
    """What is known of the signature; reports are always unsigned."""
    date: str | None
    """When the document was made; None for an inspection, which has no date."""

    @property
    def kind(self) -> Kind:
        """The kind of document."""
        if isinstance(self.document, Manifest):
            return "manifest"
        if isinstance(self.document, ClusterDocument):
            return "cluster"
        return "node" if isinstance(self.document, NodeReport) else "inspection"


def manifest_source(payload: bytes, signature: SignatureState) -> Source:
    """Return a manifest's payload as a source. Raises `NotTrusted` if it is not a well-formed manifest."""
    document = manifest.parse(read_manifest(payload))
    return Source(document, hashlib.sha256(payload).hexdigest(), signature, document.created)


def read(data: bytes, name: str) -> Source:
    """Return the unsigned document in ``data``; ``name`` is what errors call it.

    Raises `NotTrusted` if it is not a manifest, a report or an inspection, or a malformed one.
    """
    try:
        found = documents.read_json(data, unique=True)
    except documents.MalformedDocument as error:
        raise _unsuitable(name, f"it is not JSON ({error})") from error
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema == manifest.SCHEMA:
        # It is read again, by stricter rules; two copies would be most of what an export needs.
        del found
        return manifest_source(data, SignatureState("unsigned"))
    kind: type[NodeReport | ClusterDocument | Inspection]
    if schema == NODE_SCHEMA:
        kind = NodeReport
    elif schema == CLUSTER_SCHEMA:
        kind = ClusterDocument
    elif schema == INSPECTION_SCHEMA:
        kind = Inspection
    else:
        raise _unsuitable(name, f"its schema is {str(schema)[:80]!r}")
    try:
        document = kind.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _unsuitable(name, f"{where}: {first['msg']}") from error
    date = None
    if isinstance(document, NodeReport):
        date = document.host.finished
    elif isinstance(document, ClusterDocument):
        date = document.finished
    return Source(document, hashlib.sha256(data).hexdigest(), SignatureState("unsigned"), date)


def unsupported(source: Source) -> UsageError:
    """Return the error of a format that cannot express a kind of document."""
    return UsageError(f"The format cannot express a document of the kind '{source.kind}'.", "Choose another format.")


def _unsuitable(name: str, reason: str) -> NotTrusted:
    return NotTrusted(
        f"{name} cannot be exported: {reason}.",
        "Name a manifest, the result of `check --json` or of `inspect --json`.",
        reason="wrong-document",
    )
