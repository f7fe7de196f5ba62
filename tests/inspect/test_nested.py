"""What is packed in what is packed: opened wherever it is, or reported as not opened; never skipped."""

from __future__ import annotations

import base64
import bz2
import gzip
import hashlib
import io
import json
import lzma
import shutil
import struct
import subprocess
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import zstandard

from fipsmanifest.errors import FipsManifestError, Incomplete, Refused
from fipsmanifest.fetch.cache import Cache
from fipsmanifest.inspect.inspector import Inspector
from fipsmanifest.inspect.nested import MAX_DEPTH, LocatedFinding, Outcome, UnopenedContainer
from fipsmanifest.inspect.scan import scan
from fipsmanifest.inspect.table import load
from fipsmanifest.model.artifact import SkippedPart
from fipsmanifest.model.finding import Verdict
from tests.support import edits, programs, toolchains, upstream
from tests.support.registry import gzipped, make_image, make_layer, skopeo
from tests.support.zips import Archive, Part

TABLE = load()
IMAGE = "docker.io/mesosphere/kubelet:v1.21.3"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An RPM with a plain program, which is what a gate must not let through."""
    return upstream.nfpm(tmp_path_factory.mktemp("rpm"), contents=programs.plain().read_bytes()).read_bytes()


def look(tmp_path: Path, target: Path) -> list[Outcome]:
    spool = tmp_path / "spool"
    spool.mkdir()
    outcomes = list(scan([target], Inspector(TABLE, spool), Cache(tmp_path / "cache")))
    assert list(spool.iterdir()) == []
    spool.rmdir()
    return outcomes


def judged(outcomes: list[Outcome]) -> dict[str, str]:
    """Return container and path of each program with its verdict."""
    assert not [outcome for outcome in outcomes if isinstance(outcome, FipsManifestError)], outcomes
    return {
        f"{item.container}|{item.finding.path}": item.finding.crypto.verdict
        for item in outcomes
        if isinstance(item, LocatedFinding) and item.finding.crypto
    }


def errors(outcomes: list[Outcome]) -> list[FipsManifestError]:
    return [outcome for outcome in outcomes if isinstance(outcome, FipsManifestError)]


def in_directory(directory: Path, name: str, data: bytes) -> tuple[Path, str]:
    (directory / "root/opt").mkdir(parents=True)
    (directory / f"root/opt/{name}").write_bytes(data)
    return directory / "root", f"{directory}/root/opt/{name}"


def in_tarball(directory: Path, name: str, data: bytes) -> tuple[Path, str]:
    path = directory / "outer.tar"
    path.write_bytes(make_layer({"README": b"read me", f"opt/{name}": data}))
    return path, f"{path}: /opt/{name}"


def in_package(directory: Path, name: str, data: bytes) -> tuple[Path, str]:
    (directory / "inner").write_bytes(data)
    held = {"contents": [{"src": str(directory / "inner"), "dst": f"/opt/{name}"}]}
    path = upstream.nfpm(directory / "outer", changes=held)
    return path, f"{path}: /opt/{name}"


def in_layout(directory: Path, name: str, data: bytes) -> tuple[Path, str]:
    path = directory / "layout"
    make_image(path, IMAGE, {"amd64": [make_layer({"etc/passwd": b"root"}), make_layer({f"opt/{name}": data})]})
    return path, f"{path}: {IMAGE}: /opt/{name}"


def in_saved_image(directory: Path, name: str, data: bytes) -> tuple[Path, str]:
    layout, _ = in_layout(directory, name, data)
    path = directory / "saved.tar"
    skopeo("copy", f"oci:{layout}:{IMAGE}", f"docker-archive:{path}:{IMAGE}")
    return path, f"{path}: {IMAGE}: /opt/{name}"


#: A zstd frame that is to be passed over (RFC 8878, 3.1.2).
SKIPPABLE = b"\x50\x2a\x4d\x18" + (2 << 20).to_bytes(4, "little") + bytes(2 << 20)

#: The header of a gzip member with a name (RFC 1952, 2.3) of two megabytes.
NAMED = b"\x1f\x8b\x08\x08" + bytes(6) + b"x" * (2 << 20) + b"\0"

OUTER = [in_directory, in_tarball, in_package, in_layout, in_saved_image]
_Put = Callable[[Path, str, bytes], tuple[Path, str]]


@pytest.mark.parametrize("put", OUTER)
def test_a_package_is_opened_wherever_it_stands_whatever_it_is_called(
    tmp_path: Path, package: bytes, put: _Put
) -> None:
    target, name = put(tmp_path, "data.bin", package)
    assert judged(look(tmp_path, target)) == {f"{name}|/usr/bin/kubelet": "plain"}


@pytest.mark.parametrize(
    ("put", "pack"),
    [
        *((put, gzipped) for put in OUTER),
        (in_tarball, partial(bz2.compress, compresslevel=1)),
        (in_directory, partial(lzma.compress, format=lzma.FORMAT_ALONE, preset=0)),
        (in_tarball, bytes),
        (in_layout, partial(lzma.compress, preset=0)),
        (in_package, zstandard.compress),
        # What identifies them is more than a megabyte after their beginning.
        (in_tarball, lambda data: SKIPPABLE + zstandard.compress(data)),
        (in_layout, lambda data: NAMED + gzipped(data)[10:]),
    ],
)
def test_a_tarball_is_opened_wherever_it_stands(tmp_path: Path, put: _Put, pack: Callable[[bytes], bytes]) -> None:
    target, name = put(tmp_path, "blob", pack(make_layer({"usr/bin/kubelet": programs.boring().read_bytes()})))
    assert judged(look(tmp_path, target)) == {f"{name}|/usr/bin/kubelet": "proven"}


@pytest.mark.parametrize("put", OUTER)
def test_an_image_archive_is_opened_wherever_it_stands(tmp_path: Path, put: _Put) -> None:
    (tmp_path / "within").mkdir()
    saved, _ = in_saved_image(tmp_path / "within", "kubelet", programs.boring().read_bytes())
    target, name = put(tmp_path, "images.tar", saved.read_bytes())
    assert judged(look(tmp_path, target)) == {f"{name}: {IMAGE}|/opt/kubelet": "proven"}


@pytest.mark.parametrize("put", OUTER)
def test_what_is_packed_too_deep_is_said_not_to_have_been_opened(tmp_path: Path, package: bytes, put: _Put) -> None:
    depth = MAX_DEPTH if put is in_directory else MAX_DEPTH - 1
    data, inner = package, ""
    for number in range(depth):
        data = make_layer({f"{number}.tar": data})
    target, name = put(tmp_path, "deep", data)
    outcomes = look(tmp_path, target)
    (error,) = errors(outcomes)
    inner = ": ".join(f"/{number}.tar" for number in reversed(range(depth)))
    assert isinstance(error, UnopenedContainer)
    outer, _, last = f"{name}: {inner}".rpartition(": ")
    assert (error.path, error.container, error.format) == (last, outer, "rpm")
    # One less is opened.
    data = package
    for number in range(depth - 1):
        data = make_layer({f"{number}.tar": data})
    (tmp_path / "less").mkdir()
    target, name = put(tmp_path / "less", "deep", data)
    assert [place.rpartition("|")[2] for place in judged(look(tmp_path, target))] == ["/usr/bin/kubelet"]


@pytest.mark.parametrize("put", OUTER)
def test_a_damaged_package_is_an_error_that_says_where_it_is(tmp_path: Path, package: bytes, put: _Put) -> None:
    target, name = put(tmp_path, "kubelet.rpm", package[:-3000])
    (error,) = errors(look(tmp_path, target))
    assert isinstance(error, Refused)
    assert name in error.message or (put is in_directory and "kubelet.rpm" in error.message)


def test_the_archive_within_is_told_as_the_file_that_it_is_too(tmp_path: Path, package: bytes) -> None:
    target, _ = in_tarball(tmp_path, "kubelet.rpm", package)
    found = {item.finding.path: item.finding for item in look(tmp_path, target) if isinstance(item, LocatedFinding)}
    digest = hashlib.sha256(package).hexdigest()
    assert (found["/opt/kubelet.rpm"].sha256, found["/opt/kubelet.rpm"].size) == (digest, len(package))
    assert list(found)[:2] == ["/README", "/opt/kubelet.rpm"]


@pytest.mark.parametrize("data", [b"", b"\x1f\x8b", b"x", b"]\0\0\x80\0" + b"\xff" * 60])
def test_what_only_begins_like_an_archive_is_a_file(tmp_path: Path, data: bytes) -> None:
    target, _ = in_tarball(tmp_path, "page.gz", data)
    outcomes = look(tmp_path, target)
    assert not errors(outcomes)
    (finding,) = [item.finding for item in outcomes if isinstance(item, LocatedFinding) and "page" in item.finding.path]
    assert finding.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("data", [gzip.compress(b"x" * 5000)[:-9], b"\x1f\x8b\x08"], ids=["cut", "magic alone"])
def test_a_damaged_compressed_file_is_named_and_the_rest_is_judged(tmp_path: Path, data: bytes) -> None:
    target, _ = in_tarball(tmp_path, "page.gz", data)
    outcomes = look(tmp_path, target)
    (error,) = errors(outcomes)
    assert isinstance(error, UnopenedContainer)
    assert (error.path, error.container, error.format) == ("/opt/page.gz", str(target), "compressed data")
    assert [item.finding.path for item in outcomes if isinstance(item, LocatedFinding)] == ["/README", "/opt/page.gz"]


def test_an_archive_that_unpacking_replaces_is_judged_and_one_that_a_later_layer_removes_is_not(
    tmp_path: Path, package: bytes
) -> None:
    with tarfile.open(tmp_path / "twice.tar", "w") as tar:
        for data in (package, b"text"):
            info = tarfile.TarInfo("opt/x")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    assert list(judged(look(tmp_path, tmp_path / "twice.tar")).values()) == ["plain"]
    layers = [make_layer({"opt/x": package, "opt/y": package}), make_layer({"opt/.wh.x": b""})]
    make_image(tmp_path / "layout", IMAGE, {"amd64": layers})
    assert list(judged(look(tmp_path, tmp_path / "layout"))) == [f"{tmp_path}/layout: {IMAGE}: /opt/y|/usr/bin/kubelet"]


def test_a_disk_without_room_for_what_is_packed_within_leaves_the_look_incomplete(
    tmp_path: Path, package: bytes
) -> None:
    target, name = in_tarball(tmp_path, "kubelet.rpm", package)
    _, error = list(scan([target], Inspector(TABLE, tmp_path / "gone"), Cache(tmp_path / "cache")))
    assert isinstance(error, Incomplete)
    assert f"{name} cannot be written to" in error.message


def program_and_tarball(program: bytes, tarball: bytes) -> bytes:
    """Return a file that Linux runs as ``program`` and that tar unpacks as ``tarball`` and one file more.

    A tar header is the first 512 bytes, of which an ELF file needs but its own header if the program headers are moved
    behind all else; the rest of the program is that member's content. PT_PHDR, which would say that they are where they
    were, becomes PT_NULL.
    """
    program = edits.without_sections(program)  # Go puts their headers behind the program headers
    start, count = struct.unpack_from("<Q", program, 32)[0], struct.unpack_from("<H", program, 56)[0]
    assert start + 56 * count <= 512
    assert not program[start + 56 * count : 512].strip(b"\0")
    headers = [program[start + 56 * n : start + 56 * (n + 1)] for n in range(count)]
    headers = [bytes(56) if entry[:4] == struct.pack("<I", 6) else entry for entry in headers]
    data = edits.put(program, 32, struct.pack("<Q", len(program))) + b"".join(headers)
    data += bytes(-len(data) % 512)
    header = tarfile.TarInfo("program")
    header.size = len(data) - 512
    # Of the name, only what precedes the first NUL counts, and the checksum is over all.
    block = bytearray(data[:64] + header.tobuf(tarfile.USTAR_FORMAT)[64:])
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + data[512:] + tarball


def test_a_program_that_is_a_tarball_as_well_is_judged_as_both(tmp_path: Path) -> None:
    program = tmp_path / "kubelet"
    program.write_bytes(
        program_and_tarball(programs.plain().read_bytes(), make_layer({"opt/kubelet": programs.boring().read_bytes()}))
    )
    program.chmod(0o755)
    assert subprocess.run([program], check=False, capture_output=True).returncode == 0
    assert "opt/kubelet" in subprocess.run(["tar", "-tf", program], check=True, capture_output=True, text=True).stdout
    both = {f"None|{program}": "plain", f"{program}|/opt/kubelet": "proven"}
    assert judged(look(tmp_path, program)) == both
    (tmp_path / "root").mkdir()
    (tmp_path / "root/link").symlink_to(program)
    link = tmp_path / "root/link"
    assert list(judged(look(tmp_path, link)).values()) == ["plain", "proven"]
    for put in (in_tarball, in_layout):
        (tmp_path / put.__name__).mkdir()
        target, name = put(tmp_path / put.__name__, "kubelet", program.read_bytes())
        assert sorted(judged(look(tmp_path, target)).values()) == ["plain", "proven"], name


def image_and_more(directory: Path, form: str, more: dict[str, bytes]) -> Path:
    """Return an image archive of a proven program with files beside what the image consists of."""
    saved, _ = in_saved_image(directory, "kubelet", programs.boring().read_bytes())
    if form == "layout":
        for name, data in more.items():
            place = directory / "layout" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        return directory / "layout"
    if form == "layout in a tar":
        path = directory / "layout.tar"
        subprocess.run(
            ["tar", "-C", directory / "layout", "-cf", path, "oci-layout", "index.json", "blobs"], check=True
        )
    else:
        path = saved
    with tarfile.open(path, "a") as tar:
        for name, data in more.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("form", ["layout", "layout in a tar", "saved"])
def test_what_lies_beside_an_image_in_its_archive_is_looked_at_too(tmp_path: Path, package: bytes, form: str) -> None:
    layer = make_layer({"bin/runc": programs.plain().read_bytes()})
    more = {
        "usr/bin/kubelet": programs.plain().read_bytes(),
        "README": b"read me",
        "kubelet.rpm": package,
        # A layer that no image names, and one as it is for another tool that reads other documents.
        "blobs/sha256/" + hashlib.sha256(layer).hexdigest(): layer,
        "0123/layer.tar": gzipped(layer),
    }
    path = image_and_more(tmp_path, form, more)
    assert judged(look(tmp_path, path)) == {
        f"{path}: {IMAGE}|/opt/kubelet": "proven",
        f"{path}|/usr/bin/kubelet": "plain",
        f"{path}: /kubelet.rpm|/usr/bin/kubelet": "plain",
        f"{path}: /blobs/sha256/{hashlib.sha256(layer).hexdigest()}|/bin/runc": "plain",
        f"{path}: /0123/layer.tar|/bin/runc": "plain",
    }


def test_a_layer_is_read_from_the_archive_though_the_cache_has_what_it_should_be(tmp_path: Path) -> None:
    path = image_and_more(tmp_path, "layout", {})
    assert not errors(look(tmp_path, path))
    blob = max((path / "blobs/sha256").iterdir(), key=lambda place: place.stat().st_size)
    good = blob.read_bytes()
    blob.write_bytes(make_layer({"opt/kubelet": programs.plain().read_bytes()}))
    (error,) = errors(look(tmp_path, path))
    assert isinstance(error, Refused)
    blob.write_bytes(good)
    assert not errors(look(tmp_path, path))


def with_links(path: Path, *entries: tuple[str, bytes | str]) -> None:
    """Add files and hard links (name -> target) to a tar, in their order."""
    with tarfile.open(path, "a") as tar:
        for name, data in entries:
            info = tarfile.TarInfo(name)
            if isinstance(data, str):
                info.type, info.linkname = tarfile.LNKTYPE, data
                tar.addfile(info)
            else:
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


PLAIN, TEXT = programs.plain, b"text"


@pytest.mark.parametrize(
    "entries",
    [
        [("kubelet", PLAIN), ("kubelet", "kubelet")],
        [("x", PLAIN), ("kubelet", "x"), ("x", TEXT)],
        [("lib/x", PLAIN), ("kubelet", "usr/x"), ("lib/x", TEXT)],
    ],
    ids=["to itself", "then replaced", "below a link"],
)
def test_what_lies_beside_an_image_and_lives_on_by_a_hard_link_is_looked_at(
    tmp_path: Path, entries: list[tuple[str, Callable[[], Path] | bytes | str]]
) -> None:
    path = image_and_more(tmp_path, "saved", {})
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("usr")
        link.type, link.linkname = tarfile.SYMTYPE, "lib"
        tar.addfile(link)
    with_links(path, *((name, data().read_bytes() if callable(data) else data) for name, data in entries))
    # As tar unpacks it, it is there.
    (tmp_path / "unpacked").mkdir()
    subprocess.run(["tar", "-C", tmp_path / "unpacked", "-xf", path], check=True, capture_output=True)
    assert (tmp_path / "unpacked/kubelet").read_bytes() == programs.plain().read_bytes()
    found = judged(look(tmp_path, path))
    assert "plain" in found.values(), found


def test_a_package_that_lives_on_by_a_hard_link_is_opened(tmp_path: Path, package: bytes) -> None:
    with_links(tmp_path / "some.tar", ("x", package), ("kubelet.rpm", "x"), ("x", b"text"))
    assert list(judged(look(tmp_path, tmp_path / "some.tar")).values()) == ["plain"]


def test_a_damaged_member_of_a_zip_is_an_error_and_the_rest_is_judged(tmp_path: Path) -> None:
    program = programs.plain().read_bytes()
    bad = Part(b"bad", program, local={"crc": 1}, central={"crc": 1})
    path = tmp_path / "some.zip"
    path.write_bytes(Archive([Part(b"first", program), bad, Part(b"last", program)]).build())
    outcomes = look(tmp_path, path)
    (error,) = errors(outcomes)
    assert isinstance(error, Refused)
    assert "'/bad'" in error.message
    verdicts = {
        item.finding.path: item.finding.crypto.verdict
        for item in outcomes
        if isinstance(item, LocatedFinding) and item.finding.crypto
    }
    assert verdicts == {"/first": "plain", "/last": "plain"}


def tar_of(*members: tuple[str, bytes | str]) -> bytes:
    """Return a tar of files, and of hard links where a target is given."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            if isinstance(data, str):
                info.type, info.linkname = tarfile.LNKTYPE, data
            else:
                info.size = len(data)
            tar.addfile(info, None if isinstance(data, str) else io.BytesIO(data))
    return made.getvalue()


