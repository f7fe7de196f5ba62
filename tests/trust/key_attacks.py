"""The attack corpus's second half: right signatures by keys that must not make them, and honest keys' that may."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from fipsmanifest.trust import openpgp
from fipsmanifest.trust.text import write_time
from tests.support.forge import Forge, Pinned, entry, payload
from tests.trust.attacks import Case, good, signed

NOW = datetime.now(UTC)
_CREATED, _KEY_FLAGS, _EMBEDDED_SIGNATURE = 2, 27, 32  # RFC 4880, section 5.2.3.1


def only(name: str, **changes: Any) -> Callable[[Forge], Pinned]:
    """Trust one certificate, by an entry with these changes."""
    return lambda forge: Pinned([forge.certificate(name)], [entry(forge.fingerprints[name], **changes)])


@functools.cache
def twins(forge: Forge) -> Forge:
    """Make the keys ``twin`` and ``shadow`` unless they exist."""
    forge.make_short_id_twins()
    assert forge.fingerprints["twin"][-8:] == forge.fingerprints["shadow"][-8:]
    return forge


def by_twin(name: str) -> Callable[[Forge], bytes]:
    """Sign with one of two keys whose short key ids are equal."""
    return lambda forge: twins(forge).clearsign(payload(), name)


def trusting_twins(*names: str) -> Callable[[Forge], Pinned]:
    """Trust some of them, with the certificates of both available."""

    def pinned(forge: Forge) -> Pinned:
        both = [twins(forge).certificate(name) for name in ("shadow", "twin")]
        return Pinned(both, [entry(forge.fingerprints[name]) for name in names])

    return pinned


@functools.cache
def silenced(forge: Forge) -> tuple[bytes, bytes, bytes]:
    """Return what a subkey signed, its certificate of then, and the later one that forbids it to sign."""
    forge.make_key("silenced", "rsa3072", usage="cert")
    forge.add_signing_subkey("silencedsub", "silenced")
    message, before = forge.clearsign(payload(), "silencedsub"), forge.certificate("silenced")
    forge.forbid_signing("silenced")
    return message, before, forge.certificate("silenced")


def trusting_certifier(forge: Forge) -> Pinned:
    """Trust the primary key that only certifies."""
    certifier(forge)
    return only("certifier")(forge)


@functools.cache
def certifier(forge: Forge) -> bytes:
    """Return what a primary key signed that may only certify since."""
    forge.make_key("certifier", "rsa3072", usage="sign")
    message = forge.clearsign(payload(), "certifier")
    forge.forbid_signing("certifier", subkey=False)
    return message


def trusting_silenced(edit: Callable[[bytes, bytes], bytes] | None = None) -> Callable[[Forge], Pinned]:
    """Trust the certificate whose subkey does not sign, or what ``edit`` makes of it and the one before."""

    def pinned(forge: Forge) -> Pinned:
        _, before, after = silenced(forge)
        return Pinned([edit(before, after) if edit else after], [entry(forge.fingerprints["silenced"])])

    return pinned


def _subpackets(area: bytes) -> list[bytes]:
    """Split a signature's subpackets, all of which are short here but for an embedded signature."""
    found, at = [], 0
    while at < len(area):
        length, width = area[at], 1
        if length >= 192:
            length, width = ((length - 192) << 8) + area[at + 1] + 192, 2
        found.append(area[at : at + width + length])
        at += width + length
    return found


def _kind(subpacket: bytes) -> int:
    return subpacket[2 if subpacket[0] >= 192 else 1]


def _binding(certificate: bytes) -> tuple[bytes, list[bytes], list[bytes]]:
    """Return the last subkey's binding: the packet, and its hashed and its unhashed subpackets."""
    packet = [packet for packet in openpgp._packets(certificate) if packet.tag == openpgp._SIGNATURE][-1]
    end = 6 + int.from_bytes(packet.body[4:6], "big")
    unhashed = packet.body[end + 2 : end + 2 + int.from_bytes(packet.body[end : end + 2], "big")]
    return packet.raw, _subpackets(packet.body[6:end]), _subpackets(unhashed)


