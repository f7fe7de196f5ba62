"""Each check of a certificate is needed: without it, a case of the corpus has another result.

Newer versions of gpgv check some of it, too; so a case counts as lost when it is refused for another reason than ours.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from fipsmanifest.errors import NotTrusted
from fipsmanifest.trust import keys, openpgp, selfsignature, verify
from fipsmanifest.trust.selfsignature import _number
from tests.support.forge import Forge
from tests.trust.attacks import Case
from tests.trust.corpus import CASES

Patch = Callable[[pytest.MonkeyPatch], None]


def put(module: object, name: str, value: object) -> Patch:
    """Replace one thing by another."""
    return lambda monkeypatch: monkeypatch.setattr(module, name, value)


def any_numbers(body: bytes) -> tuple[int, int]:
    """Read an RSA key's numbers, whatever they are."""
    modulus, at = _number(body, 6)
    return modulus or 0, _number(body, at)[0] or 0


def any_rsa(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept any numbers in an RSA key."""
    monkeypatch.setattr(openpgp, "read_rsa", any_numbers)
    monkeypatch.setattr(selfsignature, "read_rsa", any_numbers)


NO_ISSUER = put(openpgp, "issuers", lambda _: frozenset())
ANY_MAKER = put(selfsignature, "_is_made_by", lambda *_: True)
ANY_SUBKEY = put(openpgp, "is_signing_subkey", lambda *_: True)
SHA1 = put(selfsignature, "_STRONG", (2, 8, 9, 10))
NO_END = put(selfsignature, "_EXPIRES", -1)
ANY_DATE = put(verify, "_MAX_AHEAD", timedelta(days=999))

# The omitted check, and a case that has another result without it.
STEPS: list[tuple[str, Patch, str]] = [
    ("whose a revocation is", NO_ISSUER, "a revocation at the end of the file"),
    ("whose a revocation is", NO_ISSUER, "a revocation behind the next certificate"),
    (
        "which subkey is revoked",
        put(openpgp, "revokes_subkey", lambda *_: False),
        "a subkey's revocation behind the next subkey",
    ),
    (
        "who may revoke",
        put(openpgp, "designated_revokers", lambda *_: frozenset()),
        "a revocation by a designated revoker",
    ),
    (
        "who made a signature",
        ANY_MAKER,
        "a revocation by a revoker whom another designated",
    ),
    ("who made a signature", ANY_MAKER, "an added subkey, bound by another's binding"),
    (
        "each part once",
        put(openpgp, "_check_parts_once", lambda _: None),
        "a subkey that has expired, and again renewed",
    ),
    ("a hash without collisions", SHA1, "a user id certified by SHA-1"),
    ("a hash without collisions", SHA1, "a binding by SHA-1"),
    ("a hash without collisions", SHA1, "a subkey's consent by SHA-1"),
    ("no end", NO_END, "a user id whose signature has expired"),
    ("no end", NO_END, "a subkey's consent that has expired"),
    ("not dated ahead", ANY_DATE, "a binding dated 300 days ahead"),
    ("not dated ahead", ANY_DATE, "a user id certified 300 days ahead"),
    ("a strong bond at all", put(keys, "is_unbound", lambda *_: False), "all of a certificate by SHA-1"),
    ("numbers of an RSA key", any_rsa, "an upstream key with the exponent 1"),
    ("a large exponent", put(keys, "MINIMUM_EXPONENT", 3), "a subkey with the exponent 17"),
    ("a long modulus", put(keys, "MINIMUM_BITS", dict.fromkeys(keys.ROLES, 1024)), "weak RSA"),
    ("a subkey that signs", ANY_SUBKEY, "a subkey that may not sign"),
    ("a subkey that signs", ANY_SUBKEY, "a subkey that did not sign its binding"),
    ("a subkey that signs", ANY_SUBKEY, "by a subkey, pinned by lone, that another certificate claims, before its own"),
    (
        "which subkey may sign",
        put(selfsignature, "lets_sign", lambda _: True),
        "permission to sign in the unhashed part",
    ),
]


def ends_as_the_corpus_says(case: Case, forge: Forge) -> bool:
    """Verify a case, and return whether the result is the expected one."""
    try:
        case.verify(forge)
    except NotTrusted as error:
        return case.code == error.exit_code and case.reason in error.message
    return case.code == 0


@pytest.mark.parametrize(("step", "patch", "name"), STEPS, ids=lambda value: value if isinstance(value, str) else "")
def test_without_the_step_a_case_ends_otherwise(
    step: str, patch: Patch, name: str, forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = next(case for case in CASES if case.name == name)
    assert ends_as_the_corpus_says(case, forge)

    patch(monkeypatch)

    assert not ends_as_the_corpus_says(case, forge), step
