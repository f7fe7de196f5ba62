"""Credentials for the API server that may expire: files that change, exec plugins, OpenID Connect."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import urllib3

from ..environment import for_children
from ..errors import Incomplete
from ..model.documents import MalformedDocument, read_json
from ..trust.text import visible
from .kubeconfig import Connection, ExecPlugin, Oidc

#: The versions of an exec plugin's API, the preferred one first (KEP-541).
_EXEC_API = "client.authentication.k8s.io"
_EXEC_VERSIONS = tuple(f"{_EXEC_API}/{version}" for version in ("v1", "v1beta1", "v1alpha1"))
#: Seconds that a plugin may take; some open a browser.
_PLUGIN_SECONDS = 300
#: Seconds before its end from which a token is replaced, and for which a file's token is used.
_EARLY, _FILE_SECONDS = 30.0, 60.0
_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Credential:
    """What a request is sent with."""

    headers: Mapping[str, str]
    """HTTP headers."""
    certificate: tuple[bytes, bytes] | None = None
    """The client's certificate and private key (PEM)."""
    expires: float | None = None
    """Seconds since 1970; None where that is not known."""


class Credentials:
    """The credentials of a connection, renewed as they expire. May be used by several threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._current: Credential | None = None

    def current(self) -> Credential:
        """Return credentials that have not expired. Raises `Incomplete` where there are none to get."""
        with self._lock:
            expires = self._current.expires if self._current else 0.0
            if self._current is None or (expires is not None and time.time() > expires - _EARLY):
                self._current = self._renew()
            return self._current

    def refused(self, used: Credential) -> Credential:
        """Return other credentials than those that the server refused (401). Raises as `current`."""
        with self._lock:
            if self._current is used or self._current is None:
                self._current = self._renew()
            return self._current

    def _renew(self) -> Credential:
        asked = self._connection
        own = (asked.certificate, asked.key) if asked.certificate and asked.key else None
        if asked.token_file is not None:
            try:
                token = asked.token_file.read_text(encoding="ascii").strip()
            except (OSError, ValueError) as error:
                raise Incomplete(
                    f"The token in {asked.token_file} cannot be read.", "Check the file.", reason="credentials"
                ) from error
            return Credential(_bearer(token), own, time.time() + _FILE_SECONDS)
        if asked.token is not None:
            return Credential(_bearer(asked.token), own)
        if asked.basic is not None:
            return Credential(urllib3.make_headers(basic_auth=":".join(asked.basic)), own)
        if asked.plugin is not None:
            return _run_plugin(asked.plugin, asked)
        if asked.oidc is not None:
            return _refresh(asked.oidc, again=self._current is not None)
        return Credential({}, own)


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _run_plugin(plugin: ExecPlugin, connection: Connection) -> Credential:
    """Run an exec plugin and return the credentials that it prints (ExecCredential)."""
    if plugin.version not in _EXEC_VERSIONS:
        raise Incomplete(
            f"The exec plugin {visible(plugin.command)} uses {visible(plugin.version) or 'no known version'}.",
            f"Configure one of {', '.join(_EXEC_VERSIONS)}.",
            reason="credentials",
        )
    interactive = plugin.interactive and sys.stdin is not None and sys.stdin.isatty()
    spec: dict[str, Any] = {"interactive": interactive}
    if plugin.cluster_info:
        spec["cluster"] = {"server": connection.server, "insecure-skip-tls-verify": connection.insecure}
        if connection.authority:
            spec["cluster"]["certificate-authority-data"] = base64.b64encode(connection.authority).decode()
    information = {"apiVersion": plugin.version, "kind": "ExecCredential", "spec": spec}
    environment = {**for_children(), **plugin.environment, "KUBERNETES_EXEC_INFO": json.dumps(information)}
    try:
        done = subprocess.run(
            [plugin.command, *plugin.arguments],
            env=environment,
            stdin=None if interactive else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=_PLUGIN_SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        hint = visible(plugin.hint) or "Install it, or name another context."
        raise Incomplete(
            f"The exec plugin {visible(plugin.command)} is not installed.", hint, reason="credentials"
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Incomplete(
            f"The exec plugin {visible(plugin.command)} could not be run.", "Run it by hand.", reason="credentials"
        ) from error
    try:
        status = read_json(done.stdout[:_MAX_BYTES] if done.returncode == 0 else b"")["status"]
        token, certificate, key = (status.get(name) for name in ("token", "clientCertificateData", "clientKeyData"))
        expires = datetime.fromisoformat(status["expirationTimestamp"]) if status.get("expirationTimestamp") else None
    except (MalformedDocument, KeyError, TypeError, AttributeError, ValueError) as error:
        raise Incomplete(
            f"The exec plugin {visible(plugin.command)} printed no credentials (exit code {done.returncode}).",
            "Run it by hand; its messages are above.",
            reason="credentials",
        ) from error
    own = (certificate.encode(), key.encode()) if certificate and key else None
    end = expires.replace(tzinfo=expires.tzinfo or UTC).timestamp() if expires else None
    return Credential(_bearer(token) if token else {}, own, end)


def _refresh(identity: Oidc, again: bool) -> Credential:
    """Return an identity token: the one in the kubeconfig while it lasts, else a new one (OpenID Connect Core, 12)."""
    expires = _token_end(identity.id_token)
    if identity.id_token and expires is not None and expires - _EARLY > time.time() and not again:
        return Credential(_bearer(identity.id_token), None, expires)
    advice = "Sign in again, so that the kubeconfig has a new refresh token."
    if not identity.refresh_token:
        raise Incomplete(
            "The identity token in the kubeconfig has expired, and it has no refresh token.",
            advice,
            reason="credentials",
        )
    context = urllib3.util.ssl_.create_urllib3_context()
    if identity.authority:
        context.load_verify_locations(cadata=identity.authority.decode("ascii", "replace"))
    else:
        context.load_default_certs()
    form = {"grant_type": "refresh_token", "refresh_token": identity.refresh_token, "client_id": identity.client}
    form |= {"client_secret": identity.secret} if identity.secret else {}
    try:
        with urllib3.PoolManager(ssl_context=context, timeout=30, retries=2) as pool:
            known = pool.request("GET", identity.issuer.rstrip("/") + "/.well-known/openid-configuration")
            endpoint = str(read_json(known.data[:_MAX_BYTES])["token_endpoint"])
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = pool.request("POST", endpoint, body=urlencode(form), headers=kind)
            token = str(read_json(answer.data[:_MAX_BYTES])["id_token"])
    except (urllib3.exceptions.HTTPError, MalformedDocument, KeyError, TypeError) as error:
        raise Incomplete(
            f"{visible(identity.issuer)} issued no new identity token.", advice, reason="credentials"
        ) from error
    return Credential(_bearer(token), None, _token_end(token))


def _token_end(token: str) -> float | None:
    """Return when a JSON Web Token expires (RFC 7519, 4.1.4); None where it does not say."""
    try:
        payload = token.split(".")[1]
        end = read_json(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"]
        return float(end)
    except (IndexError, ValueError, KeyError, TypeError):
        return None
