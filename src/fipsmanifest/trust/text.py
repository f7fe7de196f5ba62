"""Text that others wrote, made fit for a terminal, and times as the documents write them."""

import re
from datetime import datetime, timezone
from typing import Optional

_TIME = re.compile(r"(\d{4})-(\d{2})-(\d{2})(?:T(\d{2}):(\d{2}):(\d{2})(?:Z|\+00:00))?\Z", re.ASCII)


def visible(text: str, limit: int = 200) -> str:
    """Give ``text`` in printable ASCII, escaped and cut to ``limit`` characters: it may hold terminal controls."""
    escaped = "".join(c if " " <= c <= "~" else c.encode("unicode_escape").decode("ascii") for c in text[: limit + 1])
    return escaped if len(escaped) <= limit else escaped[:limit] + "..."


def read_time(text: str) -> Optional[datetime]:
    """Read ``2026-11-23T10:00:00Z`` or ``2026-11-23`` (midnight, UTC); None where it is neither."""
    match = _TIME.match(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(group or 0) for group in match.groups())
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
    except ValueError:
        return None


def write_time(moment: datetime) -> str:
    """Write a moment as ``2026-11-23T10:00:00Z``."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def utc_now() -> datetime:
    """Give the present moment, with its time zone."""
    return datetime.now(timezone.utc)