@pytest.mark.parametrize("put", [in_tarball, in_package, in_layout, None])
def test_a_member_that_is_refused_is_an_error_and_what_follows_it_is_judged(tmp_path: Path, put: _Put | None) -> None:
    plain = programs.plain().read_bytes()
    bad: list[tuple[str, bytes | str]] = [("../shadow", b"root"), ("link", "nowhere"), ("again", "../shadow")]
    data = tar_of(("first", plain), *bad, ("kubelet", plain))
    if put is None:
        target = tmp_path / "layout"
        make_image(target, IMAGE, {"amd64": [data]})
        name = f"{target}: {IMAGE}"
    else:
        target, name = put(tmp_path, "data", data)
    outcomes = look(tmp_path, target)
    found = [
        f"{item.container}|{item.finding.path}"
        for item in outcomes
        if isinstance(item, LocatedFinding) and item.finding.crypto
    ]
    assert found == [f"{name}|/first", f"{name}|/kubelet"]
    messages = [error.message for error in errors(outcomes) if isinstance(error, Refused)]
    assert len(messages) == len(errors(outcomes)) == 3
    assert "leads out of the archive" in messages[0]


def test_an_archive_with_more_refused_members_than_anybody_reads_is_refused_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "some.tar").write_bytes(tar_of(*[("../x", b"")] * 3000))
    found = errors(look(tmp_path, tmp_path / "some.tar"))
    assert 1000 < len(found) < 1010
    assert "more than 1000 entries" in found[-1].message


