"""Verify a signed manifest, or a node tool with its detached signature, from a file, stdin or an address.

The document is read once. The verifier is that of the node tool.
"""

from __future__ import annotations

import hashlib
import logging
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urldefrag, urlsplit

from ..errors import Incomplete, NotTrusted, UsageError
from ..sign import cosign, sigstore
from ..trust import cleartext
from ..trust import document as documents
from ..trust.document import Bindings
from ..trust.keys import Trust
from ..trust.text import visible
from ..trust.verify import Signature, verify_cleartext, verify_detached

#: The size limit for documents; a manifest of a whole distribution is about 1 MB, the tool at most 400 kB.
MAX_BYTES = 16 << 20

_NAME_A_DOCUMENT = "Name a signed manifest, or a node tool with its .asc."

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
    """The detached signature of a tool; None for a manifest, or if it was not asked for."""
    bundle: bytes | None = None
    """The Sigstore bundle; None if it was not asked for."""


@dataclass(frozen=True, slots=True)
class VerifiedDocument:
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


@dataclass(frozen=True, slots=True)
class VerifiedBundle:
    """The result of verifying a Sigstore bundle."""

    kind: Literal["manifest", "tool"]
    """What was verified."""
    key: cosign.PublicKey
    """The key that signed."""
    manifest: dict[str, Any] | None
    """The signed document; None for a tool."""
    payload: bytes
    """The content: of a manifest, the text inside its OpenPGP signature."""
    warnings: tuple[str, ...]
    """Warnings for the user."""


def read(
    name: str,
    *,
    ca_bundle: Path | None = None,
    allow_http: bool = False,
    detached: bool | None = None,
    bundle: bool = False,
    advice: str = _NAME_A_DOCUMENT,
) -> Document:
    """Read the document ``name`` (a path, ``-`` or an address), and for a tool the ``.asc`` file next to it.

    ``detached`` reads the ``.asc`` of any document, or of none, ``bundle`` also the ``.sigstore.json``. An address is
    fetched once. Raises `UsageError`, with ``advice``, for a path that does not exist, and `Incomplete` if the document
    cannot be fetched.
    """
    if name == "-" and (bundle or detached):
        raise UsageError("Standard input has no signature beside it.", "Name a path or an address.")
    if name == "-":
        if sys.stdin is None:
            raise UsageError("Standard input is closed.", "Name a path, or open standard input.")
        return Document("stdin", _capped(sys.stdin.buffer.read(MAX_BYTES + 1), "stdin"), None)

    def beside(data: bytes) -> tuple[str, str]:
        signed = is_tool(data) if detached is None else detached
        return ".asc" if signed else "", sigstore.SUFFIX if bundle else ""

    if "://" not in name:
        data = _read_file(name, advice)
        together = f"Get it from where {name} is from, and put both into one directory."
        companions = (_read_file(f"{name}{suffix}", together) if suffix else None for suffix in beside(data))
        return Document(name, data, *companions)
    # Here, because a path needs neither: importing them takes longer than verifying a small manifest.
    from ..fetch.cache import Cache, default_root
    from ..fetch.http import Http

    with Http(Cache(default_root()), ca_bundle=ca_bundle, allow_http=allow_http) as http:
        # The fragment is not part of a request (RFC 3986, section 3.5).
        address = urldefrag(name).url
        data = http.fetch_bytes(address, MAX_BYTES).data
        # The suffix belongs to the path, before the query.
        path, mark, query = address.partition("?")
        addresses = (f"{path}{suffix}{mark}{query}" if suffix else "" for suffix in beside(data))
        return Document(name, data, *(http.fetch_bytes(one, MAX_BYTES).data if one else None for one in addresses))


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
) -> VerifiedDocument:
    """Verify a document; ``bindings`` are the expected values of a manifest, and ignored for a tool.

    Raises `NotTrusted`, also for a tool in a file or at an address that is named as a manifest is, and `Incomplete` if
    gpgv cannot be run.
    """
    _check_kind(document)
    if not is_tool(document.data):
        signed = verify_cleartext(document.data, trust, fingerprint=fingerprint, bindings=bindings or Bindings())
        return VerifiedDocument("manifest", signed.signature, signed.manifest, signed.payload, signed.warnings)
    if document.signature is None:
        raise NotTrusted("The node tool has no detached signature.", "Put its .asc file next to it.", reason="unsigned")
    signature = verify_detached(document.data, document.signature, trust, "tool", fingerprint=fingerprint)
    return VerifiedDocument("tool", signature, None, document.data, signature.warnings)


def verify_bundle(document: Document, key: cosign.PublicKey, bindings: Bindings | None = None) -> VerifiedBundle:
    """Verify the Sigstore bundle of a document; ``bindings`` as of `verify`.

    What it signs is the document, byte for byte; an OpenPGP signature in it is not verified. Raises `NotTrusted` as
    `verify` does, and `Incomplete` if openssl cannot be run.
    """
    if document.bundle is None:
        raise NotTrusted("There is no Sigstore bundle.", "Put its .sigstore.json next to it.", reason="unsigned")
    _check_kind(document)
    found = cosign.verify(document.bundle, hashlib.sha256(document.data).digest(), (key,))
    if is_tool(document.data):
        return VerifiedBundle("tool", key, None, document.data, found.warnings)
    # The strict reader of the verifier, whose result does not depend on the OpenPGP signature.
    payload = cleartext.parse(document.data).payload
    manifest = documents.read_manifest(payload)
    warnings = documents.check_bindings(manifest, *(bindings or Bindings()))
    return VerifiedBundle("manifest", key, manifest, payload, (*found.warnings, *warnings))


def _check_kind(document: Document) -> None:
    """Raise `NotTrusted` for a tool where the name says that it is a manifest: both have good signatures."""
    name = name_in(document.name)
    if name is not None and is_tool(document.data):
        raise NotTrusted(
            f"{visible(document.name)} is the node tool, not the manifest {name}.",
            "Get the manifest again from its publisher.",
            reason="wrong-document",
        )


def _read_file(name: str, advice: str) -> bytes:
    try:
        with Path(name).open("rb") as file:
            return _capped(file.read(MAX_BYTES + 1), name)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError) as error:
        raise UsageError(f"{name} does not exist, or is not a file.", advice) from error
    except OSError as error:
        raise Incomplete(
            f"{name} cannot be read: {error.strerror}.", "Check the path and its permissions.", reason="not-read"
        ) from error


def _capped(data: bytes, name: str) -> bytes:
    _log.debug("read %s: %d bytes", name, len(data))
    if len(data) > MAX_BYTES:
        raise NotTrusted(
            f"{name} is larger than {MAX_BYTES} bytes.", "Manifests and tools are smaller; check the path or address."
        )
    return data
