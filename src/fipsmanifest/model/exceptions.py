"""Exceptions: programs that are accepted although they are not what is required, each with its reason.

The gate of ``inspect`` reads them from a file of their own, a definition has them in its components.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import AfterValidator, model_validator

from .acceptance import UNOPENED, is_started, reason_not_expectable
from .fields import Reason, Table, Text
from .finding import Verdict

#: How a glob begins or ends that names something, or three letters of it: one or two within any path are in most paths.
_SPECIFIC = re.compile(r"\A[^*?]*\w|/[^*?/]*\w[^*?/]*\Z|\.\w+\Z|[\w.-]*\w[\w.-]{2}")


def _check_expectable(verdict: Verdict) -> Verdict:
    reason = reason_not_expectable(verdict)
    if reason is not None:
        raise ValueError(f"'{verdict}' cannot be expected: {reason}")
    return verdict


class VerdictException(Table):
    """A rule by which files pass that are not what is required."""

    path: Text
    """Glob over node paths, paths on disk, or paths in an image or in what ``container`` names."""
    verdict: Annotated[Verdict, AfterValidator(_check_expectable)] | Literal["unopened"]
    """The verdict that is expected of a program; ``unopened`` of a container that is not opened. Any other verdict is
    refused."""
    reason: Reason
    """Why these files are accepted."""
    container: Text | None = None
    """Glob over what the path is in (a package, a tarball, an image), as ``inspect`` names it; None for any."""

    format: Text | None = None
    """For ``unopened``: the format that is expected, as ``inspect`` names it; None for any that cannot be started."""

    @model_validator(mode="after")
    def _check_format(self) -> VerdictException:
        if self.format is not None and self.verdict != UNOPENED:
            raise ValueError("'format' is for the verdict 'unopened'")
        return self

    @model_validator(mode="after")
    def _check_path_is_specific(self) -> VerdictException:
        """Refuse to accept every container that is not opened: one that is added later would pass as well."""
        if self.verdict == UNOPENED and not _SPECIFIC.search(re.sub(r"\[[^]]*\]", "?", self.path)):
            raise ValueError("'unopened' wants a path that names a file or a directory, not every one")
        return self

    def matches(self, path: str, container: str | None = None) -> bool:
        """Return whether the exception is for the file at ``path`` in ``container`` (None: in no container)."""
        if self.container is not None and not fnmatchcase(container or "", self.container):
            return False
        # A path that was named relative to the current directory is also a path in that directory.
        relative = not path.startswith("/") and fnmatchcase(f"./{path}", self.path)
        return relative or fnmatchcase(path, self.path)

    def accepts(self, format: str) -> bool:
        """Return whether an exception for ``unopened`` is for files of a format.

        One that does not name a format was written for data, such as a disk image, and not for a program or script
        which later has that path.
        """
        return not is_started(format) if self.format is None else self.format == format
