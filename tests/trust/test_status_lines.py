"""What gpgv's status lines prove, as one table: apt keeps the like of it for its own reader.

The good lines are those that gpgv 2.2.40 and 2.0.22 write; doc/DETAILS of GnuPG says what each keyword means.
"""

from __future__ import annotations

import pytest

from fipsmanifest.errors import NotTrusted
from fipsmanifest.trust import statuslines

KEY = "7B9CF6E19250F8D10E22E2D5B66FE766B44D3085"
PRIMARY = "7B75A3EA8173F4E98624E1F343DE97D4FE934A40"
OTHER = "87137F5DD51CC38818BF5789581F0760FCAF1C79"

NEW = "NEWSIG"
TEXT = "PLAINTEXT 74 0 "
GOOD = f"GOODSIG {KEY[-16:]} Release <release@example.com>"


def valid(
    key: str = KEY,
    at: str = "1795410907",
    version: str = "4",
    algorithm: str = "1",
    hash_: str = "10",
    kind: str = "01",
    primary: str = PRIMARY,
) -> str:
    return f"VALIDSIG {key} 2026-11-23 {at} 0 {version} 0 {algorithm} {hash_} {kind} {primary}"


ACCEPTED = {
    "gpgv 2.2": [TEXT, NEW, f"KEY_CONSIDERED {PRIMARY} 0", "SIG_ID BxiX 2026-11-23 1795410907", GOOD, valid()],
    "unknown keywords": [TEXT, NEW, "VERIFICATION_COMPLIANCE_MODE 23", "SOMETHING new", GOOD, valid()],
    "SHA-256": [TEXT, NEW, GOOD, valid(hash_="8")],
    "SHA-384": [TEXT, NEW, GOOD, valid(hash_="9")],
    "no NEWSIG, as GnuPG 2.0": [TEXT, GOOD, valid()],
    "GOODSIG with a full fingerprint": [TEXT, NEW, f"GOODSIG {KEY} Release", valid()],
    "a user id that looks like a status line": [TEXT, NEW, f"{GOOD} [GNUPG:] BADSIG 1", valid()],
    "another subkey of the keyring has expired": [TEXT, NEW, "KEYEXPIRED 1704153600", GOOD, valid()],
}

REFUSED = {
    "nothing": ([], 0, "exactly one good"),
    "a text and nothing else": ([TEXT], 0, "exactly one good"),
    "good, but the exit code says no": ([TEXT, NEW, GOOD, valid()], 1, "code 1"),
    "good, but gpgv was killed": ([TEXT, NEW, GOOD, valid()], -9, "code -9"),
    "GOODSIG alone": ([TEXT, NEW, GOOD], 0, "exactly one good"),
    "VALIDSIG alone": ([TEXT, NEW, valid()], 0, "exactly one good"),
    "two GOODSIG": ([TEXT, NEW, GOOD, GOOD, valid()], 0, "exactly one good"),
    "two VALIDSIG": ([TEXT, NEW, GOOD, valid(), valid()], 0, "exactly one good"),
    "two NEWSIG": ([TEXT, NEW, NEW, GOOD, valid()], 0, "exactly one good"),
    "two texts": ([TEXT, TEXT, NEW, GOOD, valid()], 0, "exactly one text"),
    "no text": ([NEW, GOOD, valid()], 0, "exactly one text"),
    "BADSIG": ([TEXT, NEW, f"BADSIG {KEY[-16:]} Release"], 1, "does not fit"),
    "BADSIG after a good one": ([TEXT, NEW, GOOD, valid(), f"BADSIG {KEY[-16:]} Release"], 0, "does not fit"),
    "ERRSIG": ([TEXT, NEW, "ERRSIG B66F 1 8 01 1795410907 4"], 0, "could not be checked"),
    "ERRSIG and a good one": ([TEXT, "ERRSIG B66F 1 8 01 1795410907 9", NEW, GOOD, valid()], 0, "could not be checked"),
    "NO_PUBKEY": ([TEXT, NEW, "ERRSIG B66F 1 8 01 1795410907 9", "NO_PUBKEY B66FE766B44D3085"], 2, "not trusted here"),
    "NO_PUBKEY without a key": ([TEXT, NEW, "NO_PUBKEY"], 2, "not trusted here"),
    "EXPSIG": ([TEXT, NEW, f"EXPSIG {KEY[-16:]} Release", valid()], 0, "has expired"),
    "EXPKEYSIG": ([TEXT, NEW, f"EXPKEYSIG {KEY[-16:]} Release", valid()], 0, "key that signed has expired"),
    "EXPKEYSIG beside GOODSIG": (
        [TEXT, NEW, GOOD, f"EXPKEYSIG {KEY[-16:]} R", valid()],
        0,
        "key that signed has expired",
    ),
    "REVKEYSIG": ([TEXT, NEW, f"REVKEYSIG {KEY[-16:]} Release", valid()], 0, "revoked"),
    "NODATA": (["NODATA 1", "NODATA 2"], 1, "no signature"),
    "NODATA and a good one": ([TEXT, "NODATA 4", NEW, GOOD, valid()], 0, "no signature"),
    "UNEXPECTED": ([TEXT, NEW, GOOD, valid(), "UNEXPECTED 0"], 0, "must not have"),
    "ERROR": ([TEXT, NEW, GOOD, valid(), "ERROR verify.leave 33554433"], 0, "error"),
    "FAILURE": ([TEXT, NEW, GOOD, valid(), "FAILURE gpg-exit 33554433"], 0, "failure"),
    "SHA-1": ([TEXT, NEW, GOOD, valid(hash_="2")], 0, "SHA1"),
    "MD5": ([TEXT, NEW, GOOD, valid(hash_="1")], 0, "MD5"),
    "RIPEMD-160": ([TEXT, NEW, GOOD, valid(hash_="3")], 0, "RIPEMD160"),
    "SHA-224": ([TEXT, NEW, GOOD, valid(hash_="11")], 0, "SHA224"),
    "a hash that nobody knows": ([TEXT, NEW, GOOD, valid(hash_="99")], 0, "unknown hash"),
    "a hash that is no number": ([TEXT, NEW, GOOD, valid(hash_="x")], 0, "unknown hash"),
    "DSA": ([TEXT, NEW, GOOD, valid(algorithm="17")], 0, "not made with RSA"),
    "EdDSA": ([TEXT, NEW, GOOD, valid(algorithm="22")], 0, "not made with RSA"),
    "RSA sign-only, long deprecated": ([TEXT, NEW, GOOD, valid(algorithm="3")], 0, "not made with RSA"),
    "a binary signature": ([TEXT, NEW, GOOD, valid(kind="00")], 0, "class"),
    "a certification": ([TEXT, NEW, GOOD, valid(kind="10")], 0, "class"),
    "version 3": ([TEXT, NEW, GOOD, valid(version="3")], 0, "version 3"),
    "version 6": ([TEXT, NEW, GOOD, valid(version="6")], 0, "version 6"),
    "GOODSIG names another key": ([TEXT, NEW, f"GOODSIG {OTHER[-16:]} R", valid()], 0, "two different keys"),
    "GOODSIG names a short id": ([TEXT, NEW, f"GOODSIG {KEY[-8:]} R", valid()], 0, "two different keys"),
    "GOODSIG names nothing": ([TEXT, NEW, "GOODSIG", valid()], 0, "two different keys"),
    "GOODSIG names the primary": ([TEXT, NEW, f"GOODSIG {PRIMARY[-16:]} R", valid()], 0, "two different keys"),
    "a short VALIDSIG": ([TEXT, NEW, GOOD, f"VALIDSIG {KEY}"], 0, "unknown format"),
    "a long VALIDSIG": ([TEXT, NEW, GOOD, valid() + " more"], 0, "unknown format"),
    "a fingerprint that is none": ([TEXT, NEW, GOOD, valid(key="X" * 24 + KEY[-16:])], 0, "unknown format"),
    "a primary that is none": ([TEXT, NEW, GOOD, valid(primary="0")], 0, "unknown format"),
    "a time that is none": ([TEXT, NEW, GOOD, valid(at="20261123T000000")], 0, "unknown format"),
}


