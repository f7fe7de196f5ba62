"""Prometheus text format 0.0.4: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format."""

from typing import Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Sequence, Tuple

from ..trust.text import read_time, visible

_VERDICTS = ("valid", "invalid", "incomplete", "untrusted")


class Metric(NamedTuple):
    """A gauge with its samples."""

    name: str
    """As the naming rules of Prometheus want it, with its unit."""
    text: str
    """What it measures."""
    samples: Sequence[Tuple[Mapping[str, str], float]]
    """Labels and value of each sample."""


def write(metrics: Iterable[Metric]) -> str:
    """Return metrics as text, with a line feed at the end."""
    lines = []  # type: List[str]
    for metric in metrics:
        lines.append("# HELP {} {}".format(metric.name, _escape(metric.text)))
        lines.append("# TYPE {} gauge".format(metric.name))
        lines += ["{}{} {}".format(metric.name, _labels(labels), _number(value)) for labels, value in metric.samples]
    return "\n".join(lines + [""])


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join('{}="{}"'.format(name, _escape(visible(value), '"')) for name, value in labels.items()) + "}"


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


def _by_check(checks: Iterable[Mapping[str, Any]]) -> List[Tuple[Mapping[str, str], float]]:
    counts = {}  # type: Dict[Tuple[str, str], int]
    for check in checks:
        key = (check["id"], check["status"])
        counts[key] = counts.get(key, 0) + 1
    return [({"check": name, "status": status}, count) for (name, status), count in sorted(counts.items())]


def _first(samples: Sequence[Tuple[Dict[str, str], float]]) -> List[Tuple[Mapping[str, str], float]]:
    """Return one sample of each set of labels, as the format demands; the highest value counts."""
    found = {}  # type: Dict[Tuple[Tuple[str, str], ...], float]
    for labels, value in samples:
        key = tuple(sorted(labels.items()))
        found[key] = max(value, found.get(key, value))
    return [(dict(key), value) for key, value in sorted(found.items())]
