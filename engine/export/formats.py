"""The formats by name, and where their files go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from mellm.engine.export import bids, captions, eaf, textgrid
from mellm.engine.export import tables as table
from mellm.engine.results.run_reader import Run, time_scale
from mellm.stream.errors import RunError, UsageError
from mellm.stream.files import write as write_whole

WHOLE = {
    "csv": "expressions.csv",
    "recordings": "recordings.csv",
    "changes": "changes.csv",
    "jsonl": "expressions.jsonl",
    "html": "report.html",
    "xlsx": "run.xlsx",
    "sav": "expressions.sav",
}
"""Formats that hold a run's recordings together, with the file's name in a folder."""

SINGLE = {
    "eaf": ".eaf",
    "vtt": ".vtt",
    "srt": ".srt",
    "textgrid": ".TextGrid",
    "bids": "_events.tsv",
}
"""Formats that are about one recording, with the end of the file's name."""

BINARY = ("xlsx", "sav")
"""Formats that are no text; see :mod:`mellm.engine.export.workbook`."""

NAMES = ("csv", "recordings", "changes", "jsonl", *SINGLE, "html", *BINARY)


def render(
    run: Run,
    to: str,
    *,
    beside: Path | None = None,
    report: Callable[[Run], str] | None = None,
    absolute: bool = False,
) -> str:
    """A run as text in the format ``to``.

    :param beside: folder the text will lie in, for paths to the recording
    :param report: makes the page of ``html``
    :param absolute: ``eaf``: name the recording's full path too
    :raises UsageError: no such format, or it is about one recording and the run holds several
    """
    if to in SINGLE and len(run.sources) != 1:
        names = ", ".join(run.sources) or "none"
        raise UsageError(
            f"{to} is about one recording, the run holds {len(run.sources)} ({names})",
            remedy="choose one with --source, or name a folder with --out",
        )
    match to:
        case "csv":
            return table.to_csv(run)
        case "recordings":
            return table.to_recordings(run)
        case "changes":
            return table.to_changes(run)
        case "jsonl":
            return table.to_jsonl(run)
        case "eaf":
            return eaf.to_eaf(run, beside, time_scale(run, run.sources[0]), absolute=absolute)
        case "vtt":
            return captions.to_vtt(run, time_scale(run, run.sources[0]))
        case "srt":
            return captions.to_srt(run, time_scale(run, run.sources[0]))
        case "textgrid":
            return textgrid.to_textgrid(run)
        case "bids":
            return bids.to_events(run)
        case "html" if report is not None:
            return report(run)
    raise UsageError(f"there is no format {to!r}", remedy=f"choose one of {', '.join(NAMES)}")


def files(run: Run, to: str, out: Path) -> Iterator[tuple[Path, Run]]:
    """The files that ``--out`` asks for, each with the part of the run it holds.

    A folder (one that is there, or a name that ends in a slash) gets one file for each recording where the format is
    about one.
    """
    if not out.is_dir():
        yield out, run
    elif to in SINGLE:
        for source, part in run.each():
            yield out / f"{source}{SINGLE[to]}", part
    else:
        yield out / WHOLE[to], run


def write(path: Path, text: str) -> None:
    """Write a file in one step: a reader sees the old one or the new one.

    :raises RunError: it cannot be written
    """
    try:
        write_whole(path, text)
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror or error})") from error
