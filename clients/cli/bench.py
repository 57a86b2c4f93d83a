"""``mellm bench``: speed, latency, memory and start of the whole chain, against goals."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mellm.clients.cli.common import json_flag, settings_flags, settings_from

if TYPE_CHECKING:
    from mellm.engine.analysis.bench import Clips, Goal
    from mellm.engine.analysis.pipeline_factory import PipelineFactory
    from mellm.engine.analysis.plan import Plan

PARTS = ("cost", "start", "offline", "fast", "cameras")


@click.command()
@click.option(
    "--seconds", type=click.FloatRange(5, 3600), default=60.0, metavar="S", help="Length of each clip [60]."
)
@click.option(
    "--only",
    "parts",
    type=click.Choice(PARTS),
    multiple=True,
    help="Only this: processor time of a frame; start and memory of `analyze`; 720p offline; 200 frames a second; "
    "cameras. May be repeated [all].",
)
@click.option(
    "--cameras",
    type=click.IntRange(1, 64),
    default=4,
    metavar="N",
    help="Cameras at once, 640×480 at 30 [4].",
)
@click.option(
    "--plan", "planned", is_flag=True, help="How many cameras of which rate fit, in about a minute."
)
@json_flag
@settings_flags
def bench(
    seconds: float, parts: Sequence[str], cameras: int, planned: bool, as_json: bool, **flags: Any
) -> None:
    """Measure the true chain on this machine, one face in the picture.

    The pictures are the shipped sample, resized and repeated. Processor time is told as a ratio to decoding the same
    file and to one look of the landmark network, in turns of one run.
    """
    from mellm.clients.cli.demo import SAMPLE
    from mellm.engine.analysis import cost
    from mellm.engine.analysis.bench import Clips
    from mellm.engine.analysis.pipeline_factory import PipelineFactory
    from mellm.engine.provenance import machine, versions

    settings = settings_from(flags, purpose="self-use")

    def tell(row: dict[str, Any], said: str) -> None:
        click.echo(json.dumps(row, ensure_ascii=False) if as_json else said)

    others, load = cost.taken_by_others(), cost.load()
    tell(
        {"what": "machine", "load": load, "taken_by_others": others, **versions()},
        f"{machine(versions())}, load {load:.1f}",
    )
    if others > cost.BUSY:
        warning = (
            f"the machine is busy: {others:.0%} of a core is taken by others; seconds, latency and lost frames are "
            "worse than they would be, ratios of processor time hardly"
        )
        tell({"what": "warning", "message": warning}, f"warning: {warning}")
    factory = PipelineFactory(settings)
    if planned:
        plan = _plan(factory, keep=others <= cost.BUSY)
        tell({"what": "plan", "message": plan.sentence, **asdict(plan)}, plan.sentence)
        return
    with tempfile.TemporaryDirectory() as folder:
        clips = Clips(SAMPLE / "sample.mp4", Path(folder), seconds)
        for part in parts or PARTS:
            row, goals = _RUNS[part](factory, clips, cameras)
            tell(
                {**row, "goals": [asdict(goal) | {"met": goal.met} for goal in goals]},
                "\n".join(_lines(row, goals)),
            )


def _plan(factory: PipelineFactory, *, keep: bool) -> Plan:
    """:param keep: for `mellm doctor`; what was measured beside others would be held against every configuration"""
    from mellm.clients.cli.demo import SAMPLE
    from mellm.engine.analysis import cost, plan
    from mellm.engine.analysis.bench import Clips, LiveFigures, live
    from mellm.engine.analysis.pipeline_factory import describer_of

    load = cost.load()
    with tempfile.TemporaryDirectory() as folder:
        clips = Clips(SAMPLE / "sample.mp4", Path(folder), plan.TRIAL_S)
        paths = {fps: clips.make(plan.SIZE, fps) for fps in plan.RATES}

        def play(fps: int, cameras: int) -> LiveFigures:
            # networks are loaded before the first frame comes
            chains = {f"bench-{k}": factory.make(f"bench-{k}") for k in range(cameras)}
            name, describer = f"{cameras} at {fps}", describer_of(factory.settings)
            return live(name, paths[fps], chains.__getitem__, describer, plan.TRIAL_S, cameras=cameras)

        today = datetime.now(UTC).date().isoformat()
        found = plan.measure(play, processors=os.cpu_count() or 1, load=load, date=today)
    if not keep:
        return found
    try:
        plan.keep(found)
    except OSError as error:
        click.echo(f"warning: the plan cannot be kept for `mellm doctor`: {error}", err=True)
    return found


def _lines(row: dict[str, Any], goals: Iterable[Goal]) -> list[str]:
    said = [f"{row['what']}: {row['said']}"]
    return said + [f"  {goal.name:58}{goal.told:>26}   {'met' if goal.met else 'missed'}" for goal in goals]


def _cost(factory: PipelineFactory, clips: Clips, cameras: int) -> tuple[dict[str, Any], list[Goal]]:
    from mellm.engine.analysis import cost
    from mellm.engine.analysis.bench import Goal

    found = cost.measure(clips.make((1280, 720), 30, 8.0), lambda: factory.make("cost"))
    said = (
        f"{found.chain_ms:.1f} ms of processor time a frame; decoding {found.decode_ms:.2f}, "
        f"one look {found.look_ms:.1f}; "
        f"{found.per_decode:.1f} × decoding ({found.low:.1f} to {found.high:.1f} in {found.rounds} rounds), "
        f"{found.per_look:.2f} × a look; version 69dce81 {cost.BEFORE:.1f} × decoding"
    )
    row = {"what": "one face, 1280×720 at 30", "said": said, **asdict(found), "before": cost.BEFORE}
    return row, [Goal("processor time a frame, against decoding", found.per_decode, 5.0, "×")]


def _start(factory: PipelineFactory, clips: Clips, cameras: int) -> tuple[dict[str, Any], list[Goal]]:
    from mellm.engine.analysis.bench import Goal, run

    found = run("mellm analyze", clips.make((1280, 720), 30, 10.0), clips.folder / "run")
    said = f"first frame after {found.first_frame_s:.2f} s, at most {found.peak_mb:.0f} MB"
    return {"said": said, **asdict(found), "what": found.name}, [
        Goal("start of `mellm analyze` to the first frame", found.first_frame_s, 1.0, "s"),
        Goal("peak memory, one recording", found.peak_mb, 200.0, "MB"),
    ]


def _offline(factory: PipelineFactory, clips: Clips, cameras: int) -> tuple[dict[str, Any], list[Goal]]:
    from mellm.engine.analysis.bench import Goal, offline

    found = offline("offline 1280×720 at 30", clips.make((1280, 720), 30), factory.make)
    said = f"{found.media_s:.0f} s of media in {found.wall_s:.1f} s"
    return {"said": said, **asdict(found), "what": found.name}, [
        Goal("offline, times real time", found.factor, 8.0, "×", least=True)
    ]


def _fast(factory: PipelineFactory, clips: Clips, cameras: int) -> tuple[dict[str, Any], list[Goal]]:
    return _live(factory, clips, 200, 1, 0.8)


def _cameras(factory: PipelineFactory, clips: Clips, cameras: int) -> tuple[dict[str, Any], list[Goal]]:
    return _live(factory, clips, 30, cameras, None)


def _live(
    factory: PipelineFactory, clips: Clips, fps: int, cameras: int, cores: float | None
) -> tuple[dict[str, Any], list[Goal]]:
    from mellm.engine.analysis.bench import Goal, live
    from mellm.engine.analysis.pipeline_factory import describer_of

    name = f"{cameras} × live 640×480 at {fps}"
    path, describer = clips.make((640, 480), fps), describer_of(factory.settings)
    found = live(name, path, factory.make, describer, clips.seconds, cameras=cameras)
    said = (
        f"{found.captured} captured, {found.lost} lost; capture to score {found.score_p50_ms:.0f} ms, 95th percentile "
        f"{found.score_p95_ms:.0f}; {found.cpu_share:.2f} cores"
    )
    goals = [
        Goal("frames lost", float(found.lost), 0.0, ""),
        Goal("capture to score, 95th percentile (300 of it look-ahead)", found.score_p95_ms, 330.0, "ms"),
    ]
    if cores is not None:
        goals.append(Goal("processor", found.cpu_share, cores, "cores"))
    return {"said": said, **asdict(found), "what": name}, goals


_RUNS: dict[str, Callable[[PipelineFactory, Clips, int], tuple[dict[str, Any], list[Goal]]]] = {
    "cost": _cost,
    "start": _start,
    "offline": _offline,
    "fast": _fast,
    "cameras": _cameras,
}
