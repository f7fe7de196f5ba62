"""``fipsmanifest keys``: the life of a key as its owner sees it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import command
from tests.support.gnupg import opened_home


@pytest.fixture(scope="module")
def gnupghome() -> Iterator[Path]:
    with opened_home() as home:
        yield home


def run(gnupghome: Path, *words: str | Path, code: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": os.environ["PATH"], "GNUPGHOME": str(gnupghome), "HOME": str(gnupghome)} | more
    return command.run("keys", *words, env=variables, code=code)


@pytest.fixture
def made(gnupghome: Path, tmp_path: Path) -> dict[str, str]:
    words: list[str | Path] = [
        "init",
        "--user-id",
        "Example release <r@example.com>",
        "--no-passphrase",
        "--keys",
        tmp_path / "keys",
    ]
    told = json.loads(run(gnupghome, *words, "--json").stdout)
    return {key: str(value) for key, value in told.items()}


def test_a_new_key_certifies_and_its_subkeys_sign(gnupghome: Path, tmp_path: Path, made: dict[str, str]) -> None:
    shown = subprocess.run(
        ["gpg", "--homedir", gnupghome, "--with-colons", "--show-keys", made["certificate"]],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    records = [line.split(":") for line in shown.splitlines()]
    keys = [
        (record[0], record[2], record[3], record[6], record[11]) for record in records if record[0] in ("pub", "sub")
    ]
    # Type, bits, algorithm (1 is RSA), expiry (none), own capabilities in lower case (RFC 4880, 5.2.3.21).
    assert [(kind, bits, algorithm, expiry) for kind, bits, algorithm, expiry, _ in keys] == [
        ("pub", "3072", "1", ""),
        ("sub", "3072", "1", ""),
        ("sub", "3072", "1", ""),
    ]
    assert ["".join(c for c in capabilities if c.islower()) for *_, capabilities in keys] == ["c", "s", "s"]
    assert Path(made["revocation"]).exists()


def test_the_list_says_role_and_days_left(gnupghome: Path, tmp_path: Path, made: dict[str, str]) -> None:
    listed = json.loads(run(gnupghome, "list", "--keys", tmp_path / "keys", "--json").stdout)["keys"]
    assert [(key["role"], key["status"], key["days_left"]) for key in listed] == [
        ("manifest", "active", None),
        ("tool", "active", None),
    ]


def test_an_added_certificate_says_which_of_its_keys_sign(
    gnupghome: Path, tmp_path: Path, made: dict[str, str]
) -> None:
    add: list[str | Path] = ["add", made["certificate"], "--role", "manifest", "--keys"]

    every = run(gnupghome, *add, tmp_path / "every")
    one = run(gnupghome, *add, tmp_path / "one", "--signing-key", made["manifest_key"])

    assert [line for line in every.stdout.splitlines() if "signs with" in line] == [
        f"  signs with {made['manifest_key']}",
        f"  signs with {made['tool_key']}",
    ]
    assert "All these 2 keys may sign; restrict them with --signing-key" in every.stderr
    assert made["tool_key"] not in one.stdout
    assert f"Signatures of its key {made['tool_key']} are not accepted" in one.stderr
    listed = json.loads(run(gnupghome, "list", "--keys", tmp_path / "one", "--json").stdout)["keys"]
    assert [(key["signing_keys"], key["unnamed_keys"], key["can_sign"]) for key in listed] == [
        ([made["manifest_key"]], [made["tool_key"]], True)
    ]


def test_the_list_says_what_can_no_longer_sign(gnupghome: Path, tmp_path: Path) -> None:
    words = ["gpg", "--homedir", str(gnupghome), "--batch", "--passphrase", ""]
    at = ["--faked-system-time", "20240101T000000!"]
    user = "old@example.com"
    subprocess.run([*words, *at, "--quick-gen-key", user, "rsa3072", "sign", "1d"], capture_output=True, check=True)
    exported = subprocess.run([*words, "--export", user], capture_output=True, check=True).stdout
    (tmp_path / "old.gpg").write_bytes(exported)
    add: list[str | Path] = ["add", tmp_path / "old.gpg", "--keys", tmp_path / "keys", "--role"]
    assert "expired on 2024-01-02" in run(gnupghome, *add, "manifest", code=3).stderr
    assert "warning: " in run(gnupghome, *add, "upstream").stderr
    document = (tmp_path / "keys/trust.json").read_text()
    (tmp_path / "keys/trust.json").write_text(document.replace("upstream", "manifest"))

    shown = run(gnupghome, "list", "--keys", tmp_path / "keys")
    told = json.loads(run(gnupghome, "list", "--keys", tmp_path / "keys", "--json").stdout)["keys"][0]

    assert "active, cannot sign" in shown.stdout and "expired" in shown.stdout
    assert "nothing that it signed is accepted" in shown.stderr
    assert (told["can_sign"], told["openpgp_expires"], told["days_left"] < 0) == (False, "2024-01-02T00:00:00Z", True)


def test_a_key_is_retired_and_revoked_with_a_reason(gnupghome: Path, tmp_path: Path, made: dict[str, str]) -> None:
    keys = tmp_path / "keys"
    run(gnupghome, "retire", made["fingerprint"], "--reason", "yearly rotation", "--keys", keys)
    listed = json.loads(run(gnupghome, "list", "--keys", keys, "--json").stdout)["keys"]
    assert {(key["status"], key["reason"]) for key in listed} == {("retired", "yearly rotation")}
    run(gnupghome, "revoke", made["fingerprint"], "--reason", "stolen", "--keys", keys)
    listed = json.loads(run(gnupghome, "list", "--keys", keys, "--json").stdout)["keys"]
    assert {(key["status"], key["reason"]) for key in listed} == {("revoked", "stolen")}


def test_an_exported_key_is_one_that_gpg_reads(gnupghome: Path, tmp_path: Path, made: dict[str, str]) -> None:
    for form, words in (("armored", []), ("binary", ["--binary"])):
        target = tmp_path / form
        run(gnupghome, "export", made["fingerprint"], "--keys", tmp_path / "keys", "--output", target, *words)
        shown = subprocess.run(
            ["gpg", "--homedir", gnupghome, "--with-colons", "--show-keys", target],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert f"fpr:::::::::{made['fingerprint']}:" in shown


def test_another_fingerprint_than_the_file_has_is_not_added(
    gnupghome: Path, tmp_path: Path, made: dict[str, str]
) -> None:
    words: list[str | Path] = [
        "add",
        made["certificate"],
        "--role",
        "upstream",
        "--fingerprint",
        "A" * 40,
        "--keys",
        tmp_path / "other",
    ]
    assert made["fingerprint"] in run(gnupghome, *words, code=3).stderr
    assert not (tmp_path / "other" / "trust.json").exists()


def test_a_weak_key_is_not_added(gnupghome: Path, tmp_path: Path) -> None:
    subprocess.run(
        [
            "gpg",
            "--homedir",
            gnupghome,
            "--batch",
            "--passphrase",
            "",
            "--quick-gen-key",
            "weak@example.com",
            "rsa1024",
        ],
        capture_output=True,
        check=True,
    )
    certificate = tmp_path / "weak.asc"
    exported = ["gpg", "--homedir", str(gnupghome), "--armor", "--export", "weak@example.com"]
    certificate.write_bytes(subprocess.run(exported, capture_output=True, check=True).stdout)
    told = run(gnupghome, "add", certificate, "--role", "manifest", "--keys", tmp_path / "keys", code=3).stderr
    assert "1024" in told


def test_a_key_for_cosign_is_made_beside_it_and_its_public_half_goes_into_the_trust_directory(
    gnupghome: Path, tmp_path: Path
) -> None:
    private = tmp_path / "secret" / "release.key"
    words = ("init", "--user-id", "Example release <r@example.com>", "--no-passphrase", "--keys", tmp_path / "keys")

    told = json.loads(run(gnupghome, *words, "--cosign", private, "--json").stdout)["cosign"]

    public = subprocess.run(
        ["openssl", "pkey", "-in", private, "-pubout"], capture_output=True, check=True
    ).stdout  # fmt: skip
    assert (tmp_path / "keys" / "cosign.pub").read_bytes() == public
    assert told["key"] == str(private)
    # The second is refused before gpg makes a key.
    again = run(gnupghome, *words, "--cosign", private, code=6)
    assert "exists already" in again.stderr
    inside = run(gnupghome, *words, "--cosign", tmp_path / "keys" / "x.key", code=2)
    assert "public" in inside.stderr


def test_passphrases_that_are_not_used_are_named(gnupghome: Path, tmp_path: Path) -> None:
    words = ("init", "--user-id", "Example release <r@example.com>", "--no-passphrase", "--keys", tmp_path / "keys")
    private = tmp_path / "release.key"

    told = run(gnupghome, *words, "--cosign", private, COSIGN_PASSWORD="one", FIPSMANIFEST_PASSPHRASE="two")

    for name in ("COSIGN_PASSWORD", "FIPSMANIFEST_PASSPHRASE"):
        assert f"note: {name} is set and not used: with --no-passphrase, keys have none.\n" in told.stderr
    assert b"ENCRYPTED" not in private.read_bytes()


def test_a_key_for_cosign_without_a_passphrase_or_a_terminal_is_not_made(gnupghome: Path, tmp_path: Path) -> None:
    words = ("init", "--user-id", "Example release <r@example.com>", "--keys", tmp_path / "keys")

    ended = run(gnupghome, *words, "--cosign", tmp_path / "release.key", code=2)

    assert "COSIGN_PASSWORD" in ended.stderr
    assert not (tmp_path / "keys").exists()
