"""Release definitions: what must be in a release of one Kubernetes version for one EL, and where it comes from.

One TOML file per version and EL, ``releases/v1.21.3/rhel8.toml``; the file's name is the manifest's name. A new
version is a new file and nothing else. ``releases/README.md`` explains every key with an example.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from ..errors import UsageError
from . import architecture, documents
from .acceptance import never_expected
from .manifest import Verdict

SCHEMA = "fipsmanifest/definition/v1"

#: The most that a definition may weigh, bytes; the largest shipped one is under 10 kB.
MAX_BYTES = 1 << 20

_FINGERPRINT = r"^[0-9A-F]{40}$"
_VERSION = re.compile(r"^v\d+\.\d+\.\d+$")


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("it is blank")
    return value


def _in_words(value: str) -> str:
    # Dashes and spaces that take no room are no reason, though strip() leaves them.
    if not any(map(str.isalnum, value)):
        raise ValueError("it is blank")
    return value


Fingerprint = Annotated[str, Field(pattern=_FINGERPRINT)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64)]
Text = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_not_blank)]
Reason = Annotated[Text, AfterValidator(_in_words)]
NodePath = Annotated[str, Field(pattern=r"^/", max_length=1024)]


def _in_utc(value: object) -> object:
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ValueError("needs a time zone, such as the Z at its end")
    return value.astimezone(UTC) if isinstance(value, datetime) else value


Instant = Annotated[datetime, BeforeValidator(_in_utc)]


class _Table(BaseModel):
    """A TOML table: every key known, nothing changed after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class OperatingSystem(_Table):
    """An operating system that the release is for."""

    id: Name
    """``ID`` of its os-release file."""
    versions: tuple[str, ...] = Field(min_length=1)
    """Accepted ``VERSION_ID``s; a trailing ``.*`` takes every minor release."""


SignedBy = Literal["upstream"] | tuple[Fingerprint, ...]


class RpmRepository(_Table):
    """Packages from a repository (repomd.xml)."""

    kind: Literal["rpm-repository"]
    name: Name
    url: Text
    """The folder that holds ``repodata/``; ``{arch}`` stands for each of the release's architectures."""
    packages: tuple[Text, ...] = Field(min_length=1)
    """``NAME-VERSION-RELEASE``."""
    signed_by: SignedBy = "upstream"
    """Who must have signed each package: any key with the role ``upstream`` in the trust file, or just these."""
    metadata_signed_by: SignedBy | None = None
    """Who must have signed ``repomd.xml``, where upstream signs it."""


class RpmFolder(_Table):
    """Packages from a folder or a tar of RPMs, as air-gapped bundles bring them."""

    kind: Literal["rpm-folder"]
    name: Name
    url: Text
    """A folder or tar: a path beside the definition, or an address."""
    packages: tuple[Text, ...] = Field(min_length=1)
    """``NAME-VERSION-RELEASE``."""
    signed_by: SignedBy = "upstream"
    """As for a repository."""


class Tarball(_Table):
    """A compressed tar that is unpacked on the node."""

    kind: Literal["tarball"]
    name: Name
    url: Text
    """Its address; ``{arch}`` and ``{oci_arch}`` stand for each of the release's architectures."""
    unpack: NodePath = "/"
    """Where on the node it is unpacked."""
    sha256: Digest | None = None
    """What upstream publishes as its digest, where it does; the lock pins it in any case."""


class Images(_Table):
    """Container images from their registries."""

    kind: Literal["image"]
    name: Name
    references: tuple[Text, ...] = Field(min_length=1)
    """``registry/repository:tag``, or with ``@sha256:``."""


class ImageArchive(_Table):
    """Container images from an archive (``docker save`` or an OCI layout, plain or compressed)."""

    kind: Literal["image-archive"]
    name: Name
    url: Text
    """The archive: a path beside the definition, or an address."""
    references: tuple[Text, ...] = Field(min_length=1)
    """The images to take from it, by the names they have in it."""


Source = Annotated[
    RpmRepository | RpmFolder | Tarball | Images | ImageArchive,
    Field(discriminator="kind"),
]


def _can_be_excused(verdict: Verdict) -> Verdict:
    why = never_expected(verdict)
    if why is not None:
        raise ValueError(f"'{verdict}' cannot be expected: {why}")
    return verdict


