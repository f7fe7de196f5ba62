"""The results of checks on good, unusual and hostile nodes: never a traceback, a hang or a wrong pass."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.node import tree as tree_module
from fipsmanifest.node.checks import files, fips_mode, images, platform, processes
from fipsmanifest.node.containerd import bolt
from fipsmanifest.node.result import Listed, Node, Result, verdict
from tests.support import roots


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "root"
    directory.mkdir()
    return directory


@pytest.fixture
def manifest(root: Path) -> dict[str, Any]:
    return roots.make(root)


def at_rest(root: Path, role: str = "worker") -> Node:
    return Node(str(root), False, role)


def check_files(root: Path, manifest: dict[str, Any], role: str = "worker") -> dict[str, Result]:
    return {result.subject: result for result in files.check(at_rest(root, role), [Listed("m", manifest)])}


def kubelet(root: Path, manifest: dict[str, Any]) -> tuple[str, Any]:
    result = check_files(root, manifest)["/bin/kubelet"]
    return result.status, result.evidence.get("code")


class TestFiles:
    """Program files under a root."""

    def test_all_programs_fit_and_links_resolve_inside_the_root(self, root: Path, manifest: dict[str, Any]) -> None:
        assert {result.status for result in check_files(root, manifest).values()} == {"pass"}

    def test_an_absolute_link_does_not_leave_the_root(self, root: Path, manifest: dict[str, Any]) -> None:
        # The host has a /usr/bin/true that would fit; inside the root there is none.
        (root / "usr/bin/kubelet").unlink()
        (root / "usr/bin/kubelet").symlink_to("/usr/bin/true")

        assert kubelet(root, manifest) == ("fail", "ENOENT")

    def test_dots_do_not_climb_out_of_the_root(self, root: Path, manifest: dict[str, Any]) -> None:
        (root / "usr/bin/kubelet").unlink()
        (root / "usr/bin/kubelet").symlink_to("../" * 30 + "usr/bin/true")

        assert kubelet(root, manifest) == ("fail", "ENOENT")

    def test_one_manifest_with_two_contents_for_a_path_vouches_for_neither(
        self, root: Path, manifest: dict[str, Any]
    ) -> None:
        manifest["files"].append(manifest["files"][0] | {"sha256": "0" * 64})

        assert kubelet(root, manifest) == ("unknown", "listed-twice")

    def test_of_two_manifests_each_may_have_its_own_content_for_a_path(
        self, root: Path, manifest: dict[str, Any]
    ) -> None:
        other = manifest | {"files": [manifest["files"][0] | {"sha256": "0" * 64}, *manifest["files"][1:]]}

        found = files.check(at_rest(root), [Listed("new", other), Listed("old", manifest)])

        assert {one.status for one in found} == {"pass"}

    def test_a_missing_file_fails(self, root: Path, manifest: dict[str, Any]) -> None:
        (root / "usr/bin/kubelet").unlink()

        assert kubelet(root, manifest) == ("fail", "ENOENT")

    def test_a_directory_a_fifo_and_a_link_loop_fail_without_a_hang(self, root: Path, manifest: dict[str, Any]) -> None:
        place = root / "usr/bin/kubelet"
        roots.make_fifo(root, "/usr/bin/kubelet")
        assert kubelet(root, manifest) == ("fail", "not-a-file")
        place.unlink()
        place.mkdir()
        assert kubelet(root, manifest) == ("fail", "not-a-file")
        place.rmdir()
        place.symlink_to("kubelet")
        assert kubelet(root, manifest) == ("fail", "ELOOP")

    def test_a_device_fails_and_is_not_opened(self, manifest: dict[str, Any]) -> None:
        # A device that never ends, had it been read.
        manifest["files"] = [manifest["files"][0] | {"path": "/dev/zero"}]

        result = check_files(Path("/"), manifest)["/dev/zero"]

        assert (result.status, result.actual) == ("fail", "character-device")

    def test_a_wider_mode_fails_and_a_stricter_one_passes(self, root: Path, manifest: dict[str, Any]) -> None:
        (root / "usr/bin/kubelet").chmod(0o775)
        assert kubelet(root, manifest) == ("fail", "mode-wider")
        (root / "usr/bin/kubelet").chmod(0o4755)
        assert kubelet(root, manifest) == ("fail", "mode-wider")
        (root / "usr/bin/kubelet").chmod(0o700)
        assert kubelet(root, manifest) == ("pass", "mode-stricter")

    @pytest.mark.skipif(os.geteuid() != 0, reason="root alone gives files away")
    @pytest.mark.parametrize(
        ("what", "mode", "owner", "told"),
        [
            ("usr/bin/kubelet", 0o755, (65534, 0), "user 65534 may change /usr/bin/kubelet"),
            ("usr/bin", 0o777, (0, 0), "everybody may change /usr/bin"),
            ("usr", 0o755, (65534, 0), "user 65534 may change /usr"),
            ("usr", 0o775, (0, 65534), "group 65534 may change /usr"),
            (".", 0o777, (0, 0), "everybody may change /"),
            ("bin", None, (65534, 0), "user 65534 may change /bin"),
            ("usr/bin", 0o775, (0, 0), None),
            ("usr/bin", 0o755, (0, 65534), None),
            ("usr/bin", 0o1777, (0, 0), None),
            ("etc/kubernetes", 0o777, (65534, 0), None),
        ],
    )
    @pytest.mark.parametrize("live", [True, False])
    def test_a_program_that_others_than_root_may_replace_fails(
        self,
        live: bool,
        what: str,
        mode: int | None,
        owner: tuple[int, int],
        told: str | None,
        root: Path,
        manifest: dict[str, Any],
    ) -> None:
        os.chown(root / what, *owner, follow_symlinks=False)
        if mode is not None:
            (root / what).chmod(mode)

        found = {one.subject: one for one in files.check(Node(str(root), live, "worker"), [Listed("m", manifest)])}

        result = found["/bin/kubelet"]
        if told is None:
            assert {one.status for one in found.values()} == {"pass"}
        else:
            assert (result.status, result.evidence["code"], result.actual) == ("fail", "replaceable", told)

    @pytest.mark.parametrize("what", ["usr/bin", "usr/bin/kubelet"])
    @pytest.mark.parametrize(
        ("tag", "number", "permissions", "told"),
        [
            (2, 1234, 7, "user 1234 (by an access control list) may change {}"),
            (8, 1234, 6, "group 1234 (by an access control list) may change {}"),
            (2, 1234, 5, None),
            (2, 0, 7, None),
        ],
    )
    def test_a_program_that_an_access_control_list_lets_others_replace_fails(
        self, tag: int, number: int, permissions: int, told: str | None, what: str, root: Path, manifest: dict[str, Any]
    ) -> None:
        # linux/posix_acl_xattr.h: version 2, then tag, permissions and number of owner, named one, group, mask, others.
        named = [(2, permissions, number)] if tag == 2 else []
        groups = [(8, permissions, number)] if tag == 8 else []
        none = 0xFFFFFFFF
        entries = [(1, 7, none), *named, (4, 5, none), *groups, (16, 7, none), (32, 5, none)]
        data = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *one) for one in entries)
        os.setxattr(root / what, "system.posix_acl_access", data)
        manifest["files"][0]["mode"] = "0775"

        found = {one.subject: one for one in files.check(at_rest(root), [Listed("m", manifest)])}

        assert (root / what).stat().st_mode & 0o777 == 0o775
        result = found["/bin/kubelet"]
        if told is None:
            assert result.status == "pass"
        else:
            expected = ("fail", "replaceable", told.format("/" + what))
            assert (result.status, result.evidence["code"], result.actual) == expected
            assert result.advice.endswith(f"; setfacl -b /{what}")

    @pytest.mark.skipif(os.geteuid() != 0, reason="root alone gives files away")
    @pytest.mark.parametrize(
        ("accounts", "mode", "expected"),
        [
            ("root:x:0:0::/root:/bin/sh\n", 0o755, ("pass", "owner-unknown")),
            ("root:x:0:0::/root:/bin/sh\n", 0o777, ("fail", "replaceable")),
            ("root:x:0:0::/root:/bin/sh\nci:x:1001:1001::/:/bin/sh\n", 0o755, ("fail", "replaceable")),
            ("root:x:0:0::/root:/bin/sh\n1001", 0o755, ("pass", "owner-unknown")),
            ("ci:x:1:1::/:/bin/sh\n", 0o755, ("fail", "replaceable")),
            ("", 0o755, ("fail", "replaceable")),
            (None, 0o755, ("fail", "replaceable")),
        ],
    )
    def test_an_owner_that_the_node_does_not_know_is_a_note(
        self, accounts: str | None, mode: int, expected: tuple[str, str], root: Path, manifest: dict[str, Any]
    ) -> None:
        # As a tarball made by a CI leaves its directory behind.
        os.chown(root / "usr/bin", 1001, 123)
        (root / "usr/bin").chmod(mode)
        (root / "etc/passwd").unlink(missing_ok=True)
        if accounts is not None:
            (root / "etc/passwd").write_text(accounts)

        assert kubelet(root, manifest) == expected

    @pytest.mark.skipif(os.geteuid() != 0, reason="root alone gives files away")
    def test_the_owner_of_a_tree_at_rest_stands_for_root(self, root: Path, manifest: dict[str, Any]) -> None:
        subprocess.run(["chown", "-hR", "1000:1000", root], check=True)
        subprocess.run(["chmod", "-R", "g+w", root / "usr/bin", root / "usr/local"], check=True)
        for file in manifest["files"]:
            file["mode"] = "0777"
        listed = [Listed("m", manifest)]
        assert {result.status for result in files.check(at_rest(root), listed)} == {"pass"}

        assert {result.status for result in files.check(Node(str(root), True, "worker"), listed)} == {"fail"}

    def test_a_link_to_elsewhere_fails_though_the_bytes_are_right(self, root: Path, manifest: dict[str, Any]) -> None:
        shutil.copy(root / "usr/local/bin/containerd", root / "usr/local/bin/other")
        (root / "usr/bin/containerd").unlink()
        (root / "usr/bin/containerd").symlink_to("/usr/local/bin/other")

        result = check_files(root, manifest)["/usr/bin/containerd"]

        assert (result.status, result.evidence["code"]) == ("fail", "link-target")

    @pytest.mark.parametrize("target", ["../local/bin/containerd", "/usr/local/bin/containerd"])
    def test_a_link_in_a_directory_that_is_elsewhere_ends_where_it_should_or_fails(
        self, target: str, root: Path, manifest: dict[str, Any]
    ) -> None:
        # The words are the listed ones; from /evil/bin the relative ones lead to another program.
        manifest["files"][3]["target"] = target
        (root / "usr/bin/containerd").unlink()
        (root / "usr/bin/containerd").symlink_to(target)
        assert {result.status for result in check_files(root, manifest).values()} == {"pass"}
        (root / "evil/local/bin").mkdir(parents=True)
        shutil.copy("/usr/bin/yes", root / "evil/local/bin/containerd")
        (root / "usr/bin").rename(root / "evil/bin")
        (root / "usr/bin").symlink_to("/evil/bin")

        result = check_files(root, manifest)["/usr/bin/containerd"]

        if target.startswith("/"):
            assert result.status == "pass"
        else:
            assert (result.status, result.evidence["code"]) == ("fail", "link-end")
            assert str(result.actual).endswith("which ends at /evil/local/bin/containerd")

    def test_a_link_that_leads_nowhere_is_right_where_the_release_has_it_so(
        self, root: Path, manifest: dict[str, Any]
    ) -> None:
        manifest["files"].append(manifest["files"][3] | {"path": "/usr/bin/other", "target": "../lib/other"})
        (root / "usr/bin/other").symlink_to("../lib/other")

        assert check_files(root, manifest)["/usr/bin/other"].status == "pass"

    def test_a_file_in_a_links_place_fails(self, root: Path, manifest: dict[str, Any]) -> None:
        (root / "usr/bin/containerd").unlink()
        shutil.copy(root / "usr/local/bin/containerd", root / "usr/bin/containerd")

        assert check_files(root, manifest)["/usr/bin/containerd"].status == "fail"

    def test_changed_configuration_is_told_and_judged_by_nobody(self, root: Path, manifest: dict[str, Any]) -> None:
        (root / "etc/kubernetes/kubelet.conf").write_text("changed\n")

        assert check_files(root, manifest)["/etc/kubernetes/kubelet.conf"].status == "not-applicable"

    def test_programs_of_another_role_are_not_wanted(self, root: Path, manifest: dict[str, Any]) -> None:
        etcd = manifest["files"][0] | {"path": "/usr/bin/etcd", "component": "etcd"}
        manifest["files"].append(etcd)

        assert "/usr/bin/etcd" not in check_files(root, manifest)
        assert check_files(root, manifest, "control-plane")["/usr/bin/etcd"].status == "fail"

    def test_programs_of_a_component_without_a_role_are_wanted(self, root: Path, manifest: dict[str, Any]) -> None:
        manifest["files"].append(manifest["files"][0] | {"path": "/opt/cni/bin/bridge", "component": "kubernetes-cni"})

        assert check_files(root, manifest)["/opt/cni/bin/bridge"].status == "fail"

    def test_programs_of_another_machine_are_not_wanted(self, root: Path, manifest: dict[str, Any]) -> None:
        manifest["files"].append(manifest["files"][0] | {"path": "/usr/bin/only-arm", "architecture": "aarch64"})

        assert "/usr/bin/only-arm" not in check_files(root, manifest)

    def test_one_program_of_another_machine_does_not_make_the_node_one(
        self, root: Path, manifest: dict[str, Any]
    ) -> None:
        # The first of the listed ones, in a release that has it for both machines: the others are x86_64 all the same.
        other = [dict(file, architecture="aarch64") for file in manifest["files"]]
        place = root / "usr/bin/kubelet"
        content = bytearray(place.read_bytes())
        content[18:20] = b"\xb7\0"  # EM_AARCH64, System V ABI
        place.write_bytes(content)
        other[0]["sha256"] = roots.sha256(place)

        found = check_files(root, manifest | {"files": manifest["files"] + other})

        assert {path for path, one in found.items() if one.status == "fail"} == {"/bin/kubelet"}

    def test_a_manifest_without_programs_is_unknown(self, root: Path, manifest: dict[str, Any]) -> None:
        assert check_files(root, manifest | {"files": []})["programs"].status == "unknown"

    @pytest.mark.parametrize(
        "path", ["", "/", "/usr/bin", "relative", "/usr/bin/\0", "/" + "x" * 5000, "/usr/bin/kubelet/x"]
    )
    def test_an_odd_path_in_the_manifest_ends_in_a_result(
        self, path: str, root: Path, manifest: dict[str, Any]
    ) -> None:
        manifest["files"][0]["path"] = path

        assert check_files(root, manifest)[path].status in ("fail", "unknown")

    def test_nothing_in_an_entry_is_relied_on(self, root: Path, manifest: dict[str, Any]) -> None:
        manifest["files"][0] = {"path": "/bin/kubelet", "role": "program", "mode": "rwx"}

        assert check_files(root, manifest)["/bin/kubelet"].status == "fail"

    def test_a_file_that_changes_under_the_reader_is_unknown(
        self, root: Path, manifest: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def growing(descriptor: int, buffers: list[memoryview]) -> int:
            with (root / "usr/bin/kubelet").open("ab") as file:
                file.write(b"more")
            return 0

        monkeypatch.setattr(os, "readv", growing)

        assert kubelet(root, manifest) == ("unknown", "changed-while-read")

    def test_a_huge_sparse_file_is_told_by_its_size_and_not_read(self, root: Path, manifest: dict[str, Any]) -> None:
        os.truncate(root / "usr/bin/kubelet", 1 << 40)

        assert check_files(root, manifest)["/bin/kubelet"].actual == "1099511627776 bytes"


class TestOpening:
    """What is opened."""

    @pytest.mark.parametrize(
        "read",
        [
            lambda place: tree_module.Digests().of(bytes(place), 100),
            lambda place: tree_module.read_small("/", str(place)),
            lambda place: bolt.read(bytes(place), ()),
        ],
        ids=["to hash", "as text", "as a database"],
    )
    def test_what_is_no_file_is_not_opened(self, read: Callable[[Path], object], tmp_path: Path) -> None:
        # A writer to a FIFO sleeps until a reader opens it.
        os.mkfifo(tmp_path / "fifo")
        with subprocess.Popen(["sh", "-c", 'echo >"$0"', tmp_path / "fifo"]) as writer:
            try:
                for _ in range(30):
                    with pytest.raises((tree_module.NotRegular, bolt.Malformed)):
                        read(tmp_path / "fifo")
                    time.sleep(0.01)
                assert writer.poll() is None
            finally:
                writer.kill()


class TestPlatform:
    """os-release and the machine."""

    @pytest.mark.parametrize(
        ("text", "status"),
        [
            ('ID="rhel"\nVERSION_ID="8.4"\n', "pass"),
            ("ID=rocky\nVERSION_ID='8.9'\n", "pass"),
            ('ID="rhel"\nVERSION_ID="8.40"\n', "fail"),
            ('ID="rhel"\nVERSION_ID="9.2"\n', "fail"),
            ('ID="ubuntu"\nVERSION_ID="8.4"\n', "fail"),
            ("garbage\n", "fail"),
        ],
    )
    def test_the_operating_system_is_compared(
        self, text: str, status: str, root: Path, manifest: dict[str, Any]
    ) -> None:
        roots.write(root, "/etc/os-release", text)

        assert platform.check(at_rest(root), [Listed("m", manifest)])[0].status == status

    def test_of_several_manifests_the_one_for_this_machine_is_named(self, root: Path, manifest: dict[str, Any]) -> None:
        other = manifest | {"files": [dict(file, architecture="aarch64") for file in manifest["files"]]}

        found = platform.check(at_rest(root), [Listed("arm", other), Listed("mine", manifest)])[1]

        assert (found.subject, found.status, found.evidence["manifest"]) == ("architecture", "pass", "mine")

    # The os-release of these systems' packages: name, version and ID_LIKE.
    @pytest.mark.parametrize(
        ("name", "version", "like", "el"),
        [
            ("rhel", "7.9", "fedora", 7),
            ("centos", "7", "rhel fedora", 7),
            ("ol", "7.9", "", 7),
            ("rhel", "8.10", "fedora", 8),
            ("centos", "8", "rhel fedora", 8),
            ("rocky", "8.10", "rhel centos fedora", 8),
            ("almalinux", "9.4", "rhel centos fedora", 9),
            ("ol", "9.4", "fedora", 9),
            ("rocky", "10.0", "rhel centos fedora", 10),
            ("rhel", "10.0", "fedora", 10),
            ("scientific", "7.9", "rhel centos fedora", 7),
        ],
    )
    @pytest.mark.parametrize("listed", [True, False])
    def test_each_enterprise_linux_is_known_by_its_own_name(
        self, name: str, version: str, like: str, el: int, listed: bool, root: Path, manifest: dict[str, Any]
    ) -> None:
        manifest["el"] = el
        manifest["node"]["operating_systems"] = [{"id": name, "versions": [f"{el}", f"{el}.*"]}] if listed else []

        def status() -> str:
            return platform.check(at_rest(root), [Listed("m", manifest)])[0].status

        text = f'NAME="x"\nVERSION="{version} (y)"\nID="{name}"\nID_LIKE="{like}"\nVERSION_ID="{version}"\n'
        roots.write(root, "/etc/os-release", text)
        assert status() == "pass"
        roots.write(root, "/etc/os-release", text.replace(f'VERSION_ID="{el}', f'VERSION_ID="{el + 1}'))
        assert status() == "fail"
        roots.write(root, "/etc/os-release", f'ID=debian\nVERSION_ID="{el}"\n')
        assert status() == "fail"

    @pytest.mark.parametrize("kind", ["fifo", "directory", "loop"])
    def test_an_os_release_that_cannot_be_read_is_unknown(
        self, kind: str, root: Path, manifest: dict[str, Any]
    ) -> None:
        # The file in the second place is not the one that the node uses.
        roots.write(root, "/usr/lib/os-release", 'ID="rhel"\nVERSION_ID="8.4"\n')
        place = root / "etc/os-release"
        place.unlink(missing_ok=True)
        if kind == "fifo":
            os.mkfifo(place)
        elif kind == "directory":
            place.mkdir()
        else:
            place.symlink_to("os-release")

        assert platform.check(at_rest(root), [Listed("m", manifest)])[0].status == "unknown"

    def test_the_machine_of_a_tree_is_its_programs(self, root: Path, manifest: dict[str, Any]) -> None:
        result = platform.check(at_rest(root), [Listed("m", manifest)])[1]

        assert (result.status, result.actual) == ("pass", os.uname().machine)

    @pytest.mark.parametrize("live", [True, False])
    def test_a_node_without_os_release_is_unknown(self, live: bool, root: Path, manifest: dict[str, Any]) -> None:
        shutil.rmtree(root / "etc")
        (root / "etc").write_text("")

        assert platform.check(Node(str(root), live, "worker"), [Listed("m", manifest)])[0].status == "unknown"

    def test_a_tree_without_a_program_of_any_machine_is_unknown(self, root: Path, manifest: dict[str, Any]) -> None:
        shutil.rmtree(root / "usr")

        assert platform.check(at_rest(root), [Listed("m", manifest)])[1].status == "unknown"

    def test_manifests_for_another_system_or_machine_are_left_out(self, root: Path, manifest: dict[str, Any]) -> None:
        own, older = Listed("own", manifest), Listed("older", manifest | {"el": 7})
        other = [dict(file, architecture="aarch64") for file in manifest["files"]]
        arm = Listed("arm", manifest | {"files": other})
        both = Listed("both", manifest | {"files": other + manifest["files"]})

        assert platform.fitting(at_rest(root), [older, own, arm, both]) == [own, both]
        # One that fits the system and another that fits the machine do not fit together.
        oldest = [Listed("older", older.manifest), arm]
        assert platform.fitting(at_rest(root), oldest) == [arm]
        assert [one.status for one in platform.check(at_rest(root), [arm])] == ["pass", "fail"]
        assert platform.fitting(at_rest(root), [older]) == [older]


class TestFipsMode:
    """The signals of FIPS mode."""

    @pytest.mark.parametrize(
        ("policy", "status"),
        [("FIPS\n", "pass"), ("FIPS:OSPP\n", "pass"), ("DEFAULT\n", "fail"), ("FIPSISH\n", "fail"), ("", "fail")],
    )
    def test_the_crypto_policy_counts_at_rest(
        self, policy: str, status: str, root: Path, manifest: dict[str, Any]
    ) -> None:
        roots.write(root, "/etc/crypto-policies/state/current", policy)

        results = {result.subject: result for result in fips_mode.check(at_rest(root), [Listed("m", manifest)])}

        assert results["crypto-policy"].status == status
        assert results["kernel"].status == "not-applicable"

    def test_the_kernels_word_counts_on_a_running_node(self, manifest: dict[str, Any]) -> None:
        result = fips_mode.check(Node("/", True, "worker"), [Listed("m", manifest)])[0]
        path = Path("/proc/sys/crypto/fips_enabled")
        # Where /proc/sys is there and has nothing of the kind, the kernel was built without FIPS mode.
        expected = "pass" if path.exists() and path.read_text().strip() == "1" else "fail"

        assert (result.subject, result.status) == ("kernel", expected)


class TestImages:
    """containerd's content store."""

    @pytest.fixture
    def store(self, root: Path, manifest: dict[str, Any]) -> Path:
        directory = root / "var/lib/containerd/io.containerd.content.v1.content/blobs/sha256"
        directory.mkdir(parents=True)
        names = []
        for content in (b"index", b"manifest", b"config", b"layer"):
            blob = directory / content.decode()
            blob.write_bytes(content)
            names.append(blob.rename(directory / roots.sha256(blob)).name)
        index, image, config, layer = (f"sha256:{name}" for name in names)
        platforms = [
            {
                "architecture": "x86_64",
                "manifest": image,
                "config": config,
                "layers": [layer],
                "diff_ids": [],
                "files": [],
            }
        ]
        manifest["images"] = [
            {"reference": "docker.io/x/etcd:v3", "component": "etcd", "index": index, "platforms": platforms}
        ]
        return directory

    def check(self, root: Path, manifest: dict[str, Any], live: bool = False) -> Result:
        return images.check(Node(str(root), live, "control-plane"), [Listed("m", manifest)])[0]

    @pytest.mark.usefixtures("store")
    def test_blobs_that_are_what_their_names_say_pass(self, root: Path, manifest: dict[str, Any]) -> None:
        result = self.check(root, manifest)

        assert (result.status, result.evidence["blobs"]) == (
            "pass",
            {"config": 1, "index": 1, "layer": 1, "manifest": 1},
        )

    def test_a_changed_blob_fails(self, root: Path, manifest: dict[str, Any], store: Path) -> None:
        layer = manifest["images"][0]["platforms"][0]["layers"][0].split(":")[1]
        (store / layer).write_bytes(b"LAYER")

        assert self.check(root, manifest).status == "fail"

    def test_an_image_that_is_not_there_fails_on_a_running_node_alone(
        self, root: Path, manifest: dict[str, Any], store: Path
    ) -> None:
        for blob in store.iterdir():
            blob.unlink()

        assert self.check(root, manifest).status == "not-applicable"
        assert self.check(root, manifest, live=True).status == "fail"

    def test_a_node_without_the_store_is_unknown_when_it_runs(self, root: Path, manifest: dict[str, Any]) -> None:
        assert self.check(root, manifest).status == "not-applicable"
        assert self.check(root, manifest, live=True).status == "unknown"

    @pytest.mark.usefixtures("store")
    def test_snapshots_of_an_image_without_listed_files_are_unknown(self, root: Path, manifest: dict[str, Any]) -> None:
        (root / "var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs").mkdir(parents=True)

        found = images.check(at_rest(root, "control-plane"), [Listed("m", manifest)])

        assert [(result.status, result.evidence.get("code")) for result in found][1:] == [("unknown", "no-files")]


