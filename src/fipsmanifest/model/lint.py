"""Checks of definitions for mistakes that were made in real releases, beyond the format.

Examples are a link to an artifact of another version, packages of another EL, and a component that owns nothing that a
source provides. Each mistake is reported with file and line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path

from ..errors import UsageError
from .definition import Component, Definition, ImageArchive, Images, RpmFolder, RpmRepository, is_absolute_path
from .definition_file import line_of, load
from .ownership import repository_of
from .version import version_key

_Location = tuple[int | str, ...]

#: Packages that have the version of Kubernetes.
_KUBERNETES_PACKAGES = ("kubelet", "kubeadm", "kubectl")
#: Days on which the minors of Kubernetes 1 were first released (kubernetes.io/releases, "Release history").
_FIRST_RELEASES = {
    16: date(2019, 9, 18),
    17: date(2019, 12, 7),
    18: date(2020, 3, 25),
    19: date(2020, 8, 26),
    20: date(2020, 12, 8),
    21: date(2021, 4, 8),
    22: date(2021, 8, 4),
    23: date(2021, 12, 7),
    24: date(2022, 5, 3),
    25: date(2022, 8, 23),
    26: date(2022, 12, 8),
    27: date(2023, 4, 11),
    28: date(2023, 8, 15),
    29: date(2023, 12, 13),
    30: date(2024, 4, 17),
    31: date(2024, 8, 13),
    32: date(2024, 12, 11),
    33: date(2025, 4, 23),
    34: date(2025, 8, 27),
}
_CONTROL_PLANE_IMAGES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake."""

    location: _Location
    """Keys and list positions in the definition."""
    message: str
    """The mistake, and what is expected."""
    is_warning: bool = False
    """Whether it may be intended."""


def lint(definition: Definition) -> list[Problem]:
    """Return the mistakes in a definition. Pure."""
    return [
        *_check_dates(definition),
        *_check_local_paths(definition),
        *_check_versions(definition),
        *_check_enterprise_linux(definition),
        *_check_ownership(definition),
    ]


def load_checked(path: Path) -> Definition:
    """Read a definition and check it against every rule. Raises `UsageError` that names file, line and mistake."""
    definition = load(path)
    problems = [problem for problem in lint(definition) if not problem.is_warning]
    directory = path.resolve().parent.name
    if directory.startswith("v") and directory != definition.kubernetes:
        problems.insert(0, Problem(("kubernetes",), f"{definition.kubernetes} is in the directory of {directory}"))
    if problems:
        raise UsageError(
            ";\n".join(_located(path, problems)) + ".", "See releases/README.md for the rules.", reason="definition"
        )
    return definition


def warnings(path: Path, others: Iterable[Definition]) -> list[str]:
    """Return possible mistakes in the definition at ``path``, each with file and line.

    ``others`` are all definitions of the project, including this one. Raises as `load` does.
    """
    definition = load(path)
    found = [problem for problem in lint(definition) if problem.is_warning]
    return _located(path, [*found, *_check_copied_date(definition, others)])


def _located(path: Path, problems: Iterable[Problem]) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return [f"{path}:{line_of(text, problem.location)}: {problem.message}" for problem in problems]


def _check_dates(definition: Definition) -> Iterator[Problem]:
    if definition.created is None:
        return
    if definition.expires and definition.expires <= definition.created:
        yield Problem(("expires",), "the manifest would expire before it is created")
    released = _first_release(definition.kubernetes)
    if released and definition.created.date() < released:
        minor = definition.kubernetes.rpartition(".")[0]
        message = f"created is {definition.created:%Y-%m-%d}, but Kubernetes {minor} was released on {released}"
        yield Problem(("created",), message, is_warning=True)


def _first_release(version: str) -> date | None:
    """Return the day of the first release of the minor of ``version``; None if it is not known."""
    major, minor = version_key(version)[:2]
    if major != 1 or minor < min(_FIRST_RELEASES):
        return None
    # A minor that is newer than the table came after the last one in it.
    return _FIRST_RELEASES[min(minor, max(_FIRST_RELEASES))]


def _check_copied_date(definition: Definition, others: Iterable[Definition]) -> Iterator[Problem]:
    for other in others:
        same_release = (other.kubernetes, other.serial) == (definition.kubernetes, definition.serial)
        if definition.created is not None and other.created == definition.created and not same_release:
            message = f"created is also that of {other.kubernetes} {other.name} serial {other.serial}; was it copied?"
            yield Problem(("created",), message, is_warning=True)


def _check_local_paths(definition: Definition) -> Iterator[Problem]:
    for number, source in enumerate(definition.sources):
        if not isinstance(source, Images) and is_absolute_path(source.url):
            message = f"{source.url} exists on this machine only; write a path relative to this file"
            yield Problem(("sources", number, "url"), message, is_warning=True)


