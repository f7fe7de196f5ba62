"""The index: the same bytes for the same contents, nothing trusted, everything escaped."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fipsmanifest.errors import Conflict, Refused
from fipsmanifest.model.finding import Verdict
from fipsmanifest.publish import index
from fipsmanifest.publish.bucket import MAX_OBJECT
from fipsmanifest.publish.consumer import Consumer
from fipsmanifest.publish.index import (
    PublishedCertificate,
    PublishedComponent,
    PublishedContents,
    PublishedManifest,
    PublishedTool,
)
from fipsmanifest.publish.page import is_ours, render
from fipsmanifest.publish.plan import make_plan
from fipsmanifest.publish.request import PublishRequest
from fipsmanifest.publish.snapshot import Snapshot

EVIL = "<script>alert('x')</script>&\"'"


def record(*, kubernetes: str = "v1.21.3", name: str = "rhel8", serial: int = 1, reason: str = "") -> PublishedManifest:
    return PublishedManifest(
        key=f"tool/manifests/{kubernetes}/{serial}/manifest-{name}.json.asc",
        size=1000,
        sha256="ab" * 32,
        kubernetes=kubernetes,
        name=name,
        el=int(name[4]),
        serial=serial,
        created="2026-11-20T00:00:00Z",
        expires="",
        signed_at="2026-11-21T00:00:00Z",
        fingerprint="0123456789ABCDEF0123456789ABCDEF01234567",
        reason=reason,
        tool_version="0.1.0",
        tool_sha256="cd" * 32,
        components=(PublishedComponent("kubelet", "x86_64", "proven", "proven", ("BoringCrypto",)),),
        modules=("BoringCrypto",),
        certificates=(PublishedCertificate(3678, "FIPS 140-2", "Google, LLC", "2026-09-21"),),
        since=serial - 1,
        changes=(),
    )


TOOL = PublishedTool("0.1.0", "cd" * 32, 1000, "0123456789ABCDEF0123456789ABCDEF01234567")
BOTH = index.contents([record(), record(name="rhel7"), record(serial=2, reason="Rebuilt")], [TOOL])


class _Page(HTMLParser):
    """Reads a page with the standard library's parser: tags, addresses and text."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.attributes: dict[str, list[str]] = {}
        self.text = ""
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value or "")
            if name in {"href", "src"}:
                self.links.append(value or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_order_in_which_things_were_found_does_not_matter() -> None:
    shuffled = index.contents([record(serial=2, reason="Rebuilt"), record(name="rhel7"), record()], [TOOL])

    assert index.write(shuffled) == index.write(BOTH)
    assert render(shuffled) == render(BOTH)


def test_what_is_written_is_read_back() -> None:
    assert index.read(index.write(BOTH)) == BOTH


def test_kubernetes_versions_are_ordered_by_number_and_the_newest_comes_first() -> None:
    versions = ["v1.9.0", "v1.21.3", "v1.21.10", "v1.22.0-rc.1", "v1.22.0"]
    found = index.contents([record(kubernetes=version) for version in versions], [])

    assert [manifest.kubernetes for manifest in found.manifests] == list(reversed(versions))


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"schema": "other"}', b"\xff", b"[" * 100_000])
def test_an_index_of_someone_else_is_a_conflict(data: bytes) -> None:
    with pytest.raises(Conflict):
        index.read(data)
    assert not is_ours("index.json", data)


@pytest.mark.parametrize(
    "change",
    [
        {"serial": "1"},
        {"serial": True},
        {"key": None},
        {"components": [{}]},
        {"modules": [1]},
        {"certificates": [{}]},
        {"changes": "x"},
        {"extra": 1},
        # Of another object than the one whose key it gives, or of none that could be.
        {"kubernetes": "v" + "9" * 5000},
        {"kubernetes": "v9.9.9"},
        {"name": "../evil"},
        {"serial": 7},
        {"key": "tool/0.1.0/dkp-fips-tool"},
        {"key": "tool/manifests/v1.21.3/manifest-rhel8.json.asc"},
        {"size": -1},
        {"el": 10**30},
        {"certificates": [{"number": 10**300, "standard": "", "holder": "", "historical_since": ""}]},
    ],
)
def test_a_malformed_record_is_left_out_rather_than_believed(change: dict[str, object]) -> None:
    document = json.loads(index.write(BOTH))
    document["manifests"][0].update(change)

    read = index.read(json.dumps(document).encode())

    assert len(read.manifests) == 2
    assert read.tools == BOTH.tools


