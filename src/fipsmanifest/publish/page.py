"""``index.html``: the published contents as a static page, without scripts or external resources. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from string import Template

from ..errors import Conflict
from . import index, layout
from .index import PublishedCertificate, PublishedContents, PublishedManifest, PublishedTool

#: Identifies a page that fipsmanifest wrote; it is within the first bytes.
MARKER = b'<meta name="generator" content="fipsmanifest">'
_MARKER_WITHIN = 1024

#: The limits for the rows of one table, and for the details of all releases in characters: browsers are slow with
#: larger pages, and objects of more than `MAX_OBJECT` bytes are not read.
MAX_ROWS = 300
MAX_DETAILS = 4 * 1024 * 1024

_INDEX = f'<a href="{layout.INDEX_JSON}">{layout.INDEX_JSON}</a>'


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
    newest = _newest(published.manifests)
    return _PAGE.substitute(
        marker=MARKER.decode("ascii"),
        written_with=_written_with(index.write(published)),
        style=_STYLE,
        table=_table(newest),
        publishers=_publishers(published),
        certificates=_certificates(newest),
        verdicts=_VERDICTS,
        usage=_usage(published.tools, newest),
        tools=_tools(published.tools),
        details=_sections(newest, published.manifests),
    ).encode("utf-8", "replace")


def _newest(manifests: Iterable[PublishedManifest]) -> list[PublishedManifest]:
    found: dict[tuple[str, str], PublishedManifest] = {}
    for record in manifests:
        best = found.setdefault((record.kubernetes, record.name), record)
        if record.serial > best.serial:
            found[record.kubernetes, record.name] = record
    return list(found.values())


def _table(newest: list[PublishedManifest]) -> str:
    if not newest:
        return "<p>No manifest is published yet.</p>"
    heads = ("EL version", "Kubernetes version", "Signed manifest", "Serial", "Release date", "Signed by key")
    rows = [
        [
            str(record.el),
            _text(record.kubernetes),
            _link(layout.manifest(record.kubernetes, record.name), f"manifest-{record.name}.json.asc"),
            str(record.serial),
            _day(record.created),
            f"<code>{_fingerprint(record.fingerprint)}</code>",
        ]
        for record in newest
    ]
    return _rows("The newest manifest of each release", heads, rows)


def _rows(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "releases") -> str:
    """Return a table whose rows become cards on a narrow screen; the roles keep it a table for screen readers."""
    head = "".join(f'<th role="columnheader" scope="col">{_text(text)}</th>' for text in heads)
    body = "\n".join(
        '<tr role="row">'
        + "".join(
            f'<td role="cell" data-head="{_text(text)}"><span>{cell}</span></td>'
            for text, cell in zip(heads, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return (
        f'<table role="table" class="{kind}">\n<caption>{_text(caption)}</caption>\n'
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>\n'
        f'<tbody role="rowgroup">\n{body}\n</tbody>\n</table>'
    )


def _publishers(published: PublishedContents) -> str:
    """Return the list of the signing keys; only the fingerprint identifies a key."""
    names: dict[str, str] = {}
    for record in published.manifests:
        names[record.fingerprint] = names.get(record.fingerprint) or record.signer
    for tool in published.tools:
        names.setdefault(tool.fingerprint, "")
    if not names:
        return "<p>Nothing is signed yet.</p>"
    items = "\n".join(
        f"<li>{_text(name or 'no user ID known')}: <code>{_fingerprint(fingerprint)}</code></li>"
        for fingerprint, name in names.items()
    )
    return f"<ul>\n{items}\n</ul>"


def _certificates(newest: list[PublishedManifest]) -> str:
    """Return the list of certificates, each with its status on the day when its newest manifest was signed."""
    dated: dict[PublishedCertificate, str] = {}
    for record in newest:
        for certificate in record.certificates:
            dated[certificate] = max(dated.get(certificate, ""), record.signed_at[:10])
    if not dated:
        return "<p>No certificate is named by the manifests.</p>"
    items = "\n".join(
        f"<li>{_text(item.standard)} certificate {item.number}, held by {_text(item.holder)}: {_status(item, day)}</li>"
        for item, day in sorted(dated.items(), key=lambda pair: (pair[0].standard, pair[0].number))
    )
    return f"<ul>\n{items}\n</ul>"


def _status(certificate: PublishedCertificate, signed: str) -> str:
    moved = certificate.historical_since
    if not moved:
        return f"not known to be on the historical list when its manifest was signed ({_text(signed)})."
    return f"on the historical list {'since' if moved <= signed else 'from this day on:'} {_text(moved)}."


def _usage(tools: tuple[PublishedTool, ...], newest: list[PublishedManifest]) -> str:
    if not tools or not newest:
        return "<p>There is nothing to download yet.</p>"
    record = newest[0]
    download = _commands(
        "Commands that download the node tool and a manifest",
        "BASE=https://...",
        *(f"curl -fO $BASE/{layout.tool()}{suffix}" for suffix in ("", ".sha256", ".asc")),
        f"curl -fO $BASE/{layout.manifest(record.kubernetes, record.name)}",
    )
    check = _commands(
        "Commands that check the tool",
        f"sha256sum -c {layout.TOOL}.sha256",
        f"gpg --verify {layout.TOOL}.asc {layout.TOOL}",
        f"chmod +x {layout.TOOL}",
    )
    trust = _commands("Commands that import the public key", "gpg --import release-key.asc", "gpg --fingerprint")
    file = f"manifest-{record.name}.json.asc"
    validate = _commands("Command that validates the node", f"./{layout.TOOL} --json {file}")
    verify = _commands(
        "Commands that verify a manifest",
        "FPR=...",
        "fipsmanifest keys add release-key.asc \\",
        "  --role manifest --keys keys --fingerprint $FPR",
        "fipsmanifest verify \\",
        f"  {file} --keys keys \\",
        f"  --kubernetes {record.kubernetes} --el {record.el}",
    )
    # Published bytes do not change with the wording of the code. plain-english: skip
    return f"""<p>Put this page's address, without <code>index.html</code>, into <code>BASE</code>.</p>
{download}
<p>Get the publisher's public key (<code>release-key.asc</code>) from its owner, not from this bucket. Import it once,
and compare its fingerprint with the one that its owner states:</p>
{trust}
<p>Check the tool's digest and signature, and make it executable. <code>gpg</code> must report a good signature by that
fingerprint:</p>
{check}
<p>If the first check fails while a new version is being published, the first line of the
<code>.sha256</code> file names the address where tool, digest and signature lie side by side.
Validate the node; the tool checks the manifest's signature first:</p>
{validate}
<p>To verify a manifest on another machine, put the fingerprint that the key's owner states into <code>FPR</code>, and
the key into a trust folder; it stays there for the manifests to come:</p>
{verify}"""


def _commands(label: str, *lines: str) -> str:
    """Return commands to copy, in a box that scrolls separately and can be focused by keyboard."""
    text = escape("\n".join(lines), quote=False)
    return f'<pre tabindex="0" role="region" aria-label="{_text(label)}"><code>{text}</code></pre>'


def _tools(tools: tuple[PublishedTool, ...]) -> str:
    if not tools:
        return "<p>No tool is published yet.</p>"
    items = "\n".join(
        f"<li>{_link(layout.tool(tool.version), tool.version)} "
        f"({_link(layout.tool(tool.version, '.asc'), f'signature of {tool.version}')}), "
        f"{tool.size} bytes, SHA-256 <code>{_text(tool.sha256)}</code>, signed by "
        f"<code>{_fingerprint(tool.fingerprint)}</code></li>"
        for tool in tools
    )
    return f"<ul>\n{items}\n</ul>"


def _sections(newest: list[PublishedManifest], manifests: tuple[PublishedManifest, ...]) -> str:
    """Return the details of the newest releases, up to `MAX_DETAILS` characters."""
    sections: list[str] = []
    size = 0
    for record in newest:
        section = _details(record, manifests, unfolded=record.kubernetes == newest[0].kubernetes)
        size += len(section)
        if size > MAX_DETAILS:
            sections.append(f"<p>The details of {len(newest) - len(sections)} more are in {_INDEX}.</p>")
            break
        sections.append(section)
    return "\n".join(sections)


def _details(record: PublishedManifest, manifests: tuple[PublishedManifest, ...], *, unfolded: bool) -> str:
    rows = [
        [
            _text(part.name),
            _text(part.architecture),
            f'<strong class="{_text(part.verdict)}">{_text(part.verdict)}</strong>',
            _text(", ".join(part.modules) or "no module"),
            _text(", ".join(part.certificates) or "none"),
            _text(f"{part.requirement}: {part.reason}" if part.reason else part.requirement),
        ]
        for part in record.components[:MAX_ROWS]
    ]
    heads = ("Component", "Architecture", "Verdict", "Module", "Certificate", "Required")
    return f"""<section>
