"""Units as systemd loads them: compared with systemd's own manager, which loads them in test mode and prints them."""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fipsmanifest.node import systemd
from tests.node import systemd_peer
from tests.support import roots

PIECES = [
    *(
        "ExecStart=",
        "\n",
        "ExecStart=/bin/true ",
        "a",
        "b c",
        '"',
        "'",
        "\\",
        "\\\n",
        "# c\n",
        "; d\n",
        " ; ",
        "\\;",
        " ",
    ),
    *("\t", "\\x41", "\\n", "\\s", "\\101", "%n", "%i", "%p", "%%", "%t", "/opt/x", "-", "+", "!", ":", "[Service]\n"),
    *("[Unit]\n", "Environment=A=b ", "Environment=", '"C=d e"', "\u00e9", "\\u00e9", "$A", "${A}", "=", "\r\n"),
    *("/usr/bin/kubelet", "ExecStartPre=", "ExecStop=/bin/k ", "Description=x\n", 'Environment="A=%n x" B=c\\x41'),
    *("[Mount]\n", "[Socket]\n", "\udcff", "\ufffe"),
]
LAST = "[Service]\nType=oneshot\nExecStart=/bin/last\n"
NAMES = ("u{}.service", "a-b-u{}.service", "t@u{}.service")


@pytest.fixture
def top() -> Iterator[Path]:
    # The manager runs as ``nobody``, who may not read pytest's own directories.
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


class Pair:
    """The same units for systemd and for us."""

    def __init__(self, top: Path) -> None:
        self.root = top / "root"
        self.directories = [self.root / one.lstrip("/") for one in systemd.SEARCH_PATH]
        for directory in self.directories:
            directory.mkdir(parents=True)
        self.support = top / "support"
        self.support.mkdir()

    def theirs(self, names: list[str]) -> dict[str, systemd_peer.Dump]:
        return systemd_peer.load(self.directories, names, self.support)

    def ours(self) -> dict[str, systemd.Unit]:
        units = systemd.Units(str(self.root), systemd.NEWEST).load_all()
        return {name: unit for unit in units for name in unit.names}

    def assert_alike(self, name: str, theirs: systemd_peer.Dump, ours: systemd.Unit) -> None:
        commands = {key: value for key, value in theirs.items() if key.startswith("Exec")}
        # systemd prints words quoted as a shell would have them, and variables are not replaced before the start.
        wanted = {
            key: [systemd.split(line.replace("\\$", "$").replace("\\`", "`")) for line in lines]
            for key, lines in commands.items()
        }
        found: dict[str, list[list[str]]] = {}
        for key in systemd.COMMANDS:
            for entry in ours.values(key):
                for one in systemd.read_commands(entry, ours.name, None):
                    found.setdefault(key, []).append([one.program, *one.arguments])
        assert found == wanted, name
        environment = sorted(f"{key}={one.value}" for key, one in ours.environment.items())
        assert [one.strip() for one in environment] == sorted(theirs.get("Environment", [])), name


def write_random(pick: random.Random, pair: Pair, name: str) -> None:
    text = "".join(pick.choice(PIECES) for _ in range(pick.randrange(1, 14)))
    base = pick.choice(("[Service]\nExecStart=/bin/base x\n", "[Service]\n" + text, "[Service]\nExecStart=" + text))
    (pick.choice(pair.directories) / name).write_text(base, newline="", errors="surrogateescape")
    if pick.random() < 0.5:
        (pick.choice(pair.directories) / name).write_text("[Service]\nExecStart=/bin/other\n")
    near = [name + ".d", "service.d"]
    near += ["a-b-.service.d", "a-.service.d"] if name.startswith("a-") else []
    near += ["t@.service.d"] if name.startswith("t@") else []
    for _ in range(pick.randrange(4)):
        directory = pick.choice(pair.directories) / (near[0] if pick.random() < 0.85 else pick.choice(near))
        directory.mkdir(exist_ok=True)
        file = directory / pick.choice(["10-a.conf", "20-b.conf", "30.conf", "x.txt"])
        if file.is_symlink() or file.exists():
            continue
        if pick.random() < 0.1:
            file.symlink_to("/dev/null")
            continue
        text = "".join(pick.choice(PIECES) for _ in range(pick.randrange(1, 8)))
        file.write_text("[Service]\n" + pick.choice(["", "ExecStart=\n"]) + text, newline="", errors="surrogateescape")
    last = pair.directories[0] / (name + ".d")
    last.mkdir(exist_ok=True)
    (last / "99-z.conf").write_text(LAST)


