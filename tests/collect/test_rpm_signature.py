"""Packages with good, wrong, weak and missing signatures, compared with rpm and gpg."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fipsmanifest.collect import package_signature
from fipsmanifest.collect.context import VerifySignature
from fipsmanifest.collect.package_signature import Authenticated
from fipsmanifest.errors import Incomplete, Refused
from fipsmanifest.sign import keys as trust_directory
from fipsmanifest.trust import gpgv, openpgp
from fipsmanifest.trust.store import load_trust
from tests.support import upstream
from tests.support.upstream import BIN, FILE_DIGEST_ALGORITHM, INT32, PAYLOAD_DIGEST, Keys, Parts

Check = Callable[..., Authenticated]


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def check(keys: Keys, notes: list[str]) -> Check:
    verify = package_signature.verifier(load_trust(str(keys.trust_directory)))

    def authenticate(path: Path, signed_by: object = "upstream", el: int = 8) -> Authenticated:
        return package_signature.authenticate(path, path.name, signed_by, el, verify, notes.append)  # type: ignore[arg-type]

    return authenticate


@pytest.fixture(scope="session")
def signed(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As nfpm signs: over the header, and over header and payload."""
    return upstream.nfpm(tmp_path_factory.mktemp("signed"), key=keys.secret(keys.upstream))


