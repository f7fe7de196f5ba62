"""Packages from an RPM repository: repomd.xml -> primary.xml -> package, each compared with the digest before it.

The metadata only selects the bytes. Whether they are upstream's is decided by the package's own signature, and whether
they are a FIPS build only by the inspection: a plain package has the same name, version and release.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ..archive.rpmheader import nevra
from ..errors import FipsManifestError, Incomplete, Refused, Several
from ..model.artifact import Artifact
from ..model.definition import Definition, RpmFolder, RpmRepository
from ..state.lock import Pin
from . import package_signature, repodata
from .context import Context
from .repodata import Package

_log = logging.getLogger(__name__)

Job = Callable[[], Artifact]

#: Bytes of repomd.xml.asc; a signature has some hundreds.
_MAX_SIGNATURE = 64 << 10

#: Names that an error lists.
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class _Choice:
    """A package that is to be fetched."""

    address: str
    """Where the definition's repository has it."""
    nevra: str
    """What it is said to be."""
    digest: str
    """``sha256:HEX``, as the metadata or the lock has it."""
    size: int | None
    """Bytes."""


def by_address(source: RpmRepository | RpmFolder, definition: Definition) -> list[tuple[str, tuple[str, ...]]]:
    """Return each address of ``source`` with the architectures that it is for: all, where it has no place for one."""
    found: list[tuple[str, tuple[str, ...]]] = [
        (url.rstrip("/"), (architecture,)) for architecture, url in definition.addresses(source)
    ]
    if "{arch}" in source.url or "{oci_arch}" in source.url:
        return found
    return [(found[0][0], definition.architectures)]


def jobs(source: RpmRepository, definition: Definition, context: Context) -> list[Job]:
    """Return one job for each package of ``source`` and architecture.

    What the lock pins and the cache has is taken from there; metadata is asked for only where something is left. Raises
    `Incomplete` for packages that the repository does not have, `Refused` where it contradicts itself, is not signed
    as the definition says, or is malformed, and what `Http` raises; a job raises what `package_signature.authenticate`
    does, too.
    """
    # By address, since a package without architecture is found once for each.
    chosen: dict[str, _Choice] = {}
    failures: list[FipsManifestError] = []
    for url, architectures in by_address(source, definition):
        wanted = [(nvr, architecture) for architecture in architectures for nvr in source.packages]
        pinned = {key: _pinned(context, url, *key) for key in wanted}
        try:
            listed = [] if all(pinned.values()) else _read(source, context, url, {nvr for nvr, _ in wanted})
        except FipsManifestError as error:
            failures.append(error)
            continue
        for key in wanted:
            try:
                choice = pinned[key] or _choose(listed, url, *key)
            except FipsManifestError as error:
                failures.append(error)
            else:
                chosen[choice.address] = choice
    if failures:
        raise failures[0] if len(failures) == 1 else Several(failures)
    return [partial(_fetch, source, definition, context, choice) for choice in chosen.values()]


def pin_of(context: Context, url: str, nvr: str, architecture: str) -> Pin | None:
    """Return the lock's pin of a package for ``architecture`` from ``url``."""
    for pin in context.pins:
        # The lock has epochs, which definitions do not name.
        name = re.sub(r"-\d+:(?=[^-]*-[^-]*$)", "-", pin.name)
        if name in (f"{nvr}.{architecture}", f"{nvr}.noarch") and pin.address.startswith(url + "/"):
            return pin
    return None


def _pinned(context: Context, url: str, nvr: str, architecture: str) -> _Choice | None:
    """Return what the lock pins, if the cache has it; otherwise upstream is asked, and the lock compares."""
    pin = pin_of(context, url, nvr, architecture)
    if pin is None or context.cache.get(pin.sha256) is None:
        return None
    _log.debug("%s is pinned and in the cache", pin.name)
    return _Choice(pin.address, pin.name, f"sha256:{pin.sha256}", pin.size)


def _read(source: RpmRepository, context: Context, url: str, wanted: set[str]) -> list[Package]:
    """Return the packages of the repository that are wanted, or share a wanted one's name."""
    repomd_url = f"{url}/repodata/repomd.xml"
    repomd = context.http.fetch_bytes(context.address(repomd_url), repodata.MAX_REPOMD).data
    if source.metadata_signed_by is not None:
        signature = context.http.fetch_bytes(context.address(f"{repomd_url}.asc"), _MAX_SIGNATURE).data
        try:
            context.verify_signature(repomd, signature, package_signature.permitted(source.metadata_signed_by))
        except Refused as error:
            raise Refused(
                f"{repomd_url} is not signed as it must be: {error.message}", error.advice, reason="upstream-signature"
            ) from error
    primary = repodata.read_repomd(repomd, repomd_url)
    address = f"{url}/{primary.href}"
    file = context.http.download(
        context.address(address),
        expected=primary.checksum,
        size=primary.size,
        limit=repodata.MAX_PRIMARY,
        name=f"{source.name} package list",
    )
    _log.debug("%s has its package list in %s: %s", url, primary.href, file.path)
    names = {nvr.rsplit("-", 2)[0] for nvr in wanted}
    return list(repodata.read_primary(file.path, primary, address, names))


def _choose(listed: list[Package], url: str, nvr: str, architecture: str) -> _Choice:
    """Return the one package of that name. Raises `Incomplete` for none, `Refused` for more than one."""
    fitting = [package for package in listed if package.nvr == nvr and package.architecture in (architecture, "noarch")]
    if not fitting:
        name = nvr.rsplit("-", 2)[0]
        there = sorted(f"{package.nvr}.{package.architecture}" for package in listed if package.name == name)
        has = ", ".join(there[-_SHOWN:]) or "none of that name"
        raise Incomplete(
            f"{url} has no {nvr} for {architecture}; it has {has}.",
            "Correct the definition, or ask upstream.",
            reason="not-found",
        )
    digests = {package.checksum for package in fitting}
    if len(digests) > 1:
        names = {nevra(package.nvr, package.epoch, package.architecture) for package in fitting}
        raise Refused(
            f"{url} has {len(digests)} different packages for {nvr} on {architecture} "
            f"({', '.join(sorted(names))}): {', '.join(sorted(digests)[:_SHOWN])}.",
            "Ask those who run the repository which one is right.",
            reason="ambiguous-package",
        )
    package = min(fitting, key=lambda package: package.href)
    name = nevra(package.nvr, package.epoch, package.architecture)
    return _Choice(f"{url}/{package.href}", name, package.checksum, package.size)


def _fetch(source: RpmRepository, definition: Definition, context: Context, choice: _Choice) -> Artifact:
    file = context.http.download(
        context.address(choice.address), expected=choice.digest, size=choice.size, name=choice.nevra
    )
    checked = package_signature.authenticate(
        file.path, choice.nevra, source.signed_by, definition.el, context.verify_signature, context.progress.note
    )
    if checked.head.nevra != choice.nevra:
        raise Refused(
            f"{choice.address} is listed as {choice.nevra}, but is {checked.head.nevra}.",
            "Ask those who run the repository.",
            reason="wrong-package",
        )
    return Artifact(
        source=source.name,
        kind="rpm",
        name=choice.nevra,
        address=choice.address,
        sha256=file.sha256,
        size=file.size,
        path=file.path,
        architecture=choice.nevra.rpartition(".")[2],
        signed_by=checked.fingerprint,
    )
