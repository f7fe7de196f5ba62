"""Real inputs to begin from: programs, packages, archives and signed documents, made by the tools that make them."""

from __future__ import annotations

import bz2
import functools
import gzip
import lzma
import os
import struct
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import zstandard

from fipsmanifest.sign import keys
from fipsmanifest.trust import armor
from tests.node.test_containerd_configuration import ALL_FORMS
from tests.support import edits, forge, programs, runtime, upstream
from tests.support.gnupg import opened_home
from tests.support.registry import make_image, make_layer, skopeo
from tests.support.zips import Archive, Part


@dataclass(frozen=True)
class Seed:
    """A whole input."""

    data: bytes
    hot: list[tuple[int, int]] = field(default_factory=list)
    """Where its structure is, for one that is mostly content."""


def seeds_of(target: str, scratch: Path) -> list[Seed]:
    """Return the seeds of a target, made in the directory ``scratch``."""
    return _MAKERS[target](scratch)


def _elf(scratch: Path) -> list[Seed]:
    real = programs.boring_stripped_by_linker().read_bytes()
    at, _, _ = edits.build_info(real)
    sections = struct.unpack_from("<Q", real, 40)[0]
    module = edits.module_offset(real)
    hot = [(0, 64), (0, 64), (64, 64 + 56 * 12), (at, at + 400), (sections, sections + 64 * 30)]
    behind = module + edits.AMD64.digest_offset
    hot += [(module, module + edits.AMD64.length), (behind - 16, behind + 80)]
    pointers = edits.pointer_build_info(programs.boring().read_bytes(), "go1.16.6b7", "path\tx\nmod\tk8s.io/x\tv1\t\n")
    where = pointers.index(edits.BUILD_INFO)
    # The names that the loader resolves, and the names of functions in a program without a module.
    library = programs.boring_in_a_c_library()
    asked = [edits.section(library, name) for name in (".dynamic", ".rela.plt", ".dynsym")]
    plain = programs.plain_without_crypto().read_bytes()
    table = edits.section(plain, ".gopclntab")[0]
    small = edits.hand_made(b"\x90" * 4096, edits.inline_build_info("go1.21.13", "path\tx\nbuild\tCGO_ENABLED=1\n"))
    narrow = edits.hand_made(b"\x90" * 4096, bits=32, order=">", machine=20)
    return [
        Seed(real, hot),
        Seed(library, [(0, 64), *((offset, offset + size) for offset, _, size in asked)]),
        Seed(plain, [(table, table + 72), (table + 72, table + 4096)]),
        Seed(small, [(0, 64), (64, 200)]),
        Seed(pointers, [(0, 64), (where, where + 300)]),
        Seed(small),
        Seed(narrow, [(0, 120)]),
    ]


def _build_info(scratch: Path) -> list[Seed]:
    """The build info of real programs, in an executable so small that thousands can be read in a second."""
    found = []
    for program in (programs.boring_tls(), programs.boring_without_cgo(), programs.plain()):
        real = program.read_bytes()
        _, version, modules = edits.build_info(real)
        whole = edits.hand_made(b"\x90" * 64, edits.inline_build_info(version, modules))
        found.append(Seed(whole, [(whole.index(edits.BUILD_INFO), len(whole))]))
    return found


def _rpm(scratch: Path) -> list[Seed]:
    program = b"\x7fELF" + bytes(range(256)) * 40
    return [
        Seed(upstream.nfpm(scratch / compression, contents=program, compression=compression).read_bytes())
        for compression in ("gzip", "xz", "zstd")
    ] + [Seed(upstream.rpmbuild(scratch / "rpmbuild").read_bytes())]


def _cpio_file(scratch: Path) -> list[Seed]:
    return [Seed(data) for data in (*(seed.data for seed in _cpio(scratch)), _initramfs(scratch))]


def _initramfs(scratch: Path) -> bytes:
    names = b"usr\nusr/kubelet\n"
    old = ["cpio", "-o", "-H", "odc", "--quiet"]
    done = subprocess.run(old, cwd=scratch, input=names, capture_output=True, check=True)
    return done.stdout + bytes(512) + gzip.compress(done.stdout)


