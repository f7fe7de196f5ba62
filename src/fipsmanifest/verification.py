"""What a consumer checks anywhere: a signed manifest, or a published tool with its detached signature.

The document is read once, from a file, stdin or an address; the verifier of ``node`` decides.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .errors import Incomplete, NotTrusted, UsageError
from .node.document import Bindings
from .node.trust import Trust
from .node.verify import Signature, verify_cleartext, verify_detached

#: The cap on what is read; a manifest of a whole distribution is about 1 MB, the tool at most 400 kB.
MAX_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Document:
    """Bytes to verify, and the signature beside them where there is one."""

    name: str
    """The path or address it came from."""
    data: bytes
    """The document itself."""
    signature: bytes | None
    """The detached signature that lies beside a tool."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What holds."""

    kind: Literal["manifest", "tool"]
    """What was verified."""
    signature: Signature
    """By whom and when."""
    manifest: dict[str, Any] | None
    """The signed document; None for a tool."""
    payload: bytes
    """The bytes that were signed."""
    warnings: tuple[str, ...]
    """What a person should know all the same."""


def read(name: str, *, ca_bundle: Path | None = None, allow_http: bool = False) -> Document:
    """Read what ``name`` (a path, ``-`` or an address) gives, and the ``.asc`` beside it where it is a tool.

    An address is fetched once. Raises `UsageError` for a path that is not there, `Incomplete` for what cannot be
    fetched.
    """
    if name == "-":
        return Document("stdin", _capped(sys.stdin.buffer.read(MAX_BYTES + 1), "stdin"), None)
    if "://" not in name:
        data = _read_file(name)
        return Document(name, data, _read_file(f"{name}.asc") if is_tool(data) else None)
    from .collect.cache import Cache, default_root
    from .collect.http import Http

    with Http(Cache(default_root()), ca_bundle=ca_bundle, allow_http=allow_http) as http:
        data = http.fetch_bytes(name, MAX_BYTES).data
        # Beside it in the path: what follows the "?" belongs to the request.
        path, mark, query = name.partition("?")
        signature = f"{path}.asc{mark}{query}"
        return Document(name, data, http.fetch_bytes(signature, MAX_BYTES).data if is_tool(data) else None)


def is_tool(data: bytes) -> bool:
    """Tell the node tool from a manifest: it is a program."""
    return data.startswith(b"#!")


def verify(
    document: Document, trust: Trust, bindings: Bindings | None = None, fingerprint: str | None = None
) -> Verified:
    """Verify a document. Raises `NotTrusted`, and `Incomplete` where gpgv cannot tell."""
    if not is_tool(document.data):
        signed = verify_cleartext(document.data, trust, fingerprint=fingerprint, bindings=bindings or Bindings())
        return Verified("manifest", signed.signature, signed.manifest, signed.payload, signed.warnings)
    if bindings is not None and bindings != Bindings():
        raise UsageError(
            "A node tool is not bound to a version, EL or serial of Kubernetes.", "Leave those options out."
        )
    if document.signature is None:
        raise NotTrusted("A node tool without its detached signature proves nothing.", "Put its .asc beside it.")
    signature = verify_detached(document.data, document.signature, trust, "tool", fingerprint=fingerprint)
    return Verified("tool", signature, None, document.data, signature.warnings)


def _read_file(name: str) -> bytes:
    try:
        with Path(name).open("rb") as file:
            return _capped(file.read(MAX_BYTES + 1), name)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError) as error:
        raise UsageError(
            f"{name} is not there, or is no file.", "Name a signed manifest, or a node tool with its .asc."
        ) from error
    except OSError as error:
        raise Incomplete(f"{name} cannot be read: {error.strerror}.", "Check the path and its permissions.") from error


def _capped(data: bytes, name: str) -> bytes:
    if len(data) > MAX_BYTES:
        raise NotTrusted(f"{name} is larger than {MAX_BYTES} bytes.", "No manifest and no tool is.")
    return data
