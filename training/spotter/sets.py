"""The fixed sets on which spotters are compared, and the measured corpora on which they are trained.

A set is a list of :class:`Clip` recipes, each of which follows from its name alone. :func:`build` carries them out –
draw, film, and measure with the product's own chain – and keeps one file a clip, so an interrupted build goes on
where it stopped.

Who is where: rendered people by identity seed (:data:`mellm.training.synth.rig.SPLITS`); photographed people by
:func:`still_split`; filmed people by :data:`VIDEOS`, whose folds serve cross-validation (each person is tested
once, by a network that never saw him or her).
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import cv2
import numpy as np

from mellm.detectors.flow import FlowEstimator, Preset, create
from mellm.stream.errors import MellmError, SourceEmpty, UsageError
from mellm.stream.sources.media import open_container
from mellm.training.spotter import records
from mellm.training.spotter.evaluate import Interval
from mellm.training.spotter.people import FOLDS, VALIDATION, VIDEOS, video
from mellm.training.spotter.records import Event, Record
from mellm.training.synth import composite
from mellm.training.synth.clips import RenderedClip, draw_spec
from mellm.training.synth.events import Expression
from mellm.training.synth.foreign import foreign_script
from mellm.training.synth.mocap import captured_script
from mellm.training.synth.rig import SPLITS, Split
from mellm.training.synth.script import PROFILES, Script, restless

log = logging.getLogger(__name__)

ROOT = Path("runs/spotting-sets")
Kind: TypeAlias = Literal["rendered", "still", "video", "free"]


STILL_FOLDS: dict[Split, tuple[int, ...]] = {"train": (0, 1, 2), "val": (3,), "test": (4,)}
"""Remainder by five of a photographed person's place in the sorted list of people."""

FACE_PX = (100.0, 360.0)
"""Range of face widths of photographs."""


@dataclass(frozen=True, slots=True)
class Clip:
    """How to make one clip. ``source`` is a file name, empty for rendered people; ``seed`` decides the rest.

    :param remade: a recording without pictures that are shown twice
    :param rough: a poor camera, a restless head
    """

    name: str
    kind: Kind
    seed: int
    source: str = ""
    fps: float = 50.0
    seconds: float = 10.0
    profile: str = ""
    face_px: float = 0.0
    remade: bool = False
    rough: bool = False
    groups: tuple[str, ...] = ()


@lru_cache(maxsize=4)
def _people(folder: Path) -> tuple[str, ...]:
    found = {m.group(1) for p in folder.glob("*.jpg") if (m := re.search(r"_(\d{3})_\d\d\.jpg$", p.name))}
    return tuple(sorted(found))


def still_split(split: Split, folder: Path | None = None) -> list[Path]:
    """Neutral photographs of the people of one split."""
    folder = folder or composite.media() / "stills"
    people = _people(folder)
    chosen = {p for i, p in enumerate(people) if i % 5 in STILL_FOLDS[split]}
    return [p for p in sorted(folder.glob("*_neutral_*.jpg")) if p.stem.split("_")[-2] in chosen]


def _rendered(split: Split, first: int, count: int, fps: float, tag: str) -> list[Clip]:
    seeds = SPLITS[split][first : first + count]
    return [Clip(f"{tag}-{s}", "rendered", s, fps=fps) for s in seeds]


def _filmed() -> list[Clip]:
    """Expressions laid on the pixels of the people of the folds, for training: other seeds than those tested.

    The second time round and later the film is compressed more, or less.
    """
    return [
        replace(c, name=f"tv{version}-{Path(c.source).stem}", rough=version > 0)
        for version in range(8)
        for c in _videos("".join(FOLDS), 3_000_000 + 1000 * version, "tv")
    ]


