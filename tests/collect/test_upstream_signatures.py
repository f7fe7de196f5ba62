"""Upstream's signatures and key files, as distributions serve them: what gpg accepts, and never a wrong pass."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from fipsmanifest.collect import package_signature
from fipsmanifest.errors import NotTrusted, Refused
from fipsmanifest.sign import keys as trust_directory
from fipsmanifest.trust import armor, openpgp
from fipsmanifest.trust.store import load_trust
from tests.support.upstream import Keys

DATA = b"<repomd/>\n"
HEADERS = b"Version: GnuPG v2.0.22 (GNU/Linux)\nComment: https://example.com/?a=b\nHash: SHA256\nCharset: utf-8\n"

Edit = Callable[[bytes], bytes]


def with_headers(data: bytes) -> bytes:
    return data.replace(b"-----\n\n", b"-----\n" + HEADERS + b"\n", 1)


def rewrapped(data: bytes, width: int) -> bytes:
    head, _, rest = data.partition(b"\n\n")
    body, checksum, tail = rest.partition(b"\n=")
    text = body.replace(b"\n", b"")
    lines = [text[start : start + width] for start in range(0, len(text), width)]
    return head + b"\n\n" + b"\n".join(lines) + checksum + tail


#: Forms that gpg and rpm accept.
FORMS: dict[str, Edit] = {
    "as gpg writes it": lambda data: data,
    "CRLF": lambda data: data.replace(b"\n", b"\r\n"),
    "blank lines at the end": lambda data: data + b"\n\n \n",
    "no line feed at the end": lambda data: data.rstrip(b"\n"),
    "no checksum": lambda data: re.sub(rb"\n=[A-Za-z0-9+/]{4}\n", b"\n", data),
    "headers": with_headers,
    "blanks at line ends": lambda data: data.replace(b"\n", b" \t\n"),
    "text around": lambda data: b"Signed by Example, Inc.\n\n" + data + b"\nThe end.\n",
    "byte order mark and text": lambda data: b"\xef\xbb\xbfHello\n" + data,
    "lines of 76": lambda data: rewrapped(data, 76),
    "one long line": lambda data: rewrapped(data, 1 << 20),
    "two blocks": lambda data: data + data,
}


def check(keys: Keys, signature: bytes, data: bytes = DATA, of: tuple[str, ...] | None = None) -> str:
    return package_signature.verifier(load_trust(str(keys.trust_directory)))(data, signature, of)


@pytest.mark.parametrize("form", FORMS)
def test_a_detached_signature_is_accepted_in_every_form_that_gpg_accepts(keys: Keys, form: str) -> None:
    signature = FORMS[form](keys.detach(DATA, keys.upstream, "--armor"))
    assert keys.gpg("--status-fd", "1", "--verify", "-", str(written(keys, DATA)), stdin=signature).count(b" GOODSIG ")
    assert check(keys, signature) == keys.upstream
    with pytest.raises(Refused, match="one of them was changed"):
        check(keys, signature, DATA + b" ")


def written(keys: Keys, data: bytes) -> Path:
    path = keys.home / "signed"
    path.write_bytes(data)
    return path


def both(keys: Keys, first: bytes, second: bytes) -> list[bytes]:
    """Two signatures as one file: in one block, in two blocks, and binary; in both orders."""
    kind = b"SIGNATURE"
    pairs = [(first, second), (second, first)]
    return [
        form
        for one, two in pairs
        for form in (armor.armor(one + two, kind), armor.armor(one, kind) + armor.armor(two, kind), one + two)
    ]


def test_of_two_signatures_one_by_a_trusted_key_suffices(keys: Keys) -> None:
    for signature in both(keys, keys.detach(DATA, keys.upstream), keys.detach(DATA, keys.stranger)):
        assert check(keys, signature) == keys.upstream
        assert check(keys, signature, of=(keys.upstream,)) == keys.upstream
        with pytest.raises(Refused, match="not by"):
            check(keys, signature, of=(keys.stranger,))


def test_a_bad_signature_by_a_trusted_key_is_refused_whatever_stands_beside_it(keys: Keys) -> None:
    bad = keys.detach(b"something else", keys.upstream)
    for good in (keys.detach(DATA, keys.stranger), keys.detach(DATA, keys.upstream)):
        for signature in both(keys, bad, good):
            with pytest.raises(Refused, match="one of them was changed"):
                check(keys, signature)


def test_signatures_by_strangers_alone_are_refused(keys: Keys) -> None:
    one = keys.detach(DATA, keys.stranger)
    for signature in (one, *both(keys, one, one)):
        with pytest.raises(Refused, match="not trusted here"):
            check(keys, signature)


def test_a_weak_signature_does_not_count_and_does_not_spoil_a_strong_one(keys: Keys) -> None:
    weak = keys.detach(DATA, keys.upstream, "--digest-algo", "SHA1")
    with pytest.raises(Refused):
        check(keys, weak)
    for signature in both(keys, weak, keys.detach(DATA, keys.upstream)):
        assert check(keys, signature) == keys.upstream


def test_a_signature_of_an_unknown_version_is_left_out(keys: Keys) -> None:
    version_6 = b"\xc2\x0a\x06\x00\x1b\x08" + bytes(6)
    assert check(keys, version_6 + keys.detach(DATA, keys.upstream)) == keys.upstream
    with pytest.raises(Refused, match="unknown version"):
        check(keys, version_6)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda data: data.replace(b"SIGNATURE", b"MESSAGE"), "it has a message"),
        (lambda data: data.partition(b"-----END")[0], "its last line is missing"),
        (lambda data: data.replace(b"\n\n", b"\n", 1), "the empty line after its headers"),
        (lambda _: b"nothing\n", "there is no line -----BEGIN PGP SIGNATURE-----"),
        (lambda data: re.sub(rb"\n=[A-Za-z0-9+/]{4}\n", b"\n=AAAA\n", data), "its checksum is wrong"),
        (lambda data: data.replace(b"\n\n", b"\n\n!", 1), "a line is not base64"),
        (lambda _: b"", "there is no line"),
        (lambda data: data * 17, "more than 16 signatures"),
    ],
)
def test_a_damaged_signature_file_is_refused_with_its_reason(keys: Keys, edit: Edit, said: str) -> None:
    with pytest.raises(Refused, match=said):
        check(keys, edit(keys.detach(DATA, keys.upstream, "--armor")))


def test_a_whole_message_is_no_detached_signature(keys: Keys) -> None:
    message = keys.gpg("--local-user", keys.upstream, "--compress-algo", "none", "--sign", stdin=DATA)
    with pytest.raises(Refused):
        check(keys, message)


VERSION_6 = b"\xc6\x2a\x06" + bytes(4) + b"\x1b" + (32).to_bytes(4, "big") + bytes(range(32)) + b"\xcd\x04next"

#: Key files as distributions serve them; gpg imports the first certificate from each.
KEY_FILES: dict[str, Edit] = {
    **FORMS,
    "two blocks with text between": lambda data: data + b"\npub rsa4096 2006\n\n" + data,
    "version 6 in a second block": lambda data: data + armor.armor(VERSION_6, b"PUBLIC KEY BLOCK"),
    "version 6 first": lambda data: armor.armor(VERSION_6, b"PUBLIC KEY BLOCK") + data,
    "binary": lambda data: armor.dearmor(data, b"PUBLIC KEY BLOCK"),
    "binary, with version 6": lambda data: armor.dearmor(data, b"PUBLIC KEY BLOCK") + VERSION_6,
    "binary, with padding": lambda data: armor.dearmor(data, b"PUBLIC KEY BLOCK") + b"\xd5\x02xx",
}


@pytest.mark.parametrize("form", KEY_FILES)
def test_a_key_file_is_accepted_as_distributions_serve_it(keys: Keys, form: str, tmp_path: Path) -> None:
    exported = keys.gpg("--armor", "--export", keys.upstream)
    added = trust_directory.add(tmp_path, KEY_FILES[form](exported), "upstream", fingerprint=keys.upstream)
    assert added.fingerprint == keys.upstream
    # What is kept is the certificate that gpg exports, once.
    assert load_trust(str(tmp_path)).certificates == tuple(
        openpgp.read_certificates(keys.gpg("--export", keys.upstream))
    )


def test_copies_of_a_certificate_are_one_with_what_each_of_them_says(keys: Keys) -> None:
    whole = keys.gpg("--export", keys.upstream)
    (certificate,) = openpgp.read_certificates(whole)
    primary = next(packet.raw for packet in openpgp._packets(whole))
    (merged,) = openpgp.read_certificates(primary + whole)
    assert merged.primary == certificate.primary
    assert merged.user_ids == certificate.user_ids


def test_an_armored_secret_key_is_called_one(keys: Keys, tmp_path: Path) -> None:
    for options in (("--armor",), ()):
        secret = keys.gpg(*options, "--export-secret-keys", keys.upstream)
        with pytest.raises(NotTrusted, match="contains a secret key") as caught:
            trust_directory.add(tmp_path, secret, "upstream")
        assert "gpg --armor --export" in caught.value.advice


def test_a_file_with_keys_of_version_6_alone_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotTrusted, match="no key of version 4"):
        trust_directory.add(tmp_path, VERSION_6, "upstream")


def test_our_own_signatures_stay_strict(keys: Keys) -> None:
    signature = keys.detach(DATA, keys.upstream, "--armor")
    assert armor.dearmor(signature, b"SIGNATURE")
    for form, edit in FORMS.items():
        if form not in ("as gpg writes it", "no checksum", "lines of 76"):
            with pytest.raises(NotTrusted):
                armor.dearmor(edit(signature), b"SIGNATURE")
