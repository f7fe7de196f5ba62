"""The verdict of all results together: DESIGN section 5, one line each."""

from __future__ import annotations

import pytest

from fipsmanifest.node.result import FAIL, NOT_APPLICABLE, PASS, UNKNOWN, Result, verdict


def results(*statuses: str, check: str = "files") -> list[Result]:
    return [Result(check, str(number), status) for number, status in enumerate(statuses)]


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ((PASS,), "valid"),
        ((PASS, PASS, NOT_APPLICABLE), "valid"),
        ((PASS, UNKNOWN), "incomplete"),
        ((UNKNOWN,), "incomplete"),
        ((NOT_APPLICABLE,), "incomplete"),
        ((), "incomplete"),
        ((PASS, FAIL), "invalid"),
        # A failed check decides, whatever else could not be checked.
        ((FAIL, UNKNOWN), "invalid"),
    ],
)
def test_only_passes_that_nothing_contradicts_are_valid(statuses: tuple[str, ...], expected: str) -> None:
    assert verdict(results(*statuses), trusted=True) == expected


@pytest.mark.parametrize("statuses", [(), (PASS,), (FAIL,), (UNKNOWN,)])
def test_nothing_is_said_by_what_is_not_trusted(statuses: tuple[str, ...]) -> None:
    assert verdict(results(*statuses), trusted=False) == "untrusted"


def test_a_good_signature_says_nothing_of_the_node() -> None:
    signature = results(PASS, check="signature")

    assert verdict(signature + results(NOT_APPLICABLE), trusted=True) == "incomplete"
    assert verdict(signature + results(PASS), trusted=True) == "valid"
    # Nothing else was asked for.
    assert verdict(signature, trusted=True) == "valid"
