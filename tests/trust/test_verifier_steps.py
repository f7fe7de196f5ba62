"""Each step of the verifier is needed: without it, a message that must be refused is accepted.

This proves the corpus as much as the verifier: a step that could be taken out unnoticed has no test.
"""

from __future__ import annotations

import inspect
import json
import re
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from fipsmanifest.errors import NotTrusted
from fipsmanifest.trust import cleartext, document, gpgv, openpgp, statuslines, verify
from fipsmanifest.trust.keys import Trust
from tests.support.forge import Forge
from tests.trust.attacks import DASHES, SIGNATURE, Case, Make, replaced, signed
from tests.trust.corpus import CASES

Patch = Callable[[pytest.MonkeyPatch], None]


def lenient_parse(data: bytes) -> cleartext.Cleartext:
    """Read a message as a careless program does: the text between the first empty line and the signature."""
    body = data.split(b"\n\n", 1)[1].split(b"\n" + SIGNATURE)[0] + b"\n"
    body = b"".join(line.rstrip(b" \t\r") + b"\n" for line in body.replace(b"\n- ", b"\n").split(b"\n")[:-1])
    return cleartext.Cleartext(body, ("SHA512",), openpgp.SignaturePacket(4, 1, 1, 10, b""))


def careless_judge(
    exit_code: int, status: Sequence[statuslines.StatusLine], *_: Any, **__: Any
) -> statuslines.ValidSignature:
    """Trust the exit code and VALIDSIG, as many programs do."""
    fields = next(line.arguments for line in status if line.keyword == "VALIDSIG" and exit_code == 0)
    valid = statuslines.StatusLine("GOODSIG", (fields[0],)), statuslines.StatusLine("VALIDSIG", fields)
    return _judge(0, valid, 0x01, plaintext=False)


_judge = statuslines.judge


def admit_any(trust: Trust, key: str, primary: str, role: str, signed_at: Any) -> Any:
    """Trust whatever key the keyring holds, in any role and at any time."""
    return next(entry for entry in trust.keys if entry.fingerprint in (key, primary))


def believe_the_packet(keyring: bytes, signed: bytes, *_: Any) -> gpgv.Outcome:
    """Return what gpgv would print if the signature were as good as it claims."""
    text = cleartext.parse(signed).payload
    key, primary = (openpgp.read_certificates(keyring)[0].subkeys[0], openpgp.read_certificates(keyring)[0].primary)
    fields = (key.fingerprint, "2026-11-23", str(int(time.time())), "0", "4", "0", "1", "10", "01", primary.fingerprint)
    status = (
        f"[GNUPG:] PLAINTEXT 74 0 \n[GNUPG:] GOODSIG {key.fingerprint[-16:]} X\n[GNUPG:] VALIDSIG {' '.join(fields)}\n"
    )
    return gpgv.Outcome(0, status.encode(), text, has_output=True)


# Step, what takes it out, and a case that then passes.
STEPS: list[tuple[str, Patch, str]] = [
    ("1: no more than 16 MiB", lambda m: m.setattr(cleartext, "MAX_BYTES", 1 << 30), "more than 16 MiB of text"),
    ("2: read strictly", lambda m: m.setattr(cleartext, "parse", lenient_parse), "text before"),
    ("2: read strictly", lambda m: m.setattr(cleartext, "parse", lenient_parse), "text after"),
    ("2: read strictly", lambda m: m.setattr(cleartext, "parse", lenient_parse), "trailing blanks"),
    ("2: no control characters", lambda m: m.setattr(cleartext, "_CONTROL", re.compile("(?!)")), "a signed tab"),
    ("2: short lines", lambda m: m.setattr(cleartext, "MAX_LINE", 1 << 30), "a line of 4097 bytes"),
    ("3: gpgv over the same bytes", lambda m: m.setattr(gpgv, "run", believe_the_packet), "a changed digit"),
    (
        "3: gpgv over the same bytes",
        lambda m: m.setattr(gpgv, "run", believe_the_packet),
        "another message's signature",
    ),
    ("4: the status lines", lambda m: m.setattr(statuslines, "judge", careless_judge), "a key that has expired"),
    ("4: the key's role", lambda m: m.setattr(Trust, "admit", admit_any), "the tool's subkey"),
    ("4: the key's role", lambda m: m.setattr(Trust, "admit", admit_any), "an upstream key"),
    ("4: the signature's date", lambda m: m.setattr(verify, "_MAX_AHEAD", timedelta(days=999)), "dated next year"),
    ("6: JSON in one way only", lambda m: m.setattr(document, "parse_json", json.loads), "a key twice"),
    ("6: JSON in one way only", lambda m: m.setattr(document, "parse_json", json.loads), "a fraction"),
    ("6: the document's kind", lambda m: m.setattr(document, "read_manifest", json.loads), "a newer schema"),
    ("6: what it is bound to", lambda m: m.setattr(document, "check_bindings", lambda *_, **__: []), "another EL"),
    ("6: what it is bound to", lambda m: m.setattr(document, "check_bindings", lambda *_, **__: []), "a lower serial"),
    ("6: what it is bound to", lambda m: m.setattr(document, "check_bindings", lambda *_, **__: []), "expired"),
]


def _case(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


@pytest.mark.parametrize(("step", "patch", "name"), STEPS, ids=lambda value: value if isinstance(value, str) else "")
def test_without_the_step_the_message_is_accepted(
    step: str, patch: Patch, name: str, forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = _case(name)
    with pytest.raises(NotTrusted):
        case.verify(forge)

    patch(monkeypatch)

    assert case.verify(forge), step


class Agreeable(bytes):
    """A text that equals any other: it replaces gpgv's where step 5 is disabled."""

    def __eq__(self, _: object) -> bool:
        return True

    def __ne__(self, _: object) -> bool:
        return False

    __hash__ = bytes.__hash__


def agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take step 5 out."""
    run = gpgv.run
    monkeypatch.setattr(gpgv, "run", lambda *words: run(*words)._replace(output=Agreeable()))


def keeping_blanks(data: bytes) -> cleartext.Cleartext:
    """Read a message as a program does that takes each byte for signed."""
    body = data.split(b"\n\n", 1)[1].split(b"\n" + SIGNATURE)[0] + b"\n"
    return cleartext.Cleartext(body, ("SHA512",), openpgp.SignaturePacket(4, 1, 1, 10, b""))


# Step 5 is for the day on which step 2 turns out to have a hole: there gpgv's word and ours would be two.
@pytest.mark.parametrize(
    "make",
    [replaced(b'"el": 8,\n', b'"el": 8,  \n'), signed(DASHES)],
    ids=["5: blanks that are not signed", "5: dashes left escaped"],
)
def test_where_the_strict_reader_has_a_hole_the_second_reading_refuses(
    make: Make, forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = make(forge)
    monkeypatch.setattr(cleartext, "parse", keeping_blanks)
    monkeypatch.setattr(document, "read_manifest", lambda text: {"text": text})
    with pytest.raises(NotTrusted, match="different texts"):
        verify.verify_cleartext(message, forge.trust())

    agree(monkeypatch)

    assert verify.verify_cleartext(message, forge.trust())


def test_every_step_has_been_taken_out() -> None:
    source = inspect.getsource(verify.verify_cleartext)

    # Step 5 has a test of its own above.
    assert sorted(set(re.findall(r"# \((\d)\)", source))) == sorted({step[0] for step, _, _ in STEPS} | {"5"})
