"""Tables: one row for each expression, as pandas and py-feat users expect it, and the lines of the run itself."""

from __future__ import annotations

import csv
import io
import re
from pathlib import PurePath
from typing import Any

from mellm.engine.export import words
from mellm.engine.facs.action_units import COARSE, UNITS
from mellm.engine.results.expressions import ExpressionRecord
from mellm.engine.results.run_folder import line
from mellm.engine.results.run_reader import Run

UNIT_COLUMNS = tuple(f"AU{au:02d}" for au in UNITS)
"""As py-feat names them."""

QUALITY = ("verdict", "reasons", "fps", "face_width", "blur", "yaw", "pitch", "occlusion", "motion")
COLUMNS = (
    *("input", "source", "segment", "track", "id", "frame"),
    *("onset_ms", "apex_ms", "offset_ms", "duration_ms", "onset_frame", "apex_frame", "offset_frame"),
    *(
        "score",
        "state",
        "reason",
        "counted",
        "emotion",
        *COARSE,
        "action_units",
        *UNIT_COLUMNS,
        "other_units",
    ),
    *(
        "text",
        "model",
        "profile",
        "readings",
        "agreement",
        *(f"quality_{name}" for name in QUALITY),
        "evidence",
    ),
)

FORMULA = re.compile(r"^[=+\-@\t\r]")
"""A cell that a spreadsheet would run: whoever wrote the text may be a model that read a hostile picture."""


def to_csv(run: Run) -> str:
    """One row for each expression, UTF-8, comma, ``\\n``; the columns are those of :data:`COLUMNS` in every run.

    ``counted`` is false for motion above the ceiling, which is larger than a micro-expression. ``AU01`` … hold the
    score with which the description names the unit, 0 where it does not name it, and nothing where there is no
    description. Sides stand in ``action_units`` (``1+2+R12``). ``frame`` is the apex. A text that a spreadsheet would
    take for a formula gets an apostrophe in front.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    inputs = {name: PurePath(str(s.get("path", ""))).name for name, s in run.state["sources"].items()}
    for record in run.expressions:
        writer.writerow({k: _cell(v) for k, v in _row(record, inputs.get(record.source, "")).items()})
    return out.getvalue()


def to_jsonl(run: Run) -> str:
    """The lines of ``expressions.jsonl``; those of an older version as this one writes them."""
    return b"".join(line(record.to_json()) for record in run.expressions).decode()


def _row(record: ExpressionRecord, name: str) -> dict[str, Any]:
    description, emotion = record.description, record.emotion
    scores = {u.au: u.score for u in record.action_units}
    whole = record.to_json()
    quality = whole["quality"] or {}
    row = {column: whole.get(column) for column in COLUMNS}
    row |= {
        "input": name,
        "frame": record.apex_frame,
        "duration_ms": record.duration_ms,
        "counted": record.is_counted,
        "emotion": words.coarse(record),
        "action_units": words.facs(record),
        "text": words.text(record),
        "model": None if description is None else description.model,
        "profile": None if description is None else description.profile,
        "readings": None if description is None or description.agreement is None else description.readings,
        "agreement": None if description is None else description.agreement,
        "other_units": "+".join(str(au) for au in scores if au not in UNITS),
    }
    row |= {name: None if emotion is None else emotion.scores.get(name) for name in COARSE}
    row |= {f"AU{au:02d}": None if description is None else scores.get(au, 0) for au in UNITS}
    row |= {f"quality_{name}": quality.get(name) for name in QUALITY}
    row["quality_reasons"] = " ".join(quality.get("reasons") or [])
    return row


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value