@pytest.mark.parametrize("version", ["9" * 5000, "../evil", "1.0/x", "", "\ud800", "1." * 50 + "1"])
def test_a_tool_that_could_not_be_published_is_left_out(version: str) -> None:
    document = json.loads(index.write(BOTH))
    document["tools"][0]["version"] = version

    assert index.read(json.dumps(document).encode()).tools == ()


def test_a_number_of_a_million_digits_costs_one_record_and_no_time() -> None:
    data = index.write(BOTH).replace(b'"serial": 2', b'"serial": ' + b"9" * 1_000_000)

    assert len(index.read(data).manifests) == 2


_TEXT = st.sampled_from(["", "9" * 30, "../x", "v1.2.3", "\ud800", "0.2.0"])
_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=4,
)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Return every container in a document with each of its keys."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from _places(inner)


@settings(max_examples=100)
@given(st.data())
def test_whatever_somebody_writes_into_an_index_it_is_read_or_refused_and_can_be_shown(data: st.DataObject) -> None:
    document = json.loads(index.write(BOTH))
    places = list(_places(document))
    for container, key in data.draw(st.lists(st.sampled_from(places), max_size=4)):
        # Of the same kind more often than not: what is of another one is rejected at once.
        kinds = {str: _TEXT, int: st.integers()}
        container[key] = data.draw(st.one_of(kinds.get(type(container[key]), _ANY), _ANY))

    try:
        read = index.read(json.dumps(document).encode())
    except Conflict:
        return

    shown = index.contents(read.manifests, read.tools)
    assert index.read(index.write(shown)) == shown
    assert {record.key for record in shown.manifests} <= {record.key for record in BOTH.manifests}
    assert is_ours("index.html", render(shown))


def test_what_nobody_sees_or_what_turns_the_writing_is_shown_as_an_escape() -> None:
    reason = "half of a pair: \ud83d, \x00 \x1b[31m \r \u202edesrever\u202c, Société 東京"
    page = _Page(render(index.contents([record(serial=2, reason=reason)], [TOOL])))

    assert r"half of a pair: \ud83d, \x00 \x1b[31m \r \u202edesrever\u202c, Société 東京" in page.text


def test_the_page_stays_readable_however_much_a_manifest_says_and_says_what_it_leaves_out() -> None:
    parts = tuple(PublishedComponent(f"c{i}", "x86_64", "proven", "proven", ("BoringCrypto",)) for i in range(48_000))
    large = dataclasses.replace(record(kubernetes="v1.22.0"), components=parts)
    serials = [record(serial=serial) for serial in range(1, 1002)]

    page = render(index.contents([large, *serials], [TOOL]))

    assert len(page) < 1_000_000
    text = _Page(page).text
    assert "47700 more are in index.json." in text and "701 more are in index.json." in text
    assert "48000 proven" in text


def test_the_details_of_more_releases_than_a_page_can_hold_are_left_to_the_index() -> None:
    parts = tuple(PublishedComponent(f"c{i}", "x86_64", "proven", "proven", ("BoringCrypto",)) for i in range(100))
    releases = [dataclasses.replace(record(kubernetes=f"v1.21.{patch}"), components=parts) for patch in range(300)]

    page = _Page(render(index.contents(releases, [TOOL])))

    shown = page.tags.count("section")
    assert 50 < shown < 300
    assert f"The details of {300 - shown} more are in index.json." in page.text
    assert page.links.count("tool/manifests/v1.21.0/manifest-rhel8.json.asc") == 1


def test_an_index_that_would_be_too_large_to_be_read_is_refused_before_anything_is_written(consumer: Consumer) -> None:
    published = index.contents([record(serial=2, reason="x" * MAX_OBJECT)], [TOOL])
    there = Snapshot("bucket", {}, {}, published, {}, ())

    with pytest.raises(Refused, match=r"index\.json would have \d{8} bytes"):
        make_plan(PublishRequest(), there, consumer, datetime.now(UTC))


