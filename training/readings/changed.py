"""The same clips under changes that must not matter: what a reading that holds still is measured on.

``python -m mellm.training.readings.changed --out runs/watched`` lets the product's chain watch each clip of some test
people seven times; ``mellm eval describing --stability`` compares what describers say.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import click
import cv2
import numpy as np

from mellm.detectors.types import U8
from mellm.stream.errors import MellmError
from mellm.stream.frames import Frame
from mellm.training.readings.clips import ClipSpec, Filmed, Kind, clips, filmed
from mellm.training.readings.spots import save, watch
from mellm.training.synth.composite import Film

FOLDER: Final = "changed"
"""Of the clips, beside those of the splits."""

KINDS: Final[tuple[Kind, ...]] = ("rendered", "stills", "silent", "acting")

SECONDS: Final = 10.0
"""Of a clip."""


@dataclass(frozen=True, slots=True)
class Change:
    """What is done to the pictures, and how they are coded.

    :param crf: constant rate factor of H.264
    :param streamed: coded as a camera does, without looking ahead, and read out of a transport stream
    """

    pictures: Callable[[U8], U8]
    crf: int = 18
    streamed: bool = False


def _same(picture: U8) -> U8:
    return picture


def _brighter(picture: U8) -> U8:
    return np.asarray(cv2.convertScaleAbs(picture, alpha=1.03), np.uint8)


def _smaller(picture: U8) -> U8:
    height, width = picture.shape[:2]
    size = (int(0.8 * width) // 2 * 2, int(0.8 * height) // 2 * 2)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _cropped(picture: U8) -> U8:
    return np.ascontiguousarray(picture[2:, 2:])


CHANGES: Final[dict[str, Change]] = {
    "crf 18": Change(_same),
    "crf 23": Change(_same, 23),
    "crf 28": Change(_same, 28),
    "brighter": Change(_brighter),
    "smaller": Change(_smaller),
    "cropped": Change(_cropped),
    "streamed": Change(_same, 23, streamed=True),
}
"""The first is the clip as it was; +3 % light, 0.8 of the size, two rows and columns less, and a camera's stream."""


def versions(clip: Filmed) -> Iterator[Filmed]:
    """The clip under each change. It is read once."""
    pictures = list(clip.pictures)
    for name, change in CHANGES.items():
        spec = replace(clip.spec, name=f"{clip.spec.name}~{name}", change=name)
        film = Film(codec="h264", quality=change.crf)
        shown = map(change.pictures, pictures)

        def sent(p: Iterator[U8], name: str = spec.name, crf: int = change.crf) -> Iterator[Frame]:
            return streamed(p, clip.stamps_ns, name, crf)

        yield replace(clip, spec=spec, pictures=shown, film=film, sent=sent if change.streamed else None)


def streamed(pictures: Iterable[U8], stamps_ns: Iterable[int], name: str, crf: int) -> Iterator[Frame]:
    """Pictures as a camera would stream them: times as the stream has them, in 1/90000 s from its first."""
    store, clock = io.BytesIO(), Fraction(1, 90_000)
    options = {"crf": str(crf), "preset": "veryfast", "tune": "zerolatency", "threads": "1"}
    with av.open(store, "w", format="mpegts") as out:
        stream = out.add_stream("libx264", rate=30, options=options)
        stream.pix_fmt, stream.time_base = "yuv420p", clock
        stream.codec_context.time_base = clock
        for k, (picture, t_ns) in enumerate(zip(pictures, stamps_ns, strict=False)):
            if k == 0:
                stream.height, stream.width = (n // 2 * 2 for n in picture.shape[:2])
            even = np.ascontiguousarray(picture[: stream.height, : stream.width])
            frame = av.VideoFrame.from_ndarray(even, format="bgr24")
            frame.pts, frame.time_base = round(t_ns / 1e9 / clock), clock
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    store.seek(0)
    first: float | None = None
    with av.open(store, "r", format="mpegts") as back:  # in memory: no file to be found
        for k, frame in enumerate(back.decode(video=0)):
            first = frame.time if first is None else first
            image = np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
            yield Frame(name, 0, k, round((frame.time - first) * 1e9), 0, image)


def chosen(kind: Kind, count: int) -> list[ClipSpec]:
    """Clips of test people, shorter than those that describers are scored on."""
    return [replace(spec, seconds=min(spec.seconds, SECONDS)) for spec in clips("test", kind, count)]


@click.command()
@click.option("--clips", "count", type=click.IntRange(1), default=5, show_default=True, help="Of each kind.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/watched"), show_default=True)
def main(count: int, out: Path) -> None:
    """Let the chain watch clips of test people under each change, and keep what a spotter would see."""
    cv2.setNumThreads(1)
    try:
        for i in range(count):
            for kind in KINDS:
                some = chosen(kind, i + 1)
                last = out / FOLDER / f"{some[-1].name}~{list(CHANGES)[-1]}.npz"
                if len(some) <= i or last.exists():
                    continue
                for version in versions(filmed(some[i], out / "traces")):
                    save(out / FOLDER / f"{version.spec.name}.npz", watch(version))
                click.echo(some[i].name, err=True)
    except MellmError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
