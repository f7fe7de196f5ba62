"""Limits on the time of work that reads the node: a file system that does not answer blocks its readers forever.

A process with a thread that waits for such a file system cannot end, even after SIGKILL: once a FUSE server has taken a
request, its reader waits for the answer (request_wait_answer() in Linux's fs/fuse/dev.c). So what reads the node runs
in a child process, which the main process abandons when the time is over or a signal arrives.
"""

import contextlib
import json
import os
import select
import signal
import threading
import time
import warnings
from typing import Any, Callable, List, Optional

Send = Callable[[Any], None]
"""Passes a value, as JSON represents it, from the child process to the main process."""

_LENGTH = 8  # bytes before each message: its size, big-endian
_ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
_REAPING_SECONDS = 0.2
_OVERTIME = 10  # seconds after which an abandoned child ends itself


class ChildFailed(Exception):
    """The child process raised an exception; the text names it."""


def run_child(seconds: float, work: Callable[[Send], None], receive: Callable[[Any], None]) -> Optional[str]:
    """Run ``work`` in a child process and pass each value that it sends to ``receive`` in this process.

    Return None once ``work`` has returned, otherwise why the rest is missing: time is over, or the child was killed.
    Raise `ChildFailed` for an exception in ``work``, and `OSError` if no process can be started. However this returns,
    the child is killed; one that cannot be is left behind.
    """
    end = time.monotonic() + seconds
    reading, writing = os.pipe()
    # A signal that arrives meanwhile is handled in the main process once the child is known.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    child = 0
    try:
        with warnings.catch_warnings():
            # Of other threads: those of fipsmanifest's command line hold no lock that the child needs.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            os.close(reading)
            _serve(writing, work, seconds, before)
        os.close(writing)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return _receive(reading, end, receive)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(reading)
        if child:
            _kill(child)


def _serve(writing: int, work: Callable[[Send], None], seconds: float, mask: Any) -> None:
    """Do the child's part; it does not return."""

    def send(value: Any, kind: str = "value") -> None:
        data = json.dumps([kind, value]).encode("ascii")
        left = memoryview(len(data).to_bytes(_LENGTH, "big") + data)
        while left:
            left = left[os.write(writing, left) :]

    try:
        for number in _ENDING:
            # A terminal sends Ctrl-C to both; the main process decides.
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.setitimer(signal.ITIMER_REAL, seconds + _OVERTIME)
        try:
            work(send)
            send(None, "end")
        except Exception as error:  # noqa: BLE001 - raised again in the main process
            send("{}: {}".format(type(error).__name__, error), "error")
    finally:
        os._exit(0)


def _receive(reading: int, end: float, receive: Callable[[Any], None]) -> Optional[str]:
    buffer = bytearray()
    while True:
        # The end of the pipe is no reliable sign: a thread that is blocked keeps it open.
        ready, _, _ = select.select([reading], [], [], max(end - time.monotonic(), 0))
        part = os.read(reading, 1 << 16) if ready else b""
        if not part:
            return "it was ended by a signal" if ready else "the time is over"
        buffer += part
        while len(buffer) >= _LENGTH:
            size = _LENGTH + int.from_bytes(buffer[:_LENGTH], "big")
            if len(buffer) < size:
                break
            kind, value = json.loads(buffer[_LENGTH:size].decode("ascii"))
            del buffer[:size]
            if kind == "end":
                return None
            if kind == "error":
                raise ChildFailed(value)
            receive(value)


def _kill(child: int) -> None:
    """Kill the child, and reap it where it ends soon."""
    end = time.monotonic() + _REAPING_SECONDS
    with contextlib.suppress(OSError):
        os.kill(child, signal.SIGKILL)
        while os.waitpid(child, os.WNOHANG) == (0, 0) and time.monotonic() < end:
            time.sleep(0.001)


def within(seconds: float, work: Callable[[], None]) -> bool:
    """Run ``work`` in a thread and return whether it ended in time; what it raises is raised here."""
    errors: List[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    return not thread.is_alive()
