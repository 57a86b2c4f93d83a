"""Tables: one row for each expression, as pandas and py-feat users expect it, and the lines of the run itself."""

from __future__ import annotations

import csv
import io
import re
from pathlib import PurePath
from typing import Any

from mellm.detectors.sensitivity import BARS
from mellm.engine.export import statistics, words
from mellm.engine.facs.action_units import COARSE, UNITS
from mellm.engine.results.expressions import ExpressionRecord
from mellm.engine.results.run_folder import line
from mellm.engine.results.run_reader import Run, judged

UNIT_COLUMNS = tuple(f"AU{au:02d}" for au in UNITS)
"""As py-feat names them."""

QUALITY = ("verdict", "reasons", "fps", "face_width", "blur", "yaw", "pitch", "occlusion", "motion")
COLUMNS = (
    *("input", "source", "segment", "track", "id", "frame"),
    *("onset_ms", "apex_ms", "offset_ms", "duration_ms", "onset_frame", "apex_frame", "offset_frame"),
    *(
        "score",
        "sensitivity_upper",
        "sensitivity_lower",
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


RECORDING_COLUMNS = (
    *("input", "source", "state", "media_s", "face_s"),
    *(f"judged_{half}_{bar:g}_s" for half in ("upper", "lower", "either") for bar in BARS),
    *("sensitivity_upper_median", "sensitivity_lower_median", "expressions", "expressions_judged"),
    *(
        "expressions_per_judged_minute",
        "tracks",
        "frames",
        "frames_with_face",
        "faces_refused",
        "measured_fps",
    ),
)


def to_recordings(run: Run) -> str:
    """One row for each recording, those without any expression included.

    ``judged_upper_2_s``: seconds in which motions of 2 % of the eye distance would have been found in the upper half of
    a face. ``expressions_judged`` are those at such moments (either half, the larger bar), which the rate counts.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, RECORDING_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for source, part in run.each():
        writer.writerow({k: _cell(v) for k, v in _recording(part, source).items()})
    return out.getvalue()


def _recording(run: Run, source: str) -> dict[str, Any]:
    summary = run.state["sources"][source]
    counts, info = summary.get("counts") or {}, summary.get("source") or {}
    time, rate = judged(run, source), statistics.judged_rate(run)
    row: dict[str, Any] = dict.fromkeys(RECORDING_COLUMNS)
    row |= {
        "input": PurePath(str(summary.get("path", ""))).name,
        "source": source,
        "state": summary.get("state"),
        "media_s": summary.get("media_s"),
        "face_s": round(time.face_s, 2),
        "sensitivity_upper_median": time.upper,
        "sensitivity_lower_median": time.lower,
        "expressions": len(statistics.counted(run.expressions)),
        "expressions_judged": rate.found if time.known else None,
        "expressions_per_judged_minute": None if rate.per_minute is None else round(rate.per_minute, 3),
        "tracks": counts.get("tracks"),
        "frames": counts.get("captured"),
        "frames_with_face": counts.get("frames_with_face"),
        "faces_refused": " ".join(f"{k}={v}" for k, v in sorted((counts.get("faces_refused") or {}).items())),
        "measured_fps": info.get("measured_fps"),
    }
    for half, seconds in (("upper", time.upper_s), ("lower", time.lower_s), ("either", time.either_s)):
        row |= {f"judged_{half}_{bar:g}_s": seconds.get(bar) for bar in BARS}
    return row


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
        "sensitivity_upper": record.sensitivity and record.sensitivity.upper,
        "sensitivity_lower": record.sensitivity and record.sensitivity.lower,
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
