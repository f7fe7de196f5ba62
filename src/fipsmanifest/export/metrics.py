"""Prometheus text format 0.0.4. Pure.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..trust.text import visible

Sample = tuple[Mapping[str, str], float]

_QUOTE = '"'


@dataclass(frozen=True, slots=True)
class Metric:
    """A gauge with its samples."""

    name: str
    """With its unit, as the naming rules of Prometheus want it."""
    text: str
    """What it measures."""
    samples: Sequence[Sample]
    """Labels and value of each sample; no two have the same labels."""


def single(name: str, text: str, value: float) -> Metric:
    """Return a metric without labels."""
    return Metric(name, text, [({}, value)])


def write(metrics: Iterable[Metric]) -> str:
    """Return metrics as text, with a line feed at the end."""
    lines: list[str] = []
    for metric in metrics:
        lines.append(f"# HELP {metric.name} {_escape(metric.text)}")
        lines.append(f"# TYPE {metric.name} gauge")
        lines += [f"{metric.name}{_labels(labels)} {_number(value)}" for labels, value in metric.samples]
    return "\n".join([*lines, ""])


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape(visible(value), _QUOTE)}"' for name, value in labels.items()) + "}"


def _escape(text: str, more: str = "") -> str:
    text = text.replace("\\", "\\\\")
    for character in more:
        text = text.replace(character, "\\" + character)
    return text.replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
