"""Libraries of the host in a component's process: their bytes against a real RPM database."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fipsmanifest.node import packages
from fipsmanifest.node.checks import injected
from fipsmanifest.node.checks.inventory import Inventory
from fipsmanifest.node.result import Node

RPM = "/usr/bin/rpm"
SPEC = """\
Name: system
Version: 1
Release: 1
Summary: s
License: l
%description
d
%install
mkdir -p %{buildroot}
cp -r TREE/. %{buildroot}/
%files
/usr
"""


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["/usr/bin/sleep", "100"]) as one:
        while Path(f"/proc/{one.pid}/exe").readlink().name != "sleep":
            time.sleep(0.01)
        time.sleep(0.2)
        yield one
        one.kill()


def started_by(pid: int) -> list[int]:
    """Return the processes below this one."""
    with suppress(FileNotFoundError, ProcessLookupError):
        children = [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return [*children, *(one for child in children for one in started_by(child))]
    return []


def maps_of(pid: int) -> str:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/maps").read_text()
    return ""


def libraries(process: subprocess.Popen[bytes]) -> list[str]:
    found = sorted(
        {path for path in re.findall(r" r-xp .* (/\S+)$", maps_of(process.pid), re.MULTILINE) if ".so" in path}
    )
    assert any(path.endswith("/libc.so.6") for path in found)
    return found


def database(directory: Path, files: dict[str, bytes]) -> tuple[str, ...]:
    """Make a package of these files, and a database that has it installed; return the command that asks it."""
    for path, content in files.items():
        place = directory / "tree" / path[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    (directory / "s.spec").write_text(SPEC.replace("TREE", str(directory / "tree")))
    options = [f"_topdir {directory}", "__os_install_post %{nil}", "_build_id_links none", "debug_package %{nil}"]
    options += ["_binary_filedigest_algorithm 8", "__brp_strip %{nil}"]
    flags = [flag for option in options for flag in ("--define", option)]
    subprocess.run(["rpmbuild", "-bb", *flags, directory / "s.spec"], check=True, capture_output=True, timeout=120)
    ask = (RPM, "--dbpath", str(directory / "db"))
    made = next(directory.glob("RPMS/*/system-1-1.*.rpm"))
    install: list[str | Path] = [*ask, "-i", "--justdb", "--nodeps", "--noscripts", made]
    subprocess.run(install, check=True, capture_output=True, timeout=60)
    return ask


def look(process: subprocess.Popen[bytes], asked: packages.Packages) -> set[tuple[str, str, str]]:
    found = injected.look(Node("/", True, "worker"), process.pid, False, Inventory([]), asked)
    return {(one.status, one.code, Path(one.detail.split(" ")[0]).name) for one in found}


def test_libraries_with_the_bytes_of_their_packages_are_no_problem(
    process: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    files = {path: Path(path).read_bytes() for path in libraries(process)}

    assert look(process, packages.Packages("/", database(tmp_path, files | {RPM: b"rpm"}))) == set()


def test_a_library_with_other_bytes_than_its_package_fails(process: subprocess.Popen[bytes], tmp_path: Path) -> None:
    files = {path: Path(path).read_bytes() for path in libraries(process)}
    libc = next(path for path in files if path.endswith("/libc.so.6"))
    files[libc] += b"x"

    found = look(process, packages.Packages("/", database(tmp_path, files | {RPM: b"rpm"})))

    assert found == {("fail", "library", "libc.so.6")}


def test_a_library_of_no_package_is_unknown_whatever_its_name(process: subprocess.Popen[bytes], tmp_path: Path) -> None:
    files = {path: Path(path).read_bytes() for path in libraries(process) if not path.endswith("/libc.so.6")}

    found = look(process, packages.Packages("/", database(tmp_path, files | {RPM: b"rpm"})))

    assert found == {("unknown", "library", "libc.so.6")}


@pytest.mark.parametrize("kind", ["a database that is not the system's", "no database"])
def test_where_no_database_can_be_asked_the_result_says_that_no_bytes_were_compared(
    kind: str, process: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    ask = ("/nowhere/rpm",) if kind == "no database" else (RPM, "--dbpath", str(tmp_path / "empty"))

    found = look(process, packages.Packages("/", ask))

    assert ("pass", "by-name", "libc.so.6") in found and {status for status, _, _ in found} == {"pass"}


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone mounts")
@pytest.mark.parametrize("is_other", [True, False])
def test_without_a_database_a_library_is_the_nodes_own_or_fails(is_other: bool, tmp_path: Path) -> None:
    libc = next(path for path in map(str, Path("/usr/lib").glob("*-linux-gnu/libc.so.6")))
    copy = tmp_path / "libc"
    copy.write_bytes(Path(libc).read_bytes() + b"x" * is_other)
    copy.chmod(0o755)
    script = f"mount --bind {copy} {libc} && exec /usr/bin/sleep 100"
    with subprocess.Popen(["unshare", "--mount", "sh", "-c", script]) as process:
        while Path(f"/proc/{process.pid}/exe").readlink().name != "sleep":
            time.sleep(0.01)
        time.sleep(0.2)

        found = look(process, packages.Packages("/host"))

        process.kill()
    expected = ("fail", "library") if is_other else ("pass", "by-name")
    assert (*expected, "libc.so.6") in found and {one for one in found if one[0] == "fail"} <= {
        (*expected, "libc.so.6")
    }


REMOVED = "/usr/lib/tmpfiles.d/libsite.so.1"
"""In a mount of its own over a directory that every machine has."""


@contextmanager
def loading_what_is_removed(owner: int) -> Iterator[int]:
    """Run a program with a library that is removed, as an update does, once it is loaded."""
    libc = next(path for path in map(str, Path("/usr/lib").glob("*-linux-gnu/libm.so.6")))
    script = f"""mount -t tmpfs t {Path(REMOVED).parent} && cp {libc} {REMOVED} && chown {owner} {REMOVED}
    LD_PRELOAD={REMOVED} /usr/bin/sleep 100 & sleep 0.3; rm {REMOVED}; wait"""
    with subprocess.Popen(["unshare", "--mount", "--kill-child", "--fork", "sh", "-c", script]) as shell:
        try:
            end = time.monotonic() + 20
            while not (found := [pid for pid in started_by(shell.pid) if "(deleted)" in maps_of(pid)]):
                assert time.monotonic() < end
                time.sleep(0.05)
            yield found[0]
        finally:
            shell.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone mounts")
@pytest.mark.parametrize(
    ("package", "owner", "contained", "expected"),
    [
        ("what is mapped", 0, False, set()),
        ("an update", 0, False, {("unknown", "library-replaced")}),
        ("none", 0, False, {("unknown", "library-replaced")}),
        ("what is mapped", 1, False, {("fail", "library")}),
        ("what is mapped", 0, True, {("fail", "library")}),
    ],
)
def test_a_library_that_was_replaced_since_it_was_loaded_is_unknown_unless_its_bytes_are_the_packages(
    package: str, owner: int, contained: bool, expected: set[tuple[str, str]], tmp_path: Path
) -> None:
    libm = next(Path("/usr/lib").glob("*-linux-gnu/libm.so.6")).read_bytes()
    content = {"what is mapped": {REMOVED: libm}, "an update": {REMOVED: libm + b"x"}, "none": {}}[package]
    asked = packages.Packages("/", database(tmp_path, {RPM: b"rpm", **content}))

    with loading_what_is_removed(owner) as pid:
        found = injected.look(Node("/", True, "worker"), pid, contained, Inventory([]), asked)

    assert {(one.status, one.code) for one in found if one.detail.startswith(REMOVED)} == expected


def test_the_database_of_this_machine_says_nothing_of_another_root() -> None:
    assert shutil.which("rpm")
    with pytest.raises(packages.Unanswered):
        packages.Packages("/host").digest("/usr/lib64/libc.so.6")
