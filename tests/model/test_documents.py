"""Deeply nested documents and numbers of thousands of digits: malformed input, whichever file they are in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fipsmanifest.errors import FipsManifestError
from fipsmanifest.inspect import artifacts, table
from fipsmanifest.inspect.gate import read_exceptions
from fipsmanifest.model import definition_file, documents
from fipsmanifest.oci import credentials
from fipsmanifest.oci import document as imagedocument
from fipsmanifest.publish import index
from fipsmanifest.state import lock
from fipsmanifest.state import rollback as freshness
from fipsmanifest.trust import store as trust
from tests.support import command

DEEP = 100_000
JSON = {
    "lists": "[" * DEEP,
    "closed lists": "[" * DEEP + "]" * DEEP,
    "objects": '{"a":' * DEEP,
    "inside": '{"schema": ' + "[" * DEEP + "]" * DEEP + "}",
    "digits": '{"schema": ' + "9" * 5000 + "}",
    "not text": "\ud800",
}
TOML = {
    "lists": "a = " + "[" * DEEP,
    "closed lists": "a = " + "[" * DEEP + "]" * DEEP,
    "tables": "a = " + "{b = " * DEEP,
    "digits": "a = " + "9" * 5000,
    "not text": "a = '\ud800'",
}


#: Everything that reads such a file, and the exit code of the error.
READERS: dict[str, tuple[dict[str, str], Callable[[Path], object], int]] = {
    "definition": (TOML, definition_file.load, 2),
    "exceptions": (TOML, read_exceptions, 2),
    "modules": (TOML, lambda path: table.load(path), 2),
    "lock": (JSON, lock.load, 2),
    "trust.json": (JSON, lambda path: trust.load_trust(str(path.parent)), 3),
    "image document": (JSON, lambda path: imagedocument.parse(path.read_bytes(), "index.json"), 5),
    "docker config": (JSON, credentials._load, 4),
    "seen serials": (JSON, freshness._read, 4),
    "index.json of a bucket": (JSON, lambda path: index.read(path.read_bytes()), 6),
}


@pytest.mark.parametrize(
    ("reader", "shape"), [(reader, shape) for reader, (shapes, _, _) in READERS.items() for shape in shapes]
)
def test_a_hostile_document_is_a_malformed_one(reader: str, shape: str, tmp_path: Path) -> None:
    shapes, read, code = READERS[reader]
    path = tmp_path / "trust.json"
    path.write_bytes(shapes[shape].encode("utf-8", "surrogatepass"))
    with pytest.raises(FipsManifestError) as caught:
        read(path)
    assert caught.value.exit_code == code
    assert len(caught.value.message) < 500


@pytest.mark.parametrize("shape", JSON)
def test_what_was_kept_of_an_inspection_is_made_again_where_it_cannot_be_read(shape: str, tmp_path: Path) -> None:
    path = tmp_path / "findings.json"
    path.write_bytes(JSON[shape].encode("utf-8", "surrogatepass"))
    assert artifacts._load_changes(path) is None


def test_what_is_readable_is_read() -> None:
    assert documents.read_json('{"a": [1, "b"]}') == {"a": [1, "b"]}
    assert documents.read_toml(b"a = [1, 'b']") == {"a": [1, "b"]}


def test_the_command_line_ends_with_its_code_and_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "v1.21.3" / "rhel8.toml"
    path.parent.mkdir()
    path.write_text(TOML["closed lists"])
    done = command.run("definitions", "lint", path, "--json", code=1)
    assert json.loads(done.stdout)["problems"] == [f"{path}: not TOML: it is nested too deeply"]
    assert done.stderr == ""
