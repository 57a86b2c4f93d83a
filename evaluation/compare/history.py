"""The runs of a folder, one JSON line each, and what changed since the last one that asked the same.

Numbers are compared only where the same questions of the same task were asked, never with a run that was interrupted,
and not for a system that failed to answer some of them: its scores would tell of the network.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mellm.evaluation.compare.types import Answers, Change, Measures, RunResult, Table, TaskResult
from mellm.stream.errors import RunError
from mellm.stream.files import append_line, json_lines

logger = logging.getLogger(__name__)

NAME: Final = "history.jsonl"
VERSION: Final = 1
Place = tuple[str, str, str]
"""Table's key, row, column."""


@dataclass(frozen=True, slots=True)
class Record:
    """One task of one run.

    :param asked: hash of the ids of its questions
    :param scores: its numbers
    """

    started: str
    task: str
    asked: str
    scores: Mapping[Place, float]


def questions_hash(answers: Answers) -> str:
    """Of the ids that were asked, whatever the order; the same for every system of a run."""
    ids = sorted({question for by_id in answers.values() for question in by_id})
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()


def failing(answers: Answers) -> frozenset[str]:
    """Systems that failed to answer something."""
    return frozenset(n for n, by_id in answers.items() if any(a.state == "failed" for a in by_id.values()))


def scores(tables: Sequence[Table], without: Collection[str] = ()) -> dict[Place, float]:
    """The finite numbers of what was run; published rows do not change.

    :param without: rows that are left out
    """
    return {
        (table.key, row.name, column): float(cell)
        for table in tables
        for row in table.rows
        if not row.published and row.name not in without
        for column, cell in zip(table.columns, row.cells, strict=True)
        if isinstance(cell, int | float) and not isinstance(cell, bool) and math.isfinite(cell)
    }


def changes(records: Iterable[Record], found: TaskResult) -> tuple[str | None, tuple[Change, ...]]:
    """What differs from the last record of the same questions.

    :returns: start of that run (``None`` without one); the numbers that are new or differ, in the order of the tables
    """
    task, asked = found.task.name, questions_hash(found.answers)
    last = None
    for record in records:
        if (record.task, record.asked) == (task, asked):
            last = record
    if last is None:
        return None, ()
    changed = []
    for (table, row, column), after in scores(found.tables, failing(found.answers)).items():
        before = last.scores.get((table, row, column))
        if before is None or not math.isclose(before, after, rel_tol=1e-9, abs_tol=1e-12):
            changed.append(Change(task, table, row, column, before, after))
    return last.started, tuple(changed)


def read(folder: Path) -> tuple[Record, ...]:
    """Earlier runs that were not interrupted, oldest first. A line that a kill has cut is passed over.

    :raises RunError: the file is there and cannot be read
    """
    path = folder / NAME
    found: list[Record] = []
    try:
        for data, end in json_lines(path):
            try:
                found += _records(data)
            except (ValueError, KeyError, TypeError, AttributeError):
                logger.warning(
                    "%s: the line that ends at byte %d is not a record of a run: passed over", path, end
                )
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror})") from error
    return tuple(found)


def _records(data: Any) -> Iterator[Record]:
    if data["version"] != VERSION or data["interrupted"]:
        return
    for task, entry in data["tasks"].items():
        yield Record(
            str(data["started"]),
            task,
            str(entry["asked"]),
            {(table, row, column): float(value) for table, row, column, value in entry["scores"]},
        )


def append(folder: Path, results: RunResult) -> Path:
    """Add a run.

    :returns: the file
    :raises RunError: it cannot be written
    """
    line = {
        "version": VERSION,
        "started": results.started,
        "file": results.file,
        "interrupted": results.interrupted,
        "systems": {
            e.name: {"kind": e.kind, "model": e.model, "stopped": e.stopped, **_brief(e.measures)}
            for e in results.entries
        },
        "tasks": {
            result.task.name: {
                "asked": questions_hash(result.answers),
                "scores": [
                    [*place, value] for place, value in scores(result.tables, failing(result.answers)).items()
                ],
            }
            for result in results.tasks
        },
    }
    path = folder / NAME
    raw = json.dumps(line, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace") + b"\n"
    try:
        append_line(path, raw, durable=True)
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror})") from error
    return path


def _brief(measures: Measures) -> dict[str, Any]:
    return {
        "questions": measures.questions,
        "states": dict(measures.states),
        "cost": measures.cost,
        "latency_p50_s": measures.latency_p50_s,
        "latency_p95_s": measures.latency_p95_s,
    }
