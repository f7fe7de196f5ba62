"""What a consumer checks anywhere: a signed manifest, or a published tool with its detached signature.

The document is read once, from a file, stdin or an address; the verifier of ``node`` decides.
"""

from __future__ import annotations

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

#: The cap on what is read; a manifest of a whole distribution is about 1 MB, the tool at most 400 kB.
MAX_BYTES = 16 << 20

_FILE_NAME = re.compile(r"(?:\A|/)manifest-([a-z0-9][a-z0-9_.-]{0,99})\.json\.asc\Z", re.ASCII)


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
        if sys.stdin is None:
            raise UsageError("Standard input is closed.", "Name a path, or give the document on standard input.")
        return Document("stdin", _capped(sys.stdin.buffer.read(MAX_BYTES + 1), "stdin"), None)
    if "://" not in name:
        data = _read_file(name)
        return Document(name, data, _read_file(f"{name}.asc") if is_tool(data) else None)
    from ..fetch.cache import Cache, default_root
    from ..fetch.http import Http

    with Http(Cache(default_root()), ca_bundle=ca_bundle, allow_http=allow_http) as http:
        # What follows the "#" is never asked for (RFC 3986, section 3.5).
        address = urldefrag(name).url
        data = http.fetch_bytes(address, MAX_BYTES).data
        # Beside it in the path: what follows the "?" belongs to the request.
        path, mark, query = address.partition("?")
        signature = f"{path}.asc{mark}{query}"
        return Document(name, data, http.fetch_bytes(signature, MAX_BYTES).data if is_tool(data) else None)


def name_in(name: str) -> str | None:
    """Give the manifest's name that a path or address says (``.../manifest-rhel8.json.asc``); None where it says none.

    Two manifests of a version and EL differ in their signed name alone (`docs/adr/0005-the-manifest-says-its-name.md`).
    """
    path = urlsplit(name).path if "://" in name else name
    found = _FILE_NAME.search(path)
    return found and found[1]


def is_tool(data: bytes) -> bool:
    """Tell the node tool from a manifest: it is a program."""
    return data.startswith(b"#!")


def verify(
    document: Document, trust: Trust, bindings: Bindings | None = None, fingerprint: str | None = None
) -> Verified:
    """Verify a document; ``bindings`` say which manifest is wanted, while a tool is bound to none.

    Raises `NotTrusted`, and `Incomplete` where gpgv cannot tell.
    """
    if not is_tool(document.data):
        signed = verify_cleartext(document.data, trust, fingerprint=fingerprint, bindings=bindings or Bindings())
        return Verified("manifest", signed.signature, signed.manifest, signed.payload, signed.warnings)
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