# A table of contents for lazy pulling may name other content than the tar has; runtimes that unpack layers ignore it.
@pytest.mark.parametrize("form", ["eStargz", "zstd:chunked"])
def test_a_layer_is_judged_by_its_tar_whatever_its_table_of_contents_says(tmp_path: Path, form: str) -> None:
    digest = "sha256:" + hashlib.sha256(programs.boring().read_bytes()).hexdigest()
    entries = [{"name": "opt/kubelet", "type": "reg", "size": 1, "offset": 10, "digest": digest, "chunkDigest": digest}]
    table = json.dumps({"version": 1, "entries": entries}).encode()
    files = {"opt/kubelet": programs.plain().read_bytes()}
    layer = make_layer({**files, "stargz.index.json": table} if form == "eStargz" else files)
    if form == "eStargz":
        # The footer of the format: an empty gzip member whose extra field has the offset of the table.
        extra = b"SG" + (22).to_bytes(2, "little") + b"%016xSTARGZ" % 1234
        head = b"\x1f\x8b\x08\x04" + bytes(4) + b"\0\xff" + len(extra).to_bytes(2, "little") + extra
        data = gzipped(layer) + head + b"\1\0\0\xff\xff" + bytes(8)
    else:
        frame = b"\x50\x2a\x4d\x18" + len(table).to_bytes(4, "little") + table
        data = zstandard.compress(layer) + frame
    (tmp_path / "some").mkdir()
    target, name = in_tarball(tmp_path / "some", "layer", data)
    assert judged(look(tmp_path, target)) == {f"{name}|/opt/kubelet": "plain"}


