"""A whole release against its floor: the same artifacts fetched by curl, expanded by stock tools, hashed by openssl."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from examples.upstream import World
from examples.upstream.world import Served

from .measure import Figure, Run, paired, run

TOP = Path(__file__).parents[1]
PROGRAM = Path(sys.executable).with_name("fipsmanifest")
EL8 = TOP / "releases" / "v1.21.3" / "rhel8.toml"

#: MiB added to each program, so that the artifacts of EL8 come to at least 400 MB.
PAD = 24

#: curl fetches all at once; then as many pipelines as there are cores expand and hash. An RPM's payload is expanded by
#: rpm2cpio, a layer by gzip; the compressed bytes are hashed too, since both sides must know what they fetched.
_FLOOR = r"""
set -euo pipefail
curl --silent --fail --parallel --parallel-max 6 --config fetch.conf
one() {
    openssl dgst -sha256 "$1"
    case "$1" in
        *.rpm) rpm2cpio "$1" | openssl dgst -sha256 ;;
        *.layer) gzip -dc "$1" | openssl dgst -sha256 ;;
    esac
}
export -f one
printf '%s\0' fetched/* | xargs -0 -n 1 -P "$(nproc)" bash -c 'set -euo pipefail; one "$0"'
"""


def figures() -> Iterator[Figure]:
    """Measure a cold release and the same again."""
    with tempfile.TemporaryDirectory(prefix="fm") as scratch:
        directory = Path(scratch)
        gnupghome = directory / "g"
        gnupghome.mkdir(mode=0o700)
        try:
            world = World.make([EL8], directory / "upstream", gnupghome, pad=PAD)
            with world.serve() as served:
                yield from _measured(world, served, directory, gnupghome)
        finally:
            subprocess.run(["gpgconf", "--homedir", gnupghome, "--kill", "gpg-agent"], check=False)


def _measured(world: World, served: Served, directory: Path, gnupghome: Path) -> Iterator[Figure]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "GNUPGHOME": str(gnupghome)}
    keys = directory / "keys"
    user = "Benchmark <bench@example.com>"
    run([PROGRAM, "keys", "init", "--user-id", user, "--no-passphrase", "--keys", keys], environment, directory)
    certificate = world.upstream_certificate
    run([PROGRAM, "keys", "add", certificate, "--role", "upstream", "--keys", keys], environment, directory)
    size = _write_fetch_list(world, served, directory)

    def cold() -> Run:
        for left in ("work", "cache", "bucket", "lock.json"):
            _remove(directory / left)
        return release()

    def release() -> Run:
        words: list[str | Path] = ["release", "v1.21.3", "--el", "8", "--definitions", TOP / "releases", "--keys", keys]
        words += [word for mirror in served.mirrors for word in ("--mirror", mirror)]
        words += ["--lock", directory / "lock.json", "--first-lock", "--to", directory / "bucket"]
        words += ["--work", directory / "work", "--cache", directory / "cache"]
        return run([PROGRAM, *words], environment, directory)

    def floor() -> Run:
        _remove(directory / "fetched")
        (directory / "fetched").mkdir()
        return run(["bash", "-c", _FLOOR], environment, directory)

    ratio, ours, theirs = paired(cold, floor)
    what = (
        f"{size / 1e6:.0f} MB of artifacts; ours {ours.wall:.2f} s ({ours.cpu:.1f} s of CPU), "
        f"floor {theirs.wall:.2f} s ({theirs.cpu:.1f} s of CPU)"
    )
    yield Figure("cold release / curl + stock tools + openssl", ratio, "x", 1.5, what)
    yield Figure("peak memory of a cold release", ours.peak / 2**20, "MiB", 256, what)
    again = release()
    bound = max(2.0, 0.1 * ours.wall)
    yield Figure("the same release again", again.wall, "s", bound, f"cold {ours.wall:.2f} s")


def _write_fetch_list(world: World, served: Served, directory: Path) -> int:
    """Write curl's list of everything that the release fetches, and return the total size in bytes."""
    lines, size = [], 0
    for definition in world.definitions:
        for package in world.packages(definition):
            address = f"{served.files_address}/{package.relative_to(world.directory / 'files')}"
            lines += [f'url = "{address}"', f'output = "fetched/{package.name}"']
            size += package.stat().st_size
        for image in world.images_of(definition):
            for number, digest in enumerate(image.platforms[0].layers):
                address = f"{served.registry_address}/v2/{image.repository}/blobs/{digest}"
                name = f"{image.repository.replace('/', '_')}-{number}.layer"
                lines += [f'url = "{address}"', f'output = "fetched/{name}"']
                size += (world.blobs / digest.removeprefix("sha256:")).stat().st_size
    (directory / "fetch.conf").write_text("\n".join(lines) + "\n")
    return size


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
