"""Rollback protection: store the highest verified serial of each release, and refuse lower ones.

The serials are in a file under ``$XDG_STATE_HOME/fipsmanifest`` (XDG Base Directory Specification). Publishers are
counted separately: a stored serial applies if the user trusts one of the keys that were trusted when it was stored
(`docs/adr/0008-serials-count-by-publisher.md`).
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import Incomplete, NotTrusted
from ..model import documents
from ..model.identity import ManifestId
from ..trust.keys import Trust
from ..trust.text import visible
from . import durable

_log = logging.getLogger(__name__)

MAX_BYTES = 1 << 20

_SCHEMAS = ("fipsmanifest/serials/v1", "fipsmanifest/serials/v2")


def state_file() -> Path:
    """Return the path of the state file. Raises `Incomplete` for a user without a home directory."""
    return state_directory() / "serials.json"


def state_directory() -> Path:
    """Return the directory of what is kept between runs. Raises as `state_file`."""
    home = os.environ.get("XDG_STATE_HOME") or ""
    try:
        base = Path(home) if home.startswith("/") else _home() / ".local" / "state"
    except RuntimeError as error:
        raise Incomplete(
            "There is no home directory for what is kept between runs.",
            "Set XDG_STATE_HOME to a writable directory, or use --no-state.",
        ) from error
    return base / "fipsmanifest"


def _home() -> Path:
    # Path.home() treats an empty HOME as the root directory.
    if os.environ.get("HOME") == "":
        raise RuntimeError
    return Path.home()


@dataclass(frozen=True, slots=True)
class Seen:
    """The highest serial that was verified of one publisher's release."""

    serial: int
    """The serial."""
    keys: frozenset[str]
    """Primary keys that were trusted for manifests at that time; empty if not recorded."""
    signed_by: str | None
    """Fingerprint of the key that signed it; None if not recorded."""

    def concerns(self, keys: frozenset[str]) -> bool:
        """Return whether it applies to a user who trusts these keys."""
        return not self.keys or not self.keys.isdisjoint(keys)


def check_and_remember(
    path: Path, manifest: ManifestId, *, signed_by: str, trust: Trust, cosign_key: str | None = None
) -> None:
    """Refuse a serial lower than a stored one, and store a higher one.

    ``signed_by`` is the signer's fingerprint, ``cosign_key`` that of a key of cosign which is trusted as well as
    ``trust``. Raises `NotTrusted` for a rollback, and `Incomplete` if the file cannot be read or written, since a
    rollback cannot be excluded then.
    """
    release, serial = str(manifest.release), manifest.serial
    keys = _manifest_keys(trust) | ({f"cosign:{cosign_key}"} if cosign_key else set())
    with _locked(path):
        every = _read(path)
        known = every.get(release, ())
        related = [one for one in known if one.concerns(keys)]
        highest = max(related, key=lambda one: one.serial, default=None)
        _log.debug("%s: highest serial of %s seen is %s", path, release, highest.serial if highest else "none")
        if highest is not None and serial < highest.serial:
            before = f"but serial {highest.serial} was seen before"
            raise NotTrusted(
                f"This manifest of {visible(release)} has serial {serial}, {before}.",
                f"{_what_now(highest, trust)}, remove its entry from {path}.",
                reason="rolled-back",
            )
        now = Seen(serial, keys, signed_by)
        # Trusting keys of two records joins them. A record without keys stays, since its publisher is unknown.
        joined = now if highest is None or serial > highest.serial or not highest.keys else highest
        joined = Seen(joined.serial, keys.union(*(one.keys for one in related)), joined.signed_by)
        after = (*(one for one in known if one not in related or not one.keys), joined)
        if set(after) != set(known):
            durable.write(path, _written({**every, release: after}), mode=0o600)


def _manifest_keys(trust: Trust) -> frozenset[str]:
    found = set()
    for entry in trust.keys:
        if entry.role == "manifest":
            certificate = trust.certificate(entry.fingerprint)
            found.add(entry.fingerprint if certificate is None else certificate.primary.fingerprint)
    return frozenset(found)


def _what_now(highest: Seen, trust: Trust) -> str:
    certificate = None if highest.signed_by is None else trust.certificate(highest.signed_by)
    signers = {highest.signed_by, None if certificate is None else certificate.primary.fingerprint}
    if any(entry.status == "revoked" and entry.fingerprint in signers for entry in trust.keys):
        revoked = f"That one was signed by {highest.signed_by}, which is revoked since"
        return f"{revoked}: get the newest manifest, or, where its publisher never made that serial"
    return "Get the newest manifest. If going back is intended"


def _written(every: Mapping[str, tuple[Seen, ...]]) -> bytes:
    serials = {
        release: [
            {"serial": one.serial, "keys": sorted(one.keys), "signed_by": one.signed_by}
            for one in sorted(known, key=lambda one: (sorted(one.keys), one.serial))
        ]
        for release, known in every.items()
    }
    document = {"schema": _SCHEMAS[-1], "serials": serials}
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


def _read(path: Path) -> dict[str, tuple[Seen, ...]]:
    # A dangling link is an error, not a missing file.
    if not os.path.lexists(path):
        return {}
    try:
        # Opening a FIFO without a writer would block.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            document = documents.read_json(file.read(MAX_BYTES))
        if document["schema"] not in _SCHEMAS:
            raise ValueError
        return {str(release): _read_release(listed) for release, listed in document["serials"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise Incomplete(
            f"{path}, which stores the serials seen, cannot be read.",
            "Restore or remove it, or, where a newer version wrote it, use that one; it holds no secrets.",
        ) from error


def _read_release(listed: Any) -> tuple[Seen, ...]:
    if isinstance(listed, int):  # as version 1 has it
        return (Seen(int(listed), frozenset(), None),)
    if not isinstance(listed, list):
        raise TypeError
    return tuple(
        Seen(int(one["serial"]), frozenset(map(str, one["keys"])), one["signed_by"] and str(one["signed_by"]))
        for one in listed
    )


def _locked(path: Path) -> AbstractContextManager[None]:
    """Serialize concurrent verifications, so that none overwrites the other's serial."""
    return durable.serialized(path, "Set XDG_STATE_HOME to a writable directory on a local disk, or use --no-state.")