def _rewritten(certificate: bytes, unhashed: list[bytes]) -> bytes:
    """Write other unhashed subpackets, which are not signed, into the last subkey's binding."""
    raw, hashed, before = _binding(certificate)
    area = b"".join(unhashed)
    body = next(openpgp._packets(raw)).body
    end = 6 + sum(map(len, hashed))
    body = body[:end] + len(area).to_bytes(2, "big") + area + body[end + 2 + sum(map(len, before)) :]
    return certificate.replace(raw, b"\xc2\xff" + len(body).to_bytes(4, "big") + body)


def unhashed_permission(before: bytes, after: bytes) -> bytes:
    """Write the former permission to sign into the unsigned part of the binding."""
    _, hashed, unhashed = _binding(before)
    wanted = [one for one in hashed + unhashed if _kind(one) in (_KEY_FLAGS, _EMBEDDED_SIGNATURE)]
    if len(wanted) != 2:
        raise ValueError("the old binding has no flags, or no signature by the subkey")
    return _rewritten(after, _binding(after)[2] + wanted)


def without_back_signature(before: bytes, _: bytes) -> bytes:
    """Leave out that the subkey agreed to be this key's: any user can bind another's subkey to a key of their own."""
    unhashed = _binding(before)[2]
    kept = [one for one in unhashed if _kind(one) != _EMBEDDED_SIGNATURE]
    if len(kept) == len(unhashed):
        raise ValueError("the binding has no signature by the subkey")
    return _rewritten(before, kept)


def with_damaged_back_signature(before: bytes, after: bytes) -> bytes:
    """Change one bit of the subkey's consent in the binding."""
    mine = next(one for one in _binding(before)[2] if _kind(one) == _EMBEDDED_SIGNATURE)
    damaged = mine[:-1] + bytes((mine[-1] ^ 1,))
    return _rewritten(before, [one if one != mine else damaged for one in _binding(before)[2]])


def with_changed_binding(before: bytes, _: bytes) -> bytes:
    """Change one bit of what the primary key signed in the binding: the day."""
    raw, hashed = _binding(before)[:2]
    day = next(one for one in hashed if _kind(one) == _CREATED)
    return before.replace(raw, raw.replace(day, day[:-1] + bytes((day[-1] ^ 1,)), 1))


def with_damaged_binding(before: bytes, _: bytes) -> bytes:
    """Change one bit of the primary key's signature itself."""
    raw = _binding(before)[0]
    return before.replace(raw, raw[:-1] + bytes((raw[-1] ^ 1,)))


def with_subkey(certificate: bytes, other: bytes) -> bytes:
    """Append the last key of another certificate as a subkey, which any user can do."""
    key = [p for p in openpgp._packets(other) if p.tag in (openpgp._PUBLIC_KEY, openpgp._PUBLIC_SUBKEY)][-1]
    return certificate + b"\xce\xff" + len(key.body).to_bytes(4, "big") + key.body


def with_strangers_subkey(*, binding: bool, trust_packet: bool) -> Callable[[Forge], Pinned]:
    """Slip the stranger's key into a trusted certificate as a subkey."""

    def pinned(forge: Forge) -> Pinned:
        forged = with_subkey(forge.certificate("plain"), forge.certificate("stranger"))
        if binding:
            honest = [p.raw for p in openpgp._packets(forge.certificate("release")) if p.tag == openpgp._SIGNATURE]
            forged += honest[-1]
        if trust_packet:
            # It would make gpg believe that the binding was checked already (CVE-2025-68972).
            forged += b"\xcc\x02\x00\x03"
        return Pinned([forged], [entry(forge.fingerprints["plain"])])

    return pinned


@functools.cache
def lone(forge: Forge) -> bytes:
    """Return the certificate of ``lone`` with its signing subkey ``lonesub``."""
    forge.make_key("lone", "rsa3072", usage="cert")
    forge.add_signing_subkey("lonesub", "lone")
    # Before another certificate in gpg's own keyring has it, too: the message is kept.
    forge.clearsign(payload(), "lonesub")
    return forge.certificate("lone")


def by_lone(forge: Forge) -> bytes:
    """Sign with the subkey that others claim."""
    lone(forge)
    return forge.clearsign(payload(), "lonesub")


@functools.cache
def claimed(forge: Forge) -> bytes:
    """Return a certificate whose primary key binds ``lonesub`` as one of its own that does not sign."""
    lone(forge)
    forge.make_key("claimer", "rsa3072", at="20240101T000000")
    return forge.adopt("lonesub", "lone", into="claimer", signs=False)


