"""``mellm analyze FOLDER --study TABLE``: many recordings by a table."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mellm.clients.cli.common import counted
from mellm.stream.clock import clock
from mellm.stream.errors import MellmError, UsageError

if TYPE_CHECKING:
    from mellm.engine.study.plan import Entry, Plan
    from mellm.engine.study.work import After, Estimate, Finished, How

POLL_S = 5.0
"""How often a watched folder is looked at."""

WHOLE_S = 60.0
"""A recording that nobody has written to for so long is not being copied."""

TABLES = ("recordings.csv", "expressions.csv", "conditions.csv")
INDEX = "index.html"


def report_with_faces(folder: Path) -> None:
    """The report of a run, beside it; for processes that know no terminal."""
    _report(folder, no_faces=False)


def report_without_faces(folder: Path) -> None:
    """As :func:`report_with_faces`, with no pictures of the face."""
    _report(folder, no_faces=True)


def _report(folder: Path, *, no_faces: bool) -> None:
    from mellm.clients.cli.export import page
    from mellm.engine.export.formats import WHOLE, write
    from mellm.engine.results.run_reader import read_run

    write(folder / WHOLE["html"], page(read_run(folder), no_faces=no_faces, beside=folder))


def study(
    folder: Path,
    table: Path,
    out: Path,
    how: How,
    *,
    jobs: int = 1,
    watch: bool = False,
    no_faces: bool = False,
    as_json: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Analyse the recordings of a table, and write its tables and its page.

    :param watch: go on with recordings and lines that come later, until Ctrl-C
    :param sleep: waits between two looks at a watched folder
    :returns: exit code: that of the first recording that could not be analysed
    :raises MellmError: nothing can be analysed: the table, the folder or the models
    """
    from mellm.engine.governance.consent import required
    from mellm.engine.governance.purpose import Purpose, require
    from mellm.engine.study.plan import read
    from mellm.engine.study.work import begin

    declaration = require(how.settings.purpose or Purpose.SELF_USE, how.settings.medical_or_safety_basis)
    needed = required(declaration, how.settings.consent_required)
    plan = read(table, folder, consent_needed=needed, waiting=watch)
    begin(out, how)
    after = report_without_faces if no_faces or not how.keep_evidence else report_with_faces
    batch = _Batch(out, how, jobs, after, as_json, watched=watch)
    try:
        batch.run(plan)
        if watch:
            click.echo(f"watching {folder} and {table}; Ctrl-C ends", err=True)
        while watch:
            sleep(POLL_S)
            try:
                plan = read(table, folder, consent_needed=needed, waiting=True)
            except UsageError as error:  # somebody is writing it
                batch.once(f"mellm: warning: {error}")
                continue
            batch.run(plan)
    except KeyboardInterrupt:
        batch.write(plan)
        click.echo(f"\nmellm: interrupted; the same command continues in {out}", err=True)
        return 0 if watch else 130
    except MellmError:
        batch.write(plan)  # as far as it has come
        raise
    return next((error[1] for error in batch.errors.values()), 0)


