"""`keys init` on a plain terminal: a real pseudoterminal, gpg's own agent, and pinentry that asks on it."""

from __future__ import annotations

import itertools
import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fipsmanifest.trust.store import load_trust
from tests.support.command import PROGRAM
from tests.support.gnupg import configure_agent, opened_home

SECRET = b"correct horse battery 1"
#: What pinentry-curses draws last, with every prompt.
PROMPT = b"<Cancel>"
#: To the button and press it. Escape would do nothing until pinentry gives up after a minute.
CANCEL = b"\t\t\r"


@pytest.fixture
def home() -> Iterator[Path]:
    with opened_home() as directory:
        home = directory / "gnupg"
        home.mkdir(0o700)
        configure_agent(home, "pinentry-program /usr/bin/pinentry-curses")
        yield home
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=True, timeout=30)


def init(home: Path, answers: Iterator[bytes]) -> tuple[int, bytes, int]:
    """Run it on a terminal of its own, and return the exit code, what the terminal showed, and how often gpg asked."""
    keys = home.parent / "keys"
    child, terminal = pty.fork()
    if child == 0:
        kept = {name: value for name, value in os.environ.items() if name != "GPG_TTY"}
        environment = {**kept, "TERM": "xterm", "HOME": str(home.parent), "GNUPGHOME": str(home)}
        arguments = ["fipsmanifest", "keys", "init", "--user-id", "Example <r@example.com>", "--keys", str(keys)]
        os.execve(PROGRAM, arguments, environment)  # noqa: S606 - the program under test
    shown, asked, seen = b"", 0, 0
    with os.fdopen(terminal, "r+b", buffering=0) as screen:
        while True:
            try:
                part = screen.read(65536)
            except OSError:  # the program has closed its terminal
                break
            if not part:
                break
            shown += part
            if PROMPT in shown[seen:]:
                seen, asked = len(shown), asked + 1
                screen.write(next(answers))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown, asked


@pytest.mark.timeout(600)
def test_gpg_asks_on_the_terminal_as_often_as_was_announced(home: Path) -> None:
    code, shown, asked = init(home, iter([SECRET + b"\r"] * 20))
    assert code == 0, shown.decode(errors="replace")
    assert b"asks for the new passphrase twice, and then about four more times" in shown
    assert asked == 6
    assert len(load_trust(str(home.parent / "keys")).keys) == 2


def test_whoever_gives_up_is_left_with_no_empty_backup(home: Path) -> None:
    # A second prompt would have no answer. The buttons are drawn again as they are chosen.
    code, shown, _ = init(home, itertools.chain([CANCEL], itertools.repeat(b"")))
    assert code == 4, shown.decode(errors="replace")
    assert b"Inappropriate ioctl" not in shown
    assert not (home / "fipsmanifest-backups").exists()
    assert not (home.parent / "keys/trust.json").exists()