@functools.cache
def shared_subkey(forge: Forge) -> tuple[bytes, bytes]:
    """Return two certificates that both have the subkey ``shared``, with its consent."""
    forge.make_key("sharer", "rsa3072")
    forge.add_signing_subkey("shared", "sharer")
    forge.make_key("other", "rsa3072", at="20240101T000000")
    return forge.certificate("sharer"), forge.adopt("shared", "sharer", into="other", signs=True)


def beside_a_claim(pin: str, *, reverse: bool = False, bound: bool = False) -> Callable[[Forge], Pinned]:
    """Trust the subkey ``lonesub`` beside another's certificate that claims it, in each order of files and entries.

    gpgv asks the first certificate alone that holds a key. ``bound`` has the other bind it: as one that does not sign,
    which needs no consent of the subkey.
    """

    def pinned(forge: Forge) -> Pinned:
        name = "claimer" if bound else "stranger"
        claim = claimed(forge) if bound else with_subkey(forge.certificate(name), lone(forge))
        certificates = [claim, lone(forge)]
        entries = [entry(forge.fingerprints[name], role="upstream"), entry(forge.fingerprints[pin])]
        return Pinned(certificates[::-1], entries[::-1]) if reverse else Pinned(certificates, entries)

    return pinned


@functools.cache
def namesake(forge: Forge) -> Forge:
    """Make a key with the user id of the release key unless it exists."""
    forge.make_key("namesake", "rsa3072")
    forge.gpg("--quick-add-uid", forge.fingerprints["namesake"], "Release <release@example.com>")
    return forge


def beside_namesake(forge: Forge) -> Pinned:
    """Trust the release's key, with its namesake's certificate in the directory before it."""
    certificates = [namesake(forge).certificate("namesake"), forge.certificate("release")]
    return Pinned(certificates, [entry(forge.fingerprints["release"])])


@functools.cache
def given_up(forge: Forge) -> bytes:
    """Return what a key signed whose own certificate revokes it since."""
    fingerprint = forge.make_key("gone", "rsa3072")
    message = forge.clearsign(payload(), "gone")
    revocation = (forge.home / "openpgp-revocs.d" / f"{fingerprint}.rev").read_bytes()
    forge.gpg("--import", stdin=revocation.replace(b":-----BEGIN", b"-----BEGIN"))
    return message


@functools.cache
def weak_subkey(forge: Forge) -> Forge:
    """Make a key of 3072 bits with a signing subkey of 2048 unless it exists."""
    fingerprint = forge.make_key("mixed", "rsa3072", usage="cert,sign")
    forge.gpg("--quick-add-key", fingerprint, "rsa2048", "sign", "never")
    forge.fingerprints["mixedsub"] = openpgp.read_certificates(forge.certificate("mixed"))[0].subkeys[0].fingerprint
    return forge


def listed_twice(forge: Forge) -> Pinned:
    """Trust a key for manifests, and treat it as revoked for the tool."""
    own = forge.fingerprints["plain"]
    return Pinned([forge.certificate("plain")], [entry(own), entry(own, role="tool", status="revoked")])


def mixed(forge: Forge) -> Pinned:
    """Trust the key whose subkey is weak."""
    return only("mixed")(weak_subkey(forge))


def gone(forge: Forge) -> Pinned:
    """Trust the key that its own certificate revokes."""
    given_up(forge)
    return only("gone")(forge)


by_plain = signed(payload(), "plain")
YESTERDAY, TOMORROW = (write_time(NOW + timedelta(days=days)) for days in (-1, 1))

GOOD_KEYS = [
    Case("by the right one of two equal short key ids", by_twin("twin"), 0, pinned=trusting_twins("twin")),
    Case("by the other one of two, both trusted", by_twin("shadow"), 0, pinned=trusting_twins("twin", "shadow")),
    Case("by the right one of two keys of one user id", good, 0, pinned=beside_namesake),
    Case("retired after it signed", by_plain, 0, pinned=only("plain", status="retired", valid_to=TOMORROW)),
    *(
        Case(
            f"by a subkey, pinned by {pin}, that another certificate {what}, {order}",
            by_lone,
            0,
            pinned=beside_a_claim(pin, bound=bound, reverse=reverse),
        )
        for pin in ("lone", "lonesub")
        for bound, what in ((False, "claims"), (True, "binds"))
        for reverse, order in ((False, "before its own"), (True, "after its own"))
    ),
    Case("a subkey while it could sign", lambda forge: silenced(forge)[0], 0, pinned=trusting_silenced(lambda b, _: b)),
]

