"""How long the nightly audit of a full bucket takes, and how much memory: against a real S3 server."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.support.releases import ReleaseKey, document, wanted_tool
from tests.support.servers import SeaweedFS

from fipsmanifest.model.identity import ManifestId
from fipsmanifest.model.manifest import canonical
from fipsmanifest.publish import layout
from fipsmanifest.publish.address import open_bucket
from fipsmanifest.publish.publisher import publish
from fipsmanifest.publish.request import PublishRequest

from .measure import Figure, Run, run

PROGRAM = Path(sys.executable).with_name("fipsmanifest")

#: Serials 1 and 2 for EL7 and EL8 of each version.
VERSIONS = 250
FEW = 25
#: Makes a manifest of about 100 kB, as a release with all its images has.
FILES = 300
SECONDS, GROWTH = 60.0, 1.5


def figures() -> Iterator[Figure]:
    """Measure ``fipsmanifest audit`` with 1,000 manifests, and its memory beside that with 100."""
    with tempfile.TemporaryDirectory() as temporary, SeaweedFS() as server:
        directory = Path(temporary)
        key = ReleaseKey.make(directory)
        try:
            signed = _signed(key)
            few = _audit(server, key, directory, "few", dict(list(signed.items())[: FEW * 4]))
            all_of_them = _audit(server, key, directory, "many", signed)
        finally:
            key.remove()
    count, size = len(signed), sum(map(len, signed.values())) / len(signed)
    detail = f"{count} manifests of {size / 1000:.0f} kB, {all_of_them.cpu:.1f} s of CPU"
    yield Figure("audit of a full bucket", all_of_them.wall, "s", SECONDS, detail)
    peaks = f"{few.peak >> 20} MiB with {FEW * 4} manifests, {all_of_them.peak >> 20} MiB with {count}"
    yield Figure("memory of an audit, ten times the manifests", all_of_them.peak / few.peak, "x", GROWTH, peaks)


def _signed(key: ReleaseKey) -> dict[str, bytes]:
    """Return the signed manifests by the keys where they never change; a version's are side by side."""
    wanted: dict[str, bytes] = {}
    for version in range(VERSIONS):
        for el in (7, 8):
            for serial in (1, 2):
                of = document(kubernetes=f"v1.{version}.0", el=el, serial=serial, kubelet=bytes([serial]))
                wanted[layout.manifest(ManifestId(of["kubernetes"], f"rhel{el}", serial))] = canonical(_filled(of))
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(wanted, pool.map(key.clearsign, wanted.values()), strict=True))


def _filled(of: dict[str, Any]) -> dict[str, Any]:
    (kubelet,) = of["files"]
    more = [{**kubelet, "path": f"/usr/libexec/program-{number}"} for number in range(FILES)]
    return {**of, "files": [kubelet, *more]}


def _audit(server: SeaweedFS, key: ReleaseKey, directory: Path, name: str, signed: dict[str, bytes]) -> Run:
    """Fill a bucket as publishing would have, and audit it in a process of its own."""
    address = server.create_bucket(f"audit-{name}")
    environment = {**os.environ, **server.environment(), "FIPSMANIFEST_KEYS": str(key.trust)}
    os.environ.update(server.environment())
    client = server.client()

    def put(item: tuple[str, bytes]) -> None:
        client.put_object(Bucket=f"audit-{name}", Key=item[0], Body=item[1])

    objects = dict(signed)
    for path, data in signed.items():
        what = layout.read_key(path)
        if isinstance(what, ManifestId) and what.serial == 2:
            objects[layout.pointer(what.release)] = data
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, objects.items()))
    publish(PublishRequest((), wanted_tool(key)), open_bucket(address), key.consumer)
    return run([PROGRAM, "audit", address], environment, directory)
