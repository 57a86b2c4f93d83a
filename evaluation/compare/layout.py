"""Tables of the report as rows of cells, the same for Markdown, CSV and the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from mellm.evaluation.compare.samples import Shown
from mellm.evaluation.compare.types import Cell, Entry, Measures, RunResult, Table

WIDE: Final = 8
"""Columns from which on a table of scores is turned: sub-tasks down, systems across."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table to be printed.

    :param key: of its file
    :param forms: how a column's numbers are written, one for each head; ``None``: by :attr:`digits`
    :param digits: decimals of floats
    :param published: names of systems, in the first column or in the heads, that were not run
    :param best: row and column of the best scores
    :param down: :attr:`forms` go down the rows, not across
    """

    key: str
    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    forms: tuple[Callable[[float], str] | None, ...] = ()
    digits: int = 2
    published: frozenset[str] = frozenset()
    notes: tuple[str, ...] = field(default=())
    best: frozenset[tuple[int, int]] = frozenset()
    down: bool = False

    @property
    def words(self) -> frozenset[int]:
        """Columns that hold text: set to the left."""
        return frozenset({0}) | {
            k for row in self.rows for k, cell in enumerate(row) if isinstance(cell, str)
        }

    def turned(self) -> Grid:
        """Rows as columns."""
        rows = tuple(zip(self.heads[1:], *(row[1:] for row in self.rows), strict=True))
        return replace(
            self,
            heads=("", *(str(row[0]) for row in self.rows)),
            rows=rows,
            forms=self.forms[1:] if not self.down else (None, *self.forms),
            best=frozenset((k - 1, r + 1) for r, k in self.best),
            down=not self.down,
        )

    def text_rows(self) -> Iterator[tuple[str, ...]]:
        """The rows as people read them; ``–`` is not known."""
        for r, row in enumerate(self.rows):
            yield tuple(
                form(cell)
                if (form := self._form(r, k)) and isinstance(cell, int | float) and math.isfinite(cell)
                else format_cell(cell, self.digits)
                for k, cell in enumerate(row)
            )

    def _form(self, row: int, column: int) -> Callable[[float], str] | None:
        at = row if self.down else column
        return self.forms[at] if at < len(self.forms) else None


def format_cell(cell: Cell, digits: int = 2) -> str:
    """A cell as people read it."""
    if isinstance(cell, float):
        return f"{cell:.{digits}f}" if math.isfinite(cell) else "–"
    if isinstance(cell, int):
        return f"{cell:,}"
    return "–" if cell is None or not cell.strip() else cell


def score_grid(task: str, table: Table, *, turn: bool | None = None) -> Grid:
    """A task's table.

    :param turn: sub-tasks down; default: where there are more than :data:`WIDE` and more of them than systems
    """
    if turn is None:
        turn = len(table.columns) > max(WIDE, len(table.rows))
    grid = Grid(
        f"{task}-{table.key}",
        table.title,
        ("", *table.columns),
        tuple((row.name, *row.cells) for row in table.rows),
        digits=table.digits,
        published=frozenset(row.name for row in table.rows if row.published),
        notes=(*table.notes, *_remarks(table)),
        best=frozenset((r, k + 1) for r, k in _best(table)),
    )
    return grid.turned() if turn else grid


def _remarks(table: Table) -> Iterator[str]:
    """Notes of rows, once for all that share one."""
    for note in dict.fromkeys(row.note for row in table.rows if row.note):
        yield f"{', '.join(row.name for row in table.rows if row.note == note)}: {note}."


def _best(table: Table) -> list[tuple[int, int]]:
    """Row and cell of the best score of each column, as it is printed; counts, and columns all equal, have none."""
    found = []
    for k in range(len(table.columns)):
        scores = {
            r: round(cell, table.digits)
            for r, row in enumerate(table.rows)
            if isinstance(cell := row.cells[k], float) and math.isfinite(cell)
        }
        if len(set(scores.values())) > 1:
            top = (max if table.higher_is_better else min)(scores.values())
            found += [(r, k) for r, score in scores.items() if score == top]
    return found


def measure_grid(entries: Sequence[Entry], task: str | None = None) -> Grid:
    """States, speed, length, style and cost of everybody.

    :param task: over that task; default: over all
    """
    measures = [(entry, entry.measures if task is None else entry.by_task[task]) for entry in entries]
    currencies = sorted({m.currency for _, m in measures})
    priced = any(m.cost is not None for _, m in measures)
    columns: tuple[tuple[str, Callable[[Measures], Cell], Callable[[float], str] | None], ...] = (
        ("questions", lambda m: m.questions, None),
        ("answered", lambda m: m.states.get("answered", 0), None),
        ("refused", lambda m: m.states.get("refused", 0), None),
        ("failed", lambda m: m.states.get("failed", 0), None),
        ("unsupported", lambda m: m.states.get("unsupported", 0), None),
        ("cut short", lambda m: m.cut, None),
        ("from earlier runs", lambda m: m.cached, None),
        ("latency p50, s", lambda m: m.latency_p50_s, seconds),
        ("latency p95, s", lambda m: m.latency_p95_s, seconds),
        ("words, median", lambda m: m.words, "{:.0f}".format),
        ("direct", lambda m: m.direct, "{:.0%}".format),
        ("step by step", lambda m: m.stepwise, "{:.0%}".format),
        ("tokens in", lambda m: m.tokens_in, None),
        ("tokens out", lambda m: m.tokens_out, None),
    )
    if priced:
        unit = "/".join(currencies)
        columns += (
            (f"cost, {unit}", lambda m: m.cost, money),
            (f"spent now, {unit}", lambda m: m.cost_now, money),
        )
    notes = []
    for entry, m in measures:
        if m.reasons:
            why = ", ".join(f"{reason.replace('_', ' ')} {count:,}" for reason, count in m.reasons.items())
            notes.append(f"{entry.name}: {why}.")
        if m.unpriced:
            notes.append(
                f"{entry.name}: tokens of {m.unpriced:,} answers were not counted; the cost lacks them."
            )
    return Grid(
        "systems" if task is None else f"{task}-systems",
        "Systems",
        ("", *(head for head, _, _ in columns)),
        tuple((entry.name, *(get(m) for _, get, _ in columns)) for entry, m in measures),
        (None, *(form for _, _, form in columns)),
        notes=tuple(notes),
    )


def refusal_grid(shown: Shown) -> Grid:
    """Where systems refused: share of the sub-task's questions; empty where nobody did."""
    names = list(dict.fromkeys(name for by_name in shown.states.values() for name in by_name))
    rows = []
    for (domain, subtask), by_name in shown.states.items():
        shares: list[Cell] = []
        for name in names:
            counts = by_name.get(name, {})
            asked = sum(counts.values()) - counts.get("unsupported", 0)
            shares.append(counts.get("refused", 0) / asked if asked else None)
        if any(shares):
            rows.append((" · ".join(part for part in (domain, subtask) if part) or "all", *shares))
    return Grid(
        f"{shown.task}-refusals",
        "Refusals, share of what was asked",
        ("", *names),
        tuple(rows),
        (None, *["{:.0%}".format] * len(names)),
    )


