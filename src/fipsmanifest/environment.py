"""The environment that other programs are given: without what is meant for gpg's standard input alone."""

from __future__ import annotations

import os

PASSPHRASE = "FIPSMANIFEST_PASSPHRASE"  # noqa: S105 - the names of variables
PASSPHRASE_DESCRIPTOR = "FIPSMANIFEST_PASSPHRASE_FD"  # noqa: S105


def for_children() -> dict[str, str]:
    """Give this process's environment without the passphrase of the signing key."""
    return {name: value for name, value in os.environ.items() if name not in (PASSPHRASE, PASSPHRASE_DESCRIPTOR)}
