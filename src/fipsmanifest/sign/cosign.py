"""Keys that cosign uses, beside gpg's: create and open them, sign files, and verify bundles.

What the bundle of a file signs is that file, byte for byte: for a manifest the signed ``.asc`` file as it is published,
so that ``cosign verify-blob`` and ``openssl dgst -verify`` take the file that was downloaded
(`docs/adr/0019-cosign-beside-gpg.md`).

The public keys that publisher and auditor accept are the files ``*.pub`` of the trust directory. They are not in
trust.json, and not in the node tool: what is trusted by default is the OpenPGP signature.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..environment import COSIGN_PASSPHRASE
from ..errors import Conflict, FipsManifestError, Incomplete, NotTrusted, UsageError
from ..state import durable
from ..trust.text import visible
from . import openssl, sigstore
from .gpg import Passphrase

PUBLIC_SUFFIX = ".pub"
PUBLIC_NAME = "cosign.pub"

_MAX_KEY = 16 * 1024
_MAX_KEYS = 20
#: SubjectPublicKeyInfo of an uncompressed point on P-256 (RFC 5480, section 2), before its 64 bytes.
_P256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + b"\x04"
_PEM = re.compile(rb"\s*-----BEGIN ([A-Z ]{1,60})-----\s+([A-Za-z0-9+/=\s]+)-----END \1-----\s*\Z")
_PRIVATE = (b"PRIVATE KEY", b"EC PRIVATE KEY", b"ENCRYPTED PRIVATE KEY")
_ENCRYPTED = b"ENCRYPTED PRIVATE KEY"
_COSIGNS_OWN = (b"ENCRYPTED SIGSTORE PRIVATE KEY", b"ENCRYPTED COSIGN PRIVATE KEY")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An ECDSA key on P-256."""

    der: bytes
    """SubjectPublicKeyInfo."""
    origin: str
    """The file that it is from, for people."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the key in DER, hex."""
        return hashlib.sha256(self.der).hexdigest()

    @property
    def hint(self) -> str:
        """The fingerprint as cosign writes it into bundles."""
        return base64.b64encode(hashlib.sha256(self.der).digest()).decode("ascii")

    @property
    def pem(self) -> bytes:
        """The key as cosign and openssl read it."""
        return _armored(self.der, b"PUBLIC KEY")


@dataclass(frozen=True, slots=True)
class BundleSignature:
    """The valid signature of a Sigstore bundle."""

    key: PublicKey
    """The key that made it."""
    warnings: tuple[str, ...]
    """Sentences for people."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key that was opened."""

    public: PublicKey
    """Its public key."""
    _private: bytes = field(repr=False)
    _passphrase: str | None = field(repr=False)

    def sign(self, data: bytes) -> bytes:
        """Return the bundle of a file, read back as a consumer does."""
        digest = hashlib.sha256(data).digest()
        bundle = sigstore.write(openssl.sign(data, self._private, self._passphrase), digest, self.public.hint)
        verify(bundle, digest, (self.public,))
        return bundle


def verify(data: bytes, digest: bytes, keys: Sequence[PublicKey]) -> BundleSignature:
    """Verify the bundle ``data`` of a file with this SHA-256 digest, by one of ``keys``.

    Raises `NotTrusted` for a bundle that is malformed, of another kind, of other bytes, or by another key, and
    `Incomplete` if openssl cannot be run.
    """
    bundle = sigstore.read(data)
    check_digest(bundle, digest)
    key = next((one for one in keys if openssl.verifies(bundle.signature, digest, one.pem)), None)
    if key is None:
        known = any(bundle.hint == one.hint for one in keys)
        named = ", ".join(f"{one.fingerprint} ({visible(one.origin)})" for one in keys) or "none"
        raise NotTrusted(
            "The signature in the Sigstore bundle does not hold for these bytes."
            if known
            else f"The Sigstore bundle is not signed by a key that is accepted here: {named}.",
            "Get file and bundle again, from one address." if known else "Name the publisher's public key.",
            reason="bad-signature" if known else "unknown-key",
        )
    return BundleSignature(
        key, tuple(f"The bundle has {what}, which are not verified here." for what in bundle.unchecked)
    )


