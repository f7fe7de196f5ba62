"""The whole line into a real S3 server, and read back from it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.faulty_proxy import FaultyProxy, honest
from tests.support.servers import SeaweedFS

from .conftest import Site


@pytest.fixture(scope="module")
def store() -> Iterator[SeaweedFS]:
    with SeaweedFS() as server:
        yield server


def test_a_release_is_published_to_s3_and_audited_there(site: Site, store: SeaweedFS) -> None:
    store.create_bucket("kubernetes-fips")
    there = Site(site.directory, site.keys, site.gnupghome, site.upstream, dict(store.environment()))
    words = ["--to", "s3://kubernetes-fips/dkp", "--endpoint-url", store.endpoint_url]
    planned = json.loads(there.release(*words, "--dry-run", "--json").stdout)
    assert {entry["action"] for entry in planned["plan"]} == {"create"}
    listing = store.client().list_objects_v2(Bucket="kubernetes-fips")
    assert listing["KeyCount"] == 0
    made = json.loads(there.release(*words, "--json").stdout)
    assert len(made["written"]) == 12
    again = json.loads(there.release(*words, "--json").stdout)
    assert again["written"] == []
    # Two manifests, the tool's three files and the two index files are pointers, and one listing has the rest.
    with FaultyProxy(store.endpoint_url, honest) as counting:
        there.release("--to", "s3://kubernetes-fips/dkp", "--endpoint-url", counting.endpoint_url)
    listings = [request for request in counting.requests if "list-type" in request]
    assert (len(listings), len(counting.requests)) == (1, 8), counting.requests
    assert all(request.startswith("GET ") for request in counting.requests)
    there.run("audit", "s3://kubernetes-fips/dkp", "--endpoint-url", store.endpoint_url)
    stored = store.client().get_object(
        Bucket="kubernetes-fips", Key="dkp/tool/manifests/v1.21.3/manifest-rhel8.json.asc"
    )
    signed = site.directory / "from-s3.json.asc"
    signed.write_bytes(stored["Body"].read())
    verified = json.loads(there.run("verify", signed, "--el", "8", "--json").stdout)
    assert verified["valid"] is True


def test_a_bucket_that_is_not_there_is_incomplete(site: Site, store: SeaweedFS) -> None:
    there = Site(site.directory, site.keys, site.gnupghome, site.upstream, dict(store.environment()))
    words = ["--to", "s3://no-such-bucket", "--endpoint-url", store.endpoint_url]
    told = there.release("--el", "8", *words, code=4).stderr
    assert "no-such-bucket" in told
