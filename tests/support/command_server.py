"""The process that `command` forks runs of the command line from: it has imported every verb and what verbs import."""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import socket
import sys
import threading
import time

from fipsmanifest.cli import main
from fipsmanifest.cli.verbs import VERBS
from fipsmanifest.generate import tool
from fipsmanifest.generate.zip_writer import append_zip
from fipsmanifest.trust.keys import Trust

#: What verbs import only when they need it.
_DEFERRED = (
    *("boto3", "botocore.session", "elftools.elf.elffile", "jinja2", "requests", "rich.progress", "urllib3.exceptions"),
    *("fipsmanifest.collect.imagearchive", "fipsmanifest.export.oscal_results", "fipsmanifest.publish.s3"),
)


def serve(control: socket.socket) -> None:
    """Fork for each request, until the other end is closed; returns in the child, to run the command line."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 16, 4)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not message:
            os._exit(0)
        if os.fork() == 0:
            break
        for descriptor in descriptors:
            os.close(descriptor)
    connection, *streams = descriptors
    with open(connection, "rb", closefd=False) as file:
        request = json.loads(file.readline())
    child = os.fork()
    if child:
        os.write(connection, f"{child}\n".encode())
        _, status = os.waitpid(child, 0)
        with contextlib.suppress(BrokenPipeError):  # it did not end in its time
            os.write(connection, f"{os.waitstatus_to_exitcode(status)}\n".encode())
        os._exit(0)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, max(connection, control.fileno(), *streams) + 1)
    # The objects remember what kind of file they were made for.
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    sys.argv = request["words"]


def end(error: SystemExit) -> None:
    """End as the interpreter does; what was imported is not taken apart, which would cost more than most runs do."""
    code = error.code or 0
    if not isinstance(code, int):
        raise error
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        raise error from None  # the interpreter says so
    os._exit(code)


if __name__ == "__main__":
    for module in (*_DEFERRED, *(f"fipsmanifest.cli.{verb.module}" for verb in VERBS.values())):
        importlib.import_module(module)
    # Packs the node tool's sources, which is what takes time in building it; `deflate` remembers them.
    append_zip(b"", tool._entries(Trust((), (), "no keys")))
    gc.freeze()
    connected = socket.socket(fileno=int(sys.argv[1]))
    serve(connected)
    connected.detach()
    try:
        main.main()
    except SystemExit as error:
        end(error)