@pytest.mark.parametrize(
    ("runtime", "verdict"),
    [
        ({}, "proven"),
        ({"Env": ["PATH=/bin", "GODEBUG=fips140=on"]}, "proven"),
        ({"Env": ["GODEBUG=http2client=0"]}, "proven"),
        ({"Env": ["GODEBUG=fips140=off"]}, "other-module"),
        ({"env": ["GODEBUG=http2client=0,fips140=off"]}, "other-module"),  # Go takes keys in any case
        ({"Env": ["GODEBUG="]}, "proven"),
        ({"Entrypoint": ["/bin/native", "--godebug"], "Cmd": ["GODEBUG=fips140=only"]}, "proven"),
        ({"Entrypoint": ["env", "GODEBUG=fips140=off", "/bin/native"]}, "other-module"),
        ({"cmd": ["sh", "-c", "export GODEBUG='http2client=0,fips140=off'; exec /bin/native"]}, "other-module"),
        ({"Healthcheck": {"Test": ["CMD", "env", "GODEBUG=fips140=off", "/bin/native"]}}, "other-module"),
        # `env` takes all of its argument, and what a shell puts together is not followed.
        ({"Cmd": ["env", "GODEBUG=a=1 b,fips140=off", "/bin/native"]}, "other-module"),
        ({"Cmd": ["sh", "-c", "export GODEBUG=${NONE}fips140=off; exec /bin/native"]}, "other-module"),
        ({"Cmd": ["sh", "-c", "mode=fips140=off; GODEBUG=$mode exec /bin/native"]}, "other-module"),
        ({"Cmd": ["bash", "-c", "export GODEBUG+=,fips140=off; exec /bin/native"]}, "other-module"),
        ({"Cmd": ["sh", "-c", 'GODEBUG=fips"140"=off exec /bin/native']}, "other-module"),
        ({"Cmd": ["sh", "-c", "GODEBUG=`cat /mode` exec /bin/native"]}, "other-module"),
        ({"Cmd": ["sh", "-c", "read GODEBUG < /mode; export GODEBUG; exec /bin/native"]}, "other-module"),
        ({"Cmd": ["sh", "-c", 'GODEBUG="$GODEBUG,fips140=only"; export GODEBUG; exec /bin/native']}, "proven"),
        ({"Cmd": ["sh", "-c", "echo ${GODEBUG}; unset GODEBUG; exec /bin/native"]}, "proven"),
    ],
)
def test_an_image_that_switches_fips_mode_off_has_no_proven_native_program(
    tmp_path: Path, runtime: dict[str, Any], verdict: str
) -> None:
    native = toolchains.build_native()
    files = {"bin/native": native.read_bytes(), "bin/boring": programs.boring().read_bytes()}
    make_image(tmp_path / "layout", "v1", {"amd64": [make_layer(files)]}, runtime=runtime)
    found = {place.rpartition("/")[2]: str(seen) for place, seen in judged(look(tmp_path, tmp_path / "layout")).items()}
    assert found == {"native": verdict, "boring": "proven"}


