"""What moves with each publication: the pointers to the newest, and the index."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from ...errors import NotTrusted
from .. import index, layout
from ..bucket import Stored
from ..consumer import read_manifest
from ..layout import ManifestKey, ToolKey
from ..page import render
from ..records import in_parallel
from ..snapshot import missed
from .finding import ADVICE, INVALID, NOT_TRUSTED, PUT_BACK
from .look import Look

_LOOK_FIRST = "Look at what is lost first; the publication after that makes it anew."
_COPY = "Find out who removed that serial, and put it back: the pointer may hold its bytes."


def manifest_pointers(look: Look, contents: index.Contents) -> None:
    """Hold each manifest pointer against the newest serial of its release."""
    newest = index.newest(contents)
    pointers = {key for key, what in look.parsed.items() if isinstance(what, ManifestKey) and what.serial is None}
    for key, stored in in_parallel(look.get, newest):
        if stored is not None and hashlib.sha256(stored.data).hexdigest() != newest[key].sha256:
            _manifest_pointer(look, key, stored.data, newest[key])
    for key in sorted(pointers - newest.keys()):
        signed = look.verifies(key, look.consumer)
        what = "is of no published serial" if signed else "is of no published serial and does not verify"
        look.found(key, "pointer", what, INVALID if signed else NOT_TRUSTED)


def _manifest_pointer(look: Look, key: str, data: bytes, newest: index.PublishedManifest) -> None:
    """Say what a pointer is that has not the newest serial's bytes."""
    try:
        signed = read_manifest(data, look.consumer, kubernetes=newest.kubernetes, name=newest.name)
    except NotTrusted as error:
        refused = _refused_copies(look, newest, data)
        if refused:
            what = f"leads to serial {max(refused)}, which is refused: {error.message.rstrip('.')}"
            look.found(
                key, "pointer", what, NOT_TRUSTED, ADVICE["missing"] if max(refused) < newest.serial else PUT_BACK
            )
        else:
            look.found(key, "pointer", "holds bytes that are no published serial", NOT_TRUSTED)
        return
    serial = signed.document.serial
    if serial < newest.serial:
        look.found(key, "pointer", f"is not that of the newest serial, which is {newest.serial}")
    elif serial > newest.serial:
        look.found(key, "pointer", f"is of serial {serial}, which is not there", NOT_TRUSTED, _COPY)
    elif _payload(look, newest) == signed.payload:
        look.found(key, "pointer", f"is another signature of serial {serial} than the published one")
    else:
        look.found(key, "pointer", f"has another content than the serial {serial} that is published", NOT_TRUSTED)


def _refused_copies(look: Look, release: index.PublishedManifest, data: bytes) -> list[int]:
    """Give the serials of a release that are refused and have exactly these bytes."""
    found = []
    for key in look.refused_keys:
        what = layout.read_key(key)
        if isinstance(what, ManifestKey) and (what.kubernetes, what.name) == (release.kubernetes, release.name):
            stored = look.read(key)
            if stored is not None and stored.data == data:
                found.append(what.serial or 0)
    return found


def _payload(look: Look, record: index.PublishedManifest) -> bytes | None:
    stored = look.read(record.key)
    return look.consumer.manifest(stored.data).payload if stored is not None else None


def tool_pointers(look: Look, contents: index.Contents) -> None:
    """Hold what lies at the tool's well-known addresses against its newest version."""
    keys = [layout.tool(None, suffix) for suffix in layout.TOOL_SUFFIXES]
    if not contents.tools and not any(key in look.entries for key in keys):
        return
    pointers = {suffix: look.get(key) for suffix, key in zip(layout.TOOL_SUFFIXES, keys, strict=True)}
    tool, signature = pointers[""], pointers[".asc"]
    if tool is not None and (why := _why_untrusted(look, tool.data, signature)) is not None:
        look.found(layout.tool(), "signature", why, NOT_TRUSTED)
    for newest in contents.tools[:1]:
        for suffix, pointer in pointers.items():
            target = look.get(layout.tool(newest.version, suffix))
            if pointer is not None and target is not None and pointer.data != target.data:
                what = f"is not that of the newest version, which is {newest.version}"
                look.found(layout.tool(None, suffix), "pointer", what)


def _why_untrusted(look: Look, data: bytes, signature: Stored | None) -> str | None:
    """Say why the tool under the pointer must not be trusted; None where it is a version's own, as in the middle of
    a move, or verifies with the signature beside it."""
    why = "is nothing that was signed"
    for key, entry in look.entries.items():
        parsed = layout.read_key(key)
        if not isinstance(parsed, ToolKey) or not parsed.version or parsed.suffix or entry.size != len(data):
            continue
        stored = look.read(key)
        if stored is not None and stored.data == data:
            if parsed.version not in look.refused_tools:
                return None
            error = look.refused_tools[parsed.version].error
            why = f"is that of version {parsed.version}, which is refused: {error.message.rstrip('.')}"
    try:
        return None if signature is not None and look.consumer.tool(data, signature.data) else why
    except NotTrusted:
        return why


def index_files(look: Look, contents: index.Contents) -> None:
    """Compare both index files with what is there; what ``index.json`` told of and is not there is lost."""
    told, page = look.read(layout.INDEX_JSON), look.read(layout.INDEX_HTML)
    gone, withdrawn = missed(told, look.entries, look.consumer)
    for key in gone:
        look.found(key, "lost", f"was published, as {layout.INDEX_JSON} says, and is gone")
    for key in withdrawn:
        look.note(key, f"{key} was published and withdrawn.")
    contents = replace(contents, withdrawn=withdrawn)
    expected = ((layout.INDEX_JSON, told, index.write(contents)), (layout.INDEX_HTML, page, render(contents)))
    what = "does not say what is published, or another version of fipsmanifest wrote it"
    for key, stored, wanted in expected:
        if stored is not None and stored.data != wanted:
            look.found(key, "index", what, advice=_LOOK_FIRST if gone else None)