class Override(_Table):
    """Files of a component that are not what the component is required to be, and why that is right."""

    path: Text
    """Glob over node paths, or over paths in an image."""
    verdict: Annotated[Verdict, AfterValidator(_can_be_excused)]
    """The verdict that is expected; any other is refused."""
    reason: Reason


class VerdictException(_Table):
    """An exception of the gate of ``inspect``."""

    path: Text
    """Glob over paths on disk, or over paths in what ``container`` names."""
    verdict: Annotated[Verdict, AfterValidator(_can_be_excused)] | Literal["unopened"]
    """The verdict that is expected of a program; ``unopened`` of a container that is not opened. Any other is
    refused."""
    reason: Reason
    container: Text | None = None
    """Glob over what the path is in (a package, a tarball, an image), as ``inspect`` names it; None for wherever."""

    @model_validator(mode="after")
    def _names_what_it_accepts(self) -> VerdictException:
        """Refuse to accept all that nobody looks into: what comes to be there later would pass as well."""
        if self.verdict == "unopened" and not re.search(r"\w", re.sub(r"\[[^]]*\]", "", self.path)):
            raise ValueError("'unopened' wants a path that names a file or a directory, not every one")
        return self


class Component(_Table):
    """A part of the distribution: what is its own, and what is required of it."""

    name: Name
    requirement: Literal["proven", "module", "known"]
    """``proven``: every Go program holds a module of the table, wired. ``module``: the modules named here, which the
    table does not know. ``known``: not a FIPS build, and the manifest says so."""
    reason: Reason | None = None
    """Why, for anything but ``proven``."""
    modules: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}([0-9a-f]{64})?$")]] = Field(default_factory=dict)
    """For ``module``: the integrity digest of the module, by architecture."""
    claimed_by: Reason | None = None
    """For ``module``: who says that this digest is a validated module's."""
    files: tuple[NodePath, ...] = ()
    """Globs over node paths; they go before ``packages`` and ``sources``."""
    packages: tuple[Text, ...] = ()
    """Names of RPMs whose files belong to it."""
    sources: tuple[Name, ...] = ()
    """Names of sources whose files belong to it."""
    images: tuple[Text, ...] = ()
    """Repositories (without a tag) of the images that belong to it."""
    exceptions: tuple[Override, ...] = ()

    @model_validator(mode="after")
    def _says_why(self) -> Component:
        if self.requirement != "proven" and self.reason is None:
            raise ValueError(f"needs a reason, because its requirement is '{self.requirement}'")
        if (self.requirement == "module") != bool(self.modules) or (self.requirement == "module") != bool(
            self.claimed_by
        ):
            raise ValueError("'modules' and 'claimed_by' go with the requirement 'module', and only with it")
        if not (self.files or self.packages or self.sources or self.images):
            raise ValueError("owns nothing: name its files, packages, sources or images")
        return self


class Service(_Table):
    """A TLS service of a node, and what it may accept."""

    name: Name
    component: Name
    port: int = Field(ge=1, le=65535)
    roles: tuple[Literal["control-plane", "worker"], ...] = Field(min_length=1)
    tls_versions: tuple[Literal["TLSv1.2", "TLSv1.3"], ...] = Field(min_length=1)
    cipher_suites: tuple[Annotated[str, Field(pattern=r"^TLS_[A-Z0-9_]+$")], ...] = Field(min_length=1)
    """IANA names."""
    preferred: str | None = None
    """The suite that a server should choose when everything allowed is offered."""


class Node(_Table):
    """What the node tool is to require of a node."""

    fips_mode: bool = True
    roles: dict[Literal["control-plane", "worker"], tuple[Name, ...]]
    """The components that a node of that role must have."""
    services: tuple[Service, ...] = ()


