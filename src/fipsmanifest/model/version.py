"""Kubernetes versions as releases name them: ``v1.21.3``."""

from __future__ import annotations

import re

PATTERN = r"^v[0-9]+\.[0-9]+\.[0-9]+$"
"""Matches a Kubernetes version."""


def is_version(text: str) -> bool:
    """Return whether ``text`` is a Kubernetes version (``v1.21.3``)."""
    return re.fullmatch(PATTERN, text) is not None


def version_key(version: str) -> tuple[int, ...]:
    """Return a sort key that orders versions by their numbers (``v1.9.0`` before ``v1.21.3``)."""
    return tuple(int(part) for part in re.findall(r"\d+", version))
