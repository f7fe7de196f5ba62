"""A registry client: manifests and blobs by the OCI distribution specification, with Docker's authentication.

It is written here, over the shared downloader, because no maintained Python client (oras, docker-registry-client and
the like) both resumes a blob and hashes it while it arrives.
"""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar
from urllib.parse import quote, urlencode, urlsplit

from ..archive.paths import shown
from ..errors import Incomplete, Refused, UsageError
from ..fetch.address import same_origin
from ..fetch.cache import CachedFile
from ..fetch.http import Fetched, Http, Unauthorized
from . import credentials
from .challenge import parse_challenges
from .document import INDEXES, MANIFESTS, MAX_DOCUMENT, Descriptor
from .strictjson import load_json

_log = logging.getLogger(__name__)

_ACCEPT = ", ".join(INDEXES + MANIFESTS)
_MAX_TOKEN = 1 << 20

#: Where Docker Hub's images are served from; its name in references is another one.
_HUB, _HUB_HOST = "docker.io", "registry-1.docker.io"

# The grammar of distribution/reference (reference.go), with its bounds.
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::\d{1,5})?|\[[0-9a-fA-F:]+\](?::\d{1,5})?")
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

# The scope of a pull and of nothing else (distribution's token specification, "Resource scope").
_PULL = re.compile(rf"repository:{_PART}(?:/{_PART})*:pull")
_PRINTABLE = re.compile(r"[\x21-\x7e]+")

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed image reference."""

    registry: str
    """``host`` or ``host:port``; ``docker.io`` for Docker Hub."""
    repository: str
    """Path below the registry, with Docker Hub's ``library/`` where it belongs."""
    tag: str | None
    """The tag; None with a digest alone."""
    digest: str | None
    """``sha256:HEX`` where the reference has one."""
    scheme: str | None = None
    """``http`` or ``https`` where a mirror says so."""

    @property
    def text(self) -> str:
        """Return the reference in full."""
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}{tag}{digest}"

    @property
    def host(self) -> str:
        """Return the host that serves it."""
        return _HUB_HOST if self.registry == _HUB else self.registry

    @property
    def base(self) -> str:
        """Return the URL below which its repository's objects are."""
        scheme = self.scheme or ("http" if _is_loopback(self.host) else "https")
        return f"{scheme}://{self.host}/v2/{self.repository}"


def parse_reference(text: str) -> Reference:
    """Read ``[registry/]repository[:tag][@sha256:HEX]`` as docker does; without tag and digest it is ``latest``.

    A mirror may put ``http://`` or ``https://`` before it. Raises `UsageError`.
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "", text
    rest, at, digest = rest.partition("@")
    name, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        name, tag = rest, ""
    registry, slash, repository = name.partition("/")
    if not slash or not ("." in registry or ":" in registry or registry == "localhost" or scheme):
        registry, repository = _HUB, name
    if registry in ("index.docker.io", _HUB_HOST):
        registry = _HUB
    if registry == _HUB and "/" not in repository:
        repository = f"library/{repository}"
    good = (
        scheme in ("", "http", "https")
        and _HOST.fullmatch(registry)
        and _REPOSITORY.fullmatch(repository)
        and len(repository) <= 255
        and (not (colon and tag) or _TAG.fullmatch(tag))
        and (not at or _DIGEST.fullmatch(digest))
    )
    if not good:
        raise UsageError(
            f"{shown(text)} is not an image reference.",
            "Write it as registry/repository:tag, with @sha256:... or not.",
        )
    if not tag and not at:
        tag = "latest"
    return Reference(registry, repository, tag or None, digest or None, scheme or None)


class _NoToken(Incomplete):
    """A token server gave no token for a scope; it may for another one."""


def _next_scope(reference: Reference, challenge: str, asked: list[str]) -> str | None:
    """Return the scope to ask for after those ``asked``: the reference's own, then one that the challenge names."""
    if not asked:
        return f"repository:{reference.repository}:pull"
    if len(asked) > 1:
        return None
    named = [text for found in parse_challenges(challenge) for text in found.parameters.get("scope", "").split()]
    return next((text for text in named if text not in asked and len(text) <= 512 and _PULL.fullmatch(text)), None)


