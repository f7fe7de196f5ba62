"""Prometheus text format 0.0.4: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..trust.text import read_time, visible

_QUOTE = '"'
_VERDICTS = ("valid", "invalid", "incomplete", "untrusted")


@dataclass(frozen=True, slots=True)
class Metric:
    """A gauge with its samples."""

    name: str
    """As the naming rules of Prometheus want it, with its unit."""
    text: str
    """What it measures."""
    samples: Sequence[tuple[Mapping[str, str], float]]
    """Labels and value of each sample."""


def write(metrics: Iterable[Metric]) -> str:
    """Return metrics as text, with a line feed at the end."""
    lines: list[str] = []
    for metric in metrics:
        lines.append(f"# HELP {metric.name} {_escape(metric.text)}")
        lines.append(f"# TYPE {metric.name} gauge")
        lines += [f"{metric.name}{_labels(labels)} {_number(value)}" for labels, value in metric.samples]
    return "\n".join(lines + [""])


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


def of_node(report: Mapping[str, Any]) -> Iterator[Metric]:
    """Yield the metrics of a report (``fipsmanifest/node/v1``)."""
    host = report["host"]
    labels = {name: str(host.get(name) or "") for name in ("role", "os", "os_version", "tool")}
    labels["scope"] = report["scope"]
    yield Metric("fipsmanifest_node_info", "What was checked, and with which version of the tool.", [(labels, 1)])
    yield Metric(
        "fipsmanifest_node_verdict",
        "1 for the verdict on the node, 0 for the others.",
        [({"verdict": name}, int(name == report["verdict"])) for name in _VERDICTS],
    )
    yield Metric(
        "fipsmanifest_node_results",
        "Results by status, those that the report left out included.",
        [({"status": status}, count) for status, count in report["summary"].items()],
    )
    yield Metric("fipsmanifest_node_check_results", "Listed results by check and status.", _by_check(report["checks"]))
    finished = read_time(str(host.get("finished")))
    if finished is not None:
        yield Metric(
            "fipsmanifest_node_finished_timestamp_seconds", "When the check ended.", [({}, finished.timestamp())]
        )
    serials = [
        (
            {"kubernetes": str(one.get("kubernetes")), "el": str(one.get("el"))},
            one["serial"],
        )
        for one in report["manifests"]
        if isinstance(one.get("serial"), int)
    ]
    if serials:
        yield Metric("fipsmanifest_node_manifest_serial", "The serials of the trusted manifests.", _first(serials))


def _by_check(checks: Iterable[Mapping[str, Any]]) -> list[tuple[Mapping[str, str], float]]:
    counts = Counter((check["id"], check["status"]) for check in checks)
    return [({"check": name, "status": status}, count) for (name, status), count in sorted(counts.items())]


def _first(samples: Iterable[tuple[dict[str, str], float]]) -> list[tuple[Mapping[str, str], float]]:
    """Return one sample of each set of labels, as the format demands: the one with the highest value."""
    found: dict[tuple[tuple[str, str], ...], float] = {}
    for labels, value in samples:
        key = tuple(sorted(labels.items()))
        found[key] = max(value, found.get(key, value))
    return [(dict(key), value) for key, value in sorted(found.items())]