@pytest.mark.parametrize("seed", range(3))
def test_random_units_and_drop_ins_are_loaded_as_systemd_loads_them(seed: int, top: Path) -> None:
    pick = random.Random(seed)
    pair = Pair(top)
    names = [pick.choice(NAMES).format(number) for number in range(80)]
    for name in names:
        write_random(pick, pair, name)

    theirs, ours = pair.theirs(names), pair.ours()

    compared = 0
    for name in names:
        # What cannot be read exactly is said to be so.
        if theirs.get(name, {}).get("Unit Load State") == ["loaded"] and not ours[name].doubts:
            pair.assert_alike(name, theirs[name], ours[name])
            compared += 1
    assert compared > 25


@pytest.mark.parametrize("place", range(len(systemd.SEARCH_PATH)))
def test_a_unit_or_drop_in_of_an_earlier_directory_hides_the_later_ones(place: int, top: Path) -> None:
    pair = Pair(top)
    for number, directory in enumerate(pair.directories[place:]):
        (directory / "kubelet.service").write_text(f"[Service]\nExecStart=/unit/{place + number}\n")
        (directory / "kubelet.service.d").mkdir()
        (directory / "kubelet.service.d/x.conf").write_text(f"[Service]\nExecStartPre=/drop-in/{place + number}\n")

    theirs, ours = pair.theirs(["kubelet.service"])["kubelet.service"], pair.ours()["kubelet.service"]

    pair.assert_alike("kubelet.service", theirs, ours)
    assert [(one.key, one.program) for one in ours.commands] == [
        ("ExecStartPre", f"/drop-in/{place}"),
        ("ExecStart", f"/unit/{place}"),
    ]


