"""Containers × what recordings do: an event at a known time is found at that time, or the recording is refused by name.

Two pictures of a clip are bright. None of the cells may be read silently and give another time.
"""

import struct
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

import av
import cv2
import numpy as np
import pytest

from mellm.stream.errors import MellmError, SourceTimeUnknown
from mellm.stream.sources import SourceOptions, open_source
from tests.stream.videos import drain

FPS, FRAMES = 25, 40
BRIGHT = (12, 27)
SIZE = (96, 64)
CODECS = {
    "mp4": "libx264",
    "mov": "libx264",
    "mkv": "libx264",
    "webm": "libvpx",
    "avi": "libx264",
    "ts": "libx264",
    "flv": "libx264",
    "mpg": "mpeg2video",
    "wmv": "wmv2",
    "gif": "gif",
    "mjpeg": "mjpeg",
    "h264": "libx264",
}
CONTAINERS = (*CODECS, "folder")
RAW = ("mjpeg", "h264")
KEEPS_MATRIX = ("mp4", "mov")
KEEPS_PIXEL_SHAPE = ("mp4", "mov", "mkv", "ts", "mpg", "flv", "h264")
KEEPS_TRACKS = ("mp4", "mov", "mkv", "ts", "avi")
KEEPS_DEFAULT = ("mp4", "mov", "mkv")
KEEPS_START = ("mp4", "mov", "mkv", "webm", "ts", "flv", "mpg", "wmv")
ASPECT = Fraction(32, 27)  # 16:9, which MPEG-2 can say
TOLERANCE_MS = 12  # GIF counts hundredths of a second


@dataclass
class Clip:
    """A recording and the truth about it."""

    path: object
    times_ms: list
    fps: float | None = None
    options: dict = field(default_factory=dict)


