"""The `error.reason` of refused foreign bytes: one name for each cause."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fipsmanifest.archive import cpioarchive, paths, rpm, tar
from fipsmanifest.archive import zip as zips
from fipsmanifest.archive.limits import Limits
from fipsmanifest.archive.member import Rejected, Rejections
from fipsmanifest.collect import repodata
from fipsmanifest.errors import FipsManifestError, Refused
from fipsmanifest.oci import document
from tests.support import command

DIGEST = "sha256:" + "a" * 64
REPO = "http://linux.duke.edu/metadata/repo"


def _tarred(*names: str, kind: bytes = tarfile.REGTYPE) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.type = kind
            entry.size = 4
            archive.addfile(entry, io.BytesIO(b"text"))
    return buffer.getvalue()


def _zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return buffer.getvalue()


def _read_tar(data: bytes, limits: Limits | None = None) -> object:
    return list(tar.members(io.BytesIO(data), root="/", archive="some.tar", limits=limits or Limits()))


def _read_zip(data: bytes) -> None:
    for item in zips.read_members(io.BytesIO(data), "some.zip"):
        if isinstance(item, Rejected):
            raise item.error


def _image(**keys: object) -> object:
    return document.parse(json.dumps({"schemaVersion": 2, **keys}).encode(), "some image", document.OCI_MANIFEST)


def _repomd(location: str, digest: str = "a" * 64) -> object:
    text = (
        f'<repomd xmlns="{REPO}"><data type="primary"><location href="{location}"/>'
        f'<checksum type="sha256">{digest}</checksum></data></repomd>'
    )
    return repodata.read_repomd(text.encode(), "repomd.xml")


LAYER = {"digest": DIGEST, "size": 1, "mediaType": "application/vnd.oci.image.layer.v1.tar"}
CONFIG = {"digest": DIGEST, "size": 1, "mediaType": document.OCI_CONFIG}
CASES: dict[str, tuple[str, Callable[[], object]]] = {
    "a tar that is cut off": ("damaged-archive", lambda: _read_tar(_tarred("a")[:513])),
    "a tar with another behind it": ("ambiguous-archive", lambda: _read_tar(_tarred("a") + _tarred("b"))),
    "a member of an unknown type": ("ambiguous-archive", lambda: _read_tar(_tarred("a", kind=b"!"))),
    "a member above the root": ("unsafe-path", lambda: _read_tar(_tarred("../a"))),
    "text instead of a tar": ("wrong-format", lambda: _read_tar(b"text" * 200)),
    "more members than the limit": ("too-large", lambda: _read_tar(_tarred("a", "b"), Limits(members=1))),
    "a ZIP archive that is cut off": ("damaged-archive", lambda: _read_zip(_zipped("a")[10:])),
    "a ZIP archive with two names for a place": ("ambiguous-archive", lambda: _read_zip(_zipped("a/b", "a//b"))),
    "links in a circle": ("unsafe-path", lambda: paths.resolve("/a", {"/a": "b", "/b": "a"}, "some archive")),
    "a cpio archive that is cut off": (
        "damaged-archive",
        lambda: list(cpioarchive.read_members(io.BytesIO(b"070701" + b"0" * 90), "some.cpio")),
    ),
    "text instead of an RPM": ("wrong-format", lambda: list(rpm.read_members(io.BytesIO(b"text" * 200), "some.rpm"))),
    "an RPM that is cut off": (
        "damaged-archive",
        lambda: list(rpm.read_members(io.BytesIO(b"\xed\xab\xee\xdb" + bytes(20)), "some.rpm")),
    ),
    "a manifest of schema 1": ("unsupported-format", lambda: _image(schemaVersion=1)),
    "a manifest that is an index too": (
        "ambiguous-image",
        lambda: _image(manifests=[], config=CONFIG, layers=[LAYER]),
    ),
    "a key in two spellings": ("ambiguous-image", lambda: _image(config=CONFIG, layers=[LAYER], Layers=[])),
    "a manifest of something else": ("not-an-image", lambda: _image(blobs=[])),
    "a layer without a size": ("malformed-image", lambda: _image(config=CONFIG, layers=[{**LAYER, "size": None}])),
    "another embedded document": (
        "digest-mismatch",
        lambda: _image(config={**CONFIG, "data": "e30="}, layers=[LAYER]),
    ),
    "a manifest that is not JSON": ("malformed-image", lambda: document.parse(b"{", "some image")),
    "metadata that is not XML": ("malformed-repodata", lambda: repodata.read_repomd(b"<a", "repomd.xml")),
    "metadata without packages": (
        "malformed-repodata",
        lambda: repodata.read_repomd(f'<repomd xmlns="{REPO}"/>'.encode(), "repomd.xml"),
    ),
    "a list outside of the repository": ("unsafe-path", lambda: _repomd("../primary.xml.gz")),
    "a list without a digest": ("weak-digest", lambda: _repomd("repodata/primary.xml.gz", "abc")),
}


@pytest.mark.parametrize("case", CASES)
def test_a_refusal_names_its_cause(case: str) -> None:
    reason, read = CASES[case]

    with pytest.raises(Refused) as caught:
        read()

    assert caught.value.reason == reason


def test_an_archive_with_too_many_bad_entries_is_refused_for_the_cause_of_the_first() -> None:
    rejections = Rejections("some.tar")

    with pytest.raises(FipsManifestError) as caught:
        for _ in range(5000):
            rejections.add(Refused("No.", reason="unsafe-path"))

    assert caught.value.reason == "unsafe-path"


def test_the_document_of_a_failure_has_the_cause(tmp_path: Path) -> None:
    (tmp_path / "some.tar").write_bytes(_tarred("usr/bin/a", "../b"))

    done = command.run("inspect", "--json", "some.tar", cwd=tmp_path)

    assert done.returncode == 5
    assert '"reason": "unsafe-path"' in done.stdout
