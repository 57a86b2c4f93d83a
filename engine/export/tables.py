"""Tables: one row for each expression, as pandas and py-feat users expect it, and the lines of the run itself."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from mellm.detectors.sensitivity import BARS
from mellm.engine.export import statistics, words
from mellm.engine.facs.action_units import COARSE, UNITS
from mellm.engine.results.corrections import Verdict, mark_of
from mellm.engine.results.expressions import ExpressionRecord
from mellm.engine.results.run_folder import line
from mellm.engine.results.run_reader import Run, gaps, judged

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
        "verdict",
        "corrected_by",
        "corrected_at",
        "changed",
        "comment",
    ),
)

FORMULA = re.compile(r"^[=+\-@\t\r]")
"""A cell that a spreadsheet would run: whoever wrote the text may be a model that read a hostile picture."""


def expression_row(record: ExpressionRecord, name: str) -> dict[str, Any]:
    """The row of an expression: :data:`COLUMNS`, as numbers and text.

    :param name: of the recording's file
    """
    return _row(record, name)


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
        writer.writerow({k: cell(v) for k, v in _row(record, inputs.get(record.source, "")).items()})
    return out.getvalue()


REFUSED = ("face_small", "yaw_high", "fps_low")
"""Why a face is not judged; codes as in :mod:`mellm.engine.results.reasons`."""

_DECIDED: Mapping[str, Verdict] = {
    "accepted": "accept",
    "rejected": "reject",
    "corrected": "correct",
    "added": "add",
}

RECORDING_COLUMNS = (
    *("input", "source", "state", "media_s", "face_s"),
    *(f"judged_{half}_min" for half in ("upper", "lower", "either")),
    *(f"judged_{half}_{bar:g}_s" for half in ("upper", "lower", "either") for bar in BARS),
    *("sensitivity_upper_median", "sensitivity_lower_median", "expressions", "expressions_judged"),
    *(
        "expressions_per_judged_minute",
        "rate_low",
        "rate_high",
        "tracks",
        "frames",
        "frames_with_face",
        "faces_refused",
        *(f"refused_{why}" for why in REFUSED),
        "gaps",
        "gaps_s",
        "measured_fps",
        "effective_fps",
        "accepted",
        "rejected",
        "corrected",
        "added",
    ),
)


def to_recordings(run: Run) -> str:
    """One row for each recording, those without any expression included.

    ``judged_upper_2_s``: seconds in which motions of 2 % of the eye distance would have been found in the upper half of
    a face; ``judged_upper_min``: the same of the larger bar, in minutes. ``expressions_judged`` are those at such
    moments (either half, the larger bar), which the rate counts; ``rate_low`` and ``rate_high`` are the ends of its
    95 % interval. ``refused_…``: frames in which a face was visible and not judged. ``accepted`` … count what people
    decided.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, RECORDING_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for source, part in run.each():
        writer.writerow({k: cell(v) for k, v in recording_row(part, source).items()})
    return out.getvalue()


def recording_row(run: Run, source: str) -> dict[str, Any]:
    """The row of a recording: :data:`RECORDING_COLUMNS`, as numbers and text.

    :param run: of this recording alone
    """
    summary = run.state["sources"][source]
    counts, info = summary.get("counts") or {}, summary.get("source") or {}
    time, rate = judged(run, source), statistics.judged_rate(run)
    low, high = rate.interval or (None, None)
    refused = counts.get("faces_refused") or {}
    decided = Counter(m.verdict for r in (*run.expressions, *run.rejected) if (m := mark_of(r)) is not None)
    holes = gaps(run)
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
        "rate_low": None if low is None else round(low, 3),
        "rate_high": None if high is None else round(high, 3),
        "tracks": counts.get("tracks"),
        "frames": counts.get("captured"),
        "frames_with_face": counts.get("frames_with_face"),
        "faces_refused": " ".join(f"{k}={v}" for k, v in sorted(refused.items())),
        **{f"refused_{why}": refused.get(why, 0) if counts else None for why in REFUSED},
        "gaps": sum((counts.get("gaps") or {}).values()) if counts else None,
        "gaps_s": round(sum(g.to_ms - g.from_ms for g in holes) / 1000, 2),
        "measured_fps": info.get("measured_fps"),
        "effective_fps": info.get("effective_fps") or info.get("measured_fps"),
        **{name: decided[verdict] for name, verdict in _DECIDED.items()},
    }
    for half, seconds in (("upper", time.upper_s), ("lower", time.lower_s), ("either", time.either_s)):
        row |= {f"judged_{half}_{bar:g}_s": seconds.get(bar) for bar in BARS}
        if seconds:
            row[f"judged_{half}_min"] = round(seconds.get(statistics.BAR, 0.0) / 60, 3)
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
    row |= _decision(record)
    row["quality_reasons"] = " ".join(quality.get("reasons") or [])
    return row


def _decision(record: ExpressionRecord) -> dict[str, Any]:
    """Who decided what about it; nothing where nobody did. An added one has no score of the spotter."""
    mark = mark_of(record)
    if mark is None:
        return {}
    changed = "; ".join(f"{name}: {a or '-'} -> {b or '-'}" for name, (a, b) in mark.changes.items())
    told = {
        "verdict": mark.verdict,
        "corrected_by": mark.by,
        "corrected_at": mark.at,
        "comment": mark.comment,
    }
    coded = {"emotion": mark.emotion} if mark.emotion is not None else {}
    return told | coded | {"changed": changed} | ({"score": None} if mark.verdict == "add" else {})


CHANGE_COLUMNS = ("source", "id", "verdict", "field", "before", "after", "comment", "by", "at")


def to_changes(run: Run) -> str:
    """What people decided about a run: a row for each field that changed, and one for a decision that changed none."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CHANGE_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for record in (*run.expressions, *run.rejected):
        mark = mark_of(record)
        if mark is None:
            continue
        told = {"source": record.source, "id": record.id, "verdict": mark.verdict}
        told |= {"comment": mark.comment, "by": mark.by, "at": mark.at}
        for name, (before, after) in list(mark.changes.items()) or [("", ("", ""))]:
            row = {**told, "field": name, "before": before, "after": after}
            writer.writerow({k: cell(v) for k, v in row.items()})
    return out.getvalue()


def cell(value: Any) -> Any:
    """A value as it may stand in a table; see :data:`FORMULA`."""
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value
