"""``mellm annotate``: boxes, captions and motion maps burnt into a copy of a recording."""

from __future__ import annotations

from pathlib import Path

import click

from mellm.stream.clock import clock
from mellm.stream.errors import UsageError

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("video", type=_PATH)
@click.argument("run", type=_PATH)
@click.option("-o", "--out", type=_PATH, help="File to write, .mp4, .mkv or .mov [VIDEO-annotated.mp4].")
@click.option("--source", metavar="NAME", help="Which recording of RUN this is [the one of VIDEO's name].")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda", "tensorrt"]), default="auto", help="[auto]"
)
def annotate(video: Path, run: Path, out: Path | None, source: str | None, device: str) -> None:
    """Burn the results of the folder RUN into a copy of VIDEO, sound included.

    Faces are followed once more, as the analysis did: each has a box with its number, coloured while an expression
    lasts. Captions stay for three seconds or until the next expression; the motion map is in an upper corner.
    """
    from rich.console import Console

    from mellm.engine.analysis.pipeline_factory import PipelineFactory
    from mellm.engine.config import load
    from mellm.engine.export.annotate import annotate as write
    from mellm.engine.results.run_reader import open_recording, read_run

    found = read_run(run)
    name = source or _named(video, found.sources)
    part = found.only(name)
    target = out or video.with_name(f"{video.stem}-annotated.mp4")
    if target.exists() and video.exists() and target.samefile(video):
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
            progress=lambda seconds: status.update(f"written {clock(1000 * seconds)}"),
        )
    click.echo(f"wrote {target} ({frames} frames)", err=True)


def _named(video: Path, sources: tuple[str, ...]) -> str:
    """The recording of that name, or the only one there is."""
    from mellm.engine.analysis.offline import recordings

    (mine,) = recordings([str(video)])
    if mine.id in sources or len(sources) != 1:
        return mine.id
    return sources[0]