def check_digest(bundle: sigstore.Bundle, digest: bytes) -> None:
    """Raise `NotTrusted` if a bundle states another digest than that of the file."""
    if bundle.digest != digest:
        raise NotTrusted(
            f"The Sigstore bundle is of a file with SHA-256 {bundle.digest.hex()}, not {digest.hex()}.",
            "Get file and bundle from one address; if a pointer moves just now, get both again.",
            reason="bad-signature",
        )


def public_keys(directory: Path) -> tuple[PublicKey, ...]:
    """Return the public keys in a trust directory, which are its files ``*.pub``.

    Raises `UsageError` if one cannot be read, and `NotTrusted` if it is not a key on P-256.
    """
    try:
        paths = sorted(path for path in directory.iterdir() if path.suffix == PUBLIC_SUFFIX and path.is_file())
    except OSError:
        return ()  # `load_trust` reports it.
    if len(paths) > _MAX_KEYS:
        raise UsageError(f"{directory} has {len(paths)} files *.pub.", f"Keep at most {_MAX_KEYS}.")
    return tuple(read_public_key(path) for path in paths)


def read_public_key(path: Path) -> PublicKey:
    """Read a public key (PEM). Raises as `public_keys`."""
    kind, der = _pem(_read(path, "public key"), path)
    if kind != b"PUBLIC KEY" or len(der) != len(_P256) + 64 or not der.startswith(_P256):
        raise NotTrusted(
            f"{visible(str(path))} is not a public ECDSA key on P-256, but {visible(kind.decode())}.",
            "Name a file that begins with -----BEGIN PUBLIC KEY-----, as `cosign public-key` writes it.",
            reason="trust-directory",
        )
    return PublicKey(der, str(path))


def is_encrypted(path: Path) -> bool:
    """Return whether a private key needs a passphrase. Raises as `open_key`."""
    return _pem(_read(path, "private key"), path)[0] in (_ENCRYPTED, *_COSIGNS_OWN)


def open_key(path: Path, passphrase: Passphrase | None) -> SigningKey:
    """Open a private key: PKCS #8 or SEC 1 as openssl writes it, or cosign's own form.

    Raises `UsageError` for a file that is no such key, and `Incomplete` if the passphrase is wrong or missing.
    """
    data, secret = _read(path, "private key"), None if passphrase is None else passphrase.reveal()
    kind, der = _pem(data, path)
    if kind in _COSIGNS_OWN:
        data, secret = _armored(_decrypted(der, secret, path), b"PRIVATE KEY"), None
    elif kind not in _PRIVATE:
        raise UsageError(f"{path} is not a private key, but {kind.decode()}.", "Name the key of `keys init --cosign`.")
    elif kind == _ENCRYPTED and secret is None:
        raise _wrong_passphrase(path)
    try:
        public = openssl.public_key(data, secret)
    except Incomplete as error:
        raise _wrong_passphrase(path) if error.reason == "passphrase" else error from error
    if len(public) != len(_P256) + 64 or not public.startswith(_P256):
        raise UsageError(
            f"{path} is not an ECDSA key on P-256, which is what cosign makes.",
            "Create one with `fipsmanifest keys init --cosign FILE`.",
        )
    return SigningKey(PublicKey(public, str(path)), data, secret)


def require_listed(key: SigningKey, directory: Path) -> SigningKey:
    """Return ``key``. Raises `NotTrusted` if the trust directory does not have its public key."""
    if key.public.fingerprint not in {one.fingerprint for one in public_keys(directory)}:
        raise NotTrusted(
            f"The key {key.public.origin} is not in {directory}: no *.pub file there is its public key.",
            f"Add it: openssl pkey -in {key.public.origin} -pubout -out {directory / PUBLIC_NAME}.",
            reason="untrusted-key",
        )
    return key


def create(path: Path, directory: Path, passphrase: Passphrase | None) -> SigningKey:
    """Create a key: the private part in ``path``, the public one in the trust directory.

    Raises `UsageError` for a private key inside the trust directory, and `Conflict` if a file exists already.
    """
    check_new(path, directory)
    secret = None if passphrase is None else passphrase.reveal()
    private = openssl.generate(secret)
    made = SigningKey(PublicKey(openssl.public_key(private, secret), str(path)), private, secret)
    durable.make_directory(path.parent)
    durable.write(path, private, mode=0o600)
    durable.write(directory / PUBLIC_NAME, made.public.pem)
    return made