@pytest.mark.parametrize(
    ("variables", "codes"),
    [
        (["LD_PRELOAD=", "PATH=/bin"], None),
        (["LD_PRELOAD=/lib/other.so", "LD_AUDIT=/lib/audit.so"], ["image-audit", "image-preload"]),
        (["LD_LIBRARY_PATH=/opt/lib"], ["image-library-path"]),
    ],
)
def test_what_an_image_has_the_loader_load_is_evidence(
    tmp_path: Path, variables: list[str], codes: list[str] | None
) -> None:
    assert loading(tmp_path, [make_layer({"bin/boring": programs.boring().read_bytes()})], Env=variables) == codes


@pytest.mark.parametrize("place", ["Entrypoint", "Cmd", "Env"])
def test_a_program_in_an_images_commands_is_not_passed_over(tmp_path: Path, place: str) -> None:
    packed = base64.b64encode(gzip.compress(programs.plain().read_bytes()[:40_000])).decode()
    layer = make_layer({"bin/boring": programs.boring().read_bytes()})
    for text, formats in ((f"X={packed}", ["image configuration with a script with base64 data in it"]), ("X=1", [])):
        make_image(tmp_path / "layout", "v1", {"amd64": [layer]}, runtime={place: [text]})
        found = errors(look(tmp_path, tmp_path / "layout"))
        assert [error.format for error in found if isinstance(error, UnopenedContainer)] == formats
        shutil.rmtree(tmp_path / "layout")


