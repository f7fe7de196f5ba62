"""Killed in every stage and run again: nothing is incomplete in between, and the result is the same."""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import command

from .conftest import Site


def published(bucket: Path) -> dict[str, str]:
    """What is published, without what a signature's time changes and what is derived from it."""
    found = {}
    for path in sorted(bucket.rglob("*")):
        name = str(path.relative_to(bucket))
        if path.is_file() and not path.name.startswith(".") and path.suffix != ".asc" and "index" not in name:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.suffix == ".asc":
            found[name] = "signed"
    return found


def payloads(site: Site) -> dict[str, str]:
    directory = site.directory / "work" / "v1.21.3"
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.rglob("manifest-*.json")}


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, site_in: Callable[[Path], Site]
) -> tuple[dict[str, str], dict[str, str]]:
    site = site_in(tmp_path_factory.mktemp("undisturbed"))
    site.release("--to", site.bucket)
    return published(site.bucket), payloads(site)


#: When to kill: as soon as this file exists.
MOMENTS = {
    "while collecting": "cache/blobs/sha256/*",
    "when one el is collected": "work/v1.21.3/rhel7/artifacts.json",
    "while inspecting": "work/findings/*/*",
    "when one manifest is generated": "work/v1.21.3/rhel7/manifest-rhel7.json",
    "when the tool is signed": "work/tool/dkp-fips-tool.asc",
    "when one manifest is signed": "work/v1.21.3/rhel7/manifest-rhel7.json.asc",
    "at the first object": "bucket/tool/*/dkp-fips-tool*",
    "at the first manifest": "bucket/tool/manifests/v1.21.3/1/*",
    "at the first pointer": "bucket/tool/dkp-fips-tool*",
    "at the last pointer": "bucket/tool/manifests/v1.21.3/*.asc",
}


#: A kill can come at any moment; Ctrl-C takes the same way through the code, so one moment per stage is enough.
STRIKES = [(moment, signal.SIGKILL) for moment in MOMENTS]
STRIKES += [(moment, signal.SIGINT) for moment in ("while collecting", "while inspecting", "at the first object")]
STRIKES.append(("while collecting", signal.SIGTERM))


@pytest.mark.parametrize(("moment", "how"), STRIKES)
def test_a_release_that_is_stopped_goes_on_where_it_was(
    site: Site, undisturbed: tuple[dict[str, str], dict[str, str]], moment: str, how: signal.Signals
) -> None:
    words = site.words("--to", site.bucket)
    with command.start(*words, env=site.variables(), cwd=site.directory) as process:
        pattern = MOMENTS[moment]
        deadline = time.monotonic() + 120
        while process.poll() is None and not list(site.directory.glob(pattern)):
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(how)
        _, told = process.communicate(timeout=60)
    # It may have ended by itself between the check and the signal.
    assert process.returncode in (-signal.SIGKILL, 130, 143, 0), told
    if process.returncode in (130, 143):
        assert b"run the same command again" in told
    assert b"Traceback" not in told
    for manifest in site.bucket.glob("tool/manifests/**/*.asc"):
        site.run("verify", manifest, "--no-state")
    site.release("--to", site.bucket)
    assert (published(site.bucket), payloads(site)) == undisturbed
    site.run("audit", site.bucket)
