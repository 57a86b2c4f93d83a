"""A comparison from file to result: systems made, questions asked, answers scored and measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from mellm.evaluation.compare import embedded, endpoint, recorded
from mellm.evaluation.compare.config import (
    Comparison,
    EmbeddedSystem,
    MmeTask,
    OpenAISystem,
    PublishedSystem,
    RecordedSystem,
    RulesSystem,
)
from mellm.evaluation.compare.history import Record, changes
from mellm.evaluation.compare.measures import Prices, measure
from mellm.evaluation.compare.published import defaults
from mellm.evaluation.compare.runner import Asked
from mellm.evaluation.compare.types import Change, Entry, Published, RunResult, System, Task, TaskResult
from mellm.stream.errors import UsageError


def only(comparison: Comparison, names: Sequence[str]) -> Comparison:
    """The comparison with these systems alone; all of them where none is named.

    :raises UsageError: nobody of that name
    """
    known = [system.name for system in comparison.systems]
    for name in names:
        if name not in known:
            raise UsageError(f"there is no system {name!r}", remedy=f"the file has {', '.join(known)}")
    kept = tuple(c for c in comparison.systems if not names or c.name in names)
    return comparison.model_copy(update={"systems": kept})


def systems(comparison: Comparison, *, keys: bool = True) -> list[System]:
    """Everybody who answers. Nobody is asked yet, and no connection is made.

    :param keys: whether keys are needed: not where nothing is sent
    :raises ConfigError: a key that the environment lacks
    :raises ModelError: the embedded model
    :raises MetricsError: recorded answers that cannot be read
    :raises RowError: recorded answers that cannot be read
    """
    made: list[System] = []
    for settings in comparison.systems:
        match settings:
            case OpenAISystem():
                key = endpoint.key_of(settings) if keys else None
                made.append(endpoint.EndpointSystem(settings, key))
            case EmbeddedSystem() | RulesSystem():
                made.append(embedded.make(settings))
            case RecordedSystem():
                made.append(recorded.make(settings))
            case PublishedSystem():
                pass
    return made


def published(comparison: Comparison) -> tuple[Published, ...]:
    """The rows that are printed and not run. Where the file names none, MME has those of the survey beside it."""
    named = tuple(
        Published(c.name, c.model or c.name, c.task, c.scores, c.source)
        for c in comparison.systems
        if isinstance(c, PublishedSystem)
    )
    if named or not any(isinstance(task, MmeTask) for task in comparison.tasks):
        return named
    taken = {c.name for c in comparison.systems}
    return tuple(
        replace(row, name=f"{row.name} (published)") if row.name in taken else row for row in defaults()
    )


def prices(comparison: Comparison) -> Mapping[str, Prices]:
    """System's name → what its tokens cost, of those that have prices."""
    return {
        c.name: Prices(c.price_in, c.price_out)
        for c in comparison.systems
        if isinstance(c, OpenAISystem) and c.price_in is not None and c.price_out is not None
    }


def now() -> str:
    """UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def result(
    comparison: Comparison,
    tasks: Sequence[Task],
    asked: Asked,
    took_part: Sequence[System],
    *,
    started: str,
    file: str,
    interrupted: bool = False,
    earlier: Sequence[Record] = (),
) -> RunResult:
    """Score and measure what was answered.

    :param took_part: as :func:`systems` made them, after the run
    :param earlier: records of the folder's runs
    """
    rows = published(comparison)
    costs = prices(comparison)
    scored = tuple(
        TaskResult(
            task,
            asked[task.name],
            task.score(asked[task.name], tuple(row for row in rows if row.task in ("", task.name))),
        )
        for task in tasks
    )
    entries = []
    for system in took_part:
        name = system.name
        by_task = {
            task.name: measure(asked[task.name][name].values(), costs.get(name), comparison.currency)
            for task in tasks
        }
        everything = (answer for task in tasks for answer in asked[task.name][name].values())
        entries.append(
            Entry(
                name,
                system.kind,
                system.model,
                system.where,
                measure(everything, costs.get(name), comparison.currency),
                by_task,
                system.stopped,
            )
        )
    previous: list[str] = []
    changed: list[Change] = []
    if not interrupted:
        for found in scored:
            since, some = changes(earlier, found)
            previous += [since] if since else []
            changed += some
    return RunResult(
        started,
        file,
        tuple(entries),
        rows,
        scored,
        interrupted,
        max(previous, default=None),
        tuple(changed),
    )