class Definition(_Table):
    """What must be in the release, and where it comes from."""

    schema_: Literal["fipsmanifest/definition/v1"] = Field(alias="schema")
    kubernetes: Annotated[str, Field(pattern=_VERSION.pattern)]
    """``v1.21.3``."""
    build_metadata: Annotated[str, Field(pattern=r"^[0-9A-Za-z.-]+$")]
    """What stands after the ``+`` of the version (``fips.0``)."""
    tag: Annotated[str, Field(pattern=r"^(?:[0-9A-Za-z_.-]|\{kubernetes\}|\{build_metadata\})+$")] = (
        "{kubernetes}_{build_metadata}"
    )
    """The tag of the control plane's images, where upstream uses another one (``{kubernetes}-{build_metadata}``)."""
    el: int = Field(ge=7, le=99)
    """Enterprise Linux major release."""
    serial: int = Field(ge=1)
    """1 for the first manifest of this release, one more for each that replaces it."""
    reason: Reason | None = None
    """Why there is a new serial; from 2 on."""
    created: Instant | None = None
    """The manifest's date; without it SOURCE_DATE_EPOCH must be set."""
    expires: Instant | None = None
    """When consumers are to stop accepting the manifest; normally never."""
    architectures: tuple[Literal["x86_64", "aarch64"], ...] = Field(min_length=1)
    operating_systems: tuple[OperatingSystem, ...] = Field(min_length=1)
    sources: tuple[Source, ...] = Field(min_length=1)
    components: tuple[Component, ...] = Field(min_length=1)
    node: Node

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    """The file's name without its suffix (``rhel8``); not a key of the file."""

    @model_validator(mode="after")
    def _holds_together(self) -> Definition:
        if self.serial > 1 and self.reason is None:
            raise ValueError(f"serial {self.serial} needs a reason: what changed since serial {self.serial - 1}")
        if self.serial == 1 and self.reason is not None:
            raise ValueError("a reason goes with a serial from 2 on")
        _refuse_repeats("source", [source.name for source in self.sources])
        _refuse_repeats("component", [component.name for component in self.components])
        names = {component.name for component in self.components}
        for role, wanted in self.node.roles.items():
            _refuse_unknown(f"node role '{role}' wants", wanted, names)
        _refuse_unknown("a service names", [service.component for service in self.node.services], names)
        known_sources = {source.name for source in self.sources}
        for component in self.components:
            _refuse_unknown(f"component '{component.name}' owns", component.sources, known_sources)
        return self

    @property
    def image_tag(self) -> str:
        """The tag that the control plane's images have (``v1.21.3_fips.0``)."""
        return self.tag.replace("{kubernetes}", self.kubernetes).replace("{build_metadata}", self.build_metadata)

    @property
    def manifest_name(self) -> str:
        """``manifest-rhel8.json``."""
        return f"manifest-{self.name}.json"

    def public_address(self, source_name: str, address: str) -> str:
        """Return how a manifest names ``address`` of a source: a path on this machine by its last part alone.

        What is signed and published must say neither whose machine it was made on nor where.
        """
        for source in self.sources:
            if source.name != source_name or isinstance(source, Images) or not is_absolute_path(source.url):
                continue
            for _, url in list(self.addresses(source)) or [("", source.url)]:
                base = url.rstrip("/")
                if address in (url, base) or address.startswith(base + "/"):
                    return "file:" + base.rpartition("/")[2] + address[len(base) :]
        return address

    def addresses(self, source: Source) -> Iterator[tuple[str, str]]:
        """Give each address of ``source`` with the architecture it is for; images come with every architecture."""
        if isinstance(source, Images | ImageArchive):
            return
        for name in self.architectures:
            url = source.url.replace("{arch}", name).replace("{oci_arch}", architecture.to_oci(name))
            yield name, url
            if url == source.url:
                return


def is_absolute_path(url: str) -> bool:
    """Return whether an address is a path on this machine that does not depend on the definition's."""
    return url.startswith(("/", "file:"))


