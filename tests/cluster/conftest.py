"""A real API server for the tests of the cluster check, and a signed manifest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fipsmanifest.cluster.api import Api
from fipsmanifest.cluster.document import ClusterReport
from fipsmanifest.cluster.objects import namespace_object
from fipsmanifest.progress import SILENT
from fipsmanifest.workflows import check_cluster
from fipsmanifest.workflows.check_cluster import Request
from tests.support import controlplane, forge, roots
from tests.support.controlplane import ControlPlane
from tests.support.fakekubelet import Behaviour, FakeKubelets, create_nodes, delete_nodes
from tests.support.forge import Forge

#: `make cluster` sets it: three nodes take minutes to come up and to be tampered with.
collect_ignore = [] if os.environ.get("FIPSMANIFEST_WHOLE_CLUSTER") else ["test_real_cluster.py"]


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server with its etcd and the namespace of checks; tests clear what they create."""
    with controlplane.running(tmp_path_factory.mktemp("control-plane")) as running:
        running.create_namespace(namespace_object(check_cluster.NAMESPACE))
        yield running


@pytest.fixture(scope="session")
def trusted() -> Iterator[Forge]:
    """Throwaway keys."""
    with forge.opened() as opened:
        yield opened


@pytest.fixture(scope="session")
def manifest(trusted: Forge, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed manifest."""
    directory = tmp_path_factory.mktemp("manifest")
    path = directory / "manifest-rhel8.json.asc"
    path.write_bytes(trusted.clearsign(roots.payload_of(roots.make(directory / "root"))))
    return path


@dataclass
class World:
    """Nodes, what they answer, and the request of a check."""

    plane: ControlPlane
    api: Api
    request: Request

    def check(self, nodes: list[dict[str, object]], behave: Behaviour, **changes: object) -> ClusterReport:
        """Create nodes, answer for them, and check the cluster."""
        create_nodes(self.api, nodes)
        request = replace(self.request, **changes)  # type: ignore[arg-type]
        with FakeKubelets(self.plane.api(), behave, request.namespace):
            return check_cluster.check_cluster(request, SILENT)

    def left(self) -> list[str]:
        """Return the names of all objects of any run that are in the namespace."""
        namespace = f"namespaces/{self.request.namespace}"
        paths = [f"/api/v1/{namespace}/pods", f"/api/v1/{namespace}/configmaps"]
        paths.append(f"/apis/coordination.k8s.io/v1/{namespace}/leases")
        found = [item["metadata"]["name"] for path in paths for page in self.api.pages(path) for item in page["items"]]
        return [name for name in found if name.startswith("fips-")]


@pytest.fixture
def world(plane: ControlPlane, trusted: Forge, manifest: Path) -> Iterator[World]:
    """A cluster without nodes."""
    api = plane.api()
    request = Request(
        (str(manifest),),
        trusted.trust_directory,
        kubeconfig=plane.kubeconfig(),
        parallel=20,
        node_seconds=20,
        seconds=60,
    )
    try:
        yield World(plane, api, request)
    finally:
        delete_nodes(api)
        api.delete(f"/api/v1/namespaces/{request.namespace}/pods", seconds=0)
