"""The shipped causal spotter over one recording, and what it would have said at other thresholds.

The pictures go through the product's own chain once. What its network answered is kept for the time of the recording
and decoded again at each threshold of :data:`LEVELS`, so a threshold can be chosen later, on other recordings, without
a second look at any picture.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from mellm.detectors.analyzer import Analyzer
from mellm.detectors.signals import FacePair
from mellm.detectors.spotting import Score, Spot, Spotter, SpottingOptions
from mellm.detectors.stepmodel import StepModel
from mellm.detectors.types import F32
from mellm.engine.analysis.offline import seen_ahead
from mellm.engine.analysis.pipeline import SourcePipeline, Spotted
from mellm.engine.types import Evidence
from mellm.evaluation.dataset_runs.frames import LabelledFrames
from mellm.evaluation.dataset_runs.recordings import Recording
from mellm.stream.frames import Frame
from mellm.training.spotter.replay import Replay

LEVELS: Final = tuple(round(0.05 * k, 2) for k in range(2, 20))
"""Thresholds that every recording is decoded at."""

Reader = Callable[[Spotted], Mapping[str, Any]]
"""Says what an expression that was spotted shows, for the row."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a chain is made of.

    :param analyzer: makes a fresh analyzer of faces for each recording
    :param model: the network
    :param options: those of the product
    :param evidence: onset–apex pair → evidence, where spots are described; they are not by default
    """

    analyzer: Callable[[], Analyzer]
    model: StepModel
    options: SpottingOptions
    evidence: Callable[[FacePair], Evidence] | None = None

    @property
    def level(self) -> float:
        """The threshold that the product uses."""
        return self.options.levels(self.model.threshold)[0]


class _Tap:
    """A track's spotter that remembers what it was shown."""

    def __init__(self, parts: Parts) -> None:
        self._tape = Replay(parts.model)
        self._options = parts.options
        self._spotter = Spotter(self._tape, parts.options)
        self._steps: list[tuple[int, F32 | None]] = []

    @property
    def score(self) -> Score | None:
        return self._spotter.score

    @property
    def invalid_steps(self) -> int:
        return self._spotter.invalid_steps

    def push(self, t_ns: int, features: F32 | None, fps: float = 0.0) -> list[Spot]:
        self._steps.append((t_ns, features))
        return self._spotter.push(t_ns, features, fps)

    def flush(self) -> list[Spot]:
        return self._spotter.flush()

    def at(self, level: float) -> list[Spot]:
        """The spots of the whole track at another threshold; its release follows it."""
        self._tape.rewind()
        spotter = Spotter(self._tape, replace(self._options, threshold=level, release=None))
        found = [spot for t_ns, features in self._steps for spot in spotter.push(t_ns, features)]
        return found + spotter.flush()


def spot(
    recording: Recording,
    parts: Parts,
    *,
    read: Reader | None = None,
    advance: Callable[[float], None] = lambda _: None,
) -> tuple[dict[str, Any], dict[str, list[list[float]]]]:
    """Run one recording to its end.

    :param read: asked about each spot of the product's threshold; its answer joins the spot
    :param advance: told the share that is done
    :returns: the row, and threshold → ``[onset, apex, offset, score]`` of each spot, in labels
    :raises DatasetError: no frames, or no frame rate
    :raises MellmError: the models cannot be used, or ``read`` cannot answer
    """
    began = time.monotonic()
    taps: list[_Tap] = []

    def tap() -> Spotter:
        taps.append(_Tap(parts))
        return taps[-1]  # type: ignore[return-value]

    predicted: list[dict[str, Any]] = []
    with LabelledFrames(recording) as source:
        chain = SourcePipeline(recording.key, parts.analyzer(), tap, parts.evidence or _unseen)
        whole = source.time_of(source.last + 1)

        def take(outputs: list[Any]) -> None:
            predicted.extend(_prediction(o, source, read) for o in outputs if isinstance(o, Spotted))

        with seen_ahead(source, chain) as all_seen:
            for seen in all_seen:
                take(chain.take(seen))
                if isinstance(seen.item, Frame):
                    advance(seen.item.pts_ns / whole)
        take(chain.finish())
        counts = chain.counts
        row = {
            "key": recording.key,
            "dataset": recording.dataset,
            "subject": recording.subject,
            "video": recording.id,
            "state": "done",
            "fps": source.fps,
            "first": source.first,
            "last": source.last,
            "seconds": round(whole / 1e9, 3),
            "frames": {
                "files": len(source.labels),
                "missing": source.missing,
                "unreadable": len(source.unreadable),
                "with_face": counts.frames_with_face,
                "still": sum(counts.dropped[s] for s in ("frozen", "dark")),
                "faces_refused": dict(counts.faces_refused),
            },
            "tracks": counts.tracks,
            "unresolved": counts.unresolved,
            "predicted": sorted(predicted, key=lambda p: (p["onset"], p["apex"])),
            "wall_s": round(time.monotonic() - began, 2),
        }
        levels = {f"{level:.2f}": _labelled(taps, level, source) for level in LEVELS}
    return row, levels


def _prediction(output: Spotted, source: LabelledFrames, read: Reader | None) -> dict[str, Any]:
    expression = output.expression
    return {
        "onset": source.label_at(expression.onset.pts_ns),
        "apex": source.label_at(expression.apex.pts_ns),
        "offset": source.label_at(expression.offset.pts_ns),
        "score": round(expression.score, 4),
        **(read(output) if read is not None else {}),
    }


def _labelled(taps: list[_Tap], level: float, source: LabelledFrames) -> list[list[float]]:
    """Spots of fewer than three frames are dropped, as the chain drops them."""
    out = []
    for tap in taps:
        for spot in tap.at(level):
            onset, apex, offset = (source.label_at(t) for t in (spot.onset_ns, spot.apex_ns, spot.offset_ns))
            if onset < apex < offset:
                out.append([onset, apex, offset, round(spot.score, 4)])
    return sorted(out)


def _unseen(_: FacePair) -> Evidence:
    """Nobody looks at evidence where spots are not described; making it costs a dense flow for each."""
    import numpy as np

    return Evidence(np.zeros((1, 1, 3), np.uint8), (), {}, "none", refused="not_asked")
