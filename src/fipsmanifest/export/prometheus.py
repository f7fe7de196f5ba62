"""Prometheus text format 0.0.4, for the textfile collector. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..model.finding import Verdict
from ..model.manifest import Manifest
from ..node.metrics import to_metrics
from ..trust.text import read_time
from . import metrics
from .documents import Inspection, NodeReport, Source, unsupported
from .metrics import Metric, Sample, single
from .programs import gate_passed, modules, programs
from .settings import Settings


def render(source: Source, settings: Settings) -> str:  # noqa: ARG001 - the interface of all formats
    """Return the metrics of a document."""
    document = source.document
    if isinstance(document, NodeReport):
        report = document.model_dump(mode="json", by_alias=True)
        if document.verdict == "valid" and not document.is_valid:
            report["verdict"] = "incomplete"  # A report that contradicts itself is no pass.
        return to_metrics(report)
    if isinstance(document, Inspection):
        return metrics.write(_of_inspection(source, document))
    if isinstance(document, Manifest):
        return metrics.write(_of_manifest(source, document))
    raise unsupported(source)


def _of_inspection(source: Source, inspection: Inspection) -> Iterator[Metric]:
    yield _verdicts("fipsmanifest_inspection_programs", source)
    yield single("fipsmanifest_inspection_files", "Files that were inspected.", len(inspection.files))
    yield single("fipsmanifest_inspection_unopened", "Containers that were not opened.", len(inspection.unopened))
    yield single("fipsmanifest_inspection_errors", "Why the inspection did not end with 0.", len(inspection.errors))
    gate = inspection.gate
    if gate is not None:
        yield single("fipsmanifest_gate_passed", "1 if the gate passed, else 0.", int(gate_passed(source)))
        yield single(
            "fipsmanifest_gate_excepted", "Programs and containers accepted by exceptions.", len(gate.accepted)
        )


def _of_manifest(source: Source, manifest: Manifest) -> Iterator[Metric]:
    info = {
        "kubernetes": manifest.kubernetes,
        "el": str(manifest.el),
        "manifest": manifest.name or f"rhel{manifest.el}",
        "signature": source.signature.state,
    }
    yield Metric("fipsmanifest_manifest_info", "What the manifest is, and what is known of its signature.", [(info, 1)])
    yield single("fipsmanifest_manifest_serial", "The manifest's serial.", manifest.serial)
    yield from _moment("fipsmanifest_manifest_created_timestamp_seconds", "When it was made.", manifest.created)
    yield from _moment("fipsmanifest_manifest_expires_timestamp_seconds", "When it expires.", manifest.expires)
    yield _verdicts("fipsmanifest_manifest_programs", source)
    counts = Counter((item.requirement, item.verdict) for item in manifest.components)
    samples: list[Sample] = [
        ({"requirement": requirement, "verdict": verdict}, count)
        for (requirement, verdict), count in sorted(counts.items())
    ]
    yield Metric("fipsmanifest_manifest_components", "Components by requirement and verdict.", samples)
    yield from _certificates(source)


def _certificates(source: Source) -> Iterator[Metric]:
    found: dict[tuple[str, int], float] = {}
    for module in modules(source).values():
        for certificate in module.certificates or []:
            day = read_time(certificate.historical_since or "")
            if day is not None:
                found[certificate.standard, certificate.number] = day.timestamp()
    samples: list[Sample] = [
        ({"standard": standard, "number": str(number)}, day) for (standard, number), day in sorted(found.items())
    ]
    if samples:
        yield Metric(
            "fipsmanifest_certificate_historical_timestamp_seconds",
            "When a certificate of the manifest's modules moves to the historical list.",
            samples,
        )


def _verdicts(name: str, source: Source) -> Metric:
    counts = Counter(program.verdict for program in programs(source))
    return Metric(name, "Programs by verdict.", [({"verdict": str(verdict)}, counts[verdict]) for verdict in Verdict])


def _moment(name: str, text: str, moment: str | None) -> Iterator[Metric]:
    found = None if moment is None else read_time(moment)
    if found is not None:
        yield single(name, text, found.timestamp())
