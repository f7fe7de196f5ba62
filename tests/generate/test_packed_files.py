"""What is packed in the files of a release: no manifest lists it, so only exceptions accept it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import lzma
import subprocess
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from fipsmanifest.errors import Refused
from fipsmanifest.fetch.cache import Cache
from fipsmanifest.generate.assemble import assemble
from fipsmanifest.generate.modules import describer
from fipsmanifest.inspect.artifacts import InspectedArtifact, Inspection
from fipsmanifest.inspect.inspector import Inspector
from fipsmanifest.inspect.table import load
from fipsmanifest.model.artifact import Artifact, Blob, ImagePlatform
from fipsmanifest.model.definition import Definition
from fipsmanifest.model.definition_file import load as load_definition
from fipsmanifest.model.manifest import Manifest, Tool
from tests.support import programs, upstream
from tests.support.registry import gzipped, make_image, make_layer, skopeo

TABLE = load()
IMAGE = "docker.io/mesosphere/kubelet:v1.21.3"
DEFINITION = """
schema = "fipsmanifest/definition/v1"
kubernetes = "v1.21.3"
build_metadata = "fips.0"
el = 8
serial = 1
created = 2021-08-24T00:00:00Z
architectures = ["x86_64"]
operating_systems = [{{ id = "rhel", versions = ["8.*"] }}]

[[sources]]
kind = "tarball"
name = "some"
url = "https://example.com/some.tar"

[[components]]
name = "kubelet"
requirement = "{requirement}"
sources = ["some"]
images = ["docker.io/mesosphere/kubelet"]
{reason}
{exceptions}

