"""The readers that hostile bytes reach, each as a function of those bytes.

A reader may refuse with one of our errors. Anything else is a finding: another exception, more than the memory and
time of `worker`, or a promise broken (`Broken`).
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from fipsmanifest.archive import ar, cpio, cpioarchive, decompress, rpm, tar
from fipsmanifest.archive import zip as zips
from fipsmanifest.archive.layers import merge, read_layer
from fipsmanifest.archive.limits import Limits
from fipsmanifest.archive.member import Item, Member
from fipsmanifest.archive.open import TAIL, holds_members, kind_of, may_hold_members, unopened_format
from fipsmanifest.collect import imagearchive, repodata
from fipsmanifest.errors import FipsManifestError
from fipsmanifest.fetch.cache import Cache
from fipsmanifest.inspect.analysis import analyze
from fipsmanifest.inspect.inspector import Inspector
from fipsmanifest.inspect.nested import ContainerInspector
from fipsmanifest.inspect.source import Buffer
from fipsmanifest.inspect.table import Table, load
from fipsmanifest.inspect.verdict import describe_verdict
from fipsmanifest.model.finding import Verdict
from fipsmanifest.node.containerd import bolt
from fipsmanifest.node.formats import toml
from fipsmanifest.oci import document as imagedocument
from fipsmanifest.progress import SILENT
from fipsmanifest.trust import armor, cleartext, document, openpgp
from fipsmanifest.trust import store as trust

#: The limit for what one input may expand to; a release allows more, and enough time.
LIMITS = Limits(members=2000, expanded=64 << 20)


class Broken(Exception):
    """A reader accepted what it must refuse, or refused what it must accept."""


@cache
def _table() -> Table:
    return load()


def elf(data: bytes) -> None:
    """ELF headers, build info, module search and verdict: never an exception, and no proof without the module."""
    looked = analyze(Buffer(data), _table())
    if not describe_verdict(looked.crypto):
        raise Broken("a verdict without a sentence")
    if looked.crypto.verdict is Verdict.PROVEN:
        offset, length = looked.crypto.evidence["offset"], looked.crypto.evidence["length"]
        if not isinstance(offset, int) or not isinstance(length, int) or data[offset : offset + length] != _module():
            raise Broken(f"proven, and the module is not at {offset}")


@cache
def _module() -> bytes:
    from tests.support import edits

    return edits.module_object("amd64")[: edits.AMD64.length]


def rpm_package(data: bytes) -> None:
    """Lead, signature header, header, payload."""
    _read_all(rpm.read_members(io.BytesIO(data), "fuzz.rpm", LIMITS))


def cpio_archive(data: bytes) -> None:
    """The payload by itself, uncompressed."""
    for entry in cpio.entries(io.BytesIO(data), "fuzz.cpio", lambda number: number % 5000):
        while entry.content.read(1 << 16):
            pass


def cpio_file(data: bytes) -> None:
    """A cpio archive that is a file of its own, in any format."""
    _read_all(cpioarchive.read_members(io.BytesIO(data), "fuzz.cpio", LIMITS))


def zip_archive(data: bytes) -> None:
    """A ZIP archive."""
    _read_all(zips.read_members(io.BytesIO(data), "fuzz.zip", LIMITS))


def ar_archive(data: bytes) -> None:
    """An ar archive."""
    _read_all(ar.read_members(io.BytesIO(data), "fuzz.a", LIMITS))


def compressed_file(data: bytes) -> None:
    """A compressed file that holds no archive."""
    stream = decompress.reader(io.BytesIO(data), limit=LIMITS.expanded, name="fuzz.gz")
    while stream.read(1 << 20):
        pass


def kind_of_file(data: bytes) -> None:
    """What a file is; by its first bytes alone it may be more, never less."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        kind = kind_of(Path(file.name))
        if kind != "file" and not may_hold_members(Path(file.name)):
            raise Broken(f"it is {kind}, and was passed over")
        seen = holds_members(data, whole=True) or unopened_format(data, data[-TAIL:], len(data))
        if kind != "file" and not seen:
            raise Broken(f"it is {kind}, and would be passed over within another")


def tar_archive(data: bytes) -> None:
    """A tarball, compressed or not."""
    stream = decompress.reader(io.BytesIO(data), limit=LIMITS.expanded, name="fuzz.tar")
    _read_all(tar.members(stream, root="/", archive="fuzz.tar", limits=LIMITS))


