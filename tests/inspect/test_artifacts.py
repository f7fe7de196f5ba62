"""What an artifact of a release holds more than once."""

from __future__ import annotations

import gzip
import hashlib
import json
from contextlib import nullcontext
from pathlib import Path

import pytest

from fipsmanifest.archive.layers import Entry, Whiteout
from fipsmanifest.archive.limits import DEFAULT_ALLOWANCE, Allowance, OverBudget
from fipsmanifest.archive.member import Member
from fipsmanifest.errors import Refused, Several
from fipsmanifest.fetch.cache import Cache
from fipsmanifest.inspect import artifacts
from fipsmanifest.inspect.artifacts import Inspection
from fipsmanifest.inspect.inspector import Inspector
from fipsmanifest.inspect.packed import PackedFile
from fipsmanifest.inspect.table import load
from fipsmanifest.model.artifact import Artifact, Blob, ImagePlatform
from fipsmanifest.model.finding import Finding, Verdict
from tests.fuzz.tars import END, header, member
from tests.support import programs, toolchains


def inspected(directory: Path, data: bytes, allowance: Allowance = DEFAULT_ALLOWANCE) -> tuple[Finding, ...]:
    path = directory / "some.tar"
    path.write_bytes(data)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    artifact = Artifact(
        source="some", kind="tarball", name="some.tar", address="some.tar", sha256=digest, size=len(data), path=path
    )
    spool = directory / "spool"
    spool.mkdir(exist_ok=True)
    cache = Cache(directory / "cache")
    with Inspection(Inspector(load(), spool), directory / "findings", cache, allowance=allowance) as inspection:
        inspection.add(artifact)
        (found,) = inspection.result()
    return found.findings


# The manifest can name one of them only, and some unpackers leave the first.
def test_a_tarball_with_two_programs_of_one_path_is_refused_and_the_path_named(tmp_path: Path) -> None:
    plain, boring = programs.plain().read_bytes(), programs.boring().read_bytes()
    with pytest.raises(Refused, match=r"some\.tar has '/usr/bin/kubelet' twice, and the first is another program"):
        inspected(tmp_path, member("usr/bin/kubelet", plain) + member("./usr/bin/kubelet", boring) + END)


def test_a_tarball_may_have_the_same_program_or_a_text_twice(tmp_path: Path) -> None:
    boring = programs.boring().read_bytes()
    found = inspected(
        tmp_path,
        member("kubelet", boring) + member("./kubelet", boring) + member("README", b"1") + member("README", b"2") + END,
    )
    assert {finding.path: finding.sha256 for finding in found} == {
        "/kubelet": hashlib.sha256(boring).hexdigest(),
        "/README": hashlib.sha256(b"2").hexdigest(),
    }


def test_every_bad_entry_of_a_tarball_is_named(tmp_path: Path) -> None:
    plain, boring = programs.plain().read_bytes(), programs.boring().read_bytes()
    bad = header("hard", kind=b"1", target="nowhere") + header("", kind=b"0") + header("soft", kind=b"1", target="gone")
    with pytest.raises(Several) as caught:
        inspected(tmp_path, bad + member("README", b"1") + END)
    assert [error.exit_code for error in caught.value.errors] == [5, 5, 5]
    assert "nowhere" in str(caught.value) and "/soft" in str(caught.value)
    twice = b"".join(member(name, data) for name in ("a", "b") for data in (plain, boring))
    with pytest.raises(Several, match=r"'/a' twice.*\n(.*\n)*.*'/b' twice"):
        inspected(tmp_path, twice + END)


def config(directory: Path) -> Blob:
    (directory / "config").write_text("{}")
    return Blob(f"sha256:{hashlib.sha256(b'{}').hexdigest()}", 2, "", directory / "config")


def test_every_bad_entry_of_an_image_is_named(tmp_path: Path) -> None:
    bad = [header(name, kind=b"1", target="nowhere") for name in ("a", "b")]
    ambiguous = member(".wh.x", b"content") + member(".wh.y", b"content") + END
    for number, (data, named) in enumerate(((b"".join(bad) + END, ("/a", "/b")), (ambiguous, (".wh.x", ".wh.y")))):
        path = tmp_path / f"layer{number}"
        path.write_bytes(data)
        diff_id = f"sha256:{hashlib.sha256(data).hexdigest()}"
        blob = Blob(diff_id, len(data), "", path)
        platform = ImagePlatform("x86_64", blob, config(tmp_path), (blob,), (diff_id,))
        image = Artifact(
            source="some", kind="image", name="some", address="some", sha256="0" * 64, size=1, path=path,
            platforms=(platform,),
        )  # fmt: skip
        with Inspection(Inspector(load(), tmp_path), tmp_path / "findings", Cache(tmp_path / "cache")) as running:
            running.add(image)
            with pytest.raises(Several) as caught:
                running.result()
        assert len(caught.value.errors) == 2
        assert all(name in str(caught.value) for name in named)


