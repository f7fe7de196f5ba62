"""Signing with the real gpg: what is refused, what is reported, and that the passphrase is never visible."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fipsmanifest.errors import Incomplete, NotTrusted, UsageError
from fipsmanifest.sign import keys, signer
from fipsmanifest.sign.gpg import Passphrase, passphrase_from_environment
from fipsmanifest.trust.store import load_trust
from fipsmanifest.trust.verify import verify_cleartext, verify_detached
from tests.support.forge import Forge, payload
from tests.support.gnupg import configure_agent, opened_home

SECRET = "correct horse battery"


def sign(forge: Forge, name: str = "release", data: bytes | None = None) -> bytes:
    trust = forge.trust()
    return signer.sign_manifest(data or payload(), forge.fingerprints[name], trust=trust, gnupghome=forge.home)


@pytest.fixture(scope="module")
def guarded() -> Iterator[tuple[Path, keys.NewKeys]]:
    """A key behind a passphrase, in a home whose agent remembers nothing."""
    with opened_home() as home:
        configure_agent(home, "max-cache-ttl 0", "default-cache-ttl 0", "pinentry-program /bin/false")
        yield home, keys.init(home / "trust", "Guarded <g@example.com>", gnupghome=home, passphrase=Passphrase(SECRET))


class TestSigning:
    """The signed text is the given one, signed by the requested key."""

    def test_a_signed_manifest_reads_back_as_it_went_in(self, forge: Forge) -> None:
        found = verify_cleartext(sign(forge), forge.trust())

        assert found.payload == payload()
        assert found.signature.signing_key == forge.fingerprints["manifest"]
        assert found.signature.hash_name == "SHA512"

    def test_plain_gpg_verifies_it_too(self, forge: Forge) -> None:
        assert forge.gpg("--decrypt", stdin=sign(forge)) == payload()

    def test_the_tools_signature_is_by_the_tools_subkey(self, forge: Forge) -> None:
        trust = forge.trust()
        signature = signer.sign_detached(b"tool", forge.fingerprints["release"], trust=trust, gnupghome=forge.home)

        assert signature.startswith(b"-----BEGIN PGP SIGNATURE-----\n")
        assert verify_detached(b"tool", signature, trust, "tool").signing_key == forge.fingerprints["tool"]

    @pytest.mark.parametrize(
        "data",
        [
            payload(reason="r" * 30000),
            payload()[:-1],
            payload() + b"\n",
            payload().replace(b"\n", b"\r\n"),
            payload().replace(b"{\n", b"{  \n"),
            payload().replace(b"{\n", b"{\f\n"),
        ],
        ids=["a line that gpg truncates", "no line feed", "two line feeds", "CRLF", "trailing blanks", "form feed"],
    )
    def test_what_does_not_read_back_is_not_given_out(self, data: bytes, forge: Forge) -> None:
        with pytest.raises(NotTrusted):
            sign(forge, data=data)


class TestKeyChoice:
    """Which key may sign."""

    def test_a_key_that_trust_does_not_list_is_refused(self, forge: Forge) -> None:
        with pytest.raises(NotTrusted, match="is not trusted for the role manifest") as caught:
            sign(forge, "stranger")

        assert "fipsmanifest keys init" in caught.value.advice

    def test_a_key_of_another_role_is_refused(self, forge: Forge) -> None:
        for name in ("tool", "upstream"):
            with pytest.raises(NotTrusted, match="is not trusted for the role manifest"):
                sign(forge, name)

    def test_an_expired_key_is_refused(self, forge: Forge) -> None:
        with pytest.raises(NotTrusted, match=r"expired on 2024-01-02T"):
            sign(forge, "expired")

    def test_a_retired_key_is_refused(self, forge: Forge, tmp_path: Path) -> None:
        keys.add(tmp_path, forge.certificate("stranger"), "manifest")
        keys.retire(tmp_path, forge.fingerprints["stranger"], "rotated")
        trust = load_trust(str(tmp_path))

        with pytest.raises(NotTrusted, match="retired"):
            signer.sign_manifest(payload(), forge.fingerprints["stranger"], trust=trust, gnupghome=forge.home)

    def test_a_key_whose_secret_is_elsewhere_is_incomplete(self, forge: Forge) -> None:
        with opened_home() as empty:
            with pytest.raises(Incomplete, match="no secret key") as caught:
                signer.sign_manifest(payload(), forge.fingerprints["release"], trust=forge.trust(), gnupghome=empty)
            with pytest.raises(Incomplete, match="no secret key that is trusted"):
                signer.pick_signing_key(forge.trust(), empty)

        assert "keys init" in caught.value.advice and "--signing-key" in caught.value.advice

    def test_of_several_keys_one_must_be_named(self, forge: Forge) -> None:
        with pytest.raises(UsageError, match="more than one manifest key"):
            signer.pick_signing_key(forge.trust(), forge.home)

    def test_the_only_key_is_picked(self, forge: Forge) -> None:
        assert signer.pick_signing_key(forge.trust(), forge.home, "tool") == forge.fingerprints["release"]

    def test_a_missing_gpg_is_incomplete(self, forge: Forge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))

        with pytest.raises(Incomplete, match="gpg is not installed"):
            sign(forge)

    def test_a_home_that_is_not_there_is_a_usage_error(self, forge: Forge, tmp_path: Path) -> None:
        with pytest.raises(UsageError):
            signer.pick_signing_key(forge.trust(), tmp_path / "nowhere")


class TestRemoteAgent:
    """Only gpg uses the secret key, so it may be on another machine: here another home's agent, as ssh forwards it."""

    @pytest.fixture
    def signing_machine(self, forge: Forge) -> Iterator[Path]:
        """A home with the certificate alone, and the forge's restricted agent in the place of its own."""
        with tempfile.TemporaryDirectory(prefix="fm-", dir="/tmp") as name:
            gpg = ["gpg", "--homedir", name, "--batch", "--quiet"]
            subprocess.run([*gpg, "--import"], input=forge.certificate("release"), check=True)
            subprocess.run(["gpgconf", "--homedir", name, "--kill", "all"], check=True, timeout=60)
            subprocess.run(["gpgconf", "--homedir", forge.home, "--launch", "gpg-agent"], check=True, timeout=60)
            own, remote = (
                subprocess.run(
                    ["gpgconf", "--homedir", home, "--list-dirs", what], capture_output=True, check=True
                ).stdout
                for home, what in ((name, "agent-socket"), (forge.home, "agent-extra-socket"))
            )
            # GnuPG's manual, "Agent Configuration": a file in the place of a socket may name another one.
            socket = Path(own.decode().strip())
            socket.unlink(missing_ok=True)
            socket.write_bytes(b"%Assuan%\nsocket=" + remote.strip() + b"\n")
            yield Path(name)
            socket.unlink(missing_ok=True)

    def test_a_forwarded_agent_signs_though_no_secret_is_here(self, signing_machine: Path, forge: Forge) -> None:
        trust, home = forge.trust(), signing_machine

        assert signer.pick_signing_key(trust, home) == forge.fingerprints["release"]
        signed = signer.sign_manifest(payload(), forge.fingerprints["release"], trust=trust, gnupghome=home)
        signature = signer.sign_detached(b"tool", forge.fingerprints["release"], trust=trust, gnupghome=home)

        assert verify_cleartext(signed, trust).signature.signing_key == forge.fingerprints["manifest"]
        assert verify_detached(b"tool", signature, trust, "tool").signing_key == forge.fingerprints["tool"]
        assert not list(home.glob("private-keys-v1.d/*"))


