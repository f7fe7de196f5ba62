"""``fipsmanifest inspect`` as people and pipelines run it, on everything that it takes, and as a gate."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import command, edits, programs, upstream
from tests.support.registry import OCI_INDEX, OCI_MANIFEST, Registry, make_image, make_layer, put_blob, skopeo

GATE = Path(__file__).parents[2] / "docs/gate.md"
IMAGE = "docker.io/mesosphere/kubelet:v1.21.3"
AMD64_ROW = "boringcrypto-20210429-x86_64"
#: As NIST lists it, on any day from that one on.
COVERED = f"module {AMD64_ROW}: FIPS 140-2 certificate 4407 (Google, LLC), historical since 2026-09-21"


@dataclass(frozen=True)
class Ended:
    """A finished run."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.stdout)
        return found

    @property
    def files(self) -> list[dict[str, Any]]:
        files: list[dict[str, Any]] = self.document["files"]
        return files

    def verdicts(self) -> dict[str, str]:
        return {entry["path"]: entry["crypto"]["verdict"] for entry in self.files if "crypto" in entry}


def inspect(directory: Path, *arguments: str | Path) -> Ended:
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "FIPSMANIFEST_CACHE": str(directory / "cache")}
    done = command.run("inspect", *arguments, cwd=directory, env=environment)
    assert "internal error" not in done.stderr
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def boring() -> bytes:
    return programs.boring().read_bytes()


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory, boring: bytes) -> Path:
    """An image for two platforms: a goboring program on one, a plain one on the other."""
    directory = tmp_path_factory.mktemp("image") / "layout"
    base = make_layer({"etc/passwd": b"root:x:0:0::/:/bin/false\n"})
    plain = programs.plain().read_bytes()
    platforms = {
        "amd64": [base, make_layer({"usr/bin/kubelet": boring})],
        "arm64": [base, make_layer({"usr/bin/kubelet": plain})],
    }
    make_image(directory, IMAGE, platforms)
    return directory


def test_a_file_is_named_as_it_was_given(tmp_path: Path, boring: bytes) -> None:
    (tmp_path / "kubelet").write_bytes(boring)
    ended = inspect(tmp_path, "kubelet", "--json")
    assert ended.code == 0
    assert ended.document.keys() == {"schema", "files", "modules", "left_out", "unopened", "errors"}
    assert ended.document["schema"] == "fipsmanifest/inspect/v1"
    (entry,) = ended.files
    assert (entry["path"], entry["sha256"], entry["size"]) == (
        "kubelet",
        hashlib.sha256(boring).hexdigest(),
        len(boring),
    )
    assert (entry["crypto"]["verdict"], entry["crypto"]["module"]) == ("proven", AMD64_ROW)
    assert entry["crypto"]["evidence"]["digest"] == entry["module_digest"] == edits.AMD64.digest
    assert "container" not in entry
    (module,) = ended.document["modules"].items()
    assert module[0] == AMD64_ROW
    assert (module[1]["row"], module[1]["digest"]) == ("shipped", edits.AMD64.digest)
    assert [item["number"] for item in module[1]["certificates"]] == [4407]


def test_a_link_that_is_named_is_followed(tmp_path: Path, boring: bytes) -> None:
    (tmp_path / "kubelet-1.21").write_bytes(boring)
    (tmp_path / "kubelet").symlink_to("kubelet-1.21")
    assert inspect(tmp_path, "kubelet", "--json").verdicts() == {"kubelet": "proven"}


def test_a_directory_is_looked_through_and_its_links_are_not_followed(tmp_path: Path, boring: bytes) -> None:
    root = tmp_path / "root"
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/kubelet").write_bytes(boring)
    (root / "usr/bin/script").write_text("#!/bin/sh\n")
    (root / "bin").symlink_to("usr/bin")
    os.mkfifo(root / "pipe")
    ended = inspect(tmp_path, "root", "--json")
    assert [(entry["path"], entry["type"]) for entry in ended.files] == [
        ("root/bin", "symlink"),
        ("root/usr/bin/kubelet", "file"),
        ("root/usr/bin/script", "file"),
    ]


@pytest.mark.parametrize("compression", ["gzip", "xz", "zstd"])
def test_a_package_is_read_as_rpm_would_install_it(tmp_path: Path, boring: bytes, compression: str) -> None:
    path = upstream.nfpm(tmp_path / "packages", contents=boring, compression=compression)
    ended = inspect(tmp_path, path, "--json")
    by_path = {entry["path"]: entry for entry in ended.files}
    assert by_path["/usr/bin/kubelet"]["crypto"]["verdict"] == "proven"
    assert by_path["/usr/bin/kubelet"]["container"] == str(path)
    assert by_path["/etc/kubelet.conf"]["role"] == "config"
    assert by_path["/usr/local/bin/kubelet"]["target"] == "/usr/bin/kubelet"


