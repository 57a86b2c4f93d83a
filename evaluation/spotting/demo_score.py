"""Scores a run on a recording whose truth is known, expression by expression."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mellm.engine.results.expressions import ExpressionRecord
from mellm.engine.results.run_folder import read_expressions
from mellm.evaluation.metrics.matching import match
from mellm.evaluation.metrics.spotting import SpottingScore
from mellm.stream.clock import clock
from mellm.stream.errors import RunError


@dataclass(frozen=True, slots=True)
class Hit:
    """A true expression that was found. Errors are found minus true, milliseconds.

    :param units_true: action units as ``(number, side)``
    :param units_found: as ``units_true``
    """

    true: Mapping[str, Any]
    found: ExpressionRecord
    onset_ms: float
    apex_ms: float
    offset_ms: float
    units_true: frozenset[tuple[int, str]]
    units_found: frozenset[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class DemoScore:
    """Hits, misses, false alarms."""

    hits: tuple[Hit, ...]
    misses: tuple[Mapping[str, Any], ...]
    false_alarms: tuple[ExpressionRecord, ...]
    distractors: tuple[Mapping[str, Any], ...]

    @property
    def spotting(self) -> SpottingScore:
        """Counts and F1 at IoU ≥ 0.5."""
        return SpottingScore(len(self.hits), len(self.false_alarms), len(self.misses))


def score_run(run: Path, truth: Path) -> DemoScore:
    """Compare a run's expressions with a truth file.

    :raises RunError: no run there, or a truth that cannot be read
    """
    try:
        known = json.loads(truth.read_text(encoding="utf-8"))
        true: list[dict[str, Any]] = known["expressions"]
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"truth {truth} cannot be read ({error})") from error
    found = read_expressions(run)
    pairs = match(
        [(r.onset_frame, r.offset_frame) for r in found],
        [(t["onset_frame"], t["offset_frame"]) for t in true],
    )
    hits = tuple(
        Hit(
            true[j],
            found[i],
            round(found[i].onset_ms - true[j]["onset_ms"], 1),
            round(found[i].apex_ms - true[j]["apex_ms"], 1),
            round(found[i].offset_ms - true[j]["offset_ms"], 1),
            _units(true[j]["action_units"]),
            frozenset((u.au, u.side) for u in found[i].action_units),
        )
        for i, j in pairs
    )
    return DemoScore(
        hits,
        tuple(t for j, t in enumerate(true) if j not in {j for _, j in pairs}),
        tuple(f for i, f in enumerate(found) if i not in {i for i, _ in pairs}),
        tuple(known.get("distractors", ())),
    )


def render(score: DemoScore) -> str:
    """The comparison as text."""
    lines = [f"{'true expression':34}{'onset':>8}{'apex':>8}{'offset':>8}   units read"]
    rows = [(hit.true["apex_ms"], _hit_line(hit)) for hit in score.hits]
    rows += [(true["apex_ms"], f"{_name(true):34}{'missed':>8}") for true in score.misses]
    lines += [line for _, line in sorted(rows, key=lambda row: row[0])]
    for alarm in score.false_alarms:
        lines.append(f"{clock(alarm.apex_ms)} false alarm{_during(alarm, score.distractors)}")
    found = score.spotting
    lines.append("")
    lines.append(
        f"{found.tp} of {found.tp + found.fn} expressions found, {found.fp} false alarms; "
        f"F1 {found.f1:.2f} at IoU ≥ 0.5; errors in ms, found minus true"
    )
    return "\n".join(lines)


def _hit_line(hit: Hit) -> str:
    read = _spell(hit.units_found) or "none"
    right = "=" if hit.units_found == hit.units_true else "≠"
    return f"{_name(hit.true):34}{hit.onset_ms:>+8.0f}{hit.apex_ms:>+8.0f}{hit.offset_ms:>+8.0f}   {read} {right} truth"


def _name(true: Mapping[str, Any]) -> str:
    return f"{clock(true['apex_ms'])} {_spell(_units(true['action_units']))} {true['peak_iod']:.1f}%"


def _spell(units: frozenset[tuple[int, str]]) -> str:
    short = {"left": "L", "right": "R", "both": ""}
    return "+".join(f"{short[side]}{au}" for au, side in sorted(units))


def _during(alarm: ExpressionRecord, distractors: Sequence[Mapping[str, Any]]) -> str:
    kinds = [
        d["kind"]
        for d in distractors
        if d["onset_ms"] <= alarm.offset_ms and alarm.onset_ms <= d["offset_ms"]
    ]
    return f" during {', '.join(kinds)}" if kinds else ""


def _units(units: Sequence[Mapping[str, Any]]) -> frozenset[tuple[int, str]]:
    return frozenset((u["au"], u["side"]) for u in units)
