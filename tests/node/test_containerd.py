"""The node tool with a real containerd: images pulled and unpacked, containers that run, and what is done to them.

containerd does not notice (`ctr images check` confirms that in each test); the tool must.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from fipsmanifest.node.checks import container_pods, images, processes
from fipsmanifest.node.checks.images import containers
from fipsmanifest.node.result import Listed, Node, Result
from tests.support import roots, runtime
from tests.support.forge import GOOD_MANIFEST, Forge
from tests.support.runtime import PROGRAM, REFERENCE, Archive, Containerd

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containers are mounted and started by root alone")


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Archive]:
    """The release's image, and one of an older release."""
    directory = tmp_path_factory.mktemp("archives")
    return {version: runtime.archive(directory, version) for version in ("v3.4.13", "v3.4.3")}


@pytest.fixture
def listed_image(archives: dict[str, Archive]) -> Archive:
    return archives["v3.4.13"]


@pytest.fixture
def older(archives: dict[str, Archive]) -> Archive:
    return archives["v3.4.3"]


@pytest.fixture
def empty(monkeypatch: pytest.MonkeyPatch) -> Iterator[Containerd]:
    """A containerd without images, whose containers are the only ones that checks of this process see."""
    with runtime.running() as started:
        runtime.hide_other_mounts(started.root, monkeypatch)
        yield started


@pytest.fixture
def containerd(empty: Containerd, listed_image: Archive) -> Containerd:
    """A containerd that has pulled the release's image."""
    empty.load(listed_image)
    return empty


@pytest.fixture
def manifest(listed_image: Archive) -> Listed:
    node = {"roles": {"control-plane": ["etcd"]}}
    return Listed("m.asc", {"files": [], "images": [listed_image.listed()], "node": node})


class Look(Protocol):
    """Checks images, and what the processes named run; results by what they are of."""

    def __call__(self, *pids: int) -> dict[str, Result]: ...


@pytest.fixture
def look(empty: Containerd, manifest: Listed) -> Look:
    def looked(*pids: int) -> dict[str, Result]:
        node = Node(str(empty.root), True, "control-plane")
        # Other tests' programs have the same name.
        running = [
            one for one in processes.check(node, [manifest]) if one.evidence.get("pids") in [[pid] for pid in pids]
        ]
        found = images.check(node, [manifest]) + running
        return {one.subject.replace(REFERENCE, "etcd"): one for one in found}

    return looked


def statuses(found: dict[str, Result]) -> dict[str, tuple[str, Any]]:
    return {subject: (one.status, one.evidence.get("code")) for subject, one in found.items()}


def replace(place: Path) -> None:
    """Put another program into the place of one."""
    new = place.with_name("new")
    shutil.copyfile("/usr/bin/true", new)
    new.chmod(0o755)
    new.rename(place)


def complete(containerd: Containerd) -> bool:
    """Return whether containerd itself reports the image as complete."""
    row = next(line for line in containerd.ctr("images", "check").splitlines() if line.startswith(REFERENCE))
    return "complete" in row and row.split()[-1] == "true"


class TestPulled:
    """An image in the store, unpacked, with nothing running."""

    def test_a_pulled_image_passes_as_the_one_that_ctr_names(self, look: Look, containerd: Containerd) -> None:
        assert complete(containerd)

        found = look()

        assert statuses(found) == {"etcd": ("pass", None), "etcd (unpacked)": ("pass", None)}
        assert found["etcd"].evidence["identified_by"] == ["index"]
        assert found["etcd"].evidence["blobs"] == {"index": 1, "manifest": 1, "config": 1, "layer": 2}

    @pytest.mark.parametrize("which", ["index", "manifest", "config", "layer"])
    def test_a_changed_blob_fails_where_containerd_says_complete(
        self, which: str, look: Look, containerd: Containerd, manifest: Listed
    ) -> None:
        image = manifest.manifest["images"][0]
        platform = image["platforms"][0]
        digest = {"index": image["index"], "layer": platform["layers"][1]}.get(which) or platform[which]
        place = containerd.root / runtime.STORE / digest.removeprefix("sha256:")
        content = place.read_bytes()
        place.chmod(0o644)
        place.write_bytes(content[:-1] + b"X" if which == "layer" else content.replace(b" ", b"\t", 1))

        assert complete(containerd)
        found = look()["etcd"]
        assert (found.status, found.evidence["kind"], found.actual) == ("fail", which, f"sha256:{roots.sha256(place)}")

    def test_a_changed_snapshot_file_fails_where_containerd_says_complete(
        self, look: Look, containerd: Containerd
    ) -> None:
        [place] = containerd.snapshots()
        with place.open("r+b") as file:
            file.seek(-100, os.SEEK_END)
            file.write(b"\0tampered")

        assert complete(containerd)
        found = look()
        assert statuses(found) == {"etcd": ("pass", None), "etcd (unpacked)": ("fail", "snapshot-file")}
        assert found["etcd (unpacked)"].actual == f"sha256:{roots.sha256(place)}"

    def test_an_unlisted_image_that_lies_there_is_no_finding(
        self, look: Look, containerd: Containerd, older: Archive
    ) -> None:
        containerd.load(older)

        assert statuses(look()) == {"etcd": ("pass", None), "etcd (unpacked)": ("pass", None)}