def test_the_search_path_is_systemds_own() -> None:
    done = subprocess.run(
        ["systemd-analyze", "unit-paths", "--system"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"]},
    )
    # Debian has /lib before /usr/lib, of which one is a link to the other.
    assert sorted(done.stdout.split()) == sorted(systemd.SEARCH_PATH)


@pytest.mark.parametrize("target", ["agent.service", "/etc/systemd/system/agent.service", "/srv/agent.service"])
def test_a_unit_that_is_a_link_is_what_it_leads_to(target: str, top: Path) -> None:
    pair = Pair(top)
    unit = pair.directories[4] / "agent.service"
    unit.write_text("[Service]\nExecStart=/opt/agent\n")
    (pair.directories[4] / "agent.service.d").mkdir()
    (pair.directories[4] / "agent.service.d/a.conf").write_text("[Service]\nExecStartPre=/opt/before\n")
    roots.write(pair.root, "/srv/agent.service", "[Service]\nExecStart=/opt/linked\n")
    (pair.directories[4] / "kubelet.service").symlink_to(target)

    found = pair.ours()["kubelet.service"]

    linked = target.startswith("/srv")
    assert [one.program for one in found.commands] == (["/opt/linked"] if linked else ["/opt/before", "/opt/agent"])


def test_the_section_of_another_type_of_unit_changes_nothing(top: Path) -> None:
    pair = Pair(top)
    hidden = "ExecStart=/opt/agent\nEnvironment=A=b\n[Mount]\nExecStart=\nExecStart=/usr/bin/kubelet\nEnvironment=\n"
    (pair.directories[4] / "kubelet.service").write_text("[Service]\n" + hidden)

    theirs, ours = pair.theirs(["kubelet.service"])["kubelet.service"], pair.ours()["kubelet.service"]

    pair.assert_alike("kubelet.service", theirs, ours)
    assert [one.program for one in ours.commands] == ["/opt/agent"]


def test_a_link_to_null_and_an_empty_file_mask(top: Path) -> None:
    pair = Pair(top)
    (pair.directories[-1] / "a.service").write_text("[Service]\nExecStart=/x\n")
    (pair.directories[-1] / "b.service").write_text("[Service]\nExecStart=/x\n")
    (pair.directories[0] / "a.service").symlink_to("/dev/null")
    (pair.directories[0] / "b.service").write_text("")

    found = pair.ours()

    assert [(found[name].masked, found[name].commands) for name in ("a.service", "b.service")] == [(True, ())] * 2


KUBEADM = """\
# Note: This dropin only works with kubeadm and kubelet v1.11+
[Service]
Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/b.conf --kubeconfig=/etc/kubelet.conf"
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
EnvironmentFile=-/etc/sysconfig/kubelet
ExecStart=
ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
"""


def test_kubeadms_own_drop_in_is_understood_whole(tmp_path: Path) -> None:
    roots.write(tmp_path, "/usr/lib/systemd/system/kubelet.service", "[Service]\nExecStart=/usr/bin/kubelet\n")
    roots.write(tmp_path, "/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf", KUBEADM)
    roots.write(tmp_path, "/var/lib/kubelet/kubeadm-flags.env", 'KUBELET_KUBEADM_ARGS="--network-plugin=cni --x=a"\n')
    roots.write(tmp_path, "/etc/sysconfig/kubelet", "KUBELET_EXTRA_ARGS=\n")

    (unit,) = systemd.Units(str(tmp_path)).load_all()

    assert not unit.doubts
    assert [(one.program, one.arguments) for one in unit.commands] == [
        (
            "/usr/bin/kubelet",
            (
                *("--bootstrap-kubeconfig=/etc/kubernetes/b.conf", "--kubeconfig=/etc/kubelet.conf"),
                *("--config=/var/lib/kubelet/config.yaml", "--network-plugin=cni", "--x=a"),
            ),
        )
    ]


@pytest.mark.parametrize(
    ("release", "there"), [("7.9", ["/bin/main"]), ("8.4", ["/bin/prefix"]), ("9.4", ["/bin/type"])]
)
def test_directories_of_drop_ins_count_as_in_the_nodes_systemd(release: str, there: list[str], tmp_path: Path) -> None:
    # service.d came with version 244, kube-.service.d with 239 (systemd's NEWS).
    roots.write(tmp_path, "/etc/os-release", f'ID="rhel"\nVERSION_ID="{release}"\n')
    base = "/etc/systemd/system/"
    roots.write(tmp_path, base + "kube-let.service", "[Service]\nExecStart=/bin/main\n")
    roots.write(tmp_path, base + "kube-.service.d/1.conf", "[Service]\nExecStart=\nExecStart=/bin/prefix\n")
    roots.write(tmp_path, base + "service.d/2.conf", "[Service]\nExecStart=\nExecStart=/bin/type\n")

    (unit,) = [one for one in systemd.Units(str(tmp_path)).load_all() if one.name == "kube-let.service"]

    assert [one.program for one in unit.commands] == there


# By hand from open_follow() of core/load-fragment.c and from path-lookup.c of versions 219 and 239.
@pytest.mark.parametrize(
    ("release", "there"),
    [("7.9", {"/bin/old", "/bin/new"}), ("8.4", {"/bin/old", "/bin/new"}), ("9.4", {"/bin/new"})],
)
def test_until_release_8_the_end_of_a_link_may_be_what_counts(release: str, there: set[str], tmp_path: Path) -> None:
    roots.write(tmp_path, "/etc/os-release", f'ID="rhel"\nVERSION_ID="{release}"\n')
    roots.write(tmp_path, "/usr/lib/systemd/system/agent.service", "[Service]\nExecStart=/bin/old\n")
    roots.write(tmp_path, "/etc/systemd/system/agent.service", "[Service]\nExecStart=/bin/new\n")
    (tmp_path / "etc/systemd/system/kubelet.service").symlink_to("/usr/lib/systemd/system/agent.service")

    found = [one for one in systemd.Units(str(tmp_path)).load_all() if "kubelet.service" in one.names]

    assert {one.commands[0].program for one in found} == there


@pytest.mark.parametrize(("release", "there"), [("7.9", ["A"]), ("8.4", ["A"]), ("9.4", [])])
def test_until_release_8_a_unit_has_the_name_of_the_file_that_its_link_leads_to(
    release: str, there: list[str], tmp_path: Path
) -> None:
    roots.write(tmp_path, "/etc/os-release", f'ID="rhel"\nVERSION_ID="{release}"\n')
    roots.write(tmp_path, "/opt/agent.service", "[Service]\nExecStart=/bin/a\n")
    roots.write(tmp_path, "/etc/systemd/system/agent.service.d/1.conf", "[Service]\nEnvironment=A=b\n")
    (tmp_path / "etc/systemd/system/kubelet.service").symlink_to("/opt/agent.service")

    found = {one.name: one for one in systemd.Units(str(tmp_path)).load_all()}

    assert list(found["kubelet.service"].environment) == there


@pytest.mark.parametrize("directory", ["system.control", "system.attached"])
@pytest.mark.parametrize(("release", "there"), [("7.9", "/bin/a"), ("8.4", "/bin/other")])
def test_a_directory_that_the_nodes_systemd_does_not_know_hides_nothing(
    release: str, there: str, directory: str, tmp_path: Path
) -> None:
    roots.write(tmp_path, "/etc/os-release", f'ID="rhel"\nVERSION_ID="{release}"\n')
    roots.write(tmp_path, "/usr/lib/systemd/system/a.service", "[Service]\nExecStart=/bin/a\n")
    roots.write(tmp_path, f"/etc/systemd/{directory}/a.service", "[Service]\nExecStart=/bin/other\n")

    (unit,) = systemd.Units(str(tmp_path)).load_all()

    assert [one.program for one in unit.commands] == [there]


@pytest.mark.parametrize(
    "text",
    [
        "[Service]\nExecStart=/bin/a \\\n# comment\nb\n",  # part of the line before version 252
        "[Service]\n# comment \\\nExecStart=/bin/a\n",
        "[Service]\nExecStart=/bin/a\nnothing\nExecStart=\nExecStart=/bin/b\n",  # read to this line before version 252
        "[Service]\nExecStart=/bin/a\rx\n",
        "[Service\nExecStart=/bin/a\n",
        "[Service]\n.include /etc/x\n",
        "[Service]\nExecStart=/bin/a 'b\n",
        "[Service]\nExecStart=bin/a\n",
        "[Service]\nExecStart=/bin/a \\q\n",
    ],
)
def test_what_versions_of_systemd_read_differently_or_refuse_is_a_doubt(text: str, tmp_path: Path) -> None:
    roots.write(tmp_path, "/etc/os-release", 'ID="rhel"\nVERSION_ID="8.4"\n')
    roots.write(tmp_path, "/etc/systemd/system/a.service", text)

    (unit,) = systemd.Units(str(tmp_path)).load_all()

    assert unit.doubts


@pytest.mark.parametrize(
    ("text", "values"),
    [
        # By hand from systemd.exec(5), EnvironmentFile=.
        ("A=b\n# C=d\n; E=f\nG\n", {"A": "b"}),
        ("A='b c'\nB=\"d\\\"e\"\n", {"A": "b c", "B": 'd"e'}),
        ("A=b \\\nc\n", {"A": "b c"}),
        ("A=  b c  \n", {"A": "b c"}),
        ("A=\"b\n c\"\n", {"A": "b\n c"}),
        ("1A=b\nexport B=c\n", {}),
        ("# x \\\nA=b\nC=d", {"C": "d"}),
    ],
)  # fmt: skip
def test_environment_files_are_read_as_the_manual_has_them(text: str, values: dict[str, str]) -> None:
    assert systemd.read_environment_file(text) == values


@pytest.mark.parametrize("seed", range(3))
def test_random_environment_files_are_read_as_systemd_reads_them(seed: int, tmp_path: Path) -> None:
    pick = random.Random(seed)
    pieces = [
        "A=",
        "B=",
        "C=",
        "a",
        "b c",
        "\n",
        "\n",
        "\r",
        "\r\n",
        "\t",
        " ",
        "\\",
        "'",
        '"',
        "#",
        ";",
        "=",
        "$",
        "`",
    ]
    pieces += ["\ufffe", "\udcff", "\u00e9", "\x01", "\0"]
    weights = [4] * (len(pieces) - 5) + [1] * 5
    file = tmp_path / "file"
    read = 0
    for _ in range(1000):
        text = "".join(pick.choices(pieces, weights, k=pick.randrange(1, 20)))
        file.write_text(text, newline="", errors="surrogateescape")
        theirs = systemd_peer.read_environment_file(file)
        try:
            ours = systemd.read_environment_file(text)
        except systemd.Malformed:
            assert theirs is None, repr(text)
            continue
        pairs = [one.decode().partition("=") for one in theirs or []]
        # What is no variable, or has another control character than these, is removed before the start.
        wanted = {name: value for name, _, value in pairs if name in ("A", "B", "C") and "\x01" not in value}
        if not any("\r" in value for value in wanted.values()):
            assert {name: value for name, value in ours.items() if name in ("A", "B", "C")} == wanted, repr(text)
            read += 1
    assert read > 300


@pytest.mark.parametrize("seed", range(3))
def test_random_variables_are_replaced_as_systemd_replaces_them(seed: int) -> None:
    pick = random.Random(seed)
    environment = {"A": "x", "B": "y 'z w' \\-v \"a\\b\"", "C": ""}
    pieces = ["$", "{", "}", "A", "B", "${A}", "${B}", "${C}", "${D}", "$$", ":", "-", "a", " "]
    for _ in range(1000):
        words = ["".join(pick.choices(pieces, k=pick.randrange(1, 8))) for _ in range(3)]
        theirs = systemd_peer.replace_variables(
            [one.encode() for one in words], [f"{name}={value}".encode() for name, value in environment.items()]
        )
        entries = {name: systemd.Entry(name, value, "") for name, value in environment.items()}
        line = " ".join(f'"{word}"' for word in words)
        (ours,) = systemd.read_commands(systemd.Entry("ExecStart", "/bin/a " + line, ""), "a.service", entries)

        assert list(ours.arguments) == [one.decode() for one in theirs], words


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A='x\\-y'\n", "x-y"),
        ('A="x\\-y"\n', "x-y"),
        ('A="x\\\ny"\n', "xy"),
        ("A='x\\\ny'\n", "xy"),
        ("A='x\\'y'\n", "x'y"),
    ],
)
def test_before_version_247_a_backslash_hides_what_follows_it_in_every_quotation(text: str, value: str) -> None:
    # By hand from parse_env_file_internal() of version 239.
    assert systemd.read_environment_file(text, 239) == {"A": value}