def _check_versions(definition: Definition) -> Iterator[Problem]:
    version = definition.kubernetes.removeprefix("v")
    for number, source in enumerate(definition.sources):
        at: _Location = ("sources", number)
        if not isinstance(source, Images):
            for other in re.findall(r"kubernetes-(?:images-)?v?(\d+\.\d+\.\d+)", source.url):
                if other != version:
                    yield Problem((*at, "url"), f"the address belongs to v{other}, not to v{version}: {source.url}")
        if isinstance(source, RpmRepository | RpmFolder):
            for entry, package in enumerate(source.packages):
                name, _, rest = package.rpartition("-")[0].rpartition("-")
                if name in _KUBERNETES_PACKAGES and rest not in (version, f"{version}+{definition.build_metadata}"):
                    yield Problem((*at, "packages", entry), f"{package} is not of version {version}")
        if isinstance(source, Images | ImageArchive):
            for entry, reference in enumerate(source.references):
                if repository_of(reference).rpartition("/")[2] in _CONTROL_PLANE_IMAGES:
                    yield from _check_tag(definition, reference, (*at, "references", entry))


def _check_tag(definition: Definition, reference: str, at: _Location) -> Iterator[Problem]:
    """Report the tag of another version or of a build without FIPS; another form of the right tag is a warning."""
    found = reference.partition("@")[0].rpartition(":")[2]
    if found == definition.image_tag:
        return
    rest = found.removeprefix(definition.kubernetes)
    same = rest != found and not rest[:1].isdigit() and rest.lstrip("_-.+") == definition.build_metadata
    message = f"{reference} does not have the tag {definition.image_tag}"
    if same:
        separator = rest.removesuffix(definition.build_metadata)
        message += f'; if it is upstream\'s own, set tag = "{{kubernetes}}{separator}{{build_metadata}}"'
    yield Problem(at, message, is_warning=same)


def _check_enterprise_linux(definition: Definition) -> Iterator[Problem]:
    number = re.match(r"[a-z]+-?(\d+)", definition.name)
    if number and not number.group(1).startswith(str(definition.el)):
        yield Problem(("el",), f"el is {definition.el}, but the file is named {definition.name}")
    for position, system in enumerate(definition.operating_systems):
        for entry, version in enumerate(system.versions):
            if version.partition(".")[0] != str(definition.el):
                at: _Location = ("operating_systems", position, "versions", entry)
                yield Problem(at, f"{system.id} {version} is not EL {definition.el}")
    for position, source in enumerate(definition.sources):
        if isinstance(source, Images | ImageArchive):
            continue
        named = re.findall(r"amazonaws\.com/(\d+)/|/el/?(\d+)/|(?:rhel|centos|oracle|redhat)[-_](\d+)", source.url)
        for other in {next(filter(None, groups)) for groups in named} - {str(definition.el)}:
            yield Problem(("sources", position, "url"), f"the address belongs to EL {other}: {source.url}")
        if isinstance(source, RpmRepository | RpmFolder):
            for entry, package in enumerate(source.packages):
                for other in set(re.findall(r"\.el(\d+)", package)) - {str(definition.el)}:
                    yield Problem(("sources", position, "packages", entry), f"{package} is built for EL {other}")


def _check_ownership(definition: Definition) -> Iterator[Problem]:
    packages = {
        package.rsplit("-", 2)[0]
        for source in definition.sources
        if isinstance(source, RpmRepository | RpmFolder)
        for package in source.packages
    }
    images = {
        repository_of(reference)
        for source in definition.sources
        if isinstance(source, Images | ImageArchive)
        for reference in source.references
    }
    for number, component in enumerate(definition.components):
        at: _Location = ("components", number)
        for key, owned, fetched in (("packages", component.packages, packages), ("images", component.images, images)):
            for entry, missing in enumerate(owned):
                if missing not in fetched:
                    message = f"component '{component.name}' owns {missing}, which no source provides"
                    yield Problem((*at, key, entry), message)
        yield from _check_exceptions(component, at)
    yield from _check_unowned(definition)


def _check_exceptions(component: Component, at: _Location) -> Iterator[Problem]:
    for position, exception in enumerate(component.exceptions):
        if component.requirement == "known":
            yield Problem(
                (*at, "exceptions", position),
                "an exception has no effect with the requirement 'known', which accepts everything",
            )
        own = component.files
        if own and not component.packages and not component.sources and not component.images:
            related = [glob for glob in own if fnmatchcase(exception.path, glob) or fnmatchcase(glob, exception.path)]
            if not related:
                yield Problem(
                    (*at, "exceptions", position, "path"), f"{exception.path} is not a file of '{component.name}'"
                )


def _check_unowned(definition: Definition) -> Iterator[Problem]:
    owned_packages = {name for component in definition.components for name in component.packages}
    owned_images = {name for component in definition.components for name in component.images}
    owned_sources = {name for component in definition.components for name in component.sources}
    for number, source in enumerate(definition.sources):
        at: _Location = ("sources", number)
        if source.name in owned_sources:
            continue
        if isinstance(source, RpmRepository | RpmFolder):
            for entry, package in enumerate(source.packages):
                name = package.rsplit("-", 2)[0]
                if name not in owned_packages:
                    yield Problem((*at, "packages", entry), f"the package {name} belongs to no component")
        elif isinstance(source, Images | ImageArchive):
            for entry, reference in enumerate(source.references):
                name = repository_of(reference)
                if name not in owned_images:
                    yield Problem((*at, "references", entry), f"the image {name} belongs to no component")
