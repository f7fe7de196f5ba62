"""The work folder: each stage's result as files, so that each stage can be run alone and resumed after a kill.

::

    work/v1.21.3/rhel8/artifacts.json             what was collected, and where it lies in the cache
    work/v1.21.3/rhel8/manifest-rhel8.json        what was generated
    work/v1.21.3/rhel8/manifest-rhel8.json.asc    what was signed
    work/findings/                                what was found in each artifact, by digest
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
    """Paths in the work folder, and the files whose form belongs to no single stage."""

    root: Path
    """The folder that ``--work`` names."""

    def folder(self, definition: Definition) -> Path:
        """Give where the results for one definition lie."""
        return self.root / definition.kubernetes / definition.name

    def manifest(self, definition: Definition) -> Path:
        """Give the path of the generated manifest."""
        return self.folder(definition) / definition.manifest_name

    def signed(self, definition: Definition) -> Path:
        """Give the path of the signed manifest."""
        return self.folder(definition) / f"{definition.manifest_name}.asc"

    @property
    def findings(self) -> Path:
        """Where findings are kept by the digest of what they were found in."""
        return self.root / "findings"

    @property
    def tool(self) -> Path:
        """Where the node tool and its signature lie."""
        return self.root / "tool"

    @property
    def spool(self) -> Path:
        """Where a large program lies while it is looked at; its files have no names."""
        return self.root / "spool"

    def save_artifacts(self, definition: Definition, artifacts: tuple[Artifact, ...]) -> None:
        """Keep what was collected for one definition."""
        durable.write(self._artifacts(definition), _ARTIFACTS.dump_json(artifacts, indent=2) + b"\n")

    def load_artifacts(self, definition: Definition) -> tuple[Artifact, ...]:
        """Give what was collected. Raises `Incomplete` where nothing was, `UsageError` for a broken file."""
        path = self._artifacts(definition)
        data = read(path, f"fipsmanifest collect {definition.kubernetes}")
        try:
            return _ARTIFACTS.validate_json(data)
        except ValidationError as error:
            raise UsageError(f"{path} is not a list of artifacts.", "Run 'fipsmanifest collect' again.") from error

    def _artifacts(self, definition: Definition) -> Path:
        return self.folder(definition) / "artifacts.json"


def read(path: Path, made_by: str) -> bytes:
    """Read a stage's result. Raises `Incomplete` that names the command which makes it."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise Incomplete(f"{path} is not there yet.", f"Make it with '{made_by}'.") from error
    except OSError as error:
        raise Incomplete(f"{path} cannot be read: {error.strerror}.", f"Make it anew with '{made_by}'.") from error
