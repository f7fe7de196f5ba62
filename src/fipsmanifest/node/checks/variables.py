"""Environment variables that change which code or which cryptography a program uses.

Rules: ld.so(8); Go's runtime GODEBUG and crypto/fips140; openssl-env(7); the golang-fips toolchain of Enterprise Linux.
"""

import re
from typing import List, Optional

from ..result import FAIL, NOT_APPLICABLE, UNKNOWN

GODEBUG = "GODEBUG"
_SWITCHED_OFF = re.compile(r"(?:\A|,)\s*fips140\s*=\s*(?!(?:on|only|debug)\s*(?:,|\Z))")
_INJECT = ("LD_PRELOAD", "LD_AUDIT")
_OFF = {
    "GOLANG_FIPS": ("0", "false", "no", "off"),
    "OPENSSL_FORCE_FIPS_MODE": ("0",),
    "GOFIPS": ("0", "false"),
    "GOFIPS140": ("off",),
}
_CHANGE = (
    *("LD_LIBRARY_PATH", "GLIBC_TUNABLES", "GCONV_PATH"),
    *("OPENSSL_CONF", "OPENSSL_CONF_INCLUDE", "OPENSSL_MODULES", "OPENSSL_ENGINES"),
)
# With these systemd looks for units and generators elsewhere (docs/ENVIRONMENT.md of systemd).
_OF_SYSTEMD = re.compile(r"SYSTEMD_(?:[A-Z]+_)*PATH\Z")


def status_of(name: str, value: Optional[str]) -> Optional[str]:
    """Return ``fail``, ``unknown``, ``not-applicable`` (noted) for a variable that matters; None for any other."""
    if name == "envFrom":
        return UNKNOWN
    if _OF_SYSTEMD.match(name):
        return UNKNOWN
    if name not in (*_INJECT, *_OFF, *_CHANGE, GODEBUG):
        return None
    if value is None:
        return UNKNOWN
    # Between the names of libraries are blanks and colons (ld.so(8)).
    if not value.strip(" :" if name in _INJECT else " "):
        return None
    if name in _INJECT or value.strip().lower() in _OFF.get(name, ()):
        return FAIL
    if name == GODEBUG:
        return FAIL if switches_fips_off(value) else NOT_APPLICABLE
    return UNKNOWN if name in _CHANGE else NOT_APPLICABLE


def named_in(text: str) -> List[str]:
    """Return the variables that a script names and that change which code a program uses."""
    return sorted({name for name in (*_INJECT, *_CHANGE, GODEBUG) if re.search(r"\b{}\b".format(name), text)})


def switches_fips_off(godebug: str) -> bool:
    """Return whether a value of GODEBUG has a setting of ``fips140`` that may turn FIPS mode off, or that Go refuses.

    The mode is on for ``on``, ``only`` and ``debug``, and off for an empty value (crypto/internal/fips140, ``init``).
    """
    return _SWITCHED_OFF.search(godebug) is not None


def fips140(godebug: str) -> Optional[str]:
    """Return the value of ``fips140`` in a value of GODEBUG; None where it has none.

    Of several the last one counts (internal/godebug, ``parse``).
    """
    found = re.findall(r"(?:\A|,)fips140=([^,#]*)", godebug)
    return found[-1] if found else None
