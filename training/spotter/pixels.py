"""Scores of the whole product chain on rendered clips: pixels in, micro-expressions out.

Nothing is simulated here but the faces. Face detector, landmarks, crops, flow, network and decoder are those
of :mod:`detectors`, wired as :mod:`mellm.engine.analysis.pipeline` wires them, and the spotter's threshold is the
one it shipped with.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from mellm.detectors.analyzer import Analyzer, FaceAnalyzer
from mellm.detectors.signals import FacePair
from mellm.detectors.spotting import Spotter, SpottingOptions, StepModel
from mellm.detectors.types import Expression
from mellm.engine.analysis.pipeline import SourcePipeline, Spotted
from mellm.engine.types import Evidence
from mellm.stream.frames import Frame
from mellm.stream.sources.media import open_container
from mellm.training.spotter.evaluate import Interval, Scores, score


class PixelClip(Protocol):
    """A clip with known micro-expressions.

    ``groups`` are labels by which scores are told apart, such as ``30 fps`` or ``talking``.
    """

    @property
    def name(self) -> str: ...

    @property
    def groups(self) -> Sequence[str]: ...

    @property
    def truths(self) -> Sequence[Interval]: ...

    @property
    def seconds(self) -> float: ...

    def frames(self) -> Iterator[Frame]:
        """Its frames, decoded, in media time."""
        ...


@dataclass(frozen=True, slots=True)
class FileClip:
    """A clip written by :mod:`mellm.training.synth.clips`: a video, and its truth as JSON beside it."""

    path: Path
    truths: tuple[Interval, ...]
    seconds: float
    groups: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.path.stem

    @classmethod
    def load(cls, path: Path) -> FileClip:
        """Read the truth of the video at ``path``; the video itself is read by :meth:`frames`."""
        truth = json.loads(path.with_suffix(".json").read_text())
        spec = truth["spec"]
        micro = tuple(
            Interval(
                e["onset_s"], e["apex_s"], e["offset_s"], tuple(unit["au"] for unit in e["aus"]), e["peak"]
            )
            for e in truth["expressions"]
            if e["kind"] == "micro"
        )
        groups = ("talking" if truth["talks"] else "silent", spec["compression"])
        return cls(path, micro, spec["seconds"], (*groups, *(() if micro else ("without expressions",))))

    def frames(self) -> Iterator[Frame]:
        with open_container(self.path) as container:
            for index, picture in enumerate(container.decode(video=0)):
                pts_ns = round(picture.time * 1e9)
                image = np.asarray(picture.to_ndarray(format="bgr24"), np.uint8)
                yield Frame(self.name, 0, index, pts_ns, 0, image)


def folder_clips(folder: Path) -> list[FileClip]:
    """The finished clips of a folder, by name."""
    return [
        FileClip.load(path)
        for path in sorted(folder.glob("clip-*.mp4"))
        if path.with_suffix(".json").exists()
    ]


@dataclass(frozen=True, slots=True)
class ClipResult:
    """What was spotted in one clip, and how much of it was seen with a face."""

    clip: PixelClip
    spots: tuple[Interval, ...]
    frames: int
    frames_with_face: int


def interval(expression: Expression, au_threshold: float = 0.5) -> Interval:
    """A spotted expression as the metrics see it."""
    return Interval(
        expression.onset.pts_ns / 1e9,
        expression.apex.pts_ns / 1e9,
        expression.offset.pts_ns / 1e9,
        tuple(unit for unit, p in expression.aus if p >= au_threshold),
        score=expression.score,
    )


def _no_evidence(_: FacePair) -> Evidence:
    return Evidence(np.zeros((1, 1, 3), np.uint8), (), {}, "none")


def run(
    clip: PixelClip,
    model: StepModel,
    options: SpottingOptions | None = None,
    analyzer: Callable[[], Analyzer] = FaceAnalyzer,
) -> ClipResult:
    """Analyse one clip with the product's chain."""
    chain = SourcePipeline(clip.name, analyzer(), lambda: Spotter(model, options), _no_evidence)
    found = [out for frame in clip.frames() for out in chain.push(frame)]
    found += chain.finish()
    spots = tuple(interval(out.expression) for out in found if isinstance(out, Spotted))
    return ClipResult(clip, spots, chain.counts.analysed, chain.counts.frames_with_face)


def evaluate_pixels(
    clips: Iterable[PixelClip],
    model: StepModel,
    options: SpottingOptions | None = None,
    analyzer: Callable[[], Analyzer] = FaceAnalyzer,
    progress: Callable[[ClipResult], None] | None = None,
) -> dict[str, Scores]:
    """Pooled scores: ``all``, and one entry for each group."""
    parts: dict[str, list[ClipResult]] = {"all": []}
    for clip in clips:
        result = run(clip, model, options, analyzer)
        if progress:
            progress(result)
        for group in ("all", *clip.groups):
            parts.setdefault(group, []).append(result)
    return {
        group: score([(r.clip.truths, r.spots) for r in results], sum(r.clip.seconds for r in results) / 60)
        for group, results in parts.items()
    }


def main(arguments: list[str] | None = None) -> int:
    """``python -m mellm.training.spotter.pixels FOLDER``: score the shipped model on rendered clips."""
    from mellm.training.spotter.cli import pixels_command

    pixels_command.main(args=arguments, standalone_mode=False)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
