"""Which keys are trusted, in which role, and when: roles, lifetimes, revocation, strength, hostile certificates."""

from __future__ import annotations

import json
import os
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.errors import NotTrusted, UsageError
from fipsmanifest.generate.tool import build_tool
from fipsmanifest.sign import keys, listing
from fipsmanifest.trust import armor, openpgp
from fipsmanifest.trust.keys import Trust
from fipsmanifest.trust.store import load_trust, parse_trust
from fipsmanifest.trust.text import write_time
from fipsmanifest.trust.verify import verify_cleartext, verify_detached, verify_upstream
from tests.support.forge import Forge, Pinned, entry, payload
from tests.trust.key_attacks import (
    given_up,
    shared_subkey,
    silenced,
    trusting_silenced,
    unhashed_permission,
    with_changed_binding,
    with_damaged_back_signature,
    with_damaged_binding,
    with_subkey,
    without_back_signature,
)

NOW = datetime.now(UTC)


def trusting(certificates: list[bytes], *entries: dict[str, Any]) -> Trust:
    return Pinned(certificates, entries).load()


def refusal(forge: Forge, trust: Trust, name: str = "plain") -> str:
    with pytest.raises(NotTrusted) as caught:
        verify_cleartext(forge.clearsign(payload(), name), trust)
    return caught.value.message


class TestLifetime:
    """A key's lifetime is judged at the time of the signature."""

    def test_a_retired_keys_older_signatures_stay_good(self, forge: Forge) -> None:
        end = write_time(NOW + timedelta(days=1))
        trust = trusting(
            [forge.certificate("plain")], entry(forge.fingerprints["plain"], status="retired", valid_to=end)
        )

        assert verify_cleartext(forge.clearsign(payload(), "plain"), trust).signature.trusted.status == "retired"

    def test_a_retired_keys_newer_signatures_are_refused(self, forge: Forge) -> None:
        end = write_time(NOW - timedelta(days=1))
        retired = entry(
            forge.fingerprints["plain"], status="retired", valid_to=end, reason="rotated", replaced_by="B" * 40
        )
        message = refusal(forge, trusting([forge.certificate("plain")], retired))

        assert "after the end of key" in message and "rotated" in message

    def test_a_revoked_keys_signatures_are_refused_whatever_their_date(self, forge: Forge) -> None:
        revoked = entry(forge.fingerprints["plain"], status="revoked", reason="stolen")
        message = refusal(forge, trusting([forge.certificate("plain")], revoked))

        assert "is revoked (stolen)" in message

    def test_old_and_new_key_overlap_during_a_rotation(self, forge: Forge) -> None:
        trust = trusting(
            [forge.certificate("plain"), forge.certificate("stranger")],
            entry(forge.fingerprints["plain"], replaced_by=forge.fingerprints["stranger"]),
            entry(forge.fingerprints["stranger"]),
        )

        for name in ("plain", "stranger"):
            assert verify_cleartext(forge.clearsign(payload(), name), trust).fingerprint == forge.fingerprints[name]

    def test_a_key_near_its_end_is_warned_of(self, forge: Forge) -> None:
        soon = entry(forge.fingerprints["plain"], valid_to=write_time(NOW + timedelta(days=89)))
        found = verify_cleartext(forge.clearsign(payload(), "plain"), trusting([forge.certificate("plain")], soon))

        assert "is valid until" in found.warnings[0]


