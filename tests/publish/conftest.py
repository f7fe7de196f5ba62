from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore import loaders, session

from fipsmanifest.publish.address import open_bucket
from fipsmanifest.publish.bucket import Bucket
from fipsmanifest.publish.consumer import Consumer
from tests.support.memory import MemoryBucket
from tests.support.releases import ReleaseKey
from tests.support.servers import SeaweedFS

BUCKET = "publish-tests"

#: What the fixture ``address`` returns for a bucket in memory, which only the fixture ``bucket`` can open.
MEMORY = "memory"

_names = itertools.count()


@pytest.fixture(scope="session")
def other_key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReleaseKey]:
    """A key of someone whom ``consumer`` does not trust."""
    key = ReleaseKey.make(tmp_path_factory.mktemp("other"), "Other")
    yield key
    key.remove()


@pytest.fixture(scope="session")
def consumer(release_key: ReleaseKey) -> Consumer:
    return release_key.consumer


@pytest.fixture(scope="session", autouse=True)
def service_models() -> Iterator[None]:
    """Let all S3 clients share what botocore reads of services, which is most of the work of making one."""
    loader = loaders.create_loader()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "create_loader", lambda *_: loader)
        yield


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[SeaweedFS]:
    with SeaweedFS() as server:
        server.create_bucket(BUCKET)
        yield server


@pytest.fixture
def s3(seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SeaweedFS:
    """The server, with its credentials in the environment and no configuration of the user."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in seaweedfs.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    return seaweedfs


@pytest.fixture(params=["directory", "s3"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty bucket of the kind that is asked for; in S3 it is a prefix of its own, since making buckets is slow."""
    if request.param == "memory":
        return MEMORY
    if request.param == "directory":
        return str(tmp_path / "bucket")
    request.getfixturevalue("s3")
    return f"s3://{BUCKET}/case-{next(_names)}/prefix"


@pytest.fixture
def bucket(address: str) -> Bucket:
    return MemoryBucket() if address == MEMORY else open_bucket(address)
