"""``fipsmanifest verify --cosign-key``: by a Sigstore bundle alone, or with the trust directory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fipsmanifest.generate.tool import build_tool
from fipsmanifest.sign import cosign
from tests.support import command
from tests.support import cosign as real
from tests.support import forge as forge_module
from tests.support.faultyhttp import FaultyServer
from tests.support.forge import Forge, payload

NAME = "manifest-rhel8.json.asc"


@pytest.fixture(scope="module")
def forge() -> Iterator[Forge]:
    with forge_module.opened() as opened:
        yield opened


@pytest.fixture
def key(tmp_path: Path) -> cosign.SigningKey:
    (tmp_path / "keys").mkdir()
    return cosign.create(tmp_path / "release.key", tmp_path / "keys", None)


def verify(home: Path, *words: str | Path, code: int = 0) -> tuple[str, str]:
    ended = command.run_at(home, "verify", *words, code=code)
    return ended.stdout, ended.stderr


def write(directory: Path, data: bytes, bundle: bytes, name: str = NAME) -> Path:
    (directory / f"{name}.sigstore.json").write_bytes(bundle)
    path = directory / name
    path.write_bytes(data)
    return path


def test_the_public_key_alone_is_enough(forge: Forge, key: cosign.SigningKey, tmp_path: Path) -> None:
    signed = forge.clearsign(payload())
    path, public = write(tmp_path, signed, key.sign(signed)), tmp_path / "keys" / "cosign.pub"

    told = json.loads(verify(tmp_path, path, "--cosign-key", public, "--json", "--kubernetes", "v1.21.3")[0])

    assert (told["valid"], told["serial"], told["el"], told["kind"]) == (True, 2, 8, "manifest")
    assert (told["cosign_key"], told["fingerprint"], told["signed_at"]) == (key.public.fingerprint, None, None)
    text, _ = verify(tmp_path, path, "--cosign-key", public)
    assert "VALID" in text and key.public.fingerprint in text and "it has no date and no role" in text
    # It has neither, so nothing may say that it shows them.
    assert "and when" not in text and "may sign" not in text


@real.on_debian_12
def test_a_bundle_that_cosign_made_is_accepted(forge: Forge, tmp_path: Path) -> None:
    real.make_key(tmp_path)
    path = tmp_path / NAME
    path.write_bytes(forge.clearsign(payload()))
    real.sign(path, tmp_path / "cosign.key").rename(tmp_path / f"{NAME}.sigstore.json")

    assert "VALID" in verify(tmp_path, path, "--cosign-key", "cosign.pub")[0]


def test_with_a_trust_directory_both_must_have_signed(forge: Forge, key: cosign.SigningKey, tmp_path: Path) -> None:
    signed = forge.clearsign(payload())
    words = ("--cosign-key", tmp_path / "keys/cosign.pub", "--keys", forge.trust_directory, "--json")

    told = json.loads(verify(tmp_path, write(tmp_path, signed, key.sign(signed)), *words)[0])
    assert (told["fingerprint"], told["cosign_key"]) == (forge.fingerprints["release"], key.public.fingerprint)

    stranger = forge.clearsign(payload(), "tool")
    verify(tmp_path, write(tmp_path, stranger, key.sign(stranger)), *words, code=3)
    verify(tmp_path, write(tmp_path, signed, key.sign(stranger)), *words, code=3)


def test_a_node_tool_needs_no_detached_signature(forge: Forge, key: cosign.SigningKey, tmp_path: Path) -> None:
    tool = build_tool(forge.trust_directory).data
    path = write(tmp_path, tool, key.sign(tool), "dkp-fips-tool")

    told = json.loads(verify(tmp_path, path, "--cosign-key", tmp_path / "keys/cosign.pub", "--json")[0])

    assert (told["kind"], told["valid"]) == ("tool", True)


def test_a_node_tool_under_a_manifests_name_is_not_trusted(
    forge: Forge, key: cosign.SigningKey, tmp_path: Path
) -> None:
    tool = build_tool(forge.trust_directory).data

    _, error = verify(tmp_path, write(tmp_path, tool, key.sign(tool)), "--cosign-key", "keys/cosign.pub", code=3)

    assert "is the node tool, not the manifest rhel8" in error


def test_a_lower_serial_is_refused_once_a_higher_one_was_verified(
    forge: Forge, key: cosign.SigningKey, tmp_path: Path
) -> None:
    words = ("--cosign-key", tmp_path / "keys/cosign.pub")
    new, old = (forge.clearsign(payload(serial=serial)) for serial in (3, 2))
    verify(tmp_path, write(tmp_path, new, key.sign(new)), *words)

    _, error = verify(tmp_path, write(tmp_path, old, key.sign(old)), *words, code=3)

    assert "serial 3 was seen before" in error


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data, bundle: (data.replace(b"v1.21.3", b"v1.21.4"), bundle), "bad-signature"),
        (lambda data, bundle: (data + b"\n", bundle), "bad-signature"),
        (lambda data, bundle: (data, bundle[:0]), "malformed"),
        (lambda data, bundle: (data, bundle[:-10]), "malformed"),
    ],
    ids=["other content", "text after the block", "empty bundle", "truncated bundle"],
)
def test_what_was_changed_is_refused(
    change: object, reason: str, forge: Forge, key: cosign.SigningKey, tmp_path: Path
) -> None:
    signed = forge.clearsign(payload())
    assert callable(change)
    path = write(tmp_path, *change(signed, key.sign(signed)))

    told = json.loads(verify(tmp_path, path, "--cosign-key", tmp_path / "keys/cosign.pub", "--json", code=3)[0])

    assert (told["valid"], told["error"]["reason"]) == (False, reason)


def test_a_signed_document_of_another_kind_or_release_is_refused(
    forge: Forge, key: cosign.SigningKey, tmp_path: Path
) -> None:
    public = tmp_path / "keys/cosign.pub"
    signed, plain = forge.clearsign(payload()), payload()
    path = write(tmp_path, signed, key.sign(signed))
    verify(tmp_path, path, "--cosign-key", public, "--el", "7", code=3)
    verify(tmp_path, path, "--cosign-key", public, "--min-serial", "3", code=3)
    # Signed by the key, and not a cleartext-signed file.
    verify(tmp_path, write(tmp_path, plain, key.sign(plain)), "--cosign-key", public, code=3)


def test_usage_is_explained(forge: Forge, key: cosign.SigningKey, tmp_path: Path) -> None:
    public = tmp_path / "keys/cosign.pub"
    path = tmp_path / NAME
    path.write_bytes(forge.clearsign(payload()))

    assert "sigstore.json does not exist" in verify(tmp_path, path, "--cosign-key", public, code=2)[1]
    assert "beside it" in verify(tmp_path, "-", "--cosign-key", public, code=2)[1]
    assert "cannot be read" in verify(tmp_path, path, "--cosign-key", "missing.pub", code=2)[1]
    assert "--fingerprint" in verify(tmp_path, path, "--cosign-key", public, "--fingerprint", "A" * 40, code=2)[1]
    assert "P-256" in verify(tmp_path, path, "--cosign-key", tmp_path / "release.key", code=3)[1]


def test_file_and_bundle_are_fetched_from_an_address(forge: Forge, key: cosign.SigningKey, tmp_path: Path) -> None:
    signed = forge.clearsign(payload())
    served = tmp_path / "served"
    served.mkdir()
    write(served, signed, key.sign(signed))
    with FaultyServer(served) as server:
        told, _ = verify(tmp_path, f"{server.url}/{NAME}", "--cosign-key", tmp_path / "keys/cosign.pub")

    assert "VALID" in told


def test_what_is_missing_beside_a_file_is_named_with_where_to_get_it(key: cosign.SigningKey, tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_text("signed\n")

    _, said = verify(tmp_path, path, "--cosign-key", tmp_path / "keys/cosign.pub", code=2)

    assert f"{path}.sigstore.json does not exist" in said
    assert f"Get it from where {path} is from" in said
