"""Settings for all tests."""

from __future__ import annotations

import pytest
from hypothesis import settings

#: `make fuzz`: bounded, but far more than a test run can spend on each change.
settings.register_profile("fuzz", max_examples=1000, deadline=None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the fault table: what was done to publishers, how often a reader looked, and what it saw."""
    rows = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
        if name == "fault"
    ]
    if rows:
        terminalreporter.section("faults while publishing")
        headings = ("fault", "times", "polls", "bad states", "exit code")
        for row in (headings, *sorted(map(tuple, rows))):
            terminalreporter.write_line("{:<28} {:>6} {:>6} {:>11} {:>10}".format(*row))
