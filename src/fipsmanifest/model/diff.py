"""Compare two manifest documents: every difference, and whether it changes the release. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from .finding import IN_PROCESS

Change = Literal["added", "removed", "changed"]


class Effect(Enum):
    """What a difference means where one serial is published and generated again (`docs/publishing.md`)."""

    ADDITION = "addition"
    """Both describe the same release; a new serial would add information about it: evidence, modules, the tool."""
    CONFLICT = "conflict"
    """They describe different releases."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference between two manifests."""

    change: Change
    component: str | None
    """The component it belongs to; None if it belongs to the manifest as a whole."""
    subject: str
    """A path, image reference, module, source or key, with the architecture where there is one."""
    before: str | None
    """The old digest, verdict or value; None if it was added."""
    after: str | None
    """The new one; None if it was removed."""
    section: str
    """The manifest's top-level key: ``files``."""
    name: str
    """The entry of the section: a path, reference or name; empty if the section is one value."""
    effect: Effect

    @property
    def is_shown(self) -> bool:
        """Whether it belongs in a summary for people: ``before`` and ``after`` differ.

        Otherwise only evidence differs, or the order of entries.
        """
        return self.before != self.after

    def to_json(self) -> dict[str, str | None]:
        """Return the JSON object of `fipsmanifest diff`."""
        return {key: getattr(self, key) for key in ("change", "component", "subject", "before", "after")}


#: Sections that describe the same files in more detail.
_ADDITIONS = frozenset({"modules", "tool"})
_DIGESTS = ("sha256", "manifest")
#: Keys whose values follow from the bytes that such a digest names.
_OF_CONTENT = frozenset({"config", "diff_ids", "go", "layers", "sha256", "size"})

_Key = tuple[str | None, str, int]


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of a section."""

    component: str | None
    subject: str
    name: str
    summary: str | None
    """What a summary shows of it; None if it is not shown."""
    value: Any
    """All of it."""
    summarized: tuple[str, ...] = ()
    """The keys that the summary shows."""


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    """Return all differences of two manifest documents, ordered by component and subject."""
    found: list[Difference] = []
    for section in old.keys() | new.keys():
        before, after = old.get(section), new.get(section)
        if before != after:
            found += _compare_section(section, before, after)
    return sorted(found, key=lambda item: (item.component or "", item.subject, item.change, item.section))


def describe_hidden(differences: Iterable[Difference]) -> list[str]:
    """Return what a summary does not show: ``evidence of 12 files``, ``the order of files``; empty if it shows all."""
    hidden = [item for item in differences if not item.is_shown]
    return [*describe_additions(hidden), *(f"the order of {section}" for section in describe_conflicts(hidden))]


def describe_conflicts(differences: Iterable[Difference]) -> list[str]:
    """Return the conflicts as ``files: /usr/bin/kubelet``, each once, sorted; empty if there is none."""
    conflicts = [item for item in differences if item.effect is Effect.CONFLICT]
    return sorted({f"{item.section}: {item.name}" if item.name else item.section for item in conflicts})


def describe_additions(differences: Iterable[Difference]) -> list[str]:
    """Return what a new serial would add: ``evidence of 12 files``, ``tool 0.2.0``, sorted by section."""
    names: dict[str, set[str]] = {}
    for item in differences:
        if item.effect is Effect.ADDITION:
            names.setdefault(item.section, set()).add(item.name)
    return [_addition(section, names[section]) for section in sorted(names)]


def _addition(section: str, names: set[str]) -> str:
    if section == "tool":
        return " ".join(["tool", *filter(None, names)])
    if section in _ADDITIONS:
        return section
    named = len(names - {""})
    return f"evidence of {named} {section}" if named else f"evidence in {section}"


def _compare_section(section: str, before: Any, after: Any) -> Iterator[Difference]:
    entries = _ENTRIES.get(section)
    if entries is None or not (_has_entries(before) and _has_entries(after)):
        yield _value(section, before, after)
        return
    old, new = _by_key(entries(before)), _by_key(entries(after))
    found = False
    for key in old.keys() | new.keys():
        if old.get(key) != new.get(key):
            found = True
            yield _difference(section, old.get(key), new.get(key))
    if not found:
        # The same entries in another order, or an empty section in place of none.
        yield Difference("changed", None, section, None, None, section, "", Effect.CONFLICT)


def _has_entries(value: Any) -> bool:
    return value is None or isinstance(value, list | Mapping)


def _by_key(entries: Iterable[_Entry]) -> dict[_Key, _Entry]:
    """Index entries by component and subject; further entries with the same ones are numbered."""
    found: dict[_Key, _Entry] = {}
    for entry in entries:
        number = 0
        while (entry.component, entry.subject, number) in found:
            number += 1
        found[entry.component, entry.subject, number] = entry
    return found


def _difference(section: str, old: _Entry | None, new: _Entry | None) -> Difference:
    entries = [entry for entry in (old, new) if entry is not None]
    change: Change = "added" if old is None else "removed" if new is None else "changed"
    same = len(entries) == 2 and _without_evidence(entries[0].value) == _without_evidence(entries[1].value)
    effect = Effect.ADDITION if section in _ADDITIONS or same else Effect.CONFLICT
    before, after = old.summary if old else None, new.summary if new else None
    if old is not None and new is not None:
        before, after = _with_details(old, new)
    entry = entries[-1]
    return Difference(change, entry.component, entry.subject, before, after, section, entry.name, effect)


def _value(section: str, before: Any, after: Any) -> Difference:
    change: Change = "added" if before is None else "removed" if after is None else "changed"
    same = section in _ADDITIONS or _without_evidence(before) == _without_evidence(after)
    name = str(after.get("version")) if section == "tool" and isinstance(after, Mapping) else ""
    effect = Effect.ADDITION if same else Effect.CONFLICT
    texts = [_text(before), _text(after)]
    if texts[0] == texts[1]:
        texts = [json.dumps(value, sort_keys=True) for value in (before, after)]
    return Difference(change, None, section, texts[0], texts[1], section, name, effect)


def _with_details(old: _Entry, new: _Entry) -> tuple[str | None, str | None]:
    """Return both summaries, each with its values of what else differs: ``role=program``.

    Left out is evidence, and where a digest differs what follows from it.
    """
    before, after = (dict(_leaves(_without_evidence(entry.value))) for entry in (old, new))
    changed = {at for at in before | after if before.get(at) != after.get(at)}
    if old.summary != new.summary:
        changed = {at for at in changed if at[:1] not in {(key,) for key in old.summarized + new.summarized}}
    if any(before.get((key,)) != after.get((key,)) for key in _DIGESTS):
        changed = {at for at in changed if _OF_CONTENT.isdisjoint(at)}

    def text(entry: _Entry, leaves: Mapping[tuple[str, ...], str]) -> str | None:
        details = [f"{'.'.join(at)}={leaves[at]}" for at in sorted(changed) if at in leaves]
        return "; ".join([*([entry.summary] if entry.summary else []), *details]) or None

    return text(old, before), text(new, after)


def _leaves(value: Any, at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Return the values without parts in a value, as JSON unless they are text, by their place in it."""
    parts: dict[str, Any] = {}
    if isinstance(value, Mapping):
        parts = dict(value)
    elif isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
        for inner in value:
            name = str(inner.get("path")) if isinstance(inner, Mapping) else str(inner)
            parts[name if name not in parts else f"{name} {len(parts) + 1}"] = inner
    if not parts:
        yield at, value if isinstance(value, str) else json.dumps(value)
    for key, inner in parts.items():
        yield from _leaves(inner, (*at, key))


