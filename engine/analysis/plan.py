"""How many cameras of which rate this machine carries, found by playing them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from mellm.detectors.weights import store as weights
from mellm.engine.config import Settings

logger = logging.getLogger(__name__)

RATES: Final = (30, 50, 200)
"""Frames a second; the first one is what a camera is taken to have of which nothing else is known."""

SIZE: Final = (640, 480)
TRIAL_S: Final = 5.0

ROOM: Final = 0.9
"""Share of the processors that is planned for."""

LOST: Final = 0.005
"""Share of the frames; one that is lost because of somebody else's moment does not count."""

LATE_MS: Final = 600.0
"""Capture to score, 95th percentile; 300 ms of that are the network's look-ahead."""

MOST: Final = 64
"""Sources that a configuration may name."""


class Figures(Protocol):
    """Of a trial, see :class:`mellm.engine.analysis.bench.LiveFigures`."""

    @property
    def captured(self) -> int:
        """Frames that arrived."""
        ...

    @property
    def lost(self) -> int:
        """Those that were not analysed."""
        ...

    @property
    def score_p95_ms(self) -> float:
        """Capture to score."""
        ...

    @property
    def cpu_share(self) -> float:
        """Processors in use, 1 for one."""
        ...


@dataclass(frozen=True, slots=True)
class Carried:
    """Cameras of one rate.

    :param cameras: that were played without loss; 0 where not even one was
    :param lost: frames of the last trial that was good, or of the one that was not
    :param cores: processors that it took
    """

    fps: int
    cameras: int
    captured: int
    lost: int
    score_p95_ms: float
    cores: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What fits on this machine, one face before each camera of 640×480.

    :param load: of the machine when it was measured; others who are busy then make it carry less
    """

    carried: tuple[Carried, ...]
    processors: int
    load: float
    date: str

    @property
    def sentence(self) -> str:
        """For people."""
        first, *others = [_cameras(each) for each in self.carried]
        said = f"This machine carries {first} a second of {SIZE[0]}×{SIZE[1]} with one face each"
        return "; or ".join([said, *others]) + "."


def _cameras(carried: Carried) -> str:
    count = {0: "no camera", 1: "1 camera"}.get(carried.cameras, f"{carried.cameras} cameras")
    return f"{count} at {carried.fps} frames"


def measure(
    play: Callable[[int, int], Figures],
    *,
    processors: int,
    load: float,
    date: str,
    rates: Sequence[int] = RATES,
) -> Plan:
    """Play one camera of each rate; from what it takes follows how many should fit; play those, or fewer until they do.

    :param play: frames a second and number of cameras → figures of a few seconds
    """
    return Plan(tuple(_carried(play, fps, processors) for fps in rates), processors, load, date)


def _carried(play: Callable[[int, int], Figures], fps: int, processors: int) -> Carried:
    one = play(fps, 1)
    if not _fits(one):
        return _told(fps, 0, one)
    guess = min(MOST, max(1, int(ROOM * processors / max(one.cpu_share, 1e-3))))
    for cameras in range(guess, 1, -1):
        found = play(fps, cameras)
        if _fits(found):
            return _told(fps, cameras, found)
    return _told(fps, 1, one)


def _fits(found: Figures) -> bool:
    return found.captured > 0 and found.lost <= LOST * found.captured and found.score_p95_ms <= LATE_MS


def _told(fps: int, cameras: int, found: Figures) -> Carried:
    return Carried(
        fps, cameras, found.captured, found.lost, round(found.score_p95_ms, 1), round(found.cpu_share, 2)
    )


def path() -> Path:
    """Where the last plan of this machine lies: beside the models."""
    return weights.cache_dir() / "plan.json"


def keep(plan: Plan) -> None:
    """Keep it for ``mellm doctor``.

    :raises OSError: it cannot be written
    """
    path().parent.mkdir(parents=True, exist_ok=True)
    path().write_text(json.dumps(asdict(plan), ensure_ascii=False) + "\n", encoding="utf-8")


def kept(processors: int) -> Plan | None:
    """The last plan, if it was measured on a machine with so many processors."""
    try:
        found: dict[str, Any] = json.loads(path().read_text(encoding="utf-8"))
        carried = tuple(Carried(**each) for each in found.pop("carried"))
        plan = Plan(carried, **found)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return plan if plan.processors == processors and plan.carried else None


def too_much(settings: Settings, plan: Plan) -> str | None:
    """What a configuration asks for beyond the plan, and what to do; ``None`` when it fits.

    A camera whose rate is not in its settings is taken for one of 30 frames a second.
    """
    share = 0.0
    for source in settings.sources:
        fps = source.fps or RATES[0]
        near = next((each for each in plan.carried if each.fps >= fps), plan.carried[-1])
        share += 1 / near.cameras if near.cameras else float("inf")
    if share <= 1 + 1e-9:
        return None
    by_rank = sorted(enumerate(settings.sources), key=lambda placed: (placed[1].priority, -placed[0]))
    first = by_rank[0][1].id
    return (
        f"{len(settings.sources)} sources need {share:.1f} times what fits ({plan.sentence.rstrip('.')}): rates are "
        f"lowered, and then {first} is set aside first - lower rates, take fewer sources, or set their priority"
    )
