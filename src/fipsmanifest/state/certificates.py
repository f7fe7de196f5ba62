"""The table of certificates that `modules update` verified, kept for the verbs that inspect."""

from __future__ import annotations

import json
import os
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import Incomplete
from ..model import documents
from . import durable
from .rollback import state_directory

_SCHEMA = "fipsmanifest/certificates-kept/v1"
_MAX_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class KeptTable:
    """A verified table."""

    table: str
    """The signed text, which is ASCII."""
    source: str
    """The file or address that it was read from."""
    signed_by: str
    """Full fingerprint of the key."""
    signed_at: str
    """The signature's date, RFC 3339."""


def kept_file() -> Path:
    """Return the path of the file. Raises `Incomplete` for a user without a home directory."""
    return state_directory() / "certificates.json"


def read(path: Path) -> KeptTable | None:
    """Return the kept table, or None. Raises `Incomplete` if the file cannot be read: it is not ignored."""
    if not os.path.lexists(path):
        return None
    try:
        # Opening a FIFO without a writer would block.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            document = documents.read_json(file.read(_MAX_BYTES))
        if document.pop("schema") != _SCHEMA or not all(isinstance(value, str) for value in document.values()):
            raise ValueError
        return KeptTable(**document)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Incomplete(
            f"{path}, which has the table of certificates, cannot be read.",
            "Remove it, and run `fipsmanifest modules update` again.",
        ) from error


def changing(path: Path) -> AbstractContextManager[None]:
    """Serialize changes of the file. Raises `Incomplete` if its directory cannot be written."""
    return durable.serialized(path, "Set XDG_STATE_HOME to a writable directory on a local disk.")


def write(path: Path, kept: KeptTable) -> None:
    """Keep a table instead of the one before."""
    document = {"schema": _SCHEMA, **asdict(kept)}
    durable.write(path, (json.dumps(document, indent=2, sort_keys=True) + "\n").encode(), mode=0o600)
