"""The node tool's version: the package's, and the edition of the trusted keys that it carries.

A change of keys changes the tool's bytes, and a published version never changes; so each edition of the keys has a
version of its own, a post-release by PEP 440 (docs/adr/0002).
"""

from .. import __version__
from ..trust.store import packed_trust


def tool_version(edition: int) -> str:
    """Return the version of the tool that carries this edition of the keys: 0.1.0, 0.1.0.post1, 0.1.0.post2, ..."""
    return __version__ if edition == 1 else "{}.post{}".format(__version__, edition - 1)


def own_version() -> str:
    """Return the version of this tool; the package's own where this is not the single file. Raise `NotTrusted`."""
    trust = packed_trust()
    return tool_version(1 if trust is None else trust.edition)
