"""``index.html``: what is published, for people. One static file, no script, nothing from elsewhere. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from string import Template

from ..errors import Conflict
from . import index, layout
from .index import Contents, PublishedComponent, PublishedManifest, PublishedTool

#: How we know our own page: within its first bytes.
MARKER = b'<meta name="generator" content="fipsmanifest">'
_MARKER_WITHIN = 1024

#: All FIPS 140-2 certificates moved to the historical list on that day (NIST CMVP, FIPS 140-3 transition).
FIPS_140_2_HISTORICAL = "2026-09-21"


def is_ours(key: str, data: bytes) -> bool:
    """Tell whether an index file in a bucket was written by us."""
    if key == layout.INDEX_HTML:
        return MARKER in data[:_MARKER_WITHIN]
    try:
        index.read(data)
    except Conflict:
        return False
    return True


def render(published: Contents) -> bytes:
    """Write the page: the same bytes for the same contents."""
    newest = _newest(published.manifests)
    return _PAGE.substitute(
        marker=MARKER.decode("ascii"),
        style=_STYLE,
        table=_table(newest),
        usage=_usage(published.tools, newest),
        tools=_tools(published.tools),
        details="\n".join(_details(record, published.manifests) for record in newest),
        historical=FIPS_140_2_HISTORICAL,
    ).encode("utf-8")


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
    rows = "\n".join(
        f'<tr><td>{record.el}</td><th scope="row">{escape(record.kubernetes)}</th>'
        f"<td>{_link(layout.manifest(record.kubernetes, record.name), f'manifest-{record.name}.json.asc')}</td>"
        f"<td>{record.serial}</td><td>{escape(record.created[:10])}</td>"
        f"<td><code>{_fingerprint(record.fingerprint)}</code></td></tr>"
        for record in newest
    )
    return (
        '<div class="wide" tabindex="0" role="region" aria-label="Manifests">\n<table>\n<thead><tr>'
        + "".join(
            f'<th scope="col">{head}</th>'
            for head in ("EL", "Kubernetes", "Signed manifest", "Serial", "Release date", "Signed by key")
        )
        + f"</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n</div>"
    )


def _usage(tools: tuple[PublishedTool, ...], newest: list[PublishedManifest]) -> str:
    if not tools or not newest:
        return "<p>There is nothing to download yet.</p>"
    record = newest[0]
    kubernetes, name = escape(record.kubernetes), escape(record.name)
    return f"""<p>Put this page's address, without <code>index.html</code>, into <code>BASE</code>.</p>
<pre tabindex="0"><code>BASE=https://...
curl -fO $BASE/{layout.tool()} -fO $BASE/{layout.tool()}.sha256 -fO $BASE/{layout.tool()}.asc
curl -fO $BASE/{escape(layout.manifest(record.kubernetes, record.name))}
sha256sum -c {layout.TOOL}.sha256
gpg --verify {layout.TOOL}.asc {layout.TOOL}
chmod +x {layout.TOOL}
./{layout.TOOL} --json manifest-{name}.json.asc</code></pre>
<p>If the first check fails while a new version is being published, the first line of the
<code>.sha256</code> file names the address where tool, digest and signature lie side by side.
To verify a manifest anywhere else:</p>
<pre tabindex="0"><code>fipsmanifest verify manifest-{name}.json.asc \\
  --keys keys --kubernetes {kubernetes} --el {record.el}</code></pre>"""


def _tools(tools: tuple[PublishedTool, ...]) -> str:
    if not tools:
        return "<p>No tool is published yet.</p>"
    items = "\n".join(
        f"<li>{_link(layout.tool(tool.version), tool.version)} "
        f"({_link(layout.tool(tool.version, '.asc'), f'signature of {tool.version}')}), "
        f"{tool.size} bytes, SHA-256 <code>{escape(tool.sha256)}</code></li>"
        for tool in tools
    )
    return f"<ul>\n{items}\n</ul>"


def _details(record: PublishedManifest, manifests: tuple[PublishedManifest, ...]) -> str:
    earlier = sorted(
        (r for r in manifests if (r.kubernetes, r.name) == (record.kubernetes, record.name)),
        key=lambda r: r.serial,
        reverse=True,
    )
    serials = "\n".join(
        f"<li>{_link(r.key, f'serial {r.serial}')}, signed {escape(r.signed_at[:10])} by "
        f"<code>{_fingerprint(r.fingerprint)}</code>{_because(r)}</li>"
        for r in earlier
    )
    modules = ", ".join(escape(name) for name in record.modules) or "none"
    certificates = "; ".join(escape(text) for text in record.certificates) or "none named"
    return f"""<details>
<summary>{escape(record.kubernetes)} for EL{record.el} ({escape(record.name)})</summary>
<ul>
{serials}
</ul>
<ul>
{_components(record.components)}
</ul>
<p>Modules: {modules}. Certificates: {certificates}. Node tool: {escape(record.tool_version)}, SHA-256
<code>{escape(record.tool_sha256)}</code>.</p>
</details>"""


def _components(components: tuple[PublishedComponent, ...]) -> str:
    return "\n".join(
        f"<li>{escape(part.name)} ({escape(part.architecture)}): <strong>{escape(part.verdict)}</strong>, "
        f"required {escape(part.requirement)}</li>"
        for part in components
    )


def _because(record: PublishedManifest) -> str:
    return f": {escape(record.reason)}" if record.reason else ""


def _fingerprint(fingerprint: str) -> str:
    """Write a fingerprint in groups of four, so that people can compare it and a phone can break it."""
    return escape(" ".join(fingerprint[start : start + 4] for start in range(0, len(fingerprint), 4)))


def _link(key: str, text: str) -> str:
    return f'<a href="{escape(key)}">{escape(text)}</a>'


_STYLE = """:root{color-scheme:light dark;--ink:#1a1a1a;--paper:#fff;--soft:#f0f2f5;--line:#70757d;--link:#0b4fae}
@media(prefers-color-scheme:dark){:root{--ink:#e8e8e8;--paper:#15181c;--soft:#22272e;--line:#8a919b;--link:#8ab8ff}}
body{margin:0 auto;padding:1rem;max-width:70rem;font:1rem/1.5 system-ui,sans-serif}
body{color:var(--ink);background:var(--paper)}
a{color:var(--link)}
code{font-family:ui-monospace,monospace;font-size:.9em;overflow-wrap:anywhere}
pre,.wide{overflow-x:auto}
pre{padding:.75rem;background:var(--soft)}
pre code{overflow-wrap:normal}
table{border-collapse:collapse}
th,td{padding:.4rem .7rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
summary{cursor:pointer;padding:.4rem 0}
.note{border-left:.3rem solid var(--line);padding-left:.8rem}"""

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
$marker
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
<p class="note">Certificate status: FIPS 140-2 certificates have been on the historical list since $historical.
What is published here reports evidence about binaries; it does not certify anything. This page carries no trust:
verify what you download.</p>
<h2>Manifests</h2>
$table
<h2>Download and validate a node</h2>
$usage
<h2>Node tool</h2>
$tools
<h2>Details</h2>
$details
</main>
</body>
</html>
""")
