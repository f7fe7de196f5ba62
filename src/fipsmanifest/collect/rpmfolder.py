"""Packages from a folder or a tar of RPMs, as the bundles of air-gapped sites bring them.

File names are not believed: each package is known by its own header, and trusted for its own signature alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..definition import Definition, RpmFolder
from ..errors import FipsManifestError, Incomplete, Refused, Several
from ..unpack import rpmheader, tar
from ..unpack.member import Content
from . import package_signature
from .artifact import Artifact
from .cache import CachedFile
from .context import Context
from .transport import local_path

Job = Callable[[], Artifact]

#: NAME-VERSION-RELEASE, and the architecture that it is wanted for.
_Key = tuple[str, str]

#: Bytes of one package in a tar.
_MAX_PACKAGE = 4 << 30

#: Files looked at in a folder, and names that an error lists.
_MAX_FILES = 100_000
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class _Found:
    """A wanted package that is in the cache now."""

    nevra: str
    address: str
    file: CachedFile


def jobs(source: RpmFolder, definition: Definition, context: Context) -> list[Job]:
    """Give one job for each package of ``source`` and architecture.

    The packages are copied into the cache here; a job authenticates one. What the lock pins and the cache has is
    taken from there, and then the folder or tar is not looked at. Raises `Incomplete` for packages that are not
    there, `Refused` for different ones of one name, and what `Http` and `Cache` raise.
    """
    wanted: set[_Key] = {(nvr, architecture) for nvr in source.packages for architecture in definition.architectures}
    found = _pinned(source, wanted, context)
    if len(found) < len(wanted):
        # Whole or not at all: what was pinned and what is there now must not be mixed up.
        found = _search(source, wanted, context)
    # A package without architecture is found once for each.
    packages = {package.address: package for package in found.values()}
    return [partial(_authenticate, source, definition, context, packages[address]) for address in sorted(packages)]


def _pinned(source: RpmFolder, wanted: set[_Key], context: Context) -> dict[_Key, _Found]:
    found = {}
    for nvr, architecture in wanted:
        pin = context.pinned(source.url, [f"{nvr}.{architecture}", f"{nvr}.noarch"])
        file = context.cache.get(pin.sha256) if pin is not None else None
        if pin is not None and file is not None:
            found[nvr, architecture] = _Found(pin.name, pin.address, file)
    return found


def _search(source: RpmFolder, wanted: set[_Key], context: Context) -> dict[_Key, _Found]:
    found: dict[_Key, _Found] = {}
    failures: list[FipsManifestError] = []
    there: list[str] = []
    for member, content in _packages(source, context):
        recorded = _Recorder(content)
        head = rpmheader.read(recorded, f"{source.url}: {member}")
        there.append(head.nevra)
        keys = [(nvr, arch) for nvr, arch in wanted if nvr == head.nvr and head.architecture in (arch, "noarch")]
        if not keys:
            continue
        file = context.cache.add(recorded.again(), limit=_MAX_PACKAGE, name=f"{source.url}: {member}")
        package = _Found(head.nevra, f"{source.url.rstrip('/')}/{member}", file)
        for key in keys:
            other = found.setdefault(key, package)
            if other.file.sha256 != file.sha256:
                failures.append(
                    Refused(
                        f"{source.url} has two different packages for {head.nevra}: {other.file.sha256} in "
                        f"{other.address}, and {file.sha256} in {package.address}.",
                        "Ask those who made it which one is meant.",
                    )
                )
    has = ", ".join(sorted(there)[:_SHOWN]) or "no packages"
    failures += [
        Incomplete(f"{source.url} has no {nvr} for {arch}; it has {has}.", "Correct the definition, or the bundle.")
        for nvr, arch in sorted(wanted - found.keys())
    ]
    if failures:
        raise failures[0] if len(failures) == 1 else Several(failures)
    return found


def _packages(source: RpmFolder, context: Context) -> Iterator[tuple[str, Content]]:
    """Give the path inside the source, and the bytes, of everything that is named like an RPM."""
    address = context.address(source.url)
    path = local_path(address)
    if path is not None and path.is_dir():
        yield from _packages_of_folder(path)
        return
    archive = path if path is not None else context.http.download(address, name=source.name).path
    for member in tar.tarball_members(archive, archive=source.url):
        if member.content is not None and member.path.endswith(".rpm"):
            yield member.path.lstrip("/"), member.content


def _packages_of_folder(root: Path) -> Iterator[tuple[str, Content]]:
    try:
        paths = sorted(path for path in _below(root) if path.suffix == ".rpm" and path.is_file())
        for path in paths:
            with path.open("rb") as file:
                yield path.relative_to(root).as_posix(), file
    except OSError as error:
        raise Incomplete(f"{root} cannot be read: {error.strerror}.", "Check the path and its permissions.") from error


def _below(root: Path) -> Iterator[Path]:
    count = 0
    for folder, _, names in os.walk(root):
        for name in names:
            count += 1
            if count > _MAX_FILES:
                raise Refused(f"{root} has more than {_MAX_FILES} files.", "Name the folder of the packages itself.")
            yield Path(folder, name)


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
