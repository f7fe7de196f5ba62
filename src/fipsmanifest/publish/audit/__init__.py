"""Everything that is published, checked again: by anyone who can read the bucket, on any day, while others publish."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from functools import partial

from ...progress import SILENT, Progress
from ...trust.text import utc_now
from .. import index, layout
from ..bucket import Bucket
from ..consumer import Consumer
from ..layout import ManifestKey, ToolKey
from ..records import Recorder, in_parallel
from . import objects, pointers
from .finding import Audit, AuditFinding, AuditNote
from .look import Look

__all__ = ["Audit", "AuditFinding", "AuditNote", "audit"]

#: Seconds between two looks at a bucket in which somebody seems to be publishing, and the longest that it is looked at.
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
    """Verify every manifest and tool, where it lies, the pointers and the index.

    Where all that is found could be a publication under way, the bucket is looked at again: until nothing is found any
    more, or nothing has changed for ``patience`` seconds, or for two minutes. Memory does not grow with the manifests'
    size, only with their number. An empty bucket is a finding: nothing was checked. ``now`` is the day for which
    manifests must not have expired. Raises `Incomplete` where the bucket cannot be read.
    """
    day = now or utc_now()
    done = _walk(bucket, consumer, day, {})
    began = changed = time.monotonic()
    told = False
    while done.findings and all(finding.may_pass for finding in done.findings):
        looked = time.monotonic()
        if looked - changed >= patience or looked - began >= _LONGEST:
            break
        if not told:
            progress.note("What is found may be a publication under way: looking again until nothing changes any more.")
            told = True
        time.sleep(min(_PAUSE, patience))
        # What never changes and verified a moment ago is not read again.
        known = {record.key: record for record in done.published.manifests}
        again = _walk(bucket, consumer, day, known)
        if again != done:
            done, changed = again, time.monotonic()
    return done


def _walk(bucket: Bucket, consumer: Consumer, now: datetime, known: Mapping[str, index.PublishedManifest]) -> Audit:
    """Look at everything, in the order in which one thing rests on another."""
    look = Look(bucket, consumer, now)
    for key, what in look.parsed.items():
        if what is None:
            look.found(key, "foreign", "is none of ours, or not named as it should be")
    versions = {what.version for what in look.parsed.values() if isinstance(what, ToolKey) and what.version}
    check = partial(objects.check_tool, look)
    tools = [record for _, record in in_parallel(check, sorted(versions)) if record]
    keys = [key for key, what in look.parsed.items() if isinstance(what, ManifestKey) and what.serial]
    recorder = Recorder(look.get, consumer, known)
    contents = index.contents(recorder.records(keys), tools)
    look.refused_keys = [key for key, _ in recorder.refused]
    objects.refused_manifests(look, recorder.refused, contents)
    objects.refused_tools(look, contents)
    if not contents.manifests:
        look.found(layout.ROOT, "missing", "holds no manifest that verifies")
    objects.serials(look, contents, keys)
    objects.expiry(look, contents)
    objects.named_tools(look, contents)
    pointers.manifest_pointers(look, contents)
    pointers.tool_pointers(look, contents)
    pointers.index_files(look, contents)
    findings = sorted(dict.fromkeys(look.findings), key=lambda finding: (finding.key, finding.code))
    notes = sorted(look.notes, key=lambda note: note.key)
    return Audit(bucket.describe(), contents, tuple(findings), tuple(notes))
