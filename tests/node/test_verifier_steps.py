"""Each step of the verifier is needed: without it, a message that must be refused is accepted.

This proves the corpus as much as the verifier: a step that could be taken out unnoticed has no test.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from fipsmanifest.errors import NotTrusted
from fipsmanifest.node import cleartext, document, gpgv, openpgp, verify
from fipsmanifest.node.trust import Trust
from tests.node.attacks import CASES, SIGNATURE, Case
from tests.node.forge import GOOD_MANIFEST, Forge

Patch = Callable[[pytest.MonkeyPatch], None]


def lenient_parse(data: bytes) -> cleartext.Cleartext:
    """Read a message as a careless program does: what stands between the first empty line and the signature."""
    body = data.split(b"\n\n", 1)[1].split(b"\n" + SIGNATURE)[0] + b"\n"
    body = b"".join(line.rstrip(b" \t\r") + b"\n" for line in body.replace(b"\n- ", b"\n").split(b"\n")[:-1])
    return cleartext.Cleartext(body, ("SHA512",), openpgp.SignaturePacket(4, 1, 1, 10, b""))


def careless_judge(exit_code: int, status: Sequence[gpgv.StatusLine], *_: Any, **__: Any) -> gpgv.ValidSignature:
    """Believe the exit code and VALIDSIG, as many programs do."""
    fields = next(line.arguments for line in status if line.keyword == "VALIDSIG" and exit_code == 0)
    valid = gpgv.StatusLine("GOODSIG", (fields[0],)), gpgv.StatusLine("VALIDSIG", fields)
    return _judge(0, valid, 0x01, plaintext=False)


_judge = gpgv.judge


def admit_any(trust: Trust, key: str, primary: str, role: str, signed_at: Any) -> Any:
    """Trust whatever key the keyring holds, in any role and at any time."""
    return next(entry for entry in trust.keys if entry.fingerprint in (key, primary))


# Step, what takes it out, and a case that then passes.
STEPS: list[tuple[str, Patch, str]] = [
    ("2: read strictly", lambda m: m.setattr(cleartext, "parse", lenient_parse), "text before"),
    ("2: read strictly", lambda m: m.setattr(cleartext, "parse", lenient_parse), "text after"),
    ("2: read strictly", lambda m: m.setattr(cleartext, "parse", lenient_parse), "trailing blanks"),
    ("2: no control characters", lambda m: m.setattr(cleartext, "_CONTROL", re.compile("(?!)")), "a signed tab"),
    ("2: short lines", lambda m: m.setattr(cleartext, "MAX_LINE", 1 << 30), "a line of 4097 bytes"),
    ("4: the status lines", lambda m: m.setattr(gpgv, "judge", careless_judge), "a key that has expired"),
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


def _verify(case: Case, forge: Forge) -> verify.Signed:
    return verify.verify_cleartext(case.make(forge), forge.trust(), **case.options)


@pytest.mark.parametrize(("step", "patch", "name"), STEPS, ids=lambda value: value if isinstance(value, str) else "")
def test_without_the_step_the_message_is_accepted(
    step: str, patch: Patch, name: str, forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = _case(name)
    with pytest.raises(NotTrusted):
        _verify(case, forge)

    patch(monkeypatch)

    assert _verify(case, forge), step


def test_a_message_over_the_cap_is_refused_for_its_size_alone(forge: Forge, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [{"path": f"/usr/share/doc/{number:060d}"} for number in range(200_000)]
    manifest = json.dumps(GOOD_MANIFEST | {"files": files}, indent=2).encode() + b"\n"
    message = forge.clearsign(manifest)

    with pytest.raises(NotTrusted, match="larger than 16777216 bytes"):
        verify.verify_cleartext(message, forge.trust())
    monkeypatch.setattr(cleartext, "MAX_BYTES", 1 << 30)
    assert verify.verify_cleartext(message, forge.trust())
