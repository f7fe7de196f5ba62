"""What a definition gets wrong though its form is right: mistakes that were made in real releases, found before one.

A link to another version's artifact, packages of another EL, a component that owns nothing that is fetched: each is
named with file and line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from .definition import Component, Definition, ImageArchive, Images, RpmFolder, RpmRepository, line_of, load
from .errors import UsageError
from .generate.ownership import repository_of

_Location = tuple[int | str, ...]

#: Packages and images that carry the Kubernetes version as their own.
_OF_KUBERNETES = ("kubelet", "kubeadm", "kubectl")
_OF_CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake."""

    location: _Location
    """Keys and list positions in the definition."""
    message: str
    """What is wrong, and what would be right."""


def lint(definition: Definition) -> list[Problem]:
    """Give what is wrong with a definition; pure."""
    return [
        *_dates(definition),
        *_versions(definition),
        *_enterprise_linux(definition),
        *_ownership(definition),
    ]


def load_checked(path: Path) -> Definition:
    """Read a definition and hold it against every rule. Raises `UsageError` that names file, line and mistake."""
    definition = load(path)
    problems = lint(definition)
    folder = path.resolve().parent.name
    if folder.startswith("v") and folder != definition.kubernetes:
        problems.insert(0, Problem(("kubernetes",), f"{definition.kubernetes} lies in the folder of {folder}"))
    if problems:
        text = path.read_text(encoding="utf-8")
        lines = [f"{path}:{line_of(text, problem.location)}: {problem.message}" for problem in problems]
        raise UsageError(";\n".join(lines) + ".", "See releases/README.md for the rules.")
    return definition


def _dates(definition: Definition) -> Iterator[Problem]:
    if definition.created and definition.expires and definition.expires <= definition.created:
        yield Problem(("expires",), "the manifest would expire before it is created")


def _versions(definition: Definition) -> Iterator[Problem]:
    version = definition.kubernetes.removeprefix("v")
    tag = f"{definition.kubernetes}_{definition.build_metadata}"
    for number, source in enumerate(definition.sources):
        at: _Location = ("sources", number)
        if not isinstance(source, Images):
            for other in re.findall(r"kubernetes-(?:images-)?v?(\d+\.\d+\.\d+)", source.url):
                if other != version:
                    yield Problem((*at, "url"), f"the address belongs to v{other}, not to v{version}: {source.url}")
        if isinstance(source, RpmRepository | RpmFolder):
            for entry, package in enumerate(source.packages):
                name, _, rest = package.rpartition("-")[0].rpartition("-")
                if name in _OF_KUBERNETES and rest != version:
                    yield Problem((*at, "packages", entry), f"{package} is not of version {version}")
        if isinstance(source, Images | ImageArchive):
            for entry, reference in enumerate(source.references):
                image = repository_of(reference).rpartition("/")[2]
                found = reference.partition("@")[0].rpartition(":")[2]
                if image in _OF_CONTROL_PLANE and found != tag:
                    yield Problem((*at, "references", entry), f"{reference} does not have the tag {tag}")


def _enterprise_linux(definition: Definition) -> Iterator[Problem]:
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


def _ownership(definition: Definition) -> Iterator[Problem]:
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
                    message = f"component '{component.name}' owns {missing}, which no source brings"
                    yield Problem((*at, key, entry), message)
        yield from _exceptions(component, at)
    yield from _unowned(definition)


def _exceptions(component: Component, at: _Location) -> Iterator[Problem]:
    for position, exception in enumerate(component.exceptions):
        if component.requirement == "known":
            yield Problem((*at, "exceptions", position), "an exception has no meaning where everything is accepted")
        own = component.files
        if own and not component.packages and not component.sources and not component.images:
            related = [glob for glob in own if fnmatchcase(exception.path, glob) or fnmatchcase(glob, exception.path)]
            if not related:
                yield Problem(
                    (*at, "exceptions", position, "path"), f"{exception.path} is not a file of '{component.name}'"
                )


def _unowned(definition: Definition) -> Iterator[Problem]:
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
