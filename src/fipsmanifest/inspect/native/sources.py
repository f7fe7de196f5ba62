"""The sources of Go's native module in a toolchain, by the digests that Go publishes with each release.

``lib/fips140/fips140.sum`` of a Go release lists the SHA-256 of each snapshot's zip; the file says that these are the
ones in the module's security policy.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...errors import UsageError, ValidationFailed

_LINE = re.compile(r"(v[0-9][A-Za-z0-9.-]*)\.zip\s+([0-9a-f]{64})(\s.*)?")
_ADVICE = "Take the toolchain again from where its makers publish it."


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The module's source in one toolchain."""

    version: str
    """As build info names it (``v1.0.0-c2097c7c``)."""
    sha256: str
    """Hex SHA-256 of its zip."""


def snapshots(root: Path, known: Mapping[str, str]) -> list[Snapshot]:
    """Return the snapshots of a toolchain, their zips compared with ``fips140.sum`` and with the digests ``known``.

    ``known`` has the hex SHA-256 of the zip by version; what it lacks is compared with ``fips140.sum`` alone.

    Raise `UsageError` where the toolchain has none, `ValidationFailed` where a zip is not the published one.
    """
    directory = root / "lib" / "fips140"
    try:
        lines = (directory / "fips140.sum").read_text("utf-8").splitlines()
        zips = sorted(directory.glob("v*.zip"))
        contents = {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in zips}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{root} has no FIPS module: {error}.", "Name the root of a Go release of Go 1.24 or later."
        ) from error
    listed = {match[1]: match[2] for line in lines if (match := _LINE.fullmatch(line))}
    for version, digest in contents.items():
        if listed.get(version) != digest:
            raise ValidationFailed(f"{directory / version}.zip is not the one that fips140.sum lists.", _ADVICE)
        if known.get(version, digest) != digest:
            raise ValidationFailed(
                f"{directory / version}.zip is not the source that is published as {version}.", _ADVICE
            )
    return [Snapshot(version, digest) for version, digest in contents.items()]
