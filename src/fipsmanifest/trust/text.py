"""Untrusted text for a terminal, and times in documents."""

import re
from datetime import datetime, timezone
from typing import Optional

_TIME = re.compile(r"(\d{4})-(\d{2})-(\d{2})(?:T(\d{2}):(\d{2}):(\d{2})(?:Z|\+00:00))?\Z", re.ASCII)


def visible(text: str, limit: int = 200) -> str:
    """Return untrusted ``text`` in printable ASCII: with escapes, and at most ``limit`` characters."""
    escaped = "".join(c if " " <= c <= "~" else c.encode("unicode_escape").decode("ascii") for c in text[: limit + 1])
    return escaped if len(escaped) <= limit else escaped[:limit] + "..."


def read_time(text: str) -> Optional[datetime]:
    """Read ``2026-11-23T10:00:00Z`` or ``2026-11-23`` (midnight, UTC); return None if it is neither."""
    match = _TIME.match(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(group or 0) for group in match.groups())
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
    except ValueError:
        return None


def write_time(moment: datetime) -> str:
    """Return a time as ``2026-11-23T10:00:00Z``."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def utc_now() -> datetime:
    """Return the current time, with its time zone."""
    return datetime.now(timezone.utc)
