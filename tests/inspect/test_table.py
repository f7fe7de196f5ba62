"""The table of modules: derived from toolchains, extended by its user, never more trusted than it says."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from examples.upstream import goprograms

from fipsmanifest.errors import UsageError, ValidationFailed
from fipsmanifest.inspect import inspector
from fipsmanifest.inspect.analysis import analyze
from fipsmanifest.inspect.inspector import Inspector
from fipsmanifest.inspect.learn import Provenance, learn
from fipsmanifest.inspect.source import Buffer
from fipsmanifest.inspect.table import Row, Table, emit, load, parse
from fipsmanifest.model.finding import Verdict
from tests.support import edits, programs

SHIPPED = load()

#: Digest and length of each row, as measured on linked programs with openssl and dd.
MEASURED = {
    "boringcrypto-20190808-x86_64": (0xB3010, 0xB348E, "18d35ae031f649825a4269d68d2e6258"),
    "boringcrypto-20210429-x86_64": (0xBE290, 0xBE7AA, "afca814ee73c7cccc71d6ec64432db76"),
    "boringcrypto-20210429-aarch64": (0x5D070, 0x5D6D0, "9302ea1acc555934fa2f5ba8cd60719d"),
    "boringcrypto-20220613-x86_64": (0xB7F90, 0xB84EB, "2a218ae635bf1cd56624875de07c6571"),
    "boringcrypto-20220613-aarch64": (0x84DF0, 0x8549C, "9094627e2bd03d962ba1d0c4420a1da9"),
}


def test_the_shipped_rows_are_the_measured_ones() -> None:
    shown = {row.id: (row.text_length, row.digest_offset, row.digest.hex()[:32]) for row in SHIPPED.rows}
    assert shown == MEASURED


def test_140_2_certificates_are_historical_from_their_day_on() -> None:
    row = SHIPPED.row("boringcrypto-20210429-x86_64")
    assert row is not None
    (certificate,) = row.certificates
    assert (certificate.number, certificate.standard) == (4407, "FIPS 140-2")
    assert certificate.status(date(2026, 9, 20)) == "active"
    assert certificate.status(date(2026, 9, 21)) == "historical"
    newer = SHIPPED.row("boringcrypto-20220613-x86_64")
    assert newer is not None
    assert [item.status(date(2030, 1, 1)) for item in newer.certificates] == ["active"]
    assert certificate.standing(date(2026, 9, 20)) == "active until 2026-09-21"
    assert certificate.standing(date(2026, 9, 21)) == "historical since 2026-09-21"
    # The end of the newer one's certificate is not known here.
    assert [item.standing(date(2030, 1, 1)) for item in newer.certificates] == ["active, its end is not known"]


def test_what_is_said_of_all_140_2_certificates_is_said_for_the_day() -> None:
    assert SHIPPED.on_140_2(date(2026, 9, 20)) == (
        "All FIPS 140-2 certificates move to the historical list by 2026-09-21."
    )
    assert "have been on the historical list since 2026-09-21" in SHIPPED.on_140_2(date(2026, 9, 21))


def test_a_140_3_certificate_whose_sunset_is_known_is_historical_from_then_on() -> None:
    (native,) = [item for item in SHIPPED.certificates if item.number == 5247]
    assert (native.status(date(2031, 4, 25)), native.status(date(2031, 4, 26))) == ("active", "historical")
    assert native.standing(date(2031, 4, 25)) == "active until 2031-04-26"


@functools.cache
def learnt() -> Row:
    syso = goprograms.goroot() / "src/crypto/internal/boring/syso/goboringcrypto_linux_amd64.syso"
    return learn(syso, Provenance("ours", name='Our "own" module', claimed_by="Example Labs\nDept. 1"))


def local_rows(tmp_path: Path) -> Path:
    path = tmp_path / "modules.toml"
    path.write_text(emit([learnt()]))
    return path


def test_a_learnt_row_proves_its_module_as_local_and_carries_no_certificate(tmp_path: Path) -> None:
    path = local_rows(tmp_path)
    (row,) = parse(path.read_text(), str(path), local=True).rows
    assert (row.row, row.claimed_by, row.certificates) == ("local", "Example Labs\nDept. 1", ())
    table = Table(load(path).rows[-1:])
    crypto = analyze(Buffer(programs.boring().read_bytes()), table).crypto
    assert crypto.verdict is Verdict.PROVEN
    assert crypto.module is not None
    assert (crypto.module.id, crypto.module.row) == ("ours", "local")


def test_where_both_tables_know_a_module_the_shipped_row_names_it(tmp_path: Path) -> None:
    crypto = analyze(Buffer(programs.boring().read_bytes()), load(local_rows(tmp_path))).crypto
    assert crypto.module is not None
    assert crypto.module.row == "shipped"


def test_a_row_is_written_and_read_without_loss() -> None:
    text = "date = 2026-11-29\n" + emit([replace(row, certificates=()) for row in SHIPPED.rows])
    assert parse(text, "again").rows == tuple(replace(row, certificates=()) for row in SHIPPED.rows)
    assert tomllib.loads(text)["module"][0]["text_length"] == 0xB3010


# GCC and clang name what they split off a function with dots, which a TOML key may have in quotes only.
def test_an_entry_point_of_any_name_is_written_and_read_without_loss() -> None:
    names = ["X.part.0", "X.part", "X", 'quo"te', "a b", "é", "back\\slash", "-_9"]
    row = replace(learnt(), entry_points={name: number for number, name in enumerate(names)})
    assert parse(emit([row]), "again", local=True).rows == (row,)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("claimed_by", "# claimed_by"), "claimed_by"),
        (lambda text: text.replace("seen_in", "certificates = [4407]\nseen_in"), "certificates"),
        (lambda text: text.replace('id = "ours"', 'id = " "'), "no id"),
        (lambda text: text.replace("hmac-sha512", "hmac-md5"), "digest"),
        (lambda text: text.replace("text_length = 0xbe290", "text_length = -1"), "text_length"),
        (lambda text: text.replace("text_length = 0xbe290", 'text_length = "long"'), "not a table"),
        (lambda text: text.replace('id = "ours"', 'id = "boringcrypto-20210429-x86_64"'), "already"),
        (lambda text: text.replace("[[module]]", "[[modul]]"), "module"),
        (lambda text: text.partition("[module.entry_points]")[0], "entry_points"),
        (lambda text: text + "\nextra = 0xbe290\n", "outside"),
        (lambda text: text[:0], "module"),
        (lambda text: text.replace("]", "", 1), "not a table"),
    ],
)
def test_a_table_with_a_mistake_is_refused_by_name(tmp_path: Path, change: object, said: str) -> None:
    path = local_rows(tmp_path)
    assert callable(change)
    path.write_text(change(path.read_text()))
    with pytest.raises(UsageError) as raised:
        load(path)
    assert said in str(raised.value)


def test_any_row_more_changes_the_inspectors_fingerprint(tmp_path: Path) -> None:
    first = Inspector(SHIPPED, tmp_path).fingerprint
    assert first == Inspector(load(), tmp_path).fingerprint
    assert first != Inspector(load(local_rows(tmp_path)), tmp_path).fingerprint


def test_any_change_of_the_program_changes_the_inspectors_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Findings that an earlier commit left in a work directory lacked what a later one searches for.
    found = set()
    monkeypatch.setattr(inspector, "_PACKAGE", tmp_path)
    for name, text in [("verdict.py", "a"), ("verdict.py", "b"), ("archive/rpm.py", "b"), ("archive/zip.py", "")]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        inspector._own_sources.cache_clear()
        found.add(Inspector(SHIPPED, tmp_path).fingerprint)
    inspector._own_sources.cache_clear()
    assert len(found) == 4


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", UsageError),
        (b"\x7fELF", UsageError),
        (b"not an object at all, but long enough to be read as one if nobody looked" * 2, UsageError),
    ],
)
def test_only_a_module_object_can_be_learnt(tmp_path: Path, data: bytes, error: type[Exception]) -> None:
    path = tmp_path / "object"
    path.write_bytes(data)
    with pytest.raises(error):
        learn(path, Provenance("x"))


def test_a_program_is_no_module_object() -> None:
    with pytest.raises(UsageError):
        learn(programs.boring(), Provenance("x"))


def test_an_object_whose_module_was_changed_cannot_be_learnt(tmp_path: Path) -> None:
    syso = goprograms.goroot() / "src/crypto/internal/boring/syso/goboringcrypto_linux_amd64.syso"
    data = syso.read_bytes()
    path = tmp_path / "changed.syso"
    path.write_bytes(edits.flip(data, data.index(edits.module_object("amd64")[:4096]) + 0x5000))
    with pytest.raises(ValidationFailed):
        learn(path, Provenance("x"))
