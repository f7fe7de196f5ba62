"""``--verbose`` logs what is read, run and decided on stderr, and no secret."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fipsmanifest.archive.open import members_of
from fipsmanifest.cli import logs
from fipsmanifest.generate.tool import build_tool
from fipsmanifest.model.identity import ManifestId
from fipsmanifest.state import lock as locks
from fipsmanifest.state import rollback
from tests.support import command
from tests.support.forge import Forge
from tests.support.gnupg import opened_home
from tests.support.registry import make_layer


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Iterator[pytest.CaptureFixture[str]]:
    """Show the package's records as ``--verbose`` does, until the test ends."""
    logger = logging.getLogger("fipsmanifest")
    before = (logger.level, logger.propagate, list(logger.handlers))
    logs.show()
    yield capsys
    logger.setLevel(before[0])
    logger.propagate, logger.handlers = before[1], before[2]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET https://user:pass@host.example/a", "GET https://***@host.example/a"),
        ("https://token@host.example/?Signature=abc&x=1#f", "https://***@host.example/?Signature=***&x=***#f"),
        ("proxy http://u:p%40q@[::1]:3128", "proxy http://***@[::1]:3128"),
        ("s3://bucket/tool/manifests/v1.21.3/1/manifest-rhel8.json.asc", None),
        ("mail user@host.example", None),
    ],
)
def test_credentials_in_an_address_are_replaced(text: str, expected: str | None) -> None:
    assert logs.redact(text) == (text if expected is None else expected)


def test_a_secret_of_the_environment_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIPSMANIFEST_PASSPHRASE", "correct horse")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    monkeypatch.setenv("EMPTY_TOKEN", "")

    assert logs.redact("gpg correct horse, key wJalrXUtnFEMI") == "gpg ***, key ***"


def test_a_record_is_one_line_without_control_characters(shown: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("fipsmanifest.publish.s3").debug("read %s", "a\nerror: b\x1b[2J")

    assert shown.readouterr().err == "debug: publish.s3: read a\\nerror: b\\x1b[2J\n"


def test_records_of_libraries_are_not_shown(shown: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("botocore.auth").debug("Authorization: AWS4-HMAC-SHA256 Credential=...")

    assert shown.readouterr().err == ""


def test_a_passphrase_is_not_logged(tmp_path: Path) -> None:
    passphrase = "correct horse battery staple"
    with opened_home() as home:
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GNUPGHOME": str(home)}
        environment["FIPSMANIFEST_PASSPHRASE"] = passphrase
        words = ("keys", "init", "--user-id", "Tester <t@example.com>", "--keys", tmp_path / "keys")
        done = command.run("--verbose", *words, env=environment, cwd=tmp_path, code=0)

    assert "debug: sign.gpg: running " in done.stderr
    assert passphrase not in done.stderr + done.stdout


def test_nothing_is_logged_without_the_option(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    (tmp_path / "bucket").mkdir()
    words = ("publish", "--to", tmp_path / "bucket", "--probe")
    silent = command.run(*words, env=environment, cwd=tmp_path)
    logged = command.run(*words, env=environment | {"FIPSMANIFEST_VERBOSE": "1"}, cwd=tmp_path)

    assert "debug: " not in silent.stderr
    assert "debug: publish.directory: wrote " in logged.stderr
    assert "debug: " not in logged.stdout


def test_what_is_read_and_written_is_logged(forge: Forge, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lock, seen, tarball = tmp_path / "lock.json", tmp_path / "serials.json", tmp_path / "some.tar"
    tarball.write_bytes(make_layer({"x": b"1"}))
    with caplog.at_level(logging.DEBUG, "fipsmanifest"):
        locks.write(locks.load(lock), "rhel8", ())
        locks.load(lock)
        rollback.check_and_remember(seen, ManifestId("v1.21.3", "rhel8", 1), signed_by="A" * 40, trust=forge.trust())
        built = build_tool(forge.trust_directory)
        list(members_of(tarball))

    said = [record.getMessage() for record in caplog.records]
    assert f"{lock} does not exist: nothing is pinned" in said
    assert f"wrote {lock}: 0 pins of rhel8" in said
    assert f"read {lock}: pins of rhel8" in said
    assert f"{seen}: highest serial of v1.21.3/rhel8 seen is none" in said
    assert f"built dkp-fips-tool {built.version}: {len(built.data)} bytes, SHA-256 {built.sha256}" in said
    assert f"reading {tarball} as tar" in said
