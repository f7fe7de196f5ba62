"""Tars that unpackers read differently are refused, and those that they read alike are read as they do.

GNU tar, libarchive (bsdtar) and Go's archive/tar say what is in each.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from fipsmanifest.archive.limits import Limits
from fipsmanifest.archive.member import Rejected
from fipsmanifest.archive.tar import entries, members, tarball_members
from fipsmanifest.errors import Refused
from tests.fuzz import tars, untar
from tests.fuzz.tars import END, GNU, V7, header, long_name, member, old_sparse, pax, pax_sparse
from tests.fuzz.test_tar_readers import difference

PLAIN, GOOD = b"plain program", b"good program"


def views(data: bytes, directory: Path) -> dict[str, tuple[dict[str, str], bool]]:
    """Return the files that each of the unpackers makes of a tar, or of which it fails."""
    path = directory / "some.tar"
    path.write_bytes(data)
    ((by_go, failed),) = untar.go([path])
    files = {entry.path: entry.digest for entry in by_go if entry.kind == "file"}
    return {
        "Go": (files, bool(failed)),
        "GNU tar": _unpacked(untar.GNU_TAR, path),
        "bsdtar": _unpacked(untar.BSDTAR, path),
    }


def _unpacked(command: Sequence[str], path: Path) -> tuple[dict[str, str], bool]:
    files, code = untar.unpacked(command, path)
    return files, code != 0


TWO_WAYS = {
    "GNU long name, then a pax path": (
        long_name("usr/bin/kubelet") + pax(("path", "junk")) + member("zzz", PLAIN),
        "'zzz|'PaxHeaders/x' is ambiguous: it has both a GNU long name and a pax path",
    ),
    "pax path, then a GNU long name": (
        pax(("path", "usr/bin/kubelet")) + long_name("junk") + member("zzz", PLAIN),
        "is ambiguous: it has both a GNU long name and a pax path",
    ),
    "prefix with GNU tar's magic": (
        member("usr/bin/kubelet", PLAIN, magic=GNU, prefix=b"x"),
        "'usr/bin/kubelet' is ambiguous: it has a prefix, and GNU tar's magic",
    ),
    "prefix with another magic": (
        member("usr/bin/kubelet", PLAIN, magic=b"ustar 00", prefix=b"x"),
        "'usr/bin/kubelet' is ambiguous: it has a prefix, and the magic",
    ),
    "two pax headers": (
        pax(("path", "kubelet")) + pax(("mtime", "1")) + member("zzz", PLAIN),
        "it has two extended headers of one kind",
    ),
    "empty GNU long name": (long_name("") + member("kubelet", PLAIN), "it has an empty name in an extended header"),
    "empty pax path": (pax(("path", "")) + member("kubelet", PLAIN), "its pax record path is empty or has a NUL"),
    "NUL in a pax path": (pax(("path", b"a\0b")) + member("kubelet", PLAIN), "its pax record path is empty"),
    "global pax path": (
        pax(("path", "junk"), kind=b"g") + member("kubelet", PLAIN),
        "'PaxHeaders/x' is ambiguous: a global header sets path for every member after it",
    ),
    "global header between": (
        pax(("path", "kubelet")) + pax(("comment", "x"), kind=b"g") + member("zzz", PLAIN),
        "the extended header before it may belong to it, or to the next member",
    ),
    "record behind a NUL": (
        tars.extended(b"x", tars.record(b"mtime", b"1") + b"\0" + tars.record(b"path", b"a")) + member("b", PLAIN),
        "'PaxHeaders/x' is damaged: a pax record is not valid",
    ),
    "blank before a pax key": (pax((" path", "kubelet")) + member("zzz", PLAIN), "a pax record is not valid"),
    "file with a slash behind its name": (member("kubelet/", PLAIN), "it is a file by its type"),
    "hard link with content": (
        member("a", GOOD) + header("b", kind=b"1", target="a", size=512) + tars.padded(member("kubelet", PLAIN)),
        "'b' is ambiguous: it is a hardlink and has 512 bytes of content",
    ),
    "directory with content by pax": (
        pax(("size", "1024")) + header("b/", kind=b"5") + member("kubelet", PLAIN),
        "'b/' is ambiguous: it is a directory and has 1024 bytes of content",
    ),
    "prefix that is no time to Go": (
        member("kubelet", PLAIN, magic=GNU, prefix=b"14371130000\0\x80" + b"\xff" * 11),
        "'kubelet' is ambiguous: it has a prefix",
    ),
    "file without a name": (member("", PLAIN), "'' is ambiguous: it is a file without a name"),
    "file named as the root": (member("./", PLAIN, kind=b"7"), "it is a file by its type"),
    "realsize of star": (pax(("SCHILY.realsize", "5")) + member("a", PLAIN), "SCHILY.realsize, which only some"),
    "another file's content by overlayfs": (
        pax(("SCHILY.xattr.trusted.overlay.redirect", "/hidden")) + header("usr/", kind=b"5"),
        "SCHILY.xattr.trusted.overlay.redirect, which only some",
    ),
    "sparse map of Solaris": (pax(("SUN.holesdata", " 0 5 9")) + member("a", PLAIN), "SUN.holesdata, which only some"),
    "sparse map in a file that is none": (
        member(
            "a", bytes(512), magic=GNU, patches=[(386, tars.field(0, 12) + tars.field(5, 12)), (483, tars.field(5, 12))]
        ),
        "it has a sparse map, and is not a sparse file",
    ),
    "sparse name alone": (pax(("GNU.sparse.name", "kubelet")) + member("a", PLAIN), "of no known form of sparse files"),
    "sparse name and another path": (
        pax(
            ("GNU.sparse.name", "kubelet"), ("path", "junk"), ("GNU.sparse.size", "512"), ("GNU.sparse.numblocks", "1"),
            ("GNU.sparse.map", "0,512"),
        ) + member("a", b"x" * 512),
        "it has both a pax path and another name as a sparse file",
    ),
    "sparse in two formats": (
        pax(("size", "512")) + old_sparse("a", [(0, 512), (512, 0)], 512, bytes(512)),
        "it is a sparse file in two formats",
    ),
    "pax sparse with GNU tar's magic": (
        pax(("GNU.sparse.size", "1024"), ("GNU.sparse.numblocks", "2"), ("GNU.sparse.map", "0,512,1024,0"))
        + member("a", b"x" * 512, magic=GNU),
        "it is a sparse file by its pax records alone",
    ),
    "sparse segment that is no block": (
        old_sparse("a", [(0, 5), (512, 512), (1024, 0)], 1024, b"x" * 517),
        "a segment of its sparse map is not of whole blocks",
    ),
    "sparse file longer than its map": (
        old_sparse("a", [(0, 512)], 4096, b"x" * 512),
        "its sparse map does not end where the file does",
    ),
    "sparse map that goes on behind its end": (
        old_sparse("a", [(0, 512), (1024, 0)], 1024, b"x" * 512, patches=[
            (386, tars.field(0, 12) + tars.field(512, 12) + bytes(24) + tars.field(512, 12) + tars.field(0, 12)),
            (483, tars.field(1024, 12)),
        ]),
        "its sparse map goes on behind its end",
    ),
    "prefix longer than star's": (
        member("a", PLAIN, prefix=b"q/" * 70, patches=[(508, b"tar\0")]),
        "its prefix is longer than one of star's format",
    ),
    "members behind the end": (member("a", GOOD) + END + member("kubelet", PLAIN), "has members after its end"),
    "member behind a lone zero block": (member("a", GOOD) + bytes(512) + member("kubelet", PLAIN), "a lone zero block"),
    "long name without a member": (member("a", GOOD) + long_name("b"), "no member follows its last extended header"),
    "Solaris' extended header": (
        pax(("path", "kubelet"), kind=b"X") + member("zzz", PLAIN),
        "'PaxHeaders/x' is of the unknown type b'X'",
    ),
    "continued file": (header("a", kind=b"M", size=5) + tars.padded(PLAIN), "'a' is of the unknown type b'M'"),
}  # fmt: skip

#: Unpackers agree on these, with their usual options; other versions, or these with other options, do not.
_ON_THE_SAFE_SIDE = {
    "members behind the end",
    "another file's content by overlayfs",
    "long name without a member",
    "file without a name",
    "sparse name and another path",
    "sparse in two formats",
    "pax sparse with GNU tar's magic",
}


@pytest.mark.parametrize("case", TWO_WAYS)
def test_what_unpackers_read_differently_is_refused_and_named(case: str, tmp_path: Path) -> None:
    data, why = TWO_WAYS[case]
    data += END
    with pytest.raises(Refused) as refusal:
        untar.ours(data)
    assert any(part in str(refusal.value) for part in why.split("|"))
    assert str(refusal.value).startswith("fuzz.tar")
    if case not in _ON_THE_SAFE_SIDE:
        seen = list(views(data, tmp_path).values())
        assert any(one != seen[0] for one in seen), "they agree"


#: Behind these, unpackers do not agree on where the next member begins, or some of them give up.
_UNCERTAIN = {
    "global pax path",
    "global header between",
    "record behind a NUL",
    "blank before a pax key",
    "file with a slash behind its name",
    "file named as the root",
    "hard link with content",
    "directory with content by pax",
    "realsize of star",
    "sparse map of Solaris",
    "sparse map in a file that is none",
    "sparse name alone",
    "sparse in two formats",
    "pax sparse with GNU tar's magic",
    "sparse map that goes on behind its end",
    "members behind the end",
    "member behind a lone zero block",
    "Solaris' extended header",
    "continued file",
}
_REJECTED = {
    **{name: data for name, (data, _) in TWO_WAYS.items() if name not in {*_UNCERTAIN, "long name without a member"}},
    "name that leads out": member("../kubelet", PLAIN),
    "name that is too long": long_name("n" * 5000) + member("n", PLAIN),
    "link without a target": header("a", kind=b"2"),
    "unknown type": header("a", kind=b"9", size=5) + tars.padded(PLAIN[:5]),
    "empty file with a slash behind its name": member("kubelet/", b""),
    "pax header twice, with other names": pax(("path", "a")) + pax(("path", "b")) + member("c", PLAIN),
}


@pytest.mark.parametrize("case", _REJECTED)
def test_what_follows_a_refused_member_is_read_where_all_unpackers_find_it(case: str, tmp_path: Path) -> None:
    data = member("before", PLAIN) + _REJECTED[case] + member("behind", GOOD) + END
    items = []
    for item in entries(io.BytesIO(data), root="/", archive="some.tar"):
        content = item.content.read() if not isinstance(item, Rejected) and item.content else b""
        items.append("rejected" if isinstance(item, Rejected) else (item.path, content))
    assert items == [("/before", PLAIN), "rejected", ("/behind", GOOD)]
    found = [(files.get("/behind"), failed) for files, failed in views(data, tmp_path).values()]
    good = hashlib.sha256(GOOD).hexdigest()
    # Go gives up at some of these, and so finds nothing else there.
    assert all(digest == good or (digest is None and failed) for digest, failed in found), found
    assert sum(digest == good for digest, _ in found) >= 2


@pytest.mark.parametrize("case", sorted(_UNCERTAIN))
def test_nothing_is_read_behind_a_member_of_unknown_extent(case: str) -> None:
    data = TWO_WAYS[case][0] + member("behind", GOOD) + END
    with pytest.raises(Refused):
        assert not [item for item in entries(io.BytesIO(data), root="/", archive="some.tar") if _is_behind(item)]


# To some unpackers a file whose name ends with a slash is a directory, and its content is the next header.
@pytest.mark.parametrize("kind", [b"0", b"\0", b"9"])
@pytest.mark.parametrize("before", [long_name("a/") + pax(("path", "b")), pax(("path", "b\0/")), pax(("path", ""))])
def test_the_extent_of_a_member_with_two_names_is_uncertain_where_one_ends_with_a_slash(
    before: bytes, kind: bytes
) -> None:
    data = before + member("c/" if before == pax(("path", "")) else "c", PLAIN, kind=kind) + member("behind", GOOD)
    with pytest.raises(Refused):
        assert not [item for item in entries(io.BytesIO(data), root="/", archive="some.tar") if _is_behind(item)]


def _is_behind(item: object) -> bool:
    return getattr(item, "path", "") == "/behind"


ALIKE = {
    "base 256": member("a", GOOD, size=b"\x80" + bytes(10) + bytes([len(GOOD)])),
    "size with leading blanks": member("a", GOOD, size=b"%11o " % len(GOOD)),
    "size without an end": member("a", GOOD, size=b"%012o" % len(GOOD)),
    "signed checksum": header("ü" * 20, size=5, checksum=None, patches=[
        (148, b"%06o\0 " % (sum(header("ü" * 20, size=5, checksum=None)) + 256 - 256 * 40)),
    ]) + tars.padded(b"12345"),
    "v7": member("a", GOOD, magic=V7) + header("d/", kind=b"\0", magic=V7) + member("d/b", PLAIN, kind=b"\0", magic=V7),
    "prefix of 155 bytes": member("a", GOOD, prefix=b"p" * 100 + b"/" + b"q" * 54),
    "GNU tar's times": member("a", GOOD, magic=GNU, prefix=b"14371130000\x0014371130000\0"),
    "contiguous file": member("a", GOOD, kind=b"7"),
    "long name and long link": long_name("t" * 150, b"K") + long_name("n" * 150) + header("n", kind=b"2", magic=GNU),
    "volume label": header("label", kind=b"V", magic=GNU) + member("a", GOOD),
    "incremental": header("d/", kind=b"D", size=3, magic=GNU) + tars.padded(b"Ya\0") + member("d/a", GOOD),
    "attributes": pax(("SCHILY.xattr.security.capability", b"\1\0\0\2"), ("mtime", "1.5")) + member("a", GOOD),
    "binary names": pax(("hdrcharset", "BINARY"), ("path", b"latin-\xe9")) + member("a", GOOD),
    "comment for all": pax(("comment", "1234567"), kind=b"g") + member("a", GOOD),
    "size in pax": pax(("size", str(len(GOOD)))) + member("a", GOOD, size=0),
    "device and FIFO": header("c", kind=b"3") + header("b", kind=b"4") + header("p", kind=b"6") + member("a", GOOD),
    "sizes of what has no content": header("d/", kind=b"5", size=4096) + header("s", kind=b"2", target="a", size=1)
    + header("p", kind=b"6", size=512) + header("o/", kind=b"\0", size=1024, magic=V7) + member("a", GOOD),
    "twice": member("a", PLAIN) + member("./a", GOOD),
    "no end": member("a", GOOD),
    "nothing": b"",
}  # fmt: skip
SEGMENTS = {
    "a hole before": ([(1024, 512)], 1536),
    "a hole behind": ([(0, 512), (4096, 0)], 4096),
    "only a hole": ([(4096, 0)], 4096),
    "the last is no block": ([(512, 512), (2048, 7)], 2055),
    # As GNU tar writes it where the file system says where holes are.
    "the last with bytes is no block": ([(512, 512), (2048, 7), (2055, 0)], 2055),
    "more than fit into a header": ([(number * 1024, 512) for number in range(60)] + [(1 << 20, 0)], 1 << 20),
}
for _form in ("old", "0.0", "0.1", "1.0"):
    for _name, (_segments, _size) in SEGMENTS.items():
        _data = os.urandom(sum(length for _, length in _segments))
        ALIKE[f"sparse {_form}, {_name}"] = (
            old_sparse("a", _segments, _size, _data)
            if _form == "old"
            else pax_sparse("a", _segments, _size, _data, _form)
        ) + member("b", GOOD)


@pytest.mark.parametrize("case", ALIKE)
def test_what_unpackers_read_alike_is_read_as_they_do(case: str, tmp_path: Path) -> None:
    path = tmp_path / "some.tar"
    path.write_bytes(ALIKE[case] + (END if case not in ("no end", "nothing") else b""))
    ((by_go, failed),) = untar.go([path])
    assert (difference(path, untar.ours(path.read_bytes()), by_go, failed), failed) == ("", "")
    if case not in ("device and FIFO", "attributes", "no end", "nothing"):
        assert [untar.unpacked(command, path)[1] for command in (untar.GNU_TAR, untar.BSDTAR)] == [0, 0]


def test_what_real_tools_write_is_read_as_they_do(tmp_path: Path) -> None:
    for number, data in enumerate(tars.real_tars(tmp_path)):
        path = tmp_path / f"{number}.tar"
        path.write_bytes(data)
        ((by_go, failed),) = untar.go([path])
        assert (difference(path, untar.ours(data), by_go, failed), failed) == ("", "")


# A few bytes must not make gigabytes of memory, and what is beyond the limits is never made.
def test_the_holes_of_a_sparse_file_count_and_are_read_piece_by_piece() -> None:
    size = 4 << 30
    data = old_sparse("holes", [(size, 0)], size, b"") + END
    (first,) = members(io.BytesIO(data), root="/", archive="some.tar", limits=Limits(expanded=size + 1024))
    assert first.size == size
    with pytest.raises(Refused, match="'holes' takes it beyond"):
        list(members(io.BytesIO(data), root="/", archive="some.tar", limits=Limits(expanded=size)))
    digest, done = hashlib.sha256(), 0
    for item in members(io.BytesIO(data), root="/", archive="some.tar"):
        assert item.content is not None
        while done < 64 << 20 and (piece := item.content.read(1 << 20)):
            digest.update(piece)
            done += len(piece)
    assert digest.hexdigest() == hashlib.sha256(bytes(64 << 20)).hexdigest()


@pytest.mark.parametrize("version", ["old", "1.0"])
def test_a_sparse_map_that_is_cut_or_without_end_is_refused(version: str) -> None:
    segments = [(number * 1024, 512) for number in range(60)] + [(1 << 20, 0)]
    data = bytes(512 * 60)
    whole = (
        old_sparse("a", segments, 1 << 20, data)
        if version == "old"
        else pax_sparse("a", segments, 1 << 20, data, version)
    )
    assert untar.ours(whole + END)
    for cut in (600, 1100, 1600, 2100):
        with pytest.raises(Refused, match=r"fuzz\.tar"):
            untar.ours(whole[:cut])
    endless = pax(("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "0"))
    with pytest.raises(Refused, match="a sparse map is cut or too large"):
        untar.ours(endless + member("a", b"99999999\n" + b"0\n" * (2 << 20)) + END)


@pytest.mark.parametrize("form", ["--format=gnu", "--format=oldgnu", "--format=pax", "--sparse-version=0.1"])
def test_a_sparse_tarball_of_gnu_tar_has_the_files_content(tmp_path: Path, form: str) -> None:
    with (tmp_path / "file").open("wb") as file:
        for at in range(4096, 4 << 20, 200_704):
            file.seek(at)
            file.write(os.urandom(4096))
        file.truncate(5_000_001)
    subprocess.run(["tar", "--format=pax", form, "-Sczf", "some.tar.gz", "file"], cwd=tmp_path, check=True)
    assert (tmp_path / "some.tar.gz").stat().st_size < 200_000
    (found,) = tarball_members(tmp_path / "some.tar.gz")
    assert found.size == 5_000_001
    for item in tarball_members(tmp_path / "some.tar.gz"):
        assert item.content is not None
        assert item.content.read() == (tmp_path / "file").read_bytes()
