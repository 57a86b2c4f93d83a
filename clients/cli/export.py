"""``mellm export``: a run for other programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mellm.clients.cli.common import tier_flag
from mellm.stream.clock import clock

if TYPE_CHECKING:
    from mellm.engine.export.corrections import Reading
    from mellm.engine.results.run_reader import Run

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("run", type=_PATH)
@click.option(
    "--to",
    required=True,
    type=click.Choice(
        [
            *("csv", "recordings", "changes", "jsonl", "eaf", "vtt", "srt"),
            *("textgrid", "bids", "html", "xlsx", "sav", "rrd"),
        ]
    ),
    help="Format to write.",
)
@click.option("--out", metavar="PATH", help="File, or folder (one file a recording) [standard output].")
@click.option("--source", metavar="NAME", help="Of several recordings in the run, this one [all].")
@click.option(
    "--markers", type=_PATH, help="Outside events: a table with time_s or time_ms and label, or an .eaf file."
)
@tier_flag
@click.option("--from", "since", metavar="TIME", help="Of an event log, from this moment [its beginning].")
@click.option("--until", "until", metavar="TIME", help="Of an event log, up to this moment [its end].")
@click.option(
    "--keep-evidence",
    "maps",
    type=_PATH,
    help="Of an event log: the folder of motion maps, as for `mellm serve`.",
)
@click.option("--no-faces", is_flag=True, help="html: leave pictures of the face out.")
@click.option("--absolute-links", is_flag=True, help="eaf: name the full path of the recording, too.")
@click.option("--uncorrected", is_flag=True, help="As the engine left it, without corrections.")
def export(
    run: Path,
    to: str,
    out: str | None,
    source: str | None,
    markers: Path | None,
    tiers: tuple[str, ...],
    since: str | None,
    until: str | None,
    maps: Path | None,
    no_faces: bool,
    absolute_links: bool,
    uncorrected: bool,
) -> None:
    """Write RUN for other programs: a run folder, the event log of `mellm serve`, or (xlsx, sav) a study.

    Of a log, --source names what is exported, and --from and --until a stretch of it (2026-11-29T10:30).

    \b
    csv    one row for each expression; columns AU01 … as py-feat names them
    recordings  one row for each recording: time with a face, judged time of each half, rates
    changes  one row for each thing that a person changed, with who and when
    jsonl  the lines of expressions.jsonl
    eaf    ELAN: tiers for each face (expression, apex, action units, emotion, description), and markers
    vtt    WebVTT captions
    srt    SubRip captions
    textgrid  Praat: tiers for each face, and markers
    bids   events of the Brain Imaging Data Structure: a .tsv, and a .json that says what its columns mean
    xlsx   sheets recordings, expressions, units long, quality (extra `study`; needs --out)
    sav    SPSS, with labels (extra `study`; needs --out)
    rrd    for the Rerun viewer: video, scores, sensitivity, spots, markers (extra `rrd`; needs --out)
    html   one self-contained page; for pictures of onset and apex it reads the recording again

    Corrections made in ELAN, in a table or in the report are applied with `mellm correct`.
    """
    from mellm.engine.export import bids, formats

    if to in formats.BINARY and (since, until, maps) == (None, None, None):
        _to_workbook(run, to, out, source, corrected=not uncorrected)
        return

    chosen = load(
        run,
        source,
        markers,
        tiers,
        pictures=to in ("html", "rrd"),
        since=since,
        until=until,
        maps=maps,
        corrected=not uncorrected,
    )
    if to == "rrd":
        _to_rrd(chosen, out)
        return
    if out is None:
        click.echo(
            formats.render(chosen, to, report=_reporter(no_faces, Path.cwd()), absolute=absolute_links),
            nl=False,
        )
        return
    target = Path(out)
    if out.endswith("/"):
        target.mkdir(parents=True, exist_ok=True)
    for path, part in formats.files(chosen, to, target):
        text = formats.render(
            part, to, beside=path.parent, report=_reporter(no_faces, path.parent), absolute=absolute_links
        )
        formats.write(path, text)
        click.echo(f"wrote {path}", err=True)
        if to == "bids":
            formats.write(path.with_suffix(".json"), bids.to_sidecar(part))
            click.echo(f"wrote {path.with_suffix('.json')}", err=True)


def _to_workbook(path: Path, to: str, out: str | None, source: str | None, *, corrected: bool) -> None:
    from mellm.engine.export import workbook
    from mellm.engine.export.formats import WHOLE
    from mellm.engine.results.run_folder import run_folders
    from mellm.engine.results.run_reader import read_run
    from mellm.stream.errors import UsageError

    if out is None:
        raise UsageError(f"an .{to} file is not text", remedy="name the file with --out")
    runs = [read_run(folder, corrected=corrected) for folder in run_folders(path)]
    if source is not None:
        runs = [run.only(source) for run in runs if source in run.sources or len(runs) == 1]
    target = Path(out)
    if out.endswith("/") or target.is_dir():
        target /= WHOLE[to]
    (workbook.write_xlsx if to == "xlsx" else workbook.write_sav)(runs, target)
    click.echo(f"wrote {target}", err=True)


def _to_rrd(run: Run, out: str | None) -> None:
    from mellm.engine.export import rrd
    from mellm.stream.errors import UsageError

    if out is None:
        raise UsageError("an .rrd file is not text", remedy="name the file with --out")
    path = Path(out) / "run.rrd" if out.endswith("/") or Path(out).is_dir() else Path(out)
    rrd.write(run, path)
    click.echo(f"wrote {path}", err=True)


def _reporter(no_faces: bool, beside: Path | None = None) -> Callable[[Run], str]:
    return lambda run: page(run, no_faces=no_faces, beside=beside)


def page(run: Run, *, no_faces: bool, beside: Path | None = None) -> str:
    """The report; the terminal is told how far the reading of the recording is.

    :param beside: folder that it will lie in
    """
    from mellm.engine.export import pictures, report

    found = None
    if not no_faces:
        with _reading() as progress:
            found = pictures.faces(run, progress=progress)
    return report.to_html(
        run,
        faces=found,
        motion_map=pictures.motion_map,
        face_size=(pictures.WIDTH, pictures.HEIGHT),
        beside=beside,
    )


@contextmanager
def _reading() -> Iterator[Callable[[float], None]]:
    from rich.console import Console

    console = Console(stderr=True)
    with console.status("") as status:
        yield lambda seconds: status.update(f"reading faces at {clock(1000 * seconds)}")


def load(
    run: Path,
    source: str | None,
    markers: Path | None,
    tiers: Sequence[str] = (),
    *,
    pictures: bool = True,
    since: str | None = None,
    until: str | None = None,
    maps: Path | None = None,
    corrected: bool = True,
) -> Run:
    """The run that the flags name, with the markers; what is odd about them is said on standard error.

    :param since: with ``until`` and ``maps``, of an event log
    :raises UsageError: one of them is given for a run folder
    """
    from mellm.engine.export.corrections import read_markers
    from mellm.engine.results.journal_run import is_journal, moment_ns, read_journal
    from mellm.engine.results.run_reader import problems, read_run
    from mellm.stream.errors import UsageError

    if is_journal(run):
        bounds = [None if each is None else moment_ns(each) for each in (since, until)]
        found = read_journal(run, source, since_ns=bounds[0], until_ns=bounds[1], evidence=maps)
    elif (since, until, maps) != (None, None, None):
        raise UsageError(
            "--from, --until and --keep-evidence are about an event log",
            remedy=f"leave them out: {run} is none",
        )
    else:
        found = read_run(run, corrected=corrected)
    if markers is not None:
        found = found.with_markers(read_markers(markers, reading(found, source, tiers)))
    chosen = found if source is None else found.only(source)
    for problem in problems(chosen, pictures=pictures):
        click.echo(f"mellm: warning: {problem}", err=True)
    return chosen


def reading(run: Run, source: str | None, tiers: Sequence[str]) -> Reading:
    """How a file about this run is read: its medium, its frame rate, the tiers that the user named."""
    from mellm.engine.export.corrections import Reading, parse_tiers
    from mellm.engine.results.run_reader import recording

    name = source or (run.sources[0] if len(run.sources) == 1 else None)
    info = {} if name is None or name not in run.sources else run.state["sources"][name].get("source") or {}
    fps = info.get("declared_fps") or info.get("measured_fps")
    media = recording(run, name).name if name in run.sources else None
    return Reading(media=media, tiers=parse_tiers(tiers), fps=fps, notes=_Told())


class _Told(list[str]):
    """Sentences that are printed once, as they come."""

    def extend(self, sentences: Iterable[str]) -> None:
        for sentence in sentences:
            if sentence not in self:
                self.append(sentence)
                click.echo(f"mellm: note: {sentence}", err=True)
