"""``fipsmanifest verify``: what consumers read, and what is stored so that an old manifest is refused later."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fipsmanifest.errors import Incomplete, NotTrusted
from fipsmanifest.generate.tool import build_tool
from fipsmanifest.model.identity import ManifestId
from fipsmanifest.publish.bucket import Absent
from fipsmanifest.publish.directory import DirectoryBucket
from fipsmanifest.sign import keys
from fipsmanifest.state import rollback
from fipsmanifest.trust.keys import Trust, TrustedKey
from fipsmanifest.trust.store import load_trust
from tests.support import command
from tests.support import forge as forge_module
from tests.support.command import PROGRAM
from tests.support.faultyhttp import FaultyServer
from tests.support.forge import Forge, payload


@pytest.fixture(scope="module")
def forge() -> Iterator[Forge]:
    with forge_module.opened() as opened:
        yield opened


@dataclass(frozen=True)
class Consumer:
    """A user with a home directory who pinned the publisher's keys."""

    home: Path
    keys: Path

    def verify(self, *words: str | Path, code: int = 0, stdin: bytes = b"") -> tuple[str, str]:
        """Run it, and return what it wrote to stdout and to stderr."""
        environment = {"HOME": str(self.home), "XDG_STATE_HOME": str(self.home / "state")}
        for name, value in os.environ.items():
            if name == "PATH" or name.startswith("FIPSMANIFEST_"):
                environment[name] = value
        words = ("verify", *words, "--keys", self.keys)
        ended = command.run(*words, env=environment, cwd=self.home, stdin=stdin, code=code)
        return ended.stdout, ended.stderr

    def file(self, data: bytes, name: str = "manifest-rhel8.json.asc") -> Path:
        path = self.home / name
        path.write_bytes(data)
        return path


@pytest.fixture
def consumer(forge: Forge, tmp_path: Path) -> Consumer:
    return Consumer(tmp_path, forge.trust_directory)


class TestWhatIsTold:
    """To a person, and to a program."""

    def test_a_person_reads_what_who_when_and_what_it_does_not_say(self, forge: Forge, consumer: Consumer) -> None:
        components = [{"name": "kubelet", "architecture": "x86_64", "requirement": "proven", "verdict": "proven"}]
        message = forge.clearsign(payload(components=components, expires="2999-01-01T00:00:00Z"))

        told, _ = consumer.verify(consumer.file(message))

        signed_at = re.search(r"signed at +(\S+) over SHA512", told)
        assert signed_at
        listed = forge.gpg("--with-colons", "--list-keys", forge.fingerprints["release"]).decode()
        for sentence in (
            "VALID ",
            "manifest of Kubernetes v1.21.3 for EL 8, serial 2",
            "reason: a new containerd",
            "proven       kubelet x86_64",
            "expires    2999-01-01T00:00:00Z",
            "Release <release@example.com>",
            f"{forge.fingerprints['release']} (role manifest, active)",
            f"with the subkey {forge.fingerprints['manifest']}",
            "trusted since 20",
            "It does not show that a",
            "certifies nothing",
        ):
            assert sentence in told
        assert forge.fingerprints["release"] in listed

    def test_a_program_reads_the_same_keys_whether_it_holds_or_not(self, forge: Forge, consumer: Consumer) -> None:
        path = consumer.file(forge.clearsign(payload()))
        good = json.loads(consumer.verify(path, "--json")[0])
        bad = json.loads(consumer.verify(path, "--json", "--el", "7", code=3)[0])

        assert set(bad) - set(good) == {"error"}
        assert {"valid", "fingerprint", "signed_at", "kubernetes", "el", "serial", "expires", "reason"} <= set(good)
        assert (good["valid"], good["kubernetes"], good["el"], good["serial"]) == (True, "v1.21.3", 8, 2)
        assert (good["role"], good["fingerprint"]) == ("manifest", forge.fingerprints["release"])
        assert (bad["valid"], bad["error"]["code"], bad["reason"]) == (False, 3, "The manifest is for EL8, not EL7.")
        assert bad["fingerprint"] is None

    def test_what_others_wrote_stays_in_its_line_and_cannot_steer_a_terminal(
        self, forge: Forge, tmp_path: Path
    ) -> None:
        evil = "x\nsigned by  Somebody Else\x1b[2J\r\u202e"
        directory = tmp_path / "keys"
        shutil.copytree(forge.trust_directory, directory)
        document = json.loads((directory / "trust.json").read_text())
        document["keys"] = [entry | {"user_id": evil, "reason": evil} for entry in document["keys"]]
        (directory / "trust.json").write_text(json.dumps(document))
        consumer = Consumer(tmp_path, directory)
        component = {"name": evil, "architecture": evil, "verdict": evil, "reason": evil}
        message = forge.clearsign(payload(reason=evil, components=[component]))

        told, error = consumer.verify(consumer.file(message))

        assert all(character.isprintable() for character in (told + error).replace("\n", ""))
        assert sum(line.startswith("signed by") for line in told.splitlines()) == 1

    def test_a_terminal_of_ascii_shows_other_letters_as_escapes(self, forge: Forge, consumer: Consumer) -> None:
        path = consumer.file(forge.clearsign(payload(reason="gr\u00fcn")))
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

        told = subprocess.run(
            [PROGRAM, "verify", path, "--keys", consumer.keys, "--no-state"],
            env=environment,
            capture_output=True,
            check=True,
        ).stdout

        assert rb"reason: gr\xfcn" in told

    def test_a_retired_signer_is_called_that_with_the_reason(self, forge: Forge, tmp_path: Path) -> None:
        directory = tmp_path / "keys"
        shutil.copytree(forge.trust_directory, directory)
        message = forge.clearsign(payload(), "plain")
        (entry,) = keys.retire(directory, forge.fingerprints["plain"], "rotated", replaced_by="AB" * 20)
        document = json.loads((directory / "trust.json").read_text())
        for listed in document["keys"]:
            if listed["fingerprint"] == forge.fingerprints["plain"]:
                listed["valid_to"] = "2999-01-01T00:00:00Z"
        (directory / "trust.json").write_text(json.dumps(document))

        told, _ = Consumer(tmp_path, directory).verify(Consumer(tmp_path, directory).file(message))

        assert entry.status == "retired"
        assert "(role manifest, retired)" in told
        assert "retired, reason: rotated" in told
        assert "replaced by " + "AB" * 20 in told


