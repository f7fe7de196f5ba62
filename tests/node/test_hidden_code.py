"""Code that the kernel's files show under another program's name, or not at all.

What a mount, a mount namespace, a thread or the loader makes of /proc is the kernel's own (proc(5), ld.so(8)).
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fipsmanifest.node.checks import procfs
from tests.node.test_identity import check, copy_of, entry, listed, of, run
from tests.support.fuse import OneFile, mounted
from tests.support.roots import sha256

__all__ = ["run"]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="root alone mounts")

LOOK = """
import json, sys
from fipsmanifest.node.checks import injected
from fipsmanifest.node.checks.inventory import Inventory
from fipsmanifest.node.packages import Packages
from fipsmanifest.node.result import Node
found = injected.look(Node("/", True, "worker"), int(sys.argv[1]), False, Inventory([]), Packages("/nothing"))
print(json.dumps([(one.status, one.code) for one in found]))
"""

CHECK = """
import json
from fipsmanifest.node.checks import processes
from fipsmanifest.node.result import Listed, Node
file = {"path": "/usr/bin/kubelet", "role": "program", "sha256": "0" * 64, "component": "kubelet"}
file["go"] = {"path": "k8s.io/kubernetes/cmd/kubelet"}
manifest = Listed("m.asc", {"files": [file], "node": {"roles": {"worker": ["kubelet"]}}})
found = processes.check(Node("/", True, "worker"), [manifest])
bad = [one for one in found if one.status in ("fail", "unknown")]
pids = {one: [r.status, r.evidence.get("code")] for r in bad for one in r.evidence.get("pids", [])}
print(json.dumps(pids))
"""

CODE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <signal.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>
static void *page_of(void *place) { return (void *)((unsigned long)place & ~4095UL); }
static void *wait_here(void *nothing) { for (;;) sleep(9); }
static void map(const char *path) { mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, open(path, O_RDONLY), 0); }
int main(int count, char **words) {
    pthread_t thread;
    const char *how = words[1];
    unshare(CLONE_NEWNS);
    mount(0, "/", 0, MS_REC | MS_PRIVATE, 0);
    if (!strcmp(how, "over its own path")) { mount(words[2], words[3], 0, MS_BIND, 0); map(words[3]); }
    if (!strcmp(how, "covered since")) { map(words[2]); mount("x", words[3], "tmpfs", 0, 0); }
    if (!strcmp(how, "replaced since")) { map(words[2]); unlink(words[2]); }
    if (!strcmp(how, "another root since")) { map(words[2]); chroot(words[3]); }
    if (!strcmp(how, "another file at its path since")) { map(words[2]); mount(words[3], words[2], 0, MS_BIND, 0); }
    if (!strcmp(how, "of no file")) {
        personality(READ_IMPLIES_EXEC);
        mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    if (!strcmp(how, "written since")) {
        char *page = (char *)((unsigned long)main & ~4095UL);
        mprotect(page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
        *(volatile char *)page = *page;
        mprotect(page, 4096, PROT_READ | PROT_EXEC);
    }
    if (!strcmp(how, "a stack with code")) mprotect(page_of(&thread), 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
    if (!strcmp(how, "the kernel's own written since")) {
        char *page = page_of((void *)getauxval(AT_SYSINFO_EHDR));
        pwrite(open("/proc/self/mem", O_RDWR), page, 1, (long)page);
    }
    if (!strcmp(how, "attached to") && !fork()) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        ptrace(PTRACE_SEIZE, getppid(), 0, 0);
        puts("");
        fflush(stdout);
        wait_here(0);
    }
    if (!strcmp(how, "attached to")) wait_here(0);
    puts("");
    fflush(stdout);
    if (!strcmp(how, "first thread")) { pthread_create(&thread, 0, wait_here, 0); syscall(SYS_exit, 0); }
    wait_here(0);
}
"""


def compiled(place: Path, code: str = CODE, *options: str) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    command = ["cc", "-x", "c", "-", "-o", str(place), "-pthread", *options]
    subprocess.run(command, input=code, text=True, check=True, timeout=60)
    return place


@pytest.fixture(scope="module")
def hiding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that hides what it runs."""
    return compiled(tmp_path_factory.mktemp("hiding") / "fm-hiding", CODE, "-static")


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a program that needs the loader."""
    return compiled(tmp_path_factory.mktemp("waiting") / "fm-waiting")


