"""The component that a file or an image belongs to."""

from __future__ import annotations

from fnmatch import fnmatchcase

from ..errors import Refused
from .artifact import Artifact
from .definition import Component, Definition


def owner_of_file(definition: Definition, artifact: Artifact, path: str) -> Component:
    """Return the component that owns ``path`` of a package or tarball: by file glob, else by package, else by source.

    Raises `Refused` if no component or more than one owns it: a file without an owner has no requirement.
    """
    package = artifact.name.rsplit("-", 2)[0] if artifact.kind == "rpm" else None
    claims = (
        [item for item in definition.components if any(fnmatchcase(path, glob) for glob in item.files)],
        [item for item in definition.components if package in item.packages],
        [item for item in definition.components if artifact.source in item.sources],
    )
    return _single_owner(
        claims, f"{path} of {artifact.name}", "Assign it to a component with 'files', 'packages' or 'sources'."
    )


def owner_of_image(definition: Definition, reference: str) -> Component:
    """Return the component that owns an image. Raises `Refused` as `owner_of_file` does."""
    repository = repository_of(reference)
    claims = ([item for item in definition.components if repository in item.images],)
    return _single_owner(claims, f"The image {reference}", f"Assign it to a component with images = [{repository!r}].")


def repository_of(reference: str) -> str:
    """Return an image reference without tag and digest (``docker.io/mesosphere/etcd``)."""
    without_digest = reference.partition("@")[0]
    head, slash, last = without_digest.rpartition("/")
    return head + slash + last.partition(":")[0]


def _single_owner(claims: tuple[list[Component], ...], what: str, advice: str) -> Component:
    for owners in claims:
        if len(owners) > 1:
            names = " and ".join(f"'{item.name}'" for item in owners)
            raise Refused(f"{what} is claimed by {names}.", "Let one component own it.")
        if owners:
            return owners[0]
    raise Refused(f"{what} belongs to no component of the definition.", advice)