class TestRoles:
    """Which key may sign what."""

    def test_a_subkey_can_be_pinned_without_its_primary(self, forge: Forge) -> None:
        trust = trusting([forge.certificate("release")], entry(forge.fingerprints["manifest"]))

        assert verify_cleartext(forge.clearsign(payload()), trust).fingerprint == forge.fingerprints["manifest"]
        assert "is not trusted" in refusal(forge, trust, "tool")

    def test_a_pinned_primary_admits_its_bound_subkeys(self, forge: Forge) -> None:
        trust = trusting([forge.certificate("release")], entry(forge.fingerprints["release"]))

        assert verify_cleartext(forge.clearsign(payload()), trust).signature.primary == forge.fingerprints["release"]

    def test_a_certificate_without_an_entry_is_not_trusted(self, forge: Forge) -> None:
        trust = trusting(
            [forge.certificate("plain"), forge.certificate("stranger")], entry(forge.fingerprints["plain"])
        )

        assert "not trusted here" in refusal(forge, trust, "stranger")

    def test_the_tool_is_verified_by_the_tools_key_alone(self, forge: Forge) -> None:
        trust = forge.trust()

        assert verify_detached(b"tool", forge.detach(b"tool"), trust, "tool").trusted.role == "tool"
        with pytest.raises(NotTrusted, match="for manifest only, not for tool"):
            verify_detached(b"tool", forge.detach(b"tool", "manifest"), trust, "tool")

    def test_a_detached_signature_must_fit_the_bytes_and_be_one_of_class_00(self, forge: Forge) -> None:
        trust = forge.trust()
        for data, signature in [
            (b"other", forge.detach(b"tool")),
            (b"tool", forge.detach(b"tool", "tool", "--textmode")),
            (b"tool", forge.detach(b"tool", armor=False) * 2),
            (b"tool", forge.gpg("--local-user", forge.fingerprints["tool"] + "!", "--sign", stdin=b"tool")),
            (b"tool", b""),
            (b"tool", b"-----BEGIN PGP SIGNATURE-----\n"),
            (payload(), forge.clearsign(payload())),
        ]:
            with pytest.raises(NotTrusted):
                verify_detached(data, signature, trust, "tool")

    def test_upstream_signatures_need_rsa_and_sha_256(self, forge: Forge) -> None:
        trust = forge.trust()

        assert verify_upstream(b"rpm", forge.detach(b"rpm", "upstream", armor=False), trust)
        with pytest.raises(NotTrusted, match="SHA1"):
            verify_upstream(b"rpm", forge.detach(b"rpm", "upstream", "--digest-algo", "SHA1"), trust)
        with pytest.raises(NotTrusted, match="not trusted here"):
            verify_upstream(b"rpm", forge.detach(b"rpm", "dsa"), trust)

    def test_an_upstream_key_may_have_expired_after_it_signed(self, forge: Forge) -> None:
        trust = trusting([forge.certificate("expired")], entry(forge.fingerprints["expired"], role="upstream"))

        in_time = forge.detach(b"rpm", "expired", "--faked-system-time", "20240101T230000!")
        assert "expired on 2024-01-02" in verify_upstream(b"rpm", in_time, trust)[0].warnings[0]


class TestStrength:
    """Weak keys are refused."""

    @pytest.mark.parametrize("name", ["weak", "dsa", "edwards"])
    def test_a_weak_manifest_key_is_refused_by_name(self, name: str, forge: Forge) -> None:
        with pytest.raises(NotTrusted, match="too weak for the role manifest"):
            trusting([forge.certificate(name)], entry(forge.fingerprints[name]))

    def test_2048_bits_are_enough_upstream(self, forge: Forge) -> None:
        assert trusting([forge.certificate("upstream")], entry(forge.fingerprints["upstream"], role="upstream"))


