"""Start a project: a definition from the template or from another one, keys, a workflow, options, a .gitignore."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ..errors import FipsManifestError, UsageError
from ..model import definition_file
from ..model.lint import load_checked, warnings
from ..model.version import version_key
from ..state import durable
from ..trust.store import TRUST_FILE

_TEMPLATES = Path(__file__).parent / "templates"
#: The first version whose kubeadm takes images from registry.k8s.io (kubernetes/kubernetes, CHANGELOG-1.25).
_SINCE_OWN_REGISTRY = "v1.25.0"
_OLD_REGISTRY = "k8s.gcr.io"  # frozen since: it has no image of these versions

SCHEMA_FILE = "definition.schema.json"

#: No key is trusted yet; `keys init` and `keys add` change that.
_NO_KEYS = json.dumps({"schema": "fipsmanifest/trust/v1", "keys": []}, indent=2) + "\n"

#: Where the next step stores the backup of the secret key, which must not be committed.
BACKUP = "keys-backup"
_IGNORED = ("/work/", "/bucket/", f"/{BACKUP}/")
_GITIGNORE = ".gitignore"
_OPTIONS = """\
# Options that this project repeats; `fipsmanifest config show` lists what is in force. The command line and the
# environment (FIPSMANIFEST_TO and so on) come first. Verbs that verify and inspect do not read this file.
definitions = "releases"
keys = "keys"
# With this one, `release` publishes there.
# to = "s3://bucket"
# mirror = ["https://packages.example/=https://mirror.internal/packages/"]
"""


@dataclass(frozen=True, slots=True)
class Project:
    """What was made."""

    definition: Path
    """The new definition."""
    written: tuple[Path, ...]
    """The files that were written, the definition included."""
    kept: tuple[Path, ...]
    """Files that existed and are unchanged."""
    to_check: tuple[str, ...]
    """What the definition's author has to check, one sentence each."""


def from_template(kubernetes: str, el: int, now: datetime) -> str:
    """Return the template's definition for a version and EL; ``now`` is UTC."""
    return _filled(_template("definition.toml"), kubernetes, el, now)


def from_definition(source: Path, kubernetes: str, now: datetime) -> str:
    """Return an existing definition rewritten for another version: serial 1, a new date, and no reason or end.

    Kubernetes' own images come from the registry of that version.

    Raises `UsageError` if ``source`` is not a valid definition, or of the same version.
    """
    old = load_checked(source)
    if old.kubernetes == kubernetes:
        raise UsageError(f"{source} is of {kubernetes} already.", "Name another version with --kubernetes.")
    text = source.read_text("utf-8")
    plain = old.kubernetes.removeprefix("v")
    # Not within a longer version: 1.21.3 is no part of 11.21.30.
    text = re.sub(rf"(?<![0-9.]){re.escape(plain)}(?![0-9])", kubernetes.removeprefix("v"), text)
    text = text.replace(f'"{_OLD_REGISTRY}/', f'"{_community_registry(kubernetes)}/')
    text = re.sub(r"(?m)^serial\s*=.*$", "serial = 1", text, count=1)
    text = re.sub(r"(?m)^created\s*=.*$", f"created = {_date(now)}", text, count=1)
    head, separator, rest = text.partition("\n[")
    head = re.sub(r"(?m)^(?:reason|expires|#:schema)\b.*\n", "", head + "\n").removesuffix("\n")
    return head + separator + rest


def write(root: Path, text: str, kubernetes: str, name: str, tool_version: str) -> Project:
    """Write the project below ``root``; ``text`` is the definition.

    Raises `UsageError` if the definition exists, or is not valid; other files that exist are kept.
    """
    definition = root / "releases" / kubernetes / f"{name}.toml"
    if definition.exists() or definition.is_symlink():
        raise UsageError(f"{definition} exists.", "Edit it, or choose another version or EL.")
    schema = json.dumps(definition_file.json_schema(), indent=2, sort_keys=True) + "\n"
    others = {
        root / "releases" / SCHEMA_FILE: schema,
        root / "fipsmanifest.toml": _OPTIONS,
        root / "keys" / TRUST_FILE: _NO_KEYS,
        root / _GITIGNORE: "".join(f"{line}\n" for line in _IGNORED),
        root / ".github" / "workflows" / "release.yml": _template("release.yml").replace("@TOOL@", tool_version),
    }
    durable.write(definition, f"#:schema ../{SCHEMA_FILE}\n{text}".encode())
    try:
        load_checked(definition)
    except UsageError:
        definition.unlink()
        raise
    written, kept = [definition], []
    try:
        for path, content in others.items():
            if path.exists() or path.is_symlink():
                kept.append(path)
            else:
                durable.write(path, content.encode())
                written.append(path)
    except FipsManifestError:
        # Otherwise the same command would be refused from then on, and never write the rest.
        definition.unlink()
        raise
    return Project(definition, tuple(written), tuple(kept), (*warnings(definition, []), *_not_ignored(root)))


def _not_ignored(root: Path) -> Iterator[str]:
    """Yield what a .gitignore that was kept lacks."""
    try:
        lines = (root / _GITIGNORE).read_text("utf-8", errors="replace").splitlines()
    except OSError:  # a link that leads nowhere, for instance
        lines = []
    ignored = {line.strip().strip("/") for line in lines}
    missing = [line for line in _IGNORED if line.strip("/") not in ignored]
    if missing:
        yield f"{_GITIGNORE} was kept: add {', '.join(missing)} to it, so that none of it is committed."


def shipped_definitions() -> Path:
    """Return the directory of the definitions that this package has, ordered as in a project."""
    return _TEMPLATES / "releases"


def _template(name: str) -> str:
    return (_TEMPLATES / name).read_text("utf-8")


def _date(now: datetime) -> str:
    # With its time of day: two releases that begin on one day have different dates, as `definitions lint` expects.
    return f"{now:%Y-%m-%dT%H:%M:%SZ}"


def _community_registry(kubernetes: str) -> str:
    return "registry.k8s.io" if version_key(kubernetes) >= version_key(_SINCE_OWN_REGISTRY) else _OLD_REGISTRY


def _filled(text: str, kubernetes: str, el: int, now: datetime) -> str:
    values = {
        "KUBERNETES": kubernetes,
        "PLAIN": kubernetes.removeprefix("v"),
        "EL": str(el),
        "CREATED": _date(now),
        "COMMUNITY": _community_registry(kubernetes),
    }
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text
