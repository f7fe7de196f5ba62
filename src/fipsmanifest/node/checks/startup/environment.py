"""Environment variables that change which code or which cryptography a program uses.

Rules: ld.so(8); Go's runtime GODEBUG and crypto/fips140; openssl-env(7); the golang-fips toolchain of Enterprise Linux.
"""

import re
from typing import Dict, List, Optional

from ....trust.text import visible
from ... import tree
from ...result import FAIL, NOT_APPLICABLE, UNKNOWN, Node, Result
from .programs import result

_PRELOAD = "/etc/ld.so.preload"
_INJECT = ("LD_PRELOAD", "LD_AUDIT")
_OFF = {
    "GOLANG_FIPS": ("0", "false"),
    "OPENSSL_FORCE_FIPS_MODE": ("0",),
    "GOFIPS": ("0", "false"),
    "GOFIPS140": ("off",),
}
_CHANGE = ("LD_LIBRARY_PATH", "GLIBC_TUNABLES", "OPENSSL_CONF", "OPENSSL_MODULES", "OPENSSL_ENGINES", "GCONV_PATH")
_SWITCHED_OFF = re.compile(r"(?:\A|,)\s*fips140\s*=\s*(?!on\s*(?:,|\Z)|only\s*(?:,|\Z))")
_ADVICE = "Remove {} there, start the service again, and find out who set it."


def judge(subject: str, environment: Dict[str, Optional[str]], path: str, component: Optional[str]) -> List[Result]:
    """Return what the environment of a component's program changes; ``None`` is a value that is not known."""
    found = []
    for name in sorted(environment):
        value = environment[name]
        status = _status(name, value)
        if status is None:
            continue
        code = {FAIL: "environment", UNKNOWN: "environment", NOT_APPLICABLE: "environment-noted"}[status]
        actual = "{}={}".format(name, value) if value is not None else "{} comes from elsewhere".format(name)
        advice = "" if status == NOT_APPLICABLE else _ADVICE.format(visible(name))
        expected = None if status == NOT_APPLICABLE else "no {}".format(name)
        found.append(
            result(subject + " (environment)", status, expected, actual, code, path, advice, component=component)
        )
    return found


def _status(name: str, value: Optional[str]) -> Optional[str]:
    """Return ``fail``, ``unknown``, ``not-applicable`` (noted) for a variable that matters; None for any other."""
    if name == "envFrom":
        return UNKNOWN
    if name not in (*_INJECT, *_OFF, *_CHANGE, "GODEBUG"):
        return None
    if value is None:
        return UNKNOWN
    if not value.strip():
        return None
    if name in _INJECT or value.strip().lower() in _OFF.get(name, ()):
        return FAIL
    if name == "GODEBUG":
        return FAIL if _SWITCHED_OFF.search(value) else NOT_APPLICABLE
    return UNKNOWN if name in _CHANGE else NOT_APPLICABLE


def preloaded(node: Node) -> List[Result]:
    """Return the libraries that /etc/ld.so.preload injects into every program of the node (ld.so(8))."""
    try:
        text = tree.read_small(node.root, _PRELOAD)
    except FileNotFoundError:
        return []
    except (OSError, tree.NotRegular):
        return [result(_PRELOAD, UNKNOWN, "no libraries", "unreadable", "preload", _PRELOAD, "Run it as root.")]
    libraries = re.sub(r"#.*", "", text).replace(":", " ").split()
    if not libraries:
        return []
    advice = "Empty it, start the node again, and find out who injects code into its programs."
    return [result(_PRELOAD, FAIL, "no libraries", " ".join(libraries), "preload", _PRELOAD, advice)]
