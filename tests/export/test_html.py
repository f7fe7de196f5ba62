"""The page of an export in a real browser: wide and narrow, light and dark, printed, with axe's rules."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from fipsmanifest.export.htmlparts import table_section
from fipsmanifest.inspect.descriptions import VERDICTS
from fipsmanifest.model.finding import Verdict
from tests.export import samples
from tests.support.browser import Chromium, violations

PHONE, DESKTOP = 390, 1280
VIEWS = [(PHONE, False), (PHONE, True), (DESKTOP, False), (DESKTOP, True)]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a page of each kind of document, and of each with hostile text."""
    directory = tmp_path_factory.mktemp("pages")
    documents = {"manifest": samples.manifest(), "inspection": samples.inspection(), "node": samples.node()}
    documents["cluster"] = samples.cluster()
    documents |= {f"hostile-{name}": document for name, document in samples.hostile_documents().items()}
    written = {}
    for name, document in documents.items():
        written[name] = directory / f"{name}.html"
        written[name].write_text(samples.export("html", document), encoding="utf-8")
    return written


@pytest.mark.parametrize(("width", "dark"), VIEWS)
@pytest.mark.parametrize("name", ["manifest", "inspection", "node", "cluster", "hostile-manifest", "hostile-node"])
def test_axe_finds_nothing_and_nothing_is_wider_than_the_screen(
    browser: Chromium, pages: dict[str, Path], name: str, width: int, dark: bool, pictures: Path
) -> None:
    browser.open(pages[name], width=width, dark=dark)
    browser.screenshot(pictures / f"report-{name}-{width}-{'dark' if dark else 'light'}.png")

    for folded in (False, True):
        browser.evaluate(f"document.querySelectorAll('details').forEach(item => item.open = {json.dumps(not folded)})")
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        assert violations(browser) == []


@pytest.mark.parametrize("name", ["hostile-manifest", "hostile-inspection", "hostile-node", "hostile-cluster"])
def test_hostile_names_are_shown_as_text_and_nothing_is_requested(
    browser: Chromium, pages: dict[str, Path], name: str
) -> None:
    browser.requested.clear()
    browser.open(pages[name], width=DESKTOP, dark=False)

    assert browser.requested == [pages[name].as_uri()]
    assert browser.evaluate("document.querySelectorAll('script, img, a, iframe').length") == 0
    assert "<script>alert(1)</script>&amp;]]>\\x1b[31m\\n" in browser.evaluate("document.body.textContent")


def test_what_is_folded_is_printed(browser: Chromium, pages: dict[str, Path], pictures: Path) -> None:
    browser.open(pages["node"], width=DESKTOP, dark=False)
    shown = "[...document.querySelectorAll('details td')].filter(item => item.checkVisibility()).length"

    assert browser.evaluate(shown) == 0
    browser.call("Emulation.setEmulatedMedia", media="print")
    browser.screenshot(pictures / "report-node-print.png")
    assert browser.evaluate(shown) > 10
    browser.call("Emulation.setEmulatedMedia", media="")


def test_paper_has_the_colours_of_the_light_page(browser: Chromium, pages: dict[str, Path]) -> None:
    browser.open(pages["node"], width=DESKTOP, dark=True)
    colours = """[document.body, document.querySelector('.badge.bad')].map(item => {
        const style = getComputedStyle(item); return [style.color, style.backgroundColor]})"""
    scheme = {"name": "prefers-color-scheme", "value": "dark"}
    browser.call("Emulation.setEmulatedMedia", media="print", features=[scheme])
    printed = browser.evaluate(colours)
    browser.call("Emulation.setEmulatedMedia", media="")
    browser.open(pages["node"], width=DESKTOP, dark=False)

    assert printed == browser.evaluate(colours)
    (ink, paper), (bad, _) = printed
    assert paper == "rgb(255, 255, 255)" and bad != ink


def test_failures_come_first_and_the_verdict_names_the_scope(browser: Chromium, pages: dict[str, Path]) -> None:
    browser.open(pages["node"], width=DESKTOP, dark=False)
    headings = browser.evaluate("[...document.querySelectorAll('h2')].map(item => item.textContent)")

    assert headings[:2] == ["Failed (1)", "Unknown (1)"]
    assert browser.evaluate("document.querySelector('.badge').textContent") == "invalid (live)"