@pytest.mark.parametrize(
    ("release", "text", "there"),
    [
        ("9.4", 'Environment=A=b\nEnvironment="A=\\x0b"', "b"),  # a control character
        ("7.9", 'Environment=A=b\nEnvironment="A=\\n"', "b"),
        ("9.4", 'Environment=A=b\nEnvironment="A=\\n"', "\n"),
        ("7.9", "Environment=A=b\nUnsetEnvironment=A", "b"),  # which version 235 brought
        ("9.4", "Environment=A=b\nUnsetEnvironment=A", None),
    ],
)
def test_a_variable_is_replaced_or_unset_where_the_nodes_systemd_does_so(
    release: str, text: str, there: str | None, tmp_path: Path
) -> None:
    roots.write(tmp_path, "/etc/os-release", f'ID="rhel"\nVERSION_ID="{release}"\n')
    roots.write(tmp_path, "/etc/systemd/system/a.service", f"[Service]\nExecStart=/bin/a\n{text}\n")

    (unit,) = systemd.Units(str(tmp_path)).load_all()

    assert (unit.environment["A"].value if "A" in unit.environment else None) == there


@pytest.mark.parametrize(
    ("release", "there"),
    [
        ("7.9", ("%E/a", "%j", "%G", "/run")),
        ("8.4", ("/etc/a", "c", "%G", "/run")),
        ("9.4", ("/etc/a", "c", "0", "/run")),
    ],
)
def test_a_specifier_that_the_nodes_systemd_does_not_know_stays_as_it_is(
    release: str, there: tuple[str, ...], tmp_path: Path
) -> None:
    # %E came with version 236, %j with 239, %G with 240.
    roots.write(tmp_path, "/etc/os-release", f'ID="rhel"\nVERSION_ID="{release}"\n')
    roots.write(tmp_path, "/etc/systemd/system/b-c.service", "[Service]\nExecStart=/bin/a %E/a %j %G %t\n")

    (unit,) = systemd.Units(str(tmp_path)).load_all()

    assert unit.commands[0].arguments == there


