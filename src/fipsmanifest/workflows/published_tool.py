"""Whether a published node tool may be used with a manifest: an older one lacks checks, and may trust revoked keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import NotTrusted
from ..publish import layout
from ..trust.text import visible


def require_tool_of(manifest: Mapping[str, Any], version: str | None, sha256: str) -> None:
    """Raise `NotTrusted` unless a tool of this version is the one that the manifest names, or a newer one."""
    named = manifest.get("tool") or {}
    if not named.get("version"):
        return
    if version == named["version"] and sha256 == named.get("sha256"):
        return
    if version is not None and layout.version_order(version) > layout.version_order(named["version"]):
        return
    raise NotTrusted(
        f"The tool is version {version} with SHA-256 {sha256}, and the manifest was published with version "
        f"{visible(named['version'])} with SHA-256 {visible(str(named.get('sha256')))}.",
        "Get the tool that belongs to the manifest, or a newer one.",
        reason="rolled-back",
    )