def _zip(scratch: Path) -> list[Seed]:
    found = []
    for number, (flags, method) in enumerate(((0, 8), (8, 8), (0, 0))):
        program = Part(content=b"\x7fELF" * 400, flags=flags, method=method)
        parts = [program, Part(b"etc/", b"", 0), Part(b"link", b"etc", 0, mode=0o120777)]
        found.append(Seed(Archive(parts, zip64=number == 1, prefix=b"#!/bin/sh\n" * (number == 2)).build()))
    return found


def _ar(scratch: Path) -> list[Seed]:
    names = ["data.tar.xz", "a-name-that-is-longer-than-its-field"]
    for name in names:
        (scratch / name).write_bytes(b"\x7fELF" * 100 + b"odd")
    subprocess.run(["ar", "rc", "some.a", *names], cwd=scratch, check=True)
    return [Seed((scratch / "some.a").read_bytes())]


def _compressed(scratch: Path) -> list[Seed]:
    plain = b"\x7fELF" * 3000
    made = [gzip.compress(plain), zstandard.compress(plain), bz2.compress(plain), lzma.compress(plain)]
    return [Seed(data + data) for data in made] + [Seed(lzma.compress(plain, lzma.FORMAT_ALONE))]


def _kind(scratch: Path) -> list[Seed]:
    directories = [scratch / name for name in ("zip", "ar", "compressed", "cpio")]
    for directory in directories:
        directory.mkdir()
    makers = (_zip, _ar, _compressed, _cpio)
    made = [seed for maker, directory in zip(makers, directories, strict=True) for seed in maker(directory)]
    return [*made, Seed(made[0].data + b"trailing"), Seed(b"\x7fELF" + bytes(900) + made[0].data), Seed(b"plain text")]


def _cpio(scratch: Path) -> list[Seed]:
    (scratch / "usr").mkdir()
    (scratch / "usr/kubelet").write_bytes(b"\x7fELF" * 300)
    os.link(scratch / "usr/kubelet", scratch / "usr/again")
    (scratch / "usr/link").symlink_to("kubelet")
    found = []
    for form in ("newc", "crc"):
        done = subprocess.run(
            ["cpio", "-o", "-H", form, "--quiet"],
            cwd=scratch,
            input=b"usr\nusr/kubelet\nusr/again\nusr/link\n",
            capture_output=True,
            check=True,
        )
        found.append(Seed(done.stdout))
    return found


def _tar(scratch: Path) -> list[Seed]:
    deep = "d" * 90 + "/" + "e" * 150
    source = scratch / "source"
    (source / deep).mkdir(parents=True)
    (source / deep / "kubelet").write_bytes(b"\x7fELF" * 400)
    os.link(source / deep / "kubelet", source / "hard")
    (source / "soft").symlink_to("hard")
    found = []
    for name, form in (("gnu", tarfile.GNU_FORMAT), ("pax", tarfile.PAX_FORMAT), ("ustar", tarfile.USTAR_FORMAT)):
        path = scratch / f"{name}.tar"
        with tarfile.open(path, "w", format=form) as tar:
            tar.add(source / "hard", "hard")
            tar.add(source / "soft", "soft")
            tar.add(source / deep / "kubelet", "usr/kubelet" if form == tarfile.USTAR_FORMAT else f"{deep}/kubelet")
        found.append(Seed(path.read_bytes()))
    plain = found[0].data
    lone = lzma.compress(plain, lzma.FORMAT_ALONE)
    return [*found, *map(Seed, (gzip.compress(plain), zstandard.compress(plain), bz2.compress(plain), lone))]


def _image_archive(scratch: Path) -> list[Seed]:
    layers = [make_layer({"etc/passwd": b"root\n"}), make_layer({"usr/kubelet": b"\x7fELF" * 300, "usr/.wh.x": b""})]
    layout, name = scratch / "layout", "docker.io/x/y:v1"
    make_image(layout, name, {"amd64": layers})
    skopeo("copy", f"oci:{layout}:{name}", f"oci-archive:{scratch}/oci.tar:{name}")
    skopeo("copy", f"oci:{layout}:{name}", f"docker-archive:{scratch}/docker.tar:{name}")
    return [Seed((scratch / f"{form}.tar").read_bytes()) for form in ("oci", "docker")]


