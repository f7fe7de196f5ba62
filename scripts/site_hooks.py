"""Hooks of the documentation site (mkdocs.yml): add the pages that are made from the code at each build.

Their sources are not in the repository, so they cannot differ from the code.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from scripts import reference

from fipsmanifest import __version__

#: The page that is releases/README.md, beside the definitions, in the repository.
_DEFINITIONS = "definitions.md"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Show the version that the site describes, and list the pages that are many: commands and decisions."""
    config.site_name = f"fipsmanifest {__version__}"
    pages = {
        "Commands": [f"reference/commands/{name}" for name, _ in reference.command_pages()],
        "Decisions": [f"adr/{path.name}" for path in sorted(Path(config.docs_dir, "adr").glob("*.md"))],
    }
    for tab in config.nav or ():
        for entries in tab.values():
            for entry in entries:
                if isinstance(entry, dict):
                    entry.update({title: pages[title] for title in entry if title in pages})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the reference of commands, words and schemas."""
    for name, content in _generated():
        files.append(File.generated(config, f"reference/{name}", content=content))
    definitions = Path(config.config_file_path).parent / "releases" / "README.md"
    files.append(File.generated(config, _DEFINITIONS, content=definitions.read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Let links that leave docs/, as the repository's reader needs them, lead to the page of the site."""
    here = "../" * page.file.src_uri.count("/")
    return markdown.replace("](../releases/README.md", f"]({here}{_DEFINITIONS}")


def _generated() -> Iterator[tuple[str, str]]:
    for name, content in reference.command_pages():
        yield f"commands/{name}", content
    for name, content in reference.schema_pages():
        yield f"schemas/{name}", content
    yield "words.md", reference.words_page()
