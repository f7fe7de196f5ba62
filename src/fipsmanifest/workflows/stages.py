"""The stages from a definition to a manifest; each leaves its result in the work directory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..collect.context import Context
from ..collect.package_signature import verifier
from ..collect.stage import collect as fetch
from ..errors import Incomplete, NotTrusted, Refused, UsageError
from ..fetch.cache import Cache, default_root
from ..fetch.http import Http
from ..fetch.mirror import Mirrors
from ..generate.assemble import assemble
from ..generate.derived import underivable
from ..generate.modules import describer
from ..generate.tool import ToolFile
from ..inspect.artifacts import InspectedArtifact, Inspection, files_of
from ..inspect.inspector import Inspector
from ..inspect.table import Table, load
from ..model.artifact import Artifact, Kind
from ..model.definition import Definition
from ..model.manifest import Tool, parse
from ..progress import SILENT, Progress
from ..state import durable
from ..state import lock as locks
from ..state.workspace import Workspace, read
from ..trust.document import parse_json
from ..trust.keys import Trust
from ..trust.store import load_trust
from ..trust.text import read_time


@dataclass(frozen=True, slots=True)
class Site:
    """The directories and network settings of a run; the same for every definition."""

    work: Workspace
    """The work directory, for the results of each stage."""
    keys: Path
    """The trust directory."""
    cache: Path | None = None
    """The directory for downloads; None for the user's cache directory."""
    mirrors: tuple[str, ...] = ()
    """``FROM=TO``."""
    modules: Path | None = None
    """A file with the user's own module rows."""
    references: Path | None = None
    """A directory with the user's own references of Go's native module."""
    ca_bundle: Path | None = None
    """Certificate authorities for https."""
    allow_http: bool = False
    """Whether plain http beyond loopback is allowed."""
    progress: Progress = SILENT
    """Where to report to."""

    def trust(self) -> Trust:
        """Read the trust directory."""
        return load_trust(str(self.keys))

    def table(self) -> Table:
        """Read the table of modules, with the user's own rows."""
        return load(self.modules, self.references)

    def inspector(self) -> Inspector:
        """Return the inspector of files."""
        try:
            durable.make_directory(self.work.spool)
        except OSError as error:
            raise Incomplete(
                f"The work directory {self.work.root} cannot be written: {error.strerror}.",
                "Name another with --work.",
                reason="not-written",
            ) from error
        return Inspector(self.table(), self.work.spool)


@dataclass(frozen=True, slots=True)
class LockRule:
    """How a run uses the lock."""

    path: Path
    """The lock file."""
    first: bool = False
    """Write the lock if there is none."""
    update: bool = False
    """Replace existing pins."""
    write: bool = True
    """Whether anything may be written at all."""


def collect(definition: Definition, base: Path, site: Site, rule: LockRule) -> tuple[Artifact, ...]:
    """Fetch and authenticate the artifacts of a definition, and compare them with the lock.

    ``base`` is the definition's directory. Raises `Refused` for a difference from the lock, and if there is no lock and
    none may be written.
    """
    with _context(base, site, _pins(definition, rule)) as context:
        artifacts = fetch(definition, context)
    _settle(definition, site, rule, artifacts)
    return artifacts


def collect_and_inspect(
    definition: Definition, base: Path, site: Site, rule: LockRule, inspector: Inspector
) -> tuple[InspectedArtifact, ...]:
    """Collect as `collect` does, and inspect each artifact while the next one is downloaded."""
    with (
        _context(base, site, _pins(definition, rule)) as context,
        Inspection(
            inspector.forbidding(definition.forbid), site.work.findings, context.cache, site.progress
        ) as inspection,
    ):
        artifacts = fetch(definition, context, arrived=inspection.add)
        _settle(definition, site, rule, artifacts)
        return inspection.result()


def inspect_collected(definition: Definition, site: Site, inspector: Inspector) -> tuple[InspectedArtifact, ...]:
    """Inspect the artifacts of an earlier `collect`; every file is hashed again before it is inspected."""
    cache = Cache(site.cache or default_root())
    inspector = inspector.forbidding(definition.forbid)
    with Inspection(inspector, site.work.findings, cache, site.progress) as inspection:
        for artifact in site.work.load_artifacts(definition):
            for sha256 in files_of(artifact):
                if cache.get(sha256) is None:
                    raise Incomplete(
                        f"{artifact.name} (sha256 {sha256}) is no longer in the cache.",
                        f"Run 'fipsmanifest collect {definition.kubernetes}' again.",
                        reason="not-found",
                    )
            inspection.add(artifact)
        return inspection.result()


