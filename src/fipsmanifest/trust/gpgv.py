"""Running gpgv, or gpg as if it were gpgv, and reading what it says on its status pipe.

gpgv's exit code, its text output and the file it writes each say "good" of inputs that are not
(``tests/trust/test_attacks.py`` has them); only the status lines taken together tell. gpgv comes from /usr/bin or
/bin, never from PATH. Where it is missing gpg does the same, held to the same keyring and judged by the same lines.
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
from datetime import datetime, timezone
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..errors import Incomplete, NotTrusted
from . import openpgp
from .text import visible

TIME_LIMIT = 60.0
"""Seconds that one run of gpgv may take."""

_PROGRAMS = tuple(
    folder + name
    for names in (("gpgv", "gpgv2"), ("gpg2", "gpg"))
    for name in names
    for folder in ("/usr/bin/", "/bin/")
)
# What makes gpg answer as gpgv does: no configuration, no key but the keyring's, no opinion of its own about them,
# nothing fetched. It makes a trustdb and the like in its home folder, which is ours and goes.
_AS_GPGV = (
    ("--no-options", "--batch", "--no-tty", "--no-default-keyring", "--trust-model", "always")
    + ("--no-auto-check-trustdb", "--keyserver-options", "no-auto-key-retrieve", "--lock-never", "--verify")
)  # fmt: skip
_OLDEST = (2, 0, 22)
_OUTPUT_SINCE = (2, 1, 16)
_STOPPING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
_OURS = re.compile(r"fipsmanifest-[0-9]{1,10}-[0-9a-f]{16}\Z", re.ASCII)
_MAX_SWEPT = 100
_MAX_STATUS = 64 * 1024
_ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}

_versions: Dict[str, Tuple[int, ...]] = {}


class Outcome(NamedTuple):
    """One run of gpgv."""

    exit_code: int
    """Negative where a signal ended it."""
    status: bytes
    """The status lines as they came."""
    output: Optional[bytes]
    """The signed text as gpgv read it; None where gpgv is too old to give it, or where it failed."""
    has_output: bool
    """Whether this gpgv was asked for the signed text."""


class StatusLine(NamedTuple):
    """One line of the status pipe (GnuPG's doc/DETAILS)."""

    keyword: str
    """``GOODSIG``, ``VALIDSIG``, ..."""
    arguments: Tuple[str, ...]
    """The words after it."""


class ValidSignature(NamedTuple):
    """What gpgv proved: this key made this signature over the bytes it was given."""

    key: str
    """Fingerprint of the key that signed, a subkey's where a subkey did."""
    primary: str
    """Fingerprint of that key's primary key."""
    signed_at: datetime
    """When the signer says so."""
    hash_name: str
    """``SHA256``, ``SHA384`` or ``SHA512``."""
    key_expired: Optional[datetime]
    """When the key expired, where it did so after it signed; upstream's keys alone may."""


# ---- running -------------------------------------------------------------------------------------------------------


def run(keyring: bytes, signed: bytes, signature: Optional[bytes] = None, limit: float = TIME_LIMIT) -> Outcome:
    """Have gpgv check ``signed`` (a signed message, or with ``signature`` the bytes that it is over).

    ``keyring`` holds binary certificates, and nothing else is trusted. Raises `Incomplete` where neither gpgv nor gpg
    can be run, where it is older than 2.0.22, or takes more than ``limit`` seconds.
    """
    program = find()
    version = _version(program)
    if version < _OLDEST:
        raise Incomplete(
            "The signature could not be checked: {} is older than GnuPG 2.0.22.".format(program),
            "Install the package gnupg2 (Enterprise Linux) or gpgv (Debian) of a release that is maintained.",
        )
    has_output = signature is None and version >= _OUTPUT_SINCE
    files = [("keyring", keyring), ("signed", signed)]
    if signature is not None:
        files.append(("signature", signature))
    # Stopped between making the folder and holding its name, or while it is removed, it would be left behind.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    made: List[str] = []
    try:
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
            _sweep()
            folder = _private_folder(files, made)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            return _ask(program, folder, files, has_output, limit)
        finally:
            try:
                # The signals are blocked even where this raises for one that had just come.
                signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
            finally:
                _remove_all(made)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _ask(program: str, folder: str, files: Sequence[Tuple[str, bytes]], has_output: bool, limit: float) -> Outcome:
    command = [program, "--homedir", folder, "--keyring", os.path.join(folder, "keyring")]
    if not os.path.basename(program).startswith("gpgv"):
        command += _AS_GPGV
    output = os.path.join(folder, "output")
    if has_output:
        command += ["--output", output]
    exit_code, status = _run(command, [os.path.join(folder, name) for name, _ in files[:0:-1]], limit)
    payload = None
    if has_output and exit_code == 0:
        payload = _read_output(output, len(dict(files)["signed"]) + 1)
    return Outcome(exit_code, status, payload, has_output)


def find() -> str:
    """Give the path of gpgv, or of gpg where there is none; raises `Incomplete` where there is neither."""
    for program in _PROGRAMS:
        if os.access(program, os.X_OK):
            return program
    raise Incomplete(
        "The signature could not be checked: neither gpgv nor gpg is in /usr/bin or /bin.",
        "Install it: the package is gnupg2 on Enterprise Linux and gpgv on Debian.",
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
            raise _cannot_run("it does not say its version")
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
    raise NotTrusted("gpgv has more to say about the signed file than about any good one.", "Do not use the file.")


def _cannot_run(reason: str) -> Incomplete:
    return Incomplete(
        "The signature could not be checked: gpgv does not run ({}).".format(visible(reason)),
        "Install the package gnupg2 (Enterprise Linux) or gpgv (Debian) again.",
    )


def _private_folder(files: Sequence[Tuple[str, bytes]], made: List[str]) -> str:
    """Make a folder that only this user can enter, with ``files`` in it, in memory where that is possible.

    What there is to remove is added to ``made`` before it is made.
    """
    reason = "no folder to try"
    for parent in _parents():
        folder = os.path.join(
            parent, "fipsmanifest-{}-{}".format(os.getpid(), binascii.hexlify(os.urandom(8)).decode("ascii"))
        )
        made.append(folder)
        try:
            os.mkdir(folder, 0o700)
        except OSError as error:
            made.remove(folder)
            reason = "{}: {}".format(parent, error.strerror)
            continue
        try:
            for name, content in files:
                descriptor = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
            return folder
        except OSError as error:
            reason = "{}: {}".format(parent, error.strerror)
    raise Incomplete(
        "The signature could not be checked: no temporary folder can be made ({}).".format(visible(reason)),
        "Set TMPDIR to a folder that can be written.",
    )


def _parents() -> Tuple[str, ...]:
    return ("/run", "/dev/shm", os.environ.get("TMPDIR", "/tmp"))  # noqa: S108


def _sweep() -> None:
    """Remove what runs left behind that were killed: nothing can be done at SIGKILL.

    Only what is ours beyond doubt: of our name, owner and mode, of a process that is not there any more (in another PID
    namespace it may be), older than any run becomes, and where nobody else can have put or renamed it.
    """
    for parent in _parents():
        with contextlib.suppress(OSError):
            status = os.stat(parent)
            shared = status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
            if shared or status.st_uid not in (0, os.geteuid()):
                continue
            for name in sorted(filter(_OURS.match, os.listdir(parent)))[:_MAX_SWEPT]:
                with contextlib.suppress(OSError):
                    _sweep_one(os.path.join(parent, name), int(name.split("-")[1]))


def _sweep_one(folder: str, pid: int) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        ours = status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) == 0o700
        if not ours or os.path.exists("/proc/{}".format(pid)) or time.time() - status.st_mtime < 2 * TIME_LIMIT:
            return
        for name in os.listdir(descriptor):
            os.unlink(name, dir_fd=descriptor)
        os.rmdir(folder)
    finally:
        os.close(descriptor)


def _remove_all(folders: Sequence[str]) -> None:
    try:
        for folder in folders:
            _remove(folder)
    except KeyboardInterrupt:
        # In a process of several threads another one takes the signal that is blocked in this one.
        for folder in folders:
            _remove(folder)
        raise


def _remove(folder: str) -> None:
    try:
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))
        os.rmdir(folder)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise Incomplete(
                "The temporary folder {} could not be removed: {}.".format(folder, error.strerror), "Remove it."
            )