def change_grid(results: RunResult) -> Grid:
    """Numbers that differ from the last run of the same questions."""
    digits = {(r.task.name, t.key): t.digits for r in results.tasks for t in r.tables}
    titles = {(r.task.name, t.key): t.title for r in results.tasks for t in r.tables}
    rows: list[tuple[Cell, ...]] = []
    for change in results.changes:
        at = change.task, change.table
        difference = None if change.before is None else change.after - change.before
        rows.append(
            (
                change.row,
                f"{change.task}: {titles.get(at, change.table)}",
                change.column,
                None if change.before is None else round(change.before, 6),
                round(change.after, 6),
                difference,
            )
        )
    places = max((digits.get((c.task, c.table), 2) for c in results.changes), default=2)
    return Grid(
        "changes",
        "Change since the last run",
        ("", "table", "column", "before", "now", "change"),
        tuple(rows),
        (*[None] * 5, f"{{:+.{places}f}}".format),
        places,
    )


def seconds(value: float) -> str:
    """Two decimals, three below a tenth."""
    return f"{value:.2f}" if value >= 0.1 or value == 0 else f"{value:.3f}"


def money(value: float) -> str:
    """Two decimals from 1 on, four below."""
    return f"{value:,.2f}" if value >= 1 else f"{value:.4f}"
