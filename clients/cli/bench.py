"""``mellm bench``: speed and latency of the whole chain, against their limits."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mellm.clients.cli.common import json_flag, settings_flags, settings_from

if TYPE_CHECKING:
    from mellm.detectors.bench import StepBench


def _step_line(step: StepBench) -> str:
    network = "" if step.network_ms is None else f"; network {step.network_ms:.2f} ms"
    signals = f"signals {step.signals_ms:.1f} ms (p95 {step.signals_p95_ms:.1f})"
    return f"{'grid step of 20 ms, one face':30}{signals}{network}"


@click.command()
@click.option(
    "--seconds", type=click.FloatRange(5, 3600), default=60.0, metavar="S", help="Length of each run [60]."
)
@json_flag
@settings_flags
def bench(seconds: float, as_json: bool, **flags: Any) -> None:
    """Measure the true chain on this machine: live 640×480 at 30 and 200 frames a second, offline 1280×720 at 30.

    The pictures are the shipped sample, resized and repeated. Prints ratios against limits of the same run.
    """
    from mellm.clients.cli.demo import SAMPLE
    from mellm.detectors.bench import steps
    from mellm.detectors.spotters import open_spotter
    from mellm.engine.analysis import bench as measure
    from mellm.engine.analysis.pipeline_factory import PipelineFactory, describer_of
    from mellm.engine.provenance import machine, versions
    from mellm.stream.sources import open_source

    settings = settings_from(flags, purpose="self-use")
    sample = SAMPLE / "sample.mp4"
    with open_source(str(sample), id="bench", live=False) as source:
        sample_fps = source.info.declared_fps or 50.0
    factory = PipelineFactory(settings)
    rows: list[dict[str, Any]] = []

    def tell(row: dict[str, Any], said: str) -> None:
        rows.append(row)
        click.echo(json.dumps(row) if as_json else said)

    step = steps(open_spotter(settings.spotting.model, settings.faces.device))
    tell({"what": "step", **asdict(step)}, _step_line(step))
    with tempfile.TemporaryDirectory() as folder:
        for name, size, fps in (
            ("live 640×480 at 30", (640, 480), 30),
            ("live 640×480 at 200", (640, 480), 200),
        ):
            path = Path(folder) / f"{fps}.mp4"
            measure.clip(measure.pictures(sample, size), path, fps, seconds, sample_fps)
            made = measure.live(
                name,
                path,
                lambda source: factory.make(source),
                describer_of(settings),
                seconds,
            )
            tell(
                {"what": name, **asdict(made), "ratio": round(made.ratio, 3)},
                f"{name:30}{made.captured} captured, {made.lost} lost; score p50 {made.score_p50_ms:.0f} ms, "
                f"p95 {made.score_p95_ms:.0f} ms = {made.ratio:.2f} of the limit; {made.cpu_share:.2f} cores",
            )
        path = Path(folder) / "offline.mp4"
        measure.clip(measure.pictures(sample, (1280, 720)), path, 30, min(seconds, 60.0), sample_fps)
        done = measure.offline("offline 1280×720 at 30", path, factory.make)
        tell(
            {"what": done.name, **asdict(done), "factor": round(done.factor, 2)},
            f"{done.name:30}{done.media_s:.0f} s of media in {done.wall_s:.1f} s = {done.factor:.1f} × real time "
            f"(limit {measure.OFFLINE_FACTOR:.0f})",
        )
    tell({"what": "machine", **versions()}, f"{'machine':30}{machine(versions())}")