def _packed_within(scratch: Path) -> list[Seed]:
    parts = {"package": _rpm(scratch / "rpm")[0], "tarball": _tar(scratch / "tar")[3]}
    parts["image"] = _image_archive(scratch / "image")[1]
    with tarfile.open(scratch / "image/docker.tar", "a") as beside:
        beside.add(scratch / "tar/source/hard", "usr/bin/kubelet")
    more = Seed((scratch / "image/docker.tar").read_bytes())
    return [more, Seed(make_layer({name: seed.data for name, seed in parts.items()}))] + [
        Seed(gzip.compress(make_layer({"README": b"read me", f"opt/{name}": seed.data})))
        for name, seed in parts.items()
    ]


def _image_document(scratch: Path) -> list[Seed]:
    make_image(scratch / "layout", "x", {"amd64": [make_layer({"a": b"a"})], "arm64": [make_layer({"a": b"b"})]})
    blobs = [path.read_bytes() for path in sorted((scratch / "layout/blobs/sha256").iterdir())]
    return [Seed(blob) for blob in blobs if blob.startswith(b"{")]


def _repomd(scratch: Path) -> list[Seed]:
    upstream.nfpm(scratch / "repository")
    upstream.createrepo(scratch / "repository")
    return [Seed((scratch / "repository/repodata/repomd.xml").read_bytes())]


@functools.cache
def _signed() -> tuple[bytes, bytes, bytes]:
    """A signed manifest, a certificate and a trust file, by gpg."""
    with opened_home() as home:
        made = keys.init(home / "trust", "Release <release@example.com>", gnupghome=home, protect=False)
        command = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--digest-algo", "SHA512"]
        command += ["--local-user", f"{made.manifest_key}!", "--clearsign"]
        message = subprocess.run(command, input=forge.payload(), capture_output=True, check=True).stdout
        return message, made.certificate.read_bytes(), (home / "trust/trust.json").read_bytes()


def _cleartext(scratch: Path) -> list[Seed]:
    return [Seed(_signed()[0])]


def _certificate(scratch: Path) -> list[Seed]:
    # Without its armor, whose checksum would stop every change; the target puts it on again.
    return [Seed(armor.dearmor(_signed()[1], b"PUBLIC KEY BLOCK"))]


def _signature(scratch: Path) -> list[Seed]:
    message = _signed()[0]
    return [Seed(armor.dearmor(message[message.index(b"-----BEGIN PGP SIGNATURE") :], b"SIGNATURE"))]


def _trust(scratch: Path) -> list[Seed]:
    _, certificate, document = _signed()
    return [Seed(document + b"\n-- certificates --\n" + certificate, [(0, len(document))])]


def _manifest(scratch: Path) -> list[Seed]:
    entry = {"path": "/usr/bin/kubelet", "type": "file", "role": "program", "sha256": "0" * 64, "size": 1}
    return [Seed(forge.payload()), Seed(forge.payload(files=[entry | {"mode": "0755"}]))]


def _snapshot_database(scratch: Path) -> list[Seed]:
    with runtime.running() as containerd:
        for name in ("first", "second", "third"):
            containerd.ctr("--namespace", "k8s.io", "snapshots", "prepare", name)
        data = (containerd.root / "var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/metadata.db").read_bytes()
    # Behind the headers, whose checksums would refuse every change.
    return [Seed(data, [(8192, len(data))])]


def _configuration(scratch: Path) -> list[Seed]:
    shipped = subprocess.run(["containerd", "config", "default"], capture_output=True, check=True).stdout
    return [Seed(shipped), Seed(ALL_FORMS.encode())]


_MAKERS: dict[str, Callable[[Path], list[Seed]]] = {
    "elf": _elf,
    "build-info": _build_info,
    "rpm": _rpm,
    "cpio": _cpio,
    "cpio-file": _cpio_file,
    "zip": _zip,
    "ar": _ar,
    "compressed": _compressed,
    "kind": _kind,
    "tar": _tar,
    "image-archive": _image_archive,
    "packed-within": _packed_within,
    "image-document": _image_document,
    "repomd": _repomd,
    "cleartext": _cleartext,
    "certificate": _certificate,
    "signature": _signature,
    "trust": _trust,
    "manifest": _manifest,
    "snapshot-database": _snapshot_database,
    "configuration": _configuration,
}