class _Batch:
    """The study as far as it has come; prints what happens, each line with the name of its recording."""

    def __init__(self, out: Path, how: How, jobs: int, after: After, as_json: bool, *, watched: bool) -> None:
        self.errors: dict[str, tuple[str, int]] = {}
        self._out, self._how, self._jobs, self._after, self._json = out, how, jobs, after, as_json
        self._ended: set[str] = set()
        self._sizes: dict[str, int] = {}
        self._said: set[str] = set()
        self._watched = watched

    def once(self, line: str) -> None:
        """A line that is not repeated at every look."""
        if line not in self._said:
            self._said.add(line)
            click.echo(line, err=True)

    def run(self, plan: Plan) -> None:
        """Analyse what has not been, and write the tables anew if anything was."""
        from mellm.clients.cli.analyze import Terminal
        from mellm.engine.study.work import work

        if plan.unlisted:
            listed = ", ".join(plan.unlisted[:5]) + (" …" if len(plan.unlisted) > 5 else "")
            self.once(f"mellm: warning: not in the table and not analysed: {listed}")
        todo = [each for each in plan.entries if each.name not in self._ended and self._is_whole(each)]
        if not todo:
            return
        estimate = _estimate(todo, self._jobs, self._how)
        with Terminal(False, shown=self._jobs == 1) as terminal:

            def follow(entry: Entry) -> Terminal:
                terminal.name = entry.name
                return terminal

            for ended in work(
                todo, self._out, self._how, jobs=self._jobs, after=self._after, progress=follow
            ):
                self._ended.add(ended.entry.name)
                estimate.ended(ended)
                self._tell(ended, len(self._ended), len(plan.entries), estimate)
        self.write(plan)

    def _is_whole(self, entry: Entry) -> bool:
        """Whether a recording is not being copied just now: in a watched folder it has to be old, or of the same size
        as at the look before."""
        if not self._watched:
            return True
        found = entry.path.stat()
        before, self._sizes[entry.name] = self._sizes.get(entry.name), found.st_size
        return found.st_size == before or time.time() - found.st_mtime > WHOLE_S

    def _tell(self, ended: Finished, number: int, total: int, estimate: Estimate) -> None:
        name = ended.entry.name
        for warning in ended.warnings:
            click.echo(f"mellm: note: {name}: {warning.removeprefix(f'{ended.entry.path}: ')}", err=True)
        if ended.error is not None:
            self.errors[name] = ended.error
            told = " ".join(ended.error[0].split()).removeprefix(f"{ended.entry.path}: ")
            click.echo(f"mellm: error: {name}: {told}", err=True)
        else:
            self.errors.pop(name, None)
        if self._json:
            click.echo(json.dumps(_line(ended), ensure_ascii=False))
        elif ended.error is None:
            more = f" ({counted(ended.larger, 'larger motion')} not counted)" if ended.larger else ""
            length = clock(1000 * ended.media_s, 0)
            pace = (
                "already analysed"
                if ended.state == "skipped"
                else f"{length} analysed in {clock(1000 * ended.wall_s, 0)}"
            )
            click.echo(f"{name}: {counted(ended.expressions, 'expression')}{more}; {pace}")
        left = estimate.left_s
        rest = f", about {_about(left)} left" if left is not None and number < total else ""
        if ended.state != "skipped" or number == total:
            click.echo(f"{number} of {total} recordings{rest}", err=True)

    def write(self, plan: Plan) -> None:
        """Tables and page, as far as the study has come."""
        from mellm.engine.export.formats import WHOLE, write
        from mellm.engine.study import compare, index_page, tables

        loaded = tables.load(plan, self._out, {name: told for name, (told, _) in self.errors.items()})
        compared = compare.compare(loaded)
        write(self._out / TABLES[0], tables.to_csv(*tables.recording_rows(plan, loaded)))
        write(self._out / TABLES[1], tables.to_csv(*tables.expression_rows(plan, loaded)))
        write(self._out / TABLES[2], tables.to_csv(compare.COLUMNS, compare.rows(compared)))
        page = index_page.to_html(plan.folder.resolve().name, plan, loaded, compared, report=WHOLE["html"])
        write(self._out / INDEX, page)
        for warning in compared.warnings:
            self.once(f"mellm: warning: {warning}")
        click.echo(f"study: {self._out / INDEX}, {', '.join(TABLES)}", err=True)


def _estimate(entries: Iterable[Entry], jobs: int, how: How) -> Estimate:
    """Lengths as the files declare them; what cannot be opened has none, and says so when its turn comes."""
    from mellm.engine.study.work import Estimate
    from mellm.stream.sources import SourceOptions, open_source

    lengths = {}
    for entry in entries:
        lengths[entry.name] = 0.0
        try:
            with open_source(
                str(entry.path),
                id=entry.id,
                live=False,
                fps=how.fps,
                options=SourceOptions(**(how.opening or {})),
            ) as source:
                lengths[entry.name] = (source.info.declared_duration_ns or 0) / 1e9
        except MellmError:
            continue
    return Estimate(lengths, jobs)


def _line(ended: Finished) -> dict[str, Any]:
    return {
        "recording": ended.entry.name,
        "subject": ended.entry.about.subject,
        "state": ended.state,
        "expressions": ended.expressions,
        "larger_motions": ended.larger,
        "media_s": round(ended.media_s, 3),
        "wall_s": round(ended.wall_s, 2),
        "error": None if ended.error is None else ended.error[0],
    }


def _about(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