def _stills(split: Split, versions: int, first: int, tag: str, fps: Sequence[float]) -> list[Clip]:
    out = []
    for version in range(versions):
        for i, path in enumerate(still_split(split)):
            seed = first + 1000 * version + i
            rng = np.random.default_rng([0x57155, seed])
            profile = ("quiet", "mixed", "talk", "still")[rng.choice(4, p=(0.4, 0.3, 0.2, 0.1))]
            width = float(np.exp(rng.uniform(*np.log(FACE_PX))))
            rate = float(fps[int(rng.integers(len(fps)))])
            name = f"{tag}-{path.stem.split('_')[-2]}-{version}"
            out.append(Clip(name, "still", seed, path.name, rate, 10.0, profile, width))
    return out


def _videos(fold: str, first: int, tag: str) -> list[Clip]:
    """Expressions laid on recordings of the people of some folds: at most two recordings of each person."""
    taken: dict[str, int] = {}
    out: list[Clip] = []
    for i, v in enumerate(VIDEOS):
        if v.fold and v.fold in fold and taken.setdefault(v.subject, 0) < 2:
            taken[v.subject] += 1
            out.append(Clip(f"{tag}-{Path(v.file).stem}", "video", first + i, v.file, groups=(v.group,)))
    return out


def _drawn(split: Split, count: int, first: int, tag: str) -> list[Clip]:
    """Photographs that speak as a person whose motion was captured, in takes that no training clip uses."""
    paths = still_split(split)
    return [
        Clip(
            f"{tag}-{path.stem.split('_')[-2]}",
            "still",
            first + i,
            path.name,
            (30.0, 50.0)[i % 2],
            10.0,
            CAPTURED,
            (120.0, 180.0, 260.0)[i % 3],
        )
        for i, path in enumerate(paths[:count])
    ]


def _foreign() -> list[Clip]:
    """Faces of the second generator: people of the test identities, and photographs of people of the test split."""
    drawn = [
        Clip(f"f-{s}", "rendered", s, fps=(50.0, 30.0)[k % 2], profile=FOREIGN, groups=("rendered",))
        for k, s in enumerate(SPLITS["test"][700:716])
    ]
    photographs = [
        replace(c, name=f"fs-{c.name.split('-')[1]}", profile=FOREIGN, groups=("photographs",))
        for c in _stills("test", 1, 2_200_000, "fs", (30, 50))
    ]
    return [c for pair in itertools.zip_longest(drawn, photographs) for c in pair if c]


def _rates() -> list[Clip]:
    """The same people and scripts at five frame rates, and at five face widths."""
    out: list[Clip] = []
    for seed in SPLITS["test"][900:904]:
        out += [
            Clip(f"rates-{fps}fps-{seed}", "rendered", seed, fps=fps, face_px=220, groups=(f"{fps} fps",))
            for fps in (25, 30, 60, 100, 200)
        ]
        out += [
            Clip(f"rates-{width}px-{seed}", "rendered", seed, face_px=width, groups=(f"{width} px",))
            for width in (96, 128, 180, 270, 400)
        ]
    return out


