"""The signed bytes as a manifest, and the checks of what it is bound to.

The signature shows who wrote the bytes. This module checks that they are unambiguous JSON, a manifest, for the
Kubernetes version, EL and serial that were requested, and not expired.
"""

from datetime import datetime
from typing import Any, Dict, List, NamedTuple, NoReturn, Optional, Sequence, Tuple

from ..errors import NotTrusted
from . import strictjson
from .text import read_time, utc_now, visible, write_time

SCHEMA = "fipsmanifest/v1"
MAX_BYTES = 16 * 1024 * 1024
"""The most bytes of a signed manifest."""


class Bindings(NamedTuple):
    """What the reader of a manifest requests; None for any value."""

    kubernetes: Optional[str] = None
    """``v1.21.3``, with or without the ``v``."""
    el: Optional[int] = None
    """Enterprise Linux major version."""
    min_serial: Optional[int] = None
    """The lowest serial that is accepted; a lower one is a rollback."""
    allow_expired: bool = False
    """Whether an expired manifest causes a warning instead of an error."""
    name: Optional[str] = None
    """The manifest's name among those of its version: ``rhel8``."""


def read_manifest(payload: bytes) -> Dict[str, Any]:
    """Read a manifest from the bytes that were signed.

    Raises `NotTrusted` for JSON with duplicate keys, NaN, fractions, or too large numbers or depth, and for a document
    that is not a manifest of version 1, or lacks fields that readers need.
    """
    document = parse_json(payload)
    schema = document.get("schema")
    if schema != SCHEMA:
        raise NotTrusted(
            "The signed document is not a manifest: its schema is {}, not {}.".format(visible(repr(schema)), SCHEMA),
            "Get the manifest, or a newer tool for a newer schema.",
            reason="wrong-document",
        )
    for name, kind in _REQUIRED:
        if not isinstance(document.get(name), kind) or isinstance(document.get(name), bool):
            raise _malformed("{} is missing or of the wrong type".format(name))
    if document["serial"] < 1:
        raise _malformed("its serial is not positive")
    for name, kind in _OPTIONAL:
        if document.get(name) is not None and not isinstance(document[name], kind):
            raise _malformed("{} is of the wrong type".format(name))
    _check_shapes(document)
    return document


def _check_shapes(document: Dict[str, Any]) -> None:
    """Raise `NotTrusted` for entries whose fields are not of the types that readers expect."""
    node = document.get("node") or {}
    _check_entries("files", document["files"], _FILE_TEXT, required=("path",))
    _check_entries("images", document.get("images") or [], ("reference", "component", "index"))
    for image in document.get("images") or []:
        platforms = _list_in(image, "platforms")
        _check_entries("an image's platforms", platforms, ("architecture", "manifest", "config"))
        for platform in platforms:
            for name in ("layers", "diff_ids"):
                _check_texts("an image's {}".format(name), _list_in(platform, name))
            _check_entries("an image's files", _list_in(platform, "files"), _FILE_TEXT, required=("path",))
    systems = _list_in(node, "operating_systems")
    _check_entries("operating_systems", systems, ("id",))
    for system in systems:
        _check_texts("an operating system's versions", _list_in(system, "versions"))
    roles = node.get("roles") or {}
    if not isinstance(roles, dict):
        raise _malformed("roles is not an object")
    for role in roles:
        _check_texts("the components of a role", _list_in(roles, role))
    _check_services(_list_in(node, "services"))
    if not isinstance(node.get("fips_mode", True), bool):
        raise _malformed("fips_mode is neither true nor false")
    _check_entries("components", document.get("components") or [], _COMPONENT_TEXT, required=("name", "verdict"))
    _check_entries("tool", [document.get("tool") or {}], ("version", "sha256"))


def _check_services(services: List[Any]) -> None:
    """Raise `NotTrusted` for services that cannot be checked: one that is skipped would pass."""
    _check_entries("services", services, ("name", "preferred"), required=("name",))
    for service in services:
        port = service.get("port")
        if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536:
            raise _malformed("a service's port is not a number from 1 to 65535")
        for name in ("roles", "tls_versions", "cipher_suites"):
            _check_texts("a service's {}".format(name), _list_in(service, name))


def _list_in(parent: Dict[str, Any], name: str) -> List[Any]:
    value = parent.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise _malformed("{} is not a list".format(visible(name)))
    return value


def _check_texts(what: str, values: List[Any]) -> None:
    if not all(isinstance(value, str) for value in values):
        raise _malformed("{} are not all text".format(what))


