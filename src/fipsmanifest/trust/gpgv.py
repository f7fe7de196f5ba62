"""Runs of gpgv, or of gpg as gpgv; `statuslines` judges them.

gpgv is run from /usr/bin or /bin, never from PATH. If it is missing, gpg is used with the same keyring and judged by
the same status lines.
"""

import binascii
import contextlib
import errno
import os
import re
import select
import signal
import stat
import subprocess
import time
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..errors import Incomplete, NotTrusted
from .text import visible

TIME_LIMIT = 60.0
"""Seconds that one run of gpgv may take."""

_PROGRAMS = tuple(
    directory + name
    for names in (("gpgv", "gpgv2"), ("gpg2", "gpg"))
    for name in names
    for directory in ("/usr/bin/", "/bin/")
)
# Options with which gpg behaves as gpgv: no configuration, only keys of the keyring, no trust model, no network. It
# makes a trustdb and other files in its home directory, which is temporary.
_AS_GPGV = (
    ("--no-options", "--batch", "--no-tty", "--no-default-keyring", "--trust-model", "always")
    + ("--no-auto-check-trustdb", "--keyserver-options", "no-auto-key-retrieve", "--lock-never", "--verify")
)  # fmt: skip
_OLDEST = (2, 0, 22)
_OUTPUT_SINCE = (2, 1, 16)
_STOPPING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
_TEMPORARY_NAME = re.compile(r"fipsmanifest-[0-9]{1,10}-[0-9a-f]{16}\Z", re.ASCII)
_MAX_SWEPT = 100
_MAX_STATUS = 64 * 1024
_ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}

_versions: Dict[str, Tuple[int, ...]] = {}


class Outcome(NamedTuple):
    """One run of gpgv."""

    exit_code: int
    """Negative if a signal ended it."""
    status: bytes
    """The status lines, not parsed."""
    output: Optional[bytes]
    """The signed text as gpgv read it; None if gpgv is too old to return it, or failed."""
    has_output: bool
    """Whether this gpgv was asked for the signed text."""


def run(keyring: bytes, signed: bytes, signature: Optional[bytes] = None, limit: float = TIME_LIMIT) -> Outcome:
    """Run gpgv on ``signed``: a signed message, or with ``signature`` the bytes that this signature is over.

    ``keyring`` has the trusted certificates in binary form. Raises `Incomplete` if neither gpgv nor gpg can be run, if
    it is older than 2.0.22, or takes more than ``limit`` seconds.
    """
    program = find()
    version = _version(program)
    if version < _OLDEST:
        raise Incomplete(
            "The signature could not be checked: {} is older than GnuPG 2.0.22.".format(program),
            "Install the package gnupg2 (Enterprise Linux) or gpgv (Debian) of a release that is maintained.",
            reason="no-gnupg",
        )
    has_output = signature is None and version >= _OUTPUT_SINCE
    files = [("keyring", keyring), ("signed", signed)]
    if signature is not None:
        files.append(("signature", signature))
    # A signal must not interrupt this between the creation of the directory and its record, or during its removal.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    made: List[str] = []
    try:
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
            _sweep()
            directory = _private_directory(files, made)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            return _ask(program, directory, files, has_output, limit)
        finally:
            try:
                # The signals are blocked even if this raises for one that arrived just before.
                signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
            finally:
                _remove_all(made)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _ask(program: str, directory: str, files: Sequence[Tuple[str, bytes]], has_output: bool, limit: float) -> Outcome:
    command = [program, "--homedir", directory, "--keyring", os.path.join(directory, "keyring")]
    if not os.path.basename(program).startswith("gpgv"):
        command += _AS_GPGV
    output = os.path.join(directory, "output")
    if has_output:
        command += ["--output", output]
    exit_code, status = _run(command, [os.path.join(directory, name) for name, _ in files[:0:-1]], limit)
    payload = None
    if has_output and exit_code == 0:
        payload = _read_output(output, len(dict(files)["signed"]) + 1)
    return Outcome(exit_code, status, payload, has_output)


def find() -> str:
    """Return the path of gpgv, or of gpg if there is no gpgv. Raises `Incomplete` if there is neither."""
    for program in _PROGRAMS:
        if os.access(program, os.X_OK):
            return program
    raise Incomplete(
        "The signature could not be checked: neither gpgv nor gpg is in /usr/bin or /bin.",
        "Install it: the package is gnupg2 on Enterprise Linux and gpgv on Debian.",
        reason="no-gnupg",
    )