@pytest.fixture(scope="session")
def header_signed(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As today's rpmsign signs: over the header alone."""
    path = upstream.rpmbuild(tmp_path_factory.mktemp("rpmbuild"))
    upstream.rpmsign(path, keys)
    assert upstream.PGP not in Parts.of(path).signatures
    return path


def test_a_package_that_upstream_signed_is_accepted_and_the_signer_named(
    check: Check, keys: Keys, signed: Path, header_signed: Path, notes: list[str]
) -> None:
    for path in (signed, header_signed):
        found = check(path)
        assert found.fingerprint == keys.upstream
        named = subprocess.run(["rpm", "-qp", "--nosignature", path], capture_output=True, text=True, check=True)
        assert found.head.nevra == named.stdout.strip()
    assert notes == []


@pytest.fixture
def own_subkeys() -> Iterator[tuple[Keys, dict[str, list[str]]]]:
    """Two keys that certify alone, each with an RSA subkey that signs: name to fingerprints, the subkey's last."""
    made = upstream.make_keys()
    try:
        found = {}
        for name in ("one", "two"):
            made.gpg("--quick-generate-key", f"{name} <{name}@example.net>", "rsa2048", "cert", "never")
            for _ in range(2):
                listed = made.gpg("--with-colons", "--list-keys", f"{name}@example.net").decode().splitlines()
                found[name] = [line.split(":")[9] for line in listed if line.startswith("fpr:")]
                if len(found[name]) == 1:
                    made.gpg("--quick-add-key", found[name][0], "rsa2048", "sign", "never")
        yield made, found
    finally:
        upstream.close_keys(made)


def test_a_package_signed_by_an_rsa_subkey_counts_for_its_own_certificate_alone(
    own_subkeys: tuple[Keys, dict[str, list[str]]], tmp_path: Path
) -> None:
    made, found = own_subkeys
    (primary, subkey), (other, _) = found["one"], found["two"]
    package = upstream.rpmbuild(tmp_path / "build")
    upstream.rpmsign(package, replace(made, upstream=f"{subkey}!"))

    def verify(*certificates: bytes) -> VerifySignature:
        directory = Path(tempfile.mkdtemp(dir=tmp_path))
        for certificate in certificates:
            trust_directory.add(directory, certificate, "upstream")
        return package_signature.verifier(load_trust(str(directory)))

    def signer(verify: VerifySignature, signed_by: object) -> str:
        checked = package_signature.authenticate(package, "it", signed_by, 8, verify, str)  # type: ignore[arg-type]
        return checked.fingerprint

    one, two = made.gpg("--export", primary), made.gpg("--export", other)
    for signed_by in ("upstream", (primary,), (subkey,)):
        assert signer(verify(one, two), signed_by) == primary
    with pytest.raises(Refused, match=f"signed by {primary}, not by {other}"):
        signer(verify(one, two), (other,))
    with pytest.raises(Refused, match="not trusted here"):
        signer(verify(two), "upstream")
    # The subkey in another certificate, as its own wrote it and with that certificate's binding, is not its own.
    packets = list(openpgp._packets(one))
    at = next(number for number, packet in enumerate(packets) if packet.tag == 14)
    theirs = list(openpgp._packets(two))
    binding = next(theirs[number + 1] for number, packet in enumerate(theirs) if packet.tag == 14)
    for grafted in (packets[at].raw + packets[at + 1].raw, packets[at].raw + binding.raw):
        with pytest.raises(Refused, match="not trusted here"):
            signer(verify(two + grafted), "upstream")


def test_an_unsigned_package_is_refused(check: Check, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"kubelet-1.21.3-0.x86_64.rpm is not signed") as refused:
        check(upstream.nfpm(tmp_path))
    assert refused.value.exit_code == 5


def test_a_strangers_signature_is_refused_naming_the_key_and_how_to_trust_it(
    check: Check, keys: Keys, tmp_path: Path
) -> None:
    with pytest.raises(Refused) as refused:
        check(upstream.nfpm(tmp_path, key=keys.secret(keys.stranger)))
    assert keys.stranger[-16:] in refused.value.message
    assert "keys add --role upstream" in refused.value.advice


def test_the_definition_may_name_the_one_key_that_counts(check: Check, keys: Keys, signed: Path) -> None:
    assert check(signed, (keys.stranger, keys.upstream)).fingerprint == keys.upstream
    with pytest.raises(Refused) as refused:
        check(signed, (keys.stranger,))
    assert keys.upstream in refused.value.message
    assert keys.stranger in refused.value.message


def test_any_changed_byte_of_the_header_or_the_payload_is_refused(check: Check, signed: Path, tmp_path: Path) -> None:
    good = signed.read_bytes()
    header = len(good) - len(Parts.of(signed).payload) - len(Parts.of(signed).header)
    for position in (header + 20, header + 700, len(good) - len(Parts.of(signed).payload), len(good) - 1):
        bad = bytearray(good)
        bad[position] ^= 1
        (tmp_path / "bad.rpm").write_bytes(bad)
        with pytest.raises(Refused):
            check(tmp_path / "bad.rpm")


def test_a_changed_header_is_refused_though_its_digest_is_made_to_fit(
    check: Check, signed: Path, tmp_path: Path
) -> None:
    parts = Parts.of(signed)
    changed = replace(parts, header=parts.header.replace(b"kubelet", b"kubeadm", 1)).digested()
    with pytest.raises(Refused, match="no signature by a key that is trusted"):
        check(changed.write(tmp_path / "bad.rpm"))


def test_another_payload_under_a_signed_header_is_refused_naming_both_digests(
    check: Check, header_signed: Path, tmp_path: Path
) -> None:
    # The plain build's payload under the FIPS build's signed header.
    parts = Parts.of(header_signed)
    done = subprocess.run(["sha256sum"], input=parts.payload, capture_output=True, text=False, check=True)
    with pytest.raises(Refused) as refused:
        check(replace(parts, payload=parts.payload + b"\0").write(tmp_path / "bad.rpm"))
    assert done.stdout[:64].decode() in refused.value.message
    assert "it was signed" not in refused.value.message


def test_an_appended_or_cut_payload_is_refused_under_the_legacy_signature(
    check: Check, keys: Keys, signed: Path, tmp_path: Path
) -> None:
    legacy = Parts.of(signed).without(upstream.RSA_HEADER).edited(PAYLOAD_DIGEST, None).signed(keys, legacy=True)
    assert check(legacy.write(tmp_path / "good.rpm"), el=7).fingerprint == keys.upstream
    for payload in (legacy.payload + b"\0", legacy.payload[:-1]):
        with pytest.raises(Refused):
            check(replace(legacy, payload=payload).write(tmp_path / "bad.rpm"), el=7)


def test_a_signature_that_does_not_reach_the_payload_is_not_enough(
    check: Check, keys: Keys, signed: Path, tmp_path: Path
) -> None:
    parts = Parts.of(signed).without(upstream.PGP).edited(PAYLOAD_DIGEST, None).signed(keys)
    with pytest.raises(Refused, match="nothing signed covers its payload"):
        check(parts.write(tmp_path / "bad.rpm"), el=7)


def test_a_payload_digest_of_an_unknown_kind_does_not_cover_the_payload(
    check: Check, keys: Keys, signed: Path, tmp_path: Path
) -> None:
    parts = Parts.of(signed).without(upstream.PGP).edited(5093, (INT32, 1, b"\0\0\0\1")).signed(keys)
    with pytest.raises(Refused, match="nothing signed covers its payload"):
        check(parts.write(tmp_path / "bad.rpm"), el=7)


@pytest.mark.parametrize(
    ("what", "weaken"),
    [
        ("no SHA-256 of its header", lambda parts, _: parts.without(upstream.SHA256_HEADER)),
        (
            "no SHA-256 of its payload",
            lambda parts, keys: parts.edited(PAYLOAD_DIGEST, None).signed(keys).signed(keys, legacy=True),
        ),
        (
            "MD5 digests of its files",
            lambda parts, keys: parts.edited(FILE_DIGEST_ALGORITHM, None).signed(keys).signed(keys, legacy=True),
        ),
    ],
)
def test_a_package_that_el8_in_fips_mode_would_refuse_is_refused_by_name_and_noted_for_el7(
    check: Check,
    keys: Keys,
    signed: Path,
    tmp_path: Path,
    notes: list[str],
    what: str,
    weaken: Callable[[Parts, Keys], Parts],
) -> None:
    path = weaken(Parts.of(signed), keys).write(tmp_path / "kubelet.rpm")
    for el in (8, 9):
        with pytest.raises(Refused, match=f"kubelet.rpm has {what}, so EL{el} in FIPS mode"):
            check(path, el=el)
    assert check(path, el=7).fingerprint == keys.upstream
    assert notes == [f"kubelet.rpm has {what}; EL7 takes it."]


def test_a_header_digest_that_is_wrong_is_refused_whoever_signed(
    check: Check, keys: Keys, signed: Path, tmp_path: Path
) -> None:
    parts = Parts.of(signed)
    wrong = replace(parts, signatures=parts.signatures | {upstream.SHA256_HEADER: (6, 1, b"0" * 64 + b"\0")})
    with pytest.raises(Refused, match="does not have the SHA-256"):
        check(wrong.write(tmp_path / "bad.rpm"))


@pytest.mark.parametrize("signature", [b"", b"\x89", b"not a signature", b"\xff" * 500])
def test_a_signature_that_is_none_is_refused(check: Check, signed: Path, tmp_path: Path, signature: bytes) -> None:
    parts = Parts.of(signed)
    broken = replace(parts, signatures=parts.signatures | {upstream.RSA_HEADER: (BIN, len(signature), signature)})
    with pytest.raises(Refused):
        check(broken.write(tmp_path / "bad.rpm"))


def test_a_signature_with_sha1_is_refused(check: Check, keys: Keys, signed: Path, tmp_path: Path) -> None:
    parts = Parts.of(signed)
    weak = keys.detach(parts.header, keys.upstream, "--digest-algo", "SHA1")
    signatures = parts.signatures | {upstream.RSA_HEADER: (BIN, len(weak), weak)}
    with pytest.raises(Refused, match=r"no signature by a key that is trusted"):
        check(replace(parts, signatures=signatures).write(tmp_path / "bad.rpm"))


def test_without_gpgv_nothing_is_known_and_nothing_passes(
    check: Check, signed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpgv, "_PROGRAMS", ("/nowhere/gpgv",))
    with pytest.raises(Incomplete, match="gpgv"):
        check(signed)


def test_one_good_signature_among_those_of_rpm_6_is_enough(
    check: Check, keys: Keys, signed: Path, tmp_path: Path
) -> None:
    # rpm 6 keeps all signatures in one tag, in base64 (RPMSIGTAG_OPENPGP, 278).
    parts = Parts.of(signed).without(upstream.RSA_HEADER, upstream.PGP)
    texts = b""
    for fingerprint in (keys.stranger, keys.upstream):
        signature = keys.detach(parts.header, fingerprint)
        encoded = subprocess.run(["base64", "-w0"], input=signature, capture_output=True, check=True).stdout
        texts += encoded + b"\0"
    good = replace(parts, signatures=parts.signatures | {278: (upstream.STRING_ARRAY, 2, texts)})
    assert check(good.write(tmp_path / "good.rpm")).fingerprint == keys.upstream
    bad = replace(parts, signatures=parts.signatures | {278: (upstream.STRING_ARRAY, 1, b"?\0")})
    with pytest.raises(Refused, match="base64"):
        check(bad.write(tmp_path / "bad.rpm"))


def test_what_is_no_rpm_or_ends_early_is_refused(check: Check, signed: Path, tmp_path: Path) -> None:
    good = signed.read_bytes()
    for size in (0, 1, 95, 96, 100, 112, 200, 400, 1000):
        (tmp_path / "cut.rpm").write_bytes(good[:size])
        with pytest.raises(Refused, match=r"not a whole RPM|not a valid RPM|not an RPM"):
            check(tmp_path / "cut.rpm")
    (tmp_path / "page.rpm").write_bytes(b"<html>Log in to the network first</html>" * 10)
    with pytest.raises(Refused, match="is not an RPM"):
        check(tmp_path / "page.rpm")


PAYLOAD_DIGEST_ALGORITHM, PAYLOAD_SHA512, SIGNATURES_OPENPGP = 5093, 5121, 278


def format_6(keys: Keys, path: Path) -> Parts:
    """Rewrite a package's signed parts as rpm 6 writes them: no algorithm of the digest, signatures in base64."""
    parts = Parts.of(path).edited(PAYLOAD_DIGEST_ALGORITHM, None).without(upstream.PGP, upstream.RSA_HEADER)
    return with_signatures(parts, keys.detach(parts.header, keys.upstream))


def with_signatures(parts: Parts, *signatures: bytes) -> Parts:
    texts = b"".join(base64.b64encode(one) + b"\0" for one in signatures)
    entry = (upstream.STRING_ARRAY, len(signatures), texts)
    return replace(parts, signatures=parts.signatures | {SIGNATURES_OPENPGP: entry})


def test_a_package_of_format_6_is_accepted_and_its_payload_checked(
    check: Check, keys: Keys, header_signed: Path, tmp_path: Path
) -> None:
    parts = format_6(keys, header_signed)
    assert check(parts.write(tmp_path / "6.rpm")).fingerprint == keys.upstream
    changed = replace(parts, payload=parts.payload[:-1] + bytes([parts.payload[-1] ^ 1]))
    with pytest.raises(Refused, match="its payload has the SHA-256"):
        check(changed.write(tmp_path / "changed.rpm"))


def test_every_digest_of_a_payload_must_be_right(check: Check, keys: Keys, header_signed: Path, tmp_path: Path) -> None:
    for digest, accepted in ((hashlib.sha512, True), (lambda data: hashlib.sha512(data + b"x"), False)):
        parts = Parts.of(header_signed)
        entry = (upstream.STRING, 1, digest(parts.payload).hexdigest().encode() + b"\0")
        entries = upstream.read_entries(parts.header) | {PAYLOAD_SHA512: entry}
        entries.pop(63)
        path = replace(parts, header=upstream.build_header(entries)).digested().signed(keys).write(tmp_path / "512.rpm")
        if accepted:
            assert check(path).fingerprint == keys.upstream
        else:
            with pytest.raises(Refused, match="its payload has the SHA-512"):
                check(path)


def test_a_bad_signature_by_a_trusted_key_spoils_a_good_one(
    check: Check, keys: Keys, header_signed: Path, tmp_path: Path
) -> None:
    parts = format_6(keys, header_signed)
    good, bad = keys.detach(parts.header, keys.upstream), keys.detach(b"another header", keys.upstream)
    strange = keys.detach(parts.header, keys.stranger)
    assert check(with_signatures(parts, strange, good).write(tmp_path / "rotation.rpm")).fingerprint == keys.upstream
    for signatures in ((good, bad), (bad, good), (strange, bad)):
        with pytest.raises(Refused, match="one of them was changed"):
            check(with_signatures(parts, *signatures).write(tmp_path / "bad.rpm"))
