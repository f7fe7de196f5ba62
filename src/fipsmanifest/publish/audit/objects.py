"""Audit the objects that never change: the versions of the tool and the serials of the manifests."""

from __future__ import annotations

import hashlib

from ...errors import NotTrusted
from ...model.identity import ManifestId
from ...model.lifetime import days_until, format_days
from ...trust.keys import WARN_DAYS
from ...trust.text import read_time
from .. import history, index, layout
from ..consumer import read_tool, tool_signer
from .finding import ADVICE, NOT_TRUSTED
from .walk import AuditWalk, Refusal

_RENEW = (
    "Reissue that manifest with --accept-revoked, or release it under the next serial, which names the current tool."
)


def check_tool(walk: AuditWalk, version: str) -> index.PublishedTool | None:
    """Check a tool version with its signature and SHA-256 file. Return its record, or None if incomplete or refused."""
    files = {suffix: walk.get(layout.tool(version, suffix)) for suffix in layout.TOOL_SUFFIXES}
    tool, signature, sidecar = files[""], files[".asc"], files[".sha256"]
    key = layout.tool(version)
    if tool is not None and signature is None:
        walk.found(key, "unsigned", "has no signature beside it", NOT_TRUSTED)
    if tool is None or signature is None or sidecar is None:
        return None
    sha256 = hashlib.sha256(tool.data).hexdigest()
    whole = sidecar.data == layout.sidecar(version, sha256)
    if not whole:
        walk.found(key + ".sha256", "sidecar", f"is not the SHA-256 file of {key}")
    try:
        signer = read_tool(tool.data, signature.data, walk.consumer, version)
    except NotTrusted as error:
        once = walk.consumer.once
        revoked = once is not None and tool_signer(tool.data, signature.data, once, version) is not None
        walk.refused_tools[version] = Refusal(error, revoked)
        return None
    return index.PublishedTool(version, sha256, len(tool.data), signer.fingerprint) if whole else None


def refused_manifests(
    walk: AuditWalk, refused: list[tuple[str, NotTrusted]], contents: index.PublishedContents
) -> None:
    """Report each refused manifest; one that a higher serial replaces is only a note."""
    newest = index.newest(contents)
    for key, error in refused:
        what = layout.read_key(key)
        after = newest.get(layout.pointer(what.release)) if isinstance(what, ManifestId) else None
        replaced = after is not None and isinstance(what, ManifestId) and after.serial > what.serial
        if after is not None and replaced and walk.verifies(key, walk.consumer.once):
            walk.replaced(key, error, after.key, f"serial {after.serial} replaces it")
        else:
            walk.untrusted(key, error)


def refused_tools(walk: AuditWalk, contents: index.PublishedContents) -> None:
    """Report each refused tool; one that a higher version replaces is only a note."""
    newest = contents.tools[0].version if contents.tools else None
    for version, refusal in walk.refused_tools.items():
        key = layout.tool(version)
        replaced = newest is not None and layout.version_order(newest) > layout.version_order(version)
        if newest is not None and replaced and refusal.revoked:
            walk.replaced(key, refusal.error, layout.tool(newest), f"version {newest} replaces it")
        else:
            walk.untrusted(key, refusal.error)


def serials(walk: AuditWalk, contents: index.PublishedContents, keys: list[str]) -> None:
    """Check the order, reasons and numbers of serials; for a serial that is not the newest, report only a note."""
    newest = index.newest(contents)
    for record, what in history.signed_too_early(contents):
        if newest[layout.pointer(record.id.release)] is record:
            walk.found(record.key, "serial", what)
        else:
            walk.note(record.key, f"{record.key} {what}.")
    for record in contents.manifests:
        if record.serial > 1 and not record.reason:
            what = f"has serial {record.serial} and no reason"
            if newest[layout.pointer(record.id.release)] is record:
                walk.found(record.key, "serial", what, advice="Set 'reason' in the definition of the next serial.")
            else:
                walk.note(record.key, f"{record.key} {what}.")
    for key, what in history.gaps(keys):
        walk.note(key, f"{key} {what}.")


def expiry(walk: AuditWalk, contents: index.PublishedContents) -> None:
    """Check when the newest serials expire, since verifiers refuse them from that day."""
    for record in index.newest(contents).values():
        expires = read_time(record.expires)
        if expires is not None and expires <= walk.now:
            walk.found(record.key, "expired", f"expired on {record.expires}", NOT_TRUSTED)
        elif expires is not None and (left := days_until(expires, walk.now)) <= WARN_DAYS:
            message = f"{record.key} expires {format_days(left)}, on {record.expires}."
            walk.note(record.key, f"{message} {ADVICE['expired']}")


def named_tools(walk: AuditWalk, contents: index.PublishedContents) -> None:
    """Check that the tool of each manifest is published."""
    published = {(tool.version, tool.sha256) for tool in contents.tools}
    replaced, newest = {note.key for note in walk.notes}, index.newest(contents)
    for record in contents.manifests:
        current = newest[layout.pointer(record.id.release)] is record
        # Not by `layout.tool`, which raises: the version in a manifest can be any text.
        if not current and f"{layout.ROOT}{record.tool_version}/{layout.TOOL}" in replaced:
            continue
        refusal = walk.refused_tools.get(record.tool_version)
        if refusal is not None and refusal.revoked:
            what = f"names the tool {record.tool_version}, which is refused: {refusal.error.message.rstrip('.')}"
            walk.found(record.key, "tool", what, advice=_RENEW)
        elif (record.tool_version, record.tool_sha256) not in published:
            named = f"{record.tool_version} with SHA-256 {record.tool_sha256}"
            walk.found(record.key, "tool", f"names the tool {named}, which is not published")