def clips(name: str) -> list[Clip]:
    """The recipes of a set.

    :raises UsageError: there is no such set
    """
    sets: dict[str, Callable[[], list[Clip]]] = {
        "rendered50": lambda: _rendered("test", 0, 24, 50, "r50"),
        "rendered30": lambda: _rendered("test", 500, 24, 30, "r30"),
        "stills": lambda: _stills("test", 1, 2_000_000, "s", (30, 50)),
        "talking": lambda: _videos("".join(FOLDS), 2_000_000, "v"),
        "val-talking": lambda: _videos(VALIDATION, 2_500_000, "vv"),
        "drawn": lambda: _drawn("test", 16, 2_000_000, "d"),
        "val-drawn": lambda: _drawn("val", 10, 1_000_000, "vd"),
        "free": lambda: [
            Clip(f"free-{Path(v.file).stem}", "free", 0, v.file, groups=(v.group,))
            for v in VIDEOS
            if v.fold in FOLDS
        ],
        "val-free": lambda: [
            Clip(f"free-{Path(v.file).stem}", "free", 0, v.file, groups=(v.group,))
            for v in VIDEOS
            if v.fold == VALIDATION
        ],
        "train-free": lambda: [
            Clip(f"own-{Path(v.file).stem}", "free", 0, v.file, remade=True, groups=(v.group,))
            for v in VIDEOS
            if v.fold != VALIDATION and (v.repeats or not v.fold)
        ],
        "foreign": _foreign,
        "rates": _rates,
        "val-rendered": lambda: [
            *_rendered("val", 0, 16, 50, "vr50"),
            *_rendered("val", 500, 8, 30, "vr30"),
        ],
        "val-stills": lambda: _stills("val", 1, 1_000_000, "vs", (30, 50)),
        "train-rendered": lambda: [
            replace(c, fps=(25.0, 30.0, 30.0, 50.0, 50.0, 60.0)[c.seed % 6])
            for c in _rendered("train", 2000, 2000, 50, "tr")
        ],
        "train-filmed": _filmed,
        "train-stills": lambda: _stills("train", 40, 0, "ts", (25, 30, 30, 50)),
        "train-rough": lambda: [
            replace(c, rough=True) for c in _stills("train", 40, 500_000, "tg", (25, 30, 30, 50))
        ],
    }
    if name not in sets:
        raise UsageError(f"no set {name!r}", remedy=f"one of {', '.join(sets)}")
    return sets[name]()


TEST_SETS = ("talking", "free", "stills", "drawn", "rendered50", "rendered30", "foreign")
VALIDATION_SETS = ("val-rendered", "val-stills", "val-drawn", "val-talking", "val-free")

CAPTURED = "captured"
"""Profile of a photograph that is driven by motion capture."""

FOREIGN = "foreign"
"""Profile of a face that the second generator drives (:mod:`mellm.training.synth.foreign`): every second one talks."""

LONGEST_S = 12.0
"""Of a recording on which expressions are laid."""


Flow: TypeAlias = Callable[[], FlowEstimator] | None
"""Makes the estimator of motion; ``None`` is the product's own."""


def make(clip: Clip, flow: Flow = None) -> Record:
    """Draw, film and measure one clip."""
    cv2.setNumThreads(1)
    if clip.kind == "rendered":
        return _make_rendered(clip, flow)
    if clip.kind == "still":
        return _make_still(clip, flow)
    return _make_free(clip, flow) if clip.kind == "free" else _make_video(clip, flow)


def _truths(script: Script, peak: Callable[[Expression], float]) -> list[Interval]:
    return [
        Interval(e.onset_s, e.apex_s, e.offset_s, tuple(a.au for a in e.actions), peak(e))
        for e in script.expressions
        if e.kind == "micro"
    ]


def _events(script: Script) -> list[Event]:
    """What is no truth, by kind; slow drift of the head goes on all the time and is left out."""
    out = [
        Event("macro" if isinstance(e, Expression) else type(e).__name__.lower(), e.onset_s, e.offset_s)
        for e in script.events
        if not (isinstance(e, Expression) and e.kind == "micro")
    ]
    return sorted((e for e in out if e.kind != "headdrift"), key=lambda e: e.onset_s)


def _talks(clip: Clip) -> bool:
    """Whether the second generator lets this face talk."""
    return clip.seed % 2 == 1


def _make_rendered(clip: Clip, flow: Flow) -> Record:
    spec = draw_spec(clip.seed, clip.seconds, clip.fps)
    if clip.face_px:
        spec = replace(spec, face_width=clip.face_px, side=2 * round(clip.face_px * 0.86))
    script = foreign_script(clip.seed, clip.seconds, _talks(clip)) if clip.profile == FOREIGN else None
    rendered = RenderedClip(spec, script=script)
    film = composite.Film(noise=0, codec="none")
    if spec.compression == "h264":
        film = replace(film, codec="h264", quality=spec.quality)
    stamps = [round(k * 1e9 / clip.fps) for k in range(len(rendered))]
    truth = rendered.truth()
    peaks = {e["onset_s"]: e["peak"] for e in truth["expressions"]}
    return records.measure(
        clip.name,
        f"rendered-{clip.seed}",
        composite.coded(rendered, film, stamps, clip.name),
        truths=_truths(rendered.script, lambda e: peaks[round(e.onset_s, 4)]),
        events=_events(rendered.script),
        seconds=clip.seconds,
        fps=clip.fps,
        groups=(
            "talking" if rendered.script.talks or (script and _talks(clip)) else "silent",
            spec.compression,
            *clip.groups,
        ),
        facts={"seed": clip.seed},
        flow=flow,
    )


