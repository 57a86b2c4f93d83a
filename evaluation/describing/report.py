"""``mellm eval describing``: systems side by side on the same pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mellm.evaluation.describing.cases import Example
from mellm.evaluation.describing.measures import Scores, balanced, score
from mellm.evaluation.describing.systems import System
from mellm.evaluation.metrics.priors import PRIOR
from mellm.evaluation.metrics.table import pipes
from mellm.evaluation.spotting.stats import Estimate

BEGIN = "<!-- results: written by mellm eval describing --page -->"


def compare(examples: Sequence[Example], systems: Mapping[str, System]) -> dict[str, dict[str, Scores]]:
    """System → ``gate`` or ``no gate`` → scores; half of the negatives lie above the motion floor."""
    chosen = [examples[i] for i in balanced([e.case for e in examples])]
    cases = [e.case for e in chosen]
    out = {}
    for name, read in systems.items():
        readings = read(chosen)
        out[name] = {"gate": score(cases, readings, True), "no gate": score(cases, readings, False)}
    return out


def table(results: Mapping[str, Mapping[str, Mapping[str, Scores]]]) -> str:
    """Markdown: one row a set and system. The motion floor only matters where nothing is to be described."""
    heads = [
        *("set", "system", "unit F1", "precision / recall", "sides", "coarse UF1 (ceiling, share)"),
        *("abstains, no expression; floor gate off", "… above the floor", "silent, expression"),
        *("parsed / consistent", "pairs"),
    ]
    rows = []
    for name, systems in results.items():
        for system, scores in systems.items():
            s, free = scores["gate"], scores["no gate"]
            found = (_format(s.f1), f"{s.precision:.2f} / {s.recall:.2f}", f"{s.sides:.2f}")
            coarse = f"{_format(s.coarse)} ({s.ceiling:.2f}, {s.coarse_share:.0%})"
            none = (f"{_format(s.abstains)}; {free.abstains.value:.2f}", _format(s.moving), _format(s.silent))
            form = f"{free.parsed:.0%} / {free.consistent:.0%}"
            rows.append((name, system, *found, coarse, *none, form, f"{s.expressions} + {s.negatives}"))
    return pipes(heads, rows)


def _format(e: Estimate) -> str:
    return f"{e.value:.2f} [{e.low:.2f}, {e.high:.2f}]"


def plain(results: Mapping[str, Mapping[str, Mapping[str, Scores]]]) -> dict[str, Any]:
    """As JSON data."""
    return {
        name: {
            r: {g: asdict(s) | {"coarse_share": s.coarse_share} for g, s in gates.items()}
            for r, gates in systems.items()
        }
        for name, systems in results.items()
    }


def no_better_than_labels(results: Mapping[str, Mapping[str, Mapping[str, Scores]]]) -> list[tuple[str, str]]:
    """Sets and systems whose unit F1 is not above that of the system that never looks; controls are left out."""
    return [
        (name, system)
        for name, systems in results.items()
        if PRIOR in systems
        for system, scores in systems.items()
        if not system.endswith(("blank map", "other maps", PRIOR))
        and scores["gate"].f1.value <= systems[PRIOR]["gate"].f1.value
    ]
