"""The configuration of containerd, wherever it is: TOML in any form, imports, systemd's unit and its drop-ins."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.node import containerd
from fipsmanifest.node.formats import toml
from tests.support import roots

UNIT = "/usr/lib/systemd/system/containerd.service"
DROP_IN = "/etc/systemd/system/containerd.service.d/10-root.conf"
CONFIGURATION = "/etc/containerd/config.toml"
SHIPPED = "[Service]\nExecStartPre=-/sbin/modprobe overlay\nExecStart=/usr/bin/containerd\n\nType=notify\n"
ALL_FORMS = r'''
title = "a\tb\u00e9" # comment
'quoted'."key.s" = 'c:\n'
[ plugins . "io.containerd.internal.v1.opt" ]
path = """/opt"""
[[many]]
inline = {a = 1, b.c = [ "x", {d = "y"} ], e = {}}
list = [ # comment
  "one",
  "two", [1, 2.5e3],
]
long = """
x\
   y""z"""
when = 1979-05-27 07:32:00Z
'''
TABLES = """
a.b = 1
[a.c]
d = 'x'
[[e.f]]
g = 1
[e.f.h]
[[e.f]]
i = {j = 1, k.l = [1, {m = 'n'}]}
[w]
t.u = 1
"""
SCALARS = """
x = 0x1F
y = 1_000.5e-3
z = -inf
d = 1979-05-27
t = 07:32:00.999
o = 1979-05-27T00:32:00.5-07:00
s = 23:59:60
b = [true, false, 0o7, 0b1, 01]
"""


@pytest.fixture
def default() -> str:
    """Return the configuration that containerd writes of itself."""
    return subprocess.run(["containerd", "config", "default"], capture_output=True, text=True, check=True).stdout


def elsewhere(root: Path) -> tuple[tuple[str, ...], bool]:
    """Return where else containerd keeps its images, and whether anything could not be read."""
    found = containerd.read(str(root))
    return found.elsewhere, bool(found.doubts)


class TestToml:
    """The reader of TOML, compared with Python's own."""

    def theirs(self, table: dict[str, Any], above: tuple[str, ...] = ()) -> list[str]:
        found: list[str] = []
        for name, value in table.items():
            path = (*above, name)
            values = [value]
            for one in values:
                if isinstance(one, dict):
                    found += self.theirs(one, path)
                elif isinstance(one, list):
                    values += one
                elif isinstance(one, str):
                    found.append(json.dumps([path, one]))
        return sorted(found)

    def ours(self, text: str) -> list[str]:
        found: list[str] = []
        for path, value in toml.read(text):
            values = [value]
            for one in values:
                values += one if isinstance(one, list) else []
                found += [json.dumps([path, one])] if isinstance(one, str) else []
        return sorted(found)

    def test_containerds_own_configuration_is_read_as_python_reads_it(self, default: str) -> None:
        assert self.ours(default) == self.theirs(tomllib.loads(default))
        assert len(self.ours(default)) > 50

    def test_whatever_python_reads_is_read_alike(self) -> None:
        pick = random.Random(1)
        read = 0
        for _ in range(1500):
            letters = list(ALL_FORMS)
            for _ in range(pick.choice((0, 1, 2))):
                letters[pick.randrange(len(letters))] = pick.choice("\"'[]{}=.,#\n \\a1")
            text = "".join(letters)
            try:
                table = tomllib.loads(text)
            except tomllib.TOMLDecodeError:
                continue
            assert self.ours(text) == self.theirs(table), text
            read += 1
        assert read > 300

    def test_what_python_refuses_is_refused_and_what_it_reads_is_read(self, default: str) -> None:
        # Lines of good documents in another order, twice, or with another letter: keys and tables that appear again.
        pick = random.Random(2)
        read = refused = 0
        for _ in range(4000):
            lines = pick.choice((ALL_FORMS, default, TABLES, SCALARS)).split("\n")
            first = pick.randrange(len(lines))
            lines = lines[first : first + pick.randrange(1, 12)]
            lines += pick.sample(lines, pick.choice((0, 1, len(lines))))
            letters = list("\n".join(lines))
            for _ in range(pick.choice((0, 0, 1, 2))):
                place = pick.randrange(len(letters) + 1)
                letters[place : place + pick.choice((0, 1))] = pick.choice("\"'[]{}=.,#\n \\a1_-+:TZ0ex\t\r\x7f\0")
            text = "".join(letters)
            try:
                table = tomllib.loads(text)
            except tomllib.TOMLDecodeError:
                with pytest.raises(toml.Malformed):
                    toml.read(text)
                refused += 1
            else:
                assert self.ours(text) == self.theirs(table), text
                read += 1
        assert read > 500
        assert refused > 1000

    @pytest.mark.parametrize(
        "text",
        ["\0", "a", "a =", "= 1", "a = 'x", 'a = "\\q"', 'a = "\\ud800"', "a = 1 b = 2", "[a", "a = [1", "a = {b = 1",
         "a = {\n}", "[a]]", "a = " + "[" * 5000, 'a = """' + '"\\' * 50000],
    )  # fmt: skip
    def test_what_is_no_toml_is_refused(self, text: str) -> None:
        with pytest.raises(toml.Malformed):
            toml.read(text)

    def test_a_long_string_does_not_fill_memory(self) -> None:
        code = (
            "import resource, sys; from fipsmanifest.node.formats import toml\n"
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "toml.read('a = \"\"\"' + 'x' * (1 << 17) + '\"\"\"')\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

        assert int(done.stdout) < 32 << 10


class TestRoot:
    """Where images are kept."""

    def test_a_node_as_packages_make_it_keeps_them_in_the_usual_place(self, default: str, tmp_path: Path) -> None:
        assert elsewhere(tmp_path) == ((), False)
        roots.write(tmp_path, UNIT, SHIPPED)
        roots.write(tmp_path, DROP_IN, "[Service]\nEnvironment=HTTPS_PROXY=http://proxy\nLimitNOFILE=1\n")
        roots.write(tmp_path, CONFIGURATION, default)
        assert elsewhere(tmp_path) == ((), False)
        roots.write(tmp_path, CONFIGURATION, 'version = 2\nimports = ["/etc/containerd/conf.d/*.toml"]\n')
        assert elsewhere(tmp_path) == ((), False)
        roots.write(tmp_path, "/etc/containerd/conf.d/mirrors.toml", "[plugins.x.registry]\nconfig_path = '/etc/x'\n")

        assert elsewhere(tmp_path) == ((), False)

    @pytest.mark.parametrize(
        "text",
        [
            'root = "/data/containerd"\n',
            '"root" = "/data/containerd"\n',
            '"\\u0072oot" = "/data/containerd"\n',
            "Root = '/data/containerd'\n",
            'imports = [\n  "x",\n]\ndisabled_plugins = [\n["cri"]]\nroot = "/data/containerd"\n',
            '[plugins."io.containerd.snapshotter.v1.overlayfs"]\nroot_path = "/data/containerd"\n',
            'plugins = {overlayfs = {root_path = "/data/containerd"}}\n',
        ],
    )
    def test_another_directory_is_told_that_is_in_the_tree_or_is_not(self, text: str, tmp_path: Path) -> None:
        roots.write(tmp_path, CONFIGURATION, text)
        roots.write(tmp_path, "/etc/containerd/x", "")
        assert elsewhere(tmp_path) == (("/data/containerd",), False)
        (tmp_path / "data/containerd").mkdir(parents=True)
        assert elsewhere(tmp_path) == (("/data/containerd",), False)

        (tmp_path / "var/lib/containerd").mkdir(parents=True)
        assert elsewhere(tmp_path) == (("/data/containerd",), False)

    def test_a_link_to_the_usual_place_is_the_usual_place(self, tmp_path: Path) -> None:
        (tmp_path / "var/lib/containerd").mkdir(parents=True)
        (tmp_path / "data").symlink_to("/var/lib/containerd")
        roots.write(tmp_path, CONFIGURATION, 'root = "/data"\n')

        assert elsewhere(tmp_path) == ((), False)

    @pytest.mark.parametrize(
        ("imports", "where"),
        [
            ('["/etc/containerd/conf.d/*.toml"]', "/etc/containerd/conf.d/50-root.toml"),
            ("[]", "/etc/containerd/conf.d/50-root.toml"),
            ('["/data/*"]', "/data/x"),
            ('["more.toml", "/data/x.toml"]', "/data/x.toml"),
            ('["more.toml"]', "/etc/containerd/more.toml"),
        ],
    )
    def test_it_is_told_by_what_is_imported(self, imports: str, where: str, tmp_path: Path) -> None:
        roots.write(tmp_path, "/etc/containerd/more.toml", "")
        roots.write(tmp_path, CONFIGURATION, f"version = 2\nimports = {imports}\n")
        roots.write(tmp_path, where, 'root = "/data/containerd"\n')

        assert elsewhere(tmp_path) == (("/data/containerd",), False)

    @pytest.mark.parametrize(
        "command",
        [
            "/usr/bin/containerd --root /data/containerd",
            "containerd -log-level debug -root=/data/containerd",
            '-/usr/local/bin/containerd \\\n  "--root" "/data/containerd"',
            "/usr/bin/containerd --config /etc/other.toml",
            "/usr/bin/containerd -c=/etc/other.toml",
        ],
    )
    @pytest.mark.parametrize("where", [UNIT, DROP_IN, "/run/systemd/system/containerd.service.d/x.conf"])
    def test_it_is_told_by_what_systemd_starts(self, where: str, command: str, tmp_path: Path) -> None:
        roots.write(tmp_path, UNIT, SHIPPED)
        roots.write(tmp_path, "/etc/other.toml", 'root = "/data/containerd"\n')
        roots.write(tmp_path, where, f"[Service]\nExecStart=\nExecStart={command}\n")

        assert elsewhere(tmp_path) == (("/data/containerd",), False)

    @pytest.mark.parametrize(
        "command",
        [
            "/usr/bin/containerd --config %H.toml",
            "/bin/sh -c 'containerd --root /data'",
            "containerd '",
            "containerd -c /gone",
        ],
    )
    def test_what_a_unit_starts_that_cannot_be_told_is_a_doubt(self, command: str, tmp_path: Path) -> None:
        roots.write(tmp_path, UNIT, f"[Service]\nExecStart={command}\n")

        assert elsewhere(tmp_path) == ((), True)

    @pytest.mark.parametrize("what", [CONFIGURATION, UNIT, DROP_IN, "/etc/containerd/conf.d/x.toml"])
    @pytest.mark.parametrize("how", ["fifo", "directory", "loop", "link to nothing", "too large", "no text"])
    def test_what_cannot_be_read_in_full_is_a_doubt(self, how: str, what: str, tmp_path: Path) -> None:
        roots.write(tmp_path, what, "")
        place = tmp_path / what.lstrip("/")
        if how == "too large":
            place.write_text("#" * 100_000 + "\n" * 50_000 + 'root = "/data"\n')
        elif how == "no text":
            place.write_bytes(b'[Service]\nroot = "\xff"\nExecStart="\xff\n')
        else:
            place.unlink()
        if how == "fifo":
            os.mkfifo(place)
        elif how == "directory":
            place.mkdir()
        elif how in ("loop", "link to nothing"):
            place.symlink_to(place.name if how == "loop" else "nothing")

        assert elsewhere(tmp_path) == ((), True)

    @pytest.mark.parametrize("imports", ['["*.toml"]', '["/e*/x.toml"]', '["/etc/[ab]*"]', '["gone.toml"]', "7"])
    def test_imports_that_cannot_be_followed_are_a_doubt(self, imports: str, tmp_path: Path) -> None:
        roots.write(tmp_path, CONFIGURATION, f"imports = {imports}\n")

        assert elsewhere(tmp_path) == ((), True)

    def test_a_service_of_another_program_in_place_of_containerds_own_is_a_doubt(self, tmp_path: Path) -> None:
        for kind in ("content", "diff", "sandbox", "snapshot"):
            text = f'[proxy_plugins.stargz]\ntype = "{kind}"\naddress = "/run/stargz.sock"\n'
            roots.write(tmp_path, CONFIGURATION, text)

            assert elsewhere(tmp_path) == ((), True)

    def test_imports_of_one_another_and_without_end_end(self, tmp_path: Path) -> None:
        roots.write(tmp_path, CONFIGURATION, 'imports = ["a.toml"]\n')
        roots.write(tmp_path, "/etc/containerd/a.toml", 'imports = ["config.toml"]\n')
        assert elsewhere(tmp_path) == ((), False)
        for number in range(200):
            roots.write(tmp_path, f"/etc/containerd/conf.d/{number}.toml", "")

        assert elsewhere(tmp_path) == ((), True)