@pytest.mark.parametrize(
    ("release", "there"), [("7.9", ('--config="/etc/a"', "b c", '"d"')), ("8.4", ("--config=/etc/a", "b c", "d"))]
)
def test_in_release_7_marks_within_a_word_are_letters_as_others(
    release: str, there: tuple[str, ...], tmp_path: Path
) -> None:
    # By hand from FOREACH_WORD_QUOTED of version 219.
    roots.write(tmp_path, "/etc/os-release", f'ID="rhel"\nVERSION_ID="{release}"\n')
    text = '[Service]\nEnvironment=A="d"\nExecStart=/bin/a --config="/etc/a" \'b c\' ${A}\n'
    roots.write(tmp_path, "/etc/systemd/system/a.service", text.replace('\\"', '"'))

    (unit,) = systemd.Units(str(tmp_path)).load_all()

    assert unit.commands[0].arguments == there


def test_in_release_7_a_word_that_goes_on_behind_its_quotation_is_a_doubt(tmp_path: Path) -> None:
    roots.write(tmp_path, "/etc/os-release", 'ID="rhel"\nVERSION_ID="7.9"\n')
    roots.write(tmp_path, "/etc/systemd/system/a.service", "[Service]\nExecStart=/bin/a 'b'c\n")

    (unit,) = systemd.Units(str(tmp_path)).load_all()

    assert unit.doubts


