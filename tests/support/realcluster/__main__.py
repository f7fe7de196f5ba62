"""End with 0 where this machine can run the cluster's nodes; else say what is missing, and end with 4."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from .machine import Machine, opened_run


def _missing() -> str:
    """Start one node without a network; return what it lacks, or nothing."""
    if os.geteuid() != 0:
        return "The cluster's nodes need root."
    try:
        with tempfile.TemporaryDirectory() as directory, opened_run() as run:
            machine = Machine.boot("node", "", Path(directory, "node"), f"{run}-node")
            try:
                machine.make_groups()
                machine.sh(
                    f"for one in $(find /sys/fs/cgroup -name {machine.group}); do echo $$ >$one/cgroup.procs; done"
                )
            finally:
                machine.halt()
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        needs = "namespaces, an overlay of / and control groups (in a container: --privileged --cgroupns=host)"
        return f"The cluster's nodes need {needs}: {error}"
    return ""


if __name__ == "__main__":
    missing = _missing()
    if missing:
        print(missing, file=sys.stderr)  # noqa: T201
        sys.exit(4)