class TestCertificates:
    """Certificates are taken apart and put together again before gpgv sees them."""

    def test_the_fingerprint_is_the_one_that_gpg_computes(self, forge: Forge) -> None:
        found = openpgp.read_certificates(forge.certificate("release"))[0]

        assert found.primary.fingerprint == forge.fingerprints["release"]
        assert [key.fingerprint for key in found.subkeys] == [forge.fingerprints[name] for name in ("manifest", "tool")]
        assert (found.primary.bits, found.user_ids) == (3072, ("Release <release@example.com>",))

    def test_armor_is_read_as_gpg_writes_it_and_written_as_gpg_reads_it(self, forge: Forge) -> None:
        armored = forge.gpg("--armor", "--export", forge.fingerprints["plain"])
        found = openpgp.read_certificates(armored)[0]

        assert found == openpgp.read_certificates(forge.certificate("plain"))[0]
        assert forge.gpg("--dearmor", stdin=armor.armor(found.packets, b"PUBLIC KEY BLOCK")) == found.packets
        assert openpgp.read_certificates(armored.replace(b"\n", b"\r\n"))[0] == found

    def test_an_unbound_subkey_is_not_held_and_not_given_to_gpgv(self, forge: Forge) -> None:
        # The stranger's key is slipped in as a subkey, its binding signature replaced by an honest one's.
        forged = with_subkey(forge.certificate("plain"), forge.certificate("stranger"))
        bindings = [p.raw for p in openpgp._packets(forge.certificate("release")) if p.tag == openpgp._SIGNATURE]
        # A trust packet after it would make gpg believe that the binding was checked already.
        forged += bindings[1] + b"\xcc\x02\x00\x03"
        trust = trusting([forged], entry(forge.fingerprints["plain"]))

        assert not trust.certificates[0].has(forge.fingerprints["stranger"])
        assert trust.keyring() == forge.certificate("plain")
        assert refusal(forge, trust, "stranger")

    def test_a_secret_key_in_the_trust_directory_is_refused(self, forge: Forge) -> None:
        secret = forge.gpg("--export-secret-keys", forge.fingerprints["plain"])

        with pytest.raises(NotTrusted, match="secret key"):
            trusting([secret], entry(forge.fingerprints["plain"]))

    # gpgv 2.0 asks neither whether a subkey may sign nor whether it agreed; the corpus, run with a newer one, cannot
    # show that we do.
    @pytest.mark.parametrize(
        "edit",
        [
            None,
            unhashed_permission,
            without_back_signature,
            with_damaged_back_signature,
            with_changed_binding,
            with_damaged_binding,
        ],
        ids=lambda edit: getattr(edit, "__name__", "as it is"),
    )
    def test_a_subkey_that_does_not_sign_for_its_primary_is_left_out(self, edit: Any, forge: Forge) -> None:
        _, before, _ = silenced(forge)
        primary, subkey = forge.fingerprints["silenced"], forge.fingerprints["silencedsub"]
        allowed, forbidden = trusting([before], entry(primary)), trusting_silenced(edit)(forge).load()

        assert allowed.admit(subkey, primary, "manifest", NOW).fingerprint == primary
        assert [key.fingerprint for key in allowed.certificates[0].subkeys] == [subkey]
        assert forbidden.certificates[0].subkeys == ()
        with pytest.raises(NotTrusted, match=f"the certificate of key {primary} does not let it sign"):
            forbidden.admit(primary, primary, "manifest", NOW)
        with pytest.raises(NotTrusted):
            forbidden.admit(subkey, primary, "manifest", NOW)

    @pytest.mark.parametrize("digest", ["SHA1", "SHA224", "SHA256", "SHA384", "SHA512"])
    def test_bindings_over_every_hash_that_gpg_makes_are_read(self, digest: str, forge: Forge) -> None:
        if "digests" not in forge.fingerprints:
            forge.make_key("digests", "rsa3072")
        fingerprint = forge.fingerprints["digests"]
        weak = "--allow-weak-key-signatures"
        forge.gpg(weak, "--cert-digest-algo", digest, "--quick-add-key", fingerprint, "rsa1024", "sign", "never")
        listed = forge.gpg("--with-colons", "--list-keys", fingerprint).decode().splitlines()
        by_gpg = [line.split(":")[9] for line in listed if line.startswith("fpr:")]

        found = openpgp.read_certificates(forge.certificate("digests"))[0]

        assert [key.fingerprint for key in (found.primary, *found.subkeys)] == by_gpg

    def test_a_certificate_that_keeps_its_readers_busy_is_refused(self, forge: Forge) -> None:
        certificate = forge.certificate("release")
        binding = [p.raw for p in openpgp._packets(certificate) if p.tag == openpgp._SIGNATURE][-1]

        assert len(openpgp.read_certificates(certificate + binding * 127)[0].subkeys) == 2
        with pytest.raises(NotTrusted, match="more than 128 signatures"):
            openpgp.read_certificates(certificate + binding * 128)
        given_up(forge)
        revoked = forge.certificate("gone")
        revocation = next(p.raw for p in openpgp._packets(revoked) if p.tag == openpgp._SIGNATURE)
        assert openpgp.read_certificates(revoked + revocation * 127)
        with pytest.raises(NotTrusted, match="more than 128 revocations"):
            openpgp.read_certificates(revoked + revocation * 128)

    def test_an_encryption_subkey_is_left_out(self, forge: Forge) -> None:
        fingerprint = forge.make_key("reader", "rsa3072")
        alone = forge.certificate("reader")
        for algorithm in ("rsa2048", "cv25519"):
            forge.gpg("--quick-add-key", fingerprint, algorithm, "encr", "never")

        assert openpgp.read_certificates(forge.certificate("reader"))[0].packets == alone

    def test_copies_of_a_certificate_that_differ_are_refused_whatever_their_order(self, forge: Forge) -> None:
        _, before, after = silenced(forge)
        for copies in ([before, after], [after, before]):
            with pytest.raises(NotTrusted, match="that differ"):
                trusting(copies, entry(forge.fingerprints["silenced"]))
        assert len(trusting([before, before], entry(forge.fingerprints["silenced"])).certificates) == 1
        # Nothing relies on these.
        assert trusting([before, after, forge.certificate("plain")], entry(forge.fingerprints["plain"]))

    def test_a_key_that_two_certificates_have_is_refused(self, forge: Forge) -> None:
        one, other = shared_subkey(forge)
        entries = [entry(forge.fingerprints[name]) for name in ("sharer", "other")]

        for pinned in (Pinned([one, other], entries), Pinned([other, one], entries[::-1])):
            with pytest.raises(NotTrusted, match=f"{forge.fingerprints['shared']} belongs to two certificates"):
                pinned.load()
        assert trusting([one, other], entries[0]).certificates[0].has(forge.fingerprints["shared"])

    @pytest.mark.parametrize("size", [7, 1 << 16])
    def test_a_key_of_a_size_that_none_has_is_refused(self, size: int) -> None:
        key = b"\x04".ljust(size, b"\0")
        with pytest.raises(NotTrusted, match="not of version 4, or too large"):
            openpgp.read_certificates(b"\xc6\xff" + len(key).to_bytes(4, "big") + key)

    def test_subpackets_that_are_cut_short_are_refused(self, forge: Forge) -> None:
        certificate = forge.certificate("plain")
        binding = next(p for p in openpgp._packets(certificate) if p.tag == 2)
        for length in (b"\0", b"\xbf", b"\xfe", b"\xff"):
            damaged = certificate.replace(binding.body, binding.body[:6] + length + binding.body[7:])
            with pytest.raises(NotTrusted, match="cut short"):
                openpgp.read_certificates(damaged)

    @pytest.mark.parametrize("cut", [0, 1, 2, 3, 10, 100, -1])
    def test_a_damaged_certificate_is_refused(self, cut: int, forge: Forge) -> None:
        with pytest.raises(NotTrusted):
            trusting([forge.certificate("plain")[:cut]], entry(forge.fingerprints["plain"]))


