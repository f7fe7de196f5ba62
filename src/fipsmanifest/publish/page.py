"""``index.html``: the published contents as a static page, without scripts or external resources. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Conflict
from . import index, layout
from .index import PublishedCertificate, PublishedContents, PublishedManifest

# See `_environment`.
if TYPE_CHECKING:
    from jinja2 import Environment

#: Identifies a page that fipsmanifest wrote; it is within the first bytes.
MARKER = b'<meta name="generator" content="fipsmanifest">'
_MARKER_WITHIN = 1024

#: The limits for the rows of one table, and for the details of all releases in characters: browsers are slow with
#: larger pages, and objects of more than `MAX_OBJECT` bytes are not read.
MAX_ROWS = 300
MAX_DETAILS = 4 * 1024 * 1024


def is_ours(key: str, data: bytes) -> bool:
    """Return whether fipsmanifest wrote an index file of a bucket."""
    if key == layout.INDEX_HTML:
        return MARKER in data[:_MARKER_WITHIN]
    try:
        index.read(data)
    except Conflict:
        return False
    return True


def is_written_with(page: bytes, indexed: bytes) -> bool:
    """Return whether a page was written together with this ``index.json``, whose digest the page contains."""
    return _written_with(indexed).encode("ascii") in page[:_MARKER_WITHIN]


def _written_with(indexed: bytes) -> str:
    return f'<meta name="index-sha256" content="{hashlib.sha256(indexed).hexdigest()}">'


def render(published: PublishedContents) -> bytes:
    """Return the page's bytes; they depend on the contents only, and no statement depends on the day."""
    newest = list(index.newest(published).values())
    bundles = frozenset(record.key for record in published.bundles)
    sections = _sections(newest, published.manifests, bundles)
    page = (
        _environment()
        .get_template("page.html")
        .render(
            published=published,
            newest=newest,
            publishers=_publishers(published),
            certificates=_certificates(newest),
            in_process=sorted({name for record in newest for part in record.components for name in part.in_process}),
            sections=sections,
            left=len(newest) - len(sections),
            bundles=bundles,
            index_sha256=hashlib.sha256(index.write(published)).hexdigest(),
        )
    )
    return page.encode("utf-8", "replace")


@cache
def _environment() -> Environment:
    """Return the templates: every value is escaped, and shown with its invisible characters."""
    # Here, because commands that plan nothing import this module, too.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def finalize(value: object) -> Markup:
        # Escaped as `html.escape` does; the escapes of Jinja, which autoescape applies to anything else, have the same
        # meaning and other bytes.
        return value if isinstance(value, Markup) else Markup(escape(_visible(str(value))))  # noqa: S704

    made = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"day": _day, "grouped": _grouped}
    made.globals |= {
        "index_key": layout.INDEX_JSON,
        "max_rows": MAX_ROWS,
        "pointer": layout.pointer,
        "sigstore": layout.sigstore,
        "tool": layout.tool,
        "tool_name": layout.TOOL,
    }
    return made


def _publishers(published: PublishedContents) -> dict[str, str]:
    """Return the user IDs of the signing keys by fingerprint; only the fingerprint identifies a key."""
    names: dict[str, str] = {}
    for record in published.manifests:
        names[record.fingerprint] = names.get(record.fingerprint) or record.signer
    for tool in published.tools:
        names.setdefault(tool.fingerprint, "")
    return names


def _certificates(newest: list[PublishedManifest]) -> list[tuple[PublishedCertificate, str]]:
    """Return the certificates, each with the day when its newest manifest was signed."""
    dated: dict[PublishedCertificate, str] = {}
    for record in newest:
        for certificate in record.certificates:
            dated[certificate] = max(dated.get(certificate, ""), record.signed_at[:10])
    return sorted(dated.items(), key=lambda pair: (pair[0].standard, pair[0].number))


def _sections(
    newest: list[PublishedManifest], manifests: Iterable[PublishedManifest], bundles: frozenset[str]
) -> list[str]:
    """Return the details of the newest releases as markup, up to `MAX_DETAILS` characters."""
    serials: dict[str, list[PublishedManifest]] = {}
    for record in sorted(manifests, key=lambda record: record.serial, reverse=True):
        serials.setdefault(layout.pointer(record.id.release), []).append(record)
    sections: list[str] = []
    size = 0
    for record in newest:
        pointer = layout.pointer(record.id.release)
        section = _section(record, serials[pointer], newest[0].kubernetes, bundles)
        size += len(section)
        if size > MAX_DETAILS:
            break
        sections.append(section)
    return sections


def _section(
    record: PublishedManifest, serials: list[PublishedManifest], unfolded: str, bundles: frozenset[str]
) -> str:
    counts = Counter(part.verdict for part in record.components).most_common()
    text = (
        _environment()
        .get_template("section.html")
        .render(
            record=record,
            serials=serials,
            bundles=bundles,
            unfolded=record.kubernetes == unfolded,
            verdicts=", ".join(f"{count} {verdict}" for verdict, count in counts) or "none",
        )
    )
    return text.removesuffix("\n")


def _visible(text: str) -> str:
    """Return text with escapes for characters that are invisible, or change the writing direction."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _day(moment: str) -> str:
    return moment.partition("T")[0]


def _grouped(fingerprint: str) -> str:
    """Return a fingerprint in groups of four digits, so that it can be compared, and wrapped on a narrow screen."""
    return " ".join(fingerprint[start : start + 4] for start in range(0, len(fingerprint), 4))