@pytest.mark.parametrize(("release", "doubts"), [("7.9", True), ("8.4", True), ("9.4", False)])
def test_until_release_8_a_programs_path_has_no_specifiers(release: str, doubts: bool, tmp_path: Path) -> None:
    roots.write(tmp_path, "/etc/os-release", f'ID="rhel"\nVERSION_ID="{release}"\n')
    roots.write(tmp_path, "/etc/systemd/system/a.service", "[Service]\nExecStart=/opt/%N\n")

    (unit,) = systemd.Units(str(tmp_path)).load_all()

    assert bool(unit.commands[0].doubt) == doubts


@pytest.mark.parametrize(("release", "doubts"), [("7.9", True), ("8.4", False)])
def test_a_line_that_release_7_splits_is_a_doubt(release: str, doubts: bool, tmp_path: Path) -> None:
    roots.write(tmp_path, "/etc/os-release", f'ID="rhel"\nVERSION_ID="{release}"\n')
    text = "[Service]\n#" + "x" * 2046 + "ExecStart=/opt/agent\nExecStart=/bin/a\n"
    roots.write(tmp_path, "/etc/systemd/system/a.service", text)

    (unit,) = systemd.Units(str(tmp_path)).load_all()

    assert bool(unit.doubts) == doubts


def test_a_setting_that_is_not_utf_8_is_a_doubt_and_a_description_is_not(tmp_path: Path) -> None:
    for name, text in (
        ("a", b"[Unit]\nDescription=caf\xe9\n[Service]\n"),
        ("b", b"[Service]\nUnsetEnvironment=A \xff\n"),
    ):
        roots.write(tmp_path, f"/etc/systemd/system/{name}.service", "")
        (tmp_path / f"etc/systemd/system/{name}.service").write_bytes(text + b"Environment=A=b\nExecStart=/bin/a\n")

    found = {one.name: bool(one.doubts) for one in systemd.Units(str(tmp_path)).load_all()}

    assert found == {"a.service": False, "b.service": True}