def test_a_tarball_is_read_as_tar_would_unpack_it(tmp_path: Path, boring: bytes) -> None:
    (tmp_path / "dist/bin").mkdir(parents=True)
    (tmp_path / "dist/bin/runc").write_bytes(boring)
    os.link(tmp_path / "dist/bin/runc", tmp_path / "dist/bin/runc-too")
    subprocess.run(["tar", "-czf", "dist.tgz", "-C", "dist", "bin"], cwd=tmp_path, check=True)
    ended = inspect(tmp_path, "dist.tgz", "--json")
    assert ended.verdicts() == {"/bin/runc": "proven", "/bin/runc-too": "proven"}
    assert {entry["container"] for entry in ended.files} == {"dist.tgz"}


def check_platforms(ended: Ended, container: str) -> None:
    assert ended.code == 0, ended.stderr
    programs_found = [entry for entry in ended.files if "crypto" in entry]
    assert [(entry["path"], entry["crypto"]["verdict"]) for entry in programs_found] == [
        ("/usr/bin/kubelet", "proven"),
        ("/usr/bin/kubelet", "plain"),
    ]
    assert {entry["container"] for entry in programs_found} == {container}


@pytest.mark.parametrize("packed", [False, True])
def test_an_oci_archive_is_looked_through_for_all_its_platforms(tmp_path: Path, layout: Path, packed: bool) -> None:
    path = layout
    if packed:
        path = tmp_path / "image.tar"
        skopeo("copy", "--all", f"oci:{layout}:{IMAGE}", f"oci-archive:{path}:{IMAGE}")
    check_platforms(inspect(tmp_path, path, "--json"), f"{path}: {IMAGE}")


def test_an_archive_of_docker_save_is_looked_through(tmp_path: Path, layout: Path) -> None:
    path = tmp_path / "saved.tar"
    skopeo("copy", "--override-arch=amd64", f"oci:{layout}:{IMAGE}", f"docker-archive:{path}:{IMAGE}")
    ended = inspect(tmp_path, path, "--json")
    assert ended.verdicts() == {"/usr/bin/kubelet": "proven"}
    assert ended.files[0]["container"] == f"{path}: {IMAGE}"


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    with Registry() as running:
        yield running


@pytest.fixture(scope="module")
def tagged(tmp_path_factory: pytest.TempPathFactory, layout: Path) -> Path:
    """The same image by its tag alone, to be pushed."""
    directory = tmp_path_factory.mktemp("tagged") / "layout"
    skopeo("copy", "--all", f"oci:{layout}:{IMAGE}", f"oci:{directory}:v1.21.3")
    return directory


def test_an_image_in_a_registry_is_looked_through_for_all_its_platforms(
    tmp_path: Path, tagged: Path, registry: Registry
) -> None:
    reference = registry.push(tagged, "v1.21.3", "mesosphere/kubelet")
    check_platforms(inspect(tmp_path, f"docker://{reference}", "--json"), reference)
    # By the name that its makers use, from a mirror; and one platform by its own digest.
    mirror = f"docker.io={registry.address}"
    name = "docker.io/mesosphere/kubelet:" + reference.rpartition(":")[2]
    check_platforms(inspect(tmp_path, f"docker://{name}", "--mirror", mirror, "--json"), name)
    raw = json.loads(skopeo("inspect", "--raw", f"docker://{reference}", "--tls-verify=false"))
    single = f"{reference.rpartition(':')[0]}@{raw['manifests'][1]['digest']}"
    assert inspect(tmp_path, f"docker://{single}", "--json").verdicts() == {"/usr/bin/kubelet": "plain"}


@dataclass
class Indexed:
    """Makes the entries of an index over an OCI layout."""

    directory: Path

    def image(self, name: str, program: bytes, **keys: Any) -> dict[str, Any]:
        digest = make_image(self.directory, name, {"amd64": [make_layer({f"opt/{name}": program})]}, index=False)
        size = (self.directory / "blobs/sha256" / digest.removeprefix("sha256:")).stat().st_size
        return {"mediaType": OCI_MANIFEST, "digest": digest, "size": size, **keys}

    def within(self, *entries: dict[str, Any], **keys: Any) -> dict[str, Any]:
        return {**put_blob(self.directory, json.dumps(index_of(*entries)).encode(), OCI_INDEX), **keys}


