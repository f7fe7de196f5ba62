"""Tables fit the line that there is for them: lesser columns go first, and paths keep their ends."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fipsmanifest.cli.columns import Column, layout, terminal, widest
from fipsmanifest.cli.diff import _COLUMNS as DIFF
from fipsmanifest.cli.release import print_plan
from fipsmanifest.publish.action import Action, Kind, Step
from fipsmanifest.publish.index import PublishedContents
from fipsmanifest.publish.plan import Plan
from fipsmanifest.sign import keys
from tests.support import command
from tests.support import forge as forge_module

COLUMNS = (Column("verdict", 8), Column("file", 12, middle=True), Column("in", 6, rank=1), Column("why", 10, rank=2))


def test_where_there_is_no_terminal_nothing_is_shortened() -> None:
    found = layout(COLUMNS, [5, 300, 2, 40], None)
    assert found.row(["plain", "x" * 300, "-", "because"]) == "plain    " + "x" * 300 + "  -   because"


def test_the_column_of_the_highest_rank_is_left_out_first() -> None:
    assert layout(COLUMNS, [8, 12, 6, 10], 42).headings() == "verdict   file          in      why"
    assert layout(COLUMNS, [8, 12, 6, 10], 41).headings() == "verdict   file          in"
    assert layout(COLUMNS, [8, 12, 6, 10], 29).headings() == "verdict   file"


def test_a_path_is_shortened_in_its_middle() -> None:
    found = layout(COLUMNS, [8, 40, 6, 10], 29)
    # 19 characters are left behind the verdict and the gap.
    assert found.row(["plain", "/usr/lib/some/where/far/away/bin/kubelet", "-", ""]) == "plain     /usr.../bin/kubelet"


def test_what_differs_between_packages_of_one_address_is_kept_on_a_line_of_80() -> None:
    name = "source https://packages.example/konvoy/8/kubernetes/x86_64/kubelet-1.21.3-0.x86_64.rpm"
    widths = [9, 7, len(name), 64, 64]
    row = layout(DIFF, widths, 80).row(["-", "changed", name, "a" * 64, "b" * 64])
    assert len(row) <= 80
    assert "kubelet-1.21.3-0.x86_64.rpm" in row and "  aa" in row and "  bb" in row


def test_what_is_known_to_come_gets_all_the_room() -> None:
    found = widest(layout(COLUMNS, [8, 12, 6, 10], 60), 60, "file")
    assert sum(found.widths) + 6 == 60


@given(widths=st.lists(st.integers(0, 400), min_size=4, max_size=4), limit=st.integers(22, 300))
def test_no_row_is_longer_than_the_line(widths: list[int], limit: int) -> None:
    found = layout(COLUMNS, widths, limit)
    assert len(found.row(["x" * width for width in widths])) <= limit
    assert found.widths[0] and found.widths[1]


@pytest.mark.parametrize(("columns", "expected"), [("80", 80), ("200", 200), (None, None)])
def test_columns_decides_where_results_go_to_no_terminal(
    monkeypatch: pytest.MonkeyPatch, columns: str | None, expected: int | None
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    assert terminal() == expected


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a trust directory with a key of each status; one is active, and its certificate cannot sign."""
    with forge_module.opened() as forge:
        directory = tmp_path_factory.mktemp("trust") / "keys"
        shutil.copytree(forge.trust_directory, directory)
        keys.retire(directory, forge.fingerprints["plain"], "rotated")
        yield directory


@pytest.mark.parametrize("width", [60, 80])
def test_the_tables_of_modules_keys_and_plans_fit_a_narrow_terminal(width: int, trust: Path, tmp_path: Path) -> None:
    environment = os.environ | {"COLUMNS": str(width)}
    modules = command.run("modules", "list", env=environment, code=0).stdout.rpartition("\n\n")[0]
    listed = command.run("keys", "list", "--keys", trust, env=environment, code=0).stdout.rpartition("edition")[0]
    plan = _plan(width)

    for table in (modules, listed, plan):
        assert table.count("\n") > 2
        assert max(map(len, table.splitlines())) <= width
    # What one acts on is whole: the status of a module's certificate and of a key.
    assert "historical since 2026-09-21" in modules and "4407" in modules
    assert {"active", "retired", "active, cannot sign"} <= set(
        re.findall(r"active, cannot sign|active|retired", listed)
    )
    assert "conflict" in plan and "manifest-rhel8.json.asc" in plan


def _plan(width: int) -> str:
    key = "tool/manifests/v1.21.3/1/manifest-rhel8.json.asc"
    actions = (
        Action(Kind.CREATE, "tool/0.1.0/dkp-fips-tool.sha256", Step.TOOL_FILES, b"", None, "91 bytes"),
        Action(Kind.CONFLICT, key, Step.MANIFESTS, b"", None, f"{key} is published with other content. " * 3),
    )
    shown = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(shown):
        patch.setenv("COLUMNS", str(width))
        print_plan(Plan("bucket", actions, (), PublishedContents()))
    return shown.getvalue()
