"""A real container registry on loopback, a token server for it, and small real images to put into it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.server
import io
import json
import os
import subprocess
import tarfile
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import zstandard

from tests.support.servers import free_ports

USER, PASSWORD = "puller", "open sesame"
#: bcrypt of `PASSWORD`; the registry takes nothing else in its htpasswd file.
_HTPASSWD = f"{USER}:$2b$04$OwibBTn6Y0DB94bV/eoucOM2lIHkaBWcibfTf6VUbv42Nq3PzqEC6\n"

_START_SECONDS = 30

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"


class Registry:
    """Docker's registry: ``with Registry() as registry: registry.push(...)``; ``auth`` is None, "basic" or "token"."""

    def __init__(self, directory: Path | None = None, *, auth: str | None = None) -> None:
        self._temporary = None if directory else tempfile.TemporaryDirectory(prefix="registry-")
        self.directory = directory or Path(self._temporary.name if self._temporary else "")
        self.auth = auth
        self.address = ""
        self.tokens: TokenServer | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Registry:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.address = f"127.0.0.1:{free_ports(1)[0]}"
        settings: dict[str, Any] = {
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(self.directory / "data")}, "delete": {"enabled": True}},
            "http": {"addr": self.address},
        }
        if self.auth == "basic":
            (self.directory / "htpasswd").write_text(_HTPASSWD)
            settings["auth"] = {"htpasswd": {"realm": "registry", "path": str(self.directory / "htpasswd")}}
        if self.auth == "token":
            self.tokens = TokenServer(self.directory)
            self.tokens.start()
            settings["auth"] = {"token": self.tokens.settings}
        # Every JSON document is YAML as well.
        (self.directory / "config.yml").write_text(json.dumps(settings))
        with (self.directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["docker-registry", "serve", str(self.directory / "config.yml")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._temporary is not None:
            self._temporary.cleanup()

    def stop(self) -> None:
        """End the servers."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self.tokens is not None:
            self.tokens.stop()
            self.tokens = None

    def push(self, layout: Path, tag: str, repository: str, *options: str) -> str:
        """Copy the image ``tag`` of an OCI layout, all its platforms, to ``repository:tag``; give its reference.

        ``options`` are skopeo's (``--format v2s2``).
        """
        reference = f"{self.address}/{repository}:{tag}"
        credentials = ["--dest-creds", f"{USER}:{PASSWORD}"] if self.auth else []
        skopeo(
            "copy",
            "--all",
            "--dest-tls-verify=false",
            *credentials,
            *options,
            f"oci:{layout}:{tag}",
            f"docker://{reference}",
        )
        return reference

    def put(self, layout: Path, repository: str, index: Mapping[str, Any]) -> str:
        """Keep ``index`` past the registry's checks, with every blob of ``layout``; give its reference."""
        named = put_blob(layout, json.dumps(index).encode(), OCI_INDEX)["digest"].removeprefix("sha256:")
        tree = self.directory / "data/docker/registry/v2/repositories" / repository
        links = {tree / "_manifests/tags/v1/current/link": named}
        for blob in (layout / "blobs/sha256").iterdir():
            self.blob_path(blob.name).parent.mkdir(parents=True, exist_ok=True)
            self.blob_path(blob.name).write_bytes(blob.read_bytes())
            links[tree / "_layers/sha256" / blob.name / "link"] = blob.name
            links[tree / "_manifests/revisions/sha256" / blob.name / "link"] = blob.name
        for link, digest in links.items():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.write_text(f"sha256:{digest}")
        return f"{self.address}/{repository}:v1"

    def blob_path(self, digest: str) -> Path:
        """Return where the registry keeps the bytes of ``digest``, to spoil them."""
        hexadecimal = digest.removeprefix("sha256:")
        return self.directory / "data/docker/registry/v2/blobs/sha256" / hexadecimal[:2] / hexadecimal / "data"

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"http://{self.address}/v2/", timeout=5).close()
            except urllib.error.HTTPError as error:
                error.close()
                return
            except OSError:
                if self._process is None or self._process.poll() is not None:
                    break
                time.sleep(0.05)
            else:
                return
        raise RuntimeError("the registry did not start:\n" + (self.directory / "log").read_text(errors="replace"))


class TokenServer:
    """Issues tokens that the registry accepts: a client that sends `USER` and `PASSWORD` may do what it asks for.

    ``asked`` keeps the query of each request; ``anonymous`` lets strangers pull, as Docker Hub does.
    """

    service = "registry.test"
    issuer = "issuer.test"
    identity_token = "a-refresh-token"

    def __init__(self, directory: Path, *, anonymous: bool = False) -> None:
        self.anonymous = anonymous
        self.asked: list[dict[str, str]] = []
        self._key, self._certificate = directory / "token.key", directory / "token.crt"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=issuer", "-days", "2",
             "-keyout", str(self._key), "-out", str(self._certificate)],
            check=True,
            capture_output=True,
        )  # fmt: skip
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
                expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
                outer._answer(self, query, known=self.headers.get("Authorization") == expected)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
                query = dict(urllib.parse.parse_qsl(body))
                outer._answer(self, query, known=query.get("refresh_token") == outer.identity_token)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.realm = f"http://127.0.0.1:{self._server.server_port}/token"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def settings(self) -> dict[str, str]:
        """Return the registry's settings for this token server."""
        return {
            "realm": self.realm,
            "service": self.service,
            "issuer": self.issuer,
            "rootcertbundle": str(self._certificate),
        }

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, request: http.server.BaseHTTPRequestHandler, query: dict[str, str], *, known: bool) -> None:
        self.asked.append(query)
        if not known and not self.anonymous:
            request.send_error(401)
            return
        kind, name, actions = query["scope"].split(":")
        data = json.dumps({"token": self._token({"type": kind, "name": name, "actions": actions.split(",")})}).encode()
        request.send_response(200)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    def _token(self, access: dict[str, Any]) -> str:
        """Return a JSON web token (RFC 7519) as distribution's token specification wants it."""
        der = subprocess.run(
            ["openssl", "x509", "-in", str(self._certificate), "-outform", "DER"], check=True, capture_output=True
        ).stdout
        header = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
        now = int(time.time())
        claims = {
            "iss": self.issuer, "sub": USER, "aud": self.service, "jti": str(time.monotonic_ns()),
            "iat": now, "nbf": now - 60, "exp": now + 600, "access": [access],
        }  # fmt: skip
        signed = ".".join(_base64url(json.dumps(part).encode()) for part in (header, claims))
        signature = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", str(self._key)],
            input=signed.encode(),
            check=True,
            capture_output=True,
        ).stdout
        return f"{signed}.{_base64url(signature)}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def skopeo(*arguments: str) -> bytes:
    """Run skopeo and return what it prints."""
    result = subprocess.run(["skopeo", *arguments], capture_output=True, check=False)
    if result.returncode:
        raise RuntimeError(f"skopeo {' '.join(arguments)}: {result.stderr.decode(errors='replace')}")
    return result.stdout


