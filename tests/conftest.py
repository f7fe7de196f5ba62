"""Settings for all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

# What a fixture needs is imported in it: most runs of a part of the tests need no keys and no browser.
if TYPE_CHECKING:
    from tests.support.browser import Chromium
    from tests.support.forge import Forge
    from tests.support.releases import ReleaseKey

# A shell, or nohup, ignores them for what runs in the background, and each process that a test starts inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# How long an example takes depends on what else the machine does; pytest-timeout ends what hangs.
settings.register_profile("test", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("test")
#: `make fuzz`: bounded, but far more than a test run can spend on each change.
settings.register_profile("fuzz", settings.get_profile("test"), max_examples=1000)


@pytest.fixture(scope="session")
def forge() -> Iterator[Forge]:
    """A GNUPGHOME full of throwaway keys."""
    from tests.support import forge as forge_module

    with forge_module.opened() as opened:
        yield opened


@pytest.fixture(scope="session")
def browser() -> Iterator[Chromium]:
    """A browser in which scripts of tests run, which the policy of this project's pages forbids."""
    from tests.support.browser import Chromium

    with Chromium() as chromium:
        chromium.call("Page.setBypassCSP", enabled=True)
        yield chromium


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Return where pictures go: the directory that continuous integration keeps, if it names one."""
    directory = Path(os.environ.get("FIPSMANIFEST_SCREENSHOTS", tmp_path))
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@pytest.fixture(scope="session")
def release_key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReleaseKey]:
    """The key that signs what tests publish."""
    from tests.support.releases import ReleaseKey

    key = ReleaseKey.make(tmp_path_factory.mktemp("release"))
    yield key
    key.remove()


#: What tests give by ``record_property``, printed as one table each: the title, the columns' headings, a line's form.
TABLES = {
    "corpus": (
        "attack corpus",
        ("part", "cases", "to accept", "to refuse"),
        "{:<28} {:>6} {:>10} {:>10}",
    ),
    "fault": (
        "faults while publishing",
        ("fault", "times", "polls", "bad states", "exit code"),
        "{:<34} {:>6} {:>6} {:>11} {:>10}",
    ),
}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was counted: the attack corpus; what was done to publishers, and what a reader saw of it."""
    told = [
        (name, value)
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
    ]
    for table, (title, headings, form) in TABLES.items():
        rows = [tuple(value) for name, value in told if name == table]
        if rows:
            terminalreporter.section(title)
            for row in (headings, *sorted(rows)):
                terminalreporter.write_line(form.format(*row))
