"""What inspecting gives: one record per file, with what was seen and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal

#: Evidence is codes and numbers, never sentences, so that it stays the same from one wording to the next.
Evidence = Mapping[str, "str | int | bool | list[str] | list[int]"]


class Verdict(StrEnum):
    """What the bytes say of a file's cryptography."""

    PROVEN = "proven"
    """A known module's digest, in executable memory, wired, no plain-crypto marker."""
    UNLISTED = "unlisted"
    """A module whose own digest holds, but which the table does not know."""
    DECLARED = "declared"
    """Build info or symbols claim a module, or that it is called; nothing more."""
    CONTRADICTED = "contradicted"
    """Claims that the bytes deny."""
    OTHER_MODULE = "other-module"
    """Another FIPS module: native Go, or OpenSSL through golang-fips or Microsoft Go."""
    NO_CRYPTO = "no-crypto"
    """Go, without cryptographic packages, by the names of its functions."""
    PLAIN = "plain"
    """Go with plain cryptography."""
    NOT_GO = "not-go"
    """ELF, but not Go."""
    UNREADABLE = "unreadable"
    """Packed, truncated or hostile; never a pass."""


@dataclass(frozen=True, slots=True)
class ElfFacts:
    """What the ELF header says."""

    bits: Literal[32, 64]
    """The file's class."""
    machine: str
    """``x86_64``, ``aarch64``, or ``em-N`` with the ELF number of any other machine."""
    type: str
    """``exec``, ``dyn``, ``rel``, ``core`` or ``et-N``."""


@dataclass(frozen=True, slots=True)
class GoFacts:
    """What Go's build info says, as ``go version -m`` prints it."""

    version: str
    """``go1.21.13 X:boringcrypto``."""
    path: str | None = None
    """The main package's import path."""
    module: str | None = None
    """The main module's path and version (``k8s.io/kubernetes v1.21.3``)."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """The build settings, all of them as they stand (Go 1.18 and later; empty before)."""


@dataclass(frozen=True, slots=True)
class DetectedModule:
    """A cryptographic module recognised in a file."""

    id: str
    """The name that a manifest uses for it, unique per digest."""
    name: str
    """What its makers call it."""
    algorithm: str
    """How its integrity digest is made: ``hmac-sha256``, ``hmac-sha512``."""
    digest: str
    """That digest, recomputed from this file's bytes (hex)."""
    architecture: str
    """RPM name."""
    row: Literal["shipped", "local"] | None
    """Which table knows it; None for an unlisted module."""
    commit: str | None = None
    """The BoringSSL commit, where the table knows it."""


@dataclass(frozen=True, slots=True)
class CryptoFacts:
    """The verdict on an ELF file and what it rests on."""

    verdict: Verdict
    """What follows from the evidence."""
    module: DetectedModule | None
    """The module that was recognised."""
    evidence: Evidence
    """What was found where: codes, offsets, counts, digests."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One file, link or other entry of an artifact."""

    path: str
    """As it will be found on a node (absolute), or as it was named."""
    type: Literal["file", "symlink"]
    """Directories are not recorded; a hard link is a file of its own."""
    mode: int
    """Permission bits."""
    sha256: str | None
    """Hex; None for links and ghosts."""
    size: int | None
    """Bytes; None for links and ghosts."""
    role: Literal["program", "config", "doc", "ghost"]
    """Programs (ELF, scripts, links to anything, and every file with an execute bit) must be on the node as they
    are; the rest is recorded."""
    target: str | None = None
    """A symbolic link's text."""
    elf: ElfFacts | None = None
    """For ELF files that can be read."""
    go: GoFacts | None = None
    """For Go programs."""
    crypto: CryptoFacts | None = None
    """For ELF files, the unreadable ones too."""

    def at(self, path: str) -> Finding:
        """Give the same under another path: links may move or rename a file once everything is unpacked."""
        return self if path == self.path else replace(self, path=path)
