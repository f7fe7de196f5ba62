"""The parts of the HTML page: escaping, tables, and the style. Pure.

Every text goes through `text` or `code`, which escape markup. The page is readable on a phone, in the dark and on
paper; its Content-Security-Policy forbids everything but its own style.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import compress
from typing import Literal

from .identity import visible

#: The limit for the rows of a table: browsers are slow with larger pages.
MAX_ROWS = 1000

_GOOD = frozenset({"proven", "pass", "no-crypto", "not-go", "valid", "passed"})
_BAD = frozenset({"contradicted", "fail", "invalid", "untrusted", "unreadable", "plain", "declared"})

BadgeKind = Literal["good", "bad", "open"]


@dataclass(frozen=True, slots=True)
class Cell:
    """The escaped content of a table's cell."""

    html: str
    """Safe HTML."""


@dataclass(frozen=True, slots=True)
class Badge:
    """The verdict of the whole document."""

    words: str
    """What it says, as plain text."""
    kind: BadgeKind
    """``open`` for what a reader has to judge."""


def text(words: str) -> Cell:
    """Return text with markup escaped, and invisible and direction-changing characters as escapes."""
    return Cell(escape(visible(words)))


def code(words: str) -> Cell:
    """Return a digest or fingerprint in a fixed-width font."""
    return Cell(f"<code>{escape(visible(words))}</code>")


def mark(word: str, *, expected: bool = False) -> Cell:
    """Return a verdict or status, coloured by what it means; the word itself says it as well.

    ``expected`` is whether a bad one is declared as such, with its reason.
    """
    kind = "open" if expected and word in _BAD else "good" if word in _GOOD else "bad" if word in _BAD else "open"
    return Cell(f'<strong class="{kind}">{escape(visible(word))}</strong>')


def facts(found: Mapping[str, str]) -> str:
    """Return names and values."""
    rows = "\n".join(f"<div><dt>{escape(name)}</dt><dd>{text(value).html}</dd></div>" for name, value in found.items())
    return f'<dl class="facts">\n{rows}\n</dl>'


def definitions(found: Mapping[str, str]) -> str:
    """Return words and their meanings."""
    rows = "\n".join(f"<dt>{escape(word)}</dt><dd>{escape(meaning)}</dd>" for word, meaning in found.items())
    return f"<dl>\n{rows}\n</dl>"


def items(sentences: Iterable[str]) -> str:
    """Return a list."""
    return "<ul>\n" + "\n".join(f"<li>{text(one).html}</li>" for one in sentences) + "\n</ul>"


def section(heading: str, *blocks: str) -> str:
    """Return a section."""
    return "\n".join(["<section>", f"<h2>{escape(heading)}</h2>", *blocks, "</section>"])


def table_section(
    heading: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    folded: bool = False,
    count: int | None = None,
) -> str:
    """Return a section with a table of at most `MAX_ROWS` rows; ``count`` is how many there are, if more than given.

    A column without any content is left out.

    The section's heading, which no other section of the page has, is also the table's name.
    """
    total = len(rows) if count is None else count
    name = re.sub(r"\W+", "-", heading.lower())
    used = [not rows or any(row[place].html for row in rows) for place in range(len(heads))]
    shown = [tuple(compress(row, used)) for row in rows[:MAX_ROWS]]
    content = _table(name, tuple(compress(heads, used)), shown)
    if total > MAX_ROWS:
        content += f"\n<p>{total - MAX_ROWS} more are in the document.</p>"
    if folded:
        content = f'<details>\n<summary aria-describedby="{name}">Show</summary>\n{content}\n</details>'
    return f'<section>\n<h2 id="{name}">{escape(heading)} ({total})</h2>\n{content}\n</section>'


def _table(name: str, heads: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Return a table whose rows become cards on a narrow screen; the roles keep it a table for screen readers.

    ``name`` is the id of its heading.
    """
    names = [escape(name) for name in heads]
    head = "".join(f'<th role="columnheader" scope="col">{name}</th>' for name in names)
    body = "\n".join(
        '<tr role="row">'
        + "".join(
            f'<td role="cell" data-head="{name}"><span>{cell.html}</span></td>'
            for name, cell in zip(names, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return (
        f'<table role="table" aria-labelledby="{name}">\n'
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>\n<tbody role="rowgroup">\n{body}\n</tbody>\n'
        "</table>"
    )


def page(title: str, badge: Badge, body: Iterable[str]) -> str:
    """Return the whole page."""
    name = text(title).html
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{name}: {text(badge.words).html}</title>",
            f"<style>{_STYLE}</style>",
            "</head>",
            "<body>",
            "<header>",
            f"<h1>{name}</h1>",
            f'<p class="badge {badge.kind}">{text(badge.words).html}</p>',
            "</header>",
            "<main>",
            *body,
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )


_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--paper:#fff;--soft:#f4f6f8;--line:#d0d7de;--mute:#57606a;
--good:#116329;--bad:#a40e26;--open:#7a4b00}
@media screen and (prefers-color-scheme:dark){
:root{--ink:#e6edf3;--paper:#15181c;--soft:#1f242b;--line:#3d444d;--mute:#9da7b3;
--good:#7ee787;--bad:#ff9492;--open:#f0b72f}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1.5rem;max-width:80rem;color:var(--ink);background:var(--paper);
font:1rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.6rem;line-height:1.25;margin:0 0 .5rem}
h2{font-size:1.2rem;margin:2rem 0 .5rem}
.badge{display:inline-block;margin:0 0 1rem;padding:.25rem .75rem;border:2px solid;border-radius:.4rem;font-weight:700}
.good{color:var(--good)}.bad{color:var(--bad)}.open{color:var(--open)}
.facts{margin:0;display:grid;gap:.25rem}
.facts div{display:grid;grid-template-columns:12rem 1fr;gap:.5rem}
dt{font-weight:600}dd{margin:0 0 .25rem}
.facts dt{color:var(--mute);font-weight:400}
table{width:100%;border-collapse:collapse;margin:.5rem 0}
th{white-space:nowrap}td{min-width:7rem}
th,td{text-align:left;vertical-align:top;padding:.4rem .6rem .4rem 0;border-bottom:1px solid var(--line)}
code{font-size:.85em}
summary{cursor:pointer;padding:.35rem .5rem;background:var(--soft);border-radius:.3rem}
@media screen and (max-width:50rem){
body{padding:1rem}.facts div{grid-template-columns:1fr;gap:0}
table,tbody,tr,td{display:block}thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
tr{border-bottom:1px solid var(--line);padding:.5rem 0}
td{border:0;padding:.1rem 0;display:grid;grid-template-columns:7rem 1fr;gap:.5rem}
td::before{content:attr(data-head);color:var(--mute)}}
@media print{
:root{color-scheme:light;--line:#999}
body{max-width:none;padding:0;font-size:9.5pt}td{min-width:5rem}
details::details-content{content-visibility:visible;display:block}
summary{display:none}tr{break-inside:avoid}h2{break-after:avoid}.facts+p{break-before:avoid}}
"""
