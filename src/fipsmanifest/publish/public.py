"""What the world reads: the published objects through their public address, caches in between included."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..errors import Incomplete, Refused, UsageError
from ..progress import SILENT, Progress
from ..trust.text import visible
from .action import Action
from .bucket import MAX_OBJECT, Bucket
from .plan import Plan

if TYPE_CHECKING:
    from ..fetch.http import Http

#: Seconds in which a cache has to ask anew: pointers are served ``no-cache``.
PATIENCE = 300.0

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 15.0


def require_address(address: str) -> None:
    """Refuse (`UsageError`) what is no web address: before anything is published, since nothing could be read there."""
    try:
        parts = urlsplit(address)
        asked = parts.scheme in {"http", "https"} and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        asked = False
    if not asked or parts.query or parts.fragment:
        raise UsageError(f"{visible(address)!r} is no address that the world reads.", "Give https://HOST[/PREFIX].")


def read_back(plan: Plan, bucket: Bucket, address: str, progress: Progress = SILENT, *, wait: float = PATIENCE) -> None:
    """Read every object of a plan that was carried out below ``address``, until all are what the bucket holds.

    A pointer that another publisher moved on since is right where it says what the bucket says now. ``wait`` is in
    seconds. Raises `Incomplete` where an object is still another one then, or cannot be had; `UsageError` for an
    address that cannot be asked.
    """
    from ..fetch.cache import Cache, default_root
    from ..fetch.http import Http, Limits

    require_address(address)
    deadline, pause = time.monotonic() + wait, _FIRST_PAUSE
    limits = Limits(connect=10, read=20, attempts=2, longest_wait=5, total=60)
    # Plain http is no danger here: what comes is compared with what was signed and verified.
    with Http(Cache(default_root()), limits=limits, allow_http=True) as http:
        left = {action.key: action for action in plan.actions}
        while True:
            wrong = dict(_wrong(http, left.values(), bucket, address.rstrip("/")))
            if not wrong:
                return
            if time.monotonic() >= deadline:
                key, reason = next(iter(wrong.items()))
                raise Incomplete(
                    f"{len(wrong)} of {len(plan.actions)} objects are not yet to be had as published at {address} "
                    f"after {wait:.0f} s, the first is {key}: {reason}",
                    "The bucket itself is complete: look at what serves it, its caches and permissions, and run again.",
                )
            progress.note(f"Waiting for {address}: {len(wrong)} objects are not there yet.")
            time.sleep(max(0.0, min(pause, deadline - time.monotonic())))
            pause = min(pause * 2, _LONGEST_PAUSE)
            left = {key: left[key] for key in wrong}


def _wrong(http: Http, actions: Iterable[Action], bucket: Bucket, address: str) -> Iterator[tuple[str, str]]:
    for action in actions:
        try:
            data = http.fetch_bytes(f"{address}/{action.key}", MAX_OBJECT).data
        except (Incomplete, Refused) as error:
            yield action.key, error.message
            continue
        if data != action.data:
            stored = bucket.get(action.key)
            if stored is None or stored.data != data:
                found = hashlib.sha256(data).hexdigest()
                yield action.key, f"SHA-256 {found}, where {action.sha256} was published."
