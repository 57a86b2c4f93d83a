"""Recordings: times, rotation, damage, and what is refused (users rows 5, 7; B1, F6)."""

import os
import time
from itertools import pairwise

import av
import numpy as np
import pytest

from mellm.stream.errors import (
    MellmError,
    SourceCorrupt,
    SourceEmpty,
    SourceNotFound,
    SourceTooLarge,
    SourceUnsupported,
)
from mellm.stream.sources import SourceOptions, open_source
from tests import PROMPT_S
from tests.stream.videos import CONTAINERS, drain, make_sound, make_video, pts_ms


def frames_or_error(path):
    try:
        return drain(opened(path))[0]
    except MellmError as error:
        return error


def opened(path, **options):
    return open_source(str(path), id="clip", **options)


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_every_container(tmp_path, suffix):
    source = opened(make_video(tmp_path / f"clip{suffix}"))
    frames, gaps = drain(source)
    assert len(frames) == 30
    assert not gaps
    assert [f.index for f in frames] == list(range(30))
    assert frames[0].image.shape == (48, 64, 3)
    assert all(20 <= step <= 50 for step in (b - a for a, b in pairwise(pts_ms(frames))))
    assert not source.end.early
    assert source.info.declared_fps == pytest.approx(30, rel=0.15)


def test_times_come_from_the_stamps_not_from_the_rate(tmp_path):
    stamps = [0, 33, 67, 167, 200, 233, 300, 400, 410]
    frames, gaps = drain(opened(make_video(tmp_path / "vfr.mkv", stamps=stamps)))
    assert pts_ms(frames) == stamps
    assert not gaps
    assert not any(f.repaired for f in frames)


def test_a_hole_is_a_gap(tmp_path):
    stamps = [0, 33, 67, 100, 133, 2000, 2033]
    frames, gaps = drain(opened(make_video(tmp_path / "hole.mkv", stamps=stamps)))
    assert len(frames) == 7
    (gap,) = gaps
    assert (gap.from_ns, gap.to_ns, gap.reason, gap.frames) == (133_000_000, 2_000_000_000, "pts", 0)


@pytest.mark.parametrize(
    ("rotation", "corner"), [(0, "red"), (90, "green"), (180, "grey"), (270, "blue")], ids=str
)
def test_rotation_is_applied(tmp_path, rotation, corner):
    """Turned counter-clockwise, the corner that was top right comes to the top left."""
    source = opened(make_video(tmp_path / "turned.mp4", rotation=rotation, size=(96, 64)))
    frames, _ = drain(source)
    image = frames[0].image
    assert image.shape == ((96, 64, 3) if rotation in (90, 270) else (64, 96, 3))
    assert (source.info.width, source.info.height) == (image.shape[1], image.shape[0])
    assert source.info.rotation == rotation
    expected = {"red": (0, 0, 255), "green": (0, 255, 0), "grey": (90, 90, 90), "blue": (255, 0, 0)}[corner]
    assert np.abs(image[8, 20].astype(int) - expected).max() < 40
    assert image.flags.c_contiguous


def test_two_readings_give_equal_pixels(tmp_path):
    video = make_video(tmp_path / "clip.mp4", frames=60)
    (one, _), (two, _) = drain(opened(video)), drain(opened(video, options=SourceOptions(threads=1)))
    assert [f.pts_ns for f in one] == [f.pts_ns for f in two]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize(
    ("codec", "pixels"), [("ffv1", "gray"), ("ffv1", "yuv420p10le"), ("libx265", "yuv420p")]
)
def test_pixel_formats(tmp_path, codec, pixels):
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    frames, _ = drain(opened(make_video(tmp_path / "clip.mkv", codec=codec, pixels=pixels, options=options)))
    assert len(frames) == 30


def test_one_pixel(tmp_path):
    frames, _ = drain(opened(make_video(tmp_path / "dot.mkv", codec="ffv1", pixels="gray", size=(1, 1))))
    assert frames[0].image.shape == (1, 1, 3)


def test_a_change_of_size_begins_a_segment(tmp_path):
    """F6. Two MPEG-TS recordings in one file, as some cameras write them."""
    parts = [make_video(tmp_path / f"{w}.ts", codec="mpeg2video", size=(w, 48)) for w in (64, 96)]
    both = tmp_path / "both.ts"
    both.write_bytes(b"".join(p.read_bytes() for p in parts))
    frames, _ = drain(opened(both))
    assert {(f.segment, f.image.shape[1]) for f in frames} == {(0, 64), (1, 96)}
    assert next(f.index for f in frames if f.segment == 1) == 0
    assert all(b > a for a, b in pairwise(pts_ms(frames)))


def test_first_segment_is_where_numbering_begins(tmp_path):
    frames, _ = drain(opened(make_video(tmp_path / "clip.mp4"), first_segment=7))
    assert {f.segment for f in frames} == {7}


# -- bad input ----------------------------------------------------------------------------------------


def test_missing(tmp_path):
    with pytest.raises(SourceNotFound, match="check the path"):
        opened(tmp_path / "none.mp4")


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b.mp4"])
def test_impossible_names(name):
    with pytest.raises(MellmError):
        opened(name)


def test_empty(tmp_path):
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(SourceEmpty, match="the file is empty"):
        opened(tmp_path / "empty.mp4")


def test_text_named_mp4(tmp_path):
    path = tmp_path / "notes.mp4"
    path.write_text("this is no video\n" * 100)
    with pytest.raises(SourceUnsupported, match="not a video"):
        opened(path)


