"""The page in a real browser, wide and narrow, light and dark, with axe's rules for accessibility."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from fipsmanifest.publish import index
from fipsmanifest.publish.address import open_bucket
from fipsmanifest.publish.index import PublishedContents
from fipsmanifest.publish.page import render
from fipsmanifest.publish.publisher import publish
from tests.support.browser import Chromium, violations
from tests.support.releases import ReleaseKey, wanted_release

PHONE, DESKTOP = 390, 1280
VIEWS = [(PHONE, False), (PHONE, True), (DESKTOP, False), (DESKTOP, True)]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, release_key: ReleaseKey) -> Path:
    """Return the page of two serials, as it was published."""
    directory = tmp_path_factory.mktemp("bucket") / "bucket"
    for serial, version in ((1, "0.1.0"), (2, "0.2.0")):
        wanted = wanted_release(release_key, version=version, serial=serial, kubelet=bytes([serial]))
        publish(wanted, open_bucket(str(directory)), release_key.consumer)
    return directory / "index.html"


@pytest.fixture(scope="module")
def empty_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "index.html"
    path.write_bytes(render(PublishedContents()))
    return path


@pytest.mark.parametrize(("width", "dark"), VIEWS)
def test_axe_finds_nothing_and_nothing_is_wider_than_the_screen(
    browser: Chromium, page: Path, width: int, dark: bool, pictures: Path
) -> None:
    browser.open(page, width=width, dark=dark)
    browser.screenshot(pictures / f"index-{width}-{'dark' if dark else 'light'}.png")

    # The commands scroll in boxes of their own; the page must not.
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    for folded in (False, True):
        browser.evaluate(f"document.querySelectorAll('details').forEach(item => item.open = {json.dumps(not folded)})")
        assert violations(browser) == []


@pytest.fixture(scope="module")
def wide_page(page: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same page with names as long as they get."""
    told = index.read(page.with_name("index.json").read_bytes())
    long = [
        dataclasses.replace(record, kubernetes="v1.121.103-alpha.10", name="rhel-810-extended-update-support")
        for record in told.manifests
    ]
    path = tmp_path_factory.mktemp("wide") / "index.html"
    path.write_bytes(render(PublishedContents(tuple(long), told.tools)))
    return path


@pytest.mark.parametrize("names", ["page", "wide_page"])
def test_no_width_between_a_phones_and_a_desktops_makes_the_page_wider_than_its_window(
    browser: Chromium, names: str, request: pytest.FixtureRequest
) -> None:
    browser.open(request.getfixturevalue(names), width=DESKTOP, dark=False)
    wider = {}
    for width in [320, 360, *range(600, 900, 4), 1024]:
        browser.resize(width)
        if (needed := browser.evaluate("document.documentElement.scrollWidth")) > width:
            wider[width] = needed

    assert wider == {}


def test_no_verdict_is_broken_in_the_middle_of_its_word(browser: Chromium, page: Path, tmp_path: Path) -> None:
    indexed = index.read(page.with_name("index.json").read_bytes())
    manifests = []
    for record in indexed.manifests:
        # Long reasons leave the other columns as little room as they need.
        parts = (dataclasses.replace(part, reason="a reason " * 30) for part in record.components)
        manifests.append(dataclasses.replace(record, components=tuple(parts)))
    path = tmp_path / "index.html"
    path.write_bytes(render(PublishedContents(tuple(manifests), indexed.tools)))
    browser.open(path, width=DESKTOP, dark=False)
    browser.evaluate("document.querySelectorAll('details').forEach(item => item.open = true)")
    browser.resize(1000)

    lines = "Array.from(document.querySelectorAll('.components strong.proven'), item => item.getClientRects().length)"
    found = json.loads(browser.evaluate(f"JSON.stringify({lines})"))

    assert found and set(found) == {1}


def test_an_empty_bucket_has_an_accessible_page_too(browser: Chromium, empty_page: Path) -> None:
    browser.open(empty_page, width=PHONE, dark=False)

    assert violations(browser) == []


def test_dark_is_dark_and_light_is_light(browser: Chromium, page: Path) -> None:
    seen = {}
    for dark in (False, True):
        browser.open(page, width=DESKTOP, dark=dark)
        seen[dark] = browser.evaluate("getComputedStyle(document.body).backgroundColor")

    assert seen == {False: "rgb(255, 255, 255)", True: "rgb(21, 24, 28)"}


def test_the_browser_asks_for_nothing_but_the_page_itself(browser: Chromium, page: Path) -> None:
    browser.requested.clear()
    browser.open(page, width=DESKTOP, dark=False)

    assert browser.evaluate("document.scripts.length") == 0
    assert set(browser.requested) == {page.as_uri()}


def test_every_link_leads_to_a_published_object(browser: Chromium, page: Path) -> None:
    browser.open(page, width=DESKTOP, dark=False)

    links = browser.evaluate("Array.from(document.links, link => link.getAttribute('href'))")

    assert len(links) >= 6
    assert [link for link in links if not (page.parent / link).is_file()] == []


def test_a_reader_sees_what_changed_and_what_each_component_rests_on(browser: Chromium, page: Path) -> None:
    browser.open(page, width=PHONE, dark=False)

    text = browser.evaluate("document.body.innerText")

    assert "Changed since serial 1 (Upstream re-issued the package.)" in text
    assert "kubelet: /usr/bin/kubelet (x86_64) changed" in text
    assert "BoringCrypto" in text
    assert "FIPS 140-2 certificate 3678, held by Google, LLC: on the historical list since 2026-09-21." in text
