"""The worked example of docs/proof.md, run as it is written there on a real program."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from examples.upstream import goprograms

from fipsmanifest.inspect.table import load
from tests.support import edits, programs

PAGE = Path(__file__).parents[2] / "docs" / "proof.md"


def example() -> list[tuple[str, str]]:
    """Each command of the page with the output that it shows."""
    steps: list[tuple[str, str]] = []
    for block in PAGE.read_text().split("```console\n")[1:]:
        for line in block.partition("```")[0].splitlines():
            if line.startswith("$ "):
                steps.append((line[2:], ""))
            else:
                command, shown = steps[-1]
                steps[-1] = (command, f"{shown}{line}\n")
    return steps


def run(directory: Path, program: bytes) -> list[str]:
    """Run the example in one shell; give what each command printed."""
    (directory / "kubelet").write_bytes(program)
    border = "-- next --"
    script = "".join(f"{command}\necho\necho '{border}'\n" for command, _ in example())
    paths = [Path(sys.executable).parent, goprograms.goroot() / "bin", *os.get_exec_path()]
    done = subprocess.run(
        ["bash", "-uo", "pipefail", "-c", script],
        cwd=directory,
        env={"PATH": os.pathsep.join(map(str, paths)), "HOME": str(directory), "GOROOT": str(goprograms.goroot())},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return [printed.strip("\n") for printed in done.stdout.split(border)[:-1]]


def test_the_worked_example_gives_what_the_page_shows(tmp_path: Path) -> None:
    steps = example()
    assert len(steps) > 10
    printed = run(tmp_path, programs.boring_tls().read_bytes())
    for (command, shown), found in zip(steps, printed, strict=True):
        assert found == shown.strip("\n"), command


def test_the_worked_example_sees_a_changed_module_and_plain_cryptography(tmp_path: Path) -> None:
    for tool in ("objdump", "objcopy", "readelf", "openssl"):
        assert shutil.which(tool), tool
    changed = programs.roomy(goboring=True).read_bytes()
    changed = edits.flip(changed, edits.module_offset(changed) + 0x5000)
    marker = bytes.fromhex("EB1DF448F44BF4BAEE4DFA9851CA56A91145E83E99C59CF911CB8E80DAF12FC3")
    changed = edits.put(changed, changed.index(programs.ROOM), marker)
    by_command = dict(zip([command for command, _ in example()], run(tmp_path, changed), strict=True))
    (hmac,) = [printed for command, printed in by_command.items() if "openssl" in command]
    (same,) = [printed for command, printed in by_command.items() if command.startswith("cmp")]
    (markers,) = [printed for command, printed in by_command.items() if "$marker" in command]
    assert len(hmac) == 128
    assert hmac != edits.AMD64.digest
    assert "differ" in same
    assert markers != "0"


def test_the_numbers_of_the_page_are_those_of_the_table() -> None:
    row = load().row("boringcrypto-20210429-x86_64")
    assert row is not None
    page = PAGE.read_text()
    for number in (row.text_length, row.digest_offset, row.entry_points["BORINGSSL_bcm_power_on_self_test"]):
        assert f"{number:#x}" in page
    assert row.head.hex()[:64] in page
    assert row.digest.hex() in page
