"""Build ``dkp-fips-tool``: one file, a shell header followed by a zip of `fipsmanifest.node`, `fipsmanifest.trust`
and the trusted keys.

The header finds a Python of the operating system. The zip's entries are uncompressed, in a fixed order and without
modification times, so the same commit and keys give the same bytes on any machine.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import re
import tokenize
import zipfile
from dataclasses import dataclass
from pathlib import Path

from ..errors import Refused
from ..node.version import tool_version
from ..state import durable
from ..trust.store import PACKED_CERTIFICATES, TRUST_FILE, Trust, load_trust
from ..trust.text import utc_now

NAME = "dkp-fips-tool"
MAX_SIZE = 512 * 1024

_PACKAGE = Path(__file__).parents[1]
_PACKED = ("node", "trust")
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # the zip format's first day

# The distribution's programs precede those in PATH. Each must print that it is new enough: EL7's platform-python is
# Python 2.7, and the exit code of a broken interpreter could be mistaken for a verdict. A program that hangs is skipped
# after 20 s if coreutils' timeout is available.
_HEADER = """\
#!/bin/sh
# dkp-fips-tool {version}: validates that a node runs the FIPS builds that a signed manifest lists.
# This file is a shell script and a zip archive of Python source; `unzip -l` shows what is in it.
limit=; [ -x /usr/bin/timeout ] && limit='/usr/bin/timeout -s KILL 20'
for python in /usr/libexec/platform-python {fixed} /usr/bin/python3 python3 {named}; do
    command -v "$python" >/dev/null || continue
    {{ new=$($limit "$python" -I -S -B -c 'import sys; print(sys.version_info >= (3, 6))' </dev/null); }} 2>/dev/null
    [ "$new" = True ] && exec "$python" -I -S -B "$0" "$@"
done
echo 'dkp-fips-tool: no Python 3.6 or newer was found; install the package python3.' >&2
exit 69
"""

_MAIN = """\
import os
import signal
import sys

if sys.version_info < (3, 6):
    sys.stderr.write("dkp-fips-tool: this Python is too old; install the package python3 (3.6 or newer).\\n")
    sys.exit(69)


def stop(number, frame):
    # The first signal unwinds, so that nothing is left behind; who sends a second one does not want to wait for that.
    for one in STOPPING:
        signal.signal(one, lambda number, frame: os._exit(128 + number))
    raise KeyboardInterrupt(number)


STOPPING = [one for one in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM) if signal.getsignal(one) != signal.SIG_IGN]
try:
    for one in STOPPING:
        signal.signal(one, stop)
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
    packed = io.BytesIO(_header(version))
    # Appending makes zipfile count its offsets from the start of the file, header included.
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_STORED) as archive:
        for name, content in _entries(trust.carried()):
            entry = zipfile.ZipInfo(name, _EARLIEST)
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content)
    data = packed.getvalue()
    if len(data) > MAX_SIZE:
        raise Refused(f"The tool would have {len(data)} bytes; the limit is {MAX_SIZE}.", "Trust fewer keys.")
    if output is not None:
        durable.write(output, data, 0o755)
    return ToolFile(data, hashlib.sha256(data).hexdigest(), version)


def version_of(data: bytes) -> str | None:
    """Return the version in a tool's second line; None for another program."""
    found = re.match(rb"#!/bin/sh\n# dkp-fips-tool ([0-9A-Za-z.]{1,40}): ", data)
    return found[1].decode("ascii") if found else None


def _header(version: str) -> bytes:
    versions = [f"python3.{minor}" for minor in range(14, 5, -1)]
    fixed = " ".join(f"/usr/bin/{name}" for name in versions)
    return _HEADER.format(version=version, fixed=fixed, named=" ".join(versions)).encode("ascii")


def _entries(trust: Trust) -> list[tuple[str, bytes]]:
    packages = [path for name in _PACKED for path in sorted((_PACKAGE / name).rglob("*.py"))]
    sources = [_PACKAGE / "__init__.py", _PACKAGE / "errors.py", *packages]
    files = [(f"fipsmanifest/{path.relative_to(_PACKAGE).as_posix()}", without_comments(path)) for path in sources]
    held = sorted(certificate.packets for certificate in trust.certificates)
    return [
        ("__main__.py", _MAIN.encode("ascii")),
        *files,
        (f"fipsmanifest/trust/trusted/{TRUST_FILE}", _trust_document(trust)),
        (f"fipsmanifest/trust/trusted/{PACKED_CERTIFICATES}", b"".join(held)),
    ]


def without_comments(path: Path) -> bytes:
    """Return a module's source without docstrings, comments and blank lines, indented by single spaces.

    Continued lines are not indented at all. That is a quarter of it, left out to keep the tool small. All else is
    unchanged: `diff -wB` compares an unpacked module with the repository.
    """
    source = path.read_text(encoding="utf-8")
    dropped = _docstring_lines(source)
    indented: dict[int, str] = {}
    in_strings: set[int] = set()
    comments: dict[int, int] = {}
    depth, is_continued = 0, False
    for one in tokenize.generate_tokens(io.StringIO(source).readline):
        if one.type in (tokenize.INDENT, tokenize.DEDENT):
            depth += 1 if one.type == tokenize.INDENT else -1
        elif one.type == tokenize.NEWLINE:
            is_continued = False
        elif one.type == tokenize.COMMENT:
            comments[one.start[0]] = one.start[1]
        elif one.type not in (tokenize.NL, tokenize.ENDMARKER):
            indented.setdefault(one.start[0], "" if is_continued else " " * depth)
            in_strings.update(range(one.start[0] + 1, one.end[0] + 1))
            is_continued = True
    kept = []
    for number, line in enumerate(source.splitlines(keepends=True), 1):
        if number in comments:
            line = line[: comments[number]].rstrip(" ") + "\n"
        if number in in_strings and number not in dropped:
            kept.append(line)
        elif number in indented and number not in dropped:
            kept.append(indented[number] + line.lstrip(" "))
    return "".join(kept).encode("utf-8")


def _docstring_lines(source: str) -> set[int]:
    found: set[int] = set()
    for holder in ast.walk(ast.parse(source)):
        body = getattr(holder, "body", None)
        for statement in body if isinstance(body, list) and len(body) > 1 else []:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                found.update(range(statement.lineno, (statement.end_lineno or statement.lineno) + 1))
    return found


def _trust_document(trust: Trust) -> bytes:
    return (json.dumps(trust.document(), indent=1, sort_keys=True) + "\n").encode("ascii")
