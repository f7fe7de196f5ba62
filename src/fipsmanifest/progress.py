"""How long work tells that it goes on, without knowing who looks: a terminal, a log, or nobody."""

from __future__ import annotations

from typing import Protocol


class Task(Protocol):
    """One bar: a download, an artifact being inspected."""

    def advance(self, amount: int) -> None:
        """Report ``amount`` more units (bytes, where the task's total is in bytes)."""

    def total(self, amount: int) -> None:
        """Say how many units there will be, once that is known."""

    def done(self) -> None:
        """Say that the task has ended, well or not."""


class Progress(Protocol):
    """Where stages report to. Calls may come from several threads."""

    def task(self, name: str, total: int | None = None) -> Task:
        """Begin a task."""

    def note(self, text: str) -> None:
        """Tell one line of news (``retrying in 2 s``)."""


class _SilentTask:
    def advance(self, amount: int) -> None:
        pass

    def total(self, amount: int) -> None:
        pass

    def done(self) -> None:
        pass


class _Silent:
    def task(self, name: str, total: int | None = None) -> Task:  # noqa: ARG002 - the protocol's parameters
        return _SilentTask()

    def note(self, text: str) -> None:
        pass


SILENT: Progress = _Silent()