def _make_still(clip: Clip, flow: Flow) -> Record:
    from mellm.training.tools.make_sample import landmarks

    image = np.asarray(cv2.imread(str(composite.media() / "stills" / clip.source)), np.uint8)
    rng = np.random.default_rng([0x20064, clip.seed])
    script: Script | None = None
    if clip.profile == CAPTURED:
        script = captured_script(rng, clip.seconds, PROFILES["mixed"], held=True, talk=1.0)
    elif clip.profile == FOREIGN:
        script = foreign_script(clip.seed, clip.seconds, _talks(clip))
    made = composite.StillClip(
        image,
        landmarks(image),
        seed=clip.seed,
        seconds=clip.seconds,
        fps=clip.fps,
        profile=clip.profile,
        script=script,
        face_px=clip.face_px,
        film=composite.draw_rough_film(rng) if clip.rough else None,
        more=restless(rng, clip.seconds) if clip.rough else (),
    )
    return records.measure(
        clip.name,
        f"still-{clip.source.split('_')[-2]}",
        made.frames(),
        truths=_truths(made.script, made.peak),
        events=_events(made.script),
        seconds=clip.seconds,
        fps=clip.fps,
        groups=(
            "talking" if made.talks or (clip.profile == FOREIGN and _talks(clip)) else "silent",
            made.film.codec,
            *clip.groups,
        ),
        facts={"profile": clip.profile},
        flow=flow,
    )


def _traced(clip: Clip) -> composite.Traced:
    return composite.trace(video(clip.source).path, ROOT / "traces")


def _make_video(clip: Clip, flow: Flow) -> Record:
    traced, who = _traced(clip), video(clip.source)
    rng = np.random.default_rng([0x71DE, clip.seed])
    edges = [0.0, *who.cuts, float(traced.times_s[-1])]
    whole = max(itertools.pairwise(edges), key=lambda span: span[1] - span[0])
    length = min(whole[1] - whole[0], LONGEST_S)
    start = whole[0] + float(rng.uniform(0, whole[1] - whole[0] - length))
    if whole[0] > 0:  # not the frame of the cut itself
        start, length = start + 0.1, length - 0.1
    quality = int(rng.integers(18, 37)) if clip.rough else 20
    made = composite.VideoClip(
        traced,
        seed=clip.seed,
        per_min=22.0,
        film=composite.Film(noise=0.6, codec="h264", quality=quality),
        start_s=start,
        end_s=start + length + 1e-3,
    )
    measured = records.measure(
        clip.name,
        who.subject,
        made.frames(),
        seconds=made.seconds,
        fps=made.fps,
        groups=clip.groups,
        facts={"fold": who.fold, "file": who.file, "start_s": made.start_s},
        flow=flow,
    )
    return replace(measured, truths=tuple(_truths(made.script, made.peak)))


def _make_free(clip: Clip, flow: Flow) -> Record:
    who = video(clip.source)
    with open_container(who.path) as container:
        rate = float(container.streams.video[0].average_rate or 25)
    made = records.measure(
        clip.name,
        who.subject,
        who.frames(clip.name, distinct=clip.remade),
        seconds=0,
        fps=rate,
        groups=clip.groups,
        facts={"fold": who.fold, "file": who.file},
        flow=flow,
    )
    return replace(made, seconds=made.frames / rate)