def status(lines: list[str]) -> list[statuslines.StatusLine]:
    return statuslines.parse_status("".join(f"[GNUPG:] {line}\n" for line in lines).encode())


@pytest.mark.parametrize("name", ACCEPTED)
def test_one_good_signature_is_accepted(name: str) -> None:
    found = statuslines.judge(0, status(ACCEPTED[name]), 0x01, plaintext=True)

    assert (found.key, found.primary, found.signed_at.timestamp()) == (KEY, PRIMARY, 1795410907)


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_refused(name: str) -> None:
    lines, exit_code, reason = REFUSED[name]

    with pytest.raises(NotTrusted) as caught:
        statuslines.judge(exit_code, status(lines), 0x01, plaintext=True)

    assert reason in caught.value.message


EXPIRED = f"EXPKEYSIG {KEY[-16:]} Upstream <u@example.com>"


@pytest.mark.parametrize(
    ("lines", "accepted"),
    [
        (["KEYEXPIRED 1795410908", EXPIRED, valid(kind="00")], True),
        (["KEYEXPIRED 1795410907", EXPIRED, valid(kind="00")], False),
        (["KEYEXPIRED 1895410908", "KEYEXPIRED 1700000000", EXPIRED, valid(kind="00")], False),
        (["KEYEXPIRED", EXPIRED, valid(kind="00")], False),
        ([EXPIRED, valid(kind="00")], False),
        (["KEYEXPIRED 1795410908", EXPIRED, EXPIRED, valid(kind="00")], False),
        (["KEYEXPIRED 1795410908", EXPIRED, GOOD, valid(kind="00")], False),
        (["KEYEXPIRED 1795410908", EXPIRED, valid(kind="00", hash_="2")], False),
        ([GOOD, valid(kind="00", version="3")], True),
    ],
)
def test_upstreams_keys_may_have_expired_after_they_signed(lines: list[str], accepted: bool) -> None:
    if accepted:
        assert statuslines.judge(0, status([NEW, *lines]), 0x00, plaintext=False, upstream=True)
        with pytest.raises(NotTrusted):
            statuslines.judge(0, status([NEW, *lines]), 0x00, plaintext=False)
    else:
        with pytest.raises(NotTrusted):
            statuslines.judge(0, status([NEW, *lines]), 0x00, plaintext=False, upstream=True)


def test_without_output_there_must_be_no_plaintext_line() -> None:
    assert statuslines.judge(0, status([NEW, GOOD, valid()]), 0x01, plaintext=False)
    with pytest.raises(NotTrusted, match="exactly one text"):
        statuslines.judge(0, status([TEXT, NEW, GOOD, valid()]), 0x01, plaintext=False)


@pytest.mark.parametrize(
    "data", [b"gpgv: Good signature\n", b"[GNUPG:]\n", b"[GNUPG] GOODSIG\n", b" [GNUPG:] GOODSIG x\n"]
)
def test_a_line_that_is_no_status_line_is_refused(data: bytes) -> None:
    with pytest.raises(NotTrusted, match="not a status line"):
        statuslines.parse_status(data)
