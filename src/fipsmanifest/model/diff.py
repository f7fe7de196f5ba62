"""Differences between two manifests, by component: for reviewers and release notes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Change = Literal["added", "removed", "changed"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference."""

    change: Change
    component: str | None
    """The component; None for a difference of the manifest as a whole."""
    subject: str
    """A path, image reference, module, source or key."""
    before: str | None
    """The old digest, verdict or value."""
    after: str | None
    """The new digest, verdict or value."""

    def to_json(self) -> dict[str, str | None]:
        """Return the JSON object."""
        return asdict(self)


#: Top-level keys that are compared as plain values.
_SCALARS = ("kubernetes", "build_metadata", "el", "serial", "reason", "created", "expires", "node", "tool")


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    """Return the differences between two manifest documents, ordered by component and subject."""
    found: list[Difference] = []
    for key in _SCALARS:
        if old.get(key) != new.get(key):
            found.append(_difference(None, key, _text(old.get(key)), _text(new.get(key))))
    found += _entries(_components(old), _components(new))
    found += _entries(_files(old), _files(new))
    found += _entries(_images(old), _images(new))
    found += _entries(_modules(old), _modules(new))
    found += _entries(_sources(old), _sources(new))
    return sorted(found, key=lambda item: (item.component or "", item.subject, item.change))


_Keyed = dict[tuple[str | None, str], str]


def _entries(old: _Keyed, new: _Keyed) -> list[Difference]:
    return [
        _difference(component, subject, old.get((component, subject)), new.get((component, subject)))
        for component, subject in old.keys() | new.keys()
        if old.get((component, subject)) != new.get((component, subject))
    ]


def _difference(component: str | None, subject: str, before: str | None, after: str | None) -> Difference:
    change: Change = "added" if before is None else "removed" if after is None else "changed"
    return Difference(change, component, subject, before, after)


def _components(document: Mapping[str, Any]) -> _Keyed:
    return {
        (item["name"], f"verdict ({item['architecture']})"): f"{item['verdict']}, required: {item['requirement']}"
        for item in document.get("components", [])
    }


def _files(document: Mapping[str, Any]) -> _Keyed:
    return {
        (
            item.get("component"),
            item["path"] + (f" ({item['architecture']})" if "architecture" in item else ""),
        ): " ".join(str(item[key]) for key in ("type", "mode", "sha256", "target") if key in item)
        for item in document.get("files", [])
    }


def _images(document: Mapping[str, Any]) -> _Keyed:
    return {
        (item["component"], f"{item['reference']} ({platform['architecture']})"): platform["manifest"]
        for item in document.get("images", [])
        for platform in item["platforms"]
    }


def _modules(document: Mapping[str, Any]) -> _Keyed:
    return {(None, f"module {name}"): item["digest"] for name, item in document.get("modules", {}).items()}


def _sources(document: Mapping[str, Any]) -> _Keyed:
    return {(None, f"source {item['address']}"): item["sha256"] for item in document.get("sources", [])}


def _text(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={value[key]}" for key in sorted(value))
    return str(value)
