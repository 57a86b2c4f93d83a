"""The tables of a study: a row for each recording, and the expressions of all in one."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mellm.engine.export import tables
from mellm.engine.results.run_folder import RUN, RUNS
from mellm.engine.results.run_reader import Run, read_run
from mellm.engine.study.plan import Entry, Plan
from mellm.engine.study.work import run_of
from mellm.stream.errors import MellmError

FIRST: Final = ("recording", "subject", "session", "condition", "consent", "notes")
LAST: Final = ("run", "error")


@dataclass(frozen=True, slots=True)
class Recording:
    """A line of the study and what there is of it.

    :param run: its run, of this recording alone; ``None`` where there is none yet, or it cannot be read
    :param error: why there is none
    """

    entry: Entry
    run: Run | None
    error: str = ""

    @property
    def is_done(self) -> bool:
        """Whether it was analysed to its end."""
        return self.run is not None and self.run.state["sources"][self.source].get("state") == "done"

    @property
    def source(self) -> str:
        """Name within the run."""
        assert self.run is not None
        return self.run.sources[0]


def load(plan: Plan, out: Path, errors: dict[str, str] | None = None) -> list[Recording]:
    """Every line of the study with its run, corrections included.

    :param errors: recording → why it could not be analysed, where the run does not say
    """
    found = []
    for entry in plan.entries:
        folder = run_of(out, entry)
        run, error = None, (errors or {}).get(entry.name, "")
        if (folder / RUN).is_file():
            try:
                whole = read_run(folder)
                if whole.sources:
                    run = whole
                    told = whole.state["sources"][whole.sources[0]].get("error") or {}
                    error = error or str(told.get("message") or "")
            except MellmError as problem:
                error = error or str(problem)
        found.append(Recording(entry, run, error or ("" if run is not None else "not analysed yet")))
    return found


def further(plan: Plan) -> dict[str, str]:
    """Further columns of the table → their headings in ours, which do not hide ours."""
    taken = {*FIRST, *LAST, *tables.RECORDING_COLUMNS, *tables.COLUMNS}
    return {name: f"study_{name}" if name in taken else name for name in plan.more}


def recording_rows(plan: Plan, study: Sequence[Recording]) -> tuple[list[str], list[dict[str, Any]]]:
    """Columns and rows of ``recordings.csv``: every line of the study, also where nothing was found or analysed."""
    headings = further(plan)
    columns = [*FIRST, *headings.values(), *tables.RECORDING_COLUMNS, *LAST]
    rows = []
    for each in study:
        row: dict[str, Any] = {
            **dict.fromkeys(columns),
            **_told(each.entry, headings),
            "error": each.error or None,
        }
        if each.run is not None:
            row |= tables.recording_row(each.run, each.source)
            row["run"] = f"{RUNS}/{each.entry.id}"
        else:
            row["state"] = "not analysed"
        rows.append(row)
    return columns, rows


def expression_rows(plan: Plan, study: Sequence[Recording]) -> tuple[list[str], list[dict[str, Any]]]:
    """Columns and rows of ``expressions.csv``: a row for each expression; a recording without finds has one row that
    is empty but for what the table says, so that it counts as none and does not vanish."""
    headings = further(plan)
    columns = [*FIRST, *headings.values(), *tables.COLUMNS, "run"]
    rows = []
    for each in study:
        told = {**dict.fromkeys(columns), **_told(each.entry, headings)}
        if each.run is None:
            continue
        told |= {"run": f"{RUNS}/{each.entry.id}", "input": each.entry.path.name, "source": each.source}
        mine = [told | tables.expression_row(r, each.entry.path.name) for r in each.run.expressions]
        rows += mine or [told]
    return columns, rows


def _told(entry: Entry, headings: dict[str, str]) -> dict[str, Any]:
    about = entry.about
    return {
        "recording": entry.name,
        "subject": about.subject,
        "session": about.session,
        "condition": about.condition,
        "consent": entry.consent,
        "notes": about.notes,
        **{heading: about.more.get(name, "") for name, heading in headings.items()},
    }


def to_csv(columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> str:
    """UTF-8, comma, ``\\n``; what a spreadsheet would run as a formula gets an apostrophe in front."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: tables.cell(value) for name, value in row.items()})
    return out.getvalue()
