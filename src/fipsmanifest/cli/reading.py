"""Files that the user names, or ``-`` for stdin: read once, with a cap."""

from __future__ import annotations

import sys
from pathlib import Path

from ..errors import UsageError


def read_input(name: str, limit: int, advice: str) -> bytes:
    """Give what a file or stdin holds, at most ``limit`` bytes. Raises `UsageError`, with ``advice``, otherwise."""
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
