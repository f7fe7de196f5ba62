"""The time that is left until a key or a manifest expires. Pure."""

from __future__ import annotations

from datetime import datetime


def days_until(end: datetime, now: datetime) -> int:
    """Return the whole days from ``now`` until ``end``; negative if ``end`` is in the past."""
    return (end - now).days


def format_days(days: int) -> str:
    """Return a number of days in words: ``in 3 days``."""
    return "within a day" if days == 0 else "in 1 day" if days == 1 else f"in {days} days"