def _version(program: str) -> Tuple[int, ...]:
    if program not in _versions:
        try:
            text = subprocess.check_output(
                [program, "--version"], env=_ENVIRONMENT, stdin=subprocess.DEVNULL, timeout=TIME_LIMIT
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise _cannot_run(str(error))
        match = re.match(rb"gpgv? \(GnuPG[^)]*\) (\d+)\.(\d+)\.(\d+)", text)
        if match is None:
            raise _cannot_run("it does not report its version")
        _versions[program] = tuple(int(group) for group in match.groups())
    return _versions[program]


def _run(command: Sequence[str], inputs: Sequence[str], limit: float) -> Tuple[int, bytes]:
    deadline = time.monotonic() + limit
    reader, writer = os.pipe()
    try:
        try:
            process = subprocess.Popen(
                list(command) + ["--status-fd", str(writer), "--"] + list(inputs),
                env=_ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(writer,),
            )
        except OSError as error:
            raise _cannot_run(str(error))
        finally:
            os.close(writer)
        try:
            status = _read_until(reader, deadline)
            return process.wait(max(deadline - time.monotonic(), 0.1)), status
        except subprocess.TimeoutExpired:
            raise Incomplete(
                "The signature could not be checked: gpgv took more than {:.0f} seconds.".format(limit),
                "Run it again when the machine is less busy.",
                reason="timeout",
            )
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    finally:
        os.close(reader)


def _read_until(descriptor: int, deadline: float) -> bytes:
    status, poll = b"", select.poll()
    poll.register(descriptor, select.POLLIN)
    while len(status) <= _MAX_STATUS:
        remaining = deadline - time.monotonic()
        if remaining <= 0 or not poll.poll(remaining * 1000):
            raise subprocess.TimeoutExpired("gpgv", 0)
        chunk = os.read(descriptor, 4096)
        if not chunk:
            return status
        status += chunk
    raise NotTrusted(
        "gpgv reports more than 64 KiB about the signed file.", "Do not use the file.", reason="bad-signature"
    )


def _cannot_run(reason: str) -> Incomplete:
    return Incomplete(
        "The signature could not be checked: gpgv does not run ({}).".format(visible(reason)),
        "Install the package gnupg2 (Enterprise Linux) or gpgv (Debian) again.",
        reason="no-gnupg",
    )


def _private_directory(files: Sequence[Tuple[str, bytes]], made: List[str]) -> str:
    """Make a directory with ``files`` that only this user can access, in memory if possible, and return its path.

    The path is added to ``made``, which the caller removes, before the directory is made.
    """
    reason = "there is no parent directory"
    for parent in _parents():
        directory = os.path.join(
            parent, "fipsmanifest-{}-{}".format(os.getpid(), binascii.hexlify(os.urandom(8)).decode("ascii"))
        )
        made.append(directory)
        try:
            os.mkdir(directory, 0o700)
        except OSError as error:
            made.remove(directory)
            reason = "{}: {}".format(parent, error.strerror)
            continue
        try:
            for name, content in files:
                descriptor = os.open(os.path.join(directory, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
            return directory
        except OSError as error:
            reason = "{}: {}".format(parent, error.strerror)
    raise Incomplete(
        "The signature could not be checked: no temporary directory can be made ({}).".format(visible(reason)),
        "Set TMPDIR to a directory that can be written to.",
        reason="not-written",
    )


def _parents() -> Tuple[str, ...]:
    return ("/run", "/dev/shm", os.environ.get("TMPDIR", "/tmp"))  # noqa: S108


def _sweep() -> None:
    """Remove temporary directories of runs that were killed with SIGKILL.

    A directory must have this program's name, owner and mode, be of a process that no longer exists (in this PID
    namespace), be older than any run, and be where no other user can create or rename it.
    """
    for parent in _parents():
        with contextlib.suppress(OSError):
            status = os.stat(parent)
            shared = status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
            if shared or status.st_uid not in (0, os.geteuid()):
                continue
            for name in sorted(filter(_TEMPORARY_NAME.match, os.listdir(parent)))[:_MAX_SWEPT]:
                with contextlib.suppress(OSError):
                    _sweep_one(os.path.join(parent, name), int(name.split("-")[1]))


def _sweep_one(directory: str, pid: int) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        ours = status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) == 0o700
        if not ours or os.path.exists("/proc/{}".format(pid)) or time.time() - status.st_mtime < 2 * TIME_LIMIT:
            return
        for name in os.listdir(descriptor):
            os.unlink(name, dir_fd=descriptor)
        os.rmdir(directory)
    finally:
        os.close(descriptor)


def _remove_all(directories: Sequence[str]) -> None:
    try:
        for directory in directories:
            _remove(directory)
    except KeyboardInterrupt:
        # In a process of several threads, another thread can receive the signal that is blocked in this one.
        for directory in directories:
            _remove(directory)
        raise


def _remove(directory: str) -> None:
    try:
        for name in os.listdir(directory):
            os.unlink(os.path.join(directory, name))
        os.rmdir(directory)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise Incomplete(
                "The temporary directory {} could not be removed: {}.".format(directory, error.strerror), "Remove it."
            )


def _read_output(path: str, limit: int) -> Optional[bytes]:
    try:
        with open(path, "rb") as file:
            return file.read(limit)
    except OSError:
        return None
