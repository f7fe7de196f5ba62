"""The algorithms of the known modules that Go's wrappers call, as CycloneDX describes them. Pure.

Derived from the functions that a row of the module table names (`entry_points`): an algorithm is listed if Go's
standard library can reach it in that module. It is not a list of what a certificate approves: that is its security
policy.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..inspect.table import Row


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A cryptographic algorithm."""

    name: str
    """As the standard names it."""
    primitive: str
    """CycloneDX 1.6, ``cryptoProperties.algorithmProperties.primitive``."""
    functions: tuple[str, ...]
    """The functions of cryptoFunctions that it offers."""
    entry_points: tuple[str, ...]
    """Beginnings of names of the module's functions; one of them is enough."""


ALGORITHMS = (
    Algorithm("AES", "block-cipher", ("encrypt", "decrypt"), ("AES_set_encrypt_key", "AES_encrypt")),
    Algorithm("AES-CBC", "block-cipher", ("encrypt", "decrypt"), ("AES_cbc_encrypt",)),
    Algorithm("AES-CTR", "block-cipher", ("encrypt", "decrypt"), ("AES_ctr128_encrypt",)),
    Algorithm("AES-GCM", "ae", ("encrypt", "decrypt", "tag"), ("EVP_aead_aes_", "EVP_AEAD_CTX_seal")),
    Algorithm("CTR_DRBG", "drbg", ("generate",), ("RAND_bytes",)),
    Algorithm("ECDH", "key-agree", ("keyderive",), ("ECDH_compute_key", "EC_POINT_mul")),
    Algorithm("ECDSA", "signature", ("keygen", "sign", "verify"), ("ECDSA_do_sign", "ECDSA_do_verify")),
    Algorithm("HMAC", "mac", ("tag",), ("HMAC_Init",)),
    Algorithm("RSA", "pke", ("keygen", "encrypt", "decrypt", "sign", "verify"), ("RSA_encrypt", "RSA_sign")),
    Algorithm("SHA-1", "hash", ("digest",), ("SHA1_Init",)),
    Algorithm("SHA-224", "hash", ("digest",), ("SHA224_Init",)),
    Algorithm("SHA-256", "hash", ("digest",), ("SHA256_Init",)),
    Algorithm("SHA-384", "hash", ("digest",), ("SHA384_Init",)),
    Algorithm("SHA-512", "hash", ("digest",), ("SHA512_Init",)),
)


def of_module(row: Row) -> list[Algorithm]:
    """Return the algorithms that a known module offers to Go, in the order of their names."""
    return [
        algorithm
        for algorithm in ALGORITHMS
        if any(name.startswith(begin) for begin in algorithm.entry_points for name in row.entry_points)
    ]
