"""The attack corpus's third part: certificates that claim what they must not, and what gpg never makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.forge import Pinned, entry
from tests.trust.attacks import Case
from tests.trust.crafted import (
    DAY,
    NOW,
    SHA1,
    Rsa,
    bound,
    certified,
    designating,
    message,
    packet,
    pictured,
    revoking,
    subpacket,
)

Parts = Callable[[], list[bytes]]

P, S, OTHER = Rsa("primary"), Rsa("subkey"), Rsa("other")
ONE, SMALL, SHORT = Rsa("one", exponent=1), Rsa("small", exponent=17), Rsa("short", bits=1024, claimed_bits=3072)
YESTERDAY, BEFORE, IN_300_DAYS = NOW - DAY, NOW - 2 * DAY, NOW + 300 * DAY


def case(
    name: str,
    parts: Parts,
    reason: str = "",
    *,
    primary: Rsa = P,
    by: Rsa = S,
    beside: Rsa | None = None,
    role: str = "manifest",
) -> Case:
    """Sign with ``by``, whose certificate has these parts after its primary key, and trust it."""

    def pinned(_: Any) -> Pinned:
        keys = [primary, *([beside] if beside else [])]
        return Pinned(
            [packet(6, primary.body) + b"".join(parts())], [entry(one.fingerprint, role=role) for one in keys]
        )

    return Case(name, lambda _: message(by), 3 if reason else 0, reason, {"role": role}, pinned)


def attribute() -> bytes:
    """Return a user attribute, which nothing here reads."""
    return packet(17, b"\x02\x01x")


def renewed() -> list[bytes]:
    """Return the binding of a subkey that has expired, and the same subkey with its newer binding without expiry."""
    return [bound(P, S, at=BEFORE, until=8 * DAY + 60), bound(P, S)]


def revoked_by_another() -> bytes:
    """Return a certificate that a designated revoker has revoked, without that revoker's."""
    return b"".join([packet(6, P.body), designating(P, OTHER), revoking(P, by=OTHER), certified(P), bound(P, S)])


GOOD_CERTIFICATES = [
    case("put together by hand", lambda: [certified(P), bound(P, S)]),
    case("a binding by SHA-1 and one by SHA-256",
         lambda: [certified(P), bound(P, S, digest=SHA1, at=BEFORE), bound(P, S).removeprefix(packet(14, S.body))]),
    # `gpg --export-options export-minimal` keeps the newest binding alone.
    case("a binding made after the signature", lambda: [certified(P), bound(P, S, at=NOW - 60)]),
    case("the same subkey twice", lambda: [certified(P), bound(P, S), bound(P, S)]),
    case("the same user id twice", lambda: [certified(P), certified(P), bound(P, S)]),
    case("an upstream key by SHA-1, with the exponent 17",
         lambda: [certified(P, digest=SHA1), bound(P, SMALL, digest=SHA1)], by=SMALL, role="upstream"),
    case("another's revocation behind it", lambda: [certified(P), bound(P, S), revoking(OTHER), revoking(OTHER, S)]),
    case("a designated revoker who has not revoked", lambda: [designating(P, OTHER), certified(P), bound(P, S)]),
    case("a revocation by a revoker whom another designated",
         lambda: [designating(P, OTHER, by=OTHER), revoking(P, by=OTHER), certified(P), bound(P, S)]),
    case("a picture", lambda: [certified(P), pictured(P), bound(P, S)]),
    case("another subkey is revoked", lambda: [certified(P), bound(P, S), bound(P, OTHER), revoking(P, OTHER)]),
    case("another subkey is revoked, behind this one",
         lambda: [certified(P), bound(P, S), revoking(P, OTHER), bound(P, OTHER)]),
]  # fmt: skip

