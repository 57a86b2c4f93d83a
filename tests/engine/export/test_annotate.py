"""The annotated copy: its frames, its times, its sound."""

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from mellm.clients.cli import run as command
from mellm.detectors.analyzer import FaceUpdate
from mellm.detectors.types import Face
from mellm.engine.analysis.pipeline import Seen
from mellm.engine.export.annotate import COLOURS, annotate, burn, plan
from mellm.engine.results.run_reader import read_run
from mellm.stream.errors import RunError, SourceUnsupported
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


def test_the_box_is_coloured_while_the_expression_lasts(run):
    image = np.full((480, 640, 3), 128, np.uint8)
    face = (Face(1, BOX, np.zeros((68, 2), np.float32), 1.0),)
    shown = plan(run)
    before, during, after = (burn(image, ms, face, shown) for ms in (100.0, 560.0, 2000.0))
    edge = (110, 130)  # row, column on the box's right side
    assert (image == 128).all()
    assert tuple(during[edge]) == COLOURS["surprise"]
    assert tuple(before[edge]) != COLOURS["surprise"]
    assert tuple(after[edge]) != COLOURS["surprise"]
    # the caption stays for reading, and is gone later
    foot = (slice(400, None), slice(None))
    assert during[foot].mean() < 128 > after[foot].mean()
    assert (burn(image, 9000.0, face, shown)[foot] == 128).all()


def test_the_motion_map_is_on_the_other_side_of_the_face(run):
    image = np.full((480, 640, 3), 128, np.uint8)
    for x, side in ((40.0, slice(320, None)), (500.0, slice(0, 320))):
        face = Face(1, (x, 200.0, 90.0, 100.0), np.zeros((68, 2), np.float32), 1.0)
        picture = burn(image, 560.0, (face,), plan(run))
        green = (picture[:300] == (0, 200, 0)).all(2)
        assert green.sum() > 5000
        assert green[:, side].sum() == green.sum()


def test_a_picture_without_expressions_says_what_this_is(run):
    image = np.full((480, 640, 3), 128, np.uint8)
    assert (burn(image, 0.0, (), [])[:30] != 128).any()
    assert (burn(image, 7000.0, (), []) == 128).all()


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