def _refuse_repeats(what: str, names: list[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{what} '{repeated[0]}' stands twice")


def _refuse_unknown(what: str, wanted: tuple[str, ...] | list[str], known: set[str]) -> None:
    unknown = sorted(set(wanted) - known)
    if unknown:
        raise ValueError(f"{what} '{unknown[0]}', which the definition does not have")


def load(path: Path) -> Definition:
    """Read a definition.

    Raises `UsageError` that names the file, the line and the key for whatever is wrong with it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", "See 'fipsmanifest definitions list'.") from error
    if len(data) > MAX_BYTES:
        raise UsageError(f"{path} is larger than {MAX_BYTES} bytes.", "A release definition is a short TOML file.")
    try:
        document = documents.read_toml(data)
    except documents.MalformedDocument as error:
        raise UsageError(f"{path}: not TOML: {error}.", "See releases/README.md for the form.") from error
    text = data.decode("utf-8")
    if "name" in document:
        raise UsageError(f"{path}: the key 'name' is not known.", "A definition is named by its file.")
    try:
        return Definition.model_validate({**document, "name": path.stem})
    except ValidationError as error:
        problems = [
            f"{path}:{line_of(text, tuple(item['loc']))}: {_dotted(item['loc'])}{_plain(item['msg'])}"
            for item in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise UsageError(";\n".join(problems) + ".", "See releases/README.md for the form.") from error


_KINDS = {"rpm-repository", "rpm-folder", "tarball", "image", "image-archive"}


def _dotted(location: tuple[int | str, ...]) -> str:
    parts = [str(part) for part in location if part not in _KINDS]
    return ".".join(parts) + ": " if parts else ""


def _plain(message: str) -> str:
    known = {"Extra inputs are not permitted": "this key is not known", "Field required": "is missing"}
    return known.get(message, message.removeprefix("Value error, "))


def line_of(text: str, location: tuple[int | str, ...]) -> int:
    """Give the line (from 1) that ``location`` (keys and list positions) stands on, or that of its list or table.

    tomllib keeps no positions, so this follows table headers, keys and lists of strings as the definitions write them;
    it serves messages only.
    """
    wanted = [part for part in location if part not in _KINDS]
    lines = text.splitlines()
    best, best_depth = 1, 0
    counts: dict[str, int] = {}
    table: list[int | str] = []
    for number, line in enumerate(lines, 1):
        stripped = line.strip()
        header = re.match(r"(\[\[?)\s*([A-Za-z0-9_.-]+)\s*\]\]?", stripped)
        if header:
            table = _table_path(header.group(2).split("."), array=header.group(1) == "[[", counts=counts)
            here = table
        else:
            key = re.match(r"([A-Za-z0-9_-]+)\s*=", stripped)
            if not key:
                continue
            here = [*table, key.group(1)]
        if len(here) > best_depth and wanted[: len(here)] == here:
            best, best_depth = number, len(here)
    match wanted[best_depth:]:
        case [int(position)]:
            return best + _lines_before_string(lines[best - 1 :], position)
    return best


def _lines_before_string(lines: list[str], position: int) -> int:
    """Give how many lines below its key a list's string begins, or 0 where there is no such string."""
    seen = 0
    for below, line in enumerate(lines):
        for mark in re.findall(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'|#|\]', line):
            if mark == "]":
                return 0
            if mark == "#":
                break
            if seen == position:
                return below
            seen += 1
    return 0


def _table_path(parts: list[str], *, array: bool, counts: dict[str, int]) -> list[int | str]:
    path: list[int | str] = []
    for depth, part in enumerate(parts):
        path.append(part)
        prefix = ".".join(str(step) for step in path)
        if array and depth == len(parts) - 1:
            counts[prefix] = counts.get(prefix, -1) + 1
        if prefix in counts:
            path.append(counts[prefix])
    return path


def find(root: Path, kubernetes: str | None = None) -> dict[str, list[Path]]:
    """Give the definition files under ``root`` by Kubernetes version, or those of one version.

    Raises `UsageError` where ``root`` is missing or has nothing for that version.
    """
    if not root.is_dir():
        raise UsageError(f"{root} is not a folder.", "Name the folder of definitions with --definitions.")
    found = {
        folder.name: sorted(folder.glob("*.toml"))
        for folder in sorted(root.iterdir(), key=lambda folder: version_key(folder.name))
        if folder.is_dir() and _VERSION.match(folder.name)
    }
    if kubernetes is None:
        return found
    if not found.get(kubernetes):
        known = ", ".join(version for version, files in found.items() if files) or "none"
        raise UsageError(f"There is no definition of {kubernetes} in {root}.", f"It has: {known}.")
    return {kubernetes: found[kubernetes]}


def is_version(text: str) -> bool:
    """Return whether ``text`` is a Kubernetes version (``v1.21.3``)."""
    return _VERSION.match(text) is not None


def version_key(version: str) -> tuple[int, ...]:
    """Give what orders versions as numbers (``v1.9.0`` before ``v1.21.3``)."""
    return tuple(int(part) for part in re.findall(r"\d+", version))