def test_devices_and_fifos_are_not_listed_and_hard_links_to_them_neither(tmp_path: Path) -> None:
    special = header("console", kind=b"3") + header("sda", kind=b"4") + header("initctl", kind=b"6")
    links = header("tty", kind=b"1", target="console") + header("soft", kind=b"2", target="README")
    more = header("hard", kind=b"1", target="soft") + member("README", b"1")
    found = inspected(tmp_path, special + links + more + END)
    assert [(finding.path, finding.type, finding.target) for finding in found] == [
        ("/soft", "symlink", "README"),
        ("/hard", "symlink", "README"),
        ("/README", "file", None),
    ]


# Each is less than a hundredth of what one archive may have, and what one target of `inspect` may take.
@pytest.mark.parametrize(
    ("allowance", "why"),
    [
        (Allowance(expanded=1 << 20, expanded_per_byte=0), "expands to more bytes than a file of its size may"),
        (Allowance(members=10), "has more than 10 members"),
        (Allowance(seconds=-1, bytes_per_second=1 << 40), "takes more than -1 seconds"),
    ],
)
def test_an_artifact_may_not_take_more_than_a_target_of_inspect(allowance: Allowance, why: str, tmp_path: Path) -> None:
    data = b"".join(member(f"{number}", bytes(1 << 17)) for number in range(20))
    with pytest.raises(OverBudget, match=why) as raised:
        inspected(tmp_path, gzip.compress(data + END), allowance)
    assert "--max" not in raised.value.advice


def test_the_layers_of_an_image_share_its_budget(tmp_path: Path) -> None:
    tars = [member(f"{number}", bytes(1 << 20)) + END for number in range(3)]
    diff_ids = tuple(f"sha256:{hashlib.sha256(data).hexdigest()}" for data in tars)
    blobs = []
    for number, data in enumerate(tars):
        path = tmp_path / f"layer{number}"
        path.write_bytes(gzip.compress(data))
        blobs.append(Blob(f"sha256:{number}", path.stat().st_size, "", path))
    platform = ImagePlatform("x86_64", blobs[0], config(tmp_path), tuple(blobs), diff_ids)
    image = Artifact(
        source="some", kind="image", name="some", address="some", sha256="0" * 64, size=1, path=blobs[0].path,
        platforms=(platform,),
    )  # fmt: skip
    for expanded, enough in ((4 << 20, True), (5 << 19, False)):
        with Inspection(
            Inspector(load(), tmp_path),
            tmp_path / str(expanded),
            Cache(tmp_path / "cache"),
            allowance=Allowance(expanded, expanded_per_byte=0),
        ) as inspection:
            inspection.add(image)
            with nullcontext() if enough else pytest.raises(OverBudget):
                inspection.result()


@pytest.mark.parametrize(
    ("runtime", "verdict"),
    [({}, Verdict.PROVEN), ({"Env": ["GODEBUG=fips140=off"]}, Verdict.OTHER_MODULE)],
)
def test_an_image_that_switches_fips_mode_off_has_no_proven_native_program_in_a_release(
    tmp_path: Path, runtime: dict[str, list[str]], verdict: Verdict
) -> None:
    native = toolchains.build_native()
    layer = member("native", native.read_bytes()) + END
    diff_id = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    (tmp_path / "layer").write_bytes(layer)
    (tmp_path / "config").write_text(json.dumps({"config": runtime}))
    blobs = [Blob(diff_id, (tmp_path / name).stat().st_size, "", tmp_path / name) for name in ("layer", "config")]
    platform = ImagePlatform("x86_64", blobs[1], blobs[1], (blobs[0],), (diff_id,))
    image = Artifact(
        source="some", kind="image", name="some", address="some", sha256="0" * 64, size=1, path=tmp_path / "config",
        platforms=(platform,),
    )  # fmt: skip
    (tmp_path / "spool").mkdir()
    with Inspection(Inspector(load(), tmp_path / "spool"), tmp_path / "findings", Cache(tmp_path / "cache")) as running:
        running.add(image)
        (found,) = running.result()
    assert [(item.path, item.crypto and item.crypto.verdict) for item in found.findings] == [("/native", verdict)]


def test_cached_changes_are_read_as_they_were(tmp_path: Path) -> None:
    inspector = Inspector(load(), tmp_path)
    paths = [programs.boring(), programs.plain(), programs.c_program(), Path(__file__)]
    findings = [inspector.inspect_path(path) for path in paths]
    link = Finding("/usr/lib/caf\udce9", "symlink", 0o777, None, None, "program", "../\udcff")
    changes: list[artifacts._Change] = [
        Entry(Member(finding.path, "file", 0o755, 1), artifacts._Contents(finding, ())) for finding in [*findings, link]
    ]
    packed = PackedFile("/opt/a.zip", ": /inner.zip", "/bin/x", findings[0], None)
    outer = Member("/opt/a.zip", "file", 0o644, 3, None, "config")
    changes += [
        Entry(outer, artifacts._Contents(None, (packed,))),
        Entry(Member("/opt", "directory", 0o755, 0), None),
        Whiteout("/etc/x", opaque=True),
    ]
    path = tmp_path / "changes.json"
    path.write_bytes(artifacts._dump_changes(changes))
    assert artifacts._load_changes(path) == changes
    path.write_bytes(path.read_bytes().replace(b'"proven"', b'"approved"'))
    assert artifacts._load_changes(path) is None