def image_archive(data: bytes) -> None:
    """An image archive, down to the merged layers."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "image.tar")
        path.write_bytes(data)
        inspector = Inspector(_table(), Path(scratch))
        store = Cache(Path(scratch, "cache"))
        for image in imagearchive.images_in(imagearchive.open_archive(path, store), store, "fuzz").images:
            for platform in image.platforms:
                pairs = zip(platform.layers, platform.diff_ids, strict=True)
                list(merge(read_layer(layer, diff_id, inspector.program, limits=LIMITS) for layer, diff_id in pairs))


def packed_within(data: bytes) -> None:
    """A tarball with a package, a tarball and an image archive in it, as `inspect` goes through them."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "outer.tar")
        path.write_bytes(data)
        inspector = Inspector(_table(), Path(scratch))
        ContainerInspector(inspector, Cache(Path(scratch, "cache")), Path(scratch), SILENT.task("fuzz")).open(
            path, "fuzz"
        )


def image_document(data: bytes) -> None:
    """An index, a manifest or a configuration."""
    with contextlib.suppress(FipsManifestError):
        imagedocument.parse(data, "fuzz")
    imagedocument.parse_config(data, "fuzz")


def repository_index(data: bytes) -> None:
    """repomd.xml."""
    repodata.read_repomd(data, "http://upstream.example/repodata/repomd.xml")


def signed_message(data: bytes) -> None:
    """A cleartext-signed manifest, before any signature is checked."""
    cleartext.parse(data)


def certificates(data: bytes) -> None:
    """OpenPGP certificates, under an armor whose checksum is right."""
    openpgp.read_certificates(armor.armor(data, b"PUBLIC KEY BLOCK"))


def signature(data: bytes) -> None:
    """The packet of a signature."""
    openpgp.read_signature(data)


def trust_file(data: bytes) -> None:
    """trust.json, with the certificates that it names behind it."""
    head, _, rest = data.partition(b"\n-- certificates --\n")
    trust.parse_trust(head, [("keys.asc", rest)], "fuzz")


def manifest_document(data: bytes) -> None:
    """The manifest, as the node tool reads it; what it accepts, Python's own reader reads alike."""
    if document.read_manifest(data) != json.loads(data):
        raise Broken("read otherwise than by json")


def snapshot_database(data: bytes) -> None:
    """containerd's database of snapshots."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        with contextlib.suppress(bolt.Malformed):
            bolt.read(file.name.encode(), (b"v1", b"snapshots"))


def configuration(data: bytes) -> None:
    """containerd's configuration: what Python's own reader of TOML takes is not refused, and is read as the same."""
    text = data.decode("utf-8", "backslashreplace")
    try:
        ours = Counter(place for one in toml.read(text) for place in _texts(one.path, one.value))
        with contextlib.suppress(tomllib.TOMLDecodeError, RecursionError):
            theirs = Counter(_texts((), tomllib.loads(text)))
            if ours != theirs:
                raise Broken(f"we read {ours - theirs}, and tomllib {theirs - ours}")
    except toml.Malformed as error:
        with contextlib.suppress(tomllib.TOMLDecodeError, RecursionError):
            tomllib.loads(text)
            if "deeply" not in str(error):
                raise Broken(str(error)) from error


def _texts(path: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield each text of a document with its key."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from _texts((*path, name), one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(path, one)


def _read_all(members: Iterator[Item]) -> None:
    for member in members:
        while isinstance(member, Member) and member.content is not None and member.content.read(1 << 16):
            pass


TARGETS: dict[str, Callable[[bytes], None]] = {
    "elf": elf,
    "build-info": elf,
    "rpm": rpm_package,
    "cpio": cpio_archive,
    "cpio-file": cpio_file,
    "zip": zip_archive,
    "ar": ar_archive,
    "compressed": compressed_file,
    "kind": kind_of_file,
    "tar": tar_archive,
    "image-archive": image_archive,
    "packed-within": packed_within,
    "image-document": image_document,
    "repomd": repository_index,
    "cleartext": signed_message,
    "certificate": certificates,
    "signature": signature,
    "trust": trust_file,
    "manifest": manifest_document,
    "snapshot-database": snapshot_database,
    "configuration": configuration,
}