def index_of(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}


def made_for(system: str, machine: str = "amd64", **more: str) -> dict[str, str]:
    return {"os": system, "architecture": machine, **more}


ATTESTS = {"vnd.docker.reference.type": "attestation-manifest"}
#: What is never fetched, so that it need not be there.
GONE = {"mediaType": OCI_MANIFEST, "size": 1000}


def gone(number: int) -> str:
    return f"sha256:{number:064x}"


def test_all_that_a_linux_node_could_choose_of_an_index_is_looked_at_and_the_rest_is_said(
    tmp_path: Path, registry: Registry
) -> None:
    small = programs.c_program().read_bytes()
    make = Indexed(tmp_path / "layout")
    within = make.within(make.image("deeper", small, platform=made_for("linux", "arm64")), platform={"os": "linux"})
    entries = [
        make.image("first", small, platform=made_for("linux")),
        make.image("same", small, platform=made_for("linux")),
        make.image("variant", small, platform=made_for("linux", variant="v3")),
        make.image("arm", small, platform=made_for("linux", "arm", variant="v7")),
        make.image("nothing", small),
        make.image("nothing-attested", small, annotations=ATTESTS),
        make.image("attested", small, platform=made_for("linux"), annotations=ATTESTS),
        make.image("unknown", small, platform=made_for("unknown", "unknown")),
        make.image("upper", small, platform=made_for("Linux")),
        make.image("empty", small, platform=made_for("")),
        make.within(make.image("within", small), within),
        {**GONE, "digest": gone(1), "platform": made_for("windows", **{"os.version": "10.0.20348.2700"})},
        {**GONE, "digest": gone(2), "platform": made_for("unknown", "unknown"), "annotations": ATTESTS},
        {**GONE, "digest": gone(3), "mediaType": OCI_INDEX, "platform": made_for("wasi", "wasm")},
    ]
    reference = registry.put(tmp_path / "layout", "everything", index_of(*entries))
    ended = inspect(tmp_path, f"docker://{reference}", "--json")
    assert ended.code == 0, ended.stderr
    names = ["same", "variant", "arm", "nothing", "nothing-attested", "attested", "unknown", "upper", "empty"]
    assert ended.verdicts() == {f"/opt/{name}": "not-go" for name in ["first", *names, "within", "deeper"]}
    assert ended.document["left_out"] == [
        {"name": f"{reference}@{gone(1)}", "why": "made for 'windows'"},
        {"name": f"{reference}@{gone(2)}", "why": "an attestation"},
        {"name": f"{reference}@{gone(3)}", "why": "made for 'wasi'"},
    ]


def test_an_image_with_attestations_and_another_system_passes_the_gate_which_says_so(
    tmp_path: Path, registry: Registry, boring: bytes
) -> None:
    entries = [
        Indexed(tmp_path / "layout").image("kubelet", boring, platform=made_for("linux")),
        {**GONE, "digest": gone(1), "platform": made_for("windows")},
        {**GONE, "digest": gone(2), "platform": made_for("unknown", "unknown"), "annotations": ATTESTS},
    ]
    reference = registry.put(tmp_path / "layout", "usual", index_of(*entries))
    said = [
        f"not inspected: {reference}@{gone(1)} (made for 'windows')",
        f"not inspected: {reference}@{gone(2)} (an attestation)",
    ]
    ended = inspect(tmp_path, "--require", "proven", f"docker://{reference}")
    assert ended.code == 0, ended.stderr
    assert [line for line in ended.stdout.splitlines() if line.startswith("not inspected")] == said
    noted = inspect(tmp_path, f"docker://{reference}", "--markdown").stdout.splitlines()
    assert [line for line in noted if line.startswith("- not")] == [f"- {line}" for line in said]
    # If there is nothing else, nothing was inspected.
    reference = registry.put(tmp_path / "layout", "other", index_of(*entries[1:]))
    ended = inspect(tmp_path, f"docker://{reference}")
    assert ended.code == 4
    assert "is not made for linux" in ended.stderr
    assert "made for 'windows', an attestation" in ended.stderr