def make_layer(files: Mapping[str, bytes | str]) -> bytes:
    """Return an uncompressed layer: path -> content, or the target of a symbolic link.

    A path that ends in ``/`` is a directory. The same files give the same bytes.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, content in files.items():
            info = tarfile.TarInfo(path.strip("/"))
            info.mode = 0o755
            if path.endswith("/"):
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def make_image(
    layout: Path,
    tag: str,
    platforms: Mapping[str, Iterable[bytes]],
    *,
    index: bool = True,
    zstd: bool = False,
    runtime: Mapping[str, Any] | None = None,
) -> str:
    """Put an image into an OCI layout (made where it is missing) and return the digest that ``tag`` names there.

    ``platforms`` maps Go's architecture to the uncompressed layers; without ``index`` the one platform's manifest is
    named itself. Layers are compressed with gzip, or with ``zstd``. ``runtime`` is the configuration's ``config``.
    """
    manifests = []
    for architecture, layers in platforms.items():
        descriptors, diff_ids = [], []
        for layer in layers:
            descriptors.append(
                put_blob(layout, zstandard.compress(layer), OCI_LAYER + "+zstd")
                if zstd
                else put_blob(layout, gzipped(layer), OCI_LAYER + "+gzip")
            )
            diff_ids.append("sha256:" + hashlib.sha256(layer).hexdigest())
        config = {
            "architecture": architecture,
            "os": "linux",
            "config": dict(runtime or {}),
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [{"created_by": "test"} for _ in diff_ids],
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": put_blob(layout, json.dumps(config).encode(), OCI_CONFIG),
            "layers": descriptors,
        }
        descriptor = put_blob(layout, json.dumps(manifest).encode(), OCI_MANIFEST)
        manifests.append({**descriptor, "platform": {"architecture": architecture, "os": "linux"}})
    if index:
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
        named = put_blob(layout, json.dumps(document).encode(), OCI_INDEX)
    else:
        (named,) = manifests
    name_in_layout(layout, tag, named)
    return str(named["digest"])


def gzipped(data: bytes) -> bytes:
    """Compress with gzip, as `make_image` does its layers: fast, as tests do not ask how small programs become."""
    return gzip.compress(data, 1, mtime=0)


def put_blob(layout: Path, data: bytes, media_type: str) -> dict[str, Any]:
    """Put ``data`` into an OCI layout and return its descriptor."""
    hexadecimal = hashlib.sha256(data).hexdigest()
    path = layout / "blobs/sha256" / hexadecimal
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{hexadecimal}", "size": len(data)}


def name_in_layout(layout: Path, tag: str, descriptor: Mapping[str, Any]) -> None:
    """Add ``descriptor`` to the layout's index under the name ``tag``."""
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    path = layout / "index.json"
    index: dict[str, Any] = {"schemaVersion": 2, "manifests": []}
    if path.exists():
        index = json.loads(path.read_text())
    entry = {**descriptor, "annotations": {"org.opencontainers.image.ref.name": tag}}
    index["manifests"] = [
        other for other in index["manifests"] if other["annotations"]["org.opencontainers.image.ref.name"] != tag
    ] + [entry]
    path.write_text(json.dumps(index))