class TestHidden:
    """Code that the kernel's files show under another program's name, or not at all."""

    def start(self, run: Callable[..., subprocess.Popen[str]], *command: str | Path) -> int:
        process = run(*command, stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline() == "\n"
        time.sleep(0.2)
        return process.pid

    def look(self, pid: int, as_in_a_pod: bool) -> set[tuple[str, str]]:
        """Return status and code of what is in a process, as root or with the capability of the cluster check's pod."""
        held = ["setpriv", "--bounding-set", "-all,+sys_ptrace"] if as_in_a_pod else []
        command = [*held, sys.executable, "-c", LOOK, str(pid)]
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        return {(status, code) for status, code in json.loads(found.stdout)}

    @pytest.mark.parametrize("as_in_a_pod", [False, True])
    @pytest.mark.parametrize(
        ("how", "status"),
        [
            ("over its own path", "fail"),
            ("covered since", "fail"),
            ("another root since", "fail"),
            ("another file at its path since", "fail"),
            ("of no file", "unknown"),
            ("written since", "unknown"),
            ("the kernel's own written since", "unknown"),
            ("a stack with code", "unknown"),
            ("attached to", "unknown"),
        ],
    )
    def test_other_code_is_found_whatever_its_path_leads_to(
        self,
        how: str,
        status: str,
        as_in_a_pod: bool,
        run: Callable[..., subprocess.Popen[str]],
        hiding: Path,
        tmp_path: Path,
    ) -> None:
        program = copy_of(hiding, tmp_path / "kubelet")
        other, empty = compiled(tmp_path / "lib/x.so", "int x;", "-shared"), tmp_path / "empty"
        empty.mkdir()
        words = {
            "over its own path": (other, program),
            "covered since": (other, other.parent),
            "another file at its path since": (other, program),
        }.get(how, (other, empty))
        pid = self.start(run, program, how, *words)

        found = self.look(pid, as_in_a_pod)

        hidden = as_in_a_pod and how.endswith("since")
        codes = {"of no file": "anonymous-code", "written since": "written-code", "attached to": "traced"}
        codes |= {"a stack with code": "anonymous-code", "the kernel's own written since": "written-code"}
        assert found == {("unknown" if hidden else status, codes.get(how, "library"))}

    def test_a_library_that_is_no_longer_at_its_path_fails_where_no_package_puts_any(
        self, run: Callable[..., subprocess.Popen[str]], hiding: Path, tmp_path: Path
    ) -> None:
        program, library = copy_of(hiding, tmp_path / "kubelet"), compiled(tmp_path / "x.so", "int x;", "-shared")
        pid = self.start(run, program, "replaced since", library)

        assert self.look(pid, False) == {("fail", "library")}

    def test_the_program_alone_is_no_finding(self, run: Callable[..., subprocess.Popen[str]], hiding: Path) -> None:
        pid = self.start(run, hiding, "plainly")

        assert self.look(pid, False) == self.look(pid, True) == set()

    def test_a_program_whose_first_thread_has_ended_is_found(
        self, run: Callable[..., subprocess.Popen[str]], hiding: Path, tmp_path: Path
    ) -> None:
        process = run(copy_of(hiding, tmp_path / "kubelet"), "first thread", stdout=subprocess.PIPE)
        time.sleep(0.3)

        found = [one for one in check(listed(entry("kubelet", "0" * 64))) if str(tmp_path) in one.subject]

        assert [(one.status, one.evidence["code"]) for one in found] == [("fail", "outside")]
        threads = {int(one.name) for one in Path(f"/proc/{process.pid}/task").iterdir()}
        assert set(found[0].evidence["pids"]) <= threads - {process.pid}

    @pytest.mark.parametrize("as_in_a_pod", [False, True])
    @pytest.mark.parametrize(
        ("loader", "since"), [("where it is", "as it was"), ("a copy", "as it was"), ("where it is", "deleted")]
    )
    def test_another_build_that_a_loader_starts_is_found(
        self,
        loader: str,
        since: str,
        as_in_a_pod: bool,
        run: Callable[..., subprocess.Popen[str]],
        waiting: Path,
        tmp_path: Path,
    ) -> None:
        built = copy_of(waiting, tmp_path / "agent")
        with built.open("ab") as file:
            file.write(b"\npath\tk8s.io/kubernetes/cmd/kubelet\n")
        place = next(Path("/lib64").glob("ld-linux*"))
        place = place if loader == "where it is" else copy_of(place, tmp_path / "site")
        first = self.start(run, place, copy_of(waiting, tmp_path / "x"), "plainly")
        pid = self.start(run, place, built, "plainly")
        if since == "deleted":
            built.unlink()

        found = self.check(as_in_a_pod)

        # A pod may not open what a process has mapped, only what is at its path.
        status = "unknown" if as_in_a_pod and since == "deleted" else "fail"
        assert found[pid] == [status, "other-build"]
        assert first not in found

    def check(self, as_in_a_pod: bool) -> dict[int, list[str]]:
        """Return status and code of each process that is found, as root or as in the cluster check's pod."""
        held = ["setpriv", "--bounding-set", "-all,+sys_ptrace"] if as_in_a_pod else []
        done = subprocess.run([*held, sys.executable, "-c", CHECK], capture_output=True, text=True, check=True)
        return {int(pid): result for pid, result in json.loads(done.stdout).items()}

    @pytest.mark.parametrize(
        ("mounting", "covered"),
        [
            ("mount --bind /proc/1 /proc/$$", True),
            ("mount --bind /proc/1/cmdline /proc/$$/cmdline", True),
            ("mount -t tmpfs x /proc/sys", True),
            ("mount --bind /proc/1/cmdline /proc/cmdline", True),
            # As containers have them.
            ("mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys", False),
            ("mount -t tmpfs x /proc/fs", False),
        ],
    )
    def test_a_mount_over_the_kernels_own_files_is_seen(self, mounting: str, covered: bool) -> None:
        code = "from fipsmanifest.node.checks import procfs; print(procfs.covered())"
        script = f'sleep 100 & set -- $!; {mounting.replace("$$", "$1")} && "$0" -c "{code}"; kill $1'
        command = ["unshare", "--mount", "sh", "-c", script, sys.executable]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)

        assert json.loads(done.stdout.replace("'", '"')) != [] if covered else done.stdout == "[]\n", done

    def test_a_mount_over_a_process_is_unknown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(procfs, "covered", lambda: ["/proc/123"])

        found = next(one for one in check(listed(entry("kubelet", "0" * 64))) if one.subject == "/proc/123")

        assert (found.status, found.evidence["code"]) == ("unknown", "mounted-over")

    @pytest.mark.parametrize("how", ["a mount", "another root", "a mount in PATH", "the same files"])
    def test_what_a_daemon_finds_at_a_listed_programs_path_is_compared(
        self, how: str, run: Callable[..., subprocess.Popen[str]], hiding: Path, tmp_path: Path
    ) -> None:
        # Names that nothing on the machine that runs the tests has.
        daemon = copy_of(hiding, tmp_path / "containerd-shim-fm")
        runc, other = copy_of(Path("/usr/bin/true"), tmp_path / "fm-runc"), Path("/usr/bin/false")
        root = tmp_path / "root"
        copy_of(other, root / str(runc)[1:])
        copy_of(daemon, root / str(daemon)[1:])
        mounts = {"a mount": f"{other} {runc}", "a mount in PATH": f"{root / str(tmp_path)[1:]} /usr/local/sbin"}
        mount = f"mount --bind {mounts[how]}" if how in mounts else "true"
        begin = ["unshare", "--mount", "sh", "-c", f'{mount} && exec "$0" plainly']
        pid = self.start(
            run, *(["chroot", str(root), str(daemon), "plainly"] if how == "another root" else [*begin, str(daemon)])
        )
        files = [entry(daemon.name, sha256(daemon), path=str(daemon))]
        files += [entry(runc.name, sha256(runc), path=str(runc), component="runc", go={"path": "x"})]

        found = of(pid, check(listed(*files)))

        assert found.status == ("pass" if how == "the same files" else "fail"), found
        assert how == "the same files" or (found.evidence["code"] == "other-root" and runc.name in str(found.actual))

    @pytest.mark.parametrize(
        ("how", "status"),
        [
            ("a directory over what its options name", "unknown"),
            ("a file below what its options name", "unknown"),
            ("a directory over the configuration", "unknown"),
            ("the same directory", "pass"),
            ("an application's directory", "pass"),
        ],
    )
    def test_what_a_daemon_finds_at_the_paths_of_its_configuration_is_compared(
        self, how: str, status: str, run: Callable[..., subprocess.Popen[str]], hiding: Path, tmp_path: Path
    ) -> None:
        daemon = copy_of(hiding, tmp_path / "containerd-shim-fm")
        site, other = tmp_path / "site", tmp_path / "other"
        for directory, text in ((site, "a"), (other, "b")):
            directory.mkdir()
            (directory / "config.toml").write_text(text)
        binds = {
            "a directory over what its options name": (other, site),
            "a file below what its options name": (other / "config.toml", site / "config.toml"),
            "a directory over the configuration": (other, "/etc/kubernetes"),
            "the same directory": (site, site),
            "an application's directory": (other, "/srv"),
        }
        source, where = binds[how]
        before = "mount -t tmpfs x /etc && mkdir /etc/kubernetes && " if where == "/etc/kubernetes" else ""
        begin = f'{before}mount --bind "$1" "$2" && exec "$0" plainly --state={site}'
        pid = self.start(run, "unshare", "--mount", "sh", "-c", begin, str(daemon), str(source), str(where))

        found = of(pid, check(listed(entry(daemon.name, sha256(daemon), path=str(daemon)))))

        assert found.status == status, found
        assert status == "pass" or found.evidence["code"] == "other-root"

    def test_a_program_in_a_fuse_file_system_is_unknown_whatever_its_bytes_are(
        self, run: Callable[..., subprocess.Popen[str]], hiding: Path, tmp_path: Path
    ) -> None:
        # Its server gives the kernel another program than it gives the check.
        bad = hiding.read_bytes()
        file = OneFile(b"kubelet", bad, bytes(len(bad)))
        (tmp_path / "mounted").mkdir()
        with mounted(tmp_path / "mounted", file) as place:
            pid = self.start(run, place, "plainly")
            file.is_checked = True

            found = of(pid, check(listed(entry("kubelet", hashlib.sha256(file.then).hexdigest(), path=str(place)))))

            os.kill(pid, signal.SIGKILL)

        assert (found.status, found.evidence["code"]) == ("unknown", "file-system")