@pytest.mark.parametrize("name", ["manifest", "inspection", "node", "cluster"])
def test_a_tables_heading_is_written_once_and_names_the_table(
    browser: Chromium, pages: dict[str, Path], name: str
) -> None:
    browser.open(pages[name], width=DESKTOP, dark=False)
    found = browser.evaluate(
        """[...document.querySelectorAll('table')].map(table => {
            const section = table.closest('section'), heading = section.querySelector('h2');
            const named = document.getElementById(table.getAttribute('aria-labelledby')) === heading;
            return [named, table.querySelectorAll('tbody tr').length, heading.textContent];
        })"""
    )

    assert found
    for named, rows, heading in found:
        assert named and heading.endswith(f" ({rows})"), heading
    assert browser.evaluate("document.querySelectorAll('caption').length") == 0
    assert len({heading for *_, heading in found}) == len(found)


def test_a_programs_component_and_its_architecture_have_columns_of_their_own() -> None:
    assert _heads(samples.export("html", samples.manifest())) >= {"Component", "Architecture"}
    inspected = _heads(samples.export("html", samples.inspection()))
    assert "Architecture" in inspected
    assert not inspected & {"Component", "Belongs to"}


def _heads(page: str) -> set[str]:
    """Return the column headings of the tables of programs."""
    tables = [re.findall(r'scope="col">([^<]*)<', head) for head in re.findall(r"<thead.*?</thead>", page, re.DOTALL)]
    (found,) = {tuple(heads) for heads in tables if "Why" in heads}
    return set(found)


def test_a_manifest_without_a_verified_signature_is_not_shown_as_proven() -> None:
    proven = samples.manifest(components=samples.manifest()["components"][:1])

    assert '<p class="badge open">proven; unsigned</p>' in samples.export("html", proven)
    assert '<p class="badge good">proven</p>' in samples.export("html", proven, verified=True)


def test_a_cluster_is_shown_as_valid_only_if_every_node_is() -> None:
    assert '<p class="badge good">valid: 2 nodes</p>' in samples.export("html", samples.valid_cluster())
    assert '<p class="badge bad">invalid</p>' in samples.export("html", samples.cluster())
    empty = samples.export("html", samples.valid_cluster(nodes=[]))
    assert 'class="badge open"' in empty


def test_a_component_of_an_invalid_node_is_not_shown_as_proven() -> None:
    (component,) = (one for one in samples.node()["components"] if one["verdict"] == "proven")

    shown = {
        status: samples.export("html", samples.node(components=[{**component, "status": status}]))
        for status in ("pass", "fail", "unknown")
    }

    # What is listed says nothing about the program that is there.
    assert all(">Listed as</th>" in page for page in shown.values())
    assert ['<strong class="good">proven</strong>' in page for page in shown.values()] == [True, False, False]


def test_the_verdict_and_the_scope_of_a_node_are_explained() -> None:
    page = samples.export("html", samples.node(scope="partial"))

    assert "<dt>invalid</dt><dd>Something is not as the manifest lists it.</dd>" in page
    assert "<dt>partial</dt><dd>What --only and --skip left;" in page
    assert "<dt>live</dt>" not in page


def test_every_verdict_is_explained() -> None:
    assert set(VERDICTS) == set(Verdict)


def test_a_column_without_any_content_is_left_out() -> None:
    passed = samples.check("files", "/usr/bin/kubelet", "pass", expected="present", actual="present")
    failed = samples.check(
        "files", "/usr/bin/kubectl", "fail", expected="present", actual="absent", advice="Install it."
    )

    page = samples.export("html", samples.node(checks=[passed, failed]))

    tables = dict(re.findall(r'<table role="table" aria-labelledby="(\w+)">(.*?)</table>', page, re.DOTALL))
    assert ("What to do" in tables["passed"], "What to do" in tables["failed"]) == (False, True)
    assert 'data-head="Found"><span>present<' in tables["passed"]


def test_a_table_without_rows_keeps_its_columns() -> None:
    section = table_section("Components", ("Component", "Verdict"), [])

    assert re.findall(r'scope="col">(\w+)<', section) == ["Component", "Verdict"]
