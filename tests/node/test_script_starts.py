"""Scripts that no shell is named for, patterns, braces and directories of scripts are followed to what they start.

Rules: bash(1), glob(7), run-parts(8), crontab(5), systemd.exec(5) ("Environment", "Credentials"), Python's module site.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fipsmanifest.node import tree as files
from fipsmanifest.node.checks.startup import shell
from tests.node.test_hidden_starts import all_of, copy, file, go, service
from tests.node.test_starters import Change, codes, script, tree_with_another_build
from tests.node.test_startup import Tree

AGENT = "exec /opt/plain/agent\n"
SITE = "/usr/lib/python3.9/site-packages"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return tree_with_another_build(tmp_path)


def through(command: str, path: str = "/opt/go") -> Change:
    """Start a script by another program."""
    return all_of(lambda t: script(t, path, AGENT), service(f"ExecStart={command}"))


def many_profiles(tree: Tree) -> None:
    for number in range(70):
        script(tree, f"/etc/profile.d/{number}.sh", "A=1\n")


BUILDS: dict[str, Change] = {
    "find": through("/usr/bin/find / -maxdepth 0 -exec /opt/go ;"),
    "a program that is not known": through("/usr/bin/site --hook /opt/go"),
    "socat": through("/usr/bin/socat - EXEC:/opt/go"),
    "make": all_of(
        file("/opt/Makefile", "all:\n\t/opt/plain/agent\n"), service("ExecStart=/usr/bin/make -f /opt/Makefile")
    ),
    "JavaScript": all_of(
        file("/opt/x.js", 'spawn("/opt/plain/agent")\n'), service("ExecStart=/usr/bin/node /opt/x.js")
    ),
    "a directory of scripts": through("/usr/bin/run-parts /opt/jobs", "/opt/jobs/x"),
    "a directory of scripts, by cron": all_of(
        lambda t: script(t, "/opt/jobs/x", AGENT), file("/etc/cron.d/x", "@reboot root run-parts --test /opt/jobs\n")
    ),
    "scripts of a pattern": all_of(
        lambda t: script(t, "/opt/jobs/x.sh", AGENT), go("for one in /opt/jobs/*.sh; do . $one; done\n")
    ),
    "scripts of a pattern, at login": all_of(
        lambda t: script(t, "/opt/jobs/x.sh", AGENT), file("/etc/profile.d/x.sh", ". /opt/jobs/*.sh\n")
    ),
    "braces": go("/opt/{plain,other}/agent\n"),
    "braces within braces": go("/opt/{a,pl{ai,oi}n}/agent\n"),
    "variables one behind another": go("A=/opt/pl\nB=ain/agent\n$A$B --v=2\n"),
    "a file that a shell reads beside the script": all_of(
        file("/opt/d/b", "/opt/plain/agent\n"),
        lambda t: script(t, "/opt/d/a", '. "$(dirname "$0")/b"\n'),
        service("ExecStart=/opt/d/a"),
    ),
    "root's home directory by its name": all_of(copy("/root/x"), go("exec ~root/x\n")),
    "a continued line of a rule": file("/etc/udev/rules.d/x.rules", 'RUN+="/opt/pl\\\nain/agent"\n'),
    "escapes of a rule": file("/etc/udev/rules.d/x.rules", 'RUN+=e"\\x2fopt\\x2fplain\\x2fagent"\n'),
    "cron's PATH": file("/etc/cron.d/x", "PATH=/opt/plain\n@reboot root agent --v=2\n"),
    "a user's cron": file("/var/spool/cron/root", "PATH=/opt/plain\n1 * * * * agent\n"),
    "a credential": service("SetCredential=x:exec\\x20/opt/plain/agent\nExecStart=/bin/sh %d/x"),
    "a credential's file": all_of(file("/opt/c", AGENT), service("LoadCredential=x:/opt/c\nExecStart=/bin/sh %d/x")),
    "an open file": all_of(file("/opt/c", AGENT), service("OpenFile=/opt/c:x\nExecStart=/bin/sh /proc/self/fd/3")),
    "the unit's own directory": all_of(
        lambda t: script(t, "/var/lib/site/go", AGENT),
        service("StateDirectory=site\nExecStart=/bin/sh -c 'exec ${STATE_DIRECTORY}/go'"),
    ),
    "every start of Python": file(f"{SITE}/x.pth", 'import os; os.system("/opt/plain/agent")\n'),
    "Python's own customization": file(f"{SITE}/sitecustomize.py", 'import os\nos.system("/opt/plain/agent")\n'),
    "Python's path": all_of(
        file("/opt/p/sitecustomize.py", 'import os\nos.execv("/opt/plain/agent", [])\n'),
        service("Environment=PYTHONPATH=/opt/p\nExecStart=/usr/bin/python3 -c pass"),
    ),
}


@pytest.mark.parametrize("how", BUILDS)
def test_another_build_that_a_script_starts_fails(how: str, tree: Tree) -> None:
    assert codes(BUILDS[how], tree) == {("fail", "other-build")}


DOUBTS: dict[str, Change] = {
    "a pattern": go("for one in /opt/plain/age*; do $one & done\n"),
    "a pattern, by cron": file("/etc/cron.d/x", "@reboot root /opt/pla*/agent\n"),
    "a shell that reads a socket": service("StandardInput=socket\nExecStart=/bin/sh"),
}


@pytest.mark.parametrize("how", DOUBTS)
def test_what_a_shell_may_start_is_unknown(how: str, tree: Tree) -> None:
    assert codes(DOUBTS[how], tree) == {("unknown", "wrapped")}


ORDINARY: dict[str, Change] = {
    "a search for processes": service(
        'ExecStart=/bin/true\nExecStopPost=-/bin/sh -c "systemd-cgls /system.slice/%n'
        " | grep -Eo '[0-9]+ (containerd|kubelet)' | awk '{print $1}' | xargs -r kill\""
    ),
    "a text beside a script": all_of(
        file("/opt/d/b", "/opt/plain/agent\n"),
        lambda t: script(t, "/opt/d/a", 'D=$(dirname "$0")\ncat "$D/b"\n'),
        service("ExecStart=/opt/d/a"),
    ),
    "removal by a pattern": go("rm -rf /opt/plain/*\nchmod 755 /opt/*/agent\n"),
    "a profile that reads a directory": all_of(
        many_profiles,
        file("/etc/profile", "for i in /etc/profile.d/*.sh /etc/profile.d/sh.local ; do . $i; done\n"),
    ),
    "a program with a script as its helper": all_of(
        lambda t: script(t, "/opt/helper", "logger done\n"), service("ExecStart=/usr/sbin/site -s /opt/helper")
    ),
    "a service for each connection": service("StandardInput=socket\nExecStart=-/usr/sbin/sshd -i"),
    "Python's packages": file(f"{SITE}/distutils-precedence.pth", "import os; var = 'SETUPTOOLS_USE_DISTUTILS'\n"),
    "a pattern of other programs": all_of(copy("/opt/a/x"), go("for one in /usr/share/*/x; do $one; done\n")),
}


@pytest.mark.parametrize("how", ORDINARY)
def test_ordinary_scripts_pass(how: str, tree: Tree) -> None:
    assert codes(ORDINARY[how], tree) == set()


@pytest.mark.parametrize("home", ["~", "$HOME", "${HOME}", '"$HOME"'])
def test_the_home_directory_of_root_is_followed(home: str, tree: Tree) -> None:
    assert codes(all_of(copy("/root/bin/agent"), file("/etc/cron.d/x", f"@reboot root {home}/bin/agent\n")), tree) == {
        ("fail", "other-build")
    }


def test_of_a_program_that_a_pattern_names_only_the_head_is_read(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    # To decode what is no text takes a hundred times as long as to read it.
    read: list[int] = []
    real = files.read_small

    def noted(root: str, path: str, limit: int = 65536, *rest: str) -> str:
        text = real(root, path, limit, *rest)
        read.extend([limit] if path.startswith("/opt/many") else [])
        return text

    monkeypatch.setattr(files, "read_small", noted)
    for number in range(3):
        copy(f"/opt/many/{number}")(tree)  # type: ignore[operator]

    assert codes(go("for one in /opt/many/*; do $one; done\n"), tree) == {("unknown", "wrapped")}
    assert read and max(read) < 1024


@pytest.mark.parametrize("text", ["#", "x", "{", "{a,", "{a,b}", "/", "/*", "* ", "sh ", '"', "\\", "@a ", "$", "\n"])
def test_a_long_text_takes_no_long_time(text: str) -> None:
    long = text * (200_000 // len(text))

    # The limit on the time of every test is what a search that is not linear exceeds.
    assert shell.expand(long, "/x") and shell.starting(long) is not None and shell.cron_commands(long) is not None


@pytest.mark.parametrize("text", ["dnf ", "rpm -", "mount ", "tar ", "tar c", "kexec -a ", "portablectl - "])
def test_commands_without_an_end_take_no_long_time(text: str, tree: Tree) -> None:
    change = go(text + text.strip()[-1:] * 100_000 + "\n" + text * (100_000 // len(text)) + "\n")

    assert codes(change, tree) == set()


def test_brackets_without_an_end_take_no_long_time(tree: Tree) -> None:
    assert codes(file("/etc/nsswitch.conf", "a:" + "[" * 60_000 + "\n"), tree) == {("unknown", "library-path")}


def test_alternatives_without_an_end_take_no_long_time(tree: Tree) -> None:
    assert codes(file("/etc/tmpfiles.d/x.conf", "w /" + "{" * 200_000 + " - - - -\n"), tree) == set()
