"""The report of a comparison: ``report.html``, ``report.md``, ``report.json`` and CSV files in ``tables``.

Published rows are marked wherever they stand. In CSV, numbers have all their digits; an unknown one is empty.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from mellm.evaluation.compare import page
from mellm.evaluation.compare.layout import Grid, change_grid, measure_grid, refusal_grid, score_grid
from mellm.evaluation.compare.samples import Shown, gather
from mellm.evaluation.compare.types import RunResult, Table
from mellm.evaluation.metrics.table import pipes, write_csv
from mellm.stream import files
from mellm.stream.errors import RunError

DAGGER: Final = "†"


def write(results: RunResult, folder: Path) -> list[Path]:
    """Write everything.

    :returns: the files, the page first
    :raises RunError: a file cannot be written
    :raises MellmError: what a task raises when its questions cannot be read again
    """
    shown = [gather(result) for result in results.tasks]
    texts: dict[str, str] = {
        "report.html": page.html(results, shown),
        "report.md": markdown(results, shown),
        "report.json": json.dumps(plain(results), indent=1, ensure_ascii=False, allow_nan=False) + "\n",
    }
    sheets = {f"tables/{_file(grid.key)}.csv": grid for grid in grids(results, shown)}
    try:
        (folder / "tables").mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            files.write(folder / name, text)
        for name, grid in sheets.items():
            write_csv(folder / name, grid.heads, grid.rows)
    except OSError as error:
        raise RunError(f"the report cannot be written to {folder} ({error.strerror})") from error
    return [folder / name for name in (*texts, *sheets)]


def grids(results: RunResult, shown: Sequence[Shown]) -> list[Grid]:
    """Every table of the report, scores as tasks made them: systems down, sub-tasks across."""
    found = [measure_grid(results.entries)]
    for result, seen in zip(results.tasks, shown, strict=True):
        task = result.task.name
        found += [score_grid(task, table, turn=False) for table in result.tables]
        found.append(measure_grid(results.entries, task))
        found.append(refusal_grid(seen))
    found.append(change_grid(results))
    return [grid for grid in found if grid.rows]


# -- JSON -------------------------------------------------------------------------------------------------


def plain(results: RunResult) -> dict[str, Any]:
    """The results as JSON data, without answers and pictures; a number that is not finite is ``null``."""
    found: dict[str, Any] = _finite(
        {
            "started": results.started,
            "file": results.file,
            "interrupted": results.interrupted,
            "previous": results.previous,
            "systems": [asdict(entry) for entry in results.entries],
            "published": [asdict(row) for row in results.published],
            "tasks": {
                result.task.name: {table.key: _table(table) for table in result.tables}
                for result in results.tasks
            },
            "changes": [asdict(change) for change in results.changes],
        }
    )
    return found


def _table(table: Table) -> dict[str, Any]:
    return {
        "title": table.title,
        "columns": list(table.columns),
        "rows": {row.name: list(row.cells) for row in table.rows},
        "published": [row.name for row in table.rows if row.published],
        "remarks": {row.name: row.note for row in table.rows if row.note},
        "notes": list(table.notes),
    }


def _finite(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {str(key): _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


# -- Markdown ---------------------------------------------------------------------------------------------


def markdown(results: RunResult, shown: Sequence[Shown]) -> str:
    """The report without answers; they are in the page and in ``answers.jsonl``."""
    parts = [f"# Comparison {_md(results.file)}", _lead(results, shown)]
    parts += ["## Systems", _md_grid(measure_grid(results.entries).turned()), _who(results)]
    for result, seen in zip(results.tasks, shown, strict=True):
        parts.append(f"## {_md(result.task.name)}")
        for table in result.tables:
            parts += [f"### {_md(table.title)}", _md_grid(score_grid(result.task.name, table))]
        if len(results.tasks) > 1:
            parts += [
                "### Cost, speed and style",
                _md_grid(measure_grid(results.entries, result.task.name).turned()),
            ]
        refusals = refusal_grid(seen)
        if refusals.rows:
            parts += [f"### {refusals.title}", _md_grid(refusals)]
    parts += ["## Change since the last run", page.change_text(results)]
    changes = change_grid(results)
    if changes.rows:
        parts.append(_md_grid(changes))
    return "\n\n".join(part for part in parts if part) + "\n"


def _lead(results: RunResult, shown: Sequence[Shown]) -> str:
    counts = ", ".join(f"{_md(seen.task)} {seen.questions:,}" for seen in shown)
    lines = [f"Run {results.started}. Questions: {counts}."]
    if results.interrupted:
        lines.append("**Not complete**: questions that were not asked count as failed.")
    if any(row.published for result in results.tasks for table in result.tables for row in table.rows):
        lines.append(f"{DAGGER} published, not run here.")
    return " ".join(lines)


def _who(results: RunResult) -> str:
    lines = [
        f"- **{_md(entry.name)}**: {_md(page.who(entry))}"
        + (f"; **stopped: {_md(entry.stopped)}**" if entry.stopped else "")
        for entry in results.entries
    ]
    return "\n".join(lines)


def _md_grid(grid: Grid) -> str:
    heads = [_md(f"{head} {DAGGER}" if head in grid.published else head) for head in grid.heads]
    rows = []
    for r, row in enumerate(grid.text_rows()):
        name = f"{row[0]} {DAGGER}" if row[0] in grid.published else row[0]
        rows.append(
            [f"**{_md(c)}**" if (r, k) in grid.best else _md(c) for k, c in enumerate((name, *row[1:]))]
        )
    table = pipes(heads, rows, [k for k in range(len(heads)) if k not in grid.words])
    return table + "".join(f"\n\n{_md(note)}" for note in grid.notes)


def _md(text: str) -> str:
    """Text of others: no table, tag or link of theirs."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", " ".join(text.split()))


# -- files ------------------------------------------------------------------------------------------------


def _file(key: str) -> str:
    return re.sub(r"[^\w.-]+", "-", key).strip("-.").lower() or "table"
