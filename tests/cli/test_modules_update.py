"""``fipsmanifest modules update``: a newer table of certificates, signed, and what it can and cannot change."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest import __certificates__
from fipsmanifest.errors import NotTrusted
from fipsmanifest.generate.tool import build_tool
from fipsmanifest.inspect import certificates, table
from fipsmanifest.inspect.table import Origin
from fipsmanifest.sign import keys
from fipsmanifest.trust.store import load_trust
from tests.support import command
from tests.support import forge as forge_module
from tests.support.faultyhttp import FaultyServer
from tests.support.forge import Forge

NATIVE = "go-native-v1.26.0"
ORIGIN = Origin(1, "here", "F" * 40, "2026-12-01T00:00:00Z")
LATER = (date.fromisoformat(__certificates__) + timedelta(days=1)).isoformat()


@pytest.fixture(scope="module")
def forge() -> Iterator[Forge]:
    with forge_module.opened() as opened:
        opened.make_key("modules", "rsa3072")
        keys.add(opened.trust_directory, opened.certificate("modules"), "modules")
        yield opened


def certificate(**changes: Any) -> dict[str, Any]:
    return {
        "number": 9999,
        "module": "Go Cryptographic Module v1.26.0",
        "standard": "FIPS 140-3",
        "holder": "Example",
        "source": "https://example.com/9999",
        "confidence": "high",
        "level": 1,
        "sunset": "2031-12-01",
        "covers": [NATIVE],
        **changes,
    }


def document(**changes: Any) -> dict[str, Any]:
    made = {"schema": "fipsmanifest/certificates/v1", "serial": 1, "date": LATER, "certificates": [certificate()]}
    return {**made, **changes}


@dataclass(frozen=True)
class User:
    """A user with a home directory and the publisher's trust directory."""

    home: Path
    forge: Forge

    def run(self, *words: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        return command.run_at(self.home, *words, code=code)

    def write(self, content: object, key: str = "modules", name: str = "certificates.json") -> Path:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        path = self.home / name
        path.write_bytes(data)
        path.with_name(f"{path.name}.asc").write_bytes(self.forge.detach(data, key))
        return path

    def update(self, path: Path, code: int = 0) -> dict[str, Any]:
        ended = self.run("modules", "update", path, "--keys", self.forge.trust_directory, "--json", code=code)
        told = json.loads(ended.stdout)
        assert isinstance(told, dict)
        return told

    def listed(self) -> dict[str, Any]:
        told = json.loads(self.run("modules", "list", "--json").stdout)
        assert isinstance(told, dict)
        return told


@pytest.fixture
def user(forge: Forge, tmp_path: Path) -> User:
    return User(tmp_path, forge)


def test_a_signed_table_is_used_from_then_on_and_named(user: User) -> None:
    before = user.listed()["table"]
    assert (before["date"], before["source"], before["signed_by"]) == (__certificates__, "shipped", None)

    told = user.update(user.write(document()))

    assert told["changed"] is True
    listed = user.listed()
    assert (listed["table"]["date"], listed["table"]["serial"]) == (LATER, 1)
    assert listed["table"]["signed_by"] == user.forge.fingerprints["modules"]
    assert listed["table"]["source"].endswith("certificates.json")
    native = {row["version"]: row for row in listed["native"]}["v1.26.0"]
    assert native["validation"] == "validated"
    assert [(item["number"], item["status"]) for item in native["certificates"]] == [(9999, "active")]
    assert f"of {LATER}, serial 1, from " in user.run("modules", "list").stdout
    assert user.update(user.home / "certificates.json")["changed"] is False


def test_a_table_is_fetched_from_an_address(user: User, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    user.write(document(), name="served/certificates.json")
    with FaultyServer(tmp_path / "served") as server:
        user.run("modules", "update", f"{server.url}/certificates.json", "--keys", user.forge.trust_directory)
        assert user.listed()["table"]["source"] == f"{server.url}/certificates.json"


OLDER = {
    "a lower serial": document(serial=1),
    "the same serial with other content": document(serial=2, certificates=[]),
    "an older date": document(serial=3, date=__certificates__),
}


def test_an_older_table_is_refused(user: User) -> None:
    user.update(user.write(document(serial=2)))

    for name, older in OLDER.items():
        assert user.update(user.write(older), code=3)["error"]["reason"] == "rolled-back", name

    assert user.listed()["table"]["serial"] == 2


def test_a_key_with_another_role_is_refused(user: User) -> None:
    for key in ("manifest", "tool", "upstream"):
        assert user.update(user.write(document(), key), code=3)["error"]["reason"] == "untrusted-key", key
    assert user.update(user.write(document(), "stranger"), code=3)["error"]["reason"] == "unknown-key"
    assert user.listed()["table"]["source"] == "shipped"


def test_a_key_with_the_role_is_not_in_the_node_tool(forge: Forge) -> None:
    trust = load_trust(str(forge.trust_directory))

    assert {"modules"} == {key.role for key in trust.keys} - {"manifest", "tool", "upstream"}
    assert "modules" not in {key.role for key in trust.carried().keys}


def test_an_unsigned_or_changed_table_is_refused(user: User) -> None:
    path = user.write(document())
    path.write_bytes(path.read_bytes() + b" ")
    assert user.update(path, code=3)["error"]["reason"] == "bad-signature"
    path.with_name("certificates.json.asc").unlink()
    user.update(path, code=2)


BAD: dict[str, tuple[object, str]] = {
    "empty": (b"", "malformed"),
    "truncated": (json.dumps(document()).encode()[:-9], "malformed"),
    "a manifest": (document(schema="fipsmanifest/v1"), "wrong-document"),
    "another version": (document(schema="fipsmanifest/certificates/v2"), "wrong-document"),
    "huge": (json.dumps(document()).encode() + b" " * (1 << 20), "malformed"),
    "a member twice": (b'{"serial": 1, ' + json.dumps(document()).encode()[1:], "malformed"),
    "an unknown member": (document(modules=[]), "malformed"),
    "a digest": (document(certificates=[certificate(digest="ab" * 32)]), "malformed"),
    "no serial": ({key: value for key, value in document().items() if key != "serial"}, "malformed"),
    "serial 0": (document(serial=0), "malformed"),
    "a day that does not exist": (document(date="2027-02-30"), "malformed"),
    "a standard that does not exist": (document(certificates=[certificate(standard="FIPS 140-9")]), "malformed"),
    "control characters": (document(certificates=[certificate(holder="a\x1b[2J")]), "malformed"),
    "a certificate twice": (document(certificates=[certificate(), certificate()]), "malformed"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_table_is_refused_with_its_reason(name: str) -> None:
    content, reason = BAD[name]

    with pytest.raises(NotTrusted) as caught:
        certificates.parse(content if isinstance(content, bytes) else json.dumps(content).encode())

    assert caught.value.reason == reason


def test_a_table_of_the_future_or_of_before_this_version_is_refused_although_it_is_signed(user: User) -> None:
    ahead = (datetime.now(UTC) + timedelta(days=9)).date().isoformat()
    known = certificate(number=3678, module="BoringCrypto")
    for changes, reason in (
        ({"date": ahead}, "future-signature"),
        ({"date": "2026-01-01"}, "rolled-back"),
        ({"certificates": [known]}, "malformed"),
        ({"schema": "fipsmanifest/v1"}, "wrong-document"),
    ):
        assert user.update(user.write(document(**changes)), code=3)["error"]["reason"] == reason


def test_a_damaged_kept_table_is_no_pass(user: User) -> None:
    user.update(user.write(document()))
    kept = user.home / "state/fipsmanifest/certificates.json"
    kept.write_text(kept.read_text()[:50])

    error = user.run("inspect", "/bin/true", code=4).stderr

    assert str(kept) in error and "modules update" in error


def applied(**changes: Any) -> table.Table:
    parsed = certificates.parse(json.dumps(document(**changes)).encode())
    return certificates.apply(table.load(), parsed, ORIGIN)


def bare(found: table.Table) -> list[object]:
    """What verdicts depend on: rows and versions, without their certificates."""
    rows: list[object] = [replace(row, certificates=()) for row in found.rows]
    return rows + [(row.version, row.name, row.source) for row in found.native]


def covered(found: table.Table) -> list[set[int]]:
    """The certificates of each row and version."""
    every = [row.certificates for row in found.rows] + [row.certificates for row in found.native]
    return [{item.number for item in certificates} for certificates in every]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"certificates": []},
        {"in_process": [NATIVE, "go-native-v9.9.9"]},
        {"certificates": [certificate(covers=["boringcrypto-20190808-x86_64", "no-such-module"])]},
    ],
    ids=["more", "empty", "in process", "covers"],
)
def test_nothing_becomes_proven_and_no_certificate_is_taken_away(changes: dict[str, Any]) -> None:
    shipped, found = table.load(), applied(**changes)

    assert bare(found) == bare(shipped)
    for before, after in zip(covered(shipped), covered(found), strict=True):
        assert before <= after
    for standard in ("FIPS 140-2", "FIPS 140-3"):
        assert shipped.certified(standard) <= found.certified(standard)


def test_dates_of_a_known_certificate_are_replaced_in_every_row() -> None:
    old = next(item for item in table.load().certificates if item.number == 5247)
    listed = certificate(number=5247, module=old.module, standard=old.standard, sunset=None, covers=[])

    found = applied(certificates=[{**listed, "historical_since": "2026-11-24"}])

    row = next(row for row in found.native if row.version == "v1.0.0-c2097c7c")
    assert [item.status(date(2026, 11, 25)) for item in row.certificates if item.number == 5247] == ["historical"]
    with pytest.raises(NotTrusted, match="certificate 5247"):
        applied(certificates=[{**listed, "module": "Another"}])


def test_a_users_own_row_gets_no_certificate() -> None:
    local = replace(table.load().rows[0], id="own", row="local", certificates=(), claimed_by="me")
    mixed = replace(table.load(), rows=(local,))
    parsed = certificates.parse(json.dumps(document(certificates=[certificate(covers=["own"])])).encode())

    assert certificates.apply(mixed, parsed, ORIGIN).rows[0].certificates == ()


def test_the_node_tool_and_the_table_name_the_same_day(forge: Forge, tmp_path: Path) -> None:
    assert table.load().dated.isoformat() == __certificates__
    build_tool(forge.trust_directory, tmp_path / "dkp-fips-tool")
    said = subprocess.run([tmp_path / "dkp-fips-tool", "--version"], capture_output=True, text=True, check=True).stdout
    assert re.search(rf"^certificates: list of {__certificates__}$", said, re.MULTILINE)


def test_a_table_that_is_not_there_is_named_as_one(user: User) -> None:
    error = user.run("modules", "update", "nowhere.json", "--keys", user.forge.trust_directory, code=2).stderr

    assert "nowhere.json does not exist" in error
    assert "Name a table of certificates" in error