def picture(number, shade=60):
    """Grey and moving, upper left red; bright at the events."""
    image = np.full((SIZE[1], SIZE[0], 3), shade, np.uint8)
    image[:, (np.arange(SIZE[0]) - 3 * number) % 16 < 4] += 30
    image[: SIZE[1] // 2, : SIZE[0] // 2] = (0, 0, 200)
    if number in BRIGHT:
        image[SIZE[1] // 2 :] = 250
    return image


def write(path, kind, *, stamps_ms=None, start_ms=0, aspect=None, matrix=None, numbers=None, decoy=False):
    numbers = list(range(FRAMES)) if numbers is None else numbers
    codec = CODECS[kind]
    in_ms = bool(stamps_ms or start_ms) and kind != "mpg"  # MPEG-2 knows some rates only
    base = Fraction(1, 1000) if in_ms else Fraction(1, FPS)
    stamps = stamps_ms or [1000 * n // FPS for n in range(len(numbers))]
    form = {"ts": "mpegts", "mpg": "mpeg", "mkv": "matroska", "wmv": "asf"}.get(kind)
    options = {"g": "10", "bf": "2"} if codec in ("libx264", "mpeg2video") else {"g": "10"}
    with av.open(str(path), "w", format=form) as out:
        tracks = []
        for dull in (True, False) if decoy else (False,):
            stream = out.add_stream(codec, rate=FPS, options=options if codec != "gif" else {})
            stream.width, stream.height = SIZE
            stream.pix_fmt = {"gif": "rgb8", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
            if in_ms and kind != "gif":
                stream.codec_context.time_base = base
            if aspect:
                stream.codec_context.sample_aspect_ratio = aspect
            if matrix:
                stream.set_display_matrix(matrix)
            if decoy:
                stream.disposition = 0 if dull else 1
            tracks.append((stream, dull))
        for place, number in enumerate(numbers):
            for stream, dull in tracks:
                image = picture(-1 if dull else number, 60)
                frame = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format=stream.pix_fmt)
                frame.pts = stamps[place] + start_ms if in_ms else place + start_ms * FPS // 1000
                frame.time_base = base
                out.mux(stream.encode(frame))
        for stream, _ in tracks:
            out.mux(stream.encode())
    return [stamps[p] - stamps[0] for p, n in enumerate(numbers) if n in BRIGHT]


def stamp_table(tmp_path, stamps):
    table = tmp_path / "stamps.csv"
    table.write_text("frame,time_ms\n" + "".join(f"{n},{at}\n" for n, at in enumerate(stamps)))
    return {"stamps": str(table)}


def write_folder(path, numbers):
    path.mkdir()
    for number in numbers:
        cv2.imwrite(str(path / f"img{number}.png"), picture(number))


def rate_of(kind):
    return FPS if kind in ("mjpeg", "folder") else None


def plain(tmp_path, kind):
    path = tmp_path / f"clip.{kind}"
    if kind == "folder":
        write_folder(path, range(FRAMES))
        return Clip(path, [40 * n for n in BRIGHT], fps=FPS)
    return Clip(path, write(path, kind), fps=rate_of(kind))


def variable(tmp_path, kind):
    steps = [40 if n % 3 else 80 for n in range(FRAMES)]
    stamps = [sum(steps[:n]) for n in range(FRAMES)]
    if kind in (*RAW, "mpg", "folder"):  # nothing in them could say it: a table does
        clip = plain(tmp_path, kind)
        return Clip(clip.path, [stamps[n] for n in BRIGHT], options=stamp_table(tmp_path, stamps))
    path = tmp_path / f"clip.{kind}"
    return Clip(path, write(path, kind, stamps_ms=stamps))


def late(tmp_path, kind):
    path = tmp_path / f"clip.{kind}"
    return Clip(path, write(path, kind, start_ms=5000))


def before_zero(tmp_path, kind):
    path = tmp_path / f"clip.{kind}"
    times = write(path, kind, start_ms=-400)
    # MP4 leaves out what is before zero, by an edit list; players do
    return Clip(path, [at - 400 for at in times] if kind in ("mp4", "mov") else times)


def flipped(tmp_path, kind):
    path = tmp_path / f"clip.{kind}"
    matrix = [-65536, 0, 0, 0, 65536, 0, SIZE[0] << 16, 0, 1 << 30]
    return Clip(path, write(path, kind, matrix=matrix))


def oblong(tmp_path, kind):
    path = tmp_path / f"clip.{kind}"
    return Clip(path, write(path, kind, aspect=ASPECT))


def two_tracks(tmp_path, kind):
    path = tmp_path / f"clip.{kind}"
    times = write(path, kind, decoy=True)
    return Clip(path, times, options={} if kind in KEEPS_DEFAULT else {"track": 1})


def repeated(tmp_path, kind):
    """24 in 30: every fifth picture is the one before."""
    numbers = [n - (n + 1) // 5 for n in range(FRAMES)]
    path = tmp_path / f"clip.{kind}"
    if kind == "folder":
        path.mkdir()
        for place, number in enumerate(numbers):
            cv2.imwrite(str(path / f"img{place}.png"), picture(number))
        times = [40 * p for p, n in enumerate(numbers) if n in BRIGHT]
        return Clip(path, times, fps=FPS)
    return Clip(path, write(path, kind, numbers=numbers), fps=rate_of(kind))


def cut_short(tmp_path, kind):
    clip = plain(tmp_path, kind)
    if kind == "folder":
        for number in range(20, FRAMES):
            file = clip.path / f"img{number}.png"
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    else:
        data = clip.path.read_bytes()
        clip.path.write_bytes(data[: len(data) * 6 // 10])
    return clip


def cut_by_edit_list(tmp_path, kind):
    """The edit list leaves the first second out, in the middle of a group of pictures."""
    path = tmp_path / f"clip.{kind}"
    write(path, kind)
    data = bytearray(path.read_bytes())
    at = data.index(b"elst")
    version, count = data[at + 4], struct.unpack_from(">I", data, at + 8)[0]
    assert (version, count) == (0, 1)
    length, begin = struct.unpack_from(">Ii", data, at + 12)
    scale = struct.unpack_from(">I", data, data.index(b"mdhd") + 16)[0]
    movie = struct.unpack_from(">I", data, data.index(b"mvhd") + 16)[0]
    struct.pack_into(">Ii", data, at + 12, length - 6 * movie // FPS, begin + 6 * scale // FPS)
    path.write_bytes(bytes(data))
    return Clip(path, [40 * (n - 6) for n in BRIGHT])


def remuxed(source, target, change, **options):
    with av.open(str(source)) as have, av.open(str(target), "w", **options) as out:
        copy = out.add_stream_from_template(have.streams.video[0])
        for packet in have.demux(video=0):
            if packet.dts is not None and change(packet) is not False:
                packet.stream = copy
                out.mux(packet)


def decode_stamps(tmp_path, kind):
    """Stamps of decoding, as converters of AVI leave them in containers that could say better."""
    write(tmp_path / "clip.avi", "avi")
    path = tmp_path / f"clip.{kind}"

    def change(packet):
        packet.pts = packet.dts

    remuxed(tmp_path / "clip.avi", path, change)
    return Clip(path, [40 * n for n in BRIGHT])


def wrapping(tmp_path, kind):
    """The counter of 33 bits starts over in the middle of the clip."""
    path = tmp_path / f"clip.{kind}"
    return Clip(path, write(path, kind, start_ms=95_443_000))


def cut_by_copy(tmp_path, kind):
    """From the second key frame on, as editors cut without encoding; stamps are kept."""
    whole = tmp_path / "whole.mp4"
    write(whole, "mp4")
    path = tmp_path / f"clip.{kind}"
    seen = []

    def change(packet):
        if packet.is_keyframe:
            seen.append(packet.pts)
        return len(seen) >= 2

    remuxed(whole, path, change, **({"format": "mpegts"} if kind == "ts" else {}))
    return Clip(path, [40 * (n - 10) for n in BRIGHT])


CELLS = [
    *((decode_stamps, kind) for kind in ("mkv", "mov", "flv")),
    *((wrapping, kind) for kind in ("ts", "mpg")),
    *((cut_by_copy, kind) for kind in ("mp4", "mkv", "ts", "flv")),
    *((plain, kind) for kind in CONTAINERS),
    *((variable, kind) for kind in CONTAINERS),
    *((late, kind) for kind in KEEPS_START),
    *((before_zero, kind) for kind in ("mp4", "mov", "mkv", "ts")),
    *((flipped, kind) for kind in KEEPS_MATRIX),
    *((oblong, kind) for kind in KEEPS_PIXEL_SHAPE),
    *((two_tracks, kind) for kind in KEEPS_TRACKS),
    *((repeated, kind) for kind in CONTAINERS),
    *((cut_by_edit_list, kind) for kind in ("mp4", "mov")),
    *((cut_short, kind) for kind in CONTAINERS),
]


def test_there_are_enough_cells():
    assert len(CELLS) >= 60


@pytest.mark.parametrize(("make", "kind"), CELLS, ids=[f"{m.__name__}-{k}" for m, k in CELLS])
def test_events_are_where_they_are_or_the_recording_is_refused(tmp_path, make, kind):
    clip = make(tmp_path, kind)
    try:
        source = open_source(
            str(clip.path), id="clip", live=False, fps=clip.fps, options=SourceOptions(**clip.options)
        )
        frames, gaps = drain(source)
    except MellmError as error:
        if make is not cut_short or not error.remedy:
            raise
        return
    # what is bright, once for each run of repeated pictures
    bright = [f.pts_ns / 1e6 for f in frames if f.image[-8:].mean() > 190 and not f.repeated]
    expected = clip.times_ms
    if make is cut_short:
        told = source.end.early or source.end.lost or gaps or frames[-1].pts_ns < 39e9 / FPS
        assert told
        if kind not in ("ts", "mpg", "mjpeg", "h264"):  # containers of which any part is a whole
            assert source.end.early or source.end.lost
        expected = [at for at in expected if at <= frames[-1].pts_ns / 1e6]
        bright = bright[: len(expected)]
    elif make is repeated:
        expected = [at for before, at in pairwise([-100, *clip.times_ms]) if at - before > 60]
        assert source.info.effective_fps == pytest.approx(0.8 * FPS, rel=0.12)
        assert source.end.repeated >= FRAMES // 5 - 2
    assert len(bright) == len(expected), (bright, expected)
    assert bright == pytest.approx(expected, abs=TOLERANCE_MS)
    assert all(b.pts_ns > a.pts_ns for a, b in pairwise(frames))
    if make is flipped:
        assert source.info.flipped
        assert frames[0].image[8, -8, 2] > 150 > frames[0].image[8, 8, 2]
    if make is oblong:
        assert frames[0].image.shape == (SIZE[1], round(SIZE[0] * ASPECT), 3)
    if make not in (cut_short,):
        assert not source.end.early
        # FFmpeg stamps the last pictures of a program stream twice
        assert source.end.guessed <= (2 if kind == "mpg" else 0)
        assert frames[0].pts_ns == 0


def test_a_stream_that_says_no_rate_is_refused(tmp_path):
    clip = plain(tmp_path, "mjpeg")
    with pytest.raises(SourceTimeUnknown, match="--fps"):
        open_source(str(clip.path), id="clip", live=False)
    options = SourceOptions(accept_guessed_time=True)
    source = open_source(str(clip.path), id="clip", live=False, options=options)
    frames, _ = drain(source)
    assert len(frames) == FRAMES
    assert source.end.guessed == FRAMES - 1
    assert "guess" in source.info.remarks[0]
