"""Audit a bucket: verify every published object again, with read access only, also while others publish."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from functools import partial

from ...model.identity import ManifestId
from ...progress import SILENT, Progress
from ...trust.text import utc_now
from .. import index, layout
from ..bucket import Bucket
from ..consumer import Consumer
from ..layout import ToolKey
from ..records import Recorder, in_parallel
from . import objects, pointers
from .bundles import check_bundles
from .finding import Audit, AuditFinding, AuditNote
from .walk import AuditWalk

__all__ = ["Audit", "AuditFinding", "AuditNote", "audit"]

#: Seconds between two inspections of a bucket that is being published to, and the longest total time.
_PAUSE = 1.0
_LONGEST = 120.0


def audit(
    bucket: Bucket,
    consumer: Consumer,
    progress: Progress = SILENT,
    *,
    patience: float = 0.0,
    now: datetime | None = None,
) -> Audit:
    """Verify every manifest and tool under its key, the pointers and the index.

    If every finding could be caused by a publication in progress, the bucket is inspected again until no finding is
    left, or nothing has changed for ``patience`` seconds, or two minutes have passed. Memory grows with the number of
    manifests, not with their size. An empty bucket is a finding, since nothing was checked. Manifests must not have
    expired at ``now``. Raises `Incomplete` if the bucket cannot be read.
    """
    day = now or utc_now()
    done = _walk(bucket, consumer, day, {})
    began = changed = time.monotonic()
    noted = False
    while done.findings and all(finding.may_pass for finding in done.findings):
        inspected_at = time.monotonic()
        if inspected_at - changed >= patience or inspected_at - began >= _LONGEST:
            break
        if not noted:
            progress.note(
                "The findings may be caused by a publication in progress: waiting until nothing changes any more."
            )
            noted = True
        time.sleep(min(_PAUSE, patience))
        # Objects that never change and verified before are not read again.
        known = {record.key: record for record in done.published.manifests}
        again = _walk(bucket, consumer, day, known)
        if again != done:
            done, changed = again, time.monotonic()
    return done


def _walk(bucket: Bucket, consumer: Consumer, now: datetime, known: Mapping[str, index.PublishedManifest]) -> Audit:
    """Check all objects once, in the order of their dependencies."""
    walk = AuditWalk(bucket, consumer, now)
    for key, what in walk.parsed.items():
        if what is None:
            walk.found(key, "foreign", "was not written by fipsmanifest, or has a wrong name")
    versions = {what.version for what in walk.parsed.values() if isinstance(what, ToolKey) and what.version}
    check = partial(objects.check_tool, walk)
    tools = [record for _, record in in_parallel(check, sorted(versions)) if record]
    keys = [key for key, what in walk.parsed.items() if isinstance(what, ManifestId)]
    recorder = Recorder(walk.get, consumer, known)
    contents = index.contents(recorder.records(keys), tools)
    walk.refused_keys = [key for key, _ in recorder.refused]
    objects.refused_manifests(walk, recorder.refused, contents)
    objects.refused_tools(walk, contents)
    if not contents.manifests:
        walk.found(layout.ROOT, "missing", "holds no manifest that verifies")
    objects.serials(walk, contents, keys)
    objects.expiry(walk, contents)
    objects.named_tools(walk, contents)
    pointers.manifest_pointers(walk, contents)
    pointers.tool_pointers(walk, contents)
    contents = check_bundles(walk, contents)
    pointers.index_files(walk, contents)
    findings = sorted(dict.fromkeys(walk.findings), key=lambda finding: (finding.key, finding.code))
    notes = sorted(walk.notes, key=lambda note: note.key)
    return Audit(bucket.describe(), contents, tuple(findings), tuple(notes))
