"""Identifiers and addresses that the exports use. Pure."""

from __future__ import annotations

import uuid

from .documents import Source

#: The namespace of all identifiers (RFC 9562, section 5.5), chosen at random once.
_NAMESPACE = uuid.UUID("5b7e0c5e-7d0d-4d0e-9f0c-3f6a0c6f2f51")

#: The beginning of names of our own where a format wants a URI: types of predicates, namespaces of properties.
URN = "urn:fipsmanifest"

#: Where a certificate of the CMVP is described.
CERTIFICATES = "https://csrc.nist.gov/projects/cryptographic-module-validation-program/certificate/"


def identifier(source: Source, *names: str) -> str:
    """Return a UUID (version 5) for something in a document: the same for the same bytes and names."""
    # A length before each name, so that two lists of names never join to the same text.
    joined = "".join(f"{len(name)}:{name}" for name in (source.sha256, source.signature.state, *names))
    # Half a surrogate pair, which JSON can write, has no UTF-8.
    return str(uuid.uuid5(_NAMESPACE, visible(joined)))


def visible(text: str) -> str:
    """Return ``text`` with control characters and those that change the writing direction as escapes."""
    # Nearly all text is, and character by character took half the time of an export.
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
