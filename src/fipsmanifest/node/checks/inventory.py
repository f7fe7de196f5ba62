"""What the manifests list of programs, arranged for comparing what runs with it."""

import posixpath
from typing import Any, Dict, FrozenSet, Iterable, NamedTuple, Optional, Sequence, Set, Tuple

from ..provenance import NATIVE, has_mode
from ..result import Listed, image_files, is_own_program, wanted_components

MAX_NAME = 15  # proc(5), /proc/pid/comm


class Program(NamedTuple):
    """What the manifests say of the programs with one name."""

    digests: Dict[str, str]
    """SHA-256 -> the manifest that lists it."""
    paths: Set[str]
    """Where they are listed, on the node or in an image."""
    component: str
    references: Set[str]
    """Images that it is listed in."""

    def is_elsewhere(self, path: str) -> bool:
        """Return whether a program at ``path`` is another's: CNI plugins have everyday names, as iproute's `bridge`."""
        own = all("/cni/" in listed for listed in self.paths)
        return own and "/cni/" not in path and path not in self.paths


class Component(NamedTuple):
    """What the manifests say of one component."""

    own: Set[str]
    """Digests of its own programs."""
    files: Set[str]
    """Digests of everything listed for it, libraries and shells of its images included."""
    references: Set[str]


class Inventory:
    """The programs of all manifests; of every role, as what runs decides what a node is."""

    def __init__(self, manifests: Sequence[Listed]) -> None:
        self.programs: Dict[str, Program] = {}
        """By file name."""
        self.components: Dict[str, Component] = {}
        self.sizes: Dict[str, Optional[int]] = {}
        """Digest -> size; None where the manifest does not record it."""
        self.native: Dict[str, str] = {}
        """Digest of a program with Go's native module -> the ``fips140`` that is built into it."""
        self.without_mode: Set[str] = set()
        """Digests of programs that have no FIPS mode which GODEBUG could switch off."""
        for listed in manifests:
            for file in listed.manifest.get("files") or []:
                self._add(listed.name, file, None)
            for image in listed.manifest.get("images") or []:
                for file in image_files(image):
                    self._add(listed.name, file, str(image.get("reference")))
        self.by_comm = self._by_comm()
        """By as long a part of the name as a process's comm holds, CNI plugins aside."""

    def _add(self, manifest: str, file: Dict[str, Any], reference: Optional[str]) -> None:
        name, digest = file.get("component"), file.get("sha256")
        if not name or not digest:
            return
        self.sizes.setdefault(digest, file.get("size"))
        crypto = file.get("crypto") or {}
        if str(crypto.get("module")).startswith(NATIVE):
            self.native[digest] = str((crypto.get("evidence") or {}).get("fips140"))
        if crypto and not has_mode(file):
            self.without_mode.add(digest)
        component = self.components.setdefault(name, Component(set(), set(), set()))
        component.files.add(digest)
        component.references.update([reference] if reference else ())
        if is_own_program(file, name):
            component.own.add(digest)
            base = posixpath.basename(file["path"])
            program = self.programs.setdefault(base, Program({}, set(), name, set()))
            program.digests.setdefault(digest, manifest)
            program.paths.add(file["path"])
            program.references.update([reference] if reference else ())

    def _by_comm(self) -> Dict[str, Program]:
        found: Dict[str, Program] = {}
        for name, program in sorted(self.programs.items()):
            if not program.is_elsewhere(""):
                merged = found.setdefault(name[:MAX_NAME], Program({}, set(), program.component, set()))
                merged.digests.update(program.digests)
                merged.paths.update(program.paths)
                merged.references.update(program.references)
        return found

    def may_have(self, size: int, digests: Iterable[str]) -> bool:
        """Return whether a file of ``size`` bytes may be one of ``digests``; True where a size is not recorded."""
        return any(self.sizes.get(digest) in (None, size) for digest in digests)

    def of(self, name: str) -> FrozenSet[str]:
        """Return the digests of the program of this name, or else of the component's own programs."""
        if name in self.programs:
            return frozenset(self.programs[name].digests)
        found = self.components.get(name)
        return frozenset(found.own if found else ())

    def component_of(self, name: str) -> str:
        """Return the component that a program of this name belongs to; the name itself where it is a component's."""
        return self.programs[name].component if name in self.programs else name


DAEMONS = ("containerd", "kubelet", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd", "kube-proxy")
"""What runs all the time on a node whose role requires it."""


def required_daemons(role: str, manifests: Sequence[Listed], inventory: Inventory) -> Tuple[str, ...]:
    """Return the daemons that a node of this role must run, as far as the manifests list their programs."""
    here = {name for listed in manifests for name in wanted_components(listed, role).here}
    return tuple(
        name
        for name in DAEMONS
        if name in inventory.programs and here.intersection((name, inventory.programs[name].component))
    )
