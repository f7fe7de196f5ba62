"""Tarballs: fetched, or taken from a path, and compared with the digest that the definition or the lock names.

Upstream publishes most of them without a checksum, so only the lock ensures that a later download is the one that
was inspected; the content is checked when it is read.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from functools import partial
from urllib.parse import urlsplit

from ..errors import Refused
from ..model.artifact import Artifact
from ..model.definition import Definition, Tarball
from .context import Context


def jobs(source: Tarball, definition: Definition, context: Context) -> list[Callable[[], Artifact]]:
    """Return one job for each address of ``source``: one per architecture, or one for all.

    A job raises `Refused` for another digest than the definition's, else what `Http.download` raises.
    """
    addresses = list(definition.addresses(source))
    if source.sha256 is not None and len(addresses) > 1:
        raise Refused(
            f"The source '{source.name}' has one sha256 for {len(addresses)} tarballs.",
            "Define a source for each architecture.",
            reason="definition",
        )
    # One address for several architectures does not show the architecture of its files; each ELF file does.
    shared = len(addresses) < len(definition.architectures)
    return [partial(_fetch, source, address, None if shared else name, context) for name, address in addresses]


def _fetch(source: Tarball, address: str, architecture: str | None, context: Context) -> Artifact:
    name = posixpath.basename(urlsplit(address).path) or source.name
    expected = source.sha256
    if expected is None:
        # A pin is used only to find the file here: what upstream serves instead is for the lock's check to name.
        pin = context.pinned(address, [name])
        expected = pin.sha256 if pin is not None and context.cache.get(pin.sha256) is not None else None
    file = context.http.download(
        context.address(address), expected=None if expected is None else f"sha256:{expected}", name=name
    )
    return Artifact(
        source=source.name,
        kind="tarball",
        name=name,
        address=address,
        sha256=file.sha256,
        size=file.size,
        path=file.path,
        architecture=architecture,
        unpack=source.unpack,
    )
