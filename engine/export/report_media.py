"""What the report's script needs to check a run against its video: where the video lies, times, curves."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import numpy as np

from mellm.engine.export import words
from mellm.engine.facs.action_units import notation
from mellm.engine.results import run_reader as runs
from mellm.engine.results.expressions import ExpressionRecord
from mellm.engine.results.region_curves import read_curves
from mellm.engine.results.run_reader import Run
from mellm.engine.results.score_series import Stretch, read_series

SCRIPTS: Final = ("core", "timeline", "table", "player", "curves", "review", "enlarge", "keys")
"""Files of ``page/js``, in the order in which they run."""

FPS: Final = 25.0
"""Steps of a recording whose rate is not known."""

UNKNOWN: Final = 255
"""Stands for a value that is not known."""

PER_CENT: Final = 25
"""Steps of sensitivity in one per cent of the eye distance; 10 % are 250."""


def page_data(run: Run, beside: Path | None, key: Callable[[ExpressionRecord], str]) -> dict[str, Any]:
    """Plain JSON for the page.

    :param beside: folder that the page will lie in, from which the video is reached; by default the run folder
    :param key: the page's anchor of an expression
    """
    return {
        "run": str(run.state.get("epoch") or ""),
        "recordings": [
            _recording(run, source, number, beside or run.path) for number, source in enumerate(run.sources)
        ],
        "expressions": [_expression(run, record, key(record)) for record in run.expressions],
    }


def _recording(run: Run, source: str, number: int, beside: Path) -> dict[str, Any]:
    summary = run.state["sources"][source]
    info = summary.get("source") or {}
    return {
        "id": source,
        "key": f"timeline-{number}",
        "ms": runs.duration_ms(run, source),
        "live": runs.is_live(run, source),
        "fps": info.get("effective_fps") or info.get("measured_fps") or info.get("declared_fps") or FPS,
        "films": [
            {
                "name": film.path.name,
                "src": _address(film.path, beside),
                "from": film.from_ms,
                "to": film.to_ms,
                "scale": film.scale,
            }
            for film in runs.films(run, source)
        ],
        "curves": [_curve(part) for part in _joined(list(read_series(run.path, source)))],
    }


def _address(path: Path, beside: Path) -> str:
    """Relative: a page that is passed on tells nobody's folders, and goes on working beside its video."""
    try:
        relative = os.path.relpath(path.absolute(), beside.absolute())
    except ValueError:  # another drive
        return quote(path.name)
    return quote(Path(relative).as_posix())


def _joined(stretches: Sequence[Stretch]) -> list[list[Stretch]]:
    """Lines of a track that follow each other without a hole."""
    found: list[list[Stretch]] = []
    last: dict[int, list[Stretch]] = {}
    for stretch in stretches:
        before = last.get(stretch.track)
        if before is not None:
            end = before[-1].t_ms + before[-1].step_ms * len(before[-1].curves["me"])
            if abs(stretch.t_ms - end) < stretch.step_ms / 2:
                before.append(stretch)
                continue
        found.append([stretch])
        last[stretch.track] = found[-1]
    return found


def _curve(parts: Sequence[Stretch]) -> dict[str, Any]:
    first = parts[0]
    whole = {name: [v for part in parts for v in part.curves[name]] for name in ("me", "upper", "lower")}
    return {
        "track": first.track,
        "t": first.t_ms,
        "step": first.step_ms,
        "me": _bytes(whole["me"], 250),
        "upper": _bytes(whole["upper"], PER_CENT),
        "lower": _bytes(whole["lower"], PER_CENT),
    }


def _bytes(values: Sequence[float | None], scale: float) -> str:
    """A byte for each value, in base64: a page of an hour stays small."""
    numbers = np.array([np.nan if v is None else v for v in values], np.float64)
    coded = np.where(np.isnan(numbers), UNKNOWN, np.clip(np.nan_to_num(numbers) * scale, 0, 250).round())
    return base64.b64encode(coded.astype(np.uint8).tobytes()).decode()


def _expression(run: Run, record: ExpressionRecord, key: str) -> dict[str, Any]:
    curves = read_curves(run.path, record.id)
    return {
        "id": record.id,
        "key": key,
        "source": record.source,
        "track": record.track,
        "onset": record.onset_ms,
        "apex": record.apex_ms,
        "offset": record.offset_ms,
        "units": notation(sorted((u.au, u.side) for u in record.action_units)),
        "class": words.coarse(record) or "",
        "score": record.score,
        "regions": None
        if curves is None
        else {"t": curves.t_ns / 1e6, "step": curves.step_ns / 1e6, "of": _named(curves.regions)},
    }


def _named(regions: Mapping[str, Sequence[float | None]]) -> list[dict[str, Any]]:
    return [{"name": words.region(name), "v": list(values)} for name, values in regions.items()]
