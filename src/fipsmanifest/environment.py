"""The environment that other programs are given: without what is meant for gpg's standard input alone."""

from __future__ import annotations

import os

PASSPHRASE = "FIPSMANIFEST_PASSPHRASE"  # noqa: S105 - the names of variables
PASSPHRASE_DESCRIPTOR = "FIPSMANIFEST_PASSPHRASE_FD"  # noqa: S105
#: As cosign names it.
COSIGN_PASSPHRASE = "COSIGN_PASSWORD"  # noqa: S105

_SECRET = frozenset({PASSPHRASE, PASSPHRASE_DESCRIPTOR, COSIGN_PASSPHRASE})


def for_children() -> dict[str, str]:
    """Return this process's environment without the passphrases of the signing keys."""
    return {name: value for name, value in os.environ.items() if name not in _SECRET}
