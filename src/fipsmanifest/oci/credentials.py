"""Credentials for registries, found where docker and podman keep them (containers-auth.json(5), docker login)."""

from __future__ import annotations

import base64
import binascii
import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..environment import for_children
from ..errors import Incomplete
from ..model import documents

_log = logging.getLogger(__name__)

#: What ``docker login`` writes for Docker Hub, whose registry has another name than its references.
_DOCKER_HUB = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io")

#: Bytes of a file of credentials, and of a helper's answer.
_MAX_FILE = 1 << 20
#: What may follow the name of a registry: the root of its API, of either version.
_API_PATH = re.compile(r"/(?:v[12]/?)?$")
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_HELPER_SECONDS = 30

#: In place of a user's name: what follows is an identity token (docker-credential-helpers).
_TOKEN_USER = "<token>"  # noqa: S105 - a marker, no secret


@dataclass(frozen=True, slots=True)
class Credentials:
    """What to show to a registry."""

    username: str
    """The user; empty with an identity token."""
    password: str
    """The password; empty with an identity token."""
    identity_token: str = ""
    """An OAuth 2 refresh token in place of both."""

    @property
    def basic(self) -> str:
        """Return the value of an Authorization header (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()

    def __repr__(self) -> str:
        return "Credentials(...)"


def find(registry: str, repository: str, note: Callable[[str], object] = str) -> Credentials | None:
    """Return the credentials for ``repository`` at ``registry`` (``host`` or ``host:port``), None if there are none.

    The first file that knows the registry decides, and in it the longest name that matches. ``note`` is called with
    each credential helper that cannot be used. Raises `Incomplete` for a file that cannot be read or is not JSON.
    """
    for document in _documents():
        helpers, stored = _entry(document, "credHelpers"), _by_name(_entry(document, "auths"))
        for key in _keys(registry, repository):
            helper = helpers.get(key)
            found = _ask(helper, key, note) if isinstance(helper, str) else None
            found = found or _stored(stored, key)
            if found is not None:
                return found
        store = document.get("credsStore")
        if isinstance(store, str) and store:
            key = _DOCKER_HUB[0] if registry in _DOCKER_HUB else registry
            found = _ask(store, key, note)
            if found is not None:
                return found
    return None


def _documents() -> Iterator[dict[str, Any]]:
    """Yield what holds credentials: the file that the user names, docker's variable, podman's files, docker's files."""
    chosen = os.environ.get("REGISTRY_AUTH_FILE")
    if chosen:
        yield _load(Path(chosen))
    # The document itself, as docker's CLI and GitLab's runners take it.
    given = os.environ.get("DOCKER_AUTH_CONFIG")
    if given:
        yield _parse(given, "DOCKER_AUTH_CONFIG")
    if chosen:
        return
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    home = Path(os.environ.get("HOME") or "/")
    candidates = [
        Path(runtime) / "containers/auth.json" if runtime else Path(f"/run/containers/{os.getuid()}/auth.json"),
        Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "containers/auth.json",
        Path(os.environ.get("DOCKER_CONFIG") or home / ".docker") / "config.json",
    ]
    yield from (_load(path) for path in candidates if path.is_file())
    # What docker wrote before version 1.7: the entries alone.
    legacy = home / ".dockercfg"
    if legacy.is_file():
        yield {"auths": _load(legacy)}


def _load(path: Path) -> dict[str, Any]:
    _log.debug("reading credentials from %s", path)
    try:
        with path.open("rb") as file:
            return _parse(file.read(_MAX_FILE), str(path))
    except OSError as error:
        raise Incomplete(
            f"{path} cannot be read: {error.strerror}.", "Give access to it, or log in again.", reason="not-read"
        ) from error


def _parse(data: bytes | str, name: str) -> dict[str, Any]:
    try:
        document = documents.read_json(data)
    except documents.MalformedDocument as error:
        raise Incomplete(f"{name} is not JSON.", "Log in to the registry again.", reason="credentials") from error
    return document if isinstance(document, dict) else {}


def _entry(document: dict[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def _by_name(auths: dict[str, Any]) -> dict[str, Any]:
    """Return entries by the plain name of their registry or repository; of two for the same, that with the plain name.

    docker wrote URLs (``https://registry.example/v1/``), and templates of CI systems still do. As docker and podman
    read them, the path of a URL says nothing; a name without a scheme may be that of a repository, as podman writes.
    """
    plain: dict[str, Any] = {}
    for key, entry in auths.items():
        scheme, separator, rest = key.partition("://")
        name = rest.partition("/")[0] if separator and scheme in ("http", "https") else _API_PATH.sub("", key)
        if name == key or name not in plain:
            plain[name] = entry
    return plain


def _keys(registry: str, repository: str) -> Iterator[str]:
    """Yield the names that credentials may be stored under, the most specific first."""
    parts = repository.split("/")
    hub = registry in _DOCKER_HUB
    for end in range(len(parts), 0, -1):
        yield "/".join(["docker.io" if hub else registry, *parts[:end]])
    yield from _DOCKER_HUB if hub else (registry,)


def _stored(auths: dict[str, Any], key: str) -> Credentials | None:
    entry = auths.get(key)
    if not isinstance(entry, dict):
        return None
    token = entry.get("identitytoken")
    if isinstance(token, str) and token:
        return Credentials("", "", token)
    username, password = entry.get("username"), entry.get("password")
    if isinstance(entry.get("auth"), str) and entry["auth"]:
        try:
            username, colon, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
        except (binascii.Error, ValueError) as error:
            raise Incomplete(
                f"The credentials for {key} are damaged.", "Log in to the registry again.", reason="credentials"
            ) from error
        if not colon:
            return None
        password = password.rstrip("\0")
    if isinstance(username, str) and isinstance(password, str) and username:
        return Credentials(username, password)
    return None


def _ask(helper: str, key: str, note: Callable[[str], object]) -> Credentials | None:
    """Run ``docker-credential-HELPER get``; docker's rules for what it reads and writes."""
    program = shutil.which(f"docker-credential-{helper}") if _HELPER.fullmatch(helper) else None
    if program is None:
        note(f"docker-credential-{helper} is not installed; going on without credentials for {key}")
        return None
    try:
        # A file and not a pipe: what the helper starts may keep a pipe open, and writes no more than is read here.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                [program, "get"],
                input=key.encode(),
                env=for_children(),
                stdout=output,
                stderr=subprocess.DEVNULL,
                timeout=_HELPER_SECONDS,
                check=False,
            )
            output.seek(0)
            document = documents.read_json(output.read(_MAX_FILE)) if done.returncode == 0 else None
    except (OSError, subprocess.TimeoutExpired, ValueError):
        document = None
    if not isinstance(document, dict):
        note(f"docker-credential-{helper} gave no credentials for {key}")
        return None
    username, secret = document.get("Username"), document.get("Secret")
    if not isinstance(username, str) or not isinstance(secret, str):
        return None
    return Credentials("", "", secret) if username == _TOKEN_USER else Credentials(username, secret)
