"""Run a command with a FUSE file system that answers no request, in a mount namespace of its own.

    python -m tests.node.hanging silent|root DIRECTORY COMMAND...

With ``root`` it answers what DIRECTORY itself is, and nothing else. Readers below DIRECTORY wait, and SIGKILL
does not end the wait: the server takes each request and keeps it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import subprocess
import sys

INIT, GETATTR, ROOT = 26, 3, 1  # FUSE_INIT, FUSE_GETATTR, FUSE_ROOT_ID: linux/fuse.h
CLONE_NEWNS = 0x20000  # linux/sched.h
PRIVATE = 0x44000  # MS_REC | MS_PRIVATE, linux/mount.h
SECONDS = 60


def serve(device: int, is_silent: bool) -> None:
    while True:
        request = os.read(device, 1 << 17)
        _, opcode, unique, node = struct.unpack_from("=IIQQ", request)
        body = b""
        if opcode == INIT:
            # struct fuse_init_out of protocol 7.31
            body = struct.pack("=IIIIHHIIHH8I", 7, 31, 0, 0, 1, 1, 4096, 1, 0, 0, *[0] * 8)
        elif opcode == GETATTR and node == ROOT and not is_silent:
            # struct fuse_attr_out: a directory, mode 755
            body = struct.pack("=QII6Q10I", 0, 0, 0, ROOT, 0, 0, 0, 0, 0, 0, 0, 0, 0o40755, 2, 0, 0, 0, 4096, 0)
        if body:
            os.write(device, struct.pack("=IiQ", 16 + len(body), 0, unique) + body)


def main(kind: str, directory: str, *command: str) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    for failed in (
        libc.unshare(CLONE_NEWNS),
        libc.mount(b"none", b"/", None, PRIVATE, None),
        libc.mount(b"hanging", os.fsencode(directory), b"fuse.hanging", 0, options),
    ):
        if failed:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    server = os.fork()
    if not server:
        serve(device, kind == "silent")
    os.close(device)
    process = subprocess.Popen(command)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: process.send_signal(number))
    try:
        return process.wait(SECONDS)
    except subprocess.TimeoutExpired:
        return 99
    finally:
        # Without its server the file system answers every reader with an error.
        os.kill(server, signal.SIGKILL)
        os.waitpid(server, 0)
        process.kill()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