def test_audio_only(tmp_path):
    with pytest.raises(SourceEmpty, match="sound only"):
        opened(make_sound(tmp_path / "sound.mp4"))


def test_huge_pictures_are_refused_from_the_header(tmp_path):
    path = tmp_path / "huge.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "ultrafast"})
        stream.width = stream.height = 8192
        stream.pix_fmt = "yuv420p"
        container.mux(stream.encode(av.VideoFrame(8192, 8192, "yuv420p")))
        container.mux(stream.encode())
    began = time.monotonic()
    with pytest.raises(SourceTooLarge, match="8192×8192"):
        opened(path)
    assert time.monotonic() - began < PROMPT_S


def test_too_long(tmp_path):
    with pytest.raises(SourceTooLarge, match="hours"):
        opened(make_video(tmp_path / "clip.mp4"), options=SourceOptions(max_duration_s=0.5))


def test_codec_not_on_the_list(tmp_path):
    path = make_video(tmp_path / "old.avi", codec="msvideo1", pixels="rgb555le")
    with pytest.raises(SourceUnsupported, match="msvideo1"):
        opened(path)


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile /etc/passwd\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    ],
    ids=["m3u8", "ffconcat", "sdp"],
)
@pytest.mark.parametrize("suffix", ["mp4", "m3u8"])
def test_files_that_name_other_files_are_refused(tmp_path, text, suffix):
    path = tmp_path / f"list.{suffix}"
    path.write_text(text)
    with pytest.raises(SourceUnsupported):
        opened(path)


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_cut_off_recordings_say_so(tmp_path, suffix):
    """B1: an early end is detected each time: at opening, or in the report."""
    data = make_video(tmp_path / f"whole{suffix}", muxer=FASTSTART.get(suffix)).read_bytes()
    cut = tmp_path / f"cut{suffix}"
    readable = 0
    for part in range(1, 17):
        cut.write_bytes(data[: len(data) * part // 17])
        try:
            source = opened(cut)
            frames, _ = drain(source)
        except (SourceCorrupt, SourceUnsupported, SourceEmpty):
            continue
        assert source.end.early, f"{part}/17: {len(frames)} frames"
        assert "cut off" in source.end.message or "declares" in source.end.message
        readable += 1
    assert readable >= 3


FASTSTART = {".mp4": {"movflags": "faststart"}, ".mov": {"movflags": "faststart"}}


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".webm"])
def test_flipped_bits_end_in_frames_or_a_typed_error(tmp_path, suffix):
    data = make_video(tmp_path / f"whole{suffix}").read_bytes()
    bad = tmp_path / f"bad{suffix}"
    for seed in range(int(os.environ.get("MELLM_FLIPS", "25"))):
        rng = np.random.default_rng(seed)
        flipped = np.frombuffer(data, np.uint8).copy()
        where = rng.integers(0, len(data), rng.choice([1, 20, 400]))
        flipped[where] ^= (1 << rng.integers(0, 8, len(where))).astype(np.uint8)
        bad.write_bytes(flipped.tobytes())
        outcome = frames_or_error(bad)
        if isinstance(outcome, MellmError):
            assert "\n" not in str(outcome)
            assert outcome.remedy
        else:
            assert all(b > a for a, b in pairwise(pts_ms(outcome)))


def test_damage_in_the_middle_is_a_gap_up_to_the_next_key_frame(tmp_path):
    """Pictures built on a damaged one move where nothing moved."""
    path = make_video(tmp_path / "clip.mkv", frames=60, options={"bf": "0"})
    with av.open(str(path)) as container:
        packets = [bytes(p) for p in container.demux(video=0) if p.size]
    data = path.read_bytes()
    assert data.count(packets[20]) == 1
    wrecked = packets[20][:5] + bytes(255 - b for b in packets[20][5:])
    path.write_bytes(data.replace(packets[20], wrecked))
    source = opened(path)
    frames, gaps = drain(source)
    (gap,) = gaps
    assert gap.reason == "decode"
    assert gap.frames == 10
    assert (round(gap.from_ns / 1e6), round(gap.to_ns / 1e6)) == (633, 1000)
    assert [f.index for f in frames] == [*range(20), *range(30, 60)]
    assert (source.end.lost, source.end.frames, source.end.early) == (10, 50, False)


def test_half_a_jpeg_is_not_a_picture(tmp_path):
    """FFmpeg shows its lower half grey, without an error."""
    path = make_video(tmp_path / "clip.mkv", codec="mjpeg", pixels="yuvj420p", frames=10)
    with av.open(str(path)) as container:
        packets = [bytes(p) for p in container.demux(video=0) if p.size]
    data = path.read_bytes()
    half = packets[4][: len(packets[4]) // 2].ljust(len(packets[4]), b"\0")
    path.write_bytes(data.replace(packets[4], half))
    frames, gaps = drain(opened(path))
    assert [f.index for f in frames] == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert [(g.reason, g.frames) for g in gaps] == [("decode", 1)]


@pytest.mark.parametrize("value", [{"open_timeout_s": 0.0}, {"max_pixels": -1}, {"threads": -1}])
def test_bad_options(value):
    with pytest.raises(ValueError):
        SourceOptions(**value)


def test_real_recordings(shared_data):
    """Nothing healthy is called damaged."""
    videos = sorted((shared_data / "media" / "videos").glob("*"))
    for video in videos[:: max(1, len(videos) // 3)]:
        source = opened(video)
        frames, gaps = drain(source)
        assert frames, video
        assert not gaps
        assert (source.end.early, source.end.lost, source.end.repaired) == (False, 0, 0)
