"""Each file of the matrix gets its expected verdict, with evidence that can be checked."""

from __future__ import annotations

import functools
import hmac

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fipsmanifest.inspect.analysis import analyze
from fipsmanifest.inspect.source import Buffer
from fipsmanifest.inspect.table import Table, load
from fipsmanifest.inspect.verdict import describe_verdict
from fipsmanifest.model.finding import CryptoFacts, Verdict
from tests.support import edits

from . import forgeries
from .matrix import MATRIX, RELEASES, named

TABLE = load()


@pytest.mark.parametrize("name", named(MATRIX))
def test_each_file_gets_its_verdict(name: str) -> None:
    row = MATRIX[name]
    data = row.data
    looked = analyze(Buffer(data), TABLE)
    crypto = looked.crypto
    assert (str(crypto.verdict), crypto.evidence["code"]) == (row.verdict, row.code), looked
    assert crypto.evidence.get("claims", []) == list(row.claims)
    shipped = crypto.module.id if crypto.module is not None and crypto.module.row else None
    assert shipped == row.module
    if row.version:
        assert looked.go is not None
        assert looked.go.version == row.version
    assert describe_verdict(crypto).endswith(".")
    assert "{" not in describe_verdict(crypto)
    if "digest" in crypto.evidence:
        check_digests(crypto, data)


def check_digests(crypto: CryptoFacts, data: bytes) -> None:
    """Recompute what the evidence says, from the places that it names."""
    evidence = crypto.evidence
    offset, length, algorithm = evidence["offset"], evidence["length"], evidence["algorithm"]
    assert isinstance(offset, int) and isinstance(length, int) and isinstance(algorithm, str)
    digest = hmac.new(bytes(64), data[offset : offset + length], algorithm.removeprefix("hmac-")).digest()
    assert evidence["digest"] == digest.hex()
    if "stored_at" in evidence:
        assert isinstance(evidence["stored_at"], int)
        assert data[evidence["stored_at"] :].startswith(digest)
    if crypto.verdict is Verdict.PROVEN:
        assert crypto.module is not None
        assert crypto.module.digest == evidence["digest"]
        assert (evidence["executable"], evidence["self_test_called"]) == (True, True)
        assert isinstance(evidence["calls"], int) and evidence["calls"] >= 4


@pytest.mark.parametrize("name", named(("go1.19", "go1.21", "go1.24", "go1.21 arm64", "go1.24 arm64")))
def test_a_module_that_the_table_does_not_know_is_found_by_its_own_bounds(name: str) -> None:
    row = RELEASES[name]
    data = row.data if "arm64" in name else forgeries.without_symbols(row.make())
    known = forgeries.known(row.module or "")
    looked = analyze(Buffer(data), Table(tuple(item for item in TABLE.rows if item.commit != known.commit)))
    crypto = looked.crypto
    assert (str(crypto.verdict), crypto.evidence["code"]) == ("unlisted", "module-unknown"), crypto
    assert (crypto.evidence["length"], crypto.evidence["algorithm"]) == (known.text_length, known.algorithm)
    assert crypto.evidence["digest"] == known.digest.hex()
    check_digests(crypto, data)


@functools.cache
def proven(name: str) -> tuple[bytes, int, int]:
    """Return a program, and where its module begins and how long it is."""
    row = RELEASES[name]
    data, module = row.data, row.module or ""
    assert analyze(Buffer(data), TABLE).crypto.verdict is Verdict.PROVEN
    return data, forgeries.start_of(data, module), forgeries.known(module).text_length


#: Every module of the table.
@pytest.mark.parametrize("name", named(("go1.19", "go1.21", "go1.24", "go1.21 arm64", "go1.24 arm64")))
@settings(max_examples=20)
@given(fraction=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
def test_no_changed_byte_of_any_module_is_ever_proven(name: str, fraction: float, change: int) -> None:
    data, start, length = proven(name)
    at = start + int(fraction * length)
    changed = edits.put(data, at, bytes([data[at] ^ change]))
    assert analyze(Buffer(changed), TABLE).crypto.verdict is not Verdict.PROVEN
