"""Events as the Brain Imaging Data Structure (BIDS 1.10) has them: a table with onset and duration in seconds, and a
file beside it that says what each column means."""

from __future__ import annotations

import csv
import io
import json
from typing import Any, Final

from mellm.engine.export import citing, words
from mellm.engine.results.corrections import was_added
from mellm.engine.results.expressions import DISCLAIMER
from mellm.engine.results.run_reader import Run, gaps

COLUMNS: Final = (
    "onset",
    "duration",
    "trial_type",
    "apex",
    "track",
    "score",
    "action_units",
    "class",
    "state",
    "label",
    "id",
)

MEANING: Final[dict[str, dict[str, Any]]] = {
    "onset": {"Description": "Beginning, from the beginning of the recording", "Units": "s"},
    "duration": {"Description": "From onset to offset; 0 for a moment", "Units": "s"},
    "trial_type": {
        "LongName": "Kind of event",
        "Levels": {
            "micro_expression": "An expression that was spotted",
            "larger_motion": "Motion larger than a micro-expression; not counted",
            "marker": "An outside event, such as a question",
            "gap": "Frames are missing; nothing was searched there",
        },
    },
    "apex": {
        "Description": "Moment of the largest motion, from the beginning of the recording",
        "Units": "s",
    },
    "track": {"Description": "Number of the face within the recording"},
    "score": {"Description": "Score of the spotter, 0 to 1; n/a where a person added the expression"},
    "action_units": {"Description": "FACS action units, L and R for one side of the subject", "TermURL": ""},
    "class": {"Description": "Coarse class: negative, positive or surprise; or as a coder wrote it"},
    "state": {"Description": "Whether the expression was described, and if not why"},
    "label": {"Description": "Label of a marker, or reason of a gap"},
    "id": {"Description": "Identifier of the expression"},
}


def to_events(run: Run) -> str:
    """The table of one recording, tab-separated, in order of onset; ``n/a`` where there is nothing."""
    rows: list[dict[str, Any]] = []
    for record in run.expressions:
        row = {
            "onset": record.onset_ms / 1000,
            "duration": record.duration_ms / 1000,
            "trial_type": "micro_expression" if record.is_counted else "larger_motion",
            "apex": record.apex_ms / 1000,
            "track": record.track,
            "score": None if was_added(record) else record.score,
            "action_units": words.facs(record) or None,
            "class": words.emotion(record),
            "state": words.headline(record) if record.state != "described" else "described",
            "id": record.id,
        }
        rows.append(row)
    rows += [
        {"onset": m.t_ms / 1000, "duration": 0, "trial_type": "marker", "label": m.label} for m in run.markers
    ]
    rows += [
        {
            "onset": g.from_ms / 1000,
            "duration": (g.to_ms - g.from_ms) / 1000,
            "trial_type": "gap",
            "label": words.reason(g.what),
        }
        for g in gaps(run)
    ]
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, delimiter="\t", lineterminator="\n", restval="n/a")
    writer.writeheader()
    for row in sorted(rows, key=lambda r: (r["onset"], r["duration"])):
        writer.writerow({name: _cell(row.get(name)) for name in COLUMNS})
    return out.getvalue()


def to_sidecar(run: Run) -> str:
    """What the columns mean, and how the events were made."""
    made = {
        "Description": f"Facial micro-expressions found by mellm-live. {DISCLAIMER}",
        "GeneratedBy": dict(citing.rows(run)),
    }
    meaning = {name: {k: v for k, v in said.items() if v} for name, said in MEANING.items()}
    return json.dumps({**meaning, "MellmLive": made}, indent=2, ensure_ascii=False) + "\n"


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "n/a"
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".") or "0"
    return " ".join(str(value).split())
