"""``mellm annotate``: boxes, captions and motion maps burnt into a copy of a recording."""

from __future__ import annotations

from pathlib import Path

import click

from mellm.clients.cli.common import counted
from mellm.stream.clock import clock
from mellm.stream.errors import UsageError

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("video", type=_PATH)
@click.argument("run", type=_PATH)
@click.option("-o", "--out", type=_PATH, help="File to write, .mp4, .mkv or .mov [VIDEO-annotated.mp4].")
@click.option(
    "--repeat", type=click.IntRange(1, 20), help="Repeat each expression so often, slowed down [none]."
)
@click.option(
    "--slow", type=click.FloatRange(1, 100), metavar="FACTOR", help="How many times slower repeats are [4]."
)
@click.option(
    "--clips", type=_PATH, metavar="DIR", help="Write a clip of each expression; without --out nothing else."
)
@click.option("--source", metavar="NAME", help="Which recording of RUN this is [the one of VIDEO's name].")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda", "tensorrt"]), default="auto", help="[auto]"
)
def annotate(
    video: Path,
    run: Path,
    out: Path | None,
    repeat: int | None,
    slow: float | None,
    clips: Path | None,
    source: str | None,
    device: str,
) -> None:
    """Burn the results of the folder RUN into a copy of VIDEO, sound included.

    Faces are followed once more, as the analysis did: each has a box with its number, coloured while an expression
    lasts. Captions are below the picture, for three seconds or until the next expression; the motion map of each face
    is beside it. With --repeat each expression is shown again, slowed down, and the copy is silent. --clips writes a
    file for each expression: half a second before and after it, then its repeats.
    """
    from rich.console import Console

    from mellm.engine.analysis.pipeline_factory import PipelineFactory
    from mellm.engine.config import load
    from mellm.engine.export.annotate import annotate as write
    from mellm.engine.export.slow_motion import Slow
    from mellm.engine.results.run_reader import open_recording, read_run

    found = read_run(run)
    name = source or _named(video, found.sources)
    part = found.only(name)
    if slow is not None and repeat is None and clips is None:
        raise UsageError("--slow is about repeats", remedy="say how often with --repeat, or ask for --clips")
    slowly = None if repeat is None and slow is None else Slow(repeat or 1, slow or 4.0)
    target = (
        None if out is None and clips is not None else out or video.with_name(f"{video.stem}-annotated.mp4")
    )
    if target is not None and target.exists() and video.exists() and target.samefile(video):
        raise UsageError(f"{target} is the recording itself", remedy="name another file with --out")
    settings = load(
        None, {"faces.device": device, "faces.max_faces": found.state["settings"].get("max_faces")}
    )
    chain = PipelineFactory(settings).make(name, mirrored=bool(found.state["settings"].get("mirrored")))
    with (
        open_recording(part, name, video) as opened,
        Console(stderr=True).status("") as status,
    ):
        frames = write(
            opened,
            video,
            part,
            target,
            chain.look,
            slow=slowly if target is None or repeat is not None else None,
            clips=clips,
            progress=lambda seconds: status.update(f"written {clock(1000 * seconds)}"),
        )
    if target is not None:
        click.echo(f"wrote {target} ({frames} frames)", err=True)
    if clips is not None:
        click.echo(f"wrote {counted(len(part.expressions), 'clip')} to {clips}", err=True)


def _named(video: Path, sources: tuple[str, ...]) -> str:
    """The recording of that name, or the only one there is."""
    from mellm.engine.analysis.offline import recordings

    (mine,) = recordings([str(video)])
    if mine.id in sources or len(sources) != 1:
        return mine.id
    return sources[0]
