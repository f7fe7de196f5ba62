"""A small real upstream, served for the whole run of a worker, and the command line run as users run it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from examples.upstream import World
from examples.upstream.world import Served

from tests.support import command
from tests.support.gnupg import opened_home
from tests.support.worlds import make_world

TOP = Path(__file__).parents[2]
DEFINITIONS = TOP / "releases"


@dataclass(frozen=True)
class Upstream:
    """What is published upstream, and where it is served."""

    world: World
    served: Served

    @property
    def mirrors(self) -> list[str]:
        return [word for mirror in self.served.mirrors for word in ("--mirror", mirror)]


@dataclass(frozen=True)
class Site:
    """A release engineer's machine: directories of its own, and the keys of the run."""

    directory: Path
    keys: Path
    gnupghome: Path
    upstream: Upstream
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def bucket(self) -> Path:
        return self.directory / "bucket"

    def command(self, *arguments: str | Path) -> list[str]:
        return [str(command.PROGRAM), *map(str, arguments)]

    def variables(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "GNUPGHOME": str(self.gnupghome),
            "XDG_STATE_HOME": str(self.directory / "state"),
            "XDG_CACHE_HOME": str(self.directory / "xdg-cache"),
            "FIPSMANIFEST_KEYS": str(self.keys),
            "FIPSMANIFEST_DEFINITIONS": str(DEFINITIONS),
            "FIPSMANIFEST_WORK": str(self.directory / "work"),
            "FIPSMANIFEST_CACHE": str(self.directory / "cache"),
            **self.environment,
        }

    def run(self, *arguments: str | Path, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        return command.run(*arguments, env=self.variables(), cwd=self.directory, code=code)

    def start(self, *arguments: str | Path, code: int, **more: object) -> subprocess.CompletedProcess[str]:
        """Run it in an interpreter of its own, for what an interpreter reads or inherits when it starts."""
        ended = subprocess.run(
            self.command(*arguments),
            env=self.variables(),
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
            **more,  # type: ignore[call-overload]
        )
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended  # type: ignore[no-any-return]

    def release(
        self, *arguments: str | Path, version: str = "v1.21.3", code: int | None = 0
    ) -> subprocess.CompletedProcess[str]:
        return self.run(*self.words(*arguments, version=version), code=code)

    def words(self, *arguments: str | Path, version: str = "v1.21.3") -> list[str | Path]:
        """Return the words of a release with the upstream's mirrors and a lock of this site's own."""
        lock: list[str | Path] = ["--lock", self.directory / "lock.json", "--first-lock"]
        return ["release", version, *self.upstream.mirrors, *lock, *arguments]


@pytest.fixture(scope="session")
def gnupghome() -> Iterator[Path]:
    with opened_home() as home:
        yield home


@pytest.fixture(scope="session")
def upstream(gnupghome: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    directory = tmp_path_factory.mktemp("upstream")
    world = make_world(sorted(DEFINITIONS.glob("v*/*.toml")), directory, gnupghome)
    with world.serve() as served:
        yield Upstream(world, served)


@pytest.fixture(scope="session")
def keys(gnupghome: Path, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("trust") / "keys"
    variables = {"PATH": os.environ["PATH"], "GNUPGHOME": str(gnupghome), "HOME": str(directory.parent)}
    for words in (
        ["init", "--user-id", "Test release <release@example.com>", "--no-passphrase"],
        ["add", str(upstream.world.upstream_certificate), "--role", "upstream"],
    ):
        command.run("keys", *words, "--keys", directory, env=variables, code=0)
    return directory


@pytest.fixture(scope="session")
def site_in(keys: Path, gnupghome: Path, upstream: Upstream) -> Callable[[Path], Site]:
    return lambda directory: Site(directory, keys, gnupghome, upstream)


@pytest.fixture
def site(tmp_path: Path, site_in: Callable[[Path], Site]) -> Site:
    return site_in(tmp_path)
