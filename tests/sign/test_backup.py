"""The backup that `keys init` makes, restored by gpg itself; and that the passphrase is never visible."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.errors import Conflict, Incomplete, UsageError
from fipsmanifest.sign import backup, signer
from fipsmanifest.sign.gpg import Passphrase, export
from fipsmanifest.trust.store import load_trust
from fipsmanifest.trust.verify import verify_cleartext
from tests.support import command
from tests.support.forge import payload
from tests.support.gnupg import configure_agent, opened_home

SECRET = "correct horse battery"


@dataclass(frozen=True)
class Made:
    """A key made by the command line in a home of its own, whose agent remembers nothing."""

    home: Path
    told: dict[str, Any]
    spoken: str

    @property
    def fingerprint(self) -> str:
        return str(self.told["fingerprint"])

    def file(self, name: str) -> Path:
        return Path(self.told["backup"][name])


def gpg(home: Path, *words: str | Path, code: int = 0, stdin: bytes = b"") -> bytes:
    done = subprocess.run(
        ["gpg", "--homedir", home, "--batch", "--no-tty", *words], input=stdin, capture_output=True, check=False
    )
    assert done.returncode == code, done.stderr.decode()
    return done.stdout


@pytest.fixture(scope="module")
def made() -> Iterator[Made]:
    with opened_home() as directory:
        home = directory / "gnupg"
        home.mkdir(0o700)
        configure_agent(home, "max-cache-ttl 0", "default-cache-ttl 0", "pinentry-program /bin/false")
        words = ["--user-id", "Example release <r@example.com>", "--keys", f"{directory}/keys", "--json"]
        variables = {"PATH": os.environ["PATH"], "HOME": str(directory), "GNUPGHOME": str(home)}
        variables["FIPSMANIFEST_PASSPHRASE"] = SECRET
        done = command.run("keys", "init", *words, env=variables, code=0)
        yield Made(home, json.loads(done.stdout), done.stdout + done.stderr)
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False, timeout=60)


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """Another machine's empty home for gpg."""
    with opened_home() as home:
        configure_agent(home, "pinentry-program /bin/false")
        yield home


def secrets(home: Path) -> dict[str, bool]:
    """Return each key's fingerprint, and whether its secret is there (GnuPG doc/DETAILS: field 15 is # where not)."""
    rows = [row.split(":") for row in gpg(home, "--with-colons", "--list-secret-keys").decode().splitlines()]
    marks = [row[14] for row in rows if row[0] in ("sec", "ssb")]
    return dict(zip([row[9] for row in rows if row[0] == "fpr"], [mark != "#" for mark in marks], strict=True))


class TestWhatIsWritten:
    """Three files for their owner alone, by default in gpg's own home."""

    def test_they_lie_in_gpgs_home_where_no_place_was_named(self, made: Made) -> None:
        directory = made.file("secret").parent
        assert directory.parent == made.home / "fipsmanifest-backups"
        assert directory.stat().st_mode & 0o777 == 0o700
        assert sorted(directory.iterdir()) == sorted(made.file(name) for name in ("secret", "subkeys", "revocation"))
        assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}

    def test_nothing_secret_is_in_the_trust_directory_or_in_what_is_told(self, made: Made) -> None:
        for path in (made.home.parent / "keys").iterdir():
            assert b"PRIVATE" not in path.read_bytes()
        assert SECRET not in made.spoken and "PRIVATE" not in made.spoken


