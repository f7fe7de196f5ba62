"""The settings of an export."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Specification = Literal["1.6", "1.7"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What an export depends on besides its document."""

    tool_version: str
    """The version of fipsmanifest."""
    resource_uri: str | None = None
    """For an SLSA VSA: the URI of what was inspected."""
    specification: Specification = "1.6"
    """For CycloneDX: the version of its specification."""
