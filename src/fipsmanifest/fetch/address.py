"""Addresses: what is shown of them, where they lead, and which login is for them."""

from __future__ import annotations

import ipaddress
import netrc
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from ..errors import UsageError

_SHOWN_URL = 500


def shown(url: str) -> str:
    """Return an address for a message: without the credentials and signatures that it may carry, short and harmless."""
    try:
        parts = urlsplit(url)
        query = "..." if parts.query else ""
        url = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))
    except ValueError:
        url = url.rpartition("@")[2]
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in url[:_SHOWN_URL])


def without_query(url: str) -> str:
    """Return ``url`` for a log record: short, on one line, and without its query, which may be a signature."""
    return shown(url.partition("?")[0])


def local_path(url: str) -> Path | None:
    """Return the path that ``url`` is or names (``file:``), None for an address of a network."""
    if url.startswith("file:"):
        parts = urlsplit(url)
        if parts.netloc not in ("", "localhost"):
            raise UsageError(f"{url} names a file of another machine.", "Write file:///path.")
        return Path(unquote(parts.path))
    return None if "://" in url else Path(url)


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine: an address of the loopback interface, or ``localhost``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def same_origin(url: str, other: str) -> bool:
    """Return whether two addresses have the same scheme, host and port."""
    return urlsplit(url)[:2] == urlsplit(other)[:2]


def spell_plus(url: str) -> str:
    """Return ``url`` as S3 wants it: there a ``+`` in a path is a space, as in a form, and ``%2B`` is a plus.

    The two are the same path to all other servers (RFC 3986, 2.4). Redirects, which may be signed, stay as they are.
    """
    if "+" not in url:
        return url
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path.replace("+", "%2B")))


def login_for(url: str) -> tuple[str, str] | None:
    """Return the user and password that ``.netrc`` has for the host of ``url``.

    Its ``default`` entry, which is for any host at all, is not used; a file that is damaged has none, as in curl.
    """
    place = os.environ.get("NETRC")
    for path in [place] if place else ["~/.netrc", "~/_netrc"]:
        try:
            entry = netrc.netrc(str(Path(path).expanduser())).hosts.get(urlsplit(url).hostname or "")
        except (OSError, RuntimeError, netrc.NetrcParseError, UnicodeDecodeError):
            continue
        if entry is not None:
            return entry[0] or entry[1] or "", entry[2] or ""
    return None
