"""Where a cluster is and who asks: kubeconfig files, and the service account of a pod.

The format is that of kubectl (``client.config.k8s.io/v1``, "Organizing Cluster Access Using kubeconfig Files"): files
of ``KUBECONFIG`` are merged, and the first value of a name wins.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from ..errors import UsageError

#: Bytes of one file; one of a thousand clusters has about 5 MB.
MAX_BYTES = 32 << 20
#: Where a kubelet mounts a pod's credentials, and which names its environment has for the API server.
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_HOST, _PORT = "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"


@dataclass(frozen=True, slots=True)
class ExecPlugin:
    """A program that prints credentials (``client.authentication.k8s.io``)."""

    command: str
    """The program; a relative path with a slash is below the kubeconfig file's directory."""
    arguments: tuple[str, ...]
    """Its arguments."""
    environment: Mapping[str, str]
    """Variables beside this process's own."""
    version: str
    """The version of the API that it speaks."""
    interactive: bool
    """Whether it may read from the terminal."""
    cluster_info: bool
    """Whether it is given the cluster."""
    hint: str
    """What to do where it is not installed."""


@dataclass(frozen=True, slots=True)
class Oidc:
    """An OpenID Connect identity with its refresh token (``auth-provider: oidc``, kubectl before 1.26)."""

    issuer: str
    """The issuer's address."""
    client: str
    """The client's identifier."""
    secret: str = field(repr=False)
    """The client's secret; empty where it has none."""
    id_token: str = field(repr=False)
    """The last identity token."""
    refresh_token: str = field(repr=False)
    """What a new identity token is requested with."""
    authority: bytes | None = None
    """Certificates (PEM) of the issuer's authority; None for the system's."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One cluster, and who asks it."""

    server: str
    """The API server's address."""
    name: str
    """The context's name, or ``in-cluster``."""
    authority: bytes | None = None
    """Certificates (PEM) of the server's authority; None for the system's."""
    insecure: bool = False
    """Whether the server's certificate is not checked."""
    server_name: str | None = None
    """The name in the server's certificate, where it is not the address."""
    proxy: str | None = None
    """The proxy's address; None for that of the environment."""
    certificate: bytes | None = None
    """The client's certificate (PEM)."""
    key: bytes | None = field(default=None, repr=False)
    """The client's private key (PEM)."""
    token: str | None = field(default=None, repr=False)
    """A bearer token."""
    token_file: Path | None = None
    """A file with a bearer token, which may change."""
    basic: tuple[str, str] | None = field(default=None, repr=False)
    """User name and password."""
    plugin: ExecPlugin | None = None
    """What prints credentials."""
    oidc: Oidc | None = None
    """An OpenID Connect identity."""


def load_connection(path: Path | None, context: str | None, environment: Mapping[str, str]) -> Connection:
    """Return the connection of a context, the current one where ``context`` is None.

    It is looked up in ``path``, else in ``KUBECONFIG``, else in a pod's service account, else in ``~/.kube/config``.
    Raises `UsageError` for what is missing or is not a kubeconfig.
    """
    paths = [path] if path else [Path(one) for one in environment.get("KUBECONFIG", "").split(os.pathsep) if one]
    if not paths:
        if context is None and environment.get(_HOST) and (SERVICE_ACCOUNT / "token").exists():
            return _in_cluster(environment)
        paths = [Path(environment.get("HOME") or "/").joinpath(".kube/config")]
    # As kubectl: a file of several may be missing, the only one may not.
    files = [(one, _read(one)) for one in paths if one.exists()]
    if not files:
        raise UsageError(
            f"There is no kubeconfig: {paths[0]} does not exist.", "Name one with --kubeconfig, or set KUBECONFIG."
        )
    return _resolve(files, context)


def _in_cluster(environment: Mapping[str, str]) -> Connection:
    host, port = environment[_HOST], environment.get(_PORT, "443")
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return Connection(
        server,
        "in-cluster",
        authority=_file(SERVICE_ACCOUNT / "ca.crt"),
        token_file=SERVICE_ACCOUNT / "token",
    )