class TestPassphrase:
    """The passphrase comes from the agent, a descriptor or the environment, and only gpg reads it."""

    def test_a_guarded_key_signs_with_its_passphrase(self, guarded: tuple[Path, keys.NewKeys]) -> None:
        home, made = guarded
        trust = load_trust(str(home / "trust"))
        options = {"trust": trust, "gnupghome": home}

        assert signer.sign_manifest(payload(), made.fingerprint, passphrase=Passphrase(SECRET), **options)  # type: ignore[arg-type]

    @pytest.mark.parametrize("given", [None, Passphrase("wrong")], ids=["none", "wrong"])
    def test_without_the_right_passphrase_it_is_incomplete(
        self, given: Passphrase | None, guarded: tuple[Path, keys.NewKeys]
    ) -> None:
        home, made = guarded
        trust = load_trust(str(home / "trust"))

        with pytest.raises(Incomplete) as caught:
            signer.sign_manifest(payload(), made.fingerprint, trust=trust, gnupghome=home, passphrase=given)

        assert "wrong" not in str(caught.value)

    def test_it_comes_from_a_descriptor(self) -> None:
        reader, writer = os.pipe()
        os.write(writer, SECRET.encode() + b"\n")
        os.close(writer)

        found = passphrase_from_environment({"FIPSMANIFEST_PASSPHRASE_FD": str(reader)})
        os.close(reader)

        assert found is not None and found.reveal() == SECRET

    def test_it_comes_from_the_environment(self) -> None:
        found = passphrase_from_environment({"FIPSMANIFEST_PASSPHRASE": SECRET})

        assert found is not None and found.reveal() == SECRET
        assert passphrase_from_environment({}) is None

    @pytest.mark.parametrize(
        "environment",
        [
            {"FIPSMANIFEST_PASSPHRASE": ""},
            {"FIPSMANIFEST_PASSPHRASE": "two\nlines"},
            {"FIPSMANIFEST_PASSPHRASE_FD": "x"},
            {"FIPSMANIFEST_PASSPHRASE_FD": "987"},
            {"FIPSMANIFEST_PASSPHRASE_FD": "0", "FIPSMANIFEST_PASSPHRASE": "x"},
        ],
        ids=str,
    )
    def test_what_is_no_passphrase_is_a_usage_error(self, environment: dict[str, str]) -> None:
        with pytest.raises(UsageError):
            passphrase_from_environment(environment)

    def test_it_shows_itself_to_nobody(self) -> None:
        assert SECRET not in repr(Passphrase(SECRET)) + str(Passphrase(SECRET)) + f"{Passphrase(SECRET)!r}"

    def test_gpg_gets_it_neither_as_an_argument_nor_in_its_environment(
        self, guarded: tuple[Path, keys.NewKeys], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        home, made = guarded
        spy = tmp_path / "gpg"
        spy.write_text(f'#!/bin/sh\n{{ echo "$@"; env; }} >>{tmp_path}/seen\nexec /usr/bin/gpg "$@"\n')
        spy.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        monkeypatch.setenv("FIPSMANIFEST_PASSPHRASE", SECRET)
        trust = load_trust(str(home / "trust"))

        passphrase = passphrase_from_environment()
        signer.sign_manifest(payload(), made.fingerprint, trust=trust, gnupghome=home, passphrase=passphrase)

        seen = (tmp_path / "seen").read_text()
        assert "--clearsign" in seen
        assert SECRET not in seen and "FIPSMANIFEST_PASSPHRASE" not in seen
