"""Assemble the manifest from a definition and the findings. Pure: the same input gives the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ..errors import Refused, UsageError
from ..inspect.artifacts import InspectedArtifact
from ..inspect.serialization import to_json
from ..model import manifest
from ..model.artifact import Artifact
from ..model.definition import Component, Definition
from ..model.finding import DetectedModule, Finding
from ..model.ownership import owner_of_file, owner_of_image
from .policy import Judgement, Subject, judge, judge_packed

#: RPM's architecture of architecture-independent packages; also used for tarballs without one.
ANY = "noarch"

#: Reasons that are listed for what is packed in files: one archive may have a hundred thousand programs.
_MOST_PACKED = 50

#: Returns the manifest's description of a recognised module: its certificates, or who claims it.
Describe = Callable[[DetectedModule], manifest.Module]


@dataclass(frozen=True, slots=True)
class _Owned:
    """One file with its component, source and architecture."""

    component: Component
    source: str
    architecture: str
    """RPM name: of its source, or of the program itself if the source is for any architecture."""
    finding: Finding
    nodes: str
    """The architecture of the nodes that get it; `ANY` for all of them."""


def assemble(
    definition: Definition,
    inspected: Sequence[InspectedArtifact],
    describe: Describe,
    tool: manifest.Tool,
    source_date_epoch: int | None = None,
) -> manifest.Manifest:
    """Return the manifest of a release.

    ``source_date_epoch`` (seconds) dates the manifest if the definition does not. Raises `Refused` with every
    requirement that is not met and every file without a component, `UsageError` if there is no date.
    """
    owned = _own(definition, inspected)
    components = _components(definition, owned, _refused_packed(definition, inspected))
    on_nodes = [item for item in owned if item.source not in _references(inspected)]
    return manifest.Manifest(
        schema="fipsmanifest/v1",
        name=definition.name,
        kubernetes=definition.kubernetes,
        build_metadata=definition.build_metadata,
        el=definition.el,
        serial=definition.serial,
        reason=definition.reason,
        created=_created(definition, source_date_epoch),
        expires=_time(definition.expires) if definition.expires else None,
        components=components,
        files=_files(on_nodes),
        images=_images(definition, inspected),
        modules=_modules(owned, describe),
        sources=source_records(definition, [item.artifact for item in inspected]),
        node=_node(definition),
        tool=tool,
    )


def _references(inspected: Sequence[InspectedArtifact]) -> set[str]:
    return {item.artifact.name for item in inspected if item.artifact.kind == "image"}


def _own(definition: Definition, inspected: Sequence[InspectedArtifact]) -> list[_Owned]:
    owned: list[_Owned] = []
    refusals: list[str] = []
    for item in inspected:
        for finding in item.findings:
            try:
                component = _owner(definition, item, finding.path)
            except Refused as error:
                refusals.append(str(error))
                continue
            architecture = _architecture(item, finding)
            owned.append(_Owned(component, item.artifact.name, architecture, finding, item.architecture))
    if refusals:
        raise Refused("\n".join(dict.fromkeys(refusals)), reason="not-proven")
    return owned


def _owner(definition: Definition, item: InspectedArtifact, path: str) -> Component:
    """Return the component of a file of an artifact. Raises `Refused` if there is none, or more than one."""
    if item.artifact.kind == "image":
        return owner_of_image(definition, item.artifact.name)
    return owner_of_file(definition, item.artifact, path)


def _architecture(item: InspectedArtifact, finding: Finding | None) -> str:
    """Return the architecture of a file: its own, if the artifact is for any."""
    return finding.elf.machine if item.architecture == ANY and finding and finding.elf else item.architecture


def _refused_packed(definition: Definition, inspected: Sequence[InspectedArtifact]) -> list[str]:
    """Return why what is packed in files, or in the scriptlets of a package, is refused."""
    refusals: list[str] = []
    for item in inspected:
        for packed in item.packed:
            try:
                component = _owner(definition, item, packed.outer)
            except Refused as error:
                # The scriptlets of a package whose files are owned one by one.
                refusals.append(str(error))
                continue
            refusal = judge_packed(
                component,
                _architecture(item, packed.finding),
                item.artifact.name,
                packed,
                definition.modules,
                definition.forbid,
            )
            if refusal is not None:
                refusals.append(refusal)
    more = len(refusals) - _MOST_PACKED
    return refusals if more <= 0 else [*refusals[:_MOST_PACKED], f"And {more} more of what is packed in files."]


def _components(
    definition: Definition, owned: Sequence[_Owned], refused_packed: Sequence[str]
) -> list[manifest.ComponentVerdict]:
    verdicts: list[manifest.ComponentVerdict] = []
    refusals: list[str] = []
    known = definition.architectures
    for component in definition.components:
        for architecture in known:
            subjects = [
                Subject(item.source, item.architecture, item.finding)
                for item in owned
                if item.component is component and item.finding.crypto and _is_judged_with(item, architecture, known)
            ]
            judgement: Judgement = judge(component, architecture, subjects, definition.modules, definition.forbid)
            refusals += judgement.refusals
            verdicts.append(
                manifest.ComponentVerdict(
                    name=component.name,
                    architecture=architecture,
                    requirement=component.requirement,
                    reason=component.reason,
                    verdict=judgement.verdict,
                )
            )
    if refusals or refused_packed:
        raise Refused("\n".join(dict.fromkeys([*refusals, *refused_packed])), reason="not-proven")
    return verdicts


def _is_judged_with(item: _Owned, architecture: str, known: Collection[str]) -> bool:
    """Return whether a program is judged with those of ``architecture``, one of the ``known`` ones of the release.

    A source for any architecture can have programs of another one, such as 386, which x86_64 runs as well, and programs
    whose header cannot be read. They are on every node, so they are judged with each.
    """
    return item.architecture == architecture or item.architecture not in known


def _files(owned: Sequence[_Owned]) -> list[manifest.File]:
    """Return one record per path and architecture; two packages of a node may share a file only if it is identical.

    A program that they share must belong to one component: the record names one, and the verdict of another one would
    rest on a file that the manifest does not say is its own.
    """
    records: dict[tuple[str, str], manifest.File] = {}
    at_path: dict[str, list[tuple[str, manifest.File]]] = {}
    refusals: list[str] = []
    shared: list[str] = []
    for item in owned:
        record = _file(item.finding, component=item.component.name, source=item.source, architecture=item.architecture)
        others = at_path.setdefault(record.path, [])
        for nodes, other in others:
            if nodes != item.nodes and ANY not in (nodes, item.nodes):
                continue
            if _content(other) != _content(record):
                refusals.append(f"{record.path} is in {other.source} and in {record.source}, with different content.")
            elif record.crypto and other.component != record.component:
                shared.append(
                    f"{record.path} belongs to '{other.component}' in {other.source}, and to '{record.component}' in "
                    f"{record.source}."
                )
        others.append((item.nodes, record))
        records.setdefault((record.path, item.architecture), record)
    if refusals:
        raise Refused(
            "\n".join(refusals), "A node can have only one of them; remove a package or tarball.", reason="not-proven"
        )
    if shared:
        raise Refused("\n".join(shared), "Assign it to one component with 'files'.")
    return [records[key] for key in sorted(records)]


def _content(record: manifest.File) -> tuple[str, str | None, str | None]:
    """Return what two sources must have in common of a file."""
    return record.type, record.sha256, record.target


def _file(
    finding: Finding, *, component: str | None = None, source: str | None = None, architecture: str | None = None
) -> manifest.File:
    form = {**to_json(finding), "component": component, "source": source}
    if architecture is not None:
        form["architecture"] = architecture
    return manifest.File.model_validate(form)


def _images(definition: Definition, inspected: Sequence[InspectedArtifact]) -> list[manifest.Image]:
    platforms: dict[str, list[manifest.Platform]] = {}
    indexes: dict[str, str | None] = {}
    for item in inspected:
        platform = item.platform
        if platform is None:
            continue
        indexes[item.artifact.name] = item.artifact.index
        platforms.setdefault(item.artifact.name, []).append(
            manifest.Platform(
                architecture=platform.architecture,
                manifest=platform.manifest.digest,
                config=platform.config.digest,
                layers=[layer.digest for layer in platform.layers],
                diff_ids=list(platform.diff_ids),
                files=[_file(finding) for finding in sorted(item.findings, key=lambda finding: finding.path)],
            )
        )
    return [
        manifest.Image(
            reference=reference,
            component=owner_of_image(definition, reference).name,
            index=indexes[reference],
            platforms=sorted(found, key=lambda platform: platform.architecture),
        )
        for reference, found in sorted(platforms.items())
    ]


def _modules(owned: Sequence[_Owned], describe: Describe) -> dict[str, manifest.Module]:
    modules: dict[str, manifest.Module] = {}
    for item in owned:
        seen = item.finding.crypto.module if item.finding.crypto else None
        if seen is None:
            continue
        module = describe(seen)
        if seen.row is None and item.component.modules.get(item.architecture) == seen.digest:
            module = module.model_copy(update={"claimed_by": item.component.claimed_by})
        known = modules.get(seen.id)
        if known is None or known.claimed_by is None:
            modules[seen.id] = module
    return modules


def source_records(definition: Definition, artifacts: Iterable[Artifact]) -> list[manifest.SourceRecord]:
    """Return the manifest's source record of each artifact."""
    records = {
        (artifact.address, artifact.name): manifest.SourceRecord(
            name=artifact.name,
            kind=artifact.kind,
            address=definition.public_address(artifact.source, artifact.address),
            sha256=artifact.sha256,
            size=artifact.size,
            signed_by=artifact.signed_by,
        )
        for artifact in artifacts
    }
    return [records[key] for key in sorted(records)]


def _node(definition: Definition) -> manifest.Node:
    node = definition.node
    return manifest.Node(
        operating_systems=[
            manifest.OperatingSystem(id=system.id, versions=list(system.versions))
            for system in definition.operating_systems
        ],
        fips_mode=node.fips_mode,
        roles={role: list(names) for role, names in node.roles.items()},
        services=[manifest.Service.model_validate(service.model_dump(mode="json")) for service in node.services],
    )


def _created(definition: Definition, source_date_epoch: int | None) -> str:
    if definition.created is not None:
        return _time(definition.created)
    if source_date_epoch is None:
        raise UsageError(
            "The definition has no 'created', and SOURCE_DATE_EPOCH is not set.",
            "Set 'created' in the definition; the current time would make every manifest different.",
        )
    return _time(datetime.fromtimestamp(source_date_epoch, tz=UTC))


def _time(value: datetime) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")
