"""Files that ``inspect`` writes besides its output: the same findings in formats of other tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from .. import __version__
from ..errors import FipsManifestError, Incomplete
from ..export import documents
from ..export.formats import FORMATS, FormatName
from ..export.settings import Settings
from ..inspect.gate import GateDecision
from ..inspect.nested import LocatedFinding, UnopenedContainer
from ..inspect.table import Table
from ..model.artifact import SkippedPart
from ..state import durable
from . import output
from .findings import JsonRenderer, Renderer


class ReportingRenderer:
    """Passes everything on to another renderer, and writes the files in the end."""

    def __init__(self, shown: Renderer, table: Table, files: Mapping[FormatName, Path]) -> None:
        self._shown = shown
        self._document = JsonRenderer(table)
        self._files = files

    def add(self, item: LocatedFinding) -> None:
        """Add a file."""
        self._shown.add(item)
        self._document.add(item)

    def add_left_out(self, item: SkippedPart) -> None:
        """Add what was not inspected."""
        self._shown.add_left_out(item)
        self._document.add_left_out(item)

    def add_unopened(self, item: UnopenedContainer) -> None:
        """Add an archive that was not opened."""
        self._shown.add_unopened(item)
        self._document.add_unopened(item)

    def finish(self, errors: Sequence[FipsManifestError], decision: GateDecision | None) -> None:
        """Write the files, and then the rest of the output.

        Raises `Incomplete` if the findings are too large to be exported, or a file cannot be written; the output is
        complete all the same.
        """
        try:
            self._write(errors, decision)
        finally:
            self._shown.finish(errors, decision)

    def _write(self, errors: Sequence[FipsManifestError], decision: GateDecision | None) -> None:
        pieces: list[bytes] = []
        size = 0
        for piece in output.json_pieces(self._document.document(errors, decision)):
            pieces.append(piece.encode("ascii"))
            size += len(pieces[-1])
            if size > documents.MAX_BYTES:
                raise Incomplete(
                    f"The findings are larger than {documents.MAX_BYTES} bytes, and cannot be exported.",
                    "Inspect fewer files at a time.",
                )
        source = documents.read(b"".join(pieces), "The inspection")
        for name, path in self._files.items():
            durable.write(path, FORMATS[name].render(source, Settings(__version__)).encode("utf-8"))
