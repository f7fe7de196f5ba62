"""Types of fields that several documents have in common, checked by pydantic."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Table(BaseModel):
    """A TOML table: unknown keys are refused, and its value cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _check_not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("it is blank")
    return value


def _check_has_letters(value: str) -> str:
    # Dashes and zero-width spaces are not a reason, and strip() does not remove the latter.
    if not any(map(str.isalnum, value)):
        raise ValueError("it is blank")
    return value


Text = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_check_not_blank)]
"""A text of at most 1000 characters that is not blank."""

Reason = Annotated[Text, AfterValidator(_check_has_letters)]
"""A text with at least one letter or digit."""
