"""Compare a published manifest with the one that would be generated today under the same serial. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Keys that may differ within one release (DESIGN section 7): they describe the same bytes in more detail.
_ADDITIONS = frozenset({"modules", "tool"})


@dataclass(frozen=True, slots=True)
class Same:
    """The documents are equal."""


@dataclass(frozen=True, slots=True)
class OnlyAdditions:
    """The release is the same; a new serial would add information about it."""

    what: tuple[str, ...]
    """What a new serial would add, in words (``tool 0.2.0``, ``evidence of 12 files``)."""


@dataclass(frozen=True, slots=True)
class Differs:
    """The release itself differs under the same serial."""

    what: tuple[str, ...]
    """What differs, as ``files: /usr/bin/kubelet``."""


def compare(published: Mapping[str, Any], new: Mapping[str, Any]) -> Same | OnlyAdditions | Differs:
    """Compare two manifest documents of the same version, EL and serial."""
    differing = sorted(key for key in published.keys() | new.keys() if published.get(key) != new.get(key))
    if not differing:
        return Same()
    hard = [key for key in differing if key not in _ADDITIONS and _bare(published.get(key)) != _bare(new.get(key))]
    if hard:
        return Differs(tuple(line for key in hard for line in _where(key, published.get(key), new.get(key))))
    return OnlyAdditions(tuple(_addition(key, published.get(key), new.get(key)) for key in differing))


def _bare(value: Any) -> Any:
    """Return a value without its evidence."""
    if isinstance(value, Mapping):
        return {
            key: {name: part for name, part in inner.items() if name != "evidence"}
            if key == "crypto" and isinstance(inner, Mapping)
            else _bare(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_bare(inner) for inner in value]
    return value


def _addition(key: str, published: Any, new: Any) -> str:
    if key == "tool" and isinstance(new, Mapping):
        return f"tool {new.get('version')}"
    if key in _ADDITIONS:
        return key
    changed = len(_changed(published, new, bare=False))
    return f"evidence of {changed} {key}" if changed else f"evidence in {key}"


def _where(key: str, published: Any, new: Any) -> list[str]:
    """Return what differs under a top-level key: the names of a list's entries, else the key."""
    names = _changed(published, new, bare=True)
    return [f"{key}: {name}" for name in names] or [key]


def _changed(published: Any, new: Any, *, bare: bool) -> list[str]:
    if not (isinstance(published, list) and isinstance(new, list)):
        return []
    before, after = _by_name(published, bare=bare), _by_name(new, bare=bare)
    return sorted({name for name, *_ in before.keys() ^ after.keys()} | _values_differ(before, after))


def _values_differ(before: dict[tuple[str, ...], Any], after: dict[tuple[str, ...], Any]) -> set[str]:
    return {key[0] for key in before.keys() & after.keys() if before[key] != after[key]}


def _by_name(entries: list[Any], *, bare: bool) -> dict[tuple[str, ...], Any]:
    """Index a list's objects by name, architecture and source; duplicates are numbered by their position."""
    found: dict[tuple[str, ...], Any] = {}
    for entry in entries:
        if isinstance(entry, Mapping):
            name = next((str(entry[key]) for key in ("path", "reference", "name") if key in entry), "")
            key: tuple[str, ...] = (name, str(entry.get("architecture", "")), str(entry.get("source", "")))
            while key in found:
                key = (*key, "again")
            found[key] = _bare(entry) if bare else entry
    return found
