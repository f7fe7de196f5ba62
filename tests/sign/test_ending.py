"""The end of a key's life, as verifiers see it: revocation is final, and an ended lifetime is not extended."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.errors import Conflict, NotTrusted, UsageError
from fipsmanifest.sign import keys
from fipsmanifest.trust import openpgp
from fipsmanifest.trust.store import load_trust
from fipsmanifest.trust.verify import verify_cleartext, verify_detached
from tests.support.forge import Forge, entry, payload

NOW = datetime.now(UTC)


@pytest.fixture
def directory(forge: Forge, tmp_path: Path) -> Path:
    """Copy the directory with the certify-only `release`, whose subkeys `manifest` and `tool` have an entry each."""
    return Path(shutil.copytree(forge.trust_directory, tmp_path / "keys"))


def listed(directory: Path) -> list[dict[str, Any]]:
    return list(json.loads((directory / "trust.json").read_text())["keys"])


def entries_of(directory: Path, forge: Forge) -> list[tuple[str, str, str]]:
    """Return (name of the key, role, status) of the entries that speak of the release certificate."""
    names = {forge.fingerprints[name]: name for name in ("release", "manifest", "tool")}
    return [
        (names[one["fingerprint"]], one["role"], one["status"])
        for one in listed(directory)
        if one["fingerprint"] in names
    ]


def manifest_is_good(directory: Path, forge: Forge, name: str = "manifest") -> bool:
    try:
        verify_cleartext(forge.clearsign(payload(), name), load_trust(str(directory)))
    except NotTrusted as error:
        assert "is revoked" in error.message or "is not trusted" in error.message, error.message
        return False
    return True


def tool_is_good(directory: Path, forge: Forge) -> bool:
    try:
        verify_detached(b"tool", forge.detach(b"tool"), load_trust(str(directory)), "tool")
    except NotTrusted as error:
        assert "is revoked" in error.message, error.message
        return False
    return True


class TestNoWayBack:
    """A key that has ended, or that has another role, does not come into force by mistake."""

    @pytest.mark.parametrize("end", [keys.retire, keys.revoke], ids=["retired", "revoked"])
    @pytest.mark.parametrize(
        ("ended", "name"),
        [("manifest", "release"), ("manifest", "manifest"), ("release", "release"), ("release", "manifest")],
    )
    def test_adding_the_certificate_again_names_neither_the_ended_key_nor_the_tools(
        self, end: Any, ended: str, name: str, forge: Forge, directory: Path
    ) -> None:
        own = forge.fingerprints
        end(directory, own[ended], "rotation")
        before = (directory / "trust.json").read_bytes()
        again: list[dict[str, Any]] = [
            {"fingerprint": own["release"], "signing_keys": (own["manifest"],)},
            {"fingerprint": own["release"], "valid_from": NOW},
            {"fingerprint": own["manifest"], "valid_from": NOW},
        ]
        # An entry of just this key is there, and the certificate alone is renewed, unless it is revoked.
        if end is keys.revoke or name != ended:
            again.append({"fingerprint": own[name]})

        for how in again:
            for role in ("manifest", "upstream"):
                with pytest.raises(Conflict):
                    keys.add(directory, forge.certificate("release"), role, **how)

        assert (directory / "trust.json").read_bytes() == before

    def test_a_new_subkey_is_named_alone(self, forge: Forge, tmp_path: Path) -> None:
        forge.make_key("rotating", "rsa3072", usage="cert")
        old = forge.add_signing_subkey("first", "rotating")
        keys.add(tmp_path, forge.certificate("rotating"), "manifest")
        keys.retire(tmp_path, old, "rotation")
        time.sleep(1)  # the time of a signature has no fraction
        new = forge.add_signing_subkey("second", "rotating")

        assert keys.add(tmp_path, forge.certificate("rotating"), "manifest").signing_keys == (new,)
        assert not manifest_is_good(tmp_path, forge, "tool")
        with pytest.raises(NotTrusted, match="after the end of key"):
            verify_cleartext(forge.clearsign(payload(), "first"), load_trust(str(tmp_path)))

    def test_a_retired_key_keeps_its_end_while_its_certificate_is_renewed(self, forge: Forge, directory: Path) -> None:
        (ended,) = keys.retire(directory, forge.fingerprints["manifest"], "rotation")

        renewed = keys.add(
            directory, forge.certificate("release"), "manifest", fingerprint=forge.fingerprints["manifest"]
        )

        assert renewed == load_trust(str(directory)).keys[0] == ended

    def test_a_lifetime_that_ends_before_the_key_was_made_is_none(self, forge: Forge, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="before it begins"):
            keys.add(tmp_path, forge.certificate("plain"), "manifest", valid_to=datetime(2000, 1, 1, tzinfo=UTC))


class TestRetiring:
    """`keys retire` only removes permissions."""

    @pytest.mark.parametrize("role", [None, "manifest", "tool"])
    @pytest.mark.parametrize("revoked", [None, "tool"])
    def test_a_revoked_key_is_not_retired(
        self, revoked: str | None, role: str | None, forge: Forge, directory: Path
    ) -> None:
        keys.revoke(directory, forge.fingerprints["release"], "stolen", role=revoked)
        before = (directory / "trust.json").read_bytes()

        with pytest.raises(Conflict, match=r"revoked \(stolen\)"):
            keys.retire(directory, forge.fingerprints["release"], "rotation", role=role)

        assert (directory / "trust.json").read_bytes() == before

    def test_the_rest_of_a_certificate_with_a_revoked_subkey_is_retired_by_its_subkey(
        self, forge: Forge, directory: Path
    ) -> None:
        keys.revoke(directory, forge.fingerprints["tool"], "stolen")

        keys.retire(directory, forge.fingerprints["manifest"], "rotation")

        assert entries_of(directory, forge) == [("manifest", "manifest", "retired"), ("tool", "tool", "revoked")]

    def test_a_retired_key_can_be_revoked_and_keeps_that_reason(self, forge: Forge, directory: Path) -> None:
        keys.retire(directory, forge.fingerprints["plain"], "rotation", replaced_by="B" * 40)
        keys.revoke(directory, forge.fingerprints["plain"], "stolen")

        found = next(one for one in listed(directory) if one["fingerprint"] == forge.fingerprints["plain"])
        assert (found["status"], found["reason"], found["replaced_by"]) == ("revoked", "stolen", "B" * 40)

    def test_a_lifetime_that_had_ended_is_not_made_longer(self, forge: Forge, tmp_path: Path) -> None:
        end = datetime(2026, 1, 1, tzinfo=UTC)
        start = datetime(2025, 1, 1, tzinfo=UTC)
        keys.add(tmp_path, forge.certificate("plain"), "manifest", valid_from=start, valid_to=end)

        first = keys.retire(tmp_path, forge.fingerprints["plain"], "rotation", replaced_by="B" * 40)
        second = keys.retire(tmp_path, forge.fingerprints["plain"], "again")

        assert [key.valid_to for key in first + second] == [end, end]
        assert [key.replaced_by for key in first + second] == ["B" * 40, "B" * 40]

    def test_a_lifetime_that_would_end_later_ends_now(self, forge: Forge, tmp_path: Path) -> None:
        keys.add(tmp_path, forge.certificate("plain"), "manifest", valid_to=NOW + timedelta(days=400))

        ended = keys.retire(tmp_path, forge.fingerprints["plain"], "rotation")[0].valid_to

        assert ended is not None and ended < NOW + timedelta(days=1)

    def test_one_subkey_of_an_entry_for_all_is_retired_alone(self, forge: Forge, tmp_path: Path) -> None:
        keys.add(tmp_path, forge.certificate("release"), "manifest", signing_keys=(forge.fingerprints["manifest"],))
        document = json.loads((tmp_path / "trust.json").read_text())
        document["keys"][0]["signing_keys"] = []
        (tmp_path / "trust.json").write_text(json.dumps(document))

        keys.retire(tmp_path, forge.fingerprints["tool"], "moved", at=NOW - timedelta(days=1))

        with pytest.raises(NotTrusted, match="after the end of key"):
            verify_cleartext(forge.clearsign(payload(), "tool"), load_trust(str(tmp_path)))
        assert manifest_is_good(tmp_path, forge)


class TestRevoking:
    """`keys revoke` reaches everything that the key could sign with."""

    def test_a_stolen_subkey_is_refused_for_any_date_and_the_others_stay(self, forge: Forge, directory: Path) -> None:
        assert manifest_is_good(directory, forge) and tool_is_good(directory, forge)

        changed = keys.revoke(directory, forge.fingerprints["manifest"], "stolen")

        assert [(key.fingerprint, key.status) for key in changed] == [(forge.fingerprints["manifest"], "revoked")]
        assert not manifest_is_good(directory, forge) and tool_is_good(directory, forge)
        assert entries_of(directory, forge) == [("manifest", "manifest", "revoked"), ("release", "tool", "active")]

    def test_a_stolen_subkey_of_an_entry_for_all_is_refused_and_the_others_stay(
        self, forge: Forge, tmp_path: Path
    ) -> None:
        keys.add(tmp_path, forge.certificate("release"), "manifest", signing_keys=(forge.fingerprints["manifest"],))
        document = json.loads((tmp_path / "trust.json").read_text())
        document["keys"][0]["signing_keys"] = []
        (tmp_path / "trust.json").write_text(json.dumps(document))

        keys.revoke(tmp_path, forge.fingerprints["manifest"], "stolen")

        assert not manifest_is_good(tmp_path, forge) and manifest_is_good(tmp_path, forge, "tool")

    def test_a_revoked_primary_takes_an_entry_for_its_subkey_along(self, forge: Forge, tmp_path: Path) -> None:
        keys.add(tmp_path, forge.certificate("release"), "manifest", fingerprint=forge.fingerprints["manifest"])
        assert manifest_is_good(tmp_path, forge)

        keys.revoke(tmp_path, forge.fingerprints["release"], "stolen")

        assert not manifest_is_good(tmp_path, forge)
        assert [one["status"] for one in listed(tmp_path)] == ["revoked"]

    def test_by_a_revoked_primary_no_subkey_is_believed_whatever_the_file_says(
        self, forge: Forge, tmp_path: Path
    ) -> None:
        release, manifest, tool = (forge.fingerprints[name] for name in ("release", "manifest", "tool"))
        (tmp_path / "release.gpg").write_bytes(forge.certificate("release"))
        revoked = entry(release, role="tool", status="revoked", signing_keys=[tool], reason="stolen")
        for other in (entry(manifest), entry(release, signing_keys=[manifest])):
            document = {"schema": "fipsmanifest/trust/v1", "keys": [other, revoked]}
            (tmp_path / "trust.json").write_text(json.dumps(document))

            assert not manifest_is_good(tmp_path, forge)

    def test_a_role_means_the_subkeys_that_have_it(self, forge: Forge, directory: Path) -> None:
        keys.revoke(directory, forge.fingerprints["release"], "stolen", role="tool")

        assert entries_of(directory, forge) == [("release", "manifest", "active"), ("tool", "tool", "revoked")]
        assert manifest_is_good(directory, forge) and not tool_is_good(directory, forge)

    def test_a_subkey_of_a_revoked_primary_stays_revoked_with_it(self, forge: Forge, directory: Path) -> None:
        keys.revoke(directory, forge.fingerprints["release"], "stolen")
        before = listed(directory)

        keys.revoke(directory, forge.fingerprints["manifest"], "the subkey, too")

        assert listed(directory) == before

    def test_what_is_revoked_is_not_added_again(self, forge: Forge, directory: Path) -> None:
        manifest, tool = forge.fingerprints["manifest"], forge.fingerprints["tool"]
        keys.revoke(directory, manifest, "stolen")
        certificate = forge.certificate("release")
        for changes in ({"fingerprint": manifest}, {"signing_keys": (tool, manifest)}):
            with pytest.raises(Conflict, match=r"revoked \(stolen\)"):
                keys.add(directory, certificate, "manifest", **changes)

    @pytest.mark.parametrize("fingerprint", ["", "B66FE766B44D3085", "B" * 39, "\x1b[31m" + "B" * 35])
    def test_a_successor_is_named_in_full(self, fingerprint: str, forge: Forge, directory: Path) -> None:
        for change in (keys.retire, keys.revoke):
            with pytest.raises(UsageError, match="full fingerprint"):
                change(directory, forge.fingerprints["release"], "rotation", replaced_by=fingerprint)


class TestCertificates:
    """What certificates in the directory state about themselves and others."""

    def test_an_older_copy_does_not_take_a_revocation_back(self, forge: Forge, tmp_path: Path) -> None:
        fingerprint = forge.make_key("departed", "rsa3072")
        before = forge.certificate("departed")
        revocation = (forge.home / "openpgp-revocs.d" / f"{fingerprint}.rev").read_bytes()
        forge.gpg("--import", stdin=revocation.replace(b":-----BEGIN", b"-----BEGIN"))
        after = forge.certificate("departed")
        keys.add(tmp_path, before, "upstream")
        keys.add(tmp_path, after, "upstream")

        with pytest.raises(Conflict, match="with a revocation"):
            keys.add(tmp_path, before, "upstream")
        for name in ("0.gpg", "z.gpg"):
            (tmp_path / name).write_bytes(before)
            with pytest.raises(NotTrusted, match="not all have its revocation"):
                load_trust(str(tmp_path))
            (tmp_path / name).unlink()

    def test_a_certificate_with_anothers_key_appended_does_not_stand_in_for_it(
        self, forge: Forge, directory: Path
    ) -> None:
        key = next(p for p in openpgp._packets(forge.certificate("release")) if p.tag == openpgp._PUBLIC_KEY)
        path = directory / f"{forge.fingerprints['upstream']}.asc"
        path.unlink()
        forged = forge.certificate("upstream") + b"\xce\xff" + len(key.body).to_bytes(4, "big") + key.body
        (directory / "0.gpg").write_bytes(forged)

        assert manifest_is_good(directory, forge)
        assert len(load_trust(str(directory)).carried().certificates) == 3


class TestTheDirectory:
    """Other things in the directory, and others who change it."""

    def test_a_directory_or_pipe_called_like_a_certificate_is_passed_over(self, forge: Forge, directory: Path) -> None:
        (directory / "d.asc").mkdir()
        os.mkfifo(directory / "pipe.gpg")

        assert keys.retire(directory, forge.fingerprints["plain"], "rotation")[0].status == "retired"

    def test_two_changes_at_once_both_last(self, forge: Forge, tmp_path: Path) -> None:
        certificates = [forge.certificate(name) for name in ("plain", "stranger")]
        context = multiprocessing.get_context("spawn")
        with context.Pool(2) as pool:
            pool.map(abs, range(8))
            for turn in range(12):
                directory = tmp_path / str(turn)
                keys.add(directory, certificates[0], "upstream")
                revoked = pool.apply_async(keys.revoke, (directory, forge.fingerprints["plain"], "stolen"))
                added = pool.apply_async(keys.add, (directory, certificates[1], "upstream"))
                revoked.get(), added.get()
                assert [one["status"] for one in listed(directory)] == ["revoked", "active"]

    def test_a_lifetime_does_not_end_before_it_begins(self, forge: Forge, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="before it begins"):
            keys.add(tmp_path, forge.certificate("plain"), "manifest", valid_from=NOW, valid_to=NOW - timedelta(days=1))
        with pytest.raises(UsageError, match="before it begins"):
            keys.init(tmp_path, "Release <r@example.com>", gnupghome=forge.home, valid_to=NOW - timedelta(days=1))

        assert not list(tmp_path.iterdir())
