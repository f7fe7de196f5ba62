"""dkp-fips-tool as operators use it: one file, run by any Python of the node."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.errors import NotTrusted, Refused, UsageError
from fipsmanifest.generate.tool import ToolFile, build_tool
from fipsmanifest.sign import keys
from tests.support import roots
from tests.support.forge import PYENV, PYTHONS, Forge, payload


@pytest.fixture(scope="session")
def tool(forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tool") / "dkp-fips-tool"
    build_tool(forge.trust_directory, path)
    return path


Tree = tuple[Path, dict[str, Any]]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    root = tmp_path / "root"
    root.mkdir()
    return root, roots.make(root)


def run(
    tool: Path, *arguments: str | Path, python: str = sys.executable, **options: Any
) -> tuple[int, dict[str, Any], str]:
    command = [python, "-I", "-S", "-B", str(tool), "--json", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


def sign(forge: Forge, manifest: dict[str, Any], directory: Path) -> Path:
    path = directory / "manifest-rhel8.json.asc"
    path.write_bytes(forge.clearsign(roots.payload_of(manifest)))
    return path


class TestTheFile:
    """How it is built and started."""

    def test_the_same_keys_give_the_same_bytes(self, forge: Forge, tool: Path, tmp_path: Path) -> None:
        copy = tmp_path / "elsewhere"
        shutil.copytree(forge.trust_directory, copy)

        built = build_tool(copy)

        assert built.data == tool.read_bytes()
        assert built.sha256 == hashlib.sha256(tool.read_bytes()).hexdigest()

    def test_its_files_are_whole_packed_and_dated_alike(self, tool: Path) -> None:
        assert tool.stat().st_mode & 0o777 == 0o755
        with zipfile.ZipFile(tool) as archive:
            assert archive.testzip() is None
            stored = [one.filename for one in archive.infolist() if one.compress_type != zipfile.ZIP_DEFLATED]
            assert stored == ["__main__.py"]
            assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}

    def test_unzip_reads_it(self, tool: Path) -> None:
        command = [sys.executable, "-m", "zipfile", "-l", str(tool)]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout

        assert "fipsmanifest/trust/verify.py" in listed
        assert "fipsmanifest/trust/trusted/trust.json" in listed

    def test_upstream_keys_stay_out(self, forge: Forge, tool: Path) -> None:
        with zipfile.ZipFile(tool) as archive:
            listed = json.loads(archive.read("fipsmanifest/trust/trusted/trust.json"))["keys"]

        assert forge.fingerprints["upstream"] not in {key["fingerprint"] for key in listed}
        assert {key["role"] for key in listed} == {"manifest", "tool"}

    def test_without_a_manifest_key_nothing_is_built(self, forge: Forge, tmp_path: Path) -> None:
        with pytest.raises(Refused, match="no manifest key in force") as caught:
            build_tool(tmp_path)
        assert "fipsmanifest keys init" in caught.value.advice
        keys.add(tmp_path, forge.certificate("upstream"), "upstream")

        with pytest.raises(Refused, match="no manifest key in force"):
            build_tool(tmp_path)
        with pytest.raises(UsageError):
            build_tool(tmp_path / "nowhere")

    def test_a_retired_manifest_key_alone_builds_nothing(self, forge: Forge, tmp_path: Path) -> None:
        keys.add(tmp_path, forge.certificate("plain"), "manifest")
        keys.retire(tmp_path, forge.fingerprints["plain"], "rotated")

        with pytest.raises(Refused):
            build_tool(tmp_path)

    def test_a_weak_key_is_refused(self, forge: Forge, tmp_path: Path) -> None:
        with pytest.raises(NotTrusted, match="too weak"):
            keys.add(tmp_path, forge.certificate("weak"), "tool")

    @pytest.mark.parametrize("start", [["./dkp-fips-tool"], ["sh", "dkp-fips-tool"]], ids=["as a program", "by sh"])
    def test_it_starts_by_itself_and_by_sh(self, start: list[str], tool: Path) -> None:
        done = subprocess.run([*start, "--version"], cwd=tool.parent, capture_output=True, text=True, check=True)

        assert done.stdout.startswith("dkp-fips-tool 0.")
        assert hashlib.sha256(tool.read_bytes()).hexdigest() in done.stdout

    def test_its_version_tells_the_release_its_own_digest_its_keys_and_those_near_their_end(
        self, forge: Forge, tmp_path: Path
    ) -> None:
        shutil.copytree(forge.trust_directory, tmp_path / "keys")
        document = json.loads((tmp_path / "keys/trust.json").read_text())
        ends = (datetime.now(UTC) + timedelta(days=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
        document["keys"][0]["valid_to"] = ends
        (tmp_path / "keys/trust.json").write_text(json.dumps(document))
        build_tool(tmp_path / "keys", tmp_path / "tool")

        command = ["sh", str(tmp_path / "tool"), "--version"]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

        assert re.fullmatch(r"dkp-fips-tool \S+ \(released \d{4}-\d{2}-\d{2}\)", lines[0])
        assert re.fullmatch(r"certificates: list of \d{4}-\d{2}-\d{2}", lines[1])
        assert lines[2] == f"sha256: {roots.sha256(tmp_path / 'tool')}"
        carried = [key for key in document["keys"] if key["role"] != "upstream"]
        assert len(lines) == 3 + len(carried) + 1
        for key, line in zip(carried, lines[3:], strict=False):
            assert line.startswith(f"{key['role']} key: {key['fingerprint']} active ")
        assert lines[-1].endswith(f"{carried[0]['fingerprint']} is valid until {ends}.")

    @pytest.mark.parametrize(
        ("there", "taken"),
        [
            (
                {"fixed/platform-python": "echo True", "fixed/3.11": "echo True", "python3": "echo True"},
                "fixed/platform-python",
            ),
            ({"fixed/3.9": "echo True", "python3": "echo True"}, "fixed/3.9"),
            ({"python3": "echo True", "python3.8": "echo True"}, "python3"),
            # EL7 with EPEL's python34 as python3: it is tried, and another one is used.
            ({"python3": "echo False", "python3.8": "echo True"}, "python3.8"),
            # EL7's platform-python is Python 2.7, which does not know -I.
            ({"fixed/platform-python": "exit 2", "fixed/3.6": "echo True"}, "fixed/3.6"),
            # The exit code of a candidate that is not Python is not a verdict.
            ({"fixed/3.11": "exit 1", "fixed/3.9": "exit 0", "python3": "echo True"}, "python3"),
            ({"fixed/3.11": "exit 127", "python3": "kill -9 $$", "python3.8": "echo True"}, "python3.8"),
            ({"fixed/platform-python": "exit 0", "fixed/3.11": "exit 1", "python3": "echo False"}, None),
            ({}, None),
        ],
    )
    def test_it_takes_the_distributions_python_first_and_none_that_does_not_say_it_is_new_enough(
        self, there: dict[str, str], taken: str | None, tool: Path, tmp_path: Path
    ) -> None:
        for name, answer in there.items():
            place = tmp_path / name
            place.parent.mkdir(exist_ok=True)
            # Asked for its version, it prints the given answer; otherwise it prints its name and arguments.
            place.write_text(f'#!/bin/sh\ncase "$*" in *version_info*) {answer}; exit ;; esac\necho {name} "$@"\n')
            place.chmod(0o755)

        done = self.started(tool, tmp_path, "--json", "a b")

        started = f"{taken} -I -S -B {tmp_path}/tool --json a b\n"
        assert (done.returncode, done.stdout) == ((0, started) if taken else (69, ""))
        assert done.stderr.count("\n") == (0 if taken else 1)

    def test_a_python_that_hangs_is_passed_over(self, tool: Path, tmp_path: Path) -> None:
        for name, answer in {"fixed/platform-python": "trap '' TERM; /bin/sleep 60", "python3": "echo True"}.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(f'#!/bin/sh\ncase "$*" in *version_info*) {answer}; exit ;; esac\necho here\n')
            (tmp_path / name).chmod(0o755)
        begun = time.monotonic()

        done = self.started(tool, tmp_path, seconds=2)

        assert (done.returncode, done.stdout, done.stderr) == (0, "here\n", "")
        assert time.monotonic() - begun < 30

    def started(
        self, tool: Path, directory: Path, *arguments: str, seconds: int = 20
    ) -> subprocess.CompletedProcess[str]:
        """Run a copy of the tool that searches for Python in ``directory`` alone, and waits ``seconds`` for each."""
        header, packed = tool.read_bytes().partition(b"PK")[0].decode(), tool.read_bytes().partition(b"PK")[2]
        for place, instead in {"libexec/": "fixed/", "bin/python3.": "fixed/3.", "bin/python3 ": "python3 "}.items():
            header = header.replace(f"/usr/{place}", f"{directory}/{instead}")
        assert header.count(" 20'") == 1
        header = header.replace(" 20'", f" {seconds}'")
        (directory / "tool").write_bytes(header.encode() + b"PK" + packed)
        command = ["/bin/sh", str(directory / "tool"), *arguments]
        return subprocess.run(command, env={"PATH": str(directory)}, capture_output=True, text=True, check=False)

    def test_a_broken_python_and_python_2_are_passed_over(self, tool: Path, tmp_path: Path) -> None:
        (tmp_path / "fixed").mkdir()
        # A broken interpreter, and the real Python 2.7 where this machine has one.
        (tmp_path / "fixed/3.12").write_text("#!/nowhere/python\n")
        (tmp_path / "fixed/3.12").chmod(0o755)
        for old in sorted(PYENV.glob("2.7.*/bin/python2.7"))[:1]:
            (tmp_path / "fixed/platform-python").symlink_to(old)
        (tmp_path / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        (tmp_path / "python3").chmod(0o755)

        done = self.started(tool, tmp_path, "--version")

        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("dkp-fips-tool 0.")

    def test_without_a_python_it_names_the_package_and_exits_69(self, tool: Path, tmp_path: Path) -> None:
        # The header looks in fixed places too: a copy that searches for names that do not exist.
        shell = tmp_path / "tool"
        shell.write_bytes(
            tool.read_bytes()
            .replace(b"/usr/libexec/platform-", b"/usr/libexec/nothing--")
            .replace(b"python3", b"nothing")
        )

        done = subprocess.run(
            ["sh", str(shell), "x"], capture_output=True, text=True, check=False, env={"PATH": "/usr/bin"}
        )

        assert done.returncode == 69
        assert "install the package" in done.stderr
        assert done.stderr.count("\n") == 1

    def test_a_python_that_is_too_old_is_passed_over(self, tool: Path, tmp_path: Path) -> None:
        (tmp_path / "python3").write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / "python3.9").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        for name in ("python3", "python3.9"):
            (tmp_path / name).chmod(0o755)
        shell = tmp_path / "tool"
        data = tool.read_bytes().replace(b"/usr/bin/python3", b"/usr/bin/nothing", 20)
        shell.write_bytes(data.replace(b"/usr/libexec/platform-", b"/usr/libexec/nothing--"))

        done = subprocess.run(
            ["sh", str(shell), "--version"],
            capture_output=True,
            text=True,
            env={"PATH": str(tmp_path) + ":/usr/bin"},
            check=False,
        )

        assert (done.returncode, done.stderr) == (0, "")

    def test_a_python_without_zlib_is_passed_over(self, tool: Path, tmp_path: Path) -> None:
        for name, start in {"python3": "import sys; sys.modules['zlib'] = None; ", "python3.9": ""}.items():
            # What follows -c is run without the module.
            run_without = f'code=$5; shift 5; exec {sys.executable} -I -S -B -c "{start}$code" "$@"'
            text = f'#!/bin/sh\n[ "$4" = -c ] && {{ {run_without}; }}\nexec {sys.executable} "$@"\n'
            (tmp_path / name).write_text(text)
            (tmp_path / name).chmod(0o755)

        done = self.started(tool, tmp_path, "--version")
        (tmp_path / "python3.9").unlink()
        alone = self.started(tool, tmp_path, "--version")

        assert (done.returncode, done.stderr) == (0, "")
        assert (alone.returncode, alone.stdout) == (69, "")
        assert "with zlib" in alone.stderr

    @pytest.mark.parametrize("python", PYTHONS)
    def test_started_by_a_python_without_zlib_it_says_so_and_exits_69(self, python: str, tool: Path) -> None:
        run_without = "import runpy, sys; sys.modules['zlib'] = None; runpy.run_path(sys.argv[1], run_name='__main__')"

        done = subprocess.run([python, "-c", run_without, tool], capture_output=True, text=True, check=False)

        assert (done.returncode, done.stdout) == (69, "")
        assert done.stderr.startswith("dkp-fips-tool: this Python has no zlib; ")
        assert done.stderr.count("\n") == 1

    @pytest.mark.parametrize("python", PYTHONS)
    def test_it_compiles_each_of_its_modules_once_and_for_its_version_none_that_inspects(
        self, python: str, tool: Path
    ) -> None:
        # zipimport by itself compiles each module twice. That of Python 3.6 does not use the function that is counted.
        counting = (
            "import builtins, runpy, sys\ncompiled, original = [], compile\n"
            "def count(source, name, *rest, **options):\n"
            "    compiled.append(name)\n"
            "    return original(source, name, *rest, **options)\n"
            "builtins.compile = count\nsys.argv[:] = sys.argv[1:]\n"
            "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
            "except SystemExit:\n    print(*compiled, '|', *sys.modules, sep='\\n')\n"
        )
        command = [python, "-I", "-S", "-B", "-c", counting, str(tool), "--version"]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        compiled = [line for line in lines if line.startswith(f"{tool}/fipsmanifest")]
        names = [line for line in lines if line.startswith("fipsmanifest")]

        assert sorted(compiled) == sorted(set(compiled))
        assert "fipsmanifest.node.main" in names
        assert not {"fipsmanifest.node.validation", "fipsmanifest.node.inspection"} & set(names)

    def test_the_users_environment_does_not_reach_it(self, tool: Path, tmp_path: Path) -> None:
        (tmp_path / "json.py").write_text("raise SystemExit('hijacked')\n")
        environment = dict(os.environ, PYTHONPATH=str(tmp_path), PYTHONSTARTUP=str(tmp_path / "json.py"))

        done = subprocess.run(
            ["sh", str(tool), "--version"], cwd=tmp_path, env=environment, capture_output=True, check=False
        )

        assert done.returncode == 0 and b"hijacked" not in done.stderr


class TestOldAndNewPython:
    """The same verdict from every Python."""

    @pytest.mark.parametrize("python", PYTHONS)
    def test_a_good_root_whose_containerd_is_set_up_as_usual_is_valid_and_one_elsewhere_is_not(
        self, python: str, forge: Forge, tool: Path, tree: Tree, tmp_path: Path
    ) -> None:
        # Before any image was pulled.
        root, manifest = tree
        signed = sign(forge, manifest, tmp_path)
        shipped = subprocess.run(["containerd", "config", "default"], capture_output=True, text=True, check=True).stdout
        default = shipped.replace("imports = []", 'imports = ["/etc/containerd/conf.d/*.toml"]')
        roots.write(root, "/etc/containerd/config.toml", default)
        roots.write(root, "/usr/lib/systemd/system/containerd.service", "[Service]\nExecStart=/usr/bin/containerd\n")
        roots.write(root, "/usr/lib/systemd/system/kubelet.service", "[Service]\nExecStart=/usr/bin/kubelet\n")
        code, report, _ = run(tool, "--root", root, signed, python=python)
        assert (code, report["verdict"]) == (0, "valid"), report

        roots.write(root, "/etc/containerd/conf.d/root.toml", 'root = "/data"\n')

        assert run(tool, "--root", root, signed, python=python)[0] == 4

    @pytest.mark.parametrize("python", PYTHONS)
    def test_a_good_root_is_valid_and_a_changed_one_is_not(
        self, python: str, forge: Forge, tool: Path, tree: Tree, tmp_path: Path
    ) -> None:
        root, manifest = tree
        signed = sign(forge, manifest, tmp_path)

        code, report, _ = run(tool, "--root", root, signed, python=python)
        assert (code, report["verdict"], report["scope"]) == (0, "valid", "at-rest"), report

        with (root / "usr/bin/kubelet").open("r+b") as file:
            file.seek(100)
            file.write(b"X")
        code, report, _ = run(tool, "--root", root, signed, python=python)
        assert (code, report["verdict"]) == (1, "invalid")
        failed = [check for check in report["checks"] if check["status"] == "fail"]
        assert [(check["id"], check["subject"]) for check in failed] == [("files", "/bin/kubelet")]
        assert failed[0]["actual"] == "sha256:" + roots.sha256(root / "usr/bin/kubelet")
        assert failed[0]["expected"] == "sha256:" + manifest["files"][0]["sha256"]

    @pytest.mark.parametrize("python", PYTHONS)
    def test_a_manifest_by_a_stranger_is_untrusted(self, python: str, forge: Forge, tool: Path, tmp_path: Path) -> None:
        path = tmp_path / "m.asc"
        path.write_bytes(forge.clearsign(payload(), "stranger"))

        code, report, _ = run(tool, "--root", tmp_path, path, python=python)

        assert (code, report["verdict"]) == (3, "untrusted")
        assert [check["id"] for check in report["checks"]] == ["signature"]

    @pytest.mark.parametrize("python", PYTHONS)
    def test_a_locale_that_is_not_utf_8_changes_nothing(
        self, python: str, forge: Forge, tool: Path, tree: Tree, tmp_path: Path
    ) -> None:
        root, manifest = tree
        shutil.copyfile(root / "usr/bin/kubelet", root / "usr/bin/k\u00fcbelet")
        (root / "usr/bin/k\u00fcbelet").chmod(0o755)
        manifest["files"].append(roots.file_entry(root, "/usr/bin/k\u00fcbelet", component="kubelet"))

        code, report, _ = run(
            tool,
            "--root",
            root,
            sign(forge, manifest, tmp_path),
            python=python,
            env={"LC_ALL": "C", "PATH": "/usr/bin"},
        )

        assert (code, report["summary"]["pass"]) == (0, 9)


class TestOptions:
    """Each option does what it says, or fails visibly."""

    def test_bindings_are_asked_for(self, forge: Forge, tool: Path, tree: Tree, tmp_path: Path) -> None:
        root, manifest = tree
        signed = sign(forge, manifest, tmp_path)
        for option, bad, good in [
            ("--kubernetes", "v1.22.8", "v1.21.3"),
            ("--el", "7", "8"),
            ("--min-serial", "3", "2"),
            ("--fingerprint", forge.fingerprints["plain"], forge.fingerprints["release"]),
        ]:
            assert run(tool, "--root", root, option, good, signed)[0] == 0
            assert run(tool, "--root", root, option, bad, signed)[0] == 3
        for number in ("0", "-5", "1e3"):
            assert run(tool, "--root", root, f"--min-serial={number}", signed)[0] == 2

    def test_expiry_is_refused_or_allowed(self, forge: Forge, tool: Path, tree: Tree, tmp_path: Path) -> None:
        root, manifest = tree
        signed = sign(forge, manifest | {"expires": "2020-01-01T00:00:00Z"}, tmp_path)

        assert run(tool, "--root", root, signed)[0] == 3
        code, report, _ = run(tool, "--root", root, "--allow-expired", signed)
        assert code == 0 and "expired" in report["warnings"][0]

    def test_keys_replaces_the_tools_own_and_says_so(
        self, forge: Forge, tool: Path, tree: Tree, tmp_path: Path
    ) -> None:
        root, manifest = tree
        signed = sign(forge, manifest, tmp_path)
        keys.add(tmp_path / "mine", forge.certificate("stranger"), "manifest")

        assert run(tool, "--root", root, "--keys", tmp_path / "mine", signed)[0] == 3
        code, report, _ = run(tool, "--root", root, "--keys", forge.trust_directory, signed)
        assert code == 0 and "not the tool's own" in report["warnings"][0]

    def test_a_narrowed_run_says_partial(self, forge: Forge, tool: Path, tree: Tree, tmp_path: Path) -> None:
        root, manifest = tree
        signed = sign(forge, manifest, tmp_path)

        _, report, _ = run(tool, "--root", root, "--only", "files", signed)
        assert report["scope"] == "partial"
        assert {check["id"] for check in report["checks"]} == {"signature", "files"}
        _, report, _ = run(tool, "--root", root, "--skip", "files,images", signed)
        assert report["scope"] == "partial"
        assert {check["id"] for check in report["checks"]}.isdisjoint({"files", "images"})

    def test_one_manifest_of_several_may_fit_and_is_named(
        self, forge: Forge, tool: Path, tree: Tree, tmp_path: Path
    ) -> None:
        root, manifest = tree
        new, old = sign(forge, manifest, tmp_path), tmp_path / "old.asc"
        other = [file | ({"sha256": "0" * 64} if file["path"] == "/bin/kubelet" else {}) for file in manifest["files"]]
        old.write_bytes(forge.clearsign(roots.payload_of(manifest | {"files": other, "serial": 1})))

        code, report, _ = run(tool, "--root", root, old, new)

        named = {
            check["subject"]: check["evidence"].get("manifest") for check in report["checks"] if check["id"] == "files"
        }
        assert (code, named["/bin/kubelet"]) == (0, new.name)
        assert [one["serial"] for one in report["manifests"]] == [1, 2]

    def test_a_manifest_for_another_system_vouches_for_nothing(
        self, forge: Forge, tool: Path, tree: Tree, tmp_path: Path
    ) -> None:
        root, manifest = tree
        changed = [file | ({"sha256": "0" * 64} if "kubeadm" in file["path"] else {}) for file in manifest["files"]]
        own = sign(forge, manifest | {"files": changed}, tmp_path)
        older = tmp_path / "el7.asc"
        older.write_bytes(forge.clearsign(roots.payload_of(manifest | {"el": 7})))

        for given in ([own], [older], [older, own], [own, older]):
            code, report, _ = run(tool, "--root", root, *given)
            assert (code, report["verdict"]) == (1, "invalid"), given
        assert any(warning.startswith("el7.asc is for another system") for warning in report["warnings"])

    def test_manifests_with_one_name_are_told_apart(self, forge: Forge, tool: Path, tree: Tree, tmp_path: Path) -> None:
        root, manifest = tree
        # A program that the new release no longer has, of a component that it has.
        dropped = dict(manifest["files"][1], path="/usr/bin/kubeadm-old")
        signed = []
        for name, files in (("old", [*manifest["files"], dropped]), ("new", manifest["files"])):
            (tmp_path / name).mkdir()
            signed.append(sign(forge, manifest | {"files": files}, tmp_path / name))

        code, report, _ = run(tool, "--root", root, *signed)

        assert (code, [one["file"] for one in report["manifests"]]) == (0, list(map(str, signed)))
        code, report, _ = run(tool, "--root", root, signed[1], signed[1])
        assert (code, len({one["file"] for one in report["manifests"]})) == (0, 2)

    def test_names_that_are_no_text_leave_the_report_text(
        self, forge: Forge, tool: Path, tree: Tree, tmp_path: Path
    ) -> None:
        root, manifest = tree
        other = tmp_path / os.fsdecode(b"root\xff")
        root.rename(other)
        signed = sign(forge, manifest, tmp_path)
        renamed = signed.rename(tmp_path / os.fsdecode(b"m\xff.asc"))

        done = subprocess.run(
            [sys.executable, "-I", "-X", "utf8", tool, "--json", "--root", other, renamed],
            capture_output=True,
            check=True,
        )

        # Half a surrogate pair cannot be written as UTF-8.
        assert json.dumps(json.loads(done.stdout), ensure_ascii=False).encode("utf-8")

    def test_one_untrusted_manifest_of_several_is_enough_to_stop(
        self, forge: Forge, tool: Path, tree: Tree, tmp_path: Path
    ) -> None:
        root, manifest = tree
        bad = tmp_path / "bad.asc"
        bad.write_bytes(forge.clearsign(payload(), "stranger"))

        assert run(tool, "--root", root, sign(forge, manifest, tmp_path), bad)[0] == 3

    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["nowhere.asc"],
            ["."],
            ["--root", "nowhere", "x"],
            ["--live", "x"],
            ["--only", "files", "--skip", "images", "x"],
            ["--only", "everything", "x"],
            ["--only", "", "x"],
            ["--skip", ",", "x"],
            ["--skip", "signature", "x"],
            ["--el", "eight", "x"],
            ["--keys", "nowhere", "x"],
            ["--no-such-option", "x"],
            ["--kube", "v1.21.3", "x"],
        ],
        ids=" ".join,
    )
    def test_what_cannot_be_meant_is_a_usage_error(self, arguments: list[str], tool: Path, tmp_path: Path) -> None:
        code, report, error = run(tool, *arguments, cwd=tmp_path)

        assert (code, report["schema"], report["error"]["code"]) == (2, "fipsmanifest/error/v1", 2)
        assert error == f"dkp-fips-tool: {report['error']['message']} {report['error']['advice']}\n"

    def test_junit_is_written_beside_the_json(self, forge: Forge, tool: Path, tree: Tree, tmp_path: Path) -> None:
        import xml.etree.ElementTree as ElementTree

        root, manifest = tree
        (root / "usr/bin/kubeadm").unlink()
        run(tool, "--root", root, "--junit", tmp_path / "junit.xml", sign(forge, manifest, tmp_path))

        suite = ElementTree.parse(tmp_path / "junit.xml").getroot()  # noqa: S314 - our own
        assert suite is not None and suite.get("failures") == "1"
        assert [case.get("name") for case in suite if case.find("failure") is not None] == ["/usr/bin/kubeadm"]

    def test_junit_is_written_over_nothing_that_is_read_and_waits_for_nobody(
        self, forge: Forge, tool: Path, tree: Tree, tmp_path: Path
    ) -> None:
        root, manifest = tree
        signed = sign(forge, manifest, tmp_path)
        own = tmp_path / "tool"
        shutil.copy(tool, own)
        os.mkfifo(tmp_path / "fifo")
        (tmp_path / "link").symlink_to(signed)
        before = signed.read_bytes(), own.read_bytes()

        for junit in (signed, tmp_path / "link", own, tmp_path / "fifo", tmp_path / "none/x", tmp_path):
            code, report, _ = run(own, "--root", root, "--junit", junit, signed)
            assert (code, report["error"]["code"]) == (2, 2), junit

        assert (signed.read_bytes(), own.read_bytes()) == before
        (tmp_path / "x.xml").write_text("longer than what is written" * 1000)
        assert run(own, "--root", root, "--junit", tmp_path / "x.xml", signed)[0] == 0
        assert (tmp_path / "x.xml").read_text().startswith("<?xml")
        assert (tmp_path / "x.xml").read_text().endswith("</testsuite>\n")

    def test_junit_may_go_to_a_fifo_that_is_read(self, forge: Forge, tool: Path, tree: Tree, tmp_path: Path) -> None:
        root, manifest = tree
        os.mkfifo(tmp_path / "fifo")
        with subprocess.Popen(["cat", tmp_path / "fifo"], stdout=subprocess.PIPE) as reader:
            for _ in range(100):
                # Until it has opened it there is no reader.
                code, _, _ = run(tool, "--root", root, "--junit", tmp_path / "fifo", sign(forge, manifest, tmp_path))
                if code != 2:
                    break
            said = reader.communicate(timeout=60)[0]

        assert code == 0 and said.endswith(b"</testsuite>\n")

    def test_text_is_one_line_a_subject_and_says_what_to_do(
        self, forge: Forge, tool: Path, tree: Tree, tmp_path: Path
    ) -> None:
        root, manifest = tree
        (root / "usr/bin/kubeadm").unlink()
        command = ["sh", str(tool), "--root", str(root), str(sign(forge, manifest, tmp_path))]

        text = subprocess.run(command, capture_output=True, text=True, check=False).stdout

        assert "/bin/kubelet [files]" in text and "[OK]" in text
        assert "/usr/bin/kubeadm [files]" in text and "[FAIL]" in text and "to do: Install the package" in text
        assert "\x1b" not in text

    def test_a_reader_that_goes_away_gets_no_traceback(
        self, forge: Forge, tool: Path, tree: Tree, tmp_path: Path
    ) -> None:
        root, manifest = tree
        command = f"sh {tool} --json --root {root} {sign(forge, manifest, tmp_path)} | true"

        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)

        assert done.stderr == ""


class TestTheToolItself:
    """The tool's own digest against the manifest's."""

    @pytest.mark.parametrize("digest_of", [lambda built: built.sha256, lambda _: "0" * 64], ids=["equal", "other"])
    def test_the_published_tool_is_compared_with_this_one(
        self, digest_of: Callable[[ToolFile], str], forge: Forge, tool: Path, tree: Tree, tmp_path: Path
    ) -> None:
        root, manifest = tree
        built = build_tool(forge.trust_directory)
        manifest["tool"] = {"version": built.version, "sha256": digest_of(built)}

        code, report, _ = run(tool, "--root", root, sign(forge, manifest, tmp_path))

        status = next(check["status"] for check in report["checks"] if check["subject"] == "tool")
        assert (code, status) == ((0, "pass") if manifest["tool"]["sha256"] == built.sha256 else (1, "fail"))

    def test_after_a_change_of_keys_it_says_another_version(self, forge: Forge, tree: Tree, tmp_path: Path) -> None:
        root, manifest = tree
        old = build_tool(forge.trust_directory)
        manifest["tool"] = {"version": old.version, "sha256": old.sha256}
        shutil.copytree(forge.trust_directory, tmp_path / "keys")
        keys.add(tmp_path / "keys", forge.certificate("stranger"), "manifest")
        rebuilt = tmp_path / "rebuilt"
        version = build_tool(tmp_path / "keys", rebuilt).version

        # Another tool than the one that the manifest was published with is no forgery of it.
        code, report, _ = run(rebuilt, "--root", root, sign(forge, manifest, tmp_path))
        said = subprocess.run(["sh", rebuilt, "--version"], capture_output=True, text=True, check=True).stdout

        assert version != old.version
        assert report["host"]["tool"] == version
        assert said.startswith(f"dkp-fips-tool {version} ")
        assert f"# dkp-fips-tool {version}:".encode() in rebuilt.read_bytes()
        status = next(check["status"] for check in report["checks"] if check["subject"] == "tool")
        assert (code, status) == (0, "not-applicable")
