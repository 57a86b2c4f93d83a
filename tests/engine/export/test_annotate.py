"""The annotated copy: its frames, its times, its sound."""

from fractions import Fraction
from itertools import pairwise

import av
import cv2
import numpy as np
import pytest

from mellm.clients.cli import run as command
from mellm.detectors.analyzer import FaceUpdate
from mellm.detectors.types import Face
from mellm.engine.analysis.pipeline import Seen
from mellm.engine.export.annotate import COLOURS, GROUND, annotate, burn, plan, room
from mellm.engine.export.slow_motion import Slow
from mellm.engine.results.run_reader import read_run
from mellm.stream.errors import RunError, SourceUnsupported, UsageError
from mellm.stream.frames import Gap
from mellm.stream.sources import open_source
from tests.engine.export.made import described, record, run_folder
from tests.stream.videos import make_video

SIZE = (321, 243)  # odd: H.264 wants even sides
BOX = (40.0, 60.0, 90.0, 100.0)
STAMPS = [n * 40 + (7 if n % 3 else 0) for n in range(40)]


def look(item):
    if isinstance(item, Gap):
        return Seen(item, None)
    return Seen(item, FaceUpdate((Face(1, BOX, np.zeros((68, 2), np.float32), 1.0),)))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    words = described("The brows rise.", [(1, "both", 0.99)], "surprise", 0.95)
    spot = record("a" * 16, (10, 14, 20), fps=25, description=words, evidence="evidence/a.png")
    folder = run_folder(tmp_path_factory.mktemp("annotate") / "run", (spot,))
    (folder / "evidence").mkdir()
    cv2.imwrite(str(folder / "evidence" / "a.png"), np.full((92, 80, 3), (0, 200, 0), np.uint8))
    return read_run(folder)


@pytest.fixture(scope="module")
def video(run):
    """A grey picture with a tone, its frames at uneven times."""
    path = run.path / "talk.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "20"})
        stream.width, stream.height, stream.pix_fmt = SIZE[0] - 1, SIZE[1] - 1, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        tone = out.add_stream("aac", rate=16000, layout="mono")
        for n, stamp in enumerate(STAMPS):
            frame = av.VideoFrame.from_ndarray(
                np.full((SIZE[1] - 1, SIZE[0] - 1, 3), 90 + n, np.uint8), format="bgr24"
            )
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            out.mux(stream.encode(frame))
        for n in range(25):
            wave = np.sin(np.arange(1024) / 8).astype(np.float32)[None]
            heard = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            heard.rate, heard.pts, heard.time_base = 16000, 1024 * n, Fraction(1, 16000)
            out.mux(tone.encode(heard))
        out.mux(stream.encode())
        out.mux(tone.encode())
    return path


def make(video, run, out):
    with open_source(str(video), id="talk", live=False) as source:
        return annotate(source, video, run, out, look)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_copy_has_every_frame_at_its_time_and_the_sound(video, run, tmp_path, suffix):
    out = tmp_path / f"copy{suffix}"
    assert make(video, run, out) == len(STAMPS)
    with av.open(str(out)) as copy, av.open(str(video)) as original:
        frames = list(copy.decode(video=0))
        assert [round(f.pts * f.time_base * 1000) for f in frames] == STAMPS
        copied = sum(p.size for p in _sound(str(out)))
        assert copied == sum(p.size for p in _sound(str(video))) > 0
        assert (
            copy.streams.audio[0].codec_context.name == original.streams.audio[0].codec_context.name == "aac"
        )
    assert list(tmp_path.iterdir()) == [out]


def _sound(path):
    with av.open(path) as container:
        return [p for p in container.demux(audio=0) if p.size]


def frame(x=40.0, track=1):
    return (Face(track, (x, 60.0, 90.0, 100.0), np.zeros((68, 2), np.float32), 1.0),)


def grey():
    return np.full((480, 640, 3), 128, np.uint8)


def test_the_box_is_coloured_while_the_expression_lasts(run):
    shown = plan(run)
    before, during, after = (burn(grey(), ms, frame(), shown) for ms in (100.0, 560.0, 2000.0))
    edge = (110, 130)  # row, column on the box's right side
    assert tuple(during[edge]) == COLOURS["surprise"]
    assert tuple(before[edge]) != COLOURS["surprise"]
    assert tuple(after[edge]) != COLOURS["surprise"]


def test_nothing_but_its_box_is_drawn_over_the_picture(run):
    shown = plan(run)
    space = room(grey(), shown)
    picture = burn(grey(), 560.0, (), shown, space)
    assert (picture[:480, :640] == 128).all()
    assert picture.shape == (480 + space.below, 640 + space.beside, 3)
    below, beside = picture[480:], picture[:480, 640:]
    assert (below != GROUND).any()
    assert (beside == (0, 200, 0)).all(2).sum() > 5000
    # the caption stays for reading, and is gone later
    assert (burn(grey(), 9000.0, (), shown, space)[480:] == GROUND).all()


