"""Build ``dkp-fips-tool``: one file, a shell header followed by a zip of `fipsmanifest.node`, `fipsmanifest.trust`
and the trusted keys.

The header finds a Python of the operating system. The zip's entries are in a fixed order, without modification times
and compressed by code of this package, so the same commit and keys give the same bytes on any machine.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import Refused
from ..node.version import tool_version
from ..state import durable
from ..trust.keys import Trust
from ..trust.store import PACKED_CERTIFICATES, TRUST_FILE, load_trust
from ..trust.text import utc_now
from .zip_writer import Entry, append_zip

_log = logging.getLogger(__name__)

NAME = "dkp-fips-tool"
MAX_SIZE = 512 * 1024

_PACKAGE = Path(__file__).parents[1]
_PACKED = ("node", "trust")

# The distribution's programs precede those in PATH. Each must print that it is new enough: EL7's platform-python is
# Python 2.7, and the exit code of a broken interpreter could be mistaken for a verdict. Without zlib it could not read
# the archive. A program that hangs is skipped after 20 s if coreutils' timeout is available.
_HEADER = """\
#!/bin/sh
# dkp-fips-tool {version}: validates that a node runs the FIPS builds that a signed manifest lists.
# This file is a shell script and a zip archive of Python source: `unzip -l` lists it, `unzip -p` shows it.
ask='import sys, zlib; print(sys.version_info >= (3, 6))'
limit=; [ -x /usr/bin/timeout ] && limit='/usr/bin/timeout -s KILL 20'
for python in /usr/libexec/platform-python {fixed} /usr/bin/python3 python3 {named}; do
    command -v "$python" >/dev/null || continue
    {{ new=$($limit "$python" -I -S -B -c "$ask" </dev/null); }} 2>/dev/null
    [ "$new" = True ] && exec "$python" -I -S -B "$0" "$@"
done
echo 'dkp-fips-tool: no Python 3.6 or newer with zlib was found; install the package python3.' >&2
exit 69
"""

_MAIN = """\
import os
import signal
import sys
import zipimport

if sys.version_info < (3, 6):
    sys.stderr.write("dkp-fips-tool: this Python is too old; install the package python3 (3.6 or newer).\\n")
    sys.exit(69)
try:
    import zlib
except ImportError:
    sys.stderr.write("dkp-fips-tool: this Python has no zlib; install the package python3, or name another Python.\\n")
    sys.exit(69)


class Importer(zipimport.zipimporter):
    # The base class compiles a module to name its file, and once more to run it.
    def get_filename(self, name):
        place = name.replace(".", "/") + ("/__init__.py" if self.is_package(name) else ".py")
        return os.path.join(self.archive, place)


def stop(number, frame):
    # The first signal unwinds, so that nothing is left behind; who sends a second one does not want to wait for that.
    for one in STOPPING:
        signal.signal(one, lambda number, frame: os._exit(128 + number))
    raise KeyboardInterrupt(number)


STOPPING = [one for one in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM) if signal.getsignal(one) != signal.SIG_IGN]
try:
    for one in STOPPING:
        signal.signal(one, stop)
    sys.path_hooks.insert(0, Importer)
    sys.path_importer_cache.clear()
    from fipsmanifest.node.main import main

    code = main()
except KeyboardInterrupt as interrupt:
    code = 128 + (interrupt.args or (signal.SIGINT,))[0]
sys.exit(code)
"""


@dataclass(frozen=True, slots=True)
class ToolFile:
    """The single-file node tool."""

    data: bytes
    """The file itself."""
    sha256: str
    """Its digest, hex."""
    version: str
    """The version that it reports: the package's version, and the edition of its keys."""


def build_tool(trust_directory: Path, output: Path | None = None) -> ToolFile:
    """Build the node tool with the manifest and tool keys of a trust directory, and write it to ``output`` if given.

    Raises `Refused` if no manifest key is active, since such a tool could trust nothing; and as `load_trust` does.
    """
    no_key_yet = trust_directory.is_dir() and not (trust_directory / TRUST_FILE).exists()
    trust = Trust((), (), str(trust_directory)) if no_key_yet else load_trust(str(trust_directory))
    now = utc_now()
    if not any(
        key.role == "manifest" and key.status == "active" and (key.valid_to is None or key.valid_to > now)
        for key in trust.keys
    ):
        raise Refused(
            f"{trust_directory} has no manifest key in force, so the tool could trust no manifest.",
            "Make one with `fipsmanifest keys init`, or add one with `fipsmanifest keys add`.",
            reason="trust-directory",
        )
    version = tool_version(trust.edition)
    data = append_zip(_header(version), _entries(trust.carried()))
    if len(data) > MAX_SIZE:
        raise Refused(f"The tool would have {len(data)} bytes; the limit is {MAX_SIZE}.", "Trust fewer keys.")
    if output is not None:
        durable.write(output, data, 0o755)
    made = ToolFile(data, hashlib.sha256(data).hexdigest(), version)
    _log.debug("built %s %s: %d bytes, SHA-256 %s", NAME, version, len(data), made.sha256)
    return made


def version_of(data: bytes) -> str | None:
    """Return the version in a tool's second line; None for another program."""
    found = re.match(rb"#!/bin/sh\n# dkp-fips-tool ([0-9A-Za-z.]{1,40}): ", data)
    return found[1].decode("ascii") if found else None


def _header(version: str) -> bytes:
    versions = [f"python3.{minor}" for minor in range(14, 5, -1)]
    fixed = " ".join(f"/usr/bin/{name}" for name in versions)
    return _HEADER.format(version=version, fixed=fixed, named=" ".join(versions)).encode("ascii")


def _entries(trust: Trust) -> list[Entry]:
    packages = [path for name in _PACKED for path in sorted((_PACKAGE / name).rglob("*.py"))]
    sources = [_PACKAGE / "__init__.py", _PACKAGE / "errors.py", *packages]
    held = sorted(certificate.packets for certificate in trust.certificates)
    return [
        # Stored, so that it can say that this Python lacks zlib.
        Entry("__main__.py", _MAIN.encode("ascii"), compressed=False),
        *(Entry(f"fipsmanifest/{path.relative_to(_PACKAGE).as_posix()}", path.read_bytes()) for path in sources),
        Entry(f"fipsmanifest/trust/trusted/{TRUST_FILE}", _trust_document(trust)),
        Entry(f"fipsmanifest/trust/trusted/{PACKED_CERTIFICATES}", b"".join(held)),
    ]


def _trust_document(trust: Trust) -> bytes:
    return (json.dumps(trust.document(), indent=1, sort_keys=True) + "\n").encode("ascii")