class TestUnpackedOtherwise:
    """What the tool cannot read."""

    def test_another_snapshotters_files_are_not_taken_for_looked_at(
        self, look: Look, empty: Containerd, listed_image: Archive
    ) -> None:
        empty.ctr("images", "import", "--snapshotter", "native", listed_image.path)

        found = look()

        assert statuses(found) == {"snapshots": ("unknown", "snapshotter"), "etcd": ("pass", None)}
        assert found["snapshots"].evidence["snapshotters"] == ["native"]


class TestPullThatEnded:
    """A pull that was killed halfway, by a registry that stalls."""

    @pytest.mark.parametrize("which", ["layer", "config"])
    def test_a_half_pulled_image_is_unknown(
        self, which: str, look: Look, empty: Containerd, listed_image: Archive
    ) -> None:
        empty.pull_half(listed_image, listed_image.layers[1] if which == "layer" else listed_image.config)

        found = look()

        assert statuses(found) == {"etcd": ("unknown", "half-pulled")}
        lacking = "1 of 2 layers are missing" if which == "layer" else "the configuration is missing"
        assert found["etcd"].actual == lacking
        assert any((empty.root / runtime.STORE).parent.parent.joinpath("ingest").iterdir())


class TestRunning:
    """A container that runs."""

    def test_a_container_of_the_listed_image_passes_with_its_pod(self, look: Look, containerd: Containerd) -> None:
        pid = containerd.start()

        found = look(pid)

        assert {one.status for one in found.values()} == {"pass"}
        told = found[f"{containerd.container} (container)"]
        assert told.evidence["program"] == "/usr/bin/ctr"
        process = found[f"{PROGRAM} (pid {pid})"]
        assert (process.evidence["container"], process.evidence["pod"]) == (containerd.container, containerd.pod)

    def test_a_program_replaced_in_the_unpacked_layer_still_runs_as_it_was(
        self, look: Look, containerd: Containerd
    ) -> None:
        # The link in /proc does not say "(deleted)", and the hash of what runs is still the original's.
        pid = containerd.start()
        replace(containerd.snapshots()[0])

        found = look(pid)

        assert found[f"{PROGRAM} (pid {pid})"].status == "pass"
        assert found["etcd (unpacked)"].evidence["code"] == "snapshot-file"
        assert "running-snapshot" in {one.evidence.get("code") for one in found.values()}

    def test_a_program_replaced_inside_the_container_wants_a_restart(self, look: Look, containerd: Containerd) -> None:
        pid = containerd.start()
        replace(Path(f"/proc/{pid}/root{PROGRAM}"))

        found = look(pid)

        assert found["etcd (unpacked)"].status == "pass"
        assert found[f"{PROGRAM} (pid {pid})"].evidence["code"] == "deleted"
        assert "restart" in found[f"{PROGRAM} (pid {pid})"].advice.lower()
        assert "running-snapshot" in {one.evidence.get("code") for one in found.values()}

    def test_an_unlisted_image_fails_once_a_container_runs_from_it(
        self, look: Look, containerd: Containerd, older: Archive
    ) -> None:
        containerd.load(older)
        pid = containerd.start(older.image.reference)

        found = look(pid)

        assert (found["etcd"].status, found["etcd (unpacked)"].status) == ("pass", "pass")
        told = found[f"{containerd.container} (container)"]
        assert (told.status, told.evidence["code"]) == ("fail", "unlisted-image")
        assert told.actual == json.loads(containerd.ctr("snapshots", "info", containerd.container))["Parent"]
        assert found[f"{PROGRAM} (pid {pid})"].evidence["code"] == "digest"
        assert "running-snapshot" in {one.evidence.get("code") for one in found.values()}
        # The image that the pod is to run from is named in any case.
        assert {REFERENCE in one.advice for one in found.values() if one.status == "fail"} == {True}

    def test_an_image_by_a_listed_name_is_not_the_listed_one_whatever_has_the_name_by_now(
        self, look: Look, empty: Containerd, listed_image: Archive, manifest: Listed, tmp_path: Path
    ) -> None:
        # Its program has another name and path, so that neither files nor processes give it away.
        config = listed_image.layout / "blobs/sha256" / listed_image.config.removeprefix("sha256:")
        rootfs = json.loads(config.read_text())["rootfs"]
        manifest.manifest["images"][0]["platforms"][0]["diff_ids"] = rootfs["diff_ids"]
        impostor = runtime.archive(tmp_path, "v3.4.3", REFERENCE, "/opt/data-server")
        empty.load(impostor)
        empty.start()
        subject = f"{empty.container} (container)"
        empty.load(listed_image)
        assert (look()["etcd"].status, look()[subject].evidence["code"]) == ("pass", "unlisted-image")

        empty.ctr("images", "rm", REFERENCE)

        found = look()[subject]
        assert (found.status, found.evidence["image"]) == ("fail", REFERENCE)

    def test_a_container_whose_layers_no_database_tells_is_unknown(
        self, look: Look, containerd: Containerd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        containerd.start()
        monkeypatch.setattr(container_pods, "METADATA", "/nowhere")

        found = look()[f"{containerd.container} (container)"]

        assert (found.status, found.evidence["code"]) == ("unknown", "image-not-told")

    def test_a_container_that_runs_from_another_directory_of_the_node_is_not_taken_for_looked_at(
        self, look: Look, containerd: Containerd
    ) -> None:
        # What a containerd does that keeps its images elsewhere; the usual place holds what it left there.
        containerd.start()
        directory = containerd.root / "data/io.containerd.snapshotter.v1.overlayfs/snapshots"
        mounted = containerd.root / "mounted"
        for place in (directory / "1/fs", directory / "2/fs", mounted):
            place.mkdir(parents=True)
        lower = f"lowerdir={directory}/2/fs:{directory}/1/fs"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", lower, mounted], check=True)
        try:
            found = look()
        finally:
            subprocess.run(["umount", mounted], check=True)

        assert {subject: one.evidence["folders"] for subject, one in found.items() if one.status != "pass"} == {
            "mounts": [str(directory)]
        }

    @pytest.mark.parametrize(
        ("how", "told"), [("dead", "failed with exit code 1"), ("hung", "did not end in 1 seconds")]
    )
    def test_a_containerd_that_does_not_answer_leaves_what_can_be_seen_without_it(
        self, how: str, told: str, look: Look, containerd: Containerd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pid = containerd.start()
        if how == "dead":
            containerd.kill()
        else:
            monkeypatch.setattr(containers, "_SECONDS", 1.0)
            containerd.process.send_signal(signal.SIGSTOP)

        found = look(pid)

        assert statuses(found) == {
            "etcd": ("pass", None),
            "etcd (unpacked)": ("pass", None),
            "containers": ("unknown", None),
            f"{PROGRAM} (pid {pid})": ("pass", None),
        }
        assert found["containers"].actual == told


class TestTheTool:
    """The single file, as an operator runs it."""

    @pytest.fixture
    def signed(self, forge: Forge, manifest: Listed, tmp_path: Path) -> Path:
        path = tmp_path / "m.asc"
        path.write_bytes(forge.clearsign(roots.payload_of(GOOD_MANIFEST | manifest.manifest)))
        return path

    def run(self, tool: Path, root: Path, signed: Path, **options: Any) -> tuple[int, dict[str, Any]]:
        command: list[str | Path] = [
            "sh",
            tool,
            "--json",
            "--root",
            root,
            "--live",
            "--role",
            "control-plane",
            "--only",
            "images",
        ]
        done = subprocess.run([*command, signed], capture_output=True, text=True, timeout=60, check=False, **options)
        assert "Traceback" not in done.stderr and done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def test_a_running_container_is_valid_until_its_image_is_touched(
        self, tool: Path, signed: Path, containerd: Containerd
    ) -> None:
        containerd.start()
        code, report = self.run(tool, containerd.root, signed)
        assert (code, report["verdict"]) == (0, "valid"), report
        assert {one["subject"] for one in report["checks"]} >= {REFERENCE, f"{containerd.container} (container)"}

        replace(containerd.snapshots()[0])
        code, report = self.run(tool, containerd.root, signed)

        assert (code, report["verdict"]) == (1, "invalid")

    @pytest.mark.parametrize(
        ("mode", "opened", "hidden"),
        [
            (0o700, [], "content-store"),
            (0o711, [], "snapshots"),
            (0o711, [".", "metadata.db"], "snapshots"),
            (0o711, [".", "metadata.db", "snapshots"], "snapshots"),
        ],
    )
    def test_who_may_not_see_the_snapshots_gets_no_pass(
        self, mode: int, opened: list[str], hidden: str, tool: Path, signed: Path, containerd: Containerd
    ) -> None:
        # What containerd lets others into differs with its version; below, the store is open and the snapshots are not.
        (containerd.root / "var/lib/containerd").chmod(mode)
        for name in opened:
            (containerd.root / runtime.SNAPSHOTS / ".." / name).chmod(0o755)
        containerd.root.chmod(0o711)
        # pytest's own directories are for one user alone, and made so again by each run that starts.
        for place in (tool, signed):
            shutil.copyfile(place, containerd.root / place.name)

        code, report = self.run(
            *(containerd.root / name for name in (tool.name, ".", signed.name)),
            user=65534,
            group=65534,
            extra_groups=[],
        )

        assert (code, report["verdict"]) == (4, "incomplete")
        unknown = {one["subject"]: one for one in report["checks"] if one["status"] == "unknown"}
        assert unknown[hidden]["evidence"] == {"code": "EACCES"}
        assert unknown[hidden]["advice"] == "Run it as root."
