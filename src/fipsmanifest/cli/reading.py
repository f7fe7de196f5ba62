"""Input files that the user names, or ``-`` for stdin: read once, with a size limit."""

from __future__ import annotations

import sys
from pathlib import Path

from ..errors import UsageError


def read_input(name: str, limit: int, advice: str) -> bytes:
    """Return the content of a file or of stdin.

    Raises `UsageError`, with ``advice``, if it cannot be read or is longer than ``limit`` bytes.
    """
    try:
        if name == "-":
            if sys.stdin is None:
                raise UsageError("Standard input is closed.", advice)
            data = sys.stdin.buffer.read(limit + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(limit + 1)
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}.", advice) from error
    if len(data) > limit:
        raise UsageError(f"{name} is larger than {limit} bytes.", advice)
    return data
