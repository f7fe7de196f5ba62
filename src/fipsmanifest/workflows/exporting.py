"""Read a document for an export: a signed manifest is verified, or said not to be."""

from __future__ import annotations

from ..errors import NotTrusted, UsageError
from ..export import documents
from ..export.documents import SignatureState, Source
from ..trust.cleartext import unverified_body
from ..trust.document import Bindings
from ..trust.keys import Trust
from ..trust.text import write_time
from ..trust.verify import verify_cleartext

_BEGIN = b"-----BEGIN PGP SIGNED"


def is_signed(data: bytes) -> bool:
    """Return whether a document is a cleartext-signed manifest."""
    return data.startswith(_BEGIN)


def read(data: bytes, name: str, *, demanded: bool) -> Source:
    """Return an unsigned document; ``name`` is what errors call it.

    ``demanded`` is whether the user named keys to verify it with. Raises `NotTrusted` if it is a manifest then, or not
    a document that can be exported, and `UsageError` if it is a report, which is never signed.
    """
    source = documents.read(data, name)
    if demanded and source.kind == "manifest":
        raise NotTrusted(
            f"{name} is not signed, so --keys cannot verify it.", "Name the signed file (.json.asc).", reason="unsigned"
        )
    if demanded:
        raise UsageError(f"--keys would be ignored: {name} is a report, which is not signed.", "Leave --keys out.")
    return source


def read_verified(
    data: bytes, trust: Trust, *, fingerprint: str | None = None, allow_expired: bool = False
) -> tuple[Source, tuple[str, ...]]:
    """Return a signed manifest after its signature was verified, and the verifier's warnings.

    Which release it is was not asked for, and the highest serial seen is neither read nor written: an export makes a
    view of one document. Raises `NotTrusted`, and `Incomplete` if gpgv cannot be run.
    """
    signed = verify_cleartext(data, trust, fingerprint=fingerprint, bindings=Bindings(allow_expired=allow_expired))
    state = SignatureState("verified", signed.signature.fingerprint, write_time(signed.signature.signed_at))
    return documents.manifest_source(signed.payload, state), tuple(signed.warnings)


def read_unverified(data: bytes) -> Source:
    """Return a signed manifest without checking its signature. Raises `NotTrusted` if it is malformed."""
    return documents.manifest_source(unverified_body(data), SignatureState("not-verified"))
