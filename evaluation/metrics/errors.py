"""Errors of the metrics, each naming the place that has to be looked at."""

from __future__ import annotations

from mellm.stream.errors import MellmError


class MetricsError(MellmError):
    """Input that cannot be scored: empty, of unequal length, a parameter out of range."""

    code = "metrics"
    exit_code = 3


class RowError(MetricsError):
    """One row, line or item of a file is not what it should be.

    :param file: the file as the caller named it
    :param line: line of the file, or number of the item in a JSON list; counts from 1
    """

    code = "metrics_row"

    def __init__(self, message: str, *, file: str, line: int, remedy: str = "", item: str = "line") -> None:
        super().__init__(f"{file}, {item} {line}: {message}", remedy=remedy or "correct it and run again")
        self.file = file
        self.line = line
