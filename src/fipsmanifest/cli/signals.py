"""Signals that end a command: unwind at the first one, exit at the second, and never hang."""

from __future__ import annotations

import os
import signal
import threading

#: Ctrl-C, a job that CI cancels, and a terminal that was closed. A shell reports each as 128 plus the signal's number.
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

#: Seconds that unwinding may take after a signal, so that a command ends within two seconds. After that the process
#: exits: files are written atomically.
_UNWINDING = 1.5


def handle() -> None:
    """Raise `KeyboardInterrupt`, with the signal's number, for each signal that ends a command."""
    for number in _ENDING:
        # nohup ignores SIGHUP, so that the command outlives the terminal.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)
    _wake_main_thread()


def _interrupt(number: int, _frame: object) -> None:
    for one in _ENDING:
        signal.signal(one, lambda number, _: os._exit(128 + number))
    # An alarm and not a thread: the signal may have come while a thread was started, which holds the lock for that.
    signal.signal(signal.SIGALRM, lambda *_: os._exit(128 + number))
    signal.setitimer(signal.ITIMER_REAL, _UNWINDING)
    raise KeyboardInterrupt(number)


def _wake_main_thread() -> None:
    """Make a signal that another thread received interrupt what the main thread waits for.

    Python runs handlers in the main thread only, and does not interrupt a lock that it waits for if the kernel
    delivered the signal to another thread: for example while a thread is started, when the main thread has its signals
    blocked.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGURG, lambda *_: None)
    threading.Thread(target=_forward, args=(reading, threading.get_ident()), name="signals", daemon=True).start()


def _forward(reading: int, main_thread: int) -> None:
    while numbers := os.read(reading, 64):
        if any(number in _ENDING for number in numbers):
            signal.pthread_kill(main_thread, signal.SIGURG)