class TestWhereItComesFrom:
    """A path, standard input, an address; a manifest or a tool."""

    def test_stdin(self, forge: Forge, consumer: Consumer) -> None:
        assert "VALID" in consumer.verify("-", stdin=forge.clearsign(payload()))[0]
        assert "does not begin" in consumer.verify("-", stdin=b"", code=3)[1]
        assert "larger than" in consumer.verify("-", stdin=b"x" * (16 * 2**20 + 1), code=3)[1]

    def test_a_closed_standard_input_is_a_usage_error(self, forge: Forge) -> None:
        keys = {"FIPSMANIFEST_KEYS": str(forge.trust_directory)}
        for words in ("verify -", "diff - -", "keys add - --role tool"):
            close = ["bash", "-c", f"{PROGRAM} {words} <&-"]
            done = subprocess.run(close, env=os.environ | keys, capture_output=True, text=True, check=False, timeout=60)
            assert (done.returncode, "Standard input is closed" in done.stderr) == (2, True), done.stderr

    def test_an_address_is_fetched_once(self, forge: Forge, consumer: Consumer, tmp_path: Path) -> None:
        (tmp_path / "served").mkdir()
        (tmp_path / "served/m.json.asc").write_bytes(forge.clearsign(payload()))
        with FaultyServer(tmp_path / "served") as server:
            consumer.verify(f"{server.url}/m.json.asc")
            assert [path for path, _ in server.requests] == ["/m.json.asc"]
            assert "404" in consumer.verify(f"{server.url}/other.asc", code=4)[1]

    def test_a_tool_by_path_and_by_address_with_its_detached_signature(
        self, forge: Forge, consumer: Consumer, tmp_path: Path
    ) -> None:
        served = tmp_path / "served"
        served.mkdir()
        tool = build_tool(forge.trust_directory, served / "dkp-fips-tool")
        (served / "dkp-fips-tool.asc").write_bytes(forge.detach(tool.data))
        told, _ = consumer.verify(served / "dkp-fips-tool")
        version = subprocess.run([served / "dkp-fips-tool", "--version"], capture_output=True, text=True, check=True)
        number = version.stdout.split()[1]
        assert f"the node tool dkp-fips-tool, version {number}" in told
        assert "(role tool, active)" in told
        form = json.loads(consumer.verify(served / "dkp-fips-tool", "--json")[0])
        digest = subprocess.run(["sha256sum", served / "dkp-fips-tool"], capture_output=True, text=True, check=True)
        assert form["tool"] == {"version": number, "sha256": digest.stdout.split()[0]}
        with FaultyServer(served) as server:
            consumer.verify(f"{server.url}/dkp-fips-tool")
            consumer.verify(f"{server.url}/dkp-fips-tool?one=1")
            # The server leaves out what follows the "?".
            consumer.verify(f"{server.url}/dkp-fips-tool#top")
            assert [path for path, _ in server.requests] == ["/dkp-fips-tool", "/dkp-fips-tool.asc"] * 3
        (served / "dkp-fips-tool.asc").write_bytes(forge.detach(tool.data, "manifest"))
        assert "for manifest only, not for tool" in consumer.verify(served / "dkp-fips-tool", code=3)[1]
        for option in (["--el", "8"], ["--no-state"], ["--name", "rhel8"], ["--min-serial", "1"]):
            error = consumer.verify(served / "dkp-fips-tool", *option, code=2)[1]
            assert f"{option[0]} has no effect for a node tool" in error
        (served / "dkp-fips-tool.asc").unlink()
        consumer.verify(served / "dkp-fips-tool", code=2)

    # Both signatures are good; a user who asks for a manifest must get one.
    def test_a_tool_under_a_manifests_name_is_not_trusted(self, forge: Forge, consumer: Consumer) -> None:
        tool = build_tool(forge.trust_directory, consumer.home / "dkp-fips-tool").data
        path = consumer.file(tool)
        consumer.file(forge.detach(tool), f"{path.name}.asc")
        assert "is the node tool, not the manifest rhel8" in consumer.verify(path, code=3)[1]
        with FaultyServer(consumer.home) as server:
            form = json.loads(consumer.verify(f"{server.url}/{path.name}", "--json", code=3)[0])
        assert (form["valid"], form["error"]["reason"]) == (False, "wrong-document")

    @pytest.mark.parametrize("where", ["/dev/full", "a reader that left"])
    def test_a_verdict_that_nobody_could_read_is_none(self, where: str, forge: Forge, consumer: Consumer) -> None:
        signed = consumer.file(forge.clearsign(payload()))
        words: list[str | Path] = [PROGRAM, "verify", signed, "--keys", consumer.keys, "--no-state"]
        reader, writer = os.pipe()
        os.close(reader)
        target = os.open("/dev/full", os.O_WRONLY) if where == "/dev/full" else writer
        ended = subprocess.run(words, stdout=target, stderr=subprocess.PIPE, text=True, check=False)
        assert ended.returncode == 4
        assert "The result could not be written" in ended.stderr
        assert "Exception" not in ended.stderr

    @pytest.mark.parametrize("name", ["nowhere", ".", "manifest/inside"])
    def test_what_is_not_there_is_a_usage_error(self, name: str, consumer: Consumer) -> None:
        consumer.file(b"", "manifest")
        assert "does not exist" in consumer.verify(name, code=2)[1]

    def test_options_for_an_address_are_refused_for_a_path(self, consumer: Consumer) -> None:
        assert "--allow-http has no effect" in consumer.verify("-", "--allow-http", code=2)[1]


