"""Which of an image's platforms a node takes.

As containerd decides it: ``platforms.Normalize`` and ``images.Manifest``.
"""

from __future__ import annotations

from ..archive.paths import shown
from .document import Descriptor

#: The names that containerd takes for Go's (``normalizeArch``).
_ARCHITECTURES = {
    "i386": "386",
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "armhf": "arm",
    "armel": "arm",
}
#: Variants that every machine of the architecture is.
_PLAIN_VARIANTS = {"amd64": ("", "v1"), "arm64": ("", "8", "v8")}


def architecture_of(name: str) -> str:
    """Return Go's name of a machine."""
    name = name.lower()
    return _ARCHITECTURES.get(name, name)


def system_of(name: str | None) -> str:
    """Return Go's name of a system; where none is named it is the node's own, so Linux."""
    return (name or "linux").lower()


def other_than_linux(entry: Descriptor) -> str:
    """Return what an entry of an index is that no Linux node would take; nothing for any other."""
    system = system_of(entry.os)
    if system == "unknown" and entry.attests:
        return "an attestation"
    return "" if system in ("linux", "unknown") else f"made for {shown(system)}"


def is_for(entry: Descriptor, machine: str) -> bool:
    """Return whether an entry that says its platform says Linux on ``machine`` (Go's name)."""
    return system_of(entry.os) == "linux" and architecture_of(entry.architecture or "") == machine


def is_plain(entry: Descriptor) -> bool:
    """Return whether every machine of the entry's architecture can run it: containerd prefers such for a plain one."""
    variant = (entry.variant or "").lower()
    return variant in _PLAIN_VARIANTS.get(architecture_of(entry.architecture or ""), ("",))