_REVOKED, _WEAK = "revoked by its own certificate", "no signature by SHA-256 or better"
_BY_REVOKER = "a revoker that it names"
_AHEAD = "more than a day ahead"
_REPEATED = "a subkey or user id twice"
CERTIFICATES = [
    case("a subkey that has expired, and again renewed", lambda: [certified(P), *renewed()], _REPEATED),
    case("a renewed subkey, and again as it was", lambda: [certified(P), *reversed(renewed())], _REPEATED),
    case("a subkey, unbound and again bound", lambda: [certified(P), packet(14, S.body), bound(P, S)], _REPEATED),
    case("a subkey with more behind its numbers, and again as it is",
         lambda: [certified(P), packet(14, S.body + b"x"), bound(P, S)], _REPEATED),
    case("a user id that says when the key expires, and again without",
         lambda: [certified(P, at=BEFORE, until=8 * DAY + 60), certified(P), bound(P, S)], _REPEATED),
    case("an upstream's subkey that has expired, and again renewed",
         lambda: [certified(P), *renewed()], _REPEATED, role="upstream"),
    case("a revocation at the end of the file", lambda: [certified(P), bound(P, S), revoking(P)], _REVOKED),
    case("superseded, as its owner says since", lambda: [revoking(P, reason=1, at=NOW - 60), certified(P), bound(P, S)],
         _REVOKED),
    case("a revocation behind the user id", lambda: [certified(P), revoking(P), bound(P, S)], _REVOKED),
    case("a revocation behind a user attribute",
         lambda: [certified(P), attribute(), revoking(P), bound(P, S)], _REVOKED),
    case("a revocation behind a subkey that does not sign",
         lambda: [certified(P), bound(P, S), packet(14, OTHER.body), revoking(P)], _REVOKED),
    case("a revocation behind the next certificate",
         lambda: [certified(P), bound(P, S), packet(6, OTHER.body), certified(OTHER), revoking(P)],
         _REVOKED, beside=OTHER),
    case("a subkey's revocation behind the next subkey",
         lambda: [certified(P), bound(P, S), bound(P, OTHER), revoking(P, S)], _REVOKED),
    case("a subkey's revocation behind the user id", lambda: [certified(P), revoking(P, S), bound(P, S)], _REVOKED),
    case("a subkey's revocation behind a user attribute",
         lambda: [certified(P), bound(P, S), attribute(), revoking(P, S)], _REVOKED),
    case("an expiry in the signature about a picture",
         lambda: [certified(P, at=BEFORE), pictured(P, hashed=subpacket(9, DAY.to_bytes(4, "big"))), bound(P, S)],
         "has expired"),
    case("a revocation by a designated revoker",
         lambda: [designating(P, OTHER), revoking(P, by=OTHER), certified(P), bound(P, S)], _BY_REVOKER),
    case("a revocation by a designated revoker, behind the user id",
         lambda: [designating(P, OTHER), certified(P), revoking(P, by=OTHER), bound(P, S)], _BY_REVOKER),
    case("all of a certificate by SHA-1",
         lambda: [certified(P, digest=SHA1), bound(P, S, digest=SHA1, consent={"digest": SHA1})], _WEAK),
    case("a user id certified by SHA-1", lambda: [certified(P, digest=SHA1), bound(P, S)], _WEAK),
    case("a binding by SHA-1", lambda: [certified(P), bound(P, S, digest=SHA1)], _WEAK),
    case("a subkey's consent by SHA-1", lambda: [certified(P), bound(P, S, consent={"digest": SHA1})], _WEAK),
    case("a subkey's consent that has expired",
         lambda: [certified(P), bound(P, S, at=BEFORE, consent={"ends": 60})], _WEAK),
    case("a binding that has expired", lambda: [certified(P), bound(P, S, at=BEFORE, ends=60)], "is not good"),
    case("a user id whose signature has expired", lambda: [certified(P, at=BEFORE, ends=60), bound(P, S)], _WEAK),
    case("a user id that another key certified", lambda: [certified(P, by=OTHER), bound(P, S)], "is not good"),
    case("a binding dated 300 days ahead", lambda: [certified(P), bound(P, S, at=IN_300_DAYS)], _AHEAD),
    case("a user id certified 300 days ahead", lambda: [certified(P, at=IN_300_DAYS), bound(P, S)], _AHEAD),
    case("a subkey with the exponent 1", lambda: [certified(P), bound(P, ONE)], "not trusted here", by=ONE),
    case("a primary key with the exponent 1", lambda: [certified(ONE), bound(ONE, S)], "not a valid RSA", primary=ONE),
    case("an upstream key with the exponent 1", lambda: [certified(P), bound(P, ONE)], "not trusted here", by=ONE,
         role="upstream"),
    case("a subkey with the exponent 17", lambda: [certified(P), bound(P, SMALL)], "the exponent 17", by=SMALL),
    case("a subkey of 1024 bits that says 3072", lambda: [certified(P), bound(P, SHORT)], "is not ", by=SHORT),
]  # fmt: skip
