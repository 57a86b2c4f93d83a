"""Tables for statistics programs: a spreadsheet with four sheets, and an SPSS file with labels.

Both need the extra ``study``. They hold what the CSV tables hold, with the run's subject, session and condition in
front; several runs of a study stand below each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from mellm.engine.export import tables, words
from mellm.engine.facs.action_units import COARSE, UNITS
from mellm.engine.results import run_reader as runs
from mellm.engine.results.about import About
from mellm.engine.results.corrections import mark_of
from mellm.engine.results.reasons import STATES
from mellm.engine.results.run_reader import Run
from mellm.stream.errors import MissingExtra, RunError
from mellm.stream.files import replacing

Rows = list[dict[str, Any]]
FIRST: Final = ("subject", "session", "condition")
UNIT_COLUMNS: Final = (
    *FIRST,
    "source",
    "id",
    "track",
    "onset_ms",
    "apex_ms",
    "au",
    "unit",
    "side",
    "score",
    "coded_by",
)
QUALITY_COLUMNS: Final = (
    *FIRST,
    "source",
    "what",
    "reason",
    "in_words",
    "from_s",
    "to_s",
    "frames",
    "seconds",
)
EXTRA: Final = "pip install 'mellm-live[study]'"


def recordings(all_runs: Sequence[Run]) -> tuple[tuple[str, ...], Rows]:
    """A row for each recording, those without finds included."""
    rows = [_about(run) | tables.recording_row(part, name) for run in all_runs for name, part in run.each()]
    return (*FIRST, *tables.RECORDING_COLUMNS), rows


def expressions(all_runs: Sequence[Run]) -> tuple[tuple[str, ...], Rows]:
    """A row for each expression."""
    rows = []
    for run in all_runs:
        named = {s: Path(str(run.state["sources"][s].get("path", ""))).name for s in run.sources}
        rows += [_about(run) | tables.expression_row(r, named.get(r.source, "")) for r in run.expressions]
    return (*FIRST, *tables.COLUMNS), rows


def units(all_runs: Sequence[Run]) -> tuple[tuple[str, ...], Rows]:
    """A row for each action unit of each expression."""
    rows = []
    for run in all_runs:
        for record in run.expressions:
            mark = mark_of(record)
            coder = (
                mark.by
                if mark is not None and ("units" in mark.changes or mark.verdict == "add")
                else "engine"
            )
            for unit in record.action_units:
                name = UNITS[unit.au].name if unit.au in UNITS else ""
                rows.append(
                    _about(run)
                    | {
                        "source": record.source,
                        "id": record.id,
                        "track": record.track,
                        "onset_ms": record.onset_ms,
                    }
                    | {"apex_ms": record.apex_ms, "au": unit.au, "unit": name, "side": unit.side}
                    | {"score": unit.score, "coded_by": coder}
                )
    return UNIT_COLUMNS, rows


def quality(all_runs: Sequence[Run]) -> tuple[tuple[str, ...], Rows]:
    """What could not be judged, and for how long it could: a row for each reason, gap and bar."""
    rows = [
        _about(run) | {"source": name, **row}
        for run in all_runs
        for name, part in run.each()
        for row in _quality(part, name)
    ]
    return QUALITY_COLUMNS, rows


def _quality(run: Run, source: str) -> Iterator[dict[str, Any]]:
    counts = run.state["sources"][source].get("counts") or {}
    time = runs.judged(run, source)
    yield {"what": "face usable", "seconds": round(time.face_s, 2)}
    for half, seconds in (("upper", time.upper_s), ("lower", time.lower_s), ("either", time.either_s)):
        for bar, s in seconds.items():
            yield {"what": f"judged {half}", "reason": f"{bar:g} %", "seconds": s}
    for what, found in (("face not judged", "faces_refused"), ("frames skipped", "frames_dropped")):
        for reason, frames in (counts.get(found) or {}).items():
            yield {"what": what, "reason": reason, "in_words": words.reason(reason), "frames": frames}
    for what, spans in (("gap", runs.gaps(run)), ("picture", runs.still_pictures(run))):
        for span in spans:
            begin, end = span.from_ms / 1000, span.to_ms / 1000
            yield {
                "what": what,
                "reason": span.what,
                "in_words": words.reason(span.what),
                "from_s": begin,
                "to_s": end,
                "seconds": round(end - begin, 3),
            }


def _about(run: Run) -> dict[str, Any]:
    about = About.of(run.state)
    return {"subject": about.subject, "session": about.session, "condition": about.condition}


def write_xlsx(all_runs: Sequence[Run], path: Path) -> None:
    """A spreadsheet with the sheets ``recordings``, ``expressions``, ``units long`` and ``quality``.

    :raises MissingExtra: openpyxl is not installed
    :raises RunError: it cannot be written
    """
    try:
        from openpyxl import Workbook
        from openpyxl.cell import WriteOnlyCell
        from openpyxl.styles import Font
        from openpyxl.utils import get_column_letter
    except ImportError as error:
        raise MissingExtra("spreadsheets need openpyxl", remedy=EXTRA) from error
    book = Workbook(write_only=True)
    sheets = {"recordings": recordings, "expressions": expressions, "units long": units, "quality": quality}
    for name, make in sheets.items():
        columns, rows = make(all_runs)
        sheet = book.create_sheet(name)
        sheet.freeze_panes = "A2"
        for number, column in enumerate(columns, 1):
            sheet.column_dimensions[get_column_letter(number)].width = min(40, max(10, len(column) + 2))
        head = [WriteOnlyCell(sheet, column) for column in columns]
        for each in head:
            each.font = Font(bold=True)
        sheet.append(head)
        for row in rows:
            cells = [WriteOnlyCell(sheet, _plain(row.get(column))) for column in columns]
            for each in cells:
                if each.data_type == "f":
                    each.data_type = "s"  # a text that begins with = is a text: a model or a coder wrote it
            sheet.append(cells)
    _write(path, lambda part: book.save(part))


def _plain(value: Any) -> Any:
    """Without the control characters that the format cannot hold."""
    return "".join(c for c in value if c >= " " or c in "\n\t") if isinstance(value, str) else value


LABELS: Final[Mapping[str, str]] = {
    "subject": "Subject (pseudonym)",
    "session": "Session",
    "condition": "Condition",
    "source": "Recording",
    "track": "Number of the face in the recording",
    "onset_ms": "Onset (ms of media time)",
    "apex_ms": "Apex (ms of media time)",
    "offset_ms": "Offset (ms of media time)",
    "duration_ms": "Duration (ms)",
    "score": "Score of the spotter, 0 to 1",
    "sensitivity_upper": "Smallest motion found in the upper face just before (% of eye distance)",
    "sensitivity_lower": "Smallest motion found in the lower face just before (% of eye distance)",
    "state": "How the description ended",
    "counted": "Counts as a micro-expression (0: larger motion)",
    "emotion": "Coarse class",
    "negative": "Probability of the class negative",
    "positive": "Probability of the class positive",
    "surprise": "Probability of the class surprise",
    "action_units": "Action units in FACS notation",
    "corrected_by": "Who decided about it",
    "verdict": "Decision of a person",
    "quality_face_width": "Width of the face (pixels)",
    "quality_fps": "Frames a second",
    **{f"AU{au:02d}": f"AU {au}, {unit.name}: score, 0 not named" for au, unit in UNITS.items()},
}
CODES: Final[Mapping[str, Mapping[str, int]]] = {
    "state": {name: n for n, name in enumerate(STATES, 1)},
    "emotion": {name: n for n, name in enumerate((*COARSE, "other"), 1)},
    "verdict": {name: n for n, name in enumerate(("accept", "reject", "correct", "add"), 1)},
    "counted": {"no": 0, "yes": 1},
}


def write_sav(all_runs: Sequence[Run], path: Path) -> None:
    """An SPSS file of the expressions: variable and value labels, codes for classes, states and verdicts.

    :raises MissingExtra: pyreadstat is not installed
    :raises RunError: it cannot be written
    """
    try:
        import pandas
        import pyreadstat
    except ImportError as error:
        raise MissingExtra("SPSS files need pyreadstat and pandas", remedy=EXTRA) from error
    columns, rows = expressions(all_runs)
    held = {column: [_coded(column, row.get(column)) for row in rows] for column in columns}
    frame = pandas.DataFrame(
        {
            name: pandas.Series(values, dtype="float64" if _is_number(name, values) else "object")
            for name, values in held.items()
        }
    )
    for name in frame.columns:
        if frame[name].dtype == object:
            frame[name] = frame[name].map(lambda v: "" if v is None else str(v))
    _write(
        path,
        lambda part: pyreadstat.write_sav(
            frame,
            str(part),
            file_label="mellm-live: expressions",
            column_labels={name: LABELS.get(name, name.replace("_", " ")) for name in columns},
            variable_value_labels={
                name: {code: said for said, code in codes.items()} for name, codes in CODES.items()
            },
        ),
    )


def _coded(column: str, value: Any) -> Any:
    codes = CODES.get(column)
    if codes is None or value is None:
        return int(value) if isinstance(value, bool) else value
    if isinstance(value, bool):
        return int(value)
    return codes.get(value, codes.get("other"))


TEXT: Final = frozenset(
    (*FIRST, "input", "source", "id", "reason", "action_units", "other_units", "text", "model", "profile")
) | {"quality_verdict", "quality_reasons", "evidence", "corrected_by", "corrected_at", "changed", "comment"}
"""Columns of text, also where they are empty: a variable does not change its type from run to run."""


def _is_number(column: str, values: Sequence[Any]) -> bool:
    return column not in TEXT and all(v is None or isinstance(v, int | float) for v in values)


def _write(path: Path, save: Any) -> None:
    try:
        with replacing(path) as part:
            save(part)
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be written ({error})") from error
