"""Release definitions: what must be in a release of one Kubernetes version for one EL, and where it comes from.

One TOML file per version and EL, ``releases/v1.21.3/rhel8.toml``; the file's name is the manifest's name. A new
version is a new file and nothing else. ``releases/README.md`` explains every key with an example.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from . import architecture, version
from .acceptance import DEFAULT_FAMILIES, UNOPENED, Requirement, RequirementName
from .exceptions import VerdictException
from .fields import Reason, Table, Text
from .finding import ModuleFamily
from .identity import ManifestId

SCHEMA = "fipsmanifest/definition/v1"

Fingerprint = Annotated[str, Field(pattern=r"^[0-9A-F]{40}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64)]
NodePath = Annotated[str, Field(pattern=r"^/", max_length=1024)]


def _convert_to_utc(value: object) -> object:
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ValueError("needs a time zone, such as the Z at its end")
    return value.astimezone(UTC) if isinstance(value, datetime) else value


Instant = Annotated[datetime, BeforeValidator(_convert_to_utc)]


class OperatingSystem(Table):
    """An operating system that the release is for."""

    id: Name
    """``ID`` of its os-release file."""
    versions: tuple[str, ...] = Field(min_length=1)
    """Accepted values of ``VERSION_ID``; a trailing ``.*`` accepts every minor release."""


SignedBy = Literal["upstream"] | tuple[Fingerprint, ...]


class RpmRepository(Table):
    """Packages from a repository (repomd.xml)."""

    kind: Literal["rpm-repository"]
    name: Name
    url: Text
    """The directory that contains ``repodata/``; ``{arch}`` is replaced by each of the release's architectures."""
    packages: tuple[Text, ...] = Field(min_length=1)
    """``NAME-VERSION-RELEASE``."""
    signed_by: SignedBy = "upstream"
    """Who must have signed each package: any key with the role ``upstream`` in the trust file, or just these."""
    metadata_signed_by: SignedBy | None = None
    """Who must have signed ``repomd.xml``, where upstream signs it."""


class RpmFolder(Table):
    """Packages from a directory or a tar of RPMs, as in bundles for air-gapped sites."""

    kind: Literal["rpm-folder"]
    name: Name
    url: Text
    """A directory or tar: a path relative to the definition, or an address."""
    packages: tuple[Text, ...] = Field(min_length=1)
    """``NAME-VERSION-RELEASE``."""
    signed_by: SignedBy = "upstream"
    """As for a repository."""


class Tarball(Table):
    """A compressed tar that is unpacked on the node."""

    kind: Literal["tarball"]
    name: Name
    url: Text
    """Its address; ``{arch}`` and ``{oci_arch}`` are replaced by each of the release's architectures."""
    unpack: NodePath = "/"
    """Where on the node it is unpacked."""
    sha256: Digest | None = None
    """The digest that upstream publishes, if it does; the lock pins the file in any case."""


class Images(Table):
    """Container images from their registries."""

    kind: Literal["image"]
    name: Name
    references: tuple[Text, ...] = Field(min_length=1)
    """``registry/repository:tag``, or with ``@sha256:``."""


class ImageArchive(Table):
    """Container images from an archive (``docker save`` or an OCI layout, plain or compressed)."""

    kind: Literal["image-archive"]
    name: Name
    url: Text
    """The archive: a path relative to the definition, or an address."""
    references: tuple[Text, ...] = Field(min_length=1)
    """The images to take from it, by their names in the archive."""


Source = Annotated[
    RpmRepository | RpmFolder | Tarball | Images | ImageArchive,
    Field(discriminator="kind"),
]


