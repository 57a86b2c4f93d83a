"""What was measured, one JSON line for each person and level: a stopped run goes on where it stopped."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mellm.stream.files import append_line, json_lines

FORMAT = "mellm-robustness/1"


@dataclass(frozen=True, slots=True)
class Row:
    """One person (or clip) at one level.

    :param key: what was measured with: rows of another model or recipe do not count
    :param items: JSON data, one a pair or clip
    :param cpu_s: processor time it took
    """

    key: str
    what: str
    set: str
    subject: str
    axis: str
    level: float
    items: list[dict[str, Any]]
    cpu_s: float = 0.0

    @property
    def place(self) -> tuple[str, str, str, str, float]:
        """Where it belongs."""
        return self.what, self.set, self.subject, self.axis, self.level


class Rows:
    """The file of rows. Lines of another key, and a last line that was cut short, are left where they are."""

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key
        self._known: dict[tuple[str, str, str, str, float], Row] = {}
        for data, _ in json_lines(path):
            row = _row(data)
            if row is not None and row.key == key:
                self._known[row.place] = row

    def get(self, what: str, set_: str, subject: str, axis: str, level: float) -> Row | None:
        """The row, if it was measured."""
        return self._known.get((what, set_, subject, axis, float(level)))

    def add(self, row: Row) -> None:
        """Keep a row, on disk first."""
        line = json.dumps({"format": FORMAT, **asdict(row)}, ensure_ascii=False) + "\n"
        append_line(self.path, line.encode())
        self._known[row.place] = row

    def where(self, what: str, set_: str, axis: str, level: float) -> list[Row]:
        """All people's rows of a level."""
        wanted = (what, set_, axis, float(level))
        return [r for r in self._known.values() if (r.what, r.set, r.axis, r.level) == wanted]

    @property
    def cpu_s(self) -> float:
        """Processor time of everything that was measured."""
        return sum(r.cpu_s for r in self._known.values())


def _row(data: dict[str, Any]) -> Row | None:
    try:
        return Row(**data) if data.pop("format", "") == FORMAT else None
    except TypeError:
        return None