def _carry_out(clip: Clip, path: str, preset: Preset | None = None) -> str | None:
    """Make and keep one clip; the reason where it cannot be made."""
    try:
        records.save(make(clip) if preset is None else make(clip, partial(create, preset)), Path(path))
    except SourceEmpty as error:
        return str(error)
    return None


def _log_clip(clip: Clip, reason: str | None) -> None:
    if reason is not None:
        log.warning("%s is left out: %s", clip.name, reason)


def build(
    name: str,
    root: Path = ROOT,
    *,
    workers: int = 1,
    limit: int | None = None,
    until_s: float | None = None,
    flow: Preset | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Make what is missing of a set; returns its folder.

    :param limit: make no more than the first so many clips
    :param until_s: start none after this ``time.monotonic()``
    :param flow: another estimator of motion than the product's; give such sets a ``root`` of their own
    """
    import time

    folder = root / name
    wanted = clips(name)[:limit]
    missing = [c for c in wanted if not (folder / f"{c.name}.npz").exists()]
    done = len(wanted) - len(missing)
    tell = progress or (lambda done, total: None)
    tell(done, len(wanted))
    for source in sorted({c.source for c in missing if c.kind == "video"}):
        composite.trace(video(source).path, ROOT / "traces")  # once, before the workers need it
    if workers <= 1:
        for clip in missing:
            if until_s is None or time.monotonic() < until_s:
                _log_clip(clip, _carry_out(clip, str(folder / f"{clip.name}.npz"), flow))
                done += 1
                tell(done, len(wanted))
        return folder
    with ProcessPoolExecutor(workers) as pool:
        jobs = {pool.submit(_carry_out, c, str(folder / f"{c.name}.npz"), flow): c for c in missing}
        for job in as_completed(jobs):
            _log_clip(jobs[job], job.result())
            done += 1
            tell(done, len(wanted))
            if until_s is not None and time.monotonic() > until_s:
                pool.shutdown(wait=False, cancel_futures=True)
                break
    return folder


def load(name: str, root: Path = ROOT) -> list[Record]:
    """The records of a built set.

    :raises UsageError: it has not been built, or not to its end
    """
    folder = root / name
    wanted = clips(name)
    there = [folder / f"{c.name}.npz" for c in wanted if (folder / f"{c.name}.npz").exists()]
    if not there:
        raise UsageError(
            f"the set {name} is not in {root}", remedy=f"python -m mellm.training.spotter.sets {name}"
        )
    return [records.load(p) for p in there]


def main(arguments: Iterable[str] | None = None) -> int:
    """``python -m mellm.training.spotter.sets NAME…``: build sets."""
    import click

    @click.command()
    @click.argument("names", nargs=-1, required=True)
    @click.option("--root", type=click.Path(path_type=Path), default=ROOT, show_default=True)
    @click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True)
    @click.option("--limit", type=click.IntRange(1), help="The first so many clips of each set.")
    @click.option("--minutes", type=float, help="Start no clip after so many minutes.")
    @click.option(
        "--flow",
        type=click.Choice(get_args(Preset)),
        help="Measure with another optical flow than the product's; give another --root too.",
    )
    def command(
        names: tuple[str, ...],
        root: Path,
        workers: int,
        limit: int | None,
        minutes: float | None,
        flow: Preset | None,
    ) -> None:
        """Draw, film and measure the clips of sets; what is there is kept."""
        import time

        if flow is not None and root == ROOT:
            raise UsageError(
                "sets of another flow would take the place of the product's", remedy="give --root"
            )
        until = None if minutes is None else time.monotonic() + 60 * minutes
        for name in names:

            def tell(done: int, total: int, name: str = name) -> None:
                if done % 10 == 0 or done == total:
                    click.echo(f"{name}: {done}/{total}", err=True)

            build(name, root, workers=workers, limit=limit, until_s=until, flow=flow, progress=tell)

    try:
        command.main(args=None if arguments is None else list(arguments), standalone_mode=False)
    except MellmError as error:
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
