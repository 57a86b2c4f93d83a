"""A progress bar on standard error, where somebody watches; nothing in a pipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Bar:
    """Rows that are done, the one that is being made, and how many failed. Use as a context manager."""

    def __init__(self, what: str, console: Console | None = None) -> None:
        console = console or Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[more]}", markup=False),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(what, total=None, more="")
        self._whole = self._failed = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def begin(self, total: int, skipped: int) -> None:
        """See :class:`mellm.evaluation.dataset_runs.loop.Progress`, here and below."""
        self._whole = skipped
        self._progress.update(self._task, total=total, completed=skipped)

    def within(self, key: str, share: float) -> None:
        self._progress.update(self._task, completed=self._whole + min(share, 1.0), more=key)

    def done(self, row: Mapping[str, Any]) -> None:
        self._whole += 1
        self._failed += row["state"] == "failed"
        failed = f"{self._failed} failed" if self._failed else ""
        self._progress.update(self._task, completed=self._whole, more=failed)