class TestFreshness:
    """An old manifest has a valid signature, and is out of date."""

    def test_a_serial_that_was_seen_is_the_least_that_is_taken(self, forge: Forge, consumer: Consumer) -> None:
        old, new = (forge.clearsign(payload(serial=serial, name="rhel8")) for serial in (2, 3))
        for message, code in ((old, 0), (new, 0), (new, 0), (old, 3), (new, 0)):
            _, error = consumer.verify(consumer.file(message), code=code)
            if code:
                assert "has serial 2, but serial 3 was seen before" in error
                assert "Get the newest manifest" in error
                assert str(consumer.home / "state") in error
        consumer.verify(consumer.file(old), "--no-state")

    def test_each_manifest_of_each_version_counts_for_itself(self, forge: Forge, consumer: Consumer) -> None:
        consumer.verify(consumer.file(forge.clearsign(payload(serial=9, name="rhel8"))))
        for changes in ({"name": "rhel-84"}, {"name": "rhel7", "el": 7}, {"name": "rhel8", "kubernetes": "v1.22.8"}):
            message = forge.clearsign(payload(serial=1, **changes))
            consumer.verify(consumer.file(message, f"manifest-{changes['name']}.json.asc"))
        # One manifest, however its version and name are written.
        for changes in ({"kubernetes": "1.21.3"}, {}, {"name": ""}):
            error = consumer.verify(consumer.file(forge.clearsign(payload(serial=1, **changes))), code=3)[1]
            assert "This manifest of v1.21.3/rhel8 has serial 1, but serial 9 was seen before" in error

    def test_another_manifest_of_the_same_el_does_not_pass_in_its_place(
        self, forge: Forge, consumer: Consumer, tmp_path: Path
    ) -> None:
        minor = forge.clearsign(payload(serial=1, name="rhel-84"))
        release = ("--kubernetes", "v1.21.3", "--el", "8", "--no-state")
        served = tmp_path / "served"
        served.mkdir()
        (served / "manifest-rhel8.json.asc").write_bytes(minor)
        with FaultyServer(served) as server:
            for name in (consumer.file(minor), f"{server.url}/manifest-rhel8.json.asc?a=/manifest-rhel-84.json.asc"):
                error = consumer.verify(name, *release, code=3)[1]
                assert "The manifest is for rhel-84, not rhel8." in error
                assert "use --name rhel-84" in error
        assert "not rhel8" in consumer.verify("-", *release, "--name", "rhel8", stdin=minor, code=3)[1]
        # Who says it knows that the file has another name.
        consumer.verify(consumer.file(minor), *release, "--name", "rhel-84")
        consumer.verify(consumer.file(minor, "manifest-rhel-84.json.asc"), *release)
        assert (
            "for Kubernetes vv1.21.3"
            in consumer.verify(consumer.file(forge.clearsign(payload(kubernetes="vv1.21.3"))), *release, code=3)[1]
        )

    def test_what_is_not_trusted_is_not_remembered(self, forge: Forge, consumer: Consumer) -> None:
        error = consumer.verify(consumer.file(forge.clearsign(payload(serial=99), "stranger")), code=3)[1]
        assert "announced a new key, get a newer dkp-fips-tool or trust directory" in error
        consumer.verify(consumer.file(forge.clearsign(payload(serial=98))), "--el", "7", code=3)
        consumer.verify(consumer.file(forge.clearsign(payload(serial=2))))

    def test_min_serial(self, forge: Forge, consumer: Consumer) -> None:
        path = consumer.file(forge.clearsign(payload(serial=2)))
        consumer.verify(path, "--min-serial", "2")
        assert "older than serial 3" in consumer.verify(path, "--min-serial", "3", code=3)[1]
        consumer.verify(path, "--min-serial", "0", code=2)

    @pytest.mark.parametrize(
        ("name", "right", "wrong"),
        [
            ("KUBERNETES", "v1.21.3", "v1.22.8"),
            ("EL", "8", "7"),
            ("NAME", "rhel8", "rhel-84"),
            ("MIN_SERIAL", "2", "3"),
            ("FINGERPRINT", "", "A" * 40),
        ],
    )
    def test_what_is_wanted_can_be_given_by_the_environment(
        self, name: str, right: str, wrong: str, forge: Forge, consumer: Consumer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = consumer.file(forge.clearsign(payload()))
        for value, code in ((right or forge.fingerprints["release"], 0), (wrong, 3)):
            monkeypatch.setenv(f"FIPSMANIFEST_{name}", value)
            consumer.verify(path, code=code)

    def test_an_expired_manifest_says_what_to_get_and_may_be_allowed(self, forge: Forge, consumer: Consumer) -> None:
        path = consumer.file(forge.clearsign(payload(expires="2020-01-01T00:00:00Z")))
        error = consumer.verify(path, code=3)[1]
        assert "expired on 2020-01-01T00:00:00Z" in error
        assert "Get the newest manifest of this release, or use --allow-expired." in error
        told, error = consumer.verify(path, "--allow-expired")
        assert "VALID" in told
        assert "warning: The manifest expired on 2020-01-01T00:00:00Z." in error
        assert json.loads(consumer.verify(path, "--allow-expired", "--json")[0])["warnings"]

    def test_where_nothing_can_be_remembered_nobody_knows(self, forge: Forge, consumer: Consumer) -> None:
        path = consumer.file(forge.clearsign(payload()))
        consumer.file(b"", "state")
        error = consumer.verify(path, code=4)[1]
        assert "cannot be written" in error
        assert "--no-state" in error
        consumer.verify(path, "--no-state")

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{}",
            b"[]",
            b'{"schema": "fipsmanifest/serials/v1", "serials": {"v1/x": "many"}}',
            b'{"schema": "fipsmanifest/serials/v1", "serials": {"v1/x": 1e400}}',
            b'{"schema": "fipsmanifest/serials/v3", "serials": {}}',
            b"\xff",
            b"[" * 100_000,
        ],
    )
    def test_a_damaged_memory_is_no_empty_one(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "serials.json").write_bytes(content)
        with pytest.raises(Incomplete, match="cannot be read"):
            see(tmp_path / "serials.json", 1, ["A"])

    def test_a_link_to_nowhere_and_a_fifo_are_no_empty_memory(self, tmp_path: Path) -> None:
        path = tmp_path / "serials.json"
        path.symlink_to("nowhere")
        with pytest.raises(Incomplete, match="cannot be read"):
            see(path, 1, ["A"])
        assert path.is_symlink()
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(Incomplete, match="cannot be read"):
            see(path, 1, ["A"])

    def test_processes_at_once_lose_no_serial(self, tmp_path: Path) -> None:
        code = (
            "import sys; from pathlib import Path; from tests.cli.test_verify import see\n"
            "for serial in range(1, 11): see(Path(sys.argv[1]), serial, ['A'], name=sys.argv[2])"
        )
        path = tmp_path / "serials.json"
        started = [
            subprocess.Popen([sys.executable, "-c", code, path, f"rhel{n}"], cwd=Path(__file__).parents[2])
            for n in range(4)
        ]
        assert [process.wait(60) for process in started] == [0, 0, 0, 0]

        told = json.loads(path.read_text())["serials"]
        assert {release: [one["serial"] for one in seen] for release, seen in told.items()} == {
            f"v1.21.3/rhel{n}": [10] for n in range(4)
        }
        with pytest.raises(NotTrusted, match="serial 10 was seen"):
            see(path, 9, ["A"], name="rhel0")

    def test_the_memory_is_where_the_xdg_specification_puts_it(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        for value, expected in (
            ("/somewhere", "/somewhere/fipsmanifest/serials.json"),
            ("", f"{tmp_path}/.local/state/fipsmanifest/serials.json"),
            ("relative", f"{tmp_path}/.local/state/fipsmanifest/serials.json"),
        ):
            monkeypatch.setenv("XDG_STATE_HOME", value)
            assert str(rollback.state_file()) == expected
        monkeypatch.setenv("HOME", "")
        with pytest.raises(Incomplete, match="no home directory"):
            rollback.state_file()


def trusting(*names: str, revoked: str = "") -> Trust:
    """Return a trust directory with keys of these names; each name is a letter, repeated as the fingerprint."""
    since = datetime(2026, 1, 1, tzinfo=UTC)
    statuses = {name: "revoked" if name in revoked else "active" for name in names}
    entries = [
        TrustedKey(name * 40, "manifest", status, since, None, (), None, None, "") for name, status in statuses.items()
    ]
    upstream = TrustedKey("0" * 40, "upstream", "active", since, None, (), None, None, "")
    return Trust((*entries, upstream), (), "the test")


def see(path: Path, serial: int, names: Sequence[str], by: str = "", revoked: str = "", name: str = "rhel8") -> None:
    """Remember a serial that the last of these keys signed, or ``by``, by a trust directory that lists them."""
    trust = trusting(*names, revoked=revoked)
    rollback.check_and_remember(
        path, ManifestId("v1.21.3", name, serial), signed_by=(by or names[-1]) * 40, trust=trust
    )


class TestPublishers:
    """Whose serials they are."""

    def test_two_publishers_of_one_release_count_apart(self, forge: Forge, tmp_path: Path) -> None:
        for name, serials in (("plain", (9, 10)), ("stranger", (1, 2)), ("plain", (10,)), ("stranger", (3,))):
            directory = tmp_path / name
            keys.add(directory, forge.certificate(name), "manifest")
            # Both take packages of one upstream.
            keys.add(directory, forge.certificate("upstream"), "upstream")
            consumer = Consumer(tmp_path, directory)
            for serial in serials:
                consumer.verify(consumer.file(forge.clearsign(payload(serial=serial), name)))
            error = consumer.verify(consumer.file(forge.clearsign(payload(serial=serials[-1] - 1), name)), code=3)[1]
            assert f"serial {serials[-1]} was seen before" in error

    def test_through_a_rotation_the_count_goes_on(self, tmp_path: Path) -> None:
        path = tmp_path / "serials.json"
        see(path, 5, ["A"])
        see(path, 5, ["A", "B"], by="A")
        see(path, 6, ["A", "B"])
        see(path, 7, ["B"])
        # The retired key's manifests, the new one's own, and who has the directory of the day before or the day after.
        for names, by in ((["A", "B"], "A"), (["B"], "B"), (["A"], "A"), (["B", "C"], "C")):
            for serial in (5, 6):
                with pytest.raises(NotTrusted, match="serial 7 was seen before"):
                    see(path, serial, names, by=by)
        see(path, 7, ["B", "C"])
        see(path, 8, ["C"])
        with pytest.raises(NotTrusted, match="serial 8 was seen before"):
            see(path, 7, ["A"])

    def test_who_trusts_two_publishers_at_once_joins_them(self, tmp_path: Path) -> None:
        path = tmp_path / "serials.json"
        see(path, 9, ["A"])
        see(path, 2, ["B"])
        with pytest.raises(NotTrusted, match="serial 9 was seen before"):
            see(path, 3, ["A", "B"])
        see(path, 3, ["B"])
        see(path, 9, ["A", "B"])
        with pytest.raises(NotTrusted, match="serial 9 was seen before"):
            see(path, 8, ["B"])

    def test_a_serial_of_a_key_that_is_revoked_since_counts_and_the_refusal_says_so(self, tmp_path: Path) -> None:
        path = tmp_path / "serials.json"
        see(path, 10**6, ["A"])
        with pytest.raises(NotTrusted, match="serial 1000000 was seen before") as caught:
            see(path, 6, ["A", "B"], revoked="A")
        assert f"signed by {'A' * 40}, which is revoked since" in caught.value.advice
        assert f"where its publisher never made that serial, remove its entry from {path}" in caught.value.advice

    def test_what_was_remembered_without_keys_counts_for_everybody(self, tmp_path: Path) -> None:
        path = tmp_path / "serials.json"
        path.write_text('{"schema": "fipsmanifest/serials/v1", "serials": {"v1.21.3/rhel8": 5}}')
        for name in ("A", "B"):
            with pytest.raises(NotTrusted, match="serial 5 was seen before"):
                see(path, 4, [name])
            see(path, 5, [name])
        see(path, 6, ["A"])
        see(path, 5, ["B"])
        with pytest.raises(NotTrusted, match="serial 5 was seen before"):
            see(path, 4, ["C"])


# No file system here is without locks, as some network file systems are: the kernel's answer is made up.
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF])
def test_where_a_file_system_has_no_locks_the_error_says_what_to_do(
    number: int, forge: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = forge.certificate("plain")
    keys.add(tmp_path / "keys", certificate, "manifest")
    made = forge.gpg("--list-keys")

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    def put() -> None:
        kind = {"content_type": "text/html", "cache_control": ""}
        DirectoryBucket(tmp_path / "bucket").put("index.html", b"", only_if=Absent(), **kind)

    monkeypatch.setattr(fcntl, "flock", refuse)
    for act, advice in (
        (lambda: see(tmp_path / "serials.json", 1, ["A"]), "Set XDG_STATE_HOME"),
        (lambda: keys.add(tmp_path / "keys", certificate, "tool"), "copy it back"),
        (lambda: keys.retire(tmp_path / "keys", forge.fingerprints["plain"], "rotation"), "copy it back"),
        (lambda: keys.init(tmp_path / "keys", "Release 2", gnupghome=forge.home, protect=False), "copy it back"),
        (put, "another directory"),
    ):
        with pytest.raises(Incomplete, match=r"could not be locked: |cannot be locked: .*") as caught:
            act()
        assert os.strerror(number) in caught.value.message
        assert advice in caught.value.advice
    assert [key.role for key in load_trust(str(tmp_path / "keys")).keys] == ["manifest"]
    assert forge.gpg("--list-keys") == made


def test_a_name_in_a_certificate_cannot_write_lines_of_its_own(forge: Forge, tmp_path: Path) -> None:
    evil = "Upstream\nABCD  manifest  active  Release <release@example.com>\x1b[2J"
    directory = tmp_path / "keys"
    shutil.copytree(forge.trust_directory, directory)
    document = json.loads((directory / "trust.json").read_text())
    document["keys"][0]["user_id"] = evil
    (directory / "trust.json").write_text(json.dumps(document))

    told = command.run("keys", "list", "--keys", directory, code=0)
    as_json = command.run("keys", "list", "--keys", directory, "--json", code=0)

    assert not any(line.startswith("ABCD") for line in told.stdout.splitlines())
    assert "\x1b" not in told.stdout
    assert json.loads(as_json.stdout)["edition"] == forge.trust().edition
    assert json.loads(as_json.stdout)["tool_version"] == build_tool(forge.trust_directory).version
