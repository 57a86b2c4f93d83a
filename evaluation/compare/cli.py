"""``mellm compare``: from a file to a report, with a progress bar, and what a Ctrl-C leaves behind."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from operator import length_hint
from pathlib import Path
from typing import Final

import click

from mellm.evaluation.compare import comparison, config, dry_run, history, recorded, report
from mellm.evaluation.compare.cache import Cache
from mellm.evaluation.compare.runner import Asked, Runner
from mellm.evaluation.compare.tasks.mme import Mme
from mellm.evaluation.compare.types import Answer, Measures, RunResult, System, Task
from mellm.evaluation.metrics.table import Table
from mellm.stream.signals import until_signal

ANSWERS: Final = "answers.sqlite"
"""The cache, in the folder of the report."""

STOPPED_CODE: Final = 5
INTERRUPTED_CODE: Final = 130


def run(
    file: Path,
    out: Path | None = None,
    *,
    only: Sequence[str] = (),
    dry: bool = False,
    send: bool = True,
    as_json: bool = False,
) -> int:
    """Compare, or say what comparing would send.

    :param out: default: ``runs/compare/<name of the file>``
    :param only: names of the systems that take part; default: all
    :param send: without it nobody outside this process is asked: the cache has to do
    :returns: exit code: 0, 5 where an endpoint was asked no more before the end, 130 after Ctrl-C
    :raises MellmError: a file, key, task or folder that cannot be used
    """
    settings = comparison.only(config.load(file), only)
    folder = out or Path("runs/compare") / file.stem
    tasks = load_tasks(settings)
    if dry:
        _tell_plan(settings, tasks, folder, as_json)
        return 0
    started = comparison.now()
    people = comparison.systems(settings, keys=send)
    earlier = history.read(folder)
    with Cache(folder / ANSWERS) as cache, _progress(people, tasks) as on_answer:
        runner = Runner(tasks, people, cache, send=send, on_answer=on_answer)
        asked = asyncio.run(_run(runner))
    results = comparison.result(
        settings,
        tasks,
        asked,
        people,
        started=started,
        file=file.name,
        interrupted=any(answer.reason in ("interrupted", "not_asked") for answer in _all(asked)),
        earlier=earlier,
    )
    files = [
        recorded.save(folder / "answers.jsonl", _all(asked)),
        *write_report(results, folder),
        *_official(results, folder),
    ]
    history.append(folder, results)
    if as_json:
        click.echo(
            json.dumps({**report.plain(results), "files": [str(path) for path in files]}, ensure_ascii=False)
        )
    else:
        _tell(results, files)
    if runner.interrupted and results.interrupted:
        click.echo("mellm: interrupted; the same command continues where this one stopped", err=True)
        return INTERRUPTED_CODE
    return STOPPED_CODE if any(entry.stopped for entry in results.entries) else 0


def load_tasks(settings: config.Comparison) -> list[Task]:
    """The tasks of the file."""
    load = import_module("mellm.evaluation.compare.tasks").load
    return [load(task) for task in settings.tasks]


def write_report(results: RunResult, folder: Path) -> list[Path]:
    """The pages and tables.

    :returns: the files"""
    return report.write(results, folder)


def _official(results: RunResult, folder: Path) -> list[Path]:
    """Answers to MME as the benchmark's own text files, for anybody's scorer: one folder for each system."""
    written = []
    for result in results.tasks:
        if not isinstance(result.task, Mme):
            continue
        for name, answers in result.answers.items():
            place = folder / result.task.name / re.sub(r"[^\w.-]+", "_", name)
            place.mkdir(parents=True, exist_ok=True)
            for file, text in result.task.results(answers).items():
                (place / file).write_text(text, encoding="utf-8")
            written.append(place)
    return written


async def _run(runner: Runner) -> Asked:
    """The first Ctrl-C ends the asking, and what is there is scored; the second ends everything at once."""
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        click.echo(
            "mellm: stopping; what was answered is kept and scored (Ctrl-C again: leave at once)", err=True
        )
        runner.interrupt()

    with until_signal(lambda: loop.call_soon_threadsafe(interrupted)):
        return await runner.run()


def _all(asked: Asked) -> Iterator[Answer]:
    for by_system in asked.values():
        for answers in by_system.values():
            yield from answers.values()


@contextmanager
def _progress(people: Sequence[System], tasks: Sequence[Task]) -> Iterator[Callable[[Answer], None]]:
    """A bar for each system, on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    total = sum(length_hint(task, 0) for task in tasks) or None
    columns = (
        *(TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()),
        *(TimeElapsedColumn(), TextColumn("{task.fields[bad]}", markup=False)),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bars = {person.name: progress.add_task(person.name, total=total, bad="") for person in people}
        bad = dict.fromkeys(bars, 0)

        def on_answer(answer: Answer) -> None:
            bad[answer.system] += answer.state == "failed"
            failed = bad[answer.system]
            progress.update(bars[answer.system], advance=1, bad=f"{failed} failed" if failed else "")

        yield on_answer


# -- what is said at the end ----------------------------------------------------------------------------


def _tell_plan(settings: config.Comparison, tasks: Sequence[Task], folder: Path, as_json: bool) -> None:
    path = folder / ANSWERS
    if path.is_file():
        with Cache(path) as cache:
            found = dry_run.dry_run(settings, tasks, cache)
    else:
        found = dry_run.dry_run(settings, tasks)
    if as_json:
        click.echo(json.dumps(found.as_dict(), ensure_ascii=False))
        return
    for line in dry_run.lines(found):
        click.echo(line)


HEADS: Final = (
    *("system", "answered", "refused", "failed", "unsup.", "half", "p50 s", "p95 s"),
    *("words", "direct", "steps", "cost"),
)


def _tell(results: RunResult, files: Sequence[Path]) -> None:
    rows = [
        (e.name + (f" (stopped: {e.stopped})" if e.stopped else ""), *_cells(e.measures))
        for e in results.entries
    ]
    notes = [f"{row.name}: published, not run" for row in results.published]
    if results.previous:
        notes.append(f"{len(results.changes)} numbers changed since {results.previous}")
    Table("", "", HEADS, rows, [*notes, *map(str, files)], right=range(1, len(HEADS))).show()


def _cells(m: Measures) -> Iterator[str]:
    for state in ("answered", "refused", "failed", "unsupported"):
        yield str(m.states.get(state, 0))
    yield str(m.cut)
    for value, form in (
        (m.latency_p50_s, "{:.2f}"),
        (m.latency_p95_s, "{:.2f}"),
        (m.words, "{:.0f}"),
        (m.direct, "{:.0%}"),
        (m.stepwise, "{:.0%}"),
        (m.cost, "{:.4f} " + m.currency),
    ):
        yield "–" if value is None else form.format(value)
