"""The work directory: each stage's result as files, so that stages can be run separately and resumed after a kill.

::

    work/v1.21.3/rhel8/artifacts.json             the collected artifacts, with their digests in the cache
    work/v1.21.3/rhel8/manifest-rhel8.json        the generated manifest
    work/v1.21.3/rhel8/manifest-rhel8.json.asc    the signed manifest, with its .sigstore.json if there is one
    work/findings/                                the findings in each artifact, by digest
    work/tool/                                    the node tool with its signature
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from ..errors import Incomplete, UsageError
from ..model.artifact import Artifact
from ..model.definition import Definition
from . import durable

_ARTIFACTS = TypeAdapter(tuple[Artifact, ...])


@dataclass(frozen=True, slots=True)
class Workspace:
    """The paths in the work directory, and the files that several stages use."""

    root: Path
    """The directory that ``--work`` names."""

    def directory(self, definition: Definition) -> Path:
        """Return the directory for the results of one definition."""
        return self.root / definition.kubernetes / definition.name

    def manifest(self, definition: Definition) -> Path:
        """Return the path of the generated manifest."""
        return self.directory(definition) / definition.manifest_name

    def sigstore(self, definition: Definition) -> Path:
        """Return the path of the signed manifest's Sigstore bundle."""
        return self.directory(definition) / f"{definition.manifest_name}.asc.sigstore.json"

    def signed(self, definition: Definition) -> Path:
        """Return the path of the signed manifest."""
        return self.directory(definition) / f"{definition.manifest_name}.asc"

    @property
    def findings(self) -> Path:
        """The directory for findings, by the digest of the artifact."""
        return self.root / "findings"

    @property
    def tool(self) -> Path:
        """The directory for the node tool and its signature."""
        return self.root / "tool"

    @property
    def spool(self) -> Path:
        """The directory for large programs during inspection; its files are unlinked."""
        return self.root / "spool"

    def save_artifacts(self, definition: Definition, artifacts: tuple[Artifact, ...]) -> None:
        """Save the collected artifacts of one definition."""
        durable.write(self._artifacts(definition), _ARTIFACTS.dump_json(artifacts, indent=2) + b"\n")

    def load_artifacts(self, definition: Definition) -> tuple[Artifact, ...]:
        """Return the collected artifacts. Raises `Incomplete` if there are none, `UsageError` for an invalid file."""
        path = self._artifacts(definition)
        data = read(path, f"fipsmanifest collect {definition.kubernetes}")
        try:
            return _ARTIFACTS.validate_json(data)
        except ValidationError as error:
            raise UsageError(f"{path} is not a list of artifacts.", "Run 'fipsmanifest collect' again.") from error

    def _artifacts(self, definition: Definition) -> Path:
        return self.directory(definition) / "artifacts.json"


def read(path: Path, made_by: str) -> bytes:
    """Read a stage's result. Raises `Incomplete` with the command that creates it."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise Incomplete(f"{path} does not exist yet.", f"Create it with '{made_by}'.") from error
    except OSError as error:
        raise Incomplete(
            f"{path} cannot be read: {error.strerror}.", f"Create it again with '{made_by}'.", reason="not-read"
        ) from error
