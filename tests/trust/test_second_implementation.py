"""The corpus before another implementation of OpenPGP, Sequoia: every difference from ours has its reason here.

Sequoia says whether a text is signed by one of the certificates. What our steps ask beyond that is the difference, and
it must be on our side: whatever Sequoia refuses we refuse, and where both accept, both read the same text.

A test run takes one case of each reason and a tenth of the others; ``make corpus``, each night, takes them all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping

import pysequoia
import pytest

from tests.support.forge import Forge
from tests.trust.attacks import DOCUMENT, Case
from tests.trust.corpus import CASES

#: What Sequoia accepts and we refuse, by the reason for refusing it.
REFUSED_BY_US_ALONE: Mapping[str, Iterable[str]] = {
    "Step 2: bytes around the message are signed by nobody, yet a person or another program reads them.": [
        "text before",
        "an empty line before",
        "a blank before",
        "text after",
        "an empty line after",
        "no line feed at the end",
    ],
    "Step 2: of several messages or signature blocks, a reader may take another one than the verifier did.": [
        "the same message twice",
        "two messages by one key",
        "a second signature block",
    ],
    "Step 2: line ends and blanks are not signed, so whoever transports the file could choose them.": [
        "CRLF",
        "CRLF in the text alone",
        "CRLF in the armor alone",
        "blanks in the separator line",
        "a tab in the separator line",
        "blanks after the begin line",
        "trailing blanks",
        "a trailing tab",
        "a blank after the last line",
    ],
    "Step 2: Sequoia takes the hash from the signature and ignores the unsigned headers; another reader obeys them.": [
        "no Hash header",
        "an unknown header",
        "a Charset header",
        "NotDashEscaped",
        "Hash names another algorithm",
        "Hash names MD5",
        "Hash names MD5 and the right one",
        "Hash in small letters",
        "Hash with a blank more",
        "Hash hides text",
        "a very long header",
    ],
    "Step 2: an inline message is another format, and a reader of text does not see what it says.": [
        "an inline message, binary",
        "an inline message, armored",
    ],
    "Step 1: a file of more than 16 MiB is no manifest.": ["more than 16 MiB", "more than 16 MiB of text"],
    "Step 2: gpg cuts long lines short, so no line is long.": ["a line of 4097 bytes", "a line that gpg truncates"],
    "Step 2: control characters do not reach a terminal, signed or not.": ["a signed tab"],
    "Step 2: an unescaped dash is where two readers of dash-escaping differ.": ["an unescaped dash"],
    "Step 2: the armor is read in one way only; some of these gpgv does not read at all.": [
        "no empty line in the armor",
        "no checksum in the armor",
        "a wrong checksum",
        "text between base64 lines",
        "a Hash header in the armor",
        "a terminal's control in a Comment",
        "nine Comments",
        "a marker packet before",
    ],
    "Step 2: exactly one signature, so that there is no question whose it is; Sequoia asks for one good one.": [
        "a base64 line of 20000",
        "the same signature twice",
        "two good signatures",
        "a good and a bad one",
        "a good and a stranger's",
    ],
    "Step 4: a cleartext message has a signature of class 01.": ["a detached signature in cleartext's place"],
    "Steps 2 and 4: SHA-256, SHA-384 and SHA-512 alone.": ["SHA-224"],
    "Step 4: gpgv calls the key expired; Sequoia asks only whether it was alive when it signed.": [
        "a key that has expired"
    ],
    "Step 4: gpgv takes the newest expiry, also from the signature about a picture; Sequoia asks the user ID's only.": [
        "an expiry in the signature about a picture"
    ],
    "Step 4: the trust file says which key may sign what, and when; Sequoia was given all of its certificates.": [
        "revoked",
        "revoked in another role",
        "retired before it signed",
        "not valid yet",
        "by an unknown one of two equal short key ids",
        "two equal short key ids, pinned to the other",
        "by another key of the same user id",
        "pinned by a long key id",
        "the tool's subkey",
        "an upstream key",
        "another pinned key",
        "a pinned stranger",
        "pinned by a short key id",
        "pinned by nothing",
        "role tool",
    ],
    "Step 4: RSA of 3072 bits or more; the rest is weak, or nothing that an old gpgv or a FIPS host verifies.": [
        "weak RSA",
        "a weak subkey",
        "DSA",
        "Ed25519",
    ],
    "Step 4: RSA with the exponent 65537 or more (FIPS 186-5), which gpg gives each key.": [
        "a subkey with the exponent 17"
    ],
    "Step 4: what its owner revokes is refused whatever its date; Sequoia asks why, and since when.": [
        "superseded, as its owner says since"
    ],
    "Step 4: a designated revoker's revocation counts without that revoker's key, for which Sequoia and gpg ask.": [
        "a revocation by a designated revoker",
        "a revocation by a designated revoker, behind the user id",
    ],
    "Step 3: gpgv reads the signatures of a subkey or user id that is there twice apart; Sequoia merges them.": [
        "a user id that says when the key expires, and again without",
        "a subkey that has expired, and again renewed",
        "a renewed subkey, and again as it was",
        "a subkey, unbound and again bound",
        "a subkey with more behind its numbers, and again as it is",
        "an upstream's subkey that has expired, and again renewed",
    ],
    "Step 3: gpg finds a revocation wherever it stands in the file; Sequoia drops one behind another certificate.": [
        "a revocation behind the next certificate"
    ],
    "Step 6: Sequoia does not look at what the text says.": ["an empty text", *(case.name for case in DOCUMENT)],
}

#: What Sequoia refuses and we accept.
ACCEPTED_BY_US_ALONE: Mapping[str, Iterable[str]] = {
    "Step 4: up to a day ahead is a wrong clock, and gives a warning; Sequoia takes no signature of the future.": [
        "signed twelve hours ahead"
    ],
    "Step 4: of a renewed certificate the newest binding is left (gpg's export-minimal), and what was signed before "
    "it stays good; when a key may sign is the trust file's to say.": ["a binding made after the signature"],
    "Role upstream: distributors' keys of years ago are by SHA-1, and not ours to renew.": [
        "an upstream key by SHA-1, with the exponent 17"
    ],
}


def sequoia(message: bytes, keyring: bytes) -> bytes | None:
    """Return the text that Sequoia finds signed by one of these certificates; None where it finds none."""
    try:
        certificates = pysequoia.Cert.split_bytes(keyring)
        found = pysequoia.verify(bytes=message, store=lambda _: certificates)
    except Exception:  # noqa: BLE001 - it has no errors of its own: any is a refusal
        return None
    # RFC 9580, section 7.2: the line end before the signature is not part of the signed text.
    return None if found.bytes is None else found.bytes + b"\n"


def _names(table: Mapping[str, Iterable[str]]) -> list[str]:
    return [name for names in table.values() for name in names]


def _chosen() -> list[Case]:
    if os.environ.get("FIPSMANIFEST_WHOLE_CORPUS"):
        return CASES
    reasons = [*REFUSED_BY_US_ALONE.values(), *ACCEPTED_BY_US_ALONE.values()]
    first = {next(iter(names)) for names in reasons}
    return [case for number, case in enumerate(CASES) if case.name in first or number % 10 == 0]


@pytest.mark.parametrize("case", _chosen(), ids=lambda case: case.name)
def test_each_difference_from_sequoia_has_its_reason(case: Case, forge: Forge) -> None:
    message = case.make(forge)
    time.sleep(case.options.get("wait", 0))

    keyring = forge.trust().keyring() if case.pinned is None else b"".join(case.pinned(forge).certificates)

    theirs = sequoia(message, keyring)

    assert (theirs is not None and case.code != 0) == (case.name in _names(REFUSED_BY_US_ALONE))
    assert (theirs is None and case.code == 0) == (case.name in _names(ACCEPTED_BY_US_ALONE))
    if theirs is not None and case.code == 0:
        assert case.verify(forge).payload == theirs


def test_the_table_names_each_case_once() -> None:
    names = _names(REFUSED_BY_US_ALONE) + _names(ACCEPTED_BY_US_ALONE)

    assert len(names) == len(set(names))
    assert set(names) <= {case.name for case in CASES}


def test_both_agree_on_detached_signatures(forge: Forge) -> None:
    certificates = pysequoia.Cert.split_bytes(forge.trust().keyring())
    data, other = b"#!/bin/sh\n", b"#!/bin/sh\n\n"
    signature = pysequoia.Sig.from_bytes(forge.detach(data))

    assert len(pysequoia.verify(bytes=data, signature=signature, store=lambda _: certificates).valid_sigs) == 1
    with pytest.raises(RuntimeError, match="no valid signatures"):
        pysequoia.verify(bytes=other, signature=signature, store=lambda _: certificates)