@pytest.mark.parametrize(
    ("command", "codes"),
    [
        (["env", "LD_PRELOAD=/lib/other.so", "/bin/boring"], ["image-preload"]),
        (["sh", "-c", "export LD_LIBRARY_PATH='/opt'; exec /bin/boring"], ["image-library-path"]),
        (
            ["/lib64/ld-linux-x86-64.so.2", "--audit", "/lib/a.so", "--preload=/b.so", "/x"],
            ["image-audit", "image-preload"],
        ),
        (["/bin/boring", "--audit-log", "LD_PRELOAD="], None),
    ],
)
def test_what_a_command_of_an_image_has_the_loader_load_is_evidence(
    tmp_path: Path, command: list[str], codes: list[str] | None
) -> None:
    layer = make_layer({"bin/boring": programs.boring().read_bytes()})
    assert loading(tmp_path, [layer], Entrypoint=command) == codes


@pytest.mark.parametrize(
    ("lower", "upper", "codes"),
    [
        ({"etc/ld.so.preload": b"/opt/x.so\n"}, {}, ["image-preload-file"]),
        ({}, {"etc/ld.so.preload": b"# none\n\n"}, None),
        ({"etc/ld.so.preload": b"/opt/x.so\n"}, {"etc/.wh.ld.so.preload": b""}, None),
        ({"etc/ld.so.preload": b"/opt/x.so\n"}, {"etc/ld.so.preload": b""}, None),
        ({"etc/ld.so.preload": "opt/list"}, {}, ["image-preload-file"]),
        ({"opt/ld.so.preload": b"/opt/x.so\n"}, {"etc": "opt"}, ["image-preload-file"]),
        ({"etc/ld.so.cache": b"glibc-ld.so.cache1.1\0/opt/evil/libc.so.6\0"}, {}, ["image-library-cache"]),
        ({"etc/ld.so.cache": b"\0/lib/x86_64-linux-gnu/libc.so.6\0/opt/lib/libfoo.so.1\0"}, {}, None),
        ({"etc/ld.so.conf": b"include /etc/ld.so.conf.d/*.conf\n/usr/lib64/bind9\n"}, {}, None),
        ({"etc/ld.so.conf.d/x.conf": b"# /a\n/opt/evil\n"}, {}, ["image-library-directory"]),
        ({"usr/lib64/glibc-hwcaps/x86-64-v2/libc.so.6": b"\x7fELF"}, {}, ["image-library"]),
        ({"usr/lib64/libc.so.6": b"\x7fELF", "lib/x86_64-linux-gnu/libc.so.6": b"\x7fELF"}, {}, None),
    ],
)
def test_what_files_of_an_image_have_the_loader_load_is_evidence(
    tmp_path: Path, lower: dict[str, bytes | str], upper: dict[str, bytes | str], codes: list[str] | None
) -> None:
    layers = [make_layer({**lower, "bin/boring": programs.boring().read_bytes()}), make_layer(upper)]
    assert loading(tmp_path, layers) == codes


