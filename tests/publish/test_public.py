"""What readers get through a web server and the caches in front of it."""

from __future__ import annotations

import functools
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fipsmanifest.errors import Incomplete, UsageError
from fipsmanifest.model.definition_file import load
from fipsmanifest.publish.address import open_bucket
from fipsmanifest.publish.public import read_back, require_address
from fipsmanifest.publish.publisher import publish
from fipsmanifest.state.workspace import Workspace
from tests.support import command
from tests.support.releases import ReleaseKey, expected_keys, wanted_release

POINTER = "/tool/manifests/v1.21.3/manifest-rhel8.json.asc"


class Web:
    """A web server before a directory, with a cache that gives old answers ``stale`` times for each address."""

    def __init__(self, directory: Path) -> None:
        self.stale: dict[str, int] = {}
        self.asked: list[str] = []
        self.old: dict[str, bytes] = {}
        handler = functools.partial(_Handler, self, directory=str(directory))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, web: Web, *arguments: object, directory: str) -> None:
        self._web = web
        super().__init__(*arguments, directory=directory)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self._web.asked.append(self.path)
        left = self._web.stale.get(self.path, 0)
        if left == 0:
            super().do_GET()
            return
        self._web.stale[self.path] = left - 1
        old = self._web.old.get(self.path)
        self.send_response(404 if old is None else 200)
        self.send_header("Content-Length", str(len(old or b"")))
        self.end_headers()
        self.wfile.write(old or b"")

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "bucket"
    path.mkdir()
    return path


@pytest.fixture
def web(directory: Path) -> Iterator[Web]:
    server = Web(directory)
    yield server
    server.stop()


def test_every_object_is_read_from_where_the_world_reads_it(directory: Path, web: Web, release_key: ReleaseKey) -> None:
    made = publish(wanted_release(release_key), open_bucket(str(directory)), release_key.consumer)

    read_back(made.plan, open_bucket(str(directory)), web.address + "/", wait=0)

    assert sorted(web.asked) == sorted(f"/{key}" for key in expected_keys())


@pytest.mark.parametrize("old", [b"the serial before", None])
def test_a_cache_that_is_behind_is_waited_for_and_nothing_else_is_read_again(
    directory: Path, web: Web, release_key: ReleaseKey, old: bytes | None
) -> None:
    made = publish(wanted_release(release_key), open_bucket(str(directory)), release_key.consumer)
    web.stale[POINTER] = 1
    if old is not None:
        web.old[POINTER] = old

    read_back(made.plan, open_bucket(str(directory)), web.address, wait=20)

    assert len(web.asked) == len(expected_keys()) + 1
    assert web.asked[-1] == POINTER


def test_a_cache_that_stays_behind_is_given_up_on_in_time(directory: Path, web: Web, release_key: ReleaseKey) -> None:
    made = publish(wanted_release(release_key), open_bucket(str(directory)), release_key.consumer)
    web.stale[POINTER], web.old[POINTER] = 1000, b"the serial before"
    began = time.monotonic()

    with pytest.raises(Incomplete, match=r"1 of 12 objects .*manifest-rhel8\.json\.asc: SHA-256") as caught:
        read_back(made.plan, open_bucket(str(directory)), web.address, wait=2)

    assert caught.value.exit_code == 4
    assert "caches" in caught.value.advice
    assert time.monotonic() - began < 15


def test_a_pointer_that_another_publisher_moved_on_is_right(directory: Path, web: Web, release_key: ReleaseKey) -> None:
    bucket = open_bucket(str(directory))
    made = publish(wanted_release(release_key), bucket, release_key.consumer)
    publish(wanted_release(release_key, version="0.2.0", serial=2), bucket, release_key.consumer)

    read_back(made.plan, bucket, web.address, wait=0)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "example.com",
        "bucket",
        "/srv",
        "s3://name",
        "ftp://example.com",
        "https://",
        "http://[",
        "https://x:y",
        "https://x?y",
    ],
)
def test_an_address_that_cannot_be_asked_is_refused_before_anything_is_published(
    directory: Path, release_key: ReleaseKey, tmp_path: Path, address: str
) -> None:
    with pytest.raises(UsageError):
        require_address(address)
    if address in {"", "s3://name"}:
        run = publish_command(directory, release_key, tmp_path, f"--public-url={address}")
        release = ("release", "v1.21.3", f"--to={directory}", f"--public-url={address}", "--definitions=nowhere")
        cut = command.run(*release)

        assert (run.returncode, cut.returncode) == (2, 2)
        assert "is not a public address" in run.stderr and "is not a public address" in cut.stderr
        assert list(directory.iterdir()) == []


def test_the_command_publishes_and_reads_back(
    directory: Path, web: Web, release_key: ReleaseKey, tmp_path: Path
) -> None:
    run = publish_command(directory, release_key, tmp_path, f"--public-url={web.address}")

    assert run.returncode == 0, run.stderr
    assert len(web.asked) == len(expected_keys())


def publish_command(
    directory: Path, release_key: ReleaseKey, tmp_path: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    """Publish from a work directory as ``sign`` leaves it."""
    releases = Path(__file__).parents[2] / "releases"
    wanted = wanted_release(release_key)
    workspace = Workspace(tmp_path / "work")
    for manifest in wanted.manifests:
        definition = load(releases / "v1.21.3" / f"{manifest.id.name}.toml")
        workspace.signed(definition).parent.mkdir(parents=True, exist_ok=True)
        workspace.signed(definition).write_bytes(manifest.signed)
    workspace.tool.mkdir(parents=True)
    assert wanted.tool is not None
    (workspace.tool / "dkp-fips-tool").write_bytes(wanted.tool.data)
    (workspace.tool / "dkp-fips-tool.asc").write_bytes(wanted.tool.signature)
    sidecar = f"# tool/0.1.0/dkp-fips-tool\n{wanted.tool.sha256}  dkp-fips-tool\n"
    (workspace.tool / "dkp-fips-tool.sha256").write_text(sidecar)

    given = (f"--keys={release_key.trust}", f"--work={workspace.root}", f"--definitions={releases}")
    return command.run("publish", "v1.21.3", f"--to={directory}", *given, *options)


def test_a_dry_run_does_not_take_what_it_would_ignore(directory: Path, release_key: ReleaseKey, tmp_path: Path) -> None:
    run = publish_command(directory, release_key, tmp_path, "--dry-run", "--single-writer")

    assert run.returncode == 2
    assert "--single-writer has no effect" in run.stderr