class TestProcesses:
    """The programs that really run."""

    @pytest.fixture
    def running(self, root: Path, manifest: dict[str, Any]) -> Iterator[Callable[[str], Result]]:
        started: list[subprocess.Popen[bytes]] = []
        place = root / "usr/bin/kubelet"
        shutil.copyfile("/usr/bin/sleep", place)
        manifest["files"][0] |= {"sha256": roots.sha256(place), "size": place.stat().st_size}

        def look(change: str) -> Result:
            if change == "another program":
                with place.open("ab") as file:
                    file.write(b"more")
            started.append(subprocess.Popen([place, "60"]))
            if change == "replaced on disk":
                place.unlink()
                shutil.copyfile("/usr/bin/true", place)
            found = processes.check(Node("/", True, "worker"), [Listed("m", manifest)])
            return next(result for result in found if f"(pid {started[0].pid})" in result.subject)

        yield look
        for process in started:
            process.kill()
            process.wait()

    def test_a_listed_program_that_runs_passes(self, running: Callable[[str], Result]) -> None:
        assert running("nothing").status == "pass"

    def test_another_program_under_a_components_name_fails(self, running: Callable[[str], Result]) -> None:
        result = running("another program")

        assert (result.status, result.evidence["code"]) == ("fail", "outside")

    def test_a_program_replaced_on_disk_without_a_restart_fails(self, running: Callable[[str], Result]) -> None:
        result = running("replaced on disk")

        assert (result.status, result.evidence["code"], result.advice) == (
            "fail",
            "deleted",
            "Restart the program, so that the installed file runs.",
        )

    def test_a_running_node_where_no_component_runs_is_unknown(self, manifest: dict[str, Any]) -> None:
        manifest["files"] = []

        result = processes.check(Node("/", True, "worker"), [Listed("m", manifest)])[-1]

        assert (result.status, result.actual) == ("unknown", "none of the components runs")

    def test_at_rest_there_are_none(self, root: Path) -> None:
        assert processes.check(at_rest(root), [])[0].status == "not-applicable"


@pytest.mark.parametrize(
    ("statuses", "trusted", "expected"),
    [
        (["pass"], True, "valid"),
        (["pass", "not-applicable"], True, "valid"),
        (["pass", "fail", "unknown"], True, "invalid"),
        (["pass", "unknown"], True, "incomplete"),
        (["not-applicable"], True, "incomplete"),
        ([], True, "incomplete"),
        (["pass", "fail"], False, "untrusted"),
    ],
)
def test_unknown_and_nothing_are_never_a_pass(statuses: list[str], trusted: bool, expected: str) -> None:
    assert verdict([Result("x", "y", status) for status in statuses], trusted) == expected


def test_the_hash_is_openssls_where_python_has_it() -> None:
    assert tree_module.HASH_PROVIDER == "openssl"
