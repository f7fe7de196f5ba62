"""Run openssl for ECDSA keys on P-256: create, sign, verify.

The library is that of the system, which on a FIPS machine is the validated one. Keys and passphrases go through pipes:
they appear in no argument list, and in no file but the key's own.
"""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..errors import Incomplete
from ..trust.text import visible

_log = logging.getLogger(__name__)

#: From the system alone: another program or configuration could accept any signature.
_PROGRAMS = ("/usr/bin/openssl", "/bin/openssl")
_ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}
_PATIENCE = 60.0  # seconds
_PIPE = 64 * 1024  # bytes that a pipe holds without a reader (pipe(7))

#: Iterations of PBKDF2 with SHA-256 (NIST SP 800-132; the number is OWASP's of 2023). openssl's default is 2048.
_ITERATIONS = 600_000


def generate(passphrase: str | None) -> bytes:
    """Return a new private key as PEM, PKCS #8; encrypted with AES-256 if there is a passphrase."""
    key = _run(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "create a key")
    if passphrase is None:
        return key
    cipher = ["-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA256", "-iter", str(_ITERATIONS)]
    return _run(["pkcs8", "-topk8", *cipher], "encrypt the key", key, secret=("-passout", passphrase))


def public_key(key: bytes, passphrase: str | None) -> bytes:
    """Return the public key (DER) of a private key (PEM). Raises `Incomplete` if the passphrase is wrong or missing."""
    words = ["pkey", "-pubout", "-outform", "DER"]
    return _run(words, "read the private key", key, secret=("-passin", passphrase or ""), reason="passphrase")


def sign(data: bytes, key: bytes, passphrase: str | None) -> bytes:
    """Return the ECDSA signature (DER) over the SHA-256 of ``data``."""
    with _pipes(key) as (path,):
        words = ["dgst", "-sha256", "-sign", path]
        return _run(words, "sign", data, secret=("-passin", passphrase or ""), reason="passphrase")


def verifies(signature: bytes, digest: bytes, key: bytes) -> bool:
    """Return whether a signature over this SHA-256 digest is by the public key (PEM).

    Raises `Incomplete` if openssl cannot be run.
    """
    with _pipes(key, signature) as (key_path, signature_path):
        words = ["pkeyutl", "-verify", "-pubin", "-inkey", key_path, "-sigfile", signature_path]
        done = _call([*words, "-pkeyopt", "digest:sha256"], digest)
    return done.returncode == 0 and done.stdout.startswith(b"Signature Verified Successfully")


def _run(
    words: Sequence[str], what: str, data: bytes = b"", *, secret: tuple[str, str | None] = ("", None), reason: str = ""
) -> bytes:
    option, passphrase = secret
    with ExitStack() as stack:
        if passphrase is not None:
            (path,) = stack.enter_context(_pipes(passphrase.encode() + b"\n"))
            words = [*words, option, f"fd:{path.rpartition('/')[2]}"]
        done = _call(words, data)
    if done.returncode != 0 or not done.stdout:
        # Later lines name the library's functions.
        first = next(iter(done.stderr.decode(errors="replace").splitlines()), "it gave no reason")
        raise Incomplete(
            f"openssl did not {what}: {visible(first)}.", "Check that the passphrase is that of the key.", reason=reason
        )
    return done.stdout


def _call(words: Sequence[str], data: bytes) -> subprocess.CompletedProcess[bytes]:
    program = next((path for path in _PROGRAMS if Path(path).exists()), None)
    if program is None:
        raise Incomplete("openssl is not installed.", "Install the package openssl.", reason="no-openssl")
    _log.debug("running %s", " ".join([program, *words]))
    descriptors = [int(word.rpartition(mark)[2]) for word in words for mark in _MARKS if word.startswith(mark)]
    try:
        return subprocess.run(
            [program, *words],
            input=data,
            env=_ENVIRONMENT,
            pass_fds=descriptors,
            capture_output=True,
            check=False,
            timeout=_PATIENCE,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Incomplete(f"{program} does not run.", f"Run `{program} version`.", reason="no-openssl") from error


_MARKS = ("/dev/fd/", "fd:")


@contextmanager
def _pipes(*contents: bytes) -> Iterator[tuple[str, ...]]:
    """Yield a path for each of ``contents``, from which one child process can read it once."""
    if any(len(content) > _PIPE for content in contents):
        raise Incomplete("A key or signature is larger than 64 KiB.", "Compare it with its original.")
    with ExitStack() as stack:
        paths = []
        for content in contents:
            reader, writer = os.pipe()
            stack.callback(os.close, reader)
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(content)
            paths.append(f"/dev/fd/{reader}")
        yield tuple(paths)