def test_each_face_has_its_own_map_and_caption(tmp_path):
    words = described("The brows rise.", [(1, "both", 0.99)], "surprise", 0.95)
    spots = [
        record(name * 16, (10, 14, 20), fps=25, track=n, description=words, evidence=f"evidence/{name}.png")
        for n, name in ((1, "a"), (2, "b"))
    ]
    folder = run_folder(tmp_path / "run", tuple(spots))
    (folder / "evidence").mkdir()
    for name, colour in (("a", (0, 200, 0)), ("b", (200, 0, 0))):
        cv2.imwrite(str(folder / "evidence" / f"{name}.png"), np.full((92, 80, 3), colour, np.uint8))
    shown = plan(read_run(folder))
    picture = burn(grey(), 560.0, (*frame(), *frame(300.0, 2)), shown)
    space = room(grey(), shown)
    beside = picture[:480, 640:]
    green, blue = ((beside == colour).all(2) for colour in ((0, 200, 0), (200, 0, 0)))
    assert green[:240].sum() > 5000 < blue[240:].sum()
    assert green[240:].sum() == blue[:240].sum() == 0
    assert space.rows == 5


def test_a_picture_without_expressions_says_what_this_is():
    begin, later = burn(grey(), 0.0, (), []), burn(grey(), 7000.0, (), [])
    assert (begin[480:] != GROUND).any()
    assert (later[480:] == GROUND).all()
    assert begin.shape == later.shape
    assert begin.shape[1] == 640


def copied(path):
    with av.open(str(path)) as container:
        found = [round(f.pts * f.time_base * 1000) for f in container.decode(video=0)]
        return found, bool(container.streams.audio)


def test_repeats_come_after_their_expression_and_slower(video, run, tmp_path):
    out = tmp_path / "slow.mp4"
    with open_source(str(video), id="talk", live=False) as source:
        annotate(source, video, run, out, look, slow=Slow(3, 8))
    times, sound = copied(out)
    inside = [t for t in STAMPS if 400 <= t <= 800]  # onset and offset of the only expression
    assert not sound
    assert len(times) == len(STAMPS) + 3 * len(inside)
    before = [t for t in STAMPS if t <= 800]
    assert times[: len(before)] == before
    again = times[len(before) : len(before) + len(inside)]
    assert [b - a for a, b in pairwise(again)] == [8 * (b - a) for a, b in pairwise(inside)]
    after = [t for t in STAMPS if t > 800]
    assert [b - a for a, b in pairwise(times[-len(after) :])] == [b - a for a, b in pairwise(after)]
    assert times == sorted(set(times))


def test_a_clip_of_each_expression(video, run, tmp_path):
    with open_source(str(video), id="talk", live=False) as source:
        made = annotate(source, video, run, None, look, slow=Slow(2, 4), clips=tmp_path / "clips")
    (clip,) = (tmp_path / "clips").iterdir()
    assert made == 1
    assert clip.name == f"talk-00-00.400-{'a' * 16}.mp4"
    times, _ = copied(clip)
    around = [t for t in STAMPS if t <= 1300]
    inside = [t for t in STAMPS if 400 <= t <= 800]
    assert len(times) == len(around) + 2 * len(inside)
    assert times[0] == 0


def test_flags_of_repeats_are_held_to_sense(run, video, capsys):
    assert command(["annotate", str(video), str(run.path), "--slow", "8"]) == 2
    assert "--slow is about repeats" in capsys.readouterr().err
    with pytest.raises(UsageError):
        Slow(0, 4)


def test_a_silent_recording_gives_a_silent_copy(run, tmp_path):
    video = make_video(tmp_path / "talk.mp4", frames=5, fps=25)
    assert make(video, run, tmp_path / "copy.mp4") == 5
    with av.open(str(tmp_path / "copy.mp4")) as copy:
        assert not copy.streams.audio


def test_an_ffmpeg_without_gpl_parts_writes_too(video, run, tmp_path, monkeypatch):
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx264"})
    assert make(video, run, tmp_path / "copy.mp4") == len(STAMPS)
    with av.open(str(tmp_path / "copy.mp4")) as copy:
        assert copy.streams.video[0].codec_context.name == "mpeg4"
        frames = list(copy.decode(video=0))
        assert [round(f.pts * f.time_base * 1000) for f in frames] == STAMPS


def test_what_cannot_be_written_is_told(video, run, tmp_path):
    with pytest.raises(SourceUnsupported, match="mp4"):
        make(video, run, tmp_path / "copy.doc")
    with pytest.raises(RunError, match="cannot be written"):
        make(video, run, tmp_path / "nowhere" / "copy.mp4")


def test_the_recording_itself_is_never_overwritten(run, video, capsys):
    assert command(["annotate", str(video), str(run.path), "--out", str(video)]) == 2
    assert "is the recording itself" in capsys.readouterr().err
