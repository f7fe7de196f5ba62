"""How gpgv is run: never from PATH, with a time limit, and with nothing left behind."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from pathlib import Path

import pytest

from fipsmanifest.errors import Incomplete, NotTrusted
from fipsmanifest.trust import gpgv
from fipsmanifest.trust.verify import verify_cleartext, verify_detached
from tests.support.forge import Forge, payload

VERSION = '[ "$1" = --version ] && echo "gpgv (GnuPG) 2.2.40" && exit\n'


def script(path: Path, body: str) -> str:
    path.write_text("#!/bin/sh\n" + body)
    path.chmod(0o755)
    return str(path)


def use(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(gpgv, "_PROGRAMS", (program,))


def leftovers() -> list[str]:
    parents = [Path("/run"), Path("/dev/shm"), Path(tempfile.gettempdir())]  # noqa: S108 - where the private directory goes
    mine = f"fipsmanifest-{os.getpid()}-"
    return [path.name for parent in parents for path in parent.glob(f"{mine}*")]


def test_a_missing_gpgv_is_incomplete_and_names_the_package(forge: Forge, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "/nowhere/gpgv")

    with pytest.raises(Incomplete) as caught:
        verify_cleartext(forge.clearsign(payload()), forge.trust())

    assert "gnupg2" in caught.value.advice


def test_a_gpgv_that_comes_first_in_path_is_not_run(
    forge: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(tmp_path / "gpgv", f"touch {tmp_path}/was-run\nexit 0\n")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    assert verify_cleartext(forge.clearsign(payload()), forge.trust())
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize(
    "behaviour",
    ["sleep 60", "exec >&- 2>&-; sleep 60", "while :; do :; done"],
    ids=["silent", "closes its output", "busy"],
)
def test_a_gpgv_that_hangs_is_killed_and_incomplete(
    behaviour: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(
        monkeypatch,
        script(tmp_path / "gpgv", f"{VERSION}{behaviour}\n"),
    )
    started = time.monotonic()

    with pytest.raises(Incomplete, match="took more than"):
        gpgv.run(b"", b"data", limit=0.5)

    assert time.monotonic() - started < 10
    assert not leftovers()


def test_a_gpgv_that_never_stops_talking_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The status pipe's number is the argument after --status-fd.
    body = 'while [ "$1" != --status-fd ]; do shift; done\n'
    body += 'while :; do echo "[GNUPG:] GOODSIG x"; done >/proc/self/fd/"$2"\n'
    use(monkeypatch, script(tmp_path / "gpgv", VERSION + body))

    with pytest.raises(NotTrusted, match="more than 64 KiB"):
        gpgv.run(b"", b"data", limit=20)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("gpgv (GnuPG) 1.4.23", "older than GnuPG 2.0.22"),
        ("gpgv (GnuPG) 2.0.21", "older than GnuPG 2.0.22"),
        ("gpgv 2.2.40", "does not report its version"),
        ("", "does not report its version"),
    ],
)
def test_a_version_that_is_too_old_or_unknown_is_incomplete(
    said: str, sentence: str, forge: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = f'[ "$1" = --version ] && echo "{said}" && exit\nexec /usr/bin/gpgv "$@"\n'
    use(monkeypatch, script(tmp_path / "gpgv", body))

    with pytest.raises(Incomplete, match=sentence):
        verify_cleartext(forge.clearsign(payload()), forge.trust())
    with pytest.raises(Incomplete, match=sentence):
        verify_detached(b"tool", forge.detach(b"tool"), forge.trust(), "tool")


class TestWithoutGpgv:
    """gpg replaces gpgv, and is tested in the same way; `test_attacks` runs the corpus with it."""

    @pytest.fixture(autouse=True)
    def no_gpgv(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gpgv, "_PROGRAMS", [name for name in gpgv._PROGRAMS if "gpgv" not in name])

    def test_gpg_verifies_what_gpgv_does(self, forge: Forge) -> None:
        assert gpgv.find() in ("/usr/bin/gpg", "/usr/bin/gpg2")
        assert verify_cleartext(forge.clearsign(payload()), forge.trust()).payload == payload()
        assert verify_detached(b"tool", forge.detach(b"tool"), forge.trust(), "tool")
        with pytest.raises(NotTrusted, match="does not fit"):
            verify_detached(b"another", forge.detach(b"tool"), forge.trust(), "tool")

    # Story: root's own gpg knows the stranger, trusts them fully and fetches missing keys: nothing of that counts.
    def test_what_the_users_own_gpg_believes_does_not_count(
        self, forge: Forge, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GNUPGHOME", str(forge.home))
        monkeypatch.setenv("HOME", str(forge.home))

        with pytest.raises(NotTrusted, match="not trusted here"):
            verify_cleartext(forge.clearsign(payload(), "stranger"), forge.trust())

    def test_nothing_of_it_is_left_behind_and_no_agent_is_started(self, forge: Forge) -> None:
        verify_cleartext(forge.clearsign(payload()), forge.trust())

        assert not leftovers()
        commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
        assert not [command for command in commands if f"fipsmanifest-{os.getpid()}-".encode() in command]

    def test_an_old_gpg_gives_no_text_and_is_not_asked_for_it(
        self, forge: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        body = (
            '[ "$1" = --version ] && echo "gpg (GnuPG) 2.0.22" && exit\n'
            'for a; do [ "$a" = --output ] && exit 2; done\nexec /usr/bin/gpg "$@"\n'
        )
        use(monkeypatch, script(tmp_path / "gpg2", body))

        # 2.2 says PLAINTEXT only where it was asked to write it, 2.0 never.
        assert verify_cleartext(forge.clearsign(payload()), forge.trust()).payload == payload()


def test_a_program_that_is_no_program_is_incomplete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gpgv").write_bytes(b"\x7fELF nonsense")
    (tmp_path / "gpgv").chmod(0o755)
    use(monkeypatch, str(tmp_path / "gpgv"))

    with pytest.raises(Incomplete, match="does not run"):
        gpgv.run(b"", b"data")


def test_a_gpgv_too_old_to_give_the_text_leaves_the_strict_reading(
    forge: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # EL7 ships GnuPG 2.0.22, whose gpgv knows neither --output nor NEWSIG.
    body = (
        '[ "$1" = --version ] && echo "gpgv (GnuPG) 2.0.22" && exit\n'
        'for a; do [ "$a" = --output ] && exit 2; done\nexec /usr/bin/gpgv "$@"\n'
    )
    use(monkeypatch, script(tmp_path / "gpgv", body))

    assert verify_cleartext(forge.clearsign(payload()), forge.trust()).payload == payload()
    with pytest.raises(NotTrusted, match="does not fit"):
        verify_cleartext(forge.clearsign(payload()).replace(b'"el": 8', b'"el": 7'), forge.trust())


def test_two_readings_that_differ_are_refused(forge: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = f'{VERSION}/usr/bin/gpgv "$@" || exit\nwhile [ "$1" != --output ]; do shift; done\necho "{{}}" >"$2"\n'
    use(monkeypatch, script(tmp_path / "gpgv", body))

    with pytest.raises(NotTrusted, match="different texts"):
        verify_cleartext(forge.clearsign(payload()), forge.trust())


def test_what_a_failed_gpgv_wrote_is_never_read(forge: Forge) -> None:
    outcome = gpgv.run(forge.trust().keyring(), forge.clearsign(payload()).replace(b'"el": 8', b'"el": 7'))

    assert outcome.exit_code != 0 and outcome.output is None


def test_nothing_is_left_behind(forge: Forge) -> None:
    verify_cleartext(forge.clearsign(payload()), forge.trust())

    assert not leftovers()


class TestLeftBehind:
    """What a run left that was killed by SIGKILL: removed by the next one, where it is ours beyond doubt."""

    GONE = 4194305  # one more than the highest number that a process may have (proc(5), pid_max)

    def left(self, parent: Path, pid: int = GONE, age: float = 3600, mode: int = 0o700) -> Path:
        directory = parent / f"fipsmanifest-{pid}-{'a' * 16}"
        directory.mkdir()
        (directory / "keyring").write_bytes(b"")
        directory.chmod(mode)
        then = time.time() - age
        os.utime(directory, (then, then))
        return directory

    def sweep(self, parent: Path, forge: Forge, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TMPDIR", str(parent))
        verify_cleartext(forge.clearsign(payload()), forge.trust())

    def test_it_is_removed(self, tmp_path: Path, forge: Forge, monkeypatch: pytest.MonkeyPatch) -> None:
        directory = self.left(tmp_path)

        self.sweep(tmp_path, forge, monkeypatch)

        assert not directory.exists()

    @pytest.mark.parametrize(
        "why",
        [
            *("young", "running", "open to others", "another name", "a link", "in a folder of everybody"),
            pytest.param(
                "another's", marks=pytest.mark.skipif(os.geteuid() != 0, reason="root alone gives files away")
            ),
        ],
    )
    def test_what_may_be_anothers_stays(
        self, why: str, tmp_path: Path, forge: Forge, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        directory = self.left(
            tmp_path,
            os.getppid() if why == "running" else self.GONE,
            30 if why == "young" else 3600,
            0o755 if why == "open to others" else 0o700,
        )
        if why == "another name":
            directory = directory.rename(tmp_path / "fipsmanifest-backup")
        elif why == "a link":
            target = directory.rename(tmp_path / "target")
            directory.symlink_to(target)
        elif why == "another's":
            os.chown(directory, 65534, 65534)
        elif why == "in a folder of everybody":
            tmp_path.chmod(0o777)

        self.sweep(tmp_path, forge, monkeypatch)

        assert (directory / "keyring").exists()


# A signal that one thread blocks is another's, and its handler runs in the first all the same.
@pytest.mark.parametrize("threads", [0, 1], ids=["alone", "beside another thread"])
@pytest.mark.parametrize("step", ["mkdir", "listdir", "unlink", "rmdir"])
def test_a_signal_while_the_directory_is_made_or_removed_leaves_nothing(
    step: str, threads: int, forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(number: int, _: object) -> None:
        raise KeyboardInterrupt(number)

    real = getattr(os, step)
    sent: list[int] = []

    def interrupted(*arguments: object) -> object:
        done = real(*arguments)
        # What earlier runs left behind is searched for before.
        if not sent and f"fipsmanifest-{os.getpid()}-" in str(arguments[0]):
            sent.append(signal.SIGTERM)
            if threads:
                os.kill(os.getpid(), signal.SIGTERM)
                for _ in range(500):
                    time.sleep(0.01)
            # To this thread, for a test runner has others, and a signal to the process may go to one of those.
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        return done

    done, others = threading.Event(), [threading.Thread(target=lambda: done.wait(60)) for _ in range(threads)]
    for other in others:
        other.start()
    before = signal.signal(signal.SIGTERM, stop)
    try:
        monkeypatch.setattr(os, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            verify_cleartext(forge.clearsign(payload()), forge.trust())
        monkeypatch.undo()
    finally:
        signal.signal(signal.SIGTERM, before)
        done.set()
        for other in others:
            other.join()

    assert sent and not leftovers()
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_files_are_private_whatever_the_umask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = tmp_path / "listing"
    body = f'{VERSION}stat -c "%a %n" "$2" "$2"/* >{listing}\nexit 1\n'
    use(monkeypatch, script(tmp_path / "gpgv", body))
    before = os.umask(0)
    try:
        gpgv.run(b"key", b"data", b"signature")
    finally:
        os.umask(before)

    modes = [line.split()[0] for line in listing.read_text().splitlines()]
    assert modes == ["700", "600", "600", "600"]