class Component(Table):
    """A part of the distribution: the files and images that belong to it, and what is required of them."""

    name: Name
    requirement: RequirementName
    """``proven``: every Go program contains a module of the table, wired in. ``module``: it contains one of the modules
    named here, which the table does not know. ``known``: not a FIPS build, and the manifest says so."""
    reason: Reason | None = None
    """Why; required for ``module`` and ``known``."""
    modules: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}([0-9a-f]{64})?$")]] = Field(default_factory=dict)
    """For ``module``: the integrity digest of the module, by architecture."""
    claimed_by: Reason | None = None
    """For ``module``: who says that this digest is a validated module's."""
    files: tuple[NodePath, ...] = ()
    """Globs over node paths; they take precedence over ``packages`` and ``sources``."""
    packages: tuple[Text, ...] = ()
    """Names of RPMs whose files belong to it."""
    sources: tuple[Name, ...] = ()
    """Names of sources whose files belong to it."""
    images: tuple[Text, ...] = ()
    """Repositories (without a tag) of the images that belong to it."""
    exceptions: tuple[VerdictException, ...] = ()
    """Its programs that are not what is required, and why that is right. With ``container``, a glob over the files that
    are archives, they are for what is packed in these; with ``unopened``, for files that are not opened."""

    def requirement_for(
        self,
        architecture: str,
        families: Collection[ModuleFamily] = DEFAULT_FAMILIES,
        forbidden: Collection[str] = (),
    ) -> Requirement:
        """Return the rule for its programs of an architecture.

        ``families`` are those that the definition accepts, ``forbidden`` what it forbids beside the module.
        """
        digest = self.modules.get(architecture)
        return Requirement(self.requirement, (digest,) if digest is not None else (), families, forbidden=forbidden)

    def exception_for(
        self, path: str, container: str | None = None, *, unopened: str | None = None
    ) -> VerdictException | None:
        """Return the first exception for the program at ``path``, or for the file that is not opened there.

        ``unopened`` is the format of the latter, None for a program. ``container`` is the archive that the path is in;
        None for a file of a node or image. None where there is no exception: one for files of a node is not for what
        is packed in others under the same path.
        """
        for item in self.exceptions:
            of_its_kind = (item.verdict == UNOPENED) is (unopened is not None)
            if not of_its_kind or (item.container is None) is not (container is None):
                continue
            if (unopened is None or item.accepts(unopened)) and item.matches(path, container):
                return item
        return None

    @model_validator(mode="after")
    def _check_reason(self) -> Component:
        if self.requirement != "proven" and self.reason is None:
            raise ValueError(f"needs a reason, because its requirement is '{self.requirement}'")
        if (self.requirement == "module") != bool(self.modules) or (self.requirement == "module") != bool(
            self.claimed_by
        ):
            raise ValueError("'modules' and 'claimed_by' are for the requirement 'module', which needs both")
        if not (self.files or self.packages or self.sources or self.images):
            raise ValueError("owns nothing: set its files, packages, sources or images")
        return self


class Service(Table):
    """A TLS service of a node, and the versions and suites that it may accept."""

    name: Name
    component: Name
    port: int = Field(ge=1, le=65535)
    roles: tuple[Literal["control-plane", "worker"], ...] = Field(min_length=1)
    tls_versions: tuple[Literal["TLSv1.2", "TLSv1.3"], ...] = Field(min_length=1)
    cipher_suites: tuple[Annotated[str, Field(pattern=r"^TLS_[A-Z0-9_]+$")], ...] = Field(min_length=1)
    """IANA names."""
    preferred: str | None = None
    """The suite that the server should choose when a client offers all allowed ones."""


class Node(Table):
    """What the node tool requires of a node."""

    fips_mode: bool = True
    roles: dict[Literal["control-plane", "worker"], tuple[Name, ...]]
    """The components that a node of that role must have."""
    services: tuple[Service, ...] = ()


