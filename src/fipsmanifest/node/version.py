"""The node tool's own file and its version: the package's, and the edition of the trusted keys that it carries.

A change of keys changes the tool's bytes, and a published version never changes; so each edition of the keys has a
version of its own, a post-release by PEP 440 (docs/adr/0002).
"""

import os
import sys
from typing import Optional

from .. import __version__
from ..trust.store import packed_trust
from . import tree

_MAX_TOOL = 16 * 1024 * 1024


def tool_version(edition: int) -> str:
    """Return the version of the tool that carries this edition of the keys: 0.1.0, 0.1.0.post1, 0.1.0.post2, ..."""
    return __version__ if edition == 1 else "{}.post{}".format(__version__, edition - 1)


def own_version() -> str:
    """Return the version of this tool; the package's own where this is not the single file. Raise `NotTrusted`."""
    trust = packed_trust()
    return tool_version(1 if trust is None else trust.edition)


def archive() -> Optional[str]:
    """Return the path of the single file that this runs from; None where it runs from an installed package."""
    path = getattr(sys.modules[__package__].__loader__, "archive", None)
    return None if path is None else str(path)


def archive_digest() -> Optional[str]:
    """Return the single file's SHA-256; None where there is none, or it cannot be read."""
    path = archive()
    if path is None:
        return None
    try:
        return tree.digest(os.fsencode(os.path.realpath(path)), _MAX_TOOL).sha256 or None
    except (OSError, tree.NotRegular, tree.Unstable):
        return None