class TestTrustFile:
    """trust.json itself."""

    @pytest.mark.parametrize(
        "changes",
        [
            {"role": "admin"},
            {"status": "fine"},
            {"fingerprint": "B66FE766B44D3085"},
            {"fingerprint": None},
            {"valid_from": None},
            {"valid_from": "yesterday"},
            {"valid_to": 3},
            {"status": "retired"},
            {"signing_keys": ["x"]},
            {"signing_keys": "A" * 40},
            {"signing_keys": {}},
            {"validto": "2020-01-01T00:00:00Z"},
            {"signing_keys": ["A" * 40]},
            {"reason": 1},
        ],
        ids=str,
    )
    def test_a_malformed_entry_is_refused(self, changes: dict[str, Any], forge: Forge) -> None:
        with pytest.raises(NotTrusted):
            trusting([forge.certificate("plain")], entry(forge.fingerprints["plain"]) | changes)

    @pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"schema": "x", "keys": []}', b"[" * 100000, b"\xff"])
    def test_what_is_no_trust_file_is_refused(self, document: bytes) -> None:
        with pytest.raises(NotTrusted, match="malformed"):
            parse_trust(document, [], "the test")

    @pytest.mark.parametrize(
        ("text", "changed", "reason"),
        [
            ('"status": "active"', '"status": "revoked", "status": "active"', "'status' twice"),
            ('"keys": [', '"keys": [], "keys": [', "'keys' twice"),
            ('"role": ', '"roles": ["tool"], "role": ', "key 1 has the unknown key 'roles'"),
            ('"role": ', '"\\u001b[2J": 1, "role": ', "printable ASCII"),
            ('"keys": [', '"threshold": 2, "keys": [', "it has the unknown key 'threshold'"),
            ('"keys": [', '"edition": 1.0, "keys": [', "only integers"),
            ('"keys": [', '"edition": NaN, "keys": [', "only integers"),
            ('{"schema"', '\ufeff{"schema"', "it is not JSON"),
        ],
    )
    def test_what_two_readers_could_read_differently_is_refused_by_all_who_read_it(
        self, text: str, changed: str, reason: str, forge: Forge, tmp_path: Path
    ) -> None:
        directory = Pinned([forge.certificate("plain")], [entry(forge.fingerprints["plain"])]).write(tmp_path / "keys")
        document = (directory / "trust.json").read_text().replace(text, changed)
        (directory / "trust.json").write_text(document)

        for read in (
            lambda: load_trust(str(directory)),
            lambda: listing.list_keys(directory),
            lambda: keys.revoke(directory, forge.fingerprints["plain"], "stolen"),
            lambda: keys.add(directory, forge.certificate("stranger"), "manifest"),
            lambda: build_tool(directory),
        ):
            with pytest.raises(NotTrusted, match=re.escape(reason)) as caught:
                read()
            assert "restore one that `fipsmanifest keys` wrote" in caught.value.advice
        assert (directory / "trust.json").read_text() == document

    # As 0.1.0 wrote them at first: `keys add`, the node tool, and by hand with the least that is needed.
    @pytest.mark.parametrize(
        "form",
        [
            """{{
  "schema": "fipsmanifest/trust/v1",
  "keys": [
    {{
      "fingerprint": "{0}",
      "role": "manifest",
      "status": "retired",
      "user_id": "J\\u00fcrgen <j@example.com>",
      "signing_keys": [],
      "valid_from": "2026-11-23T10:00:00Z",
      "valid_to": "2027-11-23T10:00:00Z",
      "replaced_by": null,
      "reason": "rotated"
    }}
  ]
}}
""",
            """{{"edition": 3, "keys": [{{"fingerprint": "{0}", "reason": null, "replaced_by": null, "role": "manifest",
            "signing_keys": ["{0}"], "status": "active", "user_id": "", "valid_from": "2026-11-23T10:00:00Z",
            "valid_to": null}}], "schema": "fipsmanifest/trust/v1"}}""",
            """{{"schema": "fipsmanifest/trust/v1",
            "keys": [{{"fingerprint": "{0}", "role": "manifest", "status": "active", "valid_from": "2026-11-23"}}]}}""",
        ],
        ids=["keys add", "the tool", "by hand"],
    )
    def test_files_of_earlier_versions_are_read(self, form: str, forge: Forge) -> None:
        own = forge.fingerprints["plain"]
        trust = parse_trust(form.format(own).encode(), [("a.gpg", forge.certificate("plain"))], "the test")

        assert [(key.fingerprint, key.role) for key in trust.keys] == [(own, "manifest")]
        assert parse_trust(json.dumps(trust.document()).encode(), [("a", forge.certificate("plain"))], "") == (
            trust._replace(origin="")
        )

    def test_a_name_that_stands_twice_among_very_many_is_found_at_once(self) -> None:
        names = ", ".join(f'"k{number}": 1' for number in range(120_000))
        began = time.process_time()
        with pytest.raises(NotTrusted, match="'k119999' twice"):
            parse_trust(f'{{{names}, "k119999": 1}}'.encode(), [], "the test")
        assert time.process_time() - began < 5

    def test_a_fifo_in_the_trust_directories_place_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "trust.json")
        with pytest.raises(UsageError, match=r"trust\.json is not a regular file"):
            load_trust(str(tmp_path))

    def test_an_entry_without_its_certificate_is_refused(self, forge: Forge) -> None:
        with pytest.raises(NotTrusted, match="no certificate there has it"):
            trusting([forge.certificate("stranger")], entry(forge.fingerprints["plain"]))

    def test_a_directory_without_a_trust_file_trusts_no_key_and_names_the_way_out(self, tmp_path: Path) -> None:
        with pytest.raises(NotTrusted, match="No key is trusted") as caught:
            load_trust(str(tmp_path))

        assert "fipsmanifest keys init" in caught.value.advice

    @pytest.mark.parametrize(
        ("name", "mode", "exposed"),
        [
            ("", 0o777, True),
            ("", 0o1777, False),
            ("", 0o775, False),
            ("trust.json", 0o666, True),
            ("trust.json", 0o664, False),
            ("0.gpg", 0o646, True),
            ("cosign.pub", 0o646, True),
        ],
    )
    def test_what_every_user_can_write_to_is_reported(
        self, name: str, mode: int, exposed: bool, forge: Forge, tmp_path: Path
    ) -> None:
        fingerprint = forge.fingerprints["plain"]
        directory = Pinned([forge.certificate("plain")], [entry(fingerprint)]).write(tmp_path / "keys")
        (directory / "cosign.pub").touch(0o644)
        (directory / name).chmod(mode)
        (directory / "gone.asc").symlink_to("nowhere")

        trust = load_trust(str(directory))
        signed = verify_cleartext(forge.clearsign(payload(), "plain"), trust)

        assert list(signed.warnings) == trust.exposure()
        assert [str(directory / name) in one for one in trust.exposure()] == ([True] if exposed else [])
        assert not trust.carried().exposure()

    def test_a_directory_that_is_not_there_is_a_usage_error(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError):
            load_trust(str(tmp_path / "nowhere"))