def test_a_hard_link_to_a_list_of_libraries_is_evidence_and_hides_no_program(tmp_path: Path) -> None:
    (tmp_path / "root/bin").mkdir(parents=True)
    (tmp_path / "root/bin/boring").write_bytes(programs.boring().read_bytes())
    (tmp_path / "root/bin/plain").write_bytes(programs.plain().read_bytes())
    (tmp_path / "root/etc").mkdir()
    (tmp_path / "root/etc/ld.so.preload").hardlink_to(tmp_path / "root/bin/plain")
    subprocess.run(["tar", "-C", tmp_path / "root", "-cf", tmp_path / "a.tar", "bin", "etc"], check=True)
    layers = [(tmp_path / "a.tar").read_bytes(), make_layer({"bin/.wh.plain": b""})]
    assert loading(tmp_path, layers) == ["image-preload-file"]
    assert judged(look(tmp_path, tmp_path / "layout"))[f"{tmp_path}/layout: v1|/etc/ld.so.preload"] == "plain"


def _tarred(directory: Path, *words: str) -> Path:
    subprocess.run(["tar", "-C", directory / "layout", "-cf", directory / "some.tar", *words], check=True)
    return directory / "some.tar"


def _saved(directory: Path) -> Path:
    skopeo("copy", f"oci:{directory}/layout:v1", f"docker-archive:{directory}/saved.tar:docker.io/x/y:v1")
    (directory / "saved").mkdir()
    subprocess.run(["tar", "-C", directory / "saved", "-xf", directory / "saved.tar"], check=True)
    (directory / "saved/a").write_text("first")
    subprocess.run(
        ["tar", "-C", directory / "saved", "--sort=name", "-cf", directory / "some.tar", "a", "."], check=True
    )
    return directory / "some.tar"


def _linked(directory: Path) -> Path:
    (directory / "layout/index").write_bytes((directory / "layout/index.json").read_bytes())
    (directory / "layout/index.json").unlink()
    (directory / "layout/index.json").symlink_to("index")
    return _tarred(directory, "a", "index", "index.json", "oci-layout", "blobs")