def _read(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        document = yaml.load(data, Loader=loader) if len(data) <= MAX_BYTES else None  # noqa: S506 - a safe loader
    except OSError as error:
        raise UsageError(f"The kubeconfig {path} cannot be read: {error.strerror}.", "Check --kubeconfig.") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UsageError(f"The kubeconfig {path} is not YAML.", "Correct it, or name another one.") from error
    if not isinstance(document, Mapping):
        raise UsageError(f"{path} is not a kubeconfig.", "Name another one with --kubeconfig.")
    return document


def _resolve(files: Sequence[tuple[Path, Mapping[str, Any]]], context: str | None) -> Connection:
    wanted = context or next((str(one["current-context"]) for _, one in files if one.get("current-context")), None)
    where = files[0][0] if len(files) == 1 else "KUBECONFIG"
    if wanted is None:
        raise UsageError(f"{where} has no current context.", "Name one with --context.")
    found = _named(files, "contexts", "context", wanted)
    if found is None:
        known = sorted(str(_map(one).get("name")) for _, file in files for one in _items(file, "contexts"))
        raise UsageError(f"{where} has no context {wanted}.", f"Choose from: {', '.join(known[:20]) or 'none'}.")
    asked = found[1]
    cluster_name, user_name = str(asked.get("cluster") or ""), str(asked.get("user") or "")
    cluster_found = _named(files, "clusters", "cluster", cluster_name)
    if cluster_found is None or not cluster_found[1].get("server"):
        raise UsageError(f"{where} has no address for the cluster {cluster_name!r}.", f"Correct the context {wanted}.")
    user_found = _named(files, "users", "user", user_name) if user_name else None
    if user_name and user_found is None:
        raise UsageError(f"{where} has no user {user_name!r}.", f"Correct the context {wanted}.")
    beside, cluster = cluster_found
    base = Connection(
        str(cluster["server"]),
        wanted,
        authority=_pem(beside, cluster, "certificate-authority"),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        server_name=cluster.get("tls-server-name"),
        proxy=cluster.get("proxy-url"),
    )
    return _with_user(base, *user_found) if user_found else base


def _with_user(base: Connection, beside: Path, user: Mapping[str, Any]) -> Connection:
    """Add a user's credentials to a connection."""
    basic = (str(user["username"]), str(user.get("password") or "")) if user.get("username") else None
    return replace(
        base,
        certificate=_pem(beside, user, "client-certificate"),
        key=_pem(beside, user, "client-key"),
        token=str(user["token"]) if user.get("token") else None,
        # As kubectl: the file's token takes precedence.
        token_file=beside.parent / str(user["tokenFile"]) if user.get("tokenFile") else None,
        basic=basic,
        plugin=_plugin(beside, _map(user["exec"])) if user.get("exec") else None,
        oidc=_oidc(beside, _map(user["auth-provider"])) if user.get("auth-provider") else None,
    )


def _plugin(beside: Path, described: Mapping[str, Any]) -> ExecPlugin:
    command = str(described.get("command") or "")
    if not command:
        raise UsageError(f"A user in {beside} has an exec plugin without a command.", "Correct the kubeconfig.")
    pairs = [_map(one) for one in described.get("env") or []]
    return ExecPlugin(
        str(beside.parent / command) if "/" in command else command,
        tuple(map(str, described.get("args") or [])),
        {str(one.get("name")): str(one.get("value") or "") for one in pairs},
        str(described.get("apiVersion") or ""),
        described.get("interactiveMode") != "Never",
        bool(described.get("provideClusterInfo")),
        str(described.get("installHint") or ""),
    )


def _oidc(beside: Path, described: Mapping[str, Any]) -> Oidc:
    name, settings = described.get("name"), _map(described.get("config"))
    if name != "oidc":
        raise UsageError(
            f"A user in {beside} signs in through {name}, which kubectl no longer supports either.",
            "Use an exec plugin.",
        )
    names = {"idp-certificate-authority": "certificate-authority"}
    names["idp-certificate-authority-data"] = "certificate-authority-data"
    authority = _pem(beside, {names.get(key, key): value for key, value in settings.items()}, "certificate-authority")
    issuer, client, secret, token, refresh = (
        str(settings.get(key) or "")
        for key in ("idp-issuer-url", "client-id", "client-secret", "id-token", "refresh-token")
    )
    return Oidc(issuer, client, secret, token, refresh, authority)


def _named(
    files: Sequence[tuple[Path, Mapping[str, Any]]], kind: str, inner: str, name: str
) -> tuple[Path, Mapping[str, Any]] | None:
    """Return the first entry of a name, with the file that it is in."""
    for path, file in files:
        for item in _items(file, kind):
            if _map(item).get("name") == name:
                return path, _map(item.get(inner))
    return None


def _pem(beside: Path, described: Mapping[str, Any], name: str) -> bytes | None:
    """Return what a file, or the data in its place, holds."""
    data, path = described.get(f"{name}-data"), described.get(name)
    if data:
        try:
            return base64.b64decode(str(data), validate=True)
        except binascii.Error as error:
            raise UsageError(f"{name}-data in {beside} is not base64.", "Correct the kubeconfig.") from error
    return _file(beside.parent / str(path)) if path else None


def _file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", "Correct the kubeconfig.") from error


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _items(file: Mapping[str, Any], kind: str) -> Sequence[Any]:
    value = file.get(kind)
    return value if isinstance(value, list) else []
