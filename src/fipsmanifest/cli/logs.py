"""Log records of the package on stderr, for ``--verbose``."""

from __future__ import annotations

import logging
import os
import re

from . import output

#: Records of this logger and its children are shown; other libraries log secrets (botocore: request headers).
_PACKAGE = "fipsmanifest"

#: What precedes the host in a URL, and the values of a query: credentials, and signatures of presigned URLs.
_USERINFO = re.compile(r"(?<=://)[^/?#\s@]+@")
_QUERY = re.compile(r"(?<=[?&])([^=&#\s]+)=[^&#\s'\"]+")
#: Names of environment variables with secrets (`AWS_SECRET_ACCESS_KEY`, `FIPSMANIFEST_PASSPHRASE`).
_SECRET = re.compile(r"PASSPHRASE|PASSWORD|SECRET|TOKEN", re.IGNORECASE)
#: Shorter values occur in ordinary text.
_SHORTEST = 4


def redact(text: str) -> str:
    """Return ``text`` without the credentials that URLs in it contain, and without secrets of the environment.

    Credentials of a URL are its userinfo and the values of its query.
    """
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST and _SECRET.search(name):
            text = text.replace(value, "***")
    return _QUERY.sub(r"\1=***", _USERINFO.sub("***@", text))


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, which contains no secret and no control character."""
        name = record.name.removeprefix(f"{_PACKAGE}.")
        output.say(output.one_line(f"{record.levelname.lower()}: {name}: {redact(record.getMessage())}"))


def show() -> None:
    """Show the package's log records from level debug on stderr."""
    logger = logging.getLogger(_PACKAGE)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(_Handler())
