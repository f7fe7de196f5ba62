"""When a server wants to be asked again."""

from __future__ import annotations

import email.utils
import time
from datetime import UTC


def retry_after(text: str, longest: float) -> float | None:
    """Return the seconds that a ``Retry-After`` asks for, in either of its forms (RFC 9110, 10.2.3), at most
    ``longest``.

    None for what is neither; a date that has passed is 0.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        seconds = float(text[:9])
    else:
        try:
            moment = email.utils.parsedate_to_datetime(text)
            # Without a zone it is the zone of all HTTP dates.
            seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return min(max(seconds, 0.0), longest)