[node.roles]
worker = ["kubelet"]
"""


def definition(directory: Path, requirement: str = "proven", exceptions: str = "") -> Definition:
    path = directory / "rhel8.toml"
    reason = "" if requirement == "proven" else 'reason = "It is a test."'
    path.write_text(DEFINITION.format(requirement=requirement, reason=reason, exceptions=exceptions))
    return load_definition(path)


def exception(path: str, verdict: str, container: str | None = None, format: str | None = None) -> str:
    more = f'container = "{container}"\n' if container else ""
    more += f'format = "{format}"' if format else ""
    return f'[[components.exceptions]]\npath = "{path}"\nverdict = "{verdict}"\nreason = "It is a test."\n{more}\n'


def in_tarball(directory: Path, name: str, data: bytes) -> Artifact:
    tar = directory / "some.tar"
    tar.write_bytes(make_layer({"usr/bin/kubelet": programs.boring().read_bytes(), f"opt/{name}": data}))
    return _artifact("tarball", "some.tar", tar)


def in_package(directory: Path, name: str, data: bytes) -> Artifact:
    (directory / "hidden").write_bytes(data)
    held = {"contents": [{"src": str(directory / "hidden"), "dst": f"/opt/{name}"}]}
    (directory / "hidden-in").mkdir()
    kubelet = upstream.nfpm(
        directory / "hidden-in",
        changes={"contents": [{"src": str(programs.boring()), "dst": "/usr/bin/kubelet"}, *held["contents"]]},
    )
    return _artifact("rpm", "kubelet-1.21.3-0", kubelet)


def in_image(directory: Path, name: str, data: bytes) -> Artifact:
    lower = make_layer({"usr/bin/kubelet": programs.boring().read_bytes()})
    blobs = []
    for number, layer in enumerate((lower, make_layer({f"opt/{name}": data}))):
        path = directory / f"layer{number}"
        path.write_bytes(layer)
        digest = f"sha256:{hashlib.sha256(layer).hexdigest()}"
        blobs.append(Blob(digest, len(layer), "application/vnd.oci.image.layer.v1.tar", path))
    (directory / "config").write_text("{}")
    config = Blob(f"sha256:{hashlib.sha256(b'{}').hexdigest()}", 2, "", directory / "config")
    platform = ImagePlatform("x86_64", blobs[0], config, tuple(blobs), tuple(blob.digest for blob in blobs))
    return Artifact(
        source="some", kind="image", name=IMAGE, address=IMAGE, sha256="0" * 64, size=1, path=blobs[0].path,
        platforms=(platform,),
    )  # fmt: skip


def _artifact(kind: str, name: str, path: Path) -> Artifact:
    return Artifact(
        source="some", kind=kind, name=name, address=f"https://example.com/{name}",  # type: ignore[arg-type]
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(), size=path.stat().st_size, path=path,
        architecture="x86_64",
    )  # fmt: skip


OUTER = [in_tarball, in_package, in_image]
_Put = Callable[[Path, str, bytes], Artifact]


def inspected(directory: Path, artifact: Artifact) -> tuple[InspectedArtifact, ...]:
    spool = directory / "spool"
    spool.mkdir(exist_ok=True)
    with Inspection(Inspector(TABLE, spool), directory / "findings", Cache(directory / "cache")) as inspection:
        inspection.add(artifact)
        found = inspection.result()
    assert not list(spool.iterdir())
    return found


def manifest(directory: Path, artifact: Artifact, requirement: str = "proven", exceptions: str = "") -> Manifest:
    made = definition(directory, requirement, exceptions)
    # The second time from what the first one kept.
    first, second = inspected(directory, artifact), inspected(directory, artifact)
    assert first == second
    return assemble(made, second, describer(TABLE), Tool(version="1", sha256="0" * 64))


def zipped(data: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("bin/kubelet", data)
    return made.getvalue()


def debian(data: bytes) -> bytes:
    tar = lzma.compress(make_layer({"bin/kubelet": data}), preset=0)
    out = b"!<arch>\n"
    for name, content in ((b"debian-binary", b"2.0\n"), (b"data.tar.xz", tar)):
        out += name.ljust(16) + b"0".ljust(12) + b"0".ljust(6) + b"0".ljust(6) + b"100644".ljust(8)
        out += str(len(content)).encode().ljust(10) + b"`\n" + content + (b"\n" if len(content) % 2 else b"")
    return out


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "a.tar.gz": lambda data: gzipped(make_layer({"bin/kubelet": data})),
    "a.zip": zipped,
    "a.deb": debian,
    "a.gz": gzipped,
    "a.xz": lambda data: lzma.compress(data, preset=0),
    "a.tar": lambda data: make_layer({"inner.zip": zipped(data)}),
}


@pytest.mark.parametrize("put", OUTER)
@pytest.mark.parametrize("name", PACKED)
def test_a_packed_program_is_refused_wherever_it_is(tmp_path: Path, put: _Put, name: str) -> None:
    artifact = put(tmp_path, name, PACKED[name](programs.plain().read_bytes()))
    with pytest.raises(Refused, match="'plain', but 'proven' is required") as refusal:
        manifest(tmp_path, artifact)
    assert f"in /opt/{name}" in refusal.value.message
    assert artifact.name in refusal.value.message


@pytest.mark.parametrize("put", OUTER)
def test_a_proven_program_that_the_manifest_cannot_list_needs_an_exception(tmp_path: Path, put: _Put) -> None:
    artifact = put(tmp_path, "a.tar", make_layer({"bin/kubelet": programs.boring().read_bytes()}))
    with pytest.raises(Refused, match=r"/bin/kubelet in /opt/a\.tar of .* is a program \('proven'\) that the manifest"):
        manifest(tmp_path, artifact)
    for path, container in (("/bin/*", None), ("/opt/a.tar", None), ("/bin/*", "/opt/b.tar")):
        with pytest.raises(Refused, match="cannot list"):
            manifest(tmp_path, artifact, exceptions=exception(path, "proven", container))
    manifest(tmp_path, artifact, exceptions=exception("/bin/*", "proven", "/opt/a.tar"))
    with pytest.raises(Refused, match="expects 'plain'"):
        manifest(tmp_path, artifact, exceptions=exception("/bin/*", "plain", "/opt/a.tar"))
    manifest(tmp_path, artifact, "known")


@pytest.mark.parametrize("put", OUTER)
@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("a.7z", b"7z\xbc\xaf\x27\x1c\0\4" + bytes(100), "was not opened (7z"),
        (
            "run.sh",
            b"#!/bin/sh\nexec\n" + gzip.compress(b"x" * 99, 0, mtime=0),
            "was not opened (script with gzip data in it)",
        ),
        ("cut.gz", gzip.compress(b"x" * 5000, mtime=0)[:-9], "was not opened (compressed data)"),
        ("cut.tar", make_layer({"bin/kubelet": b"x" * 5000})[:3000], "was not opened to its end"),
    ],
    ids=["7z", "script", "gzip", "tar"],
)
def test_a_file_that_is_not_opened_needs_an_exception(
    tmp_path: Path, put: _Put, name: str, data: bytes, why: str
) -> None:
    artifact = put(tmp_path, name, data)
    with pytest.raises(Refused) as refusal:
        manifest(tmp_path, artifact)
    assert f"/opt/{name} of {artifact.name} {why}" in refusal.value.message
    assert "an exception with the verdict 'unopened'" in refusal.value.message
    format = "script with gzip data in it" if name == "run.sh" else None
    manifest(tmp_path, artifact, exceptions=exception(f"/opt/{name}", "unopened", format=format))
    manifest(tmp_path, artifact, "known")
    if format is not None:
        assert f'and format = "{format}".' in refusal.value.message
        with pytest.raises(Refused):
            manifest(tmp_path, artifact, exceptions=exception(f"/opt/{name}", "unopened"))


# A program may have another one in its data, and extract it.
@pytest.mark.parametrize("put", OUTER)
def test_a_program_that_carries_another_needs_an_exception(tmp_path: Path, put: _Put) -> None:
    artifact = put(tmp_path, "kubelet", programs.boring().read_bytes() + programs.plain().read_bytes())
    with pytest.raises(Refused, match=r"/opt/kubelet of .* was not opened \(program with a program in it\)"):
        manifest(tmp_path, artifact)


def test_a_tampered_or_unreadable_packed_program_is_refused_whatever_the_definition_says(tmp_path: Path) -> None:
    artifact = in_tarball(tmp_path, "a.gz", gzip.compress(b"\x7fELF\x02\x01\x01" + bytes(40)))
    for requirement in ("proven", "known"):
        with pytest.raises(Refused, match="no exception can excuse what cannot be read"):
            manifest(tmp_path, artifact, requirement, exception("*", "not-go", "*"))


@pytest.mark.parametrize("put", OUTER)
def test_what_has_no_program_in_it_changes_nothing(tmp_path: Path, put: _Put) -> None:
    page = gzip.compress(b".TH KUBELET 1\n")
    (tmp_path / "x.c").write_text("int x(void) { return 1; }\n")
    subprocess.run(["gcc", "-c", "x.c"], cwd=tmp_path, check=True)
    subprocess.run(["ar", "rc", "x.a", "x.o"], cwd=tmp_path, check=True)
    library = (tmp_path / "x.a").read_bytes()
    files = {"doc/kubelet.1.gz": page, "lib/x.a": library}
    data = make_layer(files)
    for name, content in (("a.tar", data), ("kubelet.1.gz", page), ("x.a", library)):
        directory = tmp_path / f"in-{name}"
        directory.mkdir()
        manifest(directory, put(directory, name, content))


def test_an_image_archive_in_a_tarball_is_opened(tmp_path: Path) -> None:
    make_image(tmp_path / "layout", IMAGE, {"amd64": [make_layer({"bin/hidden": programs.plain().read_bytes()})]})
    skopeo("copy", f"oci:{tmp_path}/layout:{IMAGE}", f"docker-archive:{tmp_path}/saved.tar:{IMAGE}")
    for name in ("saved.tar", "layout.tar"):
        directory = tmp_path / f"in-{name}"
        directory.mkdir()
        if name == "layout.tar":
            words = ["oci-layout", "index.json", "blobs"]
            subprocess.run(["tar", "-C", tmp_path / "layout", "-cf", tmp_path / name, *words], check=True)
        artifact = in_package(directory, name, (tmp_path / name).read_bytes())
        with pytest.raises(Refused, match=f"/bin/hidden in /opt/{name}: .*is 'plain', but"):
            manifest(directory, artifact)


def test_a_hard_link_has_in_it_what_its_target_has(tmp_path: Path) -> None:
    (tmp_path / "root/usr/bin").mkdir(parents=True)
    (tmp_path / "root/usr/bin/kubelet").write_bytes(programs.boring().read_bytes())
    (tmp_path / "root/a.gz").write_bytes(gzipped(programs.plain().read_bytes()))
    (tmp_path / "root/b").hardlink_to(tmp_path / "root/a.gz")
    subprocess.run(["tar", "-C", tmp_path / "root", "-cf", tmp_path / "some.tar", "usr", "a.gz", "b"], check=True)
    (found,) = inspected(tmp_path, _artifact("tarball", "some.tar", tmp_path / "some.tar"))
    assert [(item.container, item.path) for item in found.packed] == [("/a.gz", "/a"), ("/b", "/a")]


def with_scriptlet(directory: Path, text: bytes) -> Artifact:
    (directory / "script").write_bytes(text)
    made = upstream.nfpm(
        directory / "scripted",
        changes={
            "contents": [{"src": str(programs.boring()), "dst": "/usr/bin/kubelet"}],
            "scripts": {"postinstall": str(directory / "script")},
        },
    )
    return _artifact("rpm", "kubelet-1.21.3-0.x86_64", made)


@pytest.mark.parametrize(
    ("requirement", "exceptions", "passes"),
    [
        ("proven", "", False),
        ("known", "", True),
        ("proven", exception("kubelet-1.21.3-*", "unopened", format="RPM with a script with base64 data in it"), True),
        ("proven", exception("kubelet-1.21.3-*", "unopened"), False),
        ("proven", exception("/usr/bin/kubelet", "unopened"), False),
    ],
)
def test_a_program_in_a_scriptlet_needs_an_exception_for_its_package(
    tmp_path: Path, requirement: str, exceptions: str, passes: bool
) -> None:
    packed = base64.encodebytes(gzip.compress(programs.plain().read_bytes()[:40_000]))
    artifact = with_scriptlet(tmp_path, b"base64 -d <<E | gunzip > /usr/bin/k\n" + packed + b"E\n")
    with nullcontext() if passes else pytest.raises(Refused) as caught:
        manifest(tmp_path, artifact, requirement, exceptions)
    if caught is not None:
        assert (
            "kubelet (x86_64): kubelet-1.21.3-0.x86_64 was not opened (RPM with a script with base64 data in it): its "
            "scriptlets are not inspected, but 'proven' is required." in str(caught.value)
        )


def test_a_scriptlet_without_a_program_changes_nothing(tmp_path: Path) -> None:
    manifest(tmp_path, with_scriptlet(tmp_path, b"ldconfig\n"))


def test_a_program_in_an_images_commands_needs_an_exception_for_its_configuration(tmp_path: Path) -> None:
    artifact = in_image(tmp_path, "none", b"")
    text = base64.b64encode(gzip.compress(programs.plain().read_bytes()[:40_000])).decode()
    (tmp_path / "config").write_text(json.dumps({"config": {"Cmd": ["sh", "-c", f"echo {text} | base64 -d | gunzip"]}}))
    with pytest.raises(Refused, match=r"sha256:[0-9a-f]{64} of .* was not opened \(image configuration with a script"):
        manifest(tmp_path, artifact)
    format = "image configuration with a script with base64 data in it"
    manifest(tmp_path, artifact, exceptions=exception("sha256:*", "unopened", format=format))
