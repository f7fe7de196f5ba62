"""Real servers for tests and the demo, started on free loopback ports and stopped on exit."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import IO, Any

START_SECONDS = 60


def free_ports(count: int) -> list[int]:
    """Return free ports, below the range that the kernel hands out to clients."""
    found: list[int] = []
    start = 12000 + (time.monotonic_ns() // 1000) % 9000
    for port in range(start, start + 8000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("no free ports")


class SeaweedFS:
    """A SeaweedFS S3 endpoint: ``with SeaweedFS() as s3: s3.create_bucket("name")``.

    ``credentials`` may do everything; ``stranger`` is a valid identity that may do nothing. The bucket ``public``, once
    it is made, can be read without credentials.
    """

    region = "us-east-1"
    credentials = ("publisher", "publisher-secret")
    stranger = ("stranger", "stranger-secret")
    public = "public"

    def __init__(self, directory: Path | None = None) -> None:
        self._temporary = None if directory else tempfile.TemporaryDirectory(prefix="seaweedfs-")
        self.directory = directory or Path(self._temporary.name if self._temporary else "")
        self.endpoint_url = ""
        # Chosen once, so that a server that was killed comes back where it was.
        self._ports = free_ports(9)
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    def __enter__(self) -> SeaweedFS:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        if self._temporary is not None:
            self._temporary.cleanup()

    def start(self) -> None:
        """Start the server and wait until it answers signed requests."""
        self.directory.mkdir(parents=True, exist_ok=True)
        identities = self.directory / "identities.json"
        identities.write_text(json.dumps(self._identities()))
        data = self.directory / "data"
        data.mkdir(exist_ok=True)
        ports = iter(self._ports)
        s3 = next(ports)
        names = ["master", "volume", "filer"]
        arguments = ["-s3.iam=false"]
        for name in names:
            arguments += [f"-{name}.port={next(ports)}", f"-{name}.port.grpc={next(ports)}"]
        arguments += [f"-s3.port={s3}", f"-s3.port.grpc={next(ports)}"]
        self.endpoint_url = f"http://127.0.0.1:{s3}"
        self._log = (self.directory / "log").open("wb")
        weed = Path(sys.executable).with_name("weed")
        self._process = subprocess.Popen(
            [
                str(weed),
                "-logdir=" + str(self.directory),
                "server",
                "-s3",
                f"-dir={data}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                f"-s3.config={identities}",
                "-master.volumeSizeLimitMB=64",
                "-volume.max=500",
                "-master.telemetry=false",
                "-s3.autoCreateBucket=false",
                # Alone, the master need not wait ten seconds for others before it leads again.
                "-master.electionTimeout=1s",
                "-master.heartbeatInterval=100ms",
                # Off, since their ports are fixed and a second server could not start.
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                *arguments,
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
        try:
            self._wait()
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """End the server at once: asked, it takes seconds. `start` brings it back with what it had."""
        if self._process is not None:
            self._process.kill()
        self._end()

    def _end(self) -> None:
        if self._process is not None:
            self._process.wait()
            self._process = None
        if self._log is not None:
            self._log.close()
            self._log = None

    def client(self, credentials: tuple[str, str] | None = None) -> Any:
        """Return a plain boto3 client, apart from the one under test."""
        import boto3
        from botocore.config import Config

        key, secret = credentials or self.credentials
        session = boto3.session.Session(aws_access_key_id=key, aws_secret_access_key=secret, region_name=self.region)
        return session.client(
            "s3",
            endpoint_url=self.endpoint_url,
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                connect_timeout=5,
                read_timeout=20,
                retries={"total_max_attempts": 1},
            ),
        )

    def create_bucket(self, name: str) -> str:
        """Make a bucket and return its address."""
        self.client().create_bucket(Bucket=name)
        return f"s3://{name}"

    def environment(self) -> dict[str, str]:
        """The variables by which any AWS client finds this server."""
        return {
            "AWS_ACCESS_KEY_ID": self.credentials[0],
            "AWS_SECRET_ACCESS_KEY": self.credentials[1],
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ENDPOINT_URL_S3": self.endpoint_url,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def _identities(self) -> dict[str, Any]:
        everything = ["Admin", "Read", "Write", "List", "Tagging"]
        return {
            "identities": [
                {
                    "name": name,
                    "credentials": [{"accessKey": name, "secretKey": secret}],
                    "actions": actions,
                }
                for (name, secret), actions in [
                    (self.credentials, everything),
                    (self.stranger, ["Read:nothing-of-interest"]),
                ]
            ]
            + [{"name": "anonymous", "actions": [f"Read:{self.public}"]}]
        }

    def _wait(self) -> None:
        """Wait until a bucket can be made and an object be stored: the S3 port opens before the volumes are up."""
        from botocore.exceptions import BotoCoreError, ClientError

        deadline = time.monotonic() + START_SECONDS
        client: Any = None
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                break
            try:
                urllib.request.urlopen(self.endpoint_url, timeout=2).close()
            except urllib.error.HTTPError as error:
                error.close()
            except OSError:
                time.sleep(0.05)
                continue
            try:
                client = client or self.client()
                client.create_bucket(Bucket="ready")
                client.put_object(Bucket="ready", Key="probe", Body=b"x")
                client.delete_object(Bucket="ready", Key="probe")
                client.delete_bucket(Bucket="ready")
                return
            except (BotoCoreError, ClientError):
                time.sleep(0.05)
        raise RuntimeError("SeaweedFS did not come up: " + (self.directory / "log").read_text()[-2000:])


class RcloneS3:
    """The S3 server of `rclone serve`, which ignores conditions on writes: an unreliable store.

    It serves a directory that holds the bucket ``careless``.
    """

    credentials = ("publisher", "publisher-secret")

    def __init__(self, directory: Path) -> None:
        (directory / "careless").mkdir(parents=True)
        (port,) = free_ports(1)
        self.endpoint_url = f"http://127.0.0.1:{port}"
        self._command = [
            *(str(Path(sys.executable).with_name("rclone")), "serve", "s3", str(directory)),
            *("--addr", f"127.0.0.1:{port}", "--auth-key", ",".join(self.credentials)),
            *("--config", str(directory.with_name("rclone.conf")), "--vfs-cache-mode", "writes"),
            *("--cache-dir", str(directory.with_name("rclone-cache"))),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RcloneS3:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", int(self.endpoint_url.rpartition(":")[2]))) == 0:
                    return self
            time.sleep(0.1)
        self.stop()
        raise RuntimeError("rclone serve s3 did not come up")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the server."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def environment(self) -> dict[str, str]:
        """The variables by which any AWS client finds this server."""
        return {
            "AWS_ACCESS_KEY_ID": self.credentials[0],
            "AWS_SECRET_ACCESS_KEY": self.credentials[1],
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_S3": self.endpoint_url,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