<h3>{_text(record.kubernetes)} for EL{record.el} ({_text(record.name)})</h3>
<p>Serial {record.serial}, released {_day(record.created)}, signed {_day(record.signed_at)} by
<code>{_fingerprint(record.fingerprint)}</code>, {_validity(record)}.
Made with the node tool {_text(record.tool_version)}, SHA-256 <code>{_text(record.tool_sha256)}</code>.</p>
{_changed(record)}
<details{" open" if unfolded else ""}>
<summary>Components of {_text(record.kubernetes)} for {_text(record.name)}: {_verdicts(record)}</summary>
{_rows(f"Components of serial {record.serial}", heads, rows, "components")}{_more(len(record.components))}
</details>
<details>
<summary>Serials of {_text(record.kubernetes)} for {_text(record.name)}</summary>
{_serials(record, manifests)}
</details>
</section>"""


def _verdicts(record: PublishedManifest) -> str:
    """Return the number of components by verdict, the most frequent first."""
    counts = Counter(part.verdict for part in record.components)
    return _text(", ".join(f"{count} {verdict}" for verdict, count in counts.most_common()) or "none")


def _changed(record: PublishedManifest) -> str:
    if not record.since:
        return f"<p>Reason: {_text(record.reason)}</p>" if record.reason else ""
    reason = f" ({_text(record.reason)})" if record.reason else ""
    if not record.changes:
        return f"<p>Serial {record.serial} says the same as serial {record.since}{reason}.</p>"
    items = "\n".join(f"<li>{_text(line)}</li>" for line in record.changes)
    return f'<div class="changed">\n<p>Changed since serial {record.since}{reason}:</p>\n<ul>\n{items}\n</ul>\n</div>'


def _serials(record: PublishedManifest, manifests: tuple[PublishedManifest, ...]) -> str:
    serials = sorted(
        (r for r in manifests if (r.kubernetes, r.name) == (record.kubernetes, record.name)),
        key=lambda r: r.serial,
        reverse=True,
    )
    items = "\n".join(
        f"<li>{_link(r.key, f'serial {r.serial} of {r.kubernetes} for {r.name}')}, signed {_day(r.signed_at)} by "
        f"<code>{_fingerprint(r.fingerprint)}</code>{f': {_text(r.reason)}' if r.reason else ''}</li>"
        for r in serials[:MAX_ROWS]
    )
    return f"<ul>\n{items}\n</ul>{_more(len(serials))}"


def _more(count: int) -> str:
    return f"\n<p>{count - MAX_ROWS} more are in {_INDEX}.</p>" if count > MAX_ROWS else ""


def _text(text: str) -> str:
    """Escape markup, and show invisible characters and those that change the writing direction as escapes."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return escape(shown)


