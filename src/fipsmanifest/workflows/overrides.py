"""Write konvoy-image-builder's override file for one release.

The keys are those of its ``overrides/fips.yaml``. The values come from the definition, so that a machine image is built
from the same addresses as the manifest.
"""

from __future__ import annotations

import json

from ..errors import UsageError
from ..model.definition import Definition, ImageArchive, Images, RpmFolder, RpmRepository
from ..model.ownership import repository_of


def overrides(definition: Definition) -> str:
    """Return the override file (YAML) of a release. Raises `UsageError` if the definition has no source for a value."""
    architecture = definition.architectures[0]
    lines = [
        "# konvoy-image build --overrides THIS-FILE images/...",
        f"# {definition.kubernetes}+{definition.build_metadata} for EL {definition.el}, serial {definition.serial}",
        f"k8s_image_registry: {_quoted(_registry(definition))}",
        "fips:",
        "  enabled: true",
        'build_name_extra: "-fips"',
        f"kubernetes_version: {_quoted(definition.kubernetes.removeprefix('v'))}",
        f"kubernetes_build_metadata: {_quoted(definition.build_metadata)}",
        f"kubernetes_rpm_repository_url: {_quoted(_repository_of(definition, 'kubelet', architecture))}",
    ]
    etcd = _image(definition, "etcd")
    if etcd:
        lines.append(f"etcd_image_tag: {_quoted(etcd.rpartition(':')[2])}")
    if _has_package(definition, "containerd.io"):
        url = _repository_of(definition, "containerd.io", architecture)
        lines.append(f"docker_rpm_repository_url: {_quoted(url)}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """Return a YAML string. A JSON string is one, with all special characters escaped."""
    return json.dumps(text)


def _packages(definition: Definition) -> dict[str, str]:
    return {
        package.rsplit("-", 2)[0]: source.url
        for source in definition.sources
        if isinstance(source, RpmRepository | RpmFolder)
        for package in source.packages
    }


def _has_package(definition: Definition, name: str) -> bool:
    return name in _packages(definition)


def _repository_of(definition: Definition, package: str, architecture: str) -> str:
    url = _packages(definition).get(package)
    if url is None:
        raise UsageError(
            f"The definition of {definition.kubernetes} has no repository with {package}.",
            f"Add a source with {package} to the definition: konvoy-image-builder installs it from a repository.",
        )
    return url.replace("{arch}", architecture)


def _image(definition: Definition, name: str) -> str | None:
    for source in definition.sources:
        if isinstance(source, Images | ImageArchive):
            for reference in source.references:
                if repository_of(reference).rpartition("/")[2] == name:
                    return reference
    return None


def _registry(definition: Definition) -> str:
    reference = _image(definition, "kube-apiserver")
    if reference is None:
        raise UsageError(
            f"The definition of {definition.kubernetes} has no image of kube-apiserver.",
            "Add one to the definition: its registry is the one that the overrides name.",
        )
    return repository_of(reference).rpartition("/")[0]
