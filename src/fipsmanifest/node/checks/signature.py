"""The manifests' signatures, and this tool's own bytes against the tool that a manifest was published with."""

import hashlib
from typing import Any, Dict, NamedTuple, Optional, Sequence

from ...errors import FipsManifestError, NotTrusted
from ...trust.document import Bindings, check_bindings
from ...trust.keys import Trust
from ...trust.text import utc_now, visible, write_time
from ...trust.verify import VerifiedManifest, verify_cleartext
from .. import provenance
from ..result import FAIL, NOT_APPLICABLE, PASS, UNKNOWN, Listed, Result
from ..version import archive, archive_digest, own_version

ID = "signature"

_EXPECTED = "a trusted signature"


class Opened(NamedTuple):
    """One manifest file, verified or not."""

    result: Result
    """What verifying it gave."""
    described: Dict[str, Any]
    """What it is, for the report; the file's name alone where it is not trusted."""
    listed: Optional[Listed] = None
    """Its content; None where it is not trusted."""
    warnings: Sequence[str] = ()
    """Sentences that a person should read."""
    exit_code: int = 0
    """The error's, where it is not trusted."""


def open_manifest(name: str, data: bytes, trust: Trust, bindings: Bindings, fingerprint: Optional[str]) -> Opened:
    """Verify a signed manifest, and that it is for what was asked; raises nothing."""
    try:
        signed = verify_cleartext(data, trust, fingerprint=fingerprint)
        warnings = list(signed.warnings) + check_bindings(signed.manifest, *bindings, now=utc_now())
    except FipsManifestError as error:
        status = FAIL if isinstance(error, NotTrusted) else UNKNOWN
        result = Result(ID, name, status, _EXPECTED, error.message, {}, error.advice)
        return Opened(result, {"file": name}, exit_code=error.exit_code)
    result = Result(ID, name, PASS, _EXPECTED, "signed by {}".format(signed.fingerprint))
    return Opened(result, _describe(name, data, signed), Listed(name, signed.manifest), warnings)


def _describe(name: str, data: bytes, signed: VerifiedManifest) -> Dict[str, Any]:
    described: Dict[str, Any] = {
        "file": name,
        "fingerprint": signed.fingerprint,
        "signing_key": signed.signature.signing_key,
    }
    described["signed_at"] = write_time(signed.signed_at)
    for key in ("kubernetes", "build_metadata", "el", "serial", "created", "expires"):
        value = signed.manifest.get(key)
        described[key] = visible(value) if isinstance(value, str) else value
    described["sha256"] = hashlib.sha256(data).hexdigest()
    described["modules"] = provenance.modules(signed.manifest, write_time(utc_now())[:10])
    described["components"] = provenance.components(signed.manifest)
    return described


def check_tool(manifests: Sequence[Listed]) -> Result:
    """Compare this single file with the tool that a manifest was published with; raises nothing."""
    expected = [
        (listed.name, str(tool.get("sha256")))
        for listed in manifests
        for tool in [listed.manifest.get("tool") or {}]
        if tool.get("version") == own_version()
    ]
    if archive() is None or not expected:
        reason = "not the single file" if archive() is None else "published with another version"
        return Result(ID, "tool", NOT_APPLICABLE, actual=reason)
    actual = archive_digest()
    if actual is None:
        advice = "Make the tool's own file readable."
        return Result(ID, "tool", UNKNOWN, expected[0][1], "unreadable", advice=advice)
    for name, digest in expected:
        if digest == actual:
            return Result(ID, "tool", PASS, "sha256:" + digest, "sha256:" + actual, {"manifest": name})
    advice = "Download the tool again, and check it against its .sha256 and .asc."
    return Result(ID, "tool", FAIL, "sha256:" + expected[0][1], "sha256:" + actual, {"code": "digest"}, advice)
