"""The life of a key: made, added, rotated, retired, revoked, exported."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest import __version__
from fipsmanifest.errors import Conflict, FipsManifestError, Incomplete, NotTrusted, Refused, UsageError
from fipsmanifest.generate.tool import build_tool
from fipsmanifest.sign import keys, listing
from fipsmanifest.trust import openpgp
from fipsmanifest.trust.store import load_trust
from fipsmanifest.trust.verify import verify_cleartext, verify_upstream
from tests.support.forge import Forge, Pinned, entry, payload
from tests.trust.certificate_attacks import revoked_by_another
from tests.trust.key_attacks import given_up, silenced


def listed(directory: Path) -> list[dict[str, Any]]:
    return list(json.loads((directory / "trust.json").read_text())["keys"])


class TestInit:
    """What `keys init` makes."""

    def test_the_primary_only_certifies_and_two_subkeys_sign(self, forge: Forge) -> None:
        listed = forge.gpg("--with-colons", "--list-keys", forge.fingerprints["release"]).decode()
        rows = [line.split(":") for line in listed.splitlines() if line.startswith(("pub", "sub"))]

        # GnuPG doc/DETAILS: field 3 is the length, 4 the algorithm, 7 the expiry, 12 what the key may do (lower case).
        assert [(row[0], row[2], row[3], row[6]) for row in rows] == [
            ("pub", "3072", "1", ""),
            ("sub", "3072", "1", ""),
            ("sub", "3072", "1", ""),
        ]
        own = ["".join(c for c in row[11] if c.islower()) for row in rows]
        assert own == ["c", "s", "s"]

    def test_the_trust_file_keeps_the_roles_apart(self, forge: Forge) -> None:
        entries = [key for key in forge.trust().keys if key.fingerprint == forge.fingerprints["release"]]

        assert [(key.role, key.signing_keys) for key in entries] == [
            ("manifest", (forge.fingerprints["manifest"],)),
            ("tool", (forge.fingerprints["tool"],)),
        ]

    def test_gpg_made_a_revocation_certificate(self, forge: Forge) -> None:
        revocation = forge.home / "openpgp-revocs.d" / f"{forge.fingerprints['release']}.rev"

        assert b"BEGIN PGP PUBLIC KEY BLOCK" in revocation.read_bytes()

    @pytest.mark.parametrize("user_id", ["", "x", "Name <no-mail>", "Name\nKey-Type: DSA", "<a@b>", "Name <a@b> more"])
    def test_a_user_id_that_cannot_be_is_a_usage_error(self, user_id: str, forge: Forge, tmp_path: Path) -> None:
        with pytest.raises(UsageError):
            keys.init(tmp_path, user_id, gnupghome=forge.home, protect=False)
        assert not list(tmp_path.iterdir())

    def test_weak_keys_are_not_made(self, forge: Forge, tmp_path: Path) -> None:
        with pytest.raises(UsageError):
            keys.init(tmp_path, "Release <r@example.com>", gnupghome=forge.home, protect=False, bits=2048)


class TestAdd:
    """Trusting a certificate from elsewhere."""

    def test_the_same_again_changes_nothing(self, forge: Forge, tmp_path: Path) -> None:
        first = keys.add(tmp_path, forge.certificate("plain"), "manifest")
        before = (tmp_path / "trust.json").read_bytes()

        assert keys.add(tmp_path, forge.gpg("--armor", "--export", forge.fingerprints["plain"]), "manifest") == first
        assert (tmp_path / "trust.json").read_bytes() == before
        assert sorted(path.name for path in tmp_path.iterdir()) == [f"{first.fingerprint}.asc", "trust.json"]

    def test_a_second_lifetime_for_a_key_is_a_conflict(self, forge: Forge, tmp_path: Path) -> None:
        keys.add(tmp_path, forge.certificate("plain"), "manifest")

        with pytest.raises(Conflict):
            keys.add(tmp_path, forge.certificate("plain"), "manifest", valid_to=datetime(2030, 1, 1, tzinfo=UTC))

    def test_a_key_may_have_two_roles(self, forge: Forge, tmp_path: Path) -> None:
        keys.add(tmp_path, forge.certificate("plain"), "manifest")
        with pytest.raises(Conflict, match="that can sign is listed already") as caught:
            keys.add(tmp_path, forge.certificate("plain"), "tool")
        assert "--signing-key" in caught.value.advice
        keys.add(tmp_path, forge.certificate("plain"), "tool", signing_keys=(forge.fingerprints["plain"],))

        assert [key.role for key in load_trust(str(tmp_path)).keys] == ["manifest", "tool"]

    def test_it_is_valid_since_it_was_made(self, forge: Forge, tmp_path: Path) -> None:
        assert keys.add(tmp_path, forge.certificate("expired"), "upstream").valid_from == datetime(
            2024, 1, 1, tzinfo=UTC
        )

    @pytest.mark.parametrize(
        ("name", "role", "options"),
        [
            ("weak", "manifest", {}),
            ("dsa", "upstream", {}),
            ("edwards", "tool", {}),
            ("plain", "admin", {}),
            ("plain", "manifest", {"fingerprint": "A" * 40}),
            ("plain", "manifest", {"signing_keys": ["A" * 40]}),
        ],
    )
    def test_what_is_refused_leaves_nothing_behind(
        self, name: str, role: str, options: dict[str, str], forge: Forge, tmp_path: Path
    ) -> None:
        with pytest.raises(FipsManifestError):
            keys.add(tmp_path, forge.certificate(name), role, **options)  # type: ignore[arg-type]

        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("make", "role", "reason"),
        [
            (lambda forge: forge.certificate("expired"), "manifest", r"expired on 2024-01-02T00:00:00Z \(OpenPGP\)"),
            (lambda forge: forge.certificate("expired"), "tool", "nothing that it signed is accepted"),
            (lambda forge: given_up(forge) and forge.certificate("gone"), "manifest", "revoked by its own certificate"),
            (lambda forge: given_up(forge) and forge.certificate("gone"), "upstream", "revoked by its own certificate"),
            (lambda _: revoked_by_another(), "tool", "revoked by its own certificate"),
            # Its primary key certifies, its subkey encrypts.
            (lambda forge: silenced(forge)[2], "manifest", "has no key that may sign"),
            (lambda forge: silenced(forge)[2], "upstream", "has no key that may sign"),
        ],
    )
    def test_a_certificate_that_can_never_sign_is_not_added(
        self, make: Callable[[Forge], bytes], role: str, reason: str, forge: Forge, tmp_path: Path
    ) -> None:
        with pytest.raises(NotTrusted, match=reason) as caught:
            keys.add(tmp_path, make(forge), role)

        assert "as its owner publishes it now" in caught.value.advice
        assert not list(tmp_path.iterdir())

    def test_what_an_expired_upstream_key_signed_in_time_still_counts(self, forge: Forge, tmp_path: Path) -> None:
        added = keys.add(tmp_path, forge.certificate("expired"), "upstream")

        in_time = forge.detach(b"rpm", "expired", "--faked-system-time", "20240101T230000!")
        assert verify_upstream(b"rpm", in_time, load_trust(str(tmp_path)))[0].trusted == added
        info = listing.list_keys(tmp_path)[0]
        assert (info.can_sign, info.days_left is not None and info.days_left < 0) == (False, True)
        assert "what it signed since is refused" in str(info.warning)

    def test_a_key_that_has_expired_since_can_be_renewed(self, forge: Forge, tmp_path: Path) -> None:
        fingerprint = forge.make_key("renewed", "rsa3072", expire="1d", at="20240101T000000")
        Pinned([forge.certificate("renewed")], [entry(fingerprint)]).write(tmp_path / "keys")
        before = (tmp_path / "keys/trust.json").read_text()
        forge.gpg("--quick-set-expire", fingerprint, "0")

        keys.add(tmp_path / "keys", forge.certificate("renewed"), "manifest")

        assert json.loads(before)["keys"][0].items() <= listed(tmp_path / "keys")[0].items()
        # It has taken the place of the copy that was there: two that differ would be refused.
        assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == ["0.gpg", "trust.json"]
        assert listing.list_keys(tmp_path / "keys")[0].can_sign is True
        assert verify_cleartext(forge.clearsign(payload(), "renewed"), load_trust(str(tmp_path / "keys")))

    def test_of_several_certificates_one_must_be_named(self, forge: Forge, tmp_path: Path) -> None:
        both = forge.certificate("plain") + forge.certificate("stranger")

        with pytest.raises(NotTrusted, match="contains 2 certificates"):
            keys.add(tmp_path, both, "manifest")
        named = forge.fingerprints["stranger"].lower()
        assert keys.add(tmp_path, both, "manifest", fingerprint=named).fingerprint == forge.fingerprints["stranger"]

    @pytest.mark.parametrize("data", [b"", b"hello", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n", b"\x99\xff\xff"])
    def test_what_is_no_certificate_is_refused(self, data: bytes, tmp_path: Path) -> None:
        with pytest.raises(NotTrusted):
            keys.add(tmp_path, data, "manifest")


class TestSha1:
    """A certificate as GnuPG 2.0 made it."""

    def test_it_is_refused_with_what_renews_it_and_then_accepted(self, forge: Forge, tmp_path: Path) -> None:
        old = ("--allow-weak-key-signatures", "--cert-digest-algo", "SHA1")
        forge.gpg(*old, "--quick-generate-key", "Old <old@example.com>", "rsa3072", "cert", "never")
        rows = forge.gpg("--with-colons", "--list-keys", "old@example.com").decode().splitlines()
        own = forge.fingerprints["old"] = next(row.split(":")[9] for row in rows if row.startswith("fpr:"))
        forge.gpg(*old, "--quick-add-key", own, "rsa3072", "sign", "never")
        first = openpgp.read_certificates(forge.certificate("old"))[0].subkeys[0].fingerprint

        assert keys.add(tmp_path / "upstream", forge.certificate("old"), "upstream").signing_keys == (first,)
        with pytest.raises(NotTrusted, match="no signature by SHA-256 or better") as caught:
            keys.add(tmp_path, forge.certificate("old"), "manifest")
        # One that was listed before this was asked for.
        directory = Pinned([forge.certificate("old")], [entry(own)]).write(tmp_path / "keys")
        assert listing.list_keys(directory)[0].can_sign is False
        assert "no signature by SHA-256 or better" in str(listing.list_keys(directory)[0].warning)

        renewing = re.findall(r"`gpg (.*?)`", caught.value.advice)
        assert len(renewing) == 2
        for command in renewing:
            forge.gpg(*command.replace("FPR", own).split())
        new = openpgp.read_certificates(forge.certificate("old"))[0].subkeys[1].fingerprint
        assert keys.add(tmp_path / "new", forge.certificate("old"), "manifest").signing_keys == (new,)
        keys.add(directory, forge.certificate("old"), "manifest")
        forge.fingerprints["new"] = new
        assert verify_cleartext(forge.clearsign(payload(), "new"), load_trust(str(directory)))


class TestSigningKeys:
    """Which keys of a certificate may sign."""

    def test_an_entry_names_each_key_that_can_sign(self, forge: Forge, tmp_path: Path) -> None:
        subkeys = tuple(forge.fingerprints[name] for name in ("manifest", "tool"))

        assert keys.add(tmp_path, forge.certificate("release"), "manifest").signing_keys == subkeys
        assert keys.add(tmp_path, forge.certificate("plain"), "manifest").signing_keys == (forge.fingerprints["plain"],)
        for name in ("manifest", "tool", "plain"):
            assert verify_cleartext(forge.clearsign(payload(), name), load_trust(str(tmp_path)))

    def test_those_that_are_not_named_sign_nothing(self, forge: Forge, tmp_path: Path) -> None:
        manifest, tool = (forge.fingerprints[name] for name in ("manifest", "tool"))
        first = keys.add(tmp_path, forge.certificate("release"), "manifest", signing_keys=(manifest.lower(),))

        assert verify_cleartext(forge.clearsign(payload()), load_trust(str(tmp_path))).signature.trusted == first
        with pytest.raises(NotTrusted, match=f"key {tool} is not trusted"):
            verify_cleartext(forge.clearsign(payload(), "tool"), load_trust(str(tmp_path)))
        assert listing.list_keys(tmp_path)[0].unnamed == (tool,)

        again = keys.add(tmp_path, forge.certificate("release"), "manifest", signing_keys=(manifest, manifest))
        assert (again, len(listed(tmp_path))) == (first, 1)
        keys.add(tmp_path, forge.certificate("release"), "manifest", signing_keys=(tool,))
        assert verify_cleartext(forge.clearsign(payload(), "tool"), load_trust(str(tmp_path)))

    def test_an_entry_is_not_narrowed_or_widened_by_another(self, forge: Forge, tmp_path: Path) -> None:
        manifest, tool = (forge.fingerprints[name] for name in ("manifest", "tool"))
        keys.add(tmp_path, forge.certificate("release"), "manifest")
        before = (tmp_path / "trust.json").read_text()
        for named in ((manifest,), (tool,)):
            with pytest.raises(Conflict, match=f"{named[0]} is already listed for the role manifest") as caught:
                keys.add(tmp_path, forge.certificate("release"), "manifest", signing_keys=named)
            assert "retire the listed one" in caught.value.advice
        # An entry that was made before entries named keys.
        (tmp_path / "trust.json").write_text(re.sub(r'"signing_keys": \[[^]]*\]', '"signing_keys": []', before))
        with pytest.raises(Conflict, match="already listed"):
            keys.add(tmp_path, forge.certificate("release"), "manifest", signing_keys=(manifest,))
        assert keys.add(tmp_path, forge.certificate("release"), "manifest").signing_keys == ()

    def test_a_key_that_cannot_sign_is_not_named(self, forge: Forge, tmp_path: Path) -> None:
        primary = forge.fingerprints["release"]
        cases = (((primary,), "may not sign, as its certificate says"), (("A" * 40,), "does not have the key"))
        for asked, reason in cases:
            with pytest.raises(NotTrusted, match=reason):
                keys.add(tmp_path, forge.certificate("release"), "manifest", signing_keys=asked)
        with pytest.raises(UsageError, match="names a subkey, and --signing-key names subkeys as well"):
            keys.add(
                tmp_path,
                forge.certificate("release"),
                "manifest",
                fingerprint=forge.fingerprints["manifest"],
                signing_keys=(forge.fingerprints["tool"],),
            )
        assert not list(tmp_path.iterdir())

    def test_a_subkey_that_is_made_or_revoked_later_is_not_named(self, forge: Forge, tmp_path: Path) -> None:
        first = forge.make_key("later", "rsa3072")
        keys.add(tmp_path, forge.certificate("later"), "manifest")
        subkey = forge.add_signing_subkey("latersub", "later")
        renewed = keys.add(tmp_path, forge.certificate("later"), "manifest")

        assert renewed.signing_keys == (first,)
        assert listing.list_keys(tmp_path)[0].unnamed == (subkey,)
        with pytest.raises(NotTrusted, match=f"key {subkey} is not trusted"):
            verify_cleartext(forge.clearsign(payload(), "latersub"), load_trust(str(tmp_path)))
        other = tmp_path / "other"
        keys.add(other, forge.certificate("later"), "tool", signing_keys=(subkey,))
        keys.revoke(other, subkey, "stolen")
        assert keys.add(other, forge.certificate("later"), "manifest").signing_keys == (first,)


def test_a_rotation_from_the_first_overlap_to_the_revocation(forge: Forge, tmp_path: Path) -> None:
    # Story: `plain` signs for a year, `stranger` takes over, `plain` is retired, and later it leaks.
    old, new = forge.fingerprints["plain"], forge.fingerprints["stranger"]
    by_old, by_new = forge.clearsign(payload(), "plain"), forge.clearsign(payload(), "stranger")

    keys.add(tmp_path, forge.certificate("plain"), "manifest")
    before_rotation = load_trust(str(tmp_path))
    keys.add(tmp_path, forge.certificate("stranger"), "manifest")
    overlap = load_trust(str(tmp_path))
    assert verify_cleartext(by_old, overlap).fingerprint == old
    assert verify_cleartext(by_new, overlap).fingerprint == new
    # A tool with yesterday's keys still reads what the old key signs.
    assert verify_cleartext(by_old, before_rotation).fingerprint == old

    keys.retire(tmp_path, old, "yearly rotation", replaced_by=new, at=datetime.now(UTC) + timedelta(minutes=1))
    assert verify_cleartext(by_old, load_trust(str(tmp_path))).signature.trusted.replaced_by == new

    keys.revoke(tmp_path, old, "leaked", replaced_by=new)
    with pytest.raises(NotTrusted, match=r"revoked \(leaked\)") as caught:
        verify_cleartext(by_old, load_trust(str(tmp_path)))
    assert new in caught.value.advice
    assert verify_cleartext(by_new, load_trust(str(tmp_path))).fingerprint == new


class TestEditions:
    """Which changes of the keys change the node tool, and so its version."""

    def test_each_change_of_what_the_tool_carries_is_a_new_edition(self, forge: Forge, tmp_path: Path) -> None:
        editions = []
        old, new = forge.fingerprints["plain"], forge.fingerprints["stranger"]
        for change in (
            lambda: keys.add(tmp_path, forge.certificate("plain"), "tool"),
            lambda: keys.add(tmp_path, forge.certificate("plain"), "manifest", signing_keys=(old,)),
            lambda: keys.add(tmp_path, forge.certificate("plain"), "manifest"),
            lambda: keys.add(tmp_path, forge.certificate("upstream"), "upstream"),
            lambda: keys.add(tmp_path, forge.certificate("stranger"), "manifest"),
            lambda: keys.retire(tmp_path, old, "rotation", replaced_by=new),
            lambda: keys.revoke(tmp_path, forge.fingerprints["upstream"], "leaked"),
            lambda: keys.revoke(tmp_path, old, "leaked"),
        ):
            change()
            editions.append((load_trust(str(tmp_path)).edition, build_version(tmp_path)))

        assert editions == [
            (1, None),
            (1, __version__),
            (1, __version__),
            (1, __version__),
            (2, f"{__version__}.post1"),
            (3, f"{__version__}.post2"),
            (3, f"{__version__}.post2"),
            (4, f"{__version__}.post3"),
        ]

    def test_the_same_edition_is_the_same_tool(self, forge: Forge, tmp_path: Path) -> None:
        keys.add(tmp_path, forge.certificate("plain"), "manifest")
        before = build_tool(tmp_path).data
        keys.add(tmp_path, forge.certificate("upstream"), "upstream")

        assert build_tool(tmp_path).data == before

    def test_a_certificate_with_another_subkey_is_a_new_edition(self, forge: Forge, tmp_path: Path) -> None:
        fingerprint = forge.make_key("growing", "rsa3072")
        keys.add(tmp_path, forge.certificate("growing"), "manifest")
        forge.gpg("--quick-add-key", fingerprint, "rsa3072", "sign", "never")

        keys.add(tmp_path, forge.certificate("growing"), "manifest")

        assert load_trust(str(tmp_path)).edition == 2

    @pytest.mark.parametrize("edition", [0, -1, "2", 1.0, True, None, [], 10**9])
    def test_an_edition_that_is_no_count_is_refused(self, edition: object, forge: Forge, tmp_path: Path) -> None:
        keys.add(tmp_path, forge.certificate("plain"), "manifest")
        document = json.loads((tmp_path / "trust.json").read_text())
        (tmp_path / "trust.json").write_text(json.dumps(document | {"edition": edition}))

        with pytest.raises(NotTrusted, match=r"edition|1\.0"):
            load_trust(str(tmp_path))

    def test_a_trust_file_without_an_edition_is_of_the_first(self, forge: Forge, tmp_path: Path) -> None:
        keys.add(tmp_path, forge.certificate("plain"), "manifest")
        document = json.loads((tmp_path / "trust.json").read_text())
        del document["edition"]
        (tmp_path / "trust.json").write_text(json.dumps(document))

        assert (load_trust(str(tmp_path)).edition, build_tool(tmp_path).version) == (1, __version__)


def build_version(directory: Path) -> str | None:
    """Return the version of the tool that the directory makes; None where it makes none."""
    try:
        return build_tool(directory).version
    except Refused:
        return None


class TestListing:
    """What `keys list` shows of the directory."""

    @pytest.mark.parametrize(("days", "warned"), [(89, True), (90, True), (91, False), (-1, True)])
    def test_the_end_is_warned_of_from_90_days_on(self, days: int, warned: bool, forge: Forge, tmp_path: Path) -> None:
        now = datetime.now(UTC)
        keys.add(
            tmp_path,
            forge.certificate("plain"),
            "manifest",
            valid_from=now - timedelta(days=9),
            valid_to=now + timedelta(days=days, hours=1),
        )

        info = listing.list_keys(tmp_path, now)[0]

        assert (info.days_left, info.bits, info.warning is not None) == (days, 3072, warned)
        assert info.can_sign is (days > 0)

    def test_an_openpgp_expiry_is_counted_and_warned_of(self, forge: Forge, tmp_path: Path) -> None:
        forge.make_key("soon", "rsa3072", expire="60d")
        keys.add(tmp_path, forge.certificate("soon"), "manifest")
        end, subkeys = datetime.now(UTC) + timedelta(days=10, hours=1), (forge.fingerprints["soon"],)
        keys.add(tmp_path, forge.certificate("soon"), "tool", signing_keys=subkeys, valid_to=end)

        manifest, tool = listing.list_keys(tmp_path)

        assert (manifest.days_left, tool.days_left, manifest.can_sign) == (59, 10, True)
        assert manifest.expires == tool.expires is not None
        assert "ends in 59 days" in str(manifest.warning)
        later = listing.list_keys(tmp_path, datetime.now(UTC) + timedelta(days=61))[0]
        assert (later.can_sign, later.days_left) == (False, -2)
        assert "nothing that it signed is accepted" in str(later.warning)

    def test_an_entry_that_can_no_longer_sign_says_so(self, forge: Forge) -> None:
        given_up(forge)
        infos = {info.entry.fingerprint: info for info in listing.list_keys(forge.trust_directory)}

        assert infos[forge.fingerprints["expired"]].can_sign is False
        assert "expired on 2024-01-02" in str(infos[forge.fingerprints["expired"]].warning)
        assert infos[forge.fingerprints["plain"]].can_sign is True
        assert infos[forge.fingerprints["plain"]].warning is None

    def test_without_gpg_it_is_not_known_who_can_sign_and_nobody_is_added(
        self, forge: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        certificate = forge.certificate("plain")
        monkeypatch.setenv("PATH", str(tmp_path))

        assert {info.can_sign for info in listing.list_keys(forge.trust_directory)} == {None}
        with pytest.raises(Incomplete, match="gpg is not installed"):
            keys.add(tmp_path / "keys", certificate, "manifest")
        assert not (tmp_path / "keys/trust.json").exists()

    def test_retiring_one_role_leaves_the_other(self, forge: Forge, tmp_path: Path) -> None:
        for role in ("manifest", "tool"):
            keys.add(tmp_path, forge.certificate("plain"), role, signing_keys=(forge.fingerprints["plain"],))

        keys.retire(tmp_path, forge.fingerprints["plain"], "moved", role="tool")

        assert [info.can_sign for info in listing.list_keys(tmp_path)] == [True, False]
        assert [(info.entry.role, info.entry.status) for info in listing.list_keys(tmp_path)] == [
            ("manifest", "active"),
            ("tool", "retired"),
        ]

    def test_a_key_that_is_not_listed_cannot_be_changed(self, forge: Forge) -> None:
        before = (forge.trust_directory / "trust.json").read_bytes()
        for change in (keys.retire, keys.revoke):
            with pytest.raises(UsageError):
                change(forge.trust_directory, "A" * 40, "why not")
        with pytest.raises(UsageError):
            keys.export(forge.trust_directory, "A" * 40)

        assert (forge.trust_directory / "trust.json").read_bytes() == before

    def test_an_exported_certificate_serves_gpg_and_gpgv(self, forge: Forge, tmp_path: Path) -> None:
        fingerprint = forge.fingerprints["release"]
        (tmp_path / "ring").write_bytes(keys.export(forge.trust_directory, fingerprint, binary=True))
        (tmp_path / "m.asc").write_bytes(forge.clearsign(payload()))

        subprocess.run(["gpgv", "--keyring", tmp_path / "ring", tmp_path / "m.asc"], check=True, capture_output=True)
        armored = keys.export(forge.trust_directory, fingerprint)
        assert forge.gpg("--with-colons", "--show-keys", stdin=armored).decode().count(fingerprint) == 1

    def test_the_trust_file_is_readable_json(self, forge: Forge) -> None:
        document = json.loads((forge.trust_directory / "trust.json").read_text())

        assert document["schema"] == "fipsmanifest/trust/v1"
        assert {"fingerprint", "role", "status", "valid_from", "valid_to", "replaced_by", "reason", "user_id"} <= set(
            document["keys"][0]
        )


class TestMismatch:
    def test_another_key_in_the_file_is_named_and_not_trusted(self, forge: Forge, tmp_path: Path) -> None:
        expected, contained = "0" * 40, forge.fingerprints["release"]
        with pytest.raises(NotTrusted) as caught:
            keys.add(tmp_path, forge.certificate("release"), "upstream", fingerprint=expected)
        assert caught.value.message == f"Fingerprint mismatch: expected {expected}, the file contains {contained}."
        assert "has confirmed the fingerprint through another channel" in caught.value.advice
        assert not (tmp_path / "trust.json").exists()

    def test_a_file_with_several_needs_a_fingerprint(self, forge: Forge, tmp_path: Path) -> None:
        several = forge.certificate("release") + forge.certificate("upstream")
        with pytest.raises(NotTrusted, match="contains 2 certificates"):
            keys.add(tmp_path, several, "upstream")
        wanted = forge.fingerprints["upstream"]
        assert keys.add(tmp_path, several, "upstream", fingerprint=wanted).fingerprint == wanted