def _read_output(path: str, limit: int) -> Optional[bytes]:
    try:
        with open(path, "rb") as file:
            return file.read(limit)
    except OSError:
        return None


# ---- judging -------------------------------------------------------------------------------------------------------

_REFUSING = {
    "BADSIG": "the signature does not fit the text: one of them was changed",
    "ERRSIG": "a signature could not be checked",
    "EXPSIG": "the signature has expired",
    "EXPKEYSIG": "the key that signed has expired",
    "REVKEYSIG": "the key that signed is revoked by its own certificate",
    "NODATA": "there is no signature in it",
    "UNEXPECTED": "it holds what does not belong in a signed file",
    "ERROR": "gpgv reports an error",
    "FAILURE": "gpgv reports a failure",
}
_VALIDSIG_FIELDS = 10
_HEX = re.compile(r"[0-9A-F]{40}\Z")
_ALLOWED_HASHES = ("8", "9", "10")


def parse_status(data: bytes) -> List[StatusLine]:
    """Split gpgv's status output into lines; raises `NotTrusted` where a line is not one."""
    lines = []
    for line in data.decode("ascii", "backslashreplace").split("\n"):
        if not line:
            continue
        words = line.split(" ")
        if words[0] != "[GNUPG:]" or len(words) < 2:
            raise _refused("gpgv said something that is not a status line")
        lines.append(StatusLine(words[1], tuple(words[2:])))
    return lines