class TestWhatItRestores:
    """On a machine that knew nothing of the key."""

    def test_the_whole_key_comes_back_and_signs_with_its_passphrase_alone(self, made: Made, elsewhere: Path) -> None:
        gpg(elsewhere, "--import", made.file("secret"))
        assert secrets(elsewhere) == dict.fromkeys(
            [made.fingerprint, made.told["manifest_key"], made.told["tool_key"]], True
        )
        trust = load_trust(str(made.home.parent / "keys"))
        options: dict[str, Any] = {"trust": trust, "gnupghome": elsewhere}

        with pytest.raises(Incomplete):
            signer.sign_manifest(payload(), made.fingerprint, **options)
        signed = signer.sign_manifest(payload(), made.fingerprint, passphrase=Passphrase(SECRET), **options)

        assert verify_cleartext(signed, trust).signature.signing_key == made.told["manifest_key"]

    def test_a_signing_machine_signs_without_the_primary(self, made: Made, elsewhere: Path) -> None:
        gpg(elsewhere, "--import", made.file("subkeys"))
        assert secrets(elsewhere) == {
            made.fingerprint: False, made.told["manifest_key"]: True, made.told["tool_key"]: True,
        }  # fmt: skip
        trust = load_trust(str(made.home.parent / "keys"))

        signature = signer.sign_detached(
            b"tool", made.fingerprint, trust=trust, gnupghome=elsewhere, passphrase=Passphrase(SECRET)
        )

        assert signature.startswith(b"-----BEGIN PGP SIGNATURE-----")

    def test_the_revocation_certificate_revokes_as_it_is(self, made: Made, elsewhere: Path) -> None:
        gpg(elsewhere, "--import", made.told["certificate"])
        gpg(elsewhere, "--import", made.file("revocation"))

        rows = gpg(elsewhere, "--with-colons", "--list-keys").decode().splitlines()
        assert [row.split(":")[1] for row in rows if row.startswith("pub:")] == ["r"]


class TestWhatIsRefused:
    """Before a key is made, if it can be known then."""

    def test_a_backup_takes_nobodys_place(self, tmp_path: Path) -> None:
        (tmp_path / "backup").mkdir()
        (tmp_path / "backup" / "other-secret.asc").write_text("another key")

        with pytest.raises(Conflict, match="not empty"), backup.prepared(tmp_path / "backup", tmp_path / "keys"):
            pass

        assert (tmp_path / "backup" / "other-secret.asc").read_text() == "another key"

    @pytest.mark.parametrize("name", ["keys", "keys/backup", "link/backup"])
    def test_the_trust_directory_is_public(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "keys").mkdir()
        (tmp_path / "link").symlink_to("keys")

        with pytest.raises(UsageError, match="public"), backup.prepared(tmp_path / name, tmp_path / "keys"):
            pass

    def test_a_place_that_cannot_be_is_a_usage_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()

        with (
            pytest.raises(UsageError, match="cannot be created"),
            backup.prepared(tmp_path / "file" / "backup", tmp_path / "keys"),
        ):
            pass

    def test_directories_on_the_way_are_private_too(self, tmp_path: Path) -> None:
        with backup.prepared(tmp_path / "new" / "backup", tmp_path / "keys"):
            pass

        assert {path.stat().st_mode & 0o777 for path in (tmp_path / "new", tmp_path / "new/backup")} == {0o700}

    def test_what_does_not_restore_the_key_is_no_backup(
        self, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(backup, "export", lambda _, *words: export("--export-secret-subkeys", *words))
        revocation = Path(made.told["revocation"])

        with pytest.raises(Incomplete, match="does not restore"):
            backup.make(tmp_path, made.fingerprint, revocation, made.home, Passphrase(SECRET))

    @pytest.mark.parametrize("given", [None, Passphrase("wrong")], ids=["none", "wrong"])
    def test_without_the_right_passphrase_gpg_gives_nothing_out(
        self, given: Passphrase | None, made: Made, tmp_path: Path
    ) -> None:
        with pytest.raises(Incomplete, match=r"does not export|right passphrase") as caught:
            backup.make(tmp_path, made.fingerprint, Path(made.told["revocation"]), made.home, given)

        assert "wrong" not in str(caught.value)
        assert not list(tmp_path.iterdir())


def test_no_child_sees_the_passphrase(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("gpg", "gpgconf"):
        spy = tmp_path / name
        spy.write_text(f'#!/bin/sh\n{{ echo "$@"; env; }} >>{tmp_path}/seen\nexec /usr/bin/{name} "$@"\n')
        spy.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("FIPSMANIFEST_PASSPHRASE", SECRET)
    directory = tmp_path / "backup"
    with backup.prepared(directory, tmp_path / "keys"):
        pass

    backup.make(directory, made.fingerprint, Path(made.told["revocation"]), made.home, Passphrase(SECRET))

    seen = (tmp_path / "seen").read_text()
    assert "--export-secret-keys" in seen and "--kill" in seen
    assert SECRET not in seen and "FIPSMANIFEST_PASSPHRASE" not in seen
