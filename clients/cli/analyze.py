"""``mellm analyze``: recordings into a run folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mellm.clients.cli.common import (
    consent_flag,
    counted,
    json_flag,
    one_line,
    opening_flags,
    settings_flags,
    settings_from,
    source_options,
    tier_flag,
)
from mellm.stream.clock import clock
from mellm.stream.errors import DescriberError, UsageError

if TYPE_CHECKING:
    from mellm.engine.analysis.offline import RunResult
    from mellm.engine.config import Settings
    from mellm.engine.results.about import About
    from mellm.engine.results.expressions import ExpressionRecord
    from mellm.stream.frames import SourceInfo


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH…")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Run folder to write or to go on in."
)
@click.option(
    "--fps",
    type=float,
    metavar="RATE",
    help="Frame rate of image folders and raw streams, which carry no time.",
)
@consent_flag
@click.option("--subject", metavar="ID", default="", help="Who is seen, as a pseudonym; stands in run.json.")
@click.option("--session", metavar="ID", default="", help="Which session; stands in run.json.")
@click.option("--condition", metavar="NAME", default="", help="Under which condition; stands in run.json.")
@click.option(
    "--shard",
    metavar="I/N",
    help="Analyse the I-th of N equal parts of the paths, into the folder I-of-N below --out: for job arrays.",
)
@click.option("--no-evidence", is_flag=True, help="Keep no motion maps.")
@click.option("--report", is_flag=True, help="Write report.html into the folder, with pictures of the face.")
@click.option("--no-faces", is_flag=True, help="Leave pictures of the face out of the report.")
@click.option(
    "--markers",
    type=click.Path(path_type=Path),
    help="For the report: a table with time_s and label, or an .eaf.",
)
@tier_flag
@click.option(
    "--study",
    "table",
    type=click.Path(path_type=Path),
    help="Table of a study about the recordings in the folder PATH: recording, subject, session, condition, consent, "
    "notes, and further columns.",
)
@click.option(
    "--jobs", type=click.IntRange(1, 256), default=1, help="With --study: recordings at a time [1]."
)
@click.option(
    "--watch-folder", is_flag=True, help="With --study: go on with recordings and lines that come later."
)
@json_flag
@opening_flags
@settings_flags
def analyze(
    paths: tuple[str, ...],
    out: Path,
    fps: float | None,
    consent: str | None,
    subject: str,
    session: str,
    condition: str,
    shard: str | None,
    no_evidence: bool,
    report: bool,
    no_faces: bool,
    markers: Path | None,
    tiers: tuple[str, ...],
    table: Path | None,
    jobs: int,
    watch_folder: bool,
    as_json: bool,
    **flags: Any,
) -> int:
    """Analyse recordings: video files (`mellm probe --help` lists the types), or folders of images with --fps.

    Writes events.jsonl, expressions.jsonl, evidence/ and run.json to the folder named with --out, and prints each
    expression as it is found. An interrupted run continues when the same command is given again. Exit code 5:
    expressions were found and the describer answered for none of them.

    With --study, PATH is a folder and the table says who is seen in each of its recordings. Each gets a run with a
    report in OUT/runs; OUT gets recordings.csv, expressions.csv, conditions.csv and index.html. The same command
    continues.
    """
    from mellm.engine.results.about import About

    opening = source_options(flags)
    if shard is not None:
        if table is not None:
            raise UsageError("--shard does not apply with --study", remedy="name the recordings themselves")
        paths, out = _shard(shard, paths, out)
        if not paths:
            click.echo(f"shard {shard} has no recording", err=True)
            return 0
    if table is not None:
        taken = {"--consent": consent, "--subject": subject, "--session": session, "--condition": condition}
        refused = [flag for flag, value in taken.items() if value] + ["--markers"] * (markers is not None)
        if refused:
            raise UsageError(f"{refused[0]} does not apply with --study", remedy="say it in the table")
        return _study(
            paths,
            table,
            out,
            settings_from(flags, purpose="self-use"),
            fps=fps,
            opening=opening,
            keep_evidence=not no_evidence,
            no_faces=no_faces,
            jobs=jobs,
            watch=watch_folder,
            as_json=as_json,
        )
    if jobs != 1 or watch_folder:
        flag = "--watch-folder" if watch_folder else "--jobs"
        raise UsageError(f"{flag} is about a study", remedy="name its table with --study")
    for path in paths:
        _not_a_study(path)
    if not report and (no_faces or markers is not None):
        flag = "--no-faces" if no_faces else "--markers"
        raise UsageError(f"{flag} is about the report", remedy="leave it out, or ask for one with --report")
    settings = settings_from(flags, purpose="self-use")
    _markers(markers, tiers)  # a file that cannot be read is told before an hour of analysis, not after it
    try:
        result = run(
            paths,
            out,
            settings,
            fps=fps,
            opening=opening,
            consent=consent,
            about=About(subject, session, condition),
            keep_evidence=not no_evidence,
            as_json=as_json,
        )
    except KeyboardInterrupt:
        # a line of its own: the terminal shows ^C before it
        click.echo(f"\nmellm: interrupted; the same command continues in {out}", err=True)
        return 130
    for source, error in result.failures:
        said = " ".join(str(error).split())
        click.echo(f"mellm: error: {said if source in said else f'{source}: {said}'}", err=True)
    for note in result.notes:
        click.echo(f"mellm: note: {' '.join(note.split())}", err=True)
    for warning in result.warnings:
        click.echo(f"mellm: warning: {warning}", err=True)
    if len(result.failures) < len(paths):
        more = f" ({counted(result.larger, 'larger motion')} not counted)" if result.larger else ""
        found = counted(result.expressions - result.larger, "expression")
        click.echo(f"{found}{more}; {out}/expressions.jsonl", err=True)
        if report:
            _report(out, markers, tiers, no_faces=no_faces or no_evidence)
    if result.failures:
        return result.failures[0][1].exit_code
    lost = result.undescribed.total()
    if lost:
        why = ", ".join(f"{count} {reason}" for reason, count in sorted(result.undescribed.items()))
        click.echo(
            f"mellm: {lost} of {counted(result.expressions, 'expression')} without a description ({why})",
            err=True,
        )
    return DescriberError.exit_code if lost and lost == result.expressions else 0


def _not_a_study(path: str) -> None:
    """A folder of pictures is a recording, a folder of recordings is none."""
    from mellm.stream.sources.formats import SUFFIXES

    folder = Path(path)
    if folder.is_dir() and (one := next((p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES), None)):
        raise UsageError(
            f"{path} is a folder of recordings ({one.name} …)",
            remedy="write a table about them and give it with --study TABLE, or name the files",
        )


def _study(
    paths: tuple[str, ...],
    table: Path,
    out: Path,
    settings: Settings,
    *,
    fps: float | None,
    opening: dict[str, Any],
    keep_evidence: bool,
    no_faces: bool,
    jobs: int,
    watch: bool,
    as_json: bool,
) -> int:
    from mellm.clients.cli.study import study
    from mellm.engine.study.work import How

    if len(paths) != 1:
        raise UsageError(
            f"--study is about one folder, not {len(paths)} paths", remedy="give the folder alone"
        )
    how = How(settings, fps, opening, keep_evidence)
    return study(Path(paths[0]), table, out, how, jobs=jobs, watch=watch, no_faces=no_faces, as_json=as_json)


def _markers(path: Path | None, tiers: tuple[str, ...]) -> None:
    """Whether the file can be read; frame numbers wait for the rate of the recording."""
    if path is None:
        return
    from mellm.engine.export.corrections import Reading, parse_tiers, read_markers

    read_markers(path, Reading(tiers=parse_tiers(tiers), fps=1.0))


def _shard(asked: str, paths: tuple[str, ...], out: Path) -> tuple[tuple[str, ...], Path]:
    """The paths of one shard, and its run folder.

    :raises UsageError: there is no such shard
    """
    from mellm.engine.roles.batch import shard

    index, slash, count = asked.partition("/")
    if not slash or not index.isdigit() or not count.isdigit():
        raise UsageError(f"--shard {asked!r} is not I/N", remedy="write --shard 3/8")
    return tuple(shard(paths, int(index), int(count))), out / f"{int(index)}-of-{int(count)}"


def _report(out: Path, markers: Path | None, tiers: tuple[str, ...], *, no_faces: bool) -> None:
    from mellm.clients.cli.export import load, page
    from mellm.engine.export.formats import WHOLE, write

    target = out / WHOLE["html"]
    write(target, page(load(out, None, markers, tiers), no_faces=no_faces))
    click.echo(f"report: {target}", err=True)


def run(
    paths: tuple[str, ...],
    out: Path,
    settings: Settings,
    *,
    fps: float | None = None,
    opening: dict[str, Any] | None = None,
    consent: str | None = None,
    about: About | None = None,
    keep_evidence: bool = True,
    as_json: bool = False,
) -> RunResult:
    """Analyse ``paths`` into ``out``, telling the terminal.

    :param opening: source options, see :func:`mellm.clients.cli.common.source_options`
    :param consent: reference by which ``mellm purge --subject`` finds the run
    :param about: subject, session and condition
    """
    from mellm.engine.api import analysis
    from mellm.stream.sources import SourceOptions

    with (
        Terminal(as_json, many=len(paths) > 1) as terminal,
        analysis(
            paths,
            out,
            settings,
            fps=fps,
            options=SourceOptions(**(opening or {})),
            consent=consent,
            about=about,
            keep_evidence=keep_evidence,
            progress=terminal,
        ) as (steps, result),
    ):
        for _ in steps:
            pass
    return result


class Terminal:
    """A progress bar on a terminal's standard error, results on standard output.

    :param many: there are several recordings: each line says which
    :param shown: show the bar where there is a terminal
    :ivar name: what the bar calls the recording; nothing is printed but the bar then
    """

    def __init__(self, as_json: bool, *, many: bool = False, shown: bool = True) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self.name = ""
        self._json, self._many = as_json, many
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[media]}"),
            console=console,
            transient=True,
            # when standard output is the same terminal, lines must be printed above the bar, not through it
            redirect_stdout=sys.stdout.isatty(),
            disable=not (console.is_terminal and shown),
        )
        self._tasks: dict[str, Any] = {}
        self._gone = False

    def __enter__(self) -> Terminal:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def source(self, source: str, info: SourceInfo | None, state: str) -> None:
        """A source opens or ends."""
        if state == "open" and info is not None:
            total = info.declared_duration_ns
            self._tasks[source] = self._bar.add_task(self.name or source, total=total, media="")
        elif source in self._tasks:
            self._bar.remove_task(self._tasks.pop(source))
        if state == "skipped" and not self.name:
            click.echo(f"{source}: already analysed; nothing to do", err=True)

    def advance(self, source: str, media_ns: int, total_ns: int | None) -> None:
        """Media time analysed.

        :raises BrokenPipeError: whoever read standard output has gone; the run can be resumed
        """
        if self._gone:
            raise BrokenPipeError
        if source in self._tasks:
            of = f" of {clock(total_ns / 1e6)}" if total_ns else ""
            self._bar.update(self._tasks[source], completed=media_ns, media=clock(media_ns / 1e6) + of)

    def expression(self, record: ExpressionRecord) -> None:
        """One result. Called from a worker's thread, where no error may end the run: :meth:`advance` does."""
        if self._gone or self.name:  # a study prints a line for each recording, not for each expression
            return
        try:
            told = json.dumps(record.to_json(), ensure_ascii=False) if self._json else ""
            sys.stdout.write((told or one_line(record, source=self._many)) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            self._gone = True
