"""What the models of OSCAL have in common: metadata, properties, text. Pure.

https://pages.nist.gov/OSCAL-Reference/models/v1.1.3/.
"""

from __future__ import annotations

import re
from typing import Any

from .documents import Source
from .identity import URN, identifier, visible
from .settings import Settings

VERSION = "1.1.3"

#: NIST's own catalog; OSCAL names controls by their ids in a catalog.
CATALOG = (
    "https://raw.githubusercontent.com/usnistgov/oscal-content/main/nist.gov/SP800-53/rev5/json/"
    "NIST_SP800-53_rev5_catalog.json"
)

#: Characters that begin something in OSCAL's Markdown (OSCAL, "markup-line"), and in CommonMark.
_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+!|~^\"'$&-])")


def metadata(source: Source, title: str, version: str, date: str, settings: Settings) -> dict[str, Any]:
    """Return the metadata of a document; ``title`` is Markdown."""
    props = [own("document-sha256", source.sha256), own("signature", source.signature.state)]
    if source.signature.fingerprint is not None:
        props.append(own("signed-by", source.signature.fingerprint))
    props.append(own("generator", f"fipsmanifest {settings.tool_version}"))
    return {"title": title, "last-modified": date, "version": line(version), "oscal-version": VERSION, "props": props}


def own(name: str, value: str) -> dict[str, Any]:
    """Return a property of ours."""
    return {"name": name, "ns": f"{URN}:oscal", "value": line(value)}


def nist(name: str, value: str) -> dict[str, Any]:
    """Return a property that OSCAL defines."""
    return {"name": name, "value": line(value)}


def line(text: str) -> str:
    """Return ``text`` as OSCAL's string: one line, not empty, without white space at its ends."""
    return visible(text).strip() or "-"


def markup(text: str) -> str:
    """Return ``text`` as OSCAL's Markdown that shows it as it is."""
    return _MARKUP.sub(r"\\\1", line(text))


def resource(source: Source, title: str, file: str) -> dict[str, Any]:
    """Return the back-matter resource for the exported document."""
    return {
        "uuid": identifier(source, "oscal", "resource"),
        "title": title,
        "rlinks": [
            {
                "href": file,
                "media-type": "application/json",
                "hashes": [{"algorithm": "SHA-256", "value": source.sha256}],
            }
        ],
    }