def judge(
    exit_code: int, status: Sequence[StatusLine], signature_class: int, plaintext: bool, upstream: bool = False
) -> ValidSignature:
    """Say what a run of gpgv proved; raises `NotTrusted` unless it is exactly one good signature.

    ``signature_class`` is 0x01 for a cleartext signature and 0x00 for a detached one; ``plaintext`` says whether gpgv
    was asked to write the text. ``upstream`` also takes version 3 signatures, and a key that expired after it signed.
    Every rule is a line of the table in ``tests/trust/test_status_lines.py``.
    """
    found: Dict[str, List[Tuple[str, ...]]] = {}
    for line in status:
        found.setdefault(line.keyword, []).append(line.arguments)
    if "NO_PUBKEY" in found:
        key_id = visible(found["NO_PUBKEY"][0][0] if found["NO_PUBKEY"][0] else "?", 40)
        raise NotTrusted(
            "The signature is not good: it is signed by a key that is not trusted here ({}).".format(key_id),
            "Do not use the file; where its publisher announced a new key, get a newer dkp-fips-tool or trust folder.",
        )
    good = "GOODSIG"
    if upstream and "EXPKEYSIG" in found and "GOODSIG" not in found:
        good = "EXPKEYSIG"
    for keyword, reason in _REFUSING.items():
        if keyword in found and keyword != good:
            raise _refused(reason)
    if exit_code != 0:
        raise _refused("gpgv ended with code {}".format(exit_code))
    if len(found.get(good, ())) != 1 or len(found.get("VALIDSIG", ())) != 1 or len(found.get("NEWSIG", ())) > 1:
        raise _refused("it does not hold exactly one good signature")
    if len(found.get("PLAINTEXT", ())) != (1 if plaintext else 0):
        raise _refused("it does not hold exactly one text")
    versions = ("3", "4") if upstream else ("4",)
    valid = _read_validsig(found["VALIDSIG"][0], found[good][0], signature_class, versions)
    return valid if good == "GOODSIG" else _signed_in_time(valid, found.get("KEYEXPIRED", []))


def _signed_in_time(valid: ValidSignature, expiries: Sequence[Tuple[str, ...]]) -> ValidSignature:
    """Refuse a signature made after its key expired; of several dates the earliest counts."""
    times = [int(words[0]) for words in expiries if words and words[0].isdigit()]
    if not times or valid.signed_at.timestamp() >= min(times):
        raise _refused("the key that signed had expired by then")
    return valid._replace(key_expired=datetime.fromtimestamp(min(times), timezone.utc))


def _read_validsig(
    fields: Tuple[str, ...], good: Tuple[str, ...], signature_class: int, versions: Sequence[str]
) -> ValidSignature:
    if len(fields) != _VALIDSIG_FIELDS:
        raise _refused("gpgv describes the signature in an unknown way")
    key, _, signed_at, _, version, _, key_algorithm, hash_algorithm, found_class, primary = fields
    if not (_HEX.match(key) and _HEX.match(primary) and signed_at.isdigit()):
        raise _refused("gpgv describes the signature in an unknown way")
    if not good or len(good[0]) not in (16, 40) or not key.endswith(good[0]):
        raise _refused("gpgv names two different keys")
    if version not in versions:
        raise _refused("the signature is of version {}".format(visible(version, 8)))
    if key_algorithm != str(openpgp.RSA):
        raise _refused("the signature is not made with RSA")
    if hash_algorithm not in _ALLOWED_HASHES:
        name = openpgp.HASH_NAMES.get(int(hash_algorithm) if hash_algorithm.isdigit() else 0, "an unknown hash")
        raise _refused("the signature rests on {}, which is too weak".format(name))
    if found_class != "{:02x}".format(signature_class):
        raise _refused("the signature is not of the kind that belongs here")
    moment = datetime.fromtimestamp(int(signed_at), timezone.utc)
    return ValidSignature(key, primary, moment, openpgp.HASH_NAMES[int(hash_algorithm)], None)


def _refused(reason: str) -> NotTrusted:
    return NotTrusted(
        "The signature is not good: {}.".format(reason), "Do not use the file; get it again from its publisher."
    )
