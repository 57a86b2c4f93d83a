"""Asks any describer again about the expressions of a run: those without a description, or all of them.

What was said before stays in the record (``earlier``, oldest first). Evidence is what the run has kept: the motion map
and the table of regions. The pictures are not read again, so each moment is read once.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np

from mellm.engine.describe.base import DescribeContext, Describer
from mellm.engine.describe.retry import ask
from mellm.engine.evidence.motion_map import MOTION_FLOOR, MOTION_LARGE
from mellm.engine.evidence.region_motion import direction
from mellm.engine.results.expressions import ExpressionRecord, description_json
from mellm.engine.results.run_folder import EVENTS, EXPRESSIONS, FORMAT, RUN, line
from mellm.engine.results.run_reader import Run, read_run
from mellm.engine.types import Evidence, Outcome, RegionMotion
from mellm.stream.errors import DescriberError, RunError, UsageError
from mellm.stream.files import replacing
from mellm.stream.sources.decoding import decode

Which: TypeAlias = Literal["failed", "abstained", "undescribed", "all"]
WHICH: Final[tuple[Which, ...]] = get_args(Which)

STATES: Final[Mapping[Which, frozenset[str]]] = {
    "failed": frozenset({"dropped"}),
    "abstained": frozenset({"abstained"}),
    "undescribed": frozenset({"dropped", "abstained"}),
    "all": frozenset({"dropped", "abstained", "described"}),
}

REFUSED: Final = frozenset({MOTION_FLOOR, MOTION_LARGE})
"""Of these the evidence was refused, not the description: nobody is asked, now or then."""

EARLIER: Final = "earlier"
"""Field of a record that holds what was said before."""


@dataclass(slots=True)
class Redescribed:
    """What came of it.

    :param asked: expressions about which the describer was asked
    :param ends: terminal state now → count, of those asked
    :param failed: code of the describer's error → count; what was said before stays
    :param without_evidence: expressions that could not be asked about: no motion map was kept
    """

    asked: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    without_evidence: int = 0


def redescribe(
    path: Path,
    describer: Describer,
    which: Which = "undescribed",
    *,
    deadline_s: float = 60.0,
    on_record: Callable[[ExpressionRecord], None] = lambda record: None,
) -> Redescribed:
    """Ask again, and write the run's files anew, each complete or not at all.

    :param on_record: called with each record that has a new end
    :raises RunError: there is no run, it is of an older format, or it cannot be written
    :raises UsageError: the run's motion maps are of another recipe than the describer reads
    """
    run = read_run(path, corrected=False)
    if run.state.get("format") != FORMAT:
        raise RunError(
            f"{path} holds a run of format {run.state.get('format')!r}, this version changes {FORMAT} only",
            remedy="analyse the recording again",
        )
    _same_recipe(run, describer)
    result = Redescribed()
    changed: dict[str, ExpressionRecord] = {}
    for record in run.expressions:
        if record.state not in STATES[which] or record.reason in REFUSED:
            continue
        evidence = _evidence(run, record)
        if evidence is None:
            result.without_evidence += 1
            continue
        result.asked += 1
        try:
            answer = ask(
                describer,
                evidence,
                DescribeContext(record.id, record.duration_ms, deadline_s=deadline_s, score=record.score),
            )
        except DescriberError as error:
            result.failed[error.code] += 1
            continue
        state: Literal["abstained", "described"] = "described" if answer.abstained is None else "abstained"
        result.ends[state] += 1
        ended = record.ended(Outcome(state, answer.abstained, answer), record.evidence)
        changed[record.id] = replace(
            ended, extra={**record.extra, EARLIER: [*_earlier(record), _earlier_answer(record)]}
        )
        on_record(changed[record.id])
    if changed:
        _write(run, changed)
    return result


def _same_recipe(run: Run, describer: Describer) -> None:
    profile = str((run.state.get("settings") or {}).get("profile") or "")
    made = next((r for r in ("mellm-v1", "mellm-v3") if profile.startswith(r)), "live")
    if describer.recipe != made:
        raise UsageError(
            f"{describer.name} reads {describer.recipe} motion maps, and {run.path} holds {made} ones",
            remedy="choose another profile, or analyse the recording again",
        )


def _evidence(run: Run, record: ExpressionRecord) -> Evidence | None:
    """What the run has kept of an expression."""
    shown = decode(run.picture(record.evidence) or b"")
    if shown is None:
        return None
    table = tuple(
        RegionMotion(
            name, dx, dy, float(np.hypot(dx, dy)), float(np.hypot(dx, dy)), direction(_vector(dx, dy))
        )
        for name, (dx, dy) in record.regions.items()
    )
    return Evidence(shown, table, {}, "live")


def _vector(dx: float, dy: float) -> Any:
    return np.array([[dx, dy]], np.float32)


def _earlier(record: ExpressionRecord) -> list[Any]:
    before = record.extra.get(EARLIER)
    return list(before) if isinstance(before, list) else []


def _earlier_answer(record: ExpressionRecord) -> dict[str, Any]:
    said = None if record.description is None else description_json(record.description)
    return {"state": record.state, "reason": record.reason, "description": said}


def _write(run: Run, changed: Mapping[str, ExpressionRecord]) -> None:
    """Expressions, then the events that end them, then the counts: a run that is cut off between is asked again."""
    records = [changed.get(r.id, r) for r in run.expressions]
    try:
        events = [_event(json.loads(raw), changed) for raw in (run.path / EVENTS).read_bytes().splitlines()]
        sizes = {}
        for name, lines in ((EXPRESSIONS, [r.to_json() for r in records]), (EVENTS, events)):
            whole = b"".join(map(line, lines))
            with replacing(run.path / name, durable=True) as part:
                part.write_bytes(whole)
            sizes[name] = len(whole)
        state = {**run.state, "sizes": sizes, "sources": dict(run.state["sources"])}
        for source in run.sources:
            ends = [r for r in records if r.source == source]
            counts = {
                **state["sources"][source].get("counts", {}),
                **{s: sum(r.state == s for r in ends) for s in ("described", "abstained")},
                "dropped": dict(Counter(r.reason for r in ends if r.state == "dropped")),
            }
            state["sources"][source] = {**state["sources"][source], "counts": counts}
        with replacing(run.path / RUN, durable=True) as part:
            part.write_text(
                json.dumps(state, indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8"
            )
    except OSError as error:
        raise RunError(
            f"run folder {run.path} cannot be written ({os.strerror(error.errno or 0)})"
        ) from error


def _event(found: dict[str, Any], changed: Mapping[str, ExpressionRecord]) -> dict[str, Any]:
    """An event as it is, or the new end of an expression in its place."""
    data = found.get("data") or {}
    record = changed.get(str(data.get("id")))
    if record is None or found["type"] == "expression.spotted":
        return found
    times = {name: data[name] for name in ("t_ns", "t_ms") if name in data}
    return {**found, "type": f"expression.{record.state}", "data": {**record.event_data(), **times}}
