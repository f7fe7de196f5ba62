"""The highest serial seen of each release, so that an old manifest cannot come back as the newest one.

A file under ``$XDG_STATE_HOME/fipsmanifest`` (XDG Base Directory Specification) with one entry per manifest of a
Kubernetes version; a rollback is refused.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import Incomplete, NotTrusted
from .node.text import visible

MAX_BYTES = 1 << 20


def state_file() -> Path:
    """Give where the serials are remembered. Raises `Incomplete` for a user without a home."""
    home = os.environ.get("XDG_STATE_HOME") or ""
    try:
        base = Path(home) if home.startswith("/") else Path.home() / ".local" / "state"
    except RuntimeError as error:
        raise Incomplete(
            "There is no home folder to remember the serials seen in.",
            "Set XDG_STATE_HOME to a folder of yours, or use --no-state.",
        ) from error
    return base / "fipsmanifest" / "serials.json"


def check_and_remember(path: Path, release: str, serial: int) -> None:
    """Refuse a serial lower than one seen before, and remember a higher one.

    ``release`` names what serials are counted for (``v1.21.3/rhel8``). Raises `NotTrusted` for a rollback,
    `Incomplete` where the file cannot be read or written: then nobody knows whether this is a rollback.
    """
    with _locked(path):
        seen = _read(path)
        highest = seen.get(release, 0)
        if serial < highest:
            raise NotTrusted(
                f"This manifest of {visible(release)} has serial {serial}, but serial {highest} was seen before.",
                f"Get the newest manifest. If going back is intended, remove the entry from {path}.",
            )
        if serial > highest:
            from . import durable

            document = {"schema": "fipsmanifest/serials/v1", "serials": {**seen, release: serial}}
            durable.write(path, (json.dumps(document, indent=2, sort_keys=True) + "\n").encode(), mode=0o600)


def _read(path: Path) -> dict[str, int]:
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(MAX_BYTES))
        serials = document["serials"]
        return {str(release): int(serial) for release, serial in serials.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise Incomplete(
            f"{path}, which remembers the serials seen, cannot be read.", "Restore or remove it; it holds no secrets."
        ) from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep two verifications from forgetting each other's serial."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_suffix(".lock").open("w")
    except OSError as error:
        raise Incomplete(
            f"{path.parent} cannot be written: {error.strerror}.",
            "Set XDG_STATE_HOME to a folder of yours, or use --no-state.",
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
