"""What no exception may excuse, and what to do about it: one rule for the gate and for releases.

A program that is not a goboring build, or says wrongly that it is one, can be accepted by somebody who knows why. One
whose module was changed, or can be, must not be: it is not what its publisher tested. Of one that cannot be read nobody
knows what would be accepted.
"""

from __future__ import annotations

from .finding import CryptoFacts, Verdict

#: Codes of `contradicted` by which a validated module is not what was validated, or would not stay so.
TAMPERED = frozenset(
    ("module-changed", "self-test-would-fail", "module-writable", "module-overlaid", "native-module-changed")
)

_SHIP_NOT = "Do not ship it. Find out where it was changed, and get the package again from its publisher."
_SHOW = "Inspect the program as it will run: whole, not packed, and with its build info."
_REASON_WHY_NOT = {
    Verdict.CONTRADICTED: "no exception can excuse a module that was changed or can be",
    Verdict.UNREADABLE: "no exception can excuse what cannot be read",
}


def inexcusable(crypto: CryptoFacts | None) -> str | None:
    """Return why no exception or requirement lets a program pass; None where one may.

    ``crypto`` is None for an ELF file that nothing could be said of.
    """
    if crypto is None or crypto.verdict == Verdict.UNREADABLE:
        return _REASON_WHY_NOT[Verdict.UNREADABLE]
    return _REASON_WHY_NOT[Verdict.CONTRADICTED] if is_tampered(crypto) else None


def is_tampered(crypto: CryptoFacts | None) -> bool:
    """Return whether the module in a program was changed, or can be."""
    return (
        crypto is not None and crypto.verdict == Verdict.CONTRADICTED and str(crypto.evidence.get("code")) in TAMPERED
    )


def advice(crypto: CryptoFacts | None) -> str:
    """Return what to do about a program that is `inexcusable`."""
    return _SHIP_NOT if is_tampered(crypto) else _SHOW


def never_expected(verdict: str) -> str | None:
    """Return why an exception cannot expect ``verdict``; None where it can."""
    return _REASON_WHY_NOT[Verdict.UNREADABLE] if verdict == Verdict.UNREADABLE else None
