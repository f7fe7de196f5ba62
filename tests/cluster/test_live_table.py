"""What the terminal shows during a check."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from rich.console import Console

from fipsmanifest.cli.cluster_table import AnswerTable
from fipsmanifest.cluster.message import Answer, Finding, no_answer
from tests.cluster.conftest import World
from tests.support.fakekubelet import FakeKubelets, Reports, create_nodes, failure, node

PROGRAM = Path(sys.executable).with_name("fipsmanifest")


def finding(component: str, status: str = "fail") -> Finding:
    return Finding(status, "files", "/usr/bin/x", component, "digest", "", "", "")


def rendered(table: AnswerTable) -> list[list[str]]:
    console = Console(file=io.StringIO(), width=100, color_system=None)
    console.print(table.render())
    assert isinstance(console.file, io.StringIO)
    return [line.split() for line in console.file.getvalue().splitlines()]


def test_the_table_counts_verdicts_and_names_what_fails_on_most_nodes_first() -> None:
    table = AnswerTable(Console(file=io.StringIO()))
    bar = table.task("nodes", 10)
    for number in range(3):
        table.answered(f"bad-{number}", Answer("invalid", findings=(finding("containerd"), finding("containerd"))))
    table.answered("bad-3", Answer("invalid", findings=(finding("kubelet"), finding("etcd", "unknown"))))
    table.answered("silent", no_answer("timed-out"))
    table.answered("good", Answer("valid"))
    bar.advance(6)

    heading, *rows = rendered(table)
    assert heading[0] == "nodes" and "6/10" in heading
    assert rows == [
        ["valid", "1"],
        ["invalid", "4", "containerd", "3,", "kubelet", "1"],
        ["unknown", "1", "timed-out", "1"],
    ]


def test_a_later_answer_of_a_node_replaces_the_earlier_one() -> None:
    table = AnswerTable(Console(file=io.StringIO()))
    table.answered("replaced", no_answer("node-deleted"))
    table.answered("replaced", Answer("valid"))

    assert rendered(table) == [["valid", "1"]]


def test_what_a_node_says_is_shown_without_markup_and_escapes() -> None:
    table = AnswerTable(Console(file=io.StringIO()))
    table.answered("evil", Answer("invalid", findings=(finding("[red]\x1b[2Jx[/red]"),)))

    ((verdict, count, *rest),) = rendered(table)
    assert (verdict, count) == ("invalid", "1") and "[red]" in rest[0] and "\x1b" not in rest[0]


def behave(name: str, pod: Any, reports: Reports) -> Any:
    return reports.report(name, pod, *([failure("kubelet", "/usr/bin/kubelet")] if name == "bad" else []))


def test_the_table_is_on_standard_error_of_a_terminal_and_nowhere_else(world: World) -> None:
    create_nodes(world.api, [node("good"), node("bad")])
    request = world.request
    options = ["--keys", str(request.keys), "--kubeconfig", str(request.kubeconfig), *request.manifests]
    command = [str(PROGRAM), "check", "cluster", *options]
    controller, terminal = pty.openpty()
    seen: list[bytes] = []

    def read() -> None:
        # At its end, a terminal whose other end is closed is an error.
        with contextlib.suppress(OSError):
            while data := os.read(controller, 4096):
                seen.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    with FakeKubelets(world.plane.api(), behave, request.namespace):
        piped = subprocess.run(command, capture_output=True, text=True, check=False)
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
        shown = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=terminal, env=environment, text=True, check=False
        )
    os.close(terminal)
    reader.join()
    os.close(controller)
    table = b"".join(seen).decode()

    assert (piped.returncode, shown.returncode) == (1, 1)
    assert piped.stderr == ""
    assert "\x1b" not in shown.stdout and "Verdict: INVALID (2 nodes: 1 valid, 1 invalid" in shown.stdout
    assert "2/2" in table and "invalid" in table and "kubelet 1" in table