def test_an_entry_of_an_index_that_is_another_artifact_is_left_out(tmp_path: Path, registry: Registry) -> None:
    make = Indexed(tmp_path / "layout")
    good = make.image("kubelet", programs.c_program().read_bytes(), platform=made_for("linux"))
    chart = put_blob(make.directory, b"{}", "application/vnd.cncf.helm.config.v1+json")
    layer = put_blob(make.directory, b"x", "application/vnd.cncf.helm.chart.content.v1.tar+gzip")
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": chart, "layers": [layer]}
    other = put_blob(make.directory, json.dumps(document).encode(), OCI_MANIFEST)
    reference = registry.put(make.directory, "beside", index_of(good, other))
    ended = inspect(tmp_path, f"docker://{reference}", "--json")
    assert ended.code == 0, ended.stderr
    assert ended.verdicts() == {"/opt/kubelet": "not-go"}
    assert [(item["name"], item["why"].partition(":")[0]) for item in ended.document["left_out"]] == [
        (f"{reference}@{other['digest']}", "not a container image"),
    ]


def test_an_index_with_a_cache_of_buildkit_is_looked_through_and_the_cache_is_left_out(
    tmp_path: Path, registry: Registry
) -> None:
    # This registry answers 500 where a layer is asked for as a manifest.
    make = Indexed(tmp_path / "layout")
    good = make.image("kubelet", programs.c_program().read_bytes(), platform=made_for("linux"))
    types = ("application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.buildkit.cacheconfig.v0")
    cache = [put_blob(make.directory, bytes([number]) * 100, kind) for number, kind in enumerate(types)]
    reference = registry.put(make.directory, "cached", index_of(good, *cache))
    ended = inspect(tmp_path, f"docker://{reference}", "--json")
    assert ended.code == 0, ended.stderr
    assert ended.verdicts() == {"/opt/kubelet": "not-go"}
    assert [(item["name"], item["why"]) for item in ended.document["left_out"]] == [
        (f"{reference}@{entry['digest']}", f"not a container image: it is '{kind}'")
        for entry, kind in zip(cache, types, strict=True)
    ]


@pytest.mark.parametrize("story", ["deep", "unknown type", "many"])
def test_an_entry_of_an_index_that_cannot_be_looked_at_is_an_error(
    tmp_path: Path, registry: Registry, story: str
) -> None:
    small = programs.c_program().read_bytes()
    make = Indexed(tmp_path / "layout")
    good = make.image("kubelet", small, platform=made_for("linux"))
    other = make.image("other", small)
    match story:
        case "deep":
            for _ in range(4):
                other = make.within(other)
        case "unknown type":
            other = {**put_blob(make.directory, b'{"schemaVersion": 2, "layers": []}', "x/y"), "mediaType": "x/y"}
        case "many":
            windows = [{**GONE, "digest": gone(number), "platform": made_for("windows")} for number in range(999)]
            other = make.within(*windows)
    reference = registry.put(make.directory, story.replace(" ", "-"), index_of(good, other))
    ended = inspect(tmp_path, f"docker://{reference}", "--json")
    assert ended.code == 5
    said = {
        "deep": "too deep",
        "unknown type": "an entry that is not a descriptor",
        "many": "1000 entries",
    }
    assert said[story] in ended.document["errors"][0]["message"]


def test_an_image_that_cannot_be_had_leaves_the_look_incomplete(
    tmp_path: Path, tagged: Path, registry: Registry, boring: bytes
) -> None:
    (tmp_path / "kubelet").write_bytes(boring)
    ended = inspect(tmp_path, f"docker://{registry.address}/no/such:thing", "kubelet", "--json")
    assert ended.code == 4
    assert ended.verdicts() == {"kubelet": "proven"}
    (problem,) = ended.document["errors"]
    assert problem["code"] == 4
    assert "no/such" in problem["message"]
    spoilt = registry.push(tagged, "v1.21.3", "spoilt/kubelet")
    raw = json.loads(skopeo("inspect", "--raw", f"docker://{spoilt}", "--tls-verify=false"))
    manifest = registry.blob_path(raw["manifests"][0]["digest"])
    layer = json.loads(manifest.read_text())["layers"][1]["digest"]
    kept = registry.blob_path(layer).read_bytes()
    registry.blob_path(layer).write_bytes(edits.flip(kept, 1000))
    try:
        assert inspect(tmp_path, f"docker://{spoilt}").code == 5
    finally:
        registry.blob_path(layer).write_bytes(kept)


def test_network_options_are_refused_where_nothing_is_fetched(tmp_path: Path, boring: bytes) -> None:
    (tmp_path / "kubelet").write_bytes(boring)
    for option in (["--mirror", "a=b"], ["--allow-http"], ["--ca-bundle", "x.pem"], ["--exceptions", "e.toml"]):
        ended = inspect(tmp_path, "kubelet", *option)
        assert (ended.code, ended.stdout) == (2, "")
        assert f"{option[0]} has no effect" in ended.stderr
    assert inspect(tmp_path, "kubelet", "--json", "--markdown").code == 2


