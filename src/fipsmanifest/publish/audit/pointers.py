"""Audit the objects that change with each publication: the pointers and the index."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ...errors import NotTrusted
from ...model.identity import ManifestId, ReleaseId
from .. import index, layout
from ..bucket import Stored
from ..layout import ToolKey
from ..page import render
from ..pointer_state import NewestSerial, State, manifest_pointer, tool_versions
from ..records import in_parallel
from ..snapshot import missed
from .finding import ADVICE, INVALID, NOT_TRUSTED, PUT_BACK
from .walk import AuditWalk

_LOOK_FIRST = "Restore the lost objects first; the next publication writes it again."
_COPY = "Find out who removed that serial, and put it back: the pointer may have its bytes."


def manifest_pointers(walk: AuditWalk, contents: index.PublishedContents) -> None:
    """Compare each manifest pointer with the newest serial of its release."""
    newest = index.newest(contents)
    pointers = {key for key, what in walk.parsed.items() if isinstance(what, ReleaseId)}
    for key, stored in in_parallel(walk.get, newest):
        if stored is not None:
            _manifest_pointer(walk, key, stored.data, newest[key])
    for key in sorted(pointers - newest.keys()):
        signed = walk.verifies(key, walk.consumer)
        what = (
            "does not belong to a published serial"
            if signed
            else "does not belong to a published serial, and does not verify"
        )
        walk.found(key, "pointer", what, INVALID if signed else NOT_TRUSTED)


def _manifest_pointer(walk: AuditWalk, key: str, data: bytes, record: index.PublishedManifest) -> None:
    """Report what a plan that publishes nothing would do about a pointer."""

    def payload() -> bytes | None:
        stored = walk.read(record.key)
        return walk.consumer.manifest(stored.data).payload if stored is not None else None

    newest = NewestSerial(record.id, record.sha256, payload)
    found = manifest_pointer(data, newest, walk.consumer, lambda: _refused_serials(walk, record.id.release))
    serial, state = found.serial, found.state
    if state is State.BEHIND:
        walk.found(key, "pointer", f"is not a copy of the newest serial, which is {record.serial}")
    elif state is State.RESIGNED:
        walk.found(key, "pointer", f"has another signature of serial {serial} than the published object")
    elif state is State.AHEAD:
        walk.found(key, "pointer", f"has serial {serial}, which is missing", NOT_TRUSTED, _COPY)
    elif state is State.DIFFERENT:
        walk.found(key, "pointer", f"has other content than the published serial {serial}", NOT_TRUSTED)
    elif state is State.REFUSED_COPY and found.error is not None and serial is not None:
        what = f"has the bytes of serial {serial}, which is refused: {found.error.message.rstrip('.')}"
        walk.found(key, "pointer", what, NOT_TRUSTED, ADVICE["missing"] if serial < record.serial else PUT_BACK)
    elif state is State.UNKNOWN:
        walk.found(key, "pointer", "does not have the bytes of a published serial", NOT_TRUSTED)


def _refused_serials(walk: AuditWalk, release: ReleaseId) -> Iterator[tuple[int, bytes]]:
    """Yield the refused serials of a release, and their bytes."""
    for key in walk.refused_keys:
        what = layout.read_key(key)
        if isinstance(what, ManifestId) and what.release == release:
            stored = walk.read(key)
            if stored is not None:
                yield what.serial, stored.data


def tool_pointers(walk: AuditWalk, contents: index.PublishedContents) -> None:
    """Compare the tool's pointers with its newest version."""
    keys = [layout.tool(None, suffix) for suffix in layout.TOOL_SUFFIXES]
    if not contents.tools and not any(key in walk.entries for key in keys):
        return
    pointers = {suffix: walk.get(key) for suffix, key in zip(layout.TOOL_SUFFIXES, keys, strict=True)}
    tool, signature = pointers[""], pointers[".asc"]
    if tool is not None and (why := _why_untrusted(walk, tool.data, signature)) is not None:
        walk.found(layout.tool(), "signature", why, NOT_TRUSTED)
    for newest in contents.tools[:1]:
        for suffix, pointer in pointers.items():
            target = walk.get(layout.tool(newest.version, suffix))
            if pointer is not None and target is not None and pointer.data != target.data:
                what = f"is not a copy of the newest version, which is {newest.version}"
                walk.found(layout.tool(None, suffix), "pointer", what)


def _why_untrusted(walk: AuditWalk, data: bytes, signature: Stored | None) -> str | None:
    """Return why the tool under the pointer must not be trusted.

    None if it is a copy of a version, as in the middle of a move, or if the signature pointer verifies it.
    """
    why = "has no valid signature"
    for key, entry in walk.entries.items():
        parsed = layout.read_key(key)
        if not isinstance(parsed, ToolKey) or not parsed.version or parsed.suffix or entry.size != len(data):
            continue
        stored = walk.read(key)
        for version in tool_versions("", data, {parsed.version: {"": stored.data}} if stored else {}, walk.consumer):
            if version not in walk.refused_tools:
                return None
            error = walk.refused_tools[version].error
            why = f"has the bytes of version {version}, which is refused: {error.message.rstrip('.')}"
    try:
        return None if signature is not None and walk.consumer.tool(data, signature.data) else why
    except NotTrusted:
        return why


def index_files(walk: AuditWalk, contents: index.PublishedContents) -> None:
    """Compare both index files with the stored objects; an object in ``index.json`` that is not stored is lost."""
    indexed, page = walk.read(layout.INDEX_JSON), walk.read(layout.INDEX_HTML)
    gone, withdrawn = missed(indexed, walk.entries, walk.consumer)
    for key in gone:
        walk.found(key, "lost", f"was published, as {layout.INDEX_JSON} says, and is missing")
    for key in withdrawn:
        walk.note(key, f"{key} was published and withdrawn.")
    contents = replace(contents, withdrawn=withdrawn)
    expected = ((layout.INDEX_JSON, indexed, index.write(contents)), (layout.INDEX_HTML, page, render(contents)))
    what = "does not match the published objects, or another version of fipsmanifest wrote it"
    for key, stored, data in expected:
        if stored is not None and stored.data != data:
            walk.found(key, "index", what, advice=_LOOK_FIRST if gone else None)
