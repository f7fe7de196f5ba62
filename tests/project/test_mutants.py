"""The table of mutants fits the source; whether each one is found takes hours (``make mutants``)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.table import MUTANTS, Mutant

TOP = Path(__file__).parents[2]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.name)
def test_a_mutant_changes_one_place_of_the_source_and_names_tests_that_exist(mutant: Mutant) -> None:
    assert (TOP / "src/fipsmanifest" / mutant.file).read_text().count(mutant.before) == 1
    assert mutant.before != mutant.after
    for name in mutant.tests:
        path, *parts = name.split("::")
        text = (TOP / "tests" / path).read_text()
        assert all(f"def {part}(" in text or f"class {part}:" in text for part in parts), name


def test_no_two_mutants_have_the_same_name() -> None:
    assert len({one.name for one in MUTANTS}) == len(MUTANTS)