def _within(directory: Path) -> Path:
    (directory / "dist").mkdir()
    (directory / "layout").rename(directory / "dist/image")
    return directory / "dist"


def _unmarked(directory: Path) -> Path:
    (directory / "layout/oci-layout").unlink()
    return directory / "layout"


IMAGES: dict[str, Callable[[Path], Path]] = {
    "a tar that begins with another file": lambda f: _tarred(f, "a", "index.json", "oci-layout", "blobs"),
    "a compressed one": lambda f: _compressed(_tarred(f, "a", "index.json", "oci-layout", "blobs")),
    "a saved one": _saved,
    "a link as its index": _linked,
    "a layout in a directory": _within,
    "a layout without its mark": _unmarked,
    "an unpacked one": lambda f: _copied(f),
    "an unpacked one in a tar": lambda f: _tarred(_copied(f).parent, "."),
    "an unpacked one of all platforms": lambda f: _copied(f, "--all"),
}


def _copied(directory: Path, *options: str) -> Path:
    (directory / "copy").mkdir()
    skopeo("copy", *options, f"oci:{directory}/layout:v1", f"dir:{directory}/copy/layout")
    return directory / "copy/layout"


def _compressed(path: Path) -> Path:
    (path.parent / "some.tgz").write_bytes(gzip.compress(path.read_bytes(), 1))
    return path.parent / "some.tgz"


# Runtimes and skopeo load these all. Their layers alone do not say what the configuration does to programs.
@pytest.mark.parametrize("form", IMAGES)
def test_an_image_is_one_whatever_else_is_in_its_archive(tmp_path: Path, form: str) -> None:
    layer = make_layer({"bin/boring": programs.boring().read_bytes()})
    make_image(tmp_path / "layout", "v1", {"amd64": [layer]}, runtime={"Env": ["LD_PRELOAD=/x.so"]})
    (tmp_path / "layout/a").write_text("first")
    outcomes = look(tmp_path, IMAGES[form](tmp_path))
    found = [item.finding for item in outcomes if isinstance(item, LocatedFinding)]
    evidence = [finding.crypto.evidence.get("loading") for finding in found if finding.crypto]
    # Of a link, tools do not agree on what it is.
    assert ["image-preload"] in evidence or any("has a link with the name" in str(item) for item in outcomes)


def _zipped(directory: Path) -> Path:
    subprocess.run(["zip", "-qr", "../some.zip", "."], cwd=directory / "layout", check=True)
    return directory / "some.zip"


def _below(directory: Path) -> Path:
    subprocess.run(["tar", "-C", directory, "-cf", directory / "some.tar", "layout"], check=True)
    return directory / "some.tar"


@pytest.mark.parametrize(("pack", "place"), [(_zipped, ""), (_below, "/layout")])
def test_an_image_that_is_judged_file_by_file_is_named(
    tmp_path: Path, pack: Callable[[Path], Path], place: str
) -> None:
    layer = make_layer({"bin/boring": programs.boring().read_bytes()})
    make_image(tmp_path / "layout", "v1", {"amd64": [layer]})
    target = pack(tmp_path)
    outcomes = look(tmp_path, target)
    (named,) = (item for item in outcomes if isinstance(item, SkippedPart))
    assert named.name == f"{target}: {place}"
    assert "proven" in judged(outcomes).values()


@pytest.mark.parametrize("first", ["manifest.json", "index.json", "blobs/x", "repositories", "a"])
@pytest.mark.parametrize("document", [b"{}", b'[{"name": "an app"}]', b"no JSON", b'{"config": {}, "layers": []}'])
def test_a_tar_with_a_file_of_an_images_name_is_a_tar(tmp_path: Path, first: str, document: bytes) -> None:
    files = {first: document, "manifest.json": document, "bin/boring": programs.boring().read_bytes()}
    (tmp_path / "some.tar").write_bytes(make_layer(files))
    assert list(judged(look(tmp_path, tmp_path / "some.tar")).values()) == ["proven"]


def loading(directory: Path, layers: list[bytes], **runtime: Any) -> object:
    """Return what is evidence of /bin/boring in an image."""
    make_image(directory / "layout", "v1", {"amd64": layers}, runtime=runtime)
    seen = (item.finding for item in look(directory, directory / "layout") if isinstance(item, LocatedFinding))
    (found,) = (item for item in seen if item.path == "/bin/boring")
    assert found.crypto is not None
    assert found.crypto.verdict == Verdict.PROVEN
    return found.crypto.evidence.get("loading")