def _pins(definition: Definition, rule: LockRule) -> tuple[locks.Pin, ...]:
    """Return the lock's pins. Raises `Refused` before anything is fetched if there must be a lock and is none."""
    lock = locks.load(rule.path)
    pins = lock.of(str(definition.id.release))
    if pins is None and not (rule.first or rule.update):
        locks.check(lock, str(definition.id.release), ())
    return () if rule.update or pins is None else pins


def _settle(definition: Definition, site: Site, rule: LockRule, artifacts: tuple[Artifact, ...]) -> None:
    """Compare the artifacts with the lock, or write the lock; then save them as the stage's result."""
    lock = locks.load(rule.path)
    if lock.of(str(definition.id.release)) is not None and not rule.update:
        locks.check(lock, str(definition.id.release), artifacts)
    elif rule.write:
        locks.write(lock, str(definition.id.release), locks.pins_of(artifacts))
    site.work.save_artifacts(definition, artifacts)


@contextmanager
def _context(base: Path, site: Site, pins: Sequence[locks.Pin]) -> Iterator[Context]:
    mirrors = Mirrors.parse(site.mirrors)
    cache = Cache(site.cache or default_root())
    with Http(cache, ca_bundle=site.ca_bundle, allow_http=site.allow_http, progress=site.progress) as http:
        yield Context(http, cache, mirrors, verifier(site.trust()), base, tuple(pins), site.progress)


def generate(definition: Definition, inspected: Sequence[InspectedArtifact], site: Site, tool: ToolFile) -> bytes:
    """Generate the manifest, and return its canonical bytes. Raises `Refused` if a requirement is not met."""
    named = Tool(version=tool.version, sha256=tool.sha256)
    document = assemble(definition, inspected, describer(site.table()), named, _source_date_epoch())
    payload = document.payload()
    durable.write(site.work.manifest(definition), payload)
    return payload


def generated(definition: Definition, site: Site, rule: LockRule, tool: ToolFile) -> bytes:
    """Return the manifest that an earlier run left in the work directory, for a run that parses no artifacts.

    The machine that generated it parsed untrusted files, so everything that can be compared is checked: the form, the
    artifacts against the lock, and whatever follows from the definition, the table of modules, the node tool and the
    facts that the manifest states of its files. These facts themselves are trusted. Raises `Refused` for a difference,
    `Incomplete` if nothing was generated.
    """
    path = site.work.manifest(definition)
    payload = read(path, f"fipsmanifest generate {definition.kubernetes}")
    artifacts = site.work.load_artifacts(definition)
    _check_kinds(definition, artifacts)
    _pins(definition, rule)
    _settle(definition, site, rule, artifacts)
    try:
        document = parse(parse_json(payload))
    except NotTrusted as error:
        raise Refused(f"{path} cannot be signed: {error.message}", _GENERATE) from error
    named = Tool(version=tool.version, sha256=tool.sha256)
    epoch = _source_date_epoch()
    if epoch is None and (created := read_time(document.created)) is not None:
        epoch = int(created.timestamp())
    try:
        wrong = underivable(document, definition, artifacts, site.table(), named, epoch)
    except Refused as error:
        raise Refused(f"{path} cannot be signed: {error.message}", error.advice or _GENERATE) from error
    if wrong:
        keys = ", ".join(f"'{key}'" for key in wrong)
        raise Refused(
            f"{path} does not follow from the definition, the lock and this commit: {keys}.",
            _GENERATE,
            reason="not-derived",
        )
    if document.payload() != payload:
        raise Refused(f"{path} is not in the canonical form.", _GENERATE, reason="not-derived")
    return payload


def _check_kinds(definition: Definition, artifacts: Sequence[Artifact]) -> None:
    """Refuse artifacts that are not of the kind of the source that they name; the lock does not have the kind."""
    for artifact in artifacts:
        source = next((one for one in definition.sources if one.name == artifact.source), None)
        wanted = None if source is None else _KINDS[source.kind]
        if artifact.kind != wanted:
            raise Refused(
                f"{artifact.name} is of kind '{artifact.kind}', which its source '{artifact.source}' does not provide.",
                _GENERATE,
            )


_KINDS: dict[str, Kind] = {
    "rpm-repository": "rpm",
    "rpm-folder": "rpm",
    "tarball": "tarball",
    "image": "image",
    "image-archive": "image",
}

_GENERATE = "Generate it again from this commit and lock; if the error remains, do not sign it."


def _source_date_epoch() -> int | None:
    """Read SOURCE_DATE_EPOCH (reproducible-builds.org specification: seconds, an ASCII decimal)."""
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 11:
        raise UsageError(
            f"SOURCE_DATE_EPOCH is {text!r}, which is not a number of seconds.",
            "Set it to seconds since 1970-01-01, or unset it.",
        )
    return int(text)