class Definition(Table):
    """What must be in the release, and where it comes from."""

    schema_: Literal["fipsmanifest/definition/v1"] = Field(alias="schema")
    kubernetes: Annotated[str, Field(pattern=version.PATTERN)]
    """``v1.21.3``."""
    build_metadata: Annotated[str, Field(pattern=r"^[0-9A-Za-z.-]+$")]
    """The part of the version after its ``+`` (``fips.0``)."""
    tag: Annotated[str, Field(pattern=r"^(?:[0-9A-Za-z_.-]|\{kubernetes\}|\{build_metadata\})+$")] = (
        "{kubernetes}_{build_metadata}"
    )
    """The tag of the control plane's images, where it is another one (``{kubernetes}-{build_metadata}``)."""
    el: int = Field(ge=7, le=99)
    """Enterprise Linux major release."""
    serial: int = Field(ge=1)
    """1 for the first manifest of this release, and the next number for each one that replaces it."""
    reason: Reason | None = None
    """Why there is a new serial; required from serial 2 on."""
    created: Instant | None = None
    """The manifest's date; without it, SOURCE_DATE_EPOCH must be set."""
    expires: Instant | None = None
    """When consumers stop accepting the manifest; None for never."""
    modules: tuple[ModuleFamily, ...] = Field(default=DEFAULT_FAMILIES, min_length=1)
    """The families of modules that are accepted where a component requires ``proven``."""
    forbid: tuple[Text, ...] = ()
    """Globs over import paths of packages, and names of libraries in C, with cryptography beside the module: no Go
    program may have one, except in components that require nothing (``known``) and where an exception accepts it."""
    architectures: tuple[Literal["x86_64", "aarch64"], ...] = Field(min_length=1)
    operating_systems: tuple[OperatingSystem, ...] = Field(min_length=1)
    sources: tuple[Source, ...] = Field(min_length=1)
    components: tuple[Component, ...] = Field(min_length=1)
    node: Node

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    """The file's name without its suffix (``rhel8``); not a key of the file."""

    @model_validator(mode="after")
    def _check_references(self) -> Definition:
        if self.serial > 1 and self.reason is None:
            raise ValueError(f"serial {self.serial} needs a reason: what changed since serial {self.serial - 1}")
        if self.serial == 1 and self.reason is not None:
            raise ValueError("a reason is allowed from serial 2 on only")
        _refuse_duplicates("module family", list(self.modules))
        _refuse_duplicates("source", [source.name for source in self.sources])
        _refuse_duplicates("component", [component.name for component in self.components])
        names = {component.name for component in self.components}
        for role, required in self.node.roles.items():
            _refuse_unknown(f"node role '{role}' requires", required, names)
        _refuse_unknown("a service belongs to component", [service.component for service in self.node.services], names)
        known_sources = {source.name for source in self.sources}
        for component in self.components:
            _refuse_unknown(f"component '{component.name}' owns", component.sources, known_sources)
        return self

    @property
    def id(self) -> ManifestId:
        """The identity of the manifest that this is the definition of."""
        return ManifestId(self.kubernetes, self.name, self.serial)

    @property
    def image_tag(self) -> str:
        """The tag that the control plane's images have (``v1.21.3_fips.0``)."""
        return self.tag.replace("{kubernetes}", self.kubernetes).replace("{build_metadata}", self.build_metadata)

    @property
    def manifest_name(self) -> str:
        """``manifest-rhel8.json``."""
        return f"manifest-{self.name}.json"

    def public_address(self, source_name: str, address: str) -> str:
        """Return ``address`` of a source as manifests record it: only the last part of a path on this machine.

        What is signed and published must not reveal directories or users of the machine on which it was made.
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
        """Yield architecture and address of each file of ``source``; none for images, which have all architectures."""
        if isinstance(source, Images | ImageArchive):
            return
        for name in self.architectures:
            url = source.url.replace("{arch}", name).replace("{oci_arch}", architecture.to_oci(name))
            yield name, url
            if url == source.url:
                return


def is_absolute_path(url: str) -> bool:
    """Return whether an address is an absolute path on this machine."""
    return url.startswith(("/", "file:"))


def _refuse_duplicates(what: str, names: list[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{what} '{repeated[0]}' is defined twice")


def _refuse_unknown(what: str, names: tuple[str, ...] | list[str], known: set[str]) -> None:
    unknown = sorted(set(names) - known)
    if unknown:
        raise ValueError(f"{what} '{unknown[0]}', which the definition does not have")
