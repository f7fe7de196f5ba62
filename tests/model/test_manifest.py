"""The canonical form, and what is accepted as a manifest."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fipsmanifest.errors import NotTrusted, Refused
from fipsmanifest.model import manifest
from tests.support import schemas

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=50),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=8), values))
def test_the_canonical_form_says_the_same_in_the_bytes_that_signing_carries_safely(document: dict[str, object]) -> None:
    data = manifest.canonical(document)
    assert json.loads(data) == document
    assert data.isascii()
    assert data.endswith(b"}\n")
    assert not data.endswith(b"\n\n")
    assert b"\r" not in data
    assert all(line == line.rstrip() and not line.startswith(b"-") for line in data.split(b"\n"))


@given(st.dictionaries(st.sampled_from(string.ascii_lowercase), values, min_size=2))
def test_the_order_of_keys_does_not_matter(document: dict[str, object]) -> None:
    assert manifest.canonical(dict(reversed(document.items()))) == manifest.canonical(document)


def test_a_line_that_gpg_could_cut_is_refused() -> None:
    with pytest.raises(Refused, match="bytes long"):
        manifest.canonical({"reason": "x" * 4096})


def minimal() -> dict[str, object]:
    return {
        "schema": "fipsmanifest/v1",
        "kubernetes": "v1.21.3",
        "build_metadata": "fips.0",
        "el": 8,
        "serial": 1,
        "created": "2021-08-24T00:00:00Z",
        "components": [],
        "files": [
            {
                "path": "/usr/bin/kubelet",
                "type": "file",
                "role": "program",
                "mode": "0755",
                "sha256": "a" * 64,
                "size": 1,
            }
        ],
        "images": [],
        "modules": {},
        "sources": [],
        "node": {"operating_systems": [], "fips_mode": True, "roles": {}, "services": []},
        "tool": {"version": "1.0", "sha256": "b" * 64},
    }


def test_a_document_comes_back_as_it_was() -> None:
    document = minimal()
    assert manifest.parse(document).document() == document | {}
    schemas.validate(document, manifest.json_schema())


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "fipsmanifest/v2"},
        {"schema": None},
        {"serial": 0},
        {"el": "8"},
        {"surprise": 1},
        {"created": "today"},
    ],
)
def test_what_is_not_a_manifest_is_not_trusted(change: dict[str, object]) -> None:
    with pytest.raises(NotTrusted):
        manifest.parse(minimal() | change)
    assert not schemas.is_valid(minimal() | change, manifest.json_schema())
