"""Read published objects back from their public address, through any caches."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from ..errors import Incomplete, Refused, UsageError
from ..fetch.cache import Cache, default_root
from ..fetch.http import Http, Limits
from ..progress import SILENT, Progress
from ..trust.text import visible
from .action import Action
from .bucket import MAX_OBJECT, Bucket
from .plan import Plan

#: Seconds within which caches are expected to revalidate: pointers are served with ``no-cache``.
PATIENCE = 300.0

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 15.0


def require_address(address: str) -> None:
    """Raise `UsageError` for an invalid public address; to be called before anything is published."""
    try:
        parts = urlsplit(address)
        asked = parts.scheme in {"http", "https"} and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        asked = False
    if not asked or parts.query or parts.fragment:
        raise UsageError(
            f"{visible(address)!r} is not a public address.", "Use https://HOST[/PREFIX], without query or fragment."
        )


def read_back(plan: Plan, bucket: Bucket, address: str, progress: Progress = SILENT, *, wait: float = PATIENCE) -> None:
    """Read every object of an executed plan below ``address``, until all have the bytes that are in the bucket.

    A pointer that another publisher has moved since is compared with the bucket's current object. ``wait`` is in
    seconds. Raises `Incomplete` if an object still differs or cannot be read then; `UsageError` for an address that
    cannot be requested.
    """
    require_address(address)
    deadline, pause = time.monotonic() + wait, _FIRST_PAUSE
    limits = Limits(connect=10, read=20, attempts=2, longest_wait=5, total=60)
    # Plain http is safe here: the responses are compared with bytes that were verified.
    with Http(Cache(default_root()), limits=limits, allow_http=True) as http:
        left = {action.key: action for action in plan.actions}
        while True:
            wrong = dict(_wrong(http, left.values(), bucket, address.rstrip("/")))
            if not wrong:
                return
            if time.monotonic() >= deadline:
                key, reason = next(iter(wrong.items()))
                raise Incomplete(
                    f"{len(wrong)} of {len(plan.actions)} objects are not yet available as published at {address} "
                    f"after {wait:.0f} s, the first is {key}: {reason}",
                    "The bucket itself is complete: check the web server, its caches and permissions, and run again.",
                    reason="not-yet-public",
                )
            progress.note(f"Waiting for {address}: {len(wrong)} objects are not available yet.")
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