def test_the_page_names_each_newest_manifest_by_the_address_of_the_seed() -> None:
    page = _Page(render(BOTH))

    assert "tool/manifests/v1.21.3/manifest-rhel7.json.asc" in page.links
    assert "tool/manifests/v1.21.3/manifest-rhel8.json.asc" in page.links
    for expected in (
        "chmod +x dkp-fips-tool",
        "./dkp-fips-tool --json manifest-",
        "FIPS 140-2 certificates have been on the historical list since 2026-09-21",
        "FIPS 140-2 certificate 3678, held by Google, LLC: on the historical list since 2026-09-21.",
        "does not certify",
        "0123 4567 89AB CDEF",
        "cd" * 32,
        "Rebuilt",
        "kubelet",
    ):
        assert expected in page.text


def test_the_page_says_what_each_component_rests_on_and_why_one_need_not_be_proven() -> None:
    parts = (
        PublishedComponent(
            "kubelet", "x86_64", "proven", "proven", ("BoringCrypto",), ("FIPS 140-2 certificate 3678",)
        ),
        PublishedComponent("coredns", "x86_64", "known", "plain", (), (), "not rebuilt by upstream"),
    )
    page = _Page(render(index.contents([dataclasses.replace(record(), components=parts)], [TOOL])))

    assert "proven" + "BoringCrypto" + "FIPS 140-2 certificate 3678" + "proven" in page.text.replace("\n", "")
    assert "known: not rebuilt by upstream" in page.text


def test_the_page_names_its_publisher_and_has_the_public_key_imported_before_anything_is_verified() -> None:
    signed = dataclasses.replace(record(), signer="Example release <release@example.com>")
    text = _Page(render(index.contents([signed], [TOOL]))).text

    assert "Example release <release@example.com>: 0123 4567 89AB CDEF 0123 4567 89AB CDEF 0123 4567" in text
    assert text.index("gpg --import release-key.asc") < text.index("gpg --verify")


@pytest.mark.parametrize("verdict", list(Verdict))
def test_the_page_explains_every_verdict(verdict: str) -> None:
    terms = re.findall(r"<dt>(.*?)</dt>", render(BOTH).decode())

    assert verdict in ", ".join(terms).split(", ")


def test_the_page_has_no_script_and_nothing_from_elsewhere() -> None:
    page = _Page(render(BOTH))

    assert not {"script", "img", "iframe", "link", "object", "form"} & set(page.tags)
    assert all(link.startswith("tool/") for link in page.links)
    assert not [name for name in page.attributes if name.startswith("on")]
    assert "en" in page.attributes["lang"]
    assert "width=device-width, initial-scale=1" in page.attributes["content"]


def test_whatever_a_manifest_says_stays_text() -> None:
    evil = dataclasses.replace(
        record(),
        reason=EVIL,
        created=EVIL,
        expires=EVIL,
        signed_at=EVIL,
        fingerprint=EVIL,
        tool_version=EVIL,
        tool_sha256=EVIL,
        modules=(EVIL,),
        certificates=(PublishedCertificate(1, EVIL, EVIL, EVIL),),
        since=1,
        changes=(EVIL,),
        components=(PublishedComponent(EVIL, EVIL, EVIL, EVIL, (EVIL,), (EVIL,), EVIL),),
        signer=EVIL,
    )

    plain = dataclasses.replace(record(reason="x"), since=1, changes=("x",))
    page = _Page(render(PublishedContents((evil,), (TOOL,))))

    assert "script" not in page.tags
    assert page.text.count(EVIL) >= 11
    assert set(page.tags) == set(_Page(render(PublishedContents((plain,), (TOOL,)))).tags)


def test_an_empty_bucket_has_a_page_that_says_so() -> None:
    page = _Page(render(PublishedContents()))

    assert "No manifest is published yet" in page.text
    assert "nothing to download yet" in page.text


def test_our_own_page_is_known_and_no_other() -> None:
    assert is_ours("index.html", render(BOTH))
    assert not is_ours("index.html", b"<!DOCTYPE html><title>Welcome</title>")


def test_a_module_that_is_in_process_is_named_as_such_and_never_as_a_certificate() -> None:
    name = "Go Cryptographic Module v1.26.0"
    part = PublishedComponent("kubelet", "x86_64", "proven", "proven", (name,), in_process=(name,))
    found = dataclasses.replace(record(), components=(part,), modules=(name,), certificates=())
    text = " ".join(_Page(render(index.contents([found], [TOOL]))).text.split())
    assert f"{name} is in process of validation: it has no certificate." in text
    assert "none: in process" in text
    assert "No certificate is named by the manifests." in text
    assert "in process" not in _Page(render(BOTH)).text
