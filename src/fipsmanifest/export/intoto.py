"""in-toto: a statement of a manifest, and the SLSA verification summary of a gate's decision. Pure.

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md and https://slsa.dev/spec/v1.1/verification_summary.
A statement carries no signature; sign it with cosign or the like (``cosign attest-blob``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import Incomplete, UsageError
from ..model.manifest import Manifest
from .documents import Gate, Inspection, Source
from .identity import URN, visible
from .programs import gate_passed, programs
from .settings import Settings
from .text import write_json

_STATEMENT = "https://in-toto.io/Statement/v1"
_VSA = "https://slsa.dev/verification_summary/v1"
PREDICATE = f"{URN}:manifest:v1"
#: A level of our own (SLSA VSA, "verifiedLevels"): the gate passed.
LEVEL = "FIPSMANIFEST_GATE_PROVEN"


def render(source: Source, settings: Settings) -> str:
    """Return the statement of a manifest, or of an inspection's gate.

    Raises `UsageError` for an inspection without a gate, `Incomplete` if there is nothing that a statement could be
    about.
    """
    document = source.document
    if isinstance(document, Manifest):
        subjects, kind, predicate = list(_listed(document)), PREDICATE, _manifest(source, document)
    elif isinstance(document, Inspection) and document.gate is not None:
        subjects, predicate = _gate(source, document.gate, settings)
        kind = _VSA
    else:
        raise UsageError(
            "The inspection was not a gate, so there is no decision to state.",
            "Inspect with --require proven, and export that.",
        )
    if not subjects:
        raise Incomplete(
            "There is nothing to state: the document lists no program that the statement could be about.",
            "Check what was inspected.",
        )
    return write_json(
        {"_type": _STATEMENT, "subject": subjects, "predicateType": kind, "predicate": predicate}, depth=2
    )


def _listed(manifest: Manifest) -> Iterator[dict[str, Any]]:
    """Yield the files, and the images by each digest that a registry knows them by."""
    for file in manifest.files:
        if file.sha256 is not None:
            yield _subject(file.path, file.sha256, architecture=file.architecture)
    for image in manifest.images:
        if image.index is not None:
            yield _subject(image.reference, image.index.removeprefix("sha256:"))
        for platform in image.platforms:
            yield _subject(
                image.reference, platform.manifest.removeprefix("sha256:"), architecture=platform.architecture
            )


def _subject(name: str, sha256: str, **annotations: str | None) -> dict[str, Any]:
    subject: dict[str, Any] = {"name": visible(name), "digest": {"sha256": sha256}}
    noted = {key: value for key, value in annotations.items() if value is not None}
    return subject | ({"annotations": noted} if noted else {})


def _manifest(source: Source, manifest: Manifest) -> dict[str, Any]:
    predicate: dict[str, Any] = {
        "manifest": {
            "sha256": source.sha256,
            "name": visible(manifest.name or f"rhel{manifest.el}"),
            "kubernetes": visible(manifest.kubernetes),
            "buildMetadata": visible(manifest.build_metadata),
            "el": manifest.el,
            "serial": manifest.serial,
            "created": manifest.created,
        },
        "signature": {"state": source.signature.state},
        "components": [_visible(item.model_dump(mode="json", exclude_none=True)) for item in manifest.components],
        "modules": {
            name: _visible(module.model_dump(mode="json", exclude_none=True))
            for name, module in manifest.modules.items()
        },
        "tool": _visible(manifest.tool.model_dump(mode="json")),
    }
    if manifest.expires is not None:
        predicate["manifest"]["expires"] = manifest.expires
    if source.signature.fingerprint is not None:
        predicate["signature"] |= {
            "fingerprint": source.signature.fingerprint,
            "signedAt": source.signature.signed_at,
        }
    return predicate


def _visible(value: Any) -> Any:
    """Return a JSON value whose texts have no invisible characters, and no halves of surrogate pairs."""
    if isinstance(value, dict):
        return {key: _visible(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_visible(item) for item in value]
    return visible(value) if isinstance(value, str) else value


def _gate(source: Source, gate: Gate, settings: Settings) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the subjects and the predicate of a gate's decision.

    If the gate passed, programs that need an exception are not among the subjects: the summary says nothing of them.
    """
    excused = {(item.path, item.container) for item in gate.accepted}
    found = [program for program in programs(source) if program.sha256 is not None]
    # A proven program may need one, too: for its module, or for what is forbidden beside that.
    needed = [program for program in found if (program.path, program.container) in excused or not program.harmless]
    # The same bytes may need one in one image and none elsewhere, and a subject is known by its digest.
    digests = {program.sha256 for program in needed}
    alone = [program for program in found if program.sha256 not in digests]
    proven = any(program.verdict == "proven" for program in alone)
    passed = gate_passed(source) and proven
    subjects = [
        _subject(f"{program.container}: {program.path}" if program.container else program.path, program.sha256 or "")
        for program in (alone if passed else found)
    ]
    predicate = {
        "verifier": {"id": URN, "version": {"fipsmanifest": settings.tool_version}},
        "resourceUri": settings.resource_uri or f"{URN}:inspection:sha256:{source.sha256}",
        "policy": {"uri": _policy(gate)},
        "inputAttestations": [{"uri": f"{URN}:inspection", "digest": {"sha256": source.sha256}}],
        "verificationResult": "PASSED" if passed else "FAILED",
        "verifiedLevels": [LEVEL] if passed else ["FAILED"],
        "slsaVersion": "1.1",
    }
    return subjects, predicate


def _policy(gate: Gate) -> str:
    """Return the address of the gate's policy: one that accepts other modules proves something else."""
    others = "" if gate.modules in ([], ["boringcrypto"]) else ":" + "+".join(map(visible, gate.modules))
    return f"{URN}:gate:proven{others}"