KEYS = [
    Case("an unknown signer", signed(payload(), "stranger"), reason="not trusted here"),
    Case("Ed25519 by an unknown signer", signed(payload(), "edwards"), reason="is not good"),
    Case("DSA by an unknown signer", signed(payload(), "dsa", "--digest-algo", "SHA256"), reason="is not good"),
    Case(
        "a key that has expired",
        signed(payload(), "expired", "--faked-system-time", "20240101T120000!"),
        reason="key that signed has expired",
    ),
    Case("the tool's subkey", signed(payload(), "tool"), reason="for tool only, not for manifest"),
    Case("an upstream key", signed(payload(), "upstream"), reason="for upstream only, not for manifest"),
    Case("another pinned key", good, reason="not by", options={"pin": "plain"}),
    Case("a pinned stranger", good, reason="not by", options={"pin": "stranger"}),
    Case("pinned by a long key id", good, reason="not by", options={"pin_text": -16}),
    Case("pinned by a short key id", good, reason="not by", options={"pin_text": -8}),
    Case("pinned by nothing", good, reason="not by", options={"pin_text": 40}),
    Case("role tool", good, reason="for manifest only, not for tool", options={"role": "tool"}),
    Case("revoked", by_plain, reason="is revoked (stolen)", pinned=only("plain", status="revoked", reason="stolen")),
    Case("revoked in another role", by_plain, reason="is revoked", pinned=listed_twice),
    Case("revoked by its own certificate", given_up, reason="revoked by its own certificate", pinned=gone),
    Case(
        "retired before it signed",
        by_plain,
        reason="after the end of key",
        pinned=only("plain", status="retired", valid_to=YESTERDAY, reason="rotated"),
    ),
    Case("not valid yet", by_plain, reason="before key", pinned=only("plain", valid_from=TOMORROW)),
    Case("weak RSA", signed(payload(), "weak"), reason="too weak for the role manifest", pinned=only("weak")),
    Case("a weak subkey", lambda f: weak_subkey(f).clearsign(payload(), "mixedsub"), reason="RSA with 2048 bits",
         pinned=mixed),
    Case("DSA", signed(payload(), "dsa", "--digest-algo", "SHA256"), reason="too weak", pinned=only("dsa")),
    Case("Ed25519", signed(payload(), "edwards"), reason="too weak", pinned=only("edwards")),
    Case("by an unknown one of two equal short key ids", by_twin("shadow"), reason="not trusted here",
         pinned=trusting_twins("twin")),
    Case("two equal short key ids, pinned to the other", by_twin("shadow"), reason="not by", options={"pin": "twin"},
         pinned=trusting_twins("twin", "shadow")),
    Case("by another key of the same user id", lambda f: namesake(f).clearsign(payload(), "namesake"),
         reason="not trusted here", pinned=beside_namesake),
    # gpgv 2.0 would take these; it is not given what does not sign for its primary key.
    Case("a subkey that may not sign", lambda forge: silenced(forge)[0], reason="not trusted here",
         pinned=trusting_silenced()),
    Case("permission to sign in the unhashed part", lambda forge: silenced(forge)[0], reason="not trusted here",
         pinned=trusting_silenced(unhashed_permission)),
    Case("a subkey that did not sign its binding", lambda forge: silenced(forge)[0], reason="not trusted here",
         pinned=trusting_silenced(without_back_signature)),
    Case("a primary key that only certifies", certifier, reason="is not ", pinned=trusting_certifier),
    Case("an added subkey, unbound", signed(payload(), "stranger"), reason="not trusted here",
         pinned=with_strangers_subkey(binding=False, trust_packet=False)),
    Case("an added subkey, bound by another's binding", signed(payload(), "stranger"), reason="not trusted here",
         pinned=with_strangers_subkey(binding=True, trust_packet=False)),
    Case("an added subkey, called checked by a trust packet", signed(payload(), "stranger"), reason="not trusted here",
         pinned=with_strangers_subkey(binding=True, trust_packet=True)),
]  # fmt: skip