def _check_entries(what: str, entries: List[Any], texts: Sequence[str], required: Sequence[str] = ()) -> None:
    for entry in entries:
        if not isinstance(entry, dict):
            raise _malformed("an entry of {} is not an object".format(what))
        # All fields are checked at once, and one by one only if that fails: there are thousands of entries.
        if not _TEXT_OR_NONE.issuperset(map(type, map(entry.get, texts))) or not all(map(entry.get, required)):
            _refuse_text(what, entry, texts, required)
        if type(entry.get("size", 0)) is not int:
            raise _malformed("size in {} is not a number".format(what))


def _refuse_text(what: str, entry: Dict[str, Any], texts: Sequence[str], required: Sequence[str]) -> NoReturn:
    for name in texts:
        value = entry.get(name)
        if not isinstance(value, str) and (value is not None or name in required):
            raise _malformed("{} in {} is not text".format(name, what))
    raise _malformed("{} in {} is empty".format(next(name for name in required if not entry[name]), what))


_TEXT_OR_NONE = frozenset((str, type(None)))
_FILE_TEXT = ("path", "type", "role", "sha256", "mode", "target", "component", "architecture")
_COMPONENT_TEXT = ("name", "architecture", "requirement", "reason", "verdict")
_REQUIRED: Tuple[Tuple[str, type], ...] = (("kubernetes", str), ("el", int), ("serial", int), ("files", list))
_OPTIONAL: Tuple[Tuple[str, type], ...] = (
    ("images", list),
    ("components", list),
    ("node", dict),
    ("tool", dict),
    ("expires", str),
    ("created", str),
    ("name", str),
    ("reason", str),
    ("build_metadata", str),
)


def check_bindings(
    manifest: Dict[str, Any],
    kubernetes: Optional[str] = None,
    el: Optional[int] = None,
    min_serial: Optional[int] = None,
    allow_expired: bool = False,
    name: Optional[str] = None,
    now: Optional[datetime] = None,
) -> List[str]:
    """Compare a manifest with the request and the current time; return warnings. Raises `NotTrusted`."""
    if kubernetes is not None and plain_version(manifest["kubernetes"]) != plain_version(kubernetes):
        raise _bound("Kubernetes {}, not {}".format(visible(manifest["kubernetes"]), visible(kubernetes)))
    if el is not None and manifest["el"] != el:
        raise _bound("EL{}, not EL{}".format(manifest["el"], el))
    if name is not None and name_of(manifest) != name:
        error = _bound("{}, not {}".format(visible(name_of(manifest)), visible(name)))
        error.advice += " If you want this one, use --name {}.".format(visible(name_of(manifest)))
        raise error
    if min_serial is not None and manifest["serial"] < min_serial:
        raise NotTrusted(
            "The manifest has serial {}, which is older than serial {}.".format(manifest["serial"], min_serial),
            "Get the newest manifest of this release.",
            reason="rolled-back",
        )
    if manifest.get("expires") is None:
        return []
    expires = read_time(manifest["expires"])
    if expires is None:
        raise _malformed("expires is not a time like 2026-11-23T10:00:00Z")
    if (now or utc_now()) < expires:
        return []
    sentence = "The manifest expired on {}.".format(write_time(expires))
    if not allow_expired:
        raise NotTrusted(sentence, "Get the newest manifest of this release, or use --allow-expired.", reason="expired")
    return [sentence]


def plain_version(kubernetes: str) -> str:
    """Return a Kubernetes version without its leading ``v``, which users may omit."""
    return kubernetes[1:] if kubernetes.startswith("v") else kubernetes


def name_of(manifest: Dict[str, Any]) -> str:
    """Return a manifest's name; the first manifests had no name, and it is that of their EL."""
    return str(manifest.get("name") or "rhel{}".format(manifest["el"]))


def parse_json(payload: bytes) -> Dict[str, Any]:
    """Read one unambiguous JSON object. Raises `NotTrusted`."""
    return strictjson.parse_object(payload, _malformed)


def _malformed(reason: str) -> NotTrusted:
    return NotTrusted(
        "The signed manifest is malformed: {}.".format(reason),
        "Get the manifest again from its publisher.",
        reason="malformed",
    )


def _bound(reason: str) -> NotTrusted:
    return NotTrusted(
        "The manifest is for {}.".format(reason),
        "Get the manifest of the release that the machine runs.",
        reason="wrong-release",
    )