def _day(moment: str) -> str:
    return _text(moment.partition("T")[0])


def _validity(record: PublishedManifest) -> str:
    return f"<strong>expires {_day(record.expires)}</strong>" if record.expires else "does not expire"


def _fingerprint(fingerprint: str) -> str:
    """Return a fingerprint in groups of four digits, so that it can be compared, and wrapped on a narrow screen."""
    return _text(" ".join(fingerprint[start : start + 4] for start in range(0, len(fingerprint), 4)))


def _link(key: str, text: str) -> str:
    return f'<a href="{_text(key)}">{_text(text)}</a>'


#: What each verdict and requirement means (`docs/proof.md`); a component has the worst verdict of its programs.
_VERDICTS = """<dl>
<dt>proven</dt><dd>The code of a known validated module is in the program, unchanged, and the program calls it.</dd>
<dt>unlisted</dt><dd>A module whose own integrity digest holds, but which is not in the table of known modules.</dd>
<dt>declared</dt><dd>Only build information or symbol names claim a module.</dd>
<dt>contradicted</dt><dd>The program claims a module, and its bytes deny it. Do not use it.</dd>
<dt>other-module</dt><dd>Another FIPS module, which is named; its use is not proven here.</dd>
<dt>plain</dt><dd>Go's own cryptography, which is not validated.</dd>
<dt>no-crypto, not-go</dt><dd>A Go program without cryptography; a program that is not written in Go.</dd>
<dt>unreadable</dt><dd>Packed, truncated or malformed: nothing can be said about it.</dd>
</dl>
<p>Required <em>proven</em>: every Go program of the component must be proven, or the release is refused.
<em>module</em>: the release definition names the module's digest and says who claims what about it. <em>known</em>:
not a FIPS build, and the reason why it is in the release.</p>"""

