"""The verdict on a node for Prometheus' textfile collector (text format 0.0.4)."""

from typing import Any, Dict, List, Mapping, Tuple

from ..trust.text import read_time, visible
from .result import EXIT_CODES

Sample = Tuple[str, Dict[str, str], float]


def to_metrics(report: Mapping[str, Any]) -> str:
    """Return the metrics of a report (``fipsmanifest/node/v1``); no two lines have the same name and labels."""
    host = report["host"]
    info = {name: str(host.get(name) or "") for name in ("role", "os", "os_version", "tool")}
    checks: Dict[Tuple[str, str], int] = {}
    for one in report["checks"]:
        key = (str(one["id"]), one["status"])
        checks[key] = checks.get(key, 0) + 1
    serials: Dict[Tuple[str, str], int] = {}
    for one in report["manifests"]:
        if one.get("serial") is not None:
            key = (str(one.get("kubernetes")), str(one.get("el")))
            serials[key] = max(one["serial"], serials.get(key, 0))
    samples: List[Sample] = [("info", dict(info, scope=report["scope"]), 1)]
    samples += [("verdict", {"verdict": name}, int(name == report["verdict"])) for name in EXIT_CODES]
    samples += [("results", {"status": name}, count) for name, count in report["summary"].items()]
    samples += [
        ("check_results", {"check": name, "status": status}, checks[name, status]) for name, status in sorted(checks)
    ]
    finished = read_time(str(host.get("finished")))
    if finished is not None:
        samples.append(("finished_timestamp_seconds", {}, finished.timestamp()))
    samples += [("manifest_serial", {"kubernetes": k, "el": el}, serials[k, el]) for k, el in sorted(serials)]
    lines: List[str] = []
    for name, labels, value in samples:
        kind = "# TYPE fipsmanifest_node_{} gauge".format(name)
        if kind not in lines:
            lines.append(kind)
        told = ",".join('{}="{}"'.format(label, _escape(text)) for label, text in labels.items())
        lines.append("fipsmanifest_node_{}{} {}".format(name, "{" + told + "}" if told else "", int(value)))
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return visible(text).replace("\\", "\\\\").replace('"', '\\"')
