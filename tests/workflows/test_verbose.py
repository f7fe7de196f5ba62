"""``--verbose`` shows what a release reads, runs and decides."""

from __future__ import annotations

import json
import subprocess

from .conftest import Site


def test_a_release_logs_what_it_reads_and_decides_and_keeps_the_secrets(site: Site) -> None:
    environment = {**site.variables(), "AWS_SESSION_TOKEN": "a-session-token"}
    quiet = site.command(*site.words("--to", site.bucket, "--json"))
    words = [quiet[0], "--verbose", *quiet[1:]]
    done = subprocess.run(words, env=environment, cwd=site.directory, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["schema"] == "fipsmanifest/release/v1"
    loggers = {line.split(": ")[1] for line in done.stderr.splitlines() if line.startswith("debug: ")}
    assert {"fetch.http", "publish.directory", "publish.publisher", "sign.gpg", "sign.signer"} <= loggers
    assert "planned: create tool/manifests/v1.21.3/1/manifest-rhel8.json.asc" in done.stderr
    assert "a-session-token" not in done.stderr
