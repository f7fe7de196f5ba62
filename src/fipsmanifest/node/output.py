"""Standard output and standard error of the node tool."""

import contextlib
import os
import sys

from ..errors import Incomplete


def say(text: str) -> None:
    """Write to standard output. Raise `Incomplete` if that fails, and `BrokenPipeError` if its reader went away."""
    if sys.stdout is None:
        raise Incomplete(
            "Standard output is closed, so there is no place for the report.", "Redirect it, for example to a file."
        )
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # What is still in the buffer would be written again at exit, and complained about.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise
        raise Incomplete(
            "The report could not be written: {}.".format(error.strerror),
            "Free space there, or write it to another place.",
        )


def say_error(text: str) -> None:
    """Write a line to standard error, in ASCII; where that fails there is nowhere to report it."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            sys.stderr.write(text.encode("ascii", "backslashreplace").decode("ascii") + "\n")