@pytest.mark.parametrize("name", ["kubelet", "docker://UPPER/case:x", "docker://"])
def test_what_is_not_there_is_a_mistake_of_the_caller(tmp_path: Path, boring: bytes, name: str) -> None:
    (tmp_path / "there").write_bytes(boring)
    ended = inspect(tmp_path, "there", name)
    assert (ended.code, ended.stdout) == (2, "")
    assert "error: " in ended.stderr


def test_hostile_archives_are_refused_and_the_rest_is_told(tmp_path: Path, boring: bytes, layout: Path) -> None:
    whole = upstream.nfpm(tmp_path / "packages", contents=boring)
    cut = tmp_path / "cut.rpm"
    cut.write_bytes(whole.read_bytes()[:-5000])
    with tarfile.open(tmp_path / "climbs.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("../../etc/passwd"))
    bomb = tmp_path / "short.tgz"
    bomb.write_bytes(gzip.compress(make_layer({"kubelet": boring}))[:-100_000])
    broken = tmp_path / "broken"
    shutil.copytree(layout, broken)
    largest = max((broken / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    largest.write_bytes(edits.flip(largest.read_bytes(), 500))
    (tmp_path / "kubelet").write_bytes(boring)
    ended = inspect(tmp_path, "cut.rpm", "climbs.tar", "short.tgz", "broken", "kubelet", "--json")
    assert ended.code == 5
    # The image of another tag in the archive is whole.
    assert ended.verdicts() == {"kubelet": "proven", "/usr/bin/kubelet": "plain"}
    named = [error["message"] for error in ended.document["errors"]]
    # A damaged layer is one of an image, and a file in its archive.
    for message, name in zip(named, ["cut.rpm", "climbs.tar", "short.tgz", "broken", "broken"], strict=True):
        assert name in message


def test_what_may_not_be_read_leaves_the_look_incomplete(tmp_path: Path, boring: bytes) -> None:
    # Root may read everything, so the file is a link to itself, which no user can read.
    (tmp_path / "root").mkdir()
    (tmp_path / "root/kubelet").write_bytes(boring)
    (tmp_path / "loop").symlink_to("loop")
    ended = inspect(tmp_path, "root", "loop", "--json")
    assert ended.code == 4


def test_a_release_note_has_a_row_for_each_program_and_no_markup_of_strangers(tmp_path: Path, boring: bytes) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a|b `c` [d](e)\n| forged | row |").write_bytes(boring)
    ended = inspect(tmp_path, "d", "--markdown")
    assert ended.code == 0
    heading, rule, row, empty, module = ended.stdout.splitlines()
    assert (empty, module) == ("", f"- {COVERED}")
    assert heading.startswith("| verdict | file |")
    assert set(rule) == {"|", "-", " "}
    assert row.startswith("| proven | d/a\\|b \\`c\\` \\[d\\](e)\\\\x0a\\| forged \\| row \\| | - | go1.21.13")


def test_the_table_for_people_says_why(tmp_path: Path) -> None:
    shutil.copy(programs.boring_without_cgo(), tmp_path / "kubelet")
    (tmp_path / "README").write_text("read me")
    ended = inspect(tmp_path, "kubelet", "README")
    assert ended.code == 0
    assert "CGO_ENABLED=0, which silently uses plain crypto" in ended.stdout
    assert ended.stdout.endswith("1 program, 1 other file.\n")


def test_the_status_of_certificates_is_told_for_today_with_the_modules_that_they_cover(
    tmp_path: Path, boring: bytes
) -> None:
    (tmp_path / "kubelet").write_bytes(boring)
    assert inspect(tmp_path, "kubelet").stdout.splitlines()[-3:] == ["", COVERED, "1 program, 0 other files."]
    (certificate,) = inspect(tmp_path, "kubelet", "--json").document["modules"][AMD64_ROW]["certificates"]
    assert certificate == {
        "number": 4407,
        "standard": "FIPS 140-2",
        "holder": "Google, LLC",
        "historical_since": "2026-09-21",
        "status": "historical",
    }


def test_an_error_keeps_the_names_of_files_in_its_line(tmp_path: Path, boring: bytes) -> None:
    place = tmp_path / "d"
    place.mkdir()
    (place / "a\nerror: all is well").write_bytes(programs.plain().read_bytes())
    (place / "b\nc.rpm").write_bytes(b"\xed\xab\xee\xdb" + bytes(500))
    (place / "kubelet").write_bytes(boring)
    ended = inspect(tmp_path, "--require", "proven", "d")
    assert ended.code == 5
    package, program = ended.stderr.splitlines()
    assert package.startswith("error: d/b\\nc.rpm")
    assert program.startswith("       d/a\\nerror: all is well is 'plain', and ")


class TestGate:
    """``--require proven`` in a user's own pipeline."""

    def test_proven_programs_pass_with_what_has_no_cryptography(self, tmp_path: Path, boring: bytes) -> None:
        (tmp_path / "kubelet").write_bytes(boring)
        shutil.copy(programs.plain_without_crypto(), tmp_path / "hello")
        shutil.copy(programs.c_program(), tmp_path / "python")
        ended = inspect(tmp_path, "--require", "proven", "kubelet", "hello", "python", "--json")
        assert ended.code == 0, ended.stderr
        assert ended.document["gate"] == {
            "require": "proven",
            "modules": ["boringcrypto"],
            "standard": None,
            "forbid": [],
            "passed": True,
            "proven": 1,
            "excepted": 0,
            "refused": 0,
            "excuses": [],
            "unused_exceptions": [],
        }

    def test_each_program_that_may_not_pass_is_named_with_why_and_what_to_do(
        self, tmp_path: Path, boring: bytes
    ) -> None:
        (tmp_path / "kubelet").write_bytes(boring)
        (tmp_path / "changed").write_bytes(edits.flip(boring, edits.module_offset(boring) + 9))
        (tmp_path / "cut").write_bytes(boring[:5000])
        shutil.copy(programs.plain(), tmp_path / "plain")
        ended = inspect(tmp_path, "--require", "proven", "kubelet", "changed", "cut", "plain")
        assert ended.code == 5
        told = ended.stderr
        assert "changed is 'contradicted', and 'proven' is required: A BoringCrypto module is in this file, but" in told
        assert "cut is 'unreadable', and 'proven' is required: " in told
        assert "plain is 'plain', and 'proven' is required: A Go program with plain, unvalidated crypto" in told
        assert "Build it with GOEXPERIMENT=boringcrypto and CGO_ENABLED=1" in told
        assert "kubelet is" not in told
        # The requirements of a release's definition have no meaning here.
        assert "component" not in told
        assert "requirement" not in told

    def test_an_unknown_module_is_told_how_to_be_learnt(self, tmp_path: Path, boring: bytes) -> None:
        start = edits.module_offset(boring)
        (tmp_path / "kubelet").write_bytes(edits.redo_digest(edits.flip(boring, start + 0x4321), start))
        ended = inspect(tmp_path, "--require", "proven", "kubelet")
        assert ended.code == 5
        assert "is 'unlisted'" in ended.stderr
        assert "'modules learn'" in ended.stderr

    def test_where_there_is_nothing_to_prove_nothing_passes(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        (tmp_path / "kubelet").write_text("#!/bin/sh\nexec /opt/kubelet\n")
        shutil.copy(programs.plain_without_crypto(), tmp_path / "hello")
        for path in ("empty", "kubelet"):
            ended = inspect(tmp_path, "--require", "proven", path)
            assert ended.code == 5
            assert "There is no program here that has cryptography to prove." in ended.stderr
        ended = inspect(tmp_path, "--require", "proven", "hello")
        assert ended.code == 5
        assert "Nothing here is proven: 1 program, without cryptography to prove." in ended.stderr

    def test_what_could_not_be_looked_at_fails_the_gate(self, tmp_path: Path, boring: bytes) -> None:
        (tmp_path / "kubelet").write_bytes(boring)
        (tmp_path / "loop").symlink_to("loop")
        ended = inspect(tmp_path, "--require", "proven", "kubelet", "loop", "--json")
        assert ended.code == 4
        assert ended.document["gate"]["passed"] is False
        noted = inspect(tmp_path, "--require", "proven", "kubelet", "loop", "--markdown")
        assert noted.code == 4
        assert noted.stdout.splitlines()[-1].startswith("- error: loop cannot be read: Too many levels of symbolic")

    def test_a_page_says_why_the_gate_did_not_pass(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            shutil.copy(programs.plain(), tmp_path / name)
        noted = inspect(tmp_path, "--require", "proven", "a", "b", "--markdown")
        assert noted.code == 5
        assert noted.stdout.splitlines()[-1].startswith("- error: 2 programs are 'plain', and 'proven' is required: ")

    @pytest.mark.parametrize(
        ("options", "modules", "standard"),
        [
            ((), ["boringcrypto"], None),
            (("--module", "go-native", "--standard", "140-3"), ["go-native"], "140-3"),
            (("--module", "go-native", "--module", "boringcrypto"), ["boringcrypto", "go-native"], None),
        ],
    )
    def test_the_document_says_what_was_accepted(
        self, tmp_path: Path, boring: bytes, options: tuple[str, ...], modules: list[str], standard: str | None
    ) -> None:
        (tmp_path / "kubelet").write_bytes(boring)
        gate = inspect(tmp_path, "--require", "proven", *options, "kubelet", "--json").document["gate"]
        assert (gate["modules"], gate["standard"], gate["passed"]) == (modules, standard, "boringcrypto" in modules)

    def test_an_exception_says_what_is_expected_and_why(self, tmp_path: Path, boring: bytes) -> None:
        (tmp_path / "dist").mkdir()
        (tmp_path / "dist/kubelet").write_bytes(boring)
        shutil.copy(programs.plain(), tmp_path / "dist/crictl")
        exceptions = tmp_path / "exceptions.toml"
        exceptions.write_text(
            '[[exceptions]]\npath = "*/crictl"\nverdict = "plain"\nreason = "a debugging aid"\n'
            '[[exceptions]]\npath = "*/gone"\nverdict = "plain"\nreason = "was there once"\n'
        )
        gate = ("--require", "proven", "--exceptions", "exceptions.toml", "dist")
        ended = inspect(tmp_path, *gate, "--json")
        assert ended.code == 0, ended.stderr
        assert ended.document["gate"]["excepted"] == 1
        excuse = {"path": "dist/crictl", "verdict": "plain", "reason": "a debugging aid"}
        assert ended.document["gate"]["excuses"] == [excuse]
        told = inspect(tmp_path, *gate).stdout.splitlines()
        assert told[-2:] == [
            "accepted: dist/crictl is 'plain': a debugging aid",
            "gate: passed; 1 proven, 1 accepted by exceptions.",
        ]
        noted = inspect(tmp_path, *gate, "--markdown").stdout.splitlines()
        assert noted[-4:] == ["", f"- {COVERED}", "", "- accepted: dist/crictl is 'plain': a debugging aid"]
        assert ended.document["gate"]["unused_exceptions"] == ["*/gone"]
        assert "The exception for */gone matches no program" in ended.stderr
        # Another verdict than the expected one is no longer accepted, even a better one.
        (tmp_path / "dist/crictl").write_bytes(boring)
        ended = inspect(tmp_path, *gate)
        assert ended.code == 5
        assert "dist/crictl is 'proven', and the exception for */crictl expects 'plain'" in ended.stderr

    def test_the_example_of_the_page_works_as_it_is_written(self, tmp_path: Path, boring: bytes) -> None:
        section = GATE.read_text().partition("## Exceptions")[2].partition("\n## ")[0]
        commands = re.findall(r"^\$ fipsmanifest inspect (.*)$", section, re.MULTILINE)
        (example,) = re.findall(r"^```toml\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
        (tmp_path / "exceptions.toml").write_text(example)
        for place, data in (("dist/kubelet", boring), ("rootfs/usr/bin/crictl", programs.plain().read_bytes())):
            (tmp_path / place).parent.mkdir(parents=True)
            (tmp_path / place).write_bytes(data)
        layer = make_layer({"usr/bin/kubelet": boring, "usr/bin/etcdctl": programs.plain().read_bytes()})
        make_image(tmp_path / "layout", IMAGE, {"amd64": [layer]})
        skopeo("copy", f"oci:{tmp_path}/layout:{IMAGE}", f"docker-archive:{tmp_path}/image.tar:{IMAGE}")
        without, with_exceptions = (inspect(tmp_path, *command.split(), "--json") for command in commands)
        assert without.code == 5
        (problem,) = without.document["errors"]
        assert problem["message"].startswith(f"/usr/bin/etcdctl in image.tar: {IMAGE} is 'plain'")
        assert with_exceptions.code == 0, with_exceptions.stderr
        assert with_exceptions.document["gate"]["unused_exceptions"] == []
        excused = [item["path"] for item in with_exceptions.document["gate"]["excuses"]]
        assert excused == ["rootfs/usr/bin/crictl", "/usr/bin/etcdctl"]

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ('[[exceptions]]\npath = "x"\nverdict = "plain"\n', "exception 1 is wrong: reason"),
            ('[[exceptions]]\npath = "x"\nverdict = "plain"\nreason = " "\n', "reason: it is blank"),
            (
                '[[exceptions]]\npath = "x"\nverdict = "plain"\nreason = " \\u200b\\u2800-"\n',
                "reason: it is blank",
            ),
            ('[[exceptions]]\npath = "x"\nverdict = "fine"\nreason = "r"\n', "verdict"),
            (
                '[[exceptions]]\npath = "x"\nverdict = "plain"\nreason = "r"\nmore = 1\n',
                "unknown key 'more' in exception 1",
            ),
            (
                '[[exceptions]]\npath = "x"\nverdict = "plain"\nreason = "r"\n'
                '[[exceptions]]\npth = "x"\nverdict = "plain"\nreason = "r"\n',
                "unknown key 'pth' in exception 2; known keys: container, format, path, reason, verdict",
            ),
            ('[[exceptions]]\npath = "x"\nverdict = "unreadable"\nreason = "r"\n', "cannot be read"),
            ("exceptions = 1\n", "it has no [[exceptions]]"),
            ("[[exception]]\n", "unknown key 'exception'; known keys: exceptions"),
            ("", "it has no [[exceptions]]"),
            ("[[", "cannot be read"),
        ],
    )
    def test_an_exception_that_is_not_whole_is_a_mistake_of_the_caller(
        self, tmp_path: Path, boring: bytes, text: str, said: str
    ) -> None:
        (tmp_path / "kubelet").write_bytes(boring)
        (tmp_path / "exceptions.toml").write_text(text)
        ended = inspect(tmp_path, "--require", "proven", "--exceptions", "exceptions.toml", "kubelet")
        assert (ended.code, ended.stdout) == (2, "")
        assert said in ended.stderr


@pytest.mark.parametrize(
    ("modules", "code"),
    [
        ([], 0),
        (["--module", "boringcrypto"], 0),
        (["--module", "go-native", "--module", "boringcrypto"], 0),
        (["--module", "go-native"], 5),
        (["--module", "openssl"], 2),
    ],
)
def test_the_gate_accepts_the_modules_that_are_named(tmp_path: Path, modules: list[str], code: int) -> None:
    assert inspect(tmp_path, "--require", "proven", *modules, programs.boring()).code == code


def test_the_gate_refuses_packages_that_are_forbidden_beside_the_module(tmp_path: Path) -> None:
    shutil.copyfile(programs.boring_and_ed25519(), tmp_path / "signer")
    passed = inspect(tmp_path, "--require", "proven", "--forbid", "golang.org/x/crypto/*", "signer")
    assert passed.code == 0, passed.stderr
    assert "beside the module, in 1 proven program: crypto/ed25519, " in passed.stdout
    # Packages that are not known for cryptography: named, they are forbidden all the same.
    for pattern, code in (("runtime/cgo", 5), ("runtime/*", 0), ("crypto/sha256", 0), ("net/http", 0)):
        assert inspect(tmp_path, "--require", "proven", "--forbid", pattern, "signer").code == code, pattern
    refused = inspect(tmp_path, "--require", "proven", "--forbid", "crypto/md5", "--callers", "--json", "signer")
    assert refused.code == 5
    (error,) = refused.document["errors"]
    assert error["reason"] == "forbidden"
    assert error["message"].startswith("signer is 'proven', and crypto/md5 beside the module is forbidden: ")
    crypto = refused.files[0]["crypto"]
    assert {"crypto/ed25519", "crypto/md5"} <= set(crypto["evidence"]["beside_module"])
    assert crypto["callers"]["crypto/md5"] == {"functions": ["main.main"], "more": 0}


@pytest.mark.parametrize("words", [["--forbid", "x"], ["--require", "proven", "--forbid", ""], ["--callers"]])
def test_what_is_forbidden_needs_a_gate_and_a_name_and_callers_need_json(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "x").write_bytes(b"")
    assert inspect(tmp_path, *words, "x").code == 2


def test_an_empty_path_is_not_the_working_directory(tmp_path: Path) -> None:
    shutil.copy(programs.boring(), tmp_path / "kubelet")
    ended = inspect(tmp_path, "--require", "proven", "")
    assert (ended.code, "A PATH is empty." in ended.stderr) == (2, True)


def test_without_a_place_for_the_cache_a_run_goes_on_and_says_so_but_a_chosen_place_must_work(tmp_path: Path) -> None:
    # As in a container whose user has no home.
    environment = {"PATH": os.environ["PATH"], "HOME": "/proc/none", "TMPDIR": str(tmp_path)}

    done = command.run("inspect", "/bin/true", cwd=tmp_path, env=environment)
    assert (done.returncode, "not-go" in done.stdout) == (0, True)
    assert "note: The cache cannot use /proc/none/.cache/fipsmanifest" in done.stderr
    chosen = command.run("inspect", "--cache", "/proc/none/other", "/bin/true", cwd=tmp_path, env=environment)
    assert chosen.returncode == 4
    assert list(tmp_path.iterdir()) == []
