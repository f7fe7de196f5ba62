"""The interface by which long work reports its progress, whether that is shown or not."""

from __future__ import annotations

from typing import Protocol


class Task(Protocol):
    """One bar: a download, an artifact being inspected."""

    def advance(self, amount: int) -> None:
        """Report ``amount`` more units (bytes, where the task's total is in bytes)."""

    def total(self, amount: int) -> None:
        """Set the number of units, once it is known."""

    def done(self) -> None:
        """Report that the task has ended, successfully or not."""


class Progress(Protocol):
    """Receives the reports of stages. Calls may come from several threads."""

    def task(self, name: str, total: int | None = None) -> Task:
        """Begin a task."""

    def note(self, text: str) -> None:
        """Report one line of information (``retrying in 2 s``)."""


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
