"""The signals of FIPS mode: the kernel's own word, its command line, and the system's crypto policy.

Signals are what a system says of itself. They do not certify anything.
"""

from typing import List, Sequence

from .. import tree
from ..result import FAIL, NOT_APPLICABLE, PASS, UNKNOWN, Listed, Node, Result
from ..text import visible
from .platform import os_release

ID = "fips-mode"

_KERNEL = "/proc/sys/crypto/fips_enabled"
_COMMAND_LINE = "/proc/cmdline"
_POLICY = "/etc/crypto-policies/state/current"
_ADVICE = "Put the node into FIPS mode as its vendor says, and start it again."


def check(node: Node, manifests: Sequence[Listed]) -> List[Result]:
    """Read each signal; raises nothing."""
    if not any((listed.manifest.get("node") or {}).get("fips_mode", True) for listed in manifests):
        return [Result(ID, "kernel", NOT_APPLICABLE, actual="not required by the manifest")]
    results = [_kernel(node), _command_line(node), _policy(node)]
    if node.live and results[0].status == PASS and tree.HASH_PROVIDER != "openssl":
        advice = "Use the distribution's own Python, which hashes with the system's OpenSSL."
        results.append(Result(ID, "hash-provider", FAIL, "openssl", tree.HASH_PROVIDER, advice=advice))
    return results


def _kernel(node: Node) -> Result:
    if not node.live:
        return Result(ID, "kernel", NOT_APPLICABLE, actual="at rest")
    try:
        value = tree.read_small("/", _KERNEL).strip()
    except (OSError, tree.NotRegular):
        return Result(ID, "kernel", UNKNOWN, "1", "missing", {"path": _KERNEL}, _ADVICE)
    return Result(
        ID, "kernel", PASS if value == "1" else FAIL, "1", visible(value, 20), {"path": _KERNEL}, _fix(value == "1")
    )


def _command_line(node: Node) -> Result:
    if not node.live:
        return Result(ID, "kernel-command-line", NOT_APPLICABLE, actual="at rest")
    try:
        words = tree.read_small("/", _COMMAND_LINE).split()
    except (OSError, tree.NotRegular):
        return Result(ID, "kernel-command-line", UNKNOWN, "fips=1", "unreadable", {"path": _COMMAND_LINE}, _ADVICE)
    found = [word for word in words if word.startswith("fips=")]
    good = found[-1:] == ["fips=1"]
    actual = visible(" ".join(found) or "no fips=", 40)
    return Result(ID, "kernel-command-line", PASS if good else FAIL, "fips=1", actual, {}, _fix(good))


def _policy(node: Node) -> Result:
    subject = "crypto-policy"
    release = os_release(node.root) or {}
    if release.get("VERSION_ID", "").split(".")[0] == "7":
        return Result(ID, subject, NOT_APPLICABLE, actual="EL7 has no crypto policies")
    try:
        policy = tree.read_small(node.root, _POLICY).strip()
    except (OSError, tree.NotRegular):
        return node.unless_live(ID, subject, "no crypto policy")
    good = policy == "FIPS" or policy.startswith("FIPS:")
    advice = "" if good else "Set it: update-crypto-policies --set FIPS"
    return Result(ID, subject, PASS if good else FAIL, "FIPS", visible(policy, 60), {"path": _POLICY}, advice)


def _fix(good: bool) -> str:
    return "" if good else _ADVICE
