"""Where an address is fetched from: mirrors of air-gapped sites, of tests and of the demo.

A mirror changes where bytes come from and nothing else: digests and signatures are checked all the same, and what is
written down is always the definition's address.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..errors import UsageError


@dataclass(frozen=True, slots=True)
class Mirrors:
    """Rewrites of the beginning of addresses; of several that fit, the longest counts."""

    rewrites: Mapping[str, str] = field(default_factory=dict)
    """FROM -> TO, both without a ``/`` at the end."""

    @classmethod
    def parse(cls, options: Iterable[str]) -> Mirrors:
        """Read ``FROM=TO`` as the user writes them.

        FROM is the beginning of a URL or of an image reference; TO is another one, or a directory. Raises `UsageError`
        for anything else, and for two mirrors of the same FROM.
        """
        rewrites: dict[str, str] = {}
        for option in options:
            start, equals, target = option.partition("=")
            start, target = start.rstrip("/"), target.rstrip("/") or target[:1]
            if not (equals and start and target):
                raise UsageError(
                    f"The mirror '{option}' is not of the form FROM=TO.",
                    "Write it as in --mirror https://packages.example/=./mirror/.",
                )
            if rewrites.setdefault(start, target) != target:
                raise UsageError(f"There are two mirrors of {start}.", "Keep one of them.")
        return cls(rewrites)

    def rewrite(self, address: str) -> str:
        """Return the address (a URL or an image reference) that ``address`` is to be fetched from."""
        fitting = [start for start in self.rewrites if _begins(address, start)]
        if not fitting:
            return address
        start = max(fitting, key=len)
        return self.rewrites[start].removesuffix("/") + address[len(start) :]


def _begins(address: str, start: str) -> bool:
    """Return whether ``address`` begins with ``start`` up to the end of a part: no mirror of ``/a`` serves ``/ab``."""
    if not address.startswith(start):
        return False
    # In a reference a tag or digest may follow; in a URL a colon would begin another server's port.
    return address[len(start) :][:1] in (("", "/", "?") if "://" in start else ("", "/", ":", "@"))
