"""Packages from a directory or a tar of RPMs, as the bundles of air-gapped sites bring them.

File names are ignored: each package is identified by its own header, and trusted by its own signature alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from ..archive import directory, rpmheader, tar
from ..archive.member import Content
from ..errors import FipsManifestError, Incomplete, Refused, Several
from ..fetch.address import local_path, without_query
from ..fetch.cache import CachedFile
from ..model.artifact import Artifact
from ..model.definition import Definition, RpmFolder
from . import package_signature
from .context import Context
from .rpmrepo import by_address, pin_of

_log = logging.getLogger(__name__)

Job = Callable[[], Artifact]

#: NAME-VERSION-RELEASE, and the architecture that it is wanted for.
_Key = tuple[str, str]

#: Bytes of one package in a tar.
_MAX_PACKAGE = 4 << 30

#: Names that an error lists.
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class _Found:
    """A wanted package that is in the cache now."""

    nevra: str
    address: str
    file: CachedFile


def jobs(source: RpmFolder, definition: Definition, context: Context) -> list[Job]:
    """Return one job for each package of ``source`` and architecture.

    The packages are copied into the cache here; a job authenticates one. Where the directory or tar is not on this
    machine, what the lock pins and the cache has is taken from the cache. Raises `Incomplete` for packages that are not
    there, `Refused` for different ones of one name, and what `Http` and `Cache` raise.
    """
    # By address, since a package without architecture is found once for each.
    packages: dict[str, _Found] = {}
    for url, architectures in by_address(source, definition):
        wanted: set[_Key] = {(nvr, architecture) for nvr in source.packages for architecture in architectures}
        # What is here is compared with the lock; only what is away, or would be downloaded, is replaced by the cache.
        local = local_path(context.address(url))
        found = {} if local is not None and local.exists() else _pinned(url, wanted, context)
        if len(found) < len(wanted):
            # Whole or not at all: what was pinned and what is there now must not be mixed up.
            found = _search(url, wanted, context)
        packages |= {package.address: package for package in found.values()}
    return [partial(_authenticate, source, definition, context, packages[address]) for address in sorted(packages)]


def _pinned(url: str, wanted: set[_Key], context: Context) -> dict[_Key, _Found]:
    found = {}
    for nvr, architecture in wanted:
        pin = pin_of(context, url, nvr, architecture)
        file = context.cache.get(pin.sha256) if pin is not None else None
        if pin is not None and file is not None:
            found[nvr, architecture] = _Found(pin.name, pin.address, file)
    return found


def _search(url: str, wanted: set[_Key], context: Context) -> dict[_Key, _Found]:
    found: dict[_Key, _Found] = {}
    failures: list[FipsManifestError] = []
    there: list[str] = []
    for member, content in _packages(url, context):
        recorded = _Recorder(content)
        head = rpmheader.read(recorded, f"{url}: {member}")
        there.append(head.nevra)
        keys = [(nvr, arch) for nvr, arch in wanted if nvr == head.nvr and head.architecture in (arch, "noarch")]
        if not keys:
            continue
        file = context.cache.add(recorded.again(), limit=_MAX_PACKAGE, name=f"{url}: {member}")
        package = _Found(head.nevra, f"{url}/{member}", file)
        for key in keys:
            other = found.setdefault(key, package)
            if other.file.sha256 != file.sha256:
                failures.append(
                    Refused(
                        f"{url} has two different packages for {head.nevra}: {other.file.sha256} in "
                        f"{other.address}, and {file.sha256} in {package.address}.",
                        "Ask those who made it which one is right.",
                        reason="ambiguous-package",
                    )
                )
    has = ", ".join(sorted(there)[:_SHOWN]) or "no packages"
    failures += [
        Incomplete(
            f"{url} has no {nvr} for {arch}; it has {has}.",
            "Correct the definition, or the bundle.",
            reason="not-found",
        )
        for nvr, arch in sorted(wanted - found.keys())
    ]
    if failures:
        raise failures[0] if len(failures) == 1 else Several(failures)
    return found


def _packages(url: str, context: Context) -> Iterator[tuple[str, Content]]:
    """Yield the path inside, and the bytes, of everything that is named like an RPM."""
    address = context.address(url)
    path = local_path(address)
    _log.debug("reading packages of %s", without_query(address))
    if path is not None and path.is_dir():
        members = directory.members(path, note=context.progress.note)
    else:
        archive = path if path is not None else context.http.download(address, name=url.rpartition("/")[2]).path
        members = tar.tarball_members(archive, archive=url)
    for member in members:
        if member.content is not None and member.path.endswith(".rpm"):
            yield member.path.lstrip("/"), member.content


class _Recorder:
    """Content whose beginning can be read a second time."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._parts: list[bytes] = []

    def read(self, size: int = -1, /) -> bytes:
        data = self._content.read(size)
        self._parts.append(data)
        return data

    def again(self) -> Content:
        return _Chain(b"".join(self._parts), self._content)


class _Chain:
    def __init__(self, start: bytes, rest: Content) -> None:
        self._start = start
        self._rest = rest

    def read(self, size: int = -1, /) -> bytes:
        start, self._start = self._start, b""
        if not start:
            return self._rest.read(size)
        return start


def _authenticate(source: RpmFolder, definition: Definition, context: Context, found: _Found) -> Artifact:
    checked = package_signature.authenticate(
        found.file.path, found.nevra, source.signed_by, definition.el, context.verify_signature, context.progress.note
    )
    return Artifact(
        source=source.name,
        kind="rpm",
        name=found.nevra,
        address=found.address,
        sha256=found.file.sha256,
        size=found.file.size,
        path=found.file.path,
        architecture=found.nevra.rpartition(".")[2],
        signed_by=checked.fingerprint,
    )