@pytest.mark.parametrize("other", ["ManagerEnvironment=", "ManagerEnvironment=A="])
def test_what_one_setting_of_the_manager_sets_another_does_not_take_back(other: str, tmp_path: Path) -> None:
    roots.write(tmp_path, "/etc/systemd/system.conf", f"[Manager]\nDefaultEnvironment=A=b\n{other}\n")
    roots.write(tmp_path, "/etc/systemd/system/a.service", "[Service]\nExecStart=/bin/a\n")

    (unit,) = systemd.Units(str(tmp_path)).load_all()

    assert unit.environment["A"].value == "b"


@pytest.mark.parametrize(
    ("word", "arguments"),
    [
        ("$A", ("x", "y z")),
        ("${A}", ("x 'y z'",)),
        ("a${A}b$A", ("ax 'y z'b$A",)),
        ("$$A", ("$A",)),
        ("$NONE", ()),
        ("${NONE}", ("",)),
    ],
)
def test_variables_are_replaced_as_the_manual_has_them(word: str, arguments: tuple[str, ...], tmp_path: Path) -> None:
    # By hand from systemd.service(5), COMMAND LINES.
    text = f"[Service]\nEnvironment=\"A=x 'y z'\"\nExecStart=/bin/echo {word}\n"
    roots.write(tmp_path, "/etc/systemd/system/a.service", text)

    (unit,) = systemd.Units(str(tmp_path)).load_all()

    assert unit.commands[0].arguments == arguments


@pytest.mark.parametrize(
    ("release", "library", "doubts"),
    [
        ("7.9", None, False),
        ("7.9", "libsystemd-shared-239.so", True),
        ("8.4", "libsystemd-shared-239.so", False),
        ("8.4", "libsystemd-shared-252.so", True),
        ("9.0", "libsystemd-shared-250.so", False),
        ("9.4", "libsystemd-shared-239.so", True),
        ("10.0", "libsystemd-shared-257-9.el10.so", False),
    ],
)
@pytest.mark.parametrize("directory", ["/usr/lib/systemd", "/usr/lib64/systemd"])
def test_another_systemd_than_the_releases_is_a_doubt(
    directory: str, release: str, library: str | None, doubts: bool, tmp_path: Path
) -> None:
    # With the rules of another version, other units and drop-ins would be loaded.
    roots.write(tmp_path, "/etc/os-release", f'VERSION_ID="{release}"\n')
    if library is not None:
        roots.write(tmp_path, f"{directory}/{library}", "x")

    assert bool(systemd.Units(str(tmp_path)).doubts) == doubts