def _without_evidence(value: Any) -> Any:
    """Return a value without the evidence of the verdicts in it."""
    if isinstance(value, Mapping):
        return {
            key: {name: part for name, part in inner.items() if name != "evidence"}
            if key == "crypto" and isinstance(inner, Mapping)
            else _without_evidence(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_without_evidence(inner) for inner in value]
    return value


def _mappings(items: Any) -> list[Mapping[str, Any]]:
    return [item if isinstance(item, Mapping) else {"value": item} for item in items or ()]


def _components(items: Any) -> Iterator[_Entry]:
    for item in _mappings(items):
        summary = f"{item.get('verdict')}, required: {item.get('requirement')}"
        name = str(item.get("name"))
        subject = f"verdict ({item.get('architecture')})"
        yield _Entry(name, subject, name, summary, item, ("verdict", "requirement"))


def _files(items: Any) -> Iterator[_Entry]:
    for item in _mappings(items):
        name = str(item.get("path"))
        subject = name + (f" ({item['architecture']})" if "architecture" in item else "")
        summarized = ("type", "mode", "sha256", "target")
        summary = " ".join(str(item[key]) for key in summarized if key in item)
        yield _Entry(item.get("component"), subject, name, summary, item, summarized)


def _images(items: Any) -> Iterator[_Entry]:
    for item in _mappings(items):
        component, name = item.get("component"), str(item.get("reference"))
        platforms = item.get("platforms")
        listed = isinstance(platforms, Sequence) and not isinstance(platforms, str)
        each = _mappings(platforms if listed else ())
        # Without the platforms, which are entries themselves, but with their order.
        whole = {**item, "platforms": [platform.get("architecture") for platform in each] if listed else platforms}
        yield _Entry(component, name, name, None, whole)
        for platform in each:
            subject = f"{name} ({platform.get('architecture')})"
            yield _Entry(component, subject, name, str(platform.get("manifest")), platform, ("manifest",))


def _modules(items: Any) -> Iterator[_Entry]:
    for name, item in items.items() if isinstance(items, Mapping) else ():
        digest = item.get("digest") if isinstance(item, Mapping) else item
        unfinished = isinstance(item, Mapping) and item.get("validation") == "in-process"
        summary = f"{digest} ({IN_PROCESS})" if unfinished else str(digest)
        summarized = ("digest", "validation") if unfinished else ("digest",)
        yield _Entry(None, f"module {name}", str(name), summary, item, summarized)


def _sources(items: Any) -> Iterator[_Entry]:
    for item in _mappings(items):
        name = str(item.get("name", item.get("address")))
        yield _Entry(None, f"source {item.get('address')}", name, str(item.get("sha256")), item, ("sha256",))


#: The sections with entries; the others are compared as one value.
_ENTRIES: Mapping[str, Callable[[Any], Iterable[_Entry]]] = {
    "components": _components,
    "files": _files,
    "images": _images,
    "modules": _modules,
    "sources": _sources,
}


def _text(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={value[key]}" for key in sorted(value))
    return str(value)
