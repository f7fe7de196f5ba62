"""A file that two packages have: one record, and a program of one component alone."""

from __future__ import annotations

import pytest

from fipsmanifest.errors import Refused
from fipsmanifest.generate.assemble import _files, _Owned
from fipsmanifest.model.definition import Component
from fipsmanifest.model.finding import CryptoFacts, Finding, Verdict


def owned(component: str, source: str, *, program: bool) -> _Owned:
    crypto = CryptoFacts(Verdict.NOT_GO, None, {}) if program else None
    finding = Finding("/usr/bin/x", "file", 0o755, "a" * 64, 3, "program", crypto=crypto)
    owner = Component(name=component, requirement="known", reason="It is a test.", sources=("s",))
    return _Owned(owner, source, "x86_64", finding, "x86_64")


def test_a_program_of_two_components_is_refused() -> None:
    shared = [owned("one", "a-1-1", program=True), owned("two", "b-1-1", program=True)]
    with pytest.raises(Refused, match="belongs to 'one' in a-1-1, and to 'two' in b-1-1"):
        _files(shared)


@pytest.mark.parametrize(("component", "program"), [("one", True), ("two", False)])
def test_any_other_identical_file_has_one_record(component: str, program: bool) -> None:
    shared = [owned("one", "a-1-1", program=program), owned(component, "b-1-1", program=program)]
    (record,) = _files(shared)
    assert (record.component, record.source) == ("one", "a-1-1")