class Registry:
    """Pulls from registries; one object for all of them, safe for threads. It keeps tokens, never credentials."""

    def __init__(self, http: Http, note: Callable[[str], object] = str) -> None:
        """``note`` is called with each credential helper that cannot be used."""
        self._http = http
        self._note = note
        self._authorizations: dict[str, str] = {}
        self._lock = threading.Lock()

    def resolve(self, reference: Reference) -> Fetched:
        """Return the document that ``reference`` names, by its digest where it has one.

        Raises `Refused` where the registry serves another one than was asked for, `Incomplete` where it serves none.
        """
        return self._document(reference, reference.digest or reference.tag or "latest", reference.digest)

    def manifest(self, reference: Reference, descriptor: Descriptor) -> Fetched:
        """Return the document that an index names. Raises as `resolve`, and `Refused` for another size."""
        fetched = self._document(reference, descriptor.digest, descriptor.digest)
        if len(fetched.data) != descriptor.size:
            raise Refused(
                f"{reference.text}: {descriptor.digest} has {len(fetched.data)} bytes; the index says "
                f"{descriptor.size}.",
                "Do not use this image; ask those who publish it.",
                reason="digest-mismatch",
            )
        return fetched

    def blob(self, reference: Reference, descriptor: Descriptor, limit: int | None = None) -> CachedFile:
        """Return a configuration or layer in the cache, its digest and size checked; ``limit`` in bytes.

        Raises as `Http.download`.
        """
        if limit is not None and descriptor.size > limit:
            raise Refused(
                f"{reference.text}: {descriptor.digest} has {descriptor.size} bytes; at most {limit} are accepted.",
                "Do not use this image; ask those who publish it.",
                reason="too-large",
            )
        name = f"{reference.repository.rpartition('/')[2]} {descriptor.digest[7:19]}"
        return self._authorized(
            reference,
            lambda headers: self._http.download(
                f"{reference.base}/blobs/{descriptor.digest}",
                expected=descriptor.digest,
                size=descriptor.size,
                headers=headers,
                name=name,
            ),
        )

    def _document(self, reference: Reference, key: str, digest: str | None) -> Fetched:
        fetched = self._authorized(
            reference,
            lambda headers: self._http.fetch_bytes(
                f"{reference.base}/manifests/{quote(key, safe=':')}", MAX_DOCUMENT, {"Accept": _ACCEPT, **headers}
            ),
        )
        found = f"sha256:{hashlib.sha256(fetched.data).hexdigest()}"
        said = fetched.headers.get("Docker-Content-Digest", "")
        expected = digest or (said if said.startswith("sha256:") else found)
        _log.debug("%s names %s", reference.text, found)
        if found != expected:
            raise Refused(
                f"{reference.text}: the registry serves {found}; it must be {expected}.",
                "Do not use it: ask upstream, or check what the mirror serves.",
                reason="digest-mismatch",
            )
        return fetched

    def _authorized(self, reference: Reference, request: Callable[[dict[str, str]], _Result]) -> _Result:
        """Make a request with what was authorized before, and again after asking for authorization.

        The scope asked for is what is needed here, whatever the challenge names: some registries send one of no use,
        and no token that may do more is carried about. Where that is denied, a pull that the challenge names is tried
        as well: a gateway passes on what the registry behind it wants.
        """
        known = self._authorizations.get(reference.base)
        try:
            return request({"Authorization": known} if known else {})
        except Unauthorized as error:
            denied = error
        failure: Incomplete = denied
        asked: list[str] = []
        while scope := _next_scope(reference, denied.challenge, asked):
            # A host that the registry redirects to must not choose where its credentials are sent.
            if not same_origin(denied.url, reference.base):
                raise denied
            asked.append(scope)
            try:
                known = self._authorization(reference, denied, scope, known)
            except _NoToken as error:
                failure = error
                continue
            try:
                return request({"Authorization": known})
            except Unauthorized as error:
                denied = failure = error
        raise failure

    def _authorization(self, reference: Reference, denied: Unauthorized, scope: str, used: str | None) -> str:
        """Return an Authorization value other than ``used``, one that another thread obtained meanwhile if there is."""
        with self._lock:
            current = self._authorizations.get(reference.base)
            if current is None or current == used:
                current = self._authorize(reference, denied, scope)
                self._authorizations[reference.base] = current
            return current

    def _authorize(self, reference: Reference, denied: Unauthorized, scope: str) -> str:
        """Answer a challenge (RFC 6750, RFC 7617, distribution's token specification) with an Authorization value."""
        challenges = {challenge.scheme: challenge for challenge in reversed(parse_challenges(denied.challenge))}
        if not challenges.keys() & {"bearer", "basic"}:
            raise denied
        found = credentials.find(reference.registry, reference.repository, self._note)
        # A token before a password: it permits less, and is issued without credentials as well.
        if "bearer" in challenges:
            return self._bearer(reference, challenges["bearer"].parameters, scope, found)
        if found is None or found.identity_token:
            raise Incomplete(
                f"{reference.host} wants a user and password for {reference.repository}, and there are none.",
                f"Log in with 'docker login {reference.registry}' or 'podman login {reference.registry}'.",
                reason="unauthorized",
            ) from denied
        return found.basic

    def _bearer(
        self, reference: Reference, values: Mapping[str, str], scope: str, found: credentials.Credentials | None
    ) -> str:
        realm = values.get("realm", "")
        self._check_realm(reference, realm)
        query = {"scope": scope}
        if values.get("service"):
            query["service"] = values["service"]
        _log.debug(
            "asking %s for a token for %s, %s credentials",
            realm.partition("?")[0],
            scope,
            "with" if found else "without",
        )
        try:
            answer = self._ask_for_token(realm, query, found)
        except Unauthorized as error:
            raise _NoToken(
                f"{urlsplit(realm).hostname} does not accept the credentials for {reference.text}.",
                f"Log in again with 'docker login {reference.registry}' or 'podman login {reference.registry}'.",
                error.reason,
            ) from error
        except Incomplete as error:
            raise _NoToken(error.message, error.advice, error.reason) from error
        try:
            document = load_json(answer.data, f"The token of {shown(realm)}")
        except Refused as error:
            raise Refused(error.message, error.advice, reason="token-server") from error
        token = (document.get("token") or document.get("access_token")) if isinstance(document, dict) else None
        if not isinstance(token, str) or not _PRINTABLE.fullmatch(token):
            raise _NoToken(
                f"{shown(realm)} gave no token for {reference.text}.",
                "Ask those who run that registry.",
                "token-server",
            )
        return f"Bearer {token}"

    def _ask_for_token(self, realm: str, query: dict[str, str], found: credentials.Credentials | None) -> Fetched:
        if found is not None and found.identity_token:
            form = query | {
                "grant_type": "refresh_token",
                "refresh_token": found.identity_token,
                "client_id": "fipsmanifest",
            }
            return self._http.fetch_bytes(realm, _MAX_TOKEN, form=form)
        if found is not None:
            query = query | {"account": found.username}
        separator = "&" if urlsplit(realm).query else "?"
        headers = {} if found is None else {"Authorization": found.basic}
        return self._http.fetch_bytes(f"{realm}{separator}{urlencode(query)}", _MAX_TOKEN, headers)

    @staticmethod
    def _check_realm(reference: Reference, realm: str) -> None:
        """Refuse to carry credentials over plain http, or to whom a registry elsewhere claims is on this machine."""
        try:
            parts = urlsplit(realm)
            host = parts.hostname or ""
        except ValueError:
            parts, host = urlsplit(""), ""
        plain = parts.scheme == "http" and urlsplit(reference.base).scheme == "http"
        local = _is_loopback(host) and not _is_loopback(reference.host)
        if not host or parts.username is not None or not (parts.scheme == "https" or plain) or local:
            raise Refused(
                f"{reference.host} names the token server {shown(realm)}, which is not https, or is on this machine.",
                "Ask those who run that registry.",
                reason="token-server",
            )


def mirrored(reference: Reference, text: str) -> Reference:
    """Return ``text``, to which a mirror rewrote ``reference``, as a reference; the digest must stay.

    Raises `UsageError`.
    """
    rewritten = parse_reference(text)
    return replace(rewritten, digest=reference.digest or rewritten.digest)


def _is_loopback(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
