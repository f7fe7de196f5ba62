"""Verify a signed manifest, or a node tool with its detached signature, from a file, stdin or an address.

The document is read once. The verifier is that of the node tool.
"""

from __future__ import annotations

import logging
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urldefrag, urlsplit

from ..errors import Incomplete, NotTrusted, UsageError
from ..trust.document import Bindings
from ..trust.store import Trust
from ..trust.verify import Signature, verify_cleartext, verify_detached

#: The size limit for documents; a manifest of a whole distribution is about 1 MB, the tool at most 400 kB.
MAX_BYTES = 16 << 20

_FILE_NAME = re.compile(r"(?:\A|/)manifest-([a-z0-9][a-z0-9_.-]{0,99})\.json\.asc\Z", re.ASCII)


_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Document:
    """Bytes to verify, with a detached signature for a tool."""

    name: str
    """The path or address it came from."""
    data: bytes
    """The document itself."""
    signature: bytes | None
    """The detached signature of a tool; None for a manifest."""


@dataclass(frozen=True, slots=True)
class Verified:
    """The result of a successful verification."""

    kind: Literal["manifest", "tool"]
    """What was verified."""
    signature: Signature
    """The signature, with its key and time."""
    manifest: dict[str, Any] | None
    """The signed document; None for a tool."""
    payload: bytes
    """The bytes that were signed."""
    warnings: tuple[str, ...]
    """Warnings for the user."""


def read(name: str, *, ca_bundle: Path | None = None, allow_http: bool = False) -> Document:
    """Read the document ``name`` (a path, ``-`` or an address), and for a tool the ``.asc`` file next to it.

    An address is fetched once. Raises `UsageError` for a path that does not exist, `Incomplete` if the document cannot
    be fetched.
    """
    if name == "-":
        if sys.stdin is None:
            raise UsageError("Standard input is closed.", "Name a path, or open standard input.")
        return Document("stdin", _capped(sys.stdin.buffer.read(MAX_BYTES + 1), "stdin"), None)
    if "://" not in name:
        data = _read_file(name)
        return Document(name, data, _read_file(f"{name}.asc") if is_tool(data) else None)
    # Here, because a path needs neither: importing them takes longer than verifying a small manifest.
    from ..fetch.cache import Cache, default_root
    from ..fetch.http import Http

    with Http(Cache(default_root()), ca_bundle=ca_bundle, allow_http=allow_http) as http:
        # The fragment is not part of a request (RFC 3986, section 3.5).
        address = urldefrag(name).url
        data = http.fetch_bytes(address, MAX_BYTES).data
        # The suffix belongs to the path, before the query.
        path, mark, query = address.partition("?")
        signature = f"{path}.asc{mark}{query}"
        return Document(name, data, http.fetch_bytes(signature, MAX_BYTES).data if is_tool(data) else None)


def name_in(name: str) -> str | None:
    """Return the manifest's name in a path or address (``.../manifest-rhel8.json.asc``), or None.

    Two manifests of a version and EL differ only in their signed name (`docs/adr/0005-the-manifest-says-its-name.md`).
    """
    path = urlsplit(name).path if "://" in name else name
    found = _FILE_NAME.search(path)
    return found and found[1]


def is_tool(data: bytes) -> bool:
    """Return whether a document is the node tool, which begins with ``#!``, and not a manifest."""
    return data.startswith(b"#!")


def verify(
    document: Document, trust: Trust, bindings: Bindings | None = None, fingerprint: str | None = None
) -> Verified:
    """Verify a document; ``bindings`` are the expected values of a manifest, and ignored for a tool.

    Raises `NotTrusted`, and `Incomplete` if gpgv cannot be run.
    """
    if not is_tool(document.data):
        signed = verify_cleartext(document.data, trust, fingerprint=fingerprint, bindings=bindings or Bindings())
        return Verified("manifest", signed.signature, signed.manifest, signed.payload, signed.warnings)
    if document.signature is None:
        raise NotTrusted("The node tool has no detached signature.", "Put its .asc file next to it.", reason="unsigned")
    signature = verify_detached(document.data, document.signature, trust, "tool", fingerprint=fingerprint)
    return Verified("tool", signature, None, document.data, signature.warnings)


def _read_file(name: str) -> bytes:
    try:
        with Path(name).open("rb") as file:
            return _capped(file.read(MAX_BYTES + 1), name)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError) as error:
        raise UsageError(
            f"{name} does not exist, or is not a file.", "Name a signed manifest, or a node tool with its .asc."
        ) from error
    except OSError as error:
        raise Incomplete(f"{name} cannot be read: {error.strerror}.", "Check the path and its permissions.") from error


def _capped(data: bytes, name: str) -> bytes:
    _log.debug("read %s: %d bytes", name, len(data))
    if len(data) > MAX_BYTES:
        raise NotTrusted(
            f"{name} is larger than {MAX_BYTES} bytes.", "Manifests and tools are smaller; check the path or address."
        )
    return data
