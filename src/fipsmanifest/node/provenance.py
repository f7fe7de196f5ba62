"""What a manifest says of its components and their cryptographic modules, for a report that an auditor can read.

A certificate's status is that of the day on which the report is made: it changes without any new fact.
"""

from typing import Any, Dict, List, Mapping, Sequence, Set

from ..trust.text import visible
from .result import image_files

NATIVE = "go-native-"
"""The ids of Go's native module begin with this."""
_MAX_MODULES = 10
_MAX_CERTIFICATES = 10
_MAX_COMPONENTS = 200


def modules(manifest: Mapping[str, Any], day: str) -> List[Dict[str, Any]]:
    """Return the manifest's modules with each certificate's status on ``day`` (``2026-11-29``)."""
    found = manifest.get("modules")
    named = sorted(found.items()) if isinstance(found, dict) else []
    return [_module(str(name), module, day) for name, module in named[:_MAX_MODULES] if isinstance(module, dict)]


def _module(name: str, module: Mapping[str, Any], day: str) -> Dict[str, Any]:
    described = {
        "id": visible(name),
        "name": _text(module, "name"),
        "commit": _text(module, "commit"),
        "digest": _text(module, "digest"),
        "claimed_by": _text(module, "claimed_by"),
        "certificates": [_certificate(one, day) for one in _list(module, "certificates")[:_MAX_CERTIFICATES]],
    }
    if _text(module, "validation"):
        described["validation"] = _text(module, "validation")
    return described


def _certificate(certificate: Mapping[str, Any], day: str) -> Dict[str, Any]:
    number, since = certificate.get("number"), _text(certificate, "historical_since")
    return {
        "number": number if isinstance(number, int) else None,
        "standard": _text(certificate, "standard"),
        "holder": _text(certificate, "holder"),
        "status": "historical" if since and since <= day else "active",
        "historical_since": since,
    }


def components(manifest: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """Return what the manifest requires of each component, its verdict, and the modules in its programs."""
    held: Dict[str, Set[str]] = {}
    for file in _files(manifest):
        crypto = file.get("crypto")
        if isinstance(crypto, dict) and isinstance(crypto.get("module"), str):
            held.setdefault(str(file.get("component")), set()).add(visible(crypto["module"]))
    return [
        {
            "name": _text(one, "name"),
            "architecture": _text(one, "architecture"),
            "requirement": _text(one, "requirement"),
            "verdict": _text(one, "verdict"),
            "reason": _text(one, "reason"),
            "modules": sorted(held.get(str(one.get("name")), ())),
        }
        for one in _list(manifest, "components")[:_MAX_COMPONENTS]
    ]


def has_mode(file: Mapping[str, Any]) -> bool:
    """Return whether a program may have Go's native module, whose FIPS mode GODEBUG switches off.

    BoringCrypto has no such mode: Go before 1.24 does not know the setting, and later a program with BoringCrypto ends
    at its start where it is on (crypto/internal/boring, ``init``), so that off is all that it can be. True where the
    manifest says nothing of a program.
    """
    crypto, go = file.get("crypto") or {}, file.get("go") or {}
    verdict = crypto.get("verdict")
    if str(crypto.get("module")).startswith(NATIVE):
        return True
    if verdict == "plain":
        settings = go.get("settings") or {}
        return "GOFIPS140" in settings or "fips140" in str(settings.get("DefaultGODEBUG"))
    return verdict not in ("proven", "unlisted", "no-crypto", "not-go")


def module_line(module: Mapping[str, Any]) -> str:
    """Write a module and its certificates as one line of a report."""
    named = [
        "certificate {} ({}, {}): {}".format(
            one["number"],
            one["standard"],
            one["holder"],
            "historical since " + one["historical_since"] if one["status"] == "historical" else one["status"],
        )
        for one in module["certificates"]
    ]
    if module.get("claimed_by"):
        otherwise = "claimed by {}".format(module["claimed_by"])
    else:
        in_process = module.get("validation") == "in-process"
        otherwise = "in process, no certificate" if in_process else "no certificate is known"
    return "Module: {} {}, {}".format(module["name"], module["id"], "; ".join(named) or otherwise)


def _files(manifest: Mapping[str, Any]) -> Sequence[Dict[str, Any]]:
    found = list(manifest["files"])
    for image in manifest.get("images") or []:
        found += image_files(image)
    return found


def _list(holder: Mapping[str, Any], name: str) -> List[Dict[str, Any]]:
    value = holder.get(name)
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _text(holder: Mapping[str, Any], name: str) -> Any:
    value = holder.get(name)
    return visible(value, 200) if isinstance(value, str) else None