def check_new(path: Path, directory: Path) -> None:
    """Check where `create` would write; raises as it does."""
    if directory.resolve() in (path.resolve(), *path.resolve().parents):
        raise UsageError(
            f"{path} is inside the trust directory, which is public.", "Keep the private key in another directory."
        )
    for existing in (path, directory / PUBLIC_NAME):
        if os.path.lexists(existing):
            raise Conflict(
                f"{existing} exists already.",
                "Name another file for the private key; rename the old public key, for example to "
                f"cosign-2026{PUBLIC_SUFFIX}: every *{PUBLIC_SUFFIX} of the directory is accepted.",
                reason="key-state",
            )


def _read(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_KEY + 1)
    except OSError as error:
        raise UsageError(f"The {what} {path} cannot be read: {error.strerror}.", "Name a file in PEM.") from error
    if len(data) > _MAX_KEY:
        raise UsageError(f"{path} has more than {_MAX_KEY} bytes.", f"Name a file with one {what} in PEM.")
    return data


def _pem(data: bytes, path: Path) -> tuple[bytes, bytes]:
    """Return the label and the content of a PEM file (RFC 7468) with one block."""
    # openssl writes the parameters of a SEC 1 key as a block of their own before it.
    found = _PEM.match(re.sub(rb"-----BEGIN EC PARAMETERS-----[^-]*-----END EC PARAMETERS-----", b"", data, count=1))
    try:
        if found is not None:
            return found[1], base64.b64decode(b"".join(found[2].split()), validate=True)
    except binascii.Error:
        pass
    raise UsageError(f"{path} is not one key in PEM.", "Name the file that openssl or cosign wrote.")


def _armored(der: bytes, label: bytes) -> bytes:
    text = base64.b64encode(der)
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return b"\n".join([b"-----BEGIN " + label + b"-----", *lines, b"-----END " + label + b"-----", b""])


def _decrypted(data: bytes, passphrase: str | None, path: Path) -> bytes:
    """Return the PKCS #8 key in cosign's own encrypted form: scrypt and NaCl's secretbox (``go-securesystemslib``)."""
    try:
        # Here, because only keys of this form need it, and it is an extra.
        from nacl.exceptions import CryptoError
        from nacl.secret import SecretBox
    except ImportError as error:
        raise Incomplete(
            f"{path} is encrypted in cosign's own form, which needs PyNaCl.",
            "Install fipsmanifest[cosign], or use a key of `fipsmanifest keys init --cosign FILE`.",
        ) from error
    try:
        document: Any = json.loads(data)
        kdf, cipher = document["kdf"], document["cipher"]
        cost = tuple(int(kdf["params"][name]) for name in ("N", "r", "p"))
        salt, nonce, text = (
            base64.b64decode(value, validate=True) for value in (kdf["salt"], cipher["nonce"], document["ciphertext"])
        )
        if (kdf["name"], cipher["name"]) != ("scrypt", "nacl/secretbox") or cost not in _COSTS:
            raise ValueError
        secret = hashlib.scrypt(
            (passphrase or "").encode(), salt=salt, n=cost[0], r=cost[1], p=cost[2], maxmem=1 << 28, dklen=32
        )
        return bytes(SecretBox(secret).decrypt(text, nonce))
    except CryptoError as error:
        raise _wrong_passphrase(path) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{path} is not a key in cosign's own form.", "Restore the file that cosign wrote.") from error


#: N, r and p of scrypt in what cosign writes, of today and of the first versions.
_COSTS = ((65536, 8, 1), (32768, 8, 1))


def _wrong_passphrase(path: Path) -> FipsManifestError:
    given = f"What {COSIGN_PASSPHRASE} has" if COSIGN_PASSPHRASE in os.environ else "What was typed, or nothing,"
    return Incomplete(
        f"{given} is not the passphrase of {path}.",
        f"Set {COSIGN_PASSPHRASE} to it, or run the command on a terminal.",
        reason="passphrase",
    )
