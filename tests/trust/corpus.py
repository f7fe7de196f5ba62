"""The whole attack corpus, part by part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.trust.attacks import DOCUMENT, FRAME, GOOD, SIGNATURES, TEXT, Case
from tests.trust.certificate_attacks import CERTIFICATES, GOOD_CERTIFICATES
from tests.trust.key_attacks import GOOD_KEYS, KEYS

PARTS: Mapping[str, Sequence[Case]] = {
    "honest variants": [*GOOD, *GOOD_KEYS, *GOOD_CERTIFICATES],
    "around the text": FRAME,
    "the text": TEXT,
    "the signature": SIGNATURES,
    "the key": KEYS,
    "the certificate": CERTIFICATES,
    "the document": DOCUMENT,
}
CASES = [case for cases in PARTS.values() for case in cases]
