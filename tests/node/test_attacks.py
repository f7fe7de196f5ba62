"""No message of the attack corpus is accepted wrongly, and no honest variant refused."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from fipsmanifest.errors import FipsManifestError
from fipsmanifest.node.document import Bindings
from fipsmanifest.node.verify import Signed, verify_cleartext
from tests.node.attacks import CASES, Case, good
from tests.node.forge import Forge, payload


def _verify(case: Case, forge: Forge) -> Signed:
    options = dict(case.options)
    message = case.make(forge)
    time.sleep(options.pop("wait", 0))
    if "pin" in options:
        options["fingerprint"] = forge.fingerprints[options.pop("pin")]
    if "pin_text" in options:
        options["fingerprint"] = forge.fingerprints["manifest"][options.pop("pin_text") :]
    return verify_cleartext(message, forge.trust(), **options)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_case_ends_with_its_exit_code_and_sentence(case: Case, forge: Forge) -> None:
    if case.code == 0:
        assert _verify(case, forge).manifest["schema"] == "fipsmanifest/v1"
        return
    with pytest.raises(FipsManifestError) as caught:
        _verify(case, forge)
    assert caught.value.exit_code == case.code
    assert case.reason in caught.value.message
    assert caught.value.advice
    assert all(" " <= character <= "~" for character in str(caught.value)), "hostile text reaches the terminal"


def test_there_are_as_many_cases_as_promised() -> None:
    names = [case.name for case in CASES]

    assert len(set(names)) == len(names) >= 120


def test_every_truncation_of_a_good_message_is_refused(forge: Forge) -> None:
    message = good(forge)

    for length in range(0, len(message), 7):
        with pytest.raises(FipsManifestError) as caught:
            verify_cleartext(message[:length], forge.trust())
        assert caught.value.exit_code == 3


def test_what_was_signed_comes_back_with_who_signed_it(forge: Forge) -> None:
    found = verify_cleartext(good(forge), forge.trust())

    assert found.payload == payload()
    assert found.fingerprint == forge.fingerprints["release"]
    assert found.signature.signing_key == forge.fingerprints["manifest"]
    assert found.signature.hash_name == "SHA512"
    assert abs((datetime.now(UTC) - found.signed_at).total_seconds()) < 3600
    assert found.warnings == ()


def test_a_signature_from_the_near_future_is_taken_with_a_warning(forge: Forge) -> None:
    found = verify_cleartext(good(forge), forge.trust(), now=datetime.now(UTC) - timedelta(hours=23))

    assert "ahead of this machine's clock" in found.warnings[0]


def test_an_expired_manifest_that_is_allowed_carries_a_warning(forge: Forge) -> None:
    message = forge.clearsign(payload(expires="2020-01-01T00:00:00Z"))

    found = verify_cleartext(message, forge.trust(), bindings=Bindings(allow_expired=True))

    assert found.warnings == ("The manifest expired on 2020-01-01T00:00:00Z.",)