_STYLE = """:root{color-scheme:light dark;--ink:#1b1f24;--paper:#fff;--soft:#f4f6f8;--line:#d0d7de;--mute:#57606a}
:root{--link:#0b4fae;--good:#116329;--bad:#a40e26}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--paper:#15181c;--soft:#1f242b;--line:#3d444d;--mute:#9da7b3}
:root{--link:#8ab8ff;--good:#7ee787;--bad:#ff9492}}
*{box-sizing:border-box}
body{margin:0 auto;padding:2rem 1.25rem 4rem;max-width:72rem;font:1rem/1.55 system-ui,sans-serif}
body{color:var(--ink);background:var(--paper);overflow-wrap:anywhere}
a{color:var(--link)}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 1rem}
h2{font-size:1.3rem;line-height:1.3;margin:2.75rem 0 .75rem;padding-bottom:.3rem;border-bottom:1px solid var(--line)}
h3{font-size:1.1rem;margin:0 0 .4rem}
p{margin:.5rem 0}
ul{margin:.5rem 0;padding-left:1.3rem}
li{margin:.3rem 0}
dl{margin:.5rem 0;display:grid;grid-template-columns:max-content 1fr;gap:.3rem 1rem}
dt{font-weight:600}
dd{margin:0}
code{font-family:ui-monospace,monospace;font-size:.88em}
pre{margin:.5rem 0 1rem;padding:.8rem 1rem;background:var(--soft);border:1px solid var(--line);border-radius:.4rem}
pre{overflow-x:auto;overflow-wrap:normal}
pre code{-webkit-user-select:all;user-select:all}
table{border-collapse:collapse;width:100%}
caption{text-align:left;padding:.2rem 0 .4rem;color:var(--mute)}
th,td{padding:.45rem .9rem .45rem 0;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
th{font-size:.85rem;color:var(--mute)}
tbody tr:last-child td{border-bottom:0}
.releases td:not(:nth-child(3),:last-child),th{white-space:nowrap}
.components td:nth-child(3){overflow-wrap:normal}.components td:nth-child(4){min-width:8rem}
.releases code{font-size:.82em}
summary{cursor:pointer;padding:.4rem 0;color:var(--link)}
section{margin:1rem 0;padding:1rem 1.25rem;border:1px solid var(--line);border-radius:.5rem}
.note{margin:0 0 1rem;padding:.6rem 1rem;background:var(--soft);border-left:.3rem solid var(--mute);border-radius:.2rem}
.changed{margin:.8rem 0;padding:.1rem 1rem;border-left:.3rem solid var(--link)}
.proven{color:var(--good)}
.contradicted,.unreadable{color:var(--bad)}
@media(max-width:52rem){
body{padding:1rem 1rem 3rem}
h1{font-size:1.5rem}
section{padding:.8rem .9rem}
table,caption,tbody{display:block}
thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
tr{display:block;border-bottom:1px solid var(--line);padding:.6rem 0}
tbody tr:last-child{border-bottom:0}
td{display:grid;grid-template-columns:8.5rem 1fr;border:0;padding:.1rem 0}
.releases td:not(:nth-child(3),:last-child){white-space:normal}
dl{grid-template-columns:1fr;gap:0}
dd{margin:0 0 .4rem}
td::before{content:attr(data-head);color:var(--mute)}
.components tr{display:flex;flex-wrap:wrap;gap:0 .8rem}
.components td{display:block}
.components td::before{content:none}
.components td:first-child{flex-basis:100%;font-weight:600}
.components td:nth-child(5)::before{content:"certificate: "}
.components td:last-child::before{content:"required: "}
}
@media print{:root{color-scheme:light}}"""

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
$marker
$written_with
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>FIPS builds of Kubernetes: signed manifests</title>
<style>
$style
</style>
</head>
<body>
<main>
<h1>FIPS builds of Kubernetes: signed manifests</h1>
<p class="note">This page carries no trust: verify what you download. What is published here is evidence about
binaries; it does not certify anything.</p>
<h2>Manifests</h2>
$table
<h2>Published by</h2>
<p>The holders of these keys signed what is listed here:</p>
$publishers
<h2>Certificates of the modules</h2>
$certificates
<p>Historical means: not revoked, and not for new procurement; whether a module that is in use may stay is for its
owner to decide, by risk. All FIPS 140-2 certificates have been on the historical list since 2026-09-21.</p>
<h2>Download and validate a node</h2>
$usage
<h2>Node tool</h2>
$tools
<h2>What a verdict means</h2>
$verdicts
<h2>Details</h2>
$details
</main>
</body>
</html>
""")
