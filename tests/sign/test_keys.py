"""The life of a key: made, added, rotated, retired, revoked, exported."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fipsmanifest import __version__
from fipsmanifest.errors import Conflict, FipsManifestError, NotTrusted, Refused, UsageError
from fipsmanifest.node.trust import load_trust
from fipsmanifest.node.verify import verify_cleartext
from fipsmanifest.sign import keys
from fipsmanifest.tool import build_tool
from tests.node.forge import Forge, payload


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
        keys.add(tmp_path, forge.certificate("plain"), "tool")

        assert [key.role for key in load_trust(str(tmp_path)).keys] == ["manifest", "tool"]

    def test_it_is_valid_since_it_was_made(self, forge: Forge, tmp_path: Path) -> None:
        assert keys.add(tmp_path, forge.certificate("expired"), "manifest").valid_from == datetime(
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

    def test_of_several_certificates_one_must_be_named(self, forge: Forge, tmp_path: Path) -> None:
        both = forge.certificate("plain") + forge.certificate("stranger")

        with pytest.raises(NotTrusted, match="exactly one"):
            keys.add(tmp_path, both, "manifest")
        named = forge.fingerprints["stranger"].lower()
        assert keys.add(tmp_path, both, "manifest", fingerprint=named).fingerprint == forge.fingerprints["stranger"]

    @pytest.mark.parametrize("data", [b"", b"hello", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n", b"\x99\xff\xff"])
    def test_what_is_no_certificate_is_refused(self, data: bytes, tmp_path: Path) -> None:
        with pytest.raises(NotTrusted):
            keys.add(tmp_path, data, "manifest")


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
    """Which changes make another node tool, and so another version of it."""

    def test_each_change_of_what_the_tool_carries_is_a_new_edition(self, forge: Forge, tmp_path: Path) -> None:
        editions = []
        old, new = forge.fingerprints["plain"], forge.fingerprints["stranger"]
        for change in (
            lambda: keys.add(tmp_path, forge.certificate("plain"), "tool"),
            lambda: keys.add(tmp_path, forge.certificate("plain"), "manifest"),
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


def build_version(folder: Path) -> str | None:
    """Give the version of the tool that the folder makes; None where it makes none."""
    try:
        return build_tool(folder).version
    except Refused:
        return None


class TestListing:
    """What a person sees of the folder."""

    @pytest.mark.parametrize(("days", "warned"), [(89, True), (90, True), (91, False), (-1, True)])
    def test_the_end_is_warned_of_from_90_days_on(self, days: int, warned: bool, forge: Forge, tmp_path: Path) -> None:
        now = datetime.now(UTC)
        keys.add(tmp_path, forge.certificate("plain"), "manifest", valid_to=now + timedelta(days=days, hours=1))

        info = keys.list_keys(tmp_path, now)[0]

        assert (info.days_left, info.bits, info.warning is not None) == (days, 3072, warned)

    def test_retiring_one_role_leaves_the_other(self, forge: Forge, tmp_path: Path) -> None:
        for role in ("manifest", "tool"):
            keys.add(tmp_path, forge.certificate("plain"), role)

        keys.retire(tmp_path, forge.fingerprints["plain"], "moved", role="tool")

        assert [(info.entry.role, info.entry.status) for info in keys.list_keys(tmp_path)] == [
            ("manifest", "active"),
            ("tool", "retired"),
        ]

    def test_a_key_that_is_not_listed_cannot_be_changed(self, forge: Forge) -> None:
        before = (forge.trust_folder / "trust.json").read_bytes()
        for change in (keys.retire, keys.revoke):
            with pytest.raises(UsageError):
                change(forge.trust_folder, "A" * 40, "why not")
        with pytest.raises(UsageError):
            keys.export(forge.trust_folder, "A" * 40)

        assert (forge.trust_folder / "trust.json").read_bytes() == before

    def test_an_exported_certificate_serves_gpg_and_gpgv(self, forge: Forge, tmp_path: Path) -> None:
        fingerprint = forge.fingerprints["release"]
        (tmp_path / "ring").write_bytes(keys.export(forge.trust_folder, fingerprint, binary=True))
        (tmp_path / "m.asc").write_bytes(forge.clearsign(payload()))

        subprocess.run(["gpgv", "--keyring", tmp_path / "ring", tmp_path / "m.asc"], check=True, capture_output=True)
        armored = keys.export(forge.trust_folder, fingerprint)
        assert forge.gpg("--with-colons", "--show-keys", stdin=armored).decode().count(fingerprint) == 1

    def test_the_trust_file_is_readable_json(self, forge: Forge) -> None:
        document = json.loads((forge.trust_folder / "trust.json").read_text())

        assert document["schema"] == "fipsmanifest/trust/v1"
        assert {"fingerprint", "role", "status", "valid_from", "valid_to", "replaced_by", "reason", "user_id"} <= set(
            document["keys"][0]
        )
