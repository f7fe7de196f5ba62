"""Keys and bundles for cosign, compared with the real cosign and plain openssl."""

from __future__ import annotations

import base64
import hashlib
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.errors import Conflict, FipsManifestError, Incomplete, NotTrusted, UsageError
from fipsmanifest.sign import cosign, sigstore
from fipsmanifest.sign.gpg import Passphrase
from tests.support import cosign as real

SIGNED = b"the signed file\n"
DIGEST = hashlib.sha256(SIGNED).digest()
SECRET = Passphrase(real.PASSWORD)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trust directory with a cosign key, and the private key outside."""
    made = tmp_path_factory.mktemp("cosign")
    (made / "keys").mkdir()
    cosign.create(made / "secret" / "release.key", made / "keys", SECRET)
    return made


@pytest.fixture(scope="module")
def key(directory: Path) -> cosign.SigningKey:
    return cosign.open_key(directory / "secret" / "release.key", SECRET)


@pytest.fixture(scope="module")
def bundle(key: cosign.SigningKey) -> bytes:
    return key.sign(SIGNED)


def write(directory: Path, bundle: bytes, data: bytes = SIGNED) -> tuple[Path, Path]:
    file, beside = directory / "file", directory / "file.sigstore.json"
    file.write_bytes(data)
    beside.write_bytes(bundle)
    return file, beside


@real.on_debian_12
def test_cosign_accepts_our_bundle_and_no_other_file(bundle: bytes, directory: Path, tmp_path: Path) -> None:
    file, beside = write(tmp_path, bundle)

    assert real.verifies(beside, file, directory / "keys" / "cosign.pub")

    file.write_bytes(SIGNED + b"x")
    assert not real.verifies(beside, file, directory / "keys" / "cosign.pub")


@real.on_debian_12
def test_a_bundle_of_cosign_is_accepted_here(tmp_path: Path) -> None:
    file, _ = write(tmp_path, b"")
    private = real.make_key(tmp_path)

    made = real.sign(file, private)
    public = cosign.read_public_key(tmp_path / "cosign.pub")

    assert cosign.verify(made.read_bytes(), DIGEST, (public,)).warnings == ()
    # The hint and the rest are what we write for the same signature.
    found = sigstore.read(made.read_bytes())
    assert json.loads(sigstore.write(found.signature, DIGEST, public.hint)) == json.loads(made.read_bytes())


@real.on_debian_12
def test_a_key_that_cosign_encrypted_signs_with_its_passphrase_only(tmp_path: Path) -> None:
    private = real.make_key(tmp_path)

    file, beside = write(tmp_path, cosign.open_key(private, SECRET).sign(SIGNED))

    assert real.verifies(beside, file, tmp_path / "cosign.pub")
    for wrong in (Passphrase("other"), None):
        with pytest.raises(Incomplete) as caught:
            cosign.open_key(private, wrong)
        assert caught.value.reason == "passphrase"


def test_openssl_accepts_the_signature_of_the_bundle(bundle: bytes, directory: Path, tmp_path: Path) -> None:
    file, signature = tmp_path / "file", tmp_path / "signature"
    file.write_bytes(SIGNED)
    signature.write_bytes(base64.b64decode(json.loads(bundle)["messageSignature"]["signature"]))
    words = (
        "dgst",
        "-sha256",
        "-verify",
        str(directory / "keys" / "cosign.pub"),
        "-signature",
        str(signature),
        str(file),
    )

    assert real.openssl(*words).stdout == b"Verified OK\n"

    file.write_bytes(b"other")
    assert real.openssl(*words).returncode != 0


def test_the_private_key_is_encrypted_and_for_its_owner_alone(directory: Path) -> None:
    path = directory / "secret" / "release.key"

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    # RFC 8018: PBKDF2 with the iterations as an INTEGER, AES-256-CBC.
    described = real.openssl("asn1parse", "-in", str(path)).stdout
    assert b"PBKDF2" in described and b"aes-256-cbc" in described and b":0927C0" in described  # 600,000
    assert real.PASSWORD not in repr(cosign.open_key(path, SECRET))


def test_a_key_without_a_passphrase_and_one_of_openssl_sign(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    plain = cosign.create(tmp_path / "plain.key", tmp_path / "keys", None)
    sec1 = tmp_path / "sec1.key"
    sec1.write_bytes(real.openssl("ecparam", "-name", "prime256v1", "-genkey").stdout)

    for key in (plain, cosign.open_key(sec1, None)):
        assert cosign.verify(key.sign(SIGNED), DIGEST, (key.public,)).key == key.public


@pytest.mark.parametrize("passphrase", [Passphrase("wrong"), None])
def test_a_wrong_or_missing_passphrase_is_named(passphrase: Passphrase | None, directory: Path) -> None:
    with pytest.raises(Incomplete) as caught:
        cosign.open_key(directory / "secret" / "release.key", passphrase)

    assert caught.value.reason == "passphrase"


def test_a_key_replaces_none_and_is_never_made_in_the_trust_directory(directory: Path) -> None:
    keys = directory / "keys"
    with pytest.raises(Conflict):
        cosign.create(directory / "secret" / "other.key", keys, None)
    with pytest.raises(Conflict):
        cosign.create(directory / "secret" / "release.key", directory / "elsewhere", None)
    with pytest.raises(UsageError, match="public"):
        cosign.create(keys / "sub" / "new.key", keys, None)


def test_a_key_signs_only_where_its_public_key_is_trusted(
    key: cosign.SigningKey, directory: Path, tmp_path: Path
) -> None:
    assert cosign.require_listed(key, directory / "keys") is key
    with pytest.raises(NotTrusted) as caught:
        cosign.require_listed(key, tmp_path)
    assert caught.value.reason == "untrusted-key"


def other_curve() -> bytes:
    return real.openssl("ecparam", "-name", "secp384r1", "-genkey", "-noout").stdout


NOT_A_KEY = {
    "empty": b"",
    "text": b"not PEM\n",
    "huge": b"x" * 20_000,
    "no base64": b"-----BEGIN PRIVATE KEY-----\n!!!\n-----END PRIVATE KEY-----\n",
    "not cosign's": b"-----BEGIN %b-----\ne30=\n-----END %b-----\n" % ((b"ENCRYPTED SIGSTORE PRIVATE KEY",) * 2),
}


@pytest.mark.parametrize("name", [*NOT_A_KEY, "public", "another curve"])
def test_a_file_that_is_no_such_private_key_is_a_usage_error(name: str, directory: Path, tmp_path: Path) -> None:
    path = tmp_path / "key"
    made = {"public": (directory / "keys/cosign.pub").read_bytes, "another curve": other_curve}
    path.write_bytes(NOT_A_KEY[name] if name in NOT_A_KEY else made[name]())

    with pytest.raises(UsageError):
        cosign.open_key(path, SECRET)


def test_only_public_keys_on_p256_are_trusted(directory: Path, tmp_path: Path) -> None:
    private = tmp_path / "p384.key"
    private.write_bytes(other_curve())
    (tmp_path / "cosign.pub").write_bytes(real.openssl("pkey", "-in", str(private), "-pubout").stdout)

    with pytest.raises(NotTrusted, match="P-256"):
        cosign.public_keys(tmp_path)
    assert [found.fingerprint for found in cosign.public_keys(directory / "keys")] == [
        hashlib.sha256(
            real.openssl("pkey", "-pubin", "-in", str(directory / "keys/cosign.pub"), "-outform", "DER").stdout
        ).hexdigest()
    ]


def edited(bundle: bytes, *path: str, value: Any) -> bytes:
    """Return the bundle with a member replaced; None removes it."""
    document = json.loads(bundle)
    place = document
    for name in path[:-1]:
        place = place[name]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(document).encode()


LOGGED = {"logIndex": "1", "canonicalizedBody": "e30="}

BAD: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda bundle: bundle[:0], "malformed"),
    "truncated": (lambda bundle: bundle[:-20], "malformed"),
    "two documents": (lambda bundle: bundle * 2, "malformed"),
    "a member twice": (lambda bundle: bundle.replace(b"{", b'{"mediaType":"x",', 1), "malformed"),
    "huge": (lambda bundle: bundle + b" " * 70_000, "malformed"),
    "a list": (lambda bundle: b"[" + bundle + b"]", "malformed"),
    "media type of version 0.1": (
        lambda b: edited(b, "mediaType", value="application/vnd.dev.sigstore.bundle+json;version=0.1"),
        "wrong-document",
    ),
    "no media type": (lambda b: edited(b, "mediaType", value=None), "wrong-document"),
    "keyless": (
        lambda b: edited(b, "verificationMaterial", value={"certificate": {"rawBytes": "AA=="}}),
        "wrong-document",
    ),
    "an attestation": (
        lambda b: edited(b, "messageSignature", value=None)[:-1] + b',"dsseEnvelope":{}}',
        "wrong-document",
    ),
    "no signature": (lambda b: edited(b, "messageSignature", "signature", value=None), "malformed"),
    "an empty signature": (lambda b: edited(b, "messageSignature", "signature", value=""), "malformed"),
    "a signature that is not base64": (lambda b: edited(b, "messageSignature", "signature", value="?"), "malformed"),
    "a digest by another algorithm": (
        lambda b: edited(b, "messageSignature", "messageDigest", "algorithm", value="SHA2_512"),
        "malformed",
    ),
    "the digest of other bytes": (
        lambda b: edited(b, "messageSignature", "messageDigest", "digest", value="AA" * 21 + "A="),
        "bad-signature",
    ),
    "no digest": (lambda b: edited(b, "messageSignature", "messageDigest", value=None), "malformed"),
    "a certificate beside the key": (
        lambda b: edited(b, "verificationMaterial", "certificate", value={"rawBytes": "AAA="}),
        "malformed",
    ),
    "a chain beside the key": (
        lambda b: edited(b, "verificationMaterial", "x509CertificateChain", value={"certificates": []}),
        "malformed",
    ),
    "an attestation beside the signature": (
        lambda b: edited(b, "dsseEnvelope", value={"payload": "eA==", "payloadType": "x", "signatures": [{"sig": ""}]}),
        "malformed",
    ),
    "an unknown member": (lambda b: edited(b, "foo", value=1), "malformed"),
    "an unknown member of the signature": (lambda b: edited(b, "messageSignature", "foo", value=1), "malformed"),
    "an unknown member of the key": (
        lambda b: edited(b, "verificationMaterial", "publicKey", "foo", value=1),
        "malformed",
    ),
    "a hint that is no text": (lambda b: edited(b, "verificationMaterial", "publicKey", "hint", value=[]), "malformed"),
    "no whole character in the hint": (
        lambda b: edited(b, "verificationMaterial", "publicKey", "hint", value="\ud800"),
        "malformed",
    ),
    "no object in the log": (lambda b: edited(b, "verificationMaterial", "tlogEntries", value=[1]), "malformed"),
    "no body of a log's entry": (
        lambda b: edited(b, "verificationMaterial", "tlogEntries", value=[{"logIndex": "1"}]),
        "malformed",
    ),
    "an unknown member of a log's entry": (
        lambda b: edited(b, "verificationMaterial", "tlogEntries", value=[{**LOGGED, "foo": 1}]),
        "malformed",
    ),
    "no object of timestamps": (
        lambda b: edited(b, "verificationMaterial", "timestampVerificationData", value="x"),
        "malformed",
    ),
    "an unknown member of timestamps": (
        lambda b: edited(b, "verificationMaterial", "timestampVerificationData", value={"foo": 1}),
        "malformed",
    ),
    "entries that are no list": (lambda b: edited(b, "verificationMaterial", "tlogEntries", value={}), "malformed"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_bundle_is_refused_with_its_reason(name: str, bundle: bytes, key: cosign.SigningKey) -> None:
    change, reason = BAD[name]

    with pytest.raises(NotTrusted) as caught:
        cosign.verify(change(bundle), DIGEST, (key.public,))

    assert caught.value.reason == reason


@real.on_debian_12
@pytest.mark.parametrize("name", [name for name in BAD if "beside" in name or name.startswith(("no ", "an unknown"))])
def test_cosign_refuses_what_is_missing_or_added_too(
    name: str, bundle: bytes, key: cosign.SigningKey, tmp_path: Path
) -> None:
    paths = [tmp_path / one for one in ("bundle", "file", "cosign.pub")]
    for path, data in zip(paths, (bundle, SIGNED, key.public.pem), strict=True):
        path.write_bytes(data)
    assert real.verifies(*paths)

    paths[0].write_bytes(BAD[name][0](bundle))
    assert not real.verifies(*paths)


def test_a_signature_over_other_bytes_is_refused_even_if_the_digest_was_changed_with_them(
    bundle: bytes, key: cosign.SigningKey
) -> None:
    other = hashlib.sha256(b"other").digest()
    forged = edited(
        bundle, "messageSignature", "messageDigest", "digest", value=base64.b64encode(other).decode("ascii")
    )

    with pytest.raises(NotTrusted) as caught:
        cosign.verify(forged, other, (key.public,))
    assert caught.value.reason == "bad-signature"


def test_a_bundle_by_another_key_is_refused(bundle: bytes, tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    other = cosign.create(tmp_path / "other.key", tmp_path / "keys", None)

    for keys in ((other.public,), ()):
        with pytest.raises(NotTrusted) as caught:
            cosign.verify(bundle, DIGEST, keys)
        assert caught.value.reason == "unknown-key"


def test_what_only_cosign_verifies_is_said(bundle: bytes, key: cosign.SigningKey) -> None:
    logged = edited(bundle, "verificationMaterial", "tlogEntries", value=[LOGGED, {**LOGGED, "logIndex": "2"}])

    assert cosign.verify(logged, DIGEST, (key.public,)).warnings == (
        "The bundle has 2 entries of a transparency log, which are not verified here.",
    )


def test_without_openssl_nothing_is_verified(
    bundle: bytes, key: cosign.SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fipsmanifest.sign.openssl._PROGRAMS", ())

    with pytest.raises(FipsManifestError) as caught:
        cosign.verify(bundle, DIGEST, (key.public,))

    assert (caught.value.exit_code, caught.value.reason) == (4, "no-openssl")
