"""The result of inspection: a finding for each file, with facts, verdict and evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal

#: Evidence has codes and numbers and no sentences, so that it does not change with the wording.
Evidence = Mapping[str, "str | int | bool | list[str] | list[int]"]


class Verdict(StrEnum):
    """What the bytes of a file show about its cryptography."""

    PROVEN = "proven"
    """A known module's digest, in executable memory, wired, no plain-crypto marker."""
    UNLISTED = "unlisted"
    """A module whose own digest holds, but which the table does not know."""
    DECLARED = "declared"
    """Build info or symbols claim a module, or that it is called; nothing more."""
    CONTRADICTED = "contradicted"
    """Claims that the bytes contradict."""
    OTHER_MODULE = "other-module"
    """Another FIPS module: native Go, or OpenSSL through golang-fips or Microsoft Go."""
    NO_CRYPTO = "no-crypto"
    """Go without cryptographic packages, by the names of its functions."""
    PLAIN = "plain"
    """Go with plain cryptography."""
    NOT_GO = "not-go"
    """ELF, but not Go."""
    UNREADABLE = "unreadable"
    """Packed, truncated or hostile; never a pass."""


@dataclass(frozen=True, slots=True)
class ElfFacts:
    """Facts of the ELF header."""

    bits: Literal[32, 64]
    """The file's class."""
    machine: str
    """``x86_64``, ``aarch64``, or ``em-N`` with the ELF number of any other machine."""
    type: str
    """``exec``, ``dyn``, ``rel``, ``core`` or ``et-N``."""


@dataclass(frozen=True, slots=True)
class GoFacts:
    """Go's build info, as ``go version -m`` prints it."""

    version: str
    """``go1.21.13 X:boringcrypto``."""
    path: str | None = None
    """The main package's import path."""
    module: str | None = None
    """The main module's path and version (``k8s.io/kubernetes v1.21.3``)."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """All build settings (from Go 1.18 on; empty before)."""


ModuleFamily = Literal["boringcrypto", "go-native"]


IN_PROCESS = "in process, no certificate"
"""What is said of a module that a laboratory has and that has no certificate yet."""


@dataclass(frozen=True, slots=True)
class DetectedModule:
    """A cryptographic module that was recognized in a file."""

    id: str
    """Its key in a manifest, unique for each digest."""
    name: str
    """Its name."""
    algorithm: str
    """The algorithm of its integrity digest: ``hmac-sha256`` or ``hmac-sha512``."""
    digest: str
    """The integrity digest, recomputed from this file's bytes (hex)."""
    architecture: str
    """RPM name."""
    row: Literal["shipped", "local"] | None
    """The table that has it; None for an unlisted module."""
    commit: str | None = None
    """The BoringSSL commit, if the table has it."""

    @property
    def family(self) -> ModuleFamily:
        """The family of modules that it belongs to."""
        return "go-native" if self.id.startswith("go-native-") else "boringcrypto"


def native_module(
    version: str, source: str, architecture: str, row: Literal["shipped", "local"] | None
) -> DetectedModule:
    """Return Go's native module, which is identified by its source: the same for all programs of one architecture.

    ``version`` is that of ``GOFIPS140``, ``source`` the hex SHA-256 of the zip, ``row`` whose reference proved it.
    """
    named = f"Go Cryptographic Module {version}"
    return DetectedModule(f"go-native-{version}-{architecture}", named, "sha256-source", source, architecture, row)


@dataclass(frozen=True, slots=True)
class Callers:
    """The functions that call functions of a package."""

    functions: tuple[str, ...]
    """The first few, by name."""
    more: int
    """How many others there are."""


@dataclass(frozen=True, slots=True)
class CryptoFacts:
    """The verdict on an ELF file, with its evidence."""

    verdict: Verdict
    """What follows from the evidence."""
    module: DetectedModule | None
    """The module that was recognized."""
    evidence: Evidence
    """Codes, offsets, counts and digests."""
    callers: Mapping[str, Callers] | None = None
    """By package of ``beside_module``; None where calls were not searched for."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One file, link or other entry of an artifact."""

    path: str
    """Its absolute path on a node or in an image, or its path on disk as given."""
    type: Literal["file", "symlink"]
    """Directories are not recorded; a hard link is a file of its own."""
    mode: int
    """Permission bits."""
    sha256: str | None
    """Hex; None for links and ghosts."""
    size: int | None
    """Bytes; None for links and ghosts."""
    role: Literal["program", "config", "doc", "ghost"]
    """A ``program`` (ELF file, script, link, or file with an execute bit) must be the same on the node; other files are
    recorded only."""
    target: str | None = None
    """A symbolic link's text."""
    elf: ElfFacts | None = None
    """For ELF files whose header can be read."""
    go: GoFacts | None = None
    """For Go programs."""
    crypto: CryptoFacts | None = None
    """For all ELF files."""

    def at(self, path: str) -> Finding:
        """Return the finding with another path: links may move a file when everything is unpacked."""
        return self if path == self.path else replace(self, path=path)
