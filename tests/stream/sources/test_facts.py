"""What a recording says about itself: matrices, pixel shape, tracks, capture rate, depth, numbers, stamps, repeats."""

import itertools
import struct
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from mellm.stream.errors import SourceTimeUnknown, UsageError
from mellm.stream.frames import Pixels
from mellm.stream.sources import SourceOptions, facts, hdr, open_source
from mellm.stream.sources.decoding import decode
from mellm.stream.sources.orientation import Orientation, from_matrix
from mellm.stream.sources.repeats import RepeatDetector
from tests.stream.videos import drain, jpeg, make_video, picture, pts_ms

ALL_EIGHT = [Orientation(*each) for each in itertools.product((False, True), repeat=3)]


def matrix_of(o):
    """By the definition: columns of (a, b) and (c, d) say where right and down go."""
    right, down = ((0, 1), (1, 0)) if o.transposed else ((1, 0), (0, 1))
    turn = (-1 if o.columns_reversed else 1, -1 if o.rows_reversed else 1)
    a, b = (r * t for r, t in zip(right, turn, strict=True))
    c, d = (r * t for r, t in zip(down, turn, strict=True))
    one = 65536
    return struct.pack("=9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)


@pytest.mark.parametrize("orientation", ALL_EIGHT, ids=str)
def test_each_of_the_eight_matrices_moves_points_as_it_says(orientation):
    data = matrix_of(orientation)
    assert from_matrix(data) == orientation
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    shown = orientation.apply(image)
    a, b, _, c, d, *_ = (v / 65536 for v in struct.unpack("=9i", data))
    height, width = image.shape[:2]
    for q, p in itertools.product(range(height), range(width)):
        x, y = a * p + c * q, b * p + d * q
        x += shown.shape[1] - 1 if min(a, c) < 0 else 0
        y += shown.shape[0] - 1 if min(b, d) < 0 else 0
        assert (shown[int(y), int(x)] == image[q, p]).all()
    assert orientation.flipped == (a * d - b * c < 0)
    flat = image[:, ::-1] if orientation.flipped else image
    assert (np.rot90(flat, orientation.rotation // 90) == shown).all()


@pytest.mark.parametrize("data", [b"", b"\0" * 36, b"\0" * 10])
def test_a_matrix_of_nothing_is_upright(data):
    assert from_matrix(data) == Orientation()


@pytest.mark.parametrize(
    ("size", "aspect", "shown"),
    [
        ((720, 576), Fraction(16, 15), (768, 576)),
        ((720, 480), Fraction(8, 9), (720, 540)),
        ((4, 4), 1, (4, 4)),
    ],
)
def test_the_short_side_grows(size, aspect, shown):
    assert facts.square_size(*size, Fraction(aspect), 1 << 30) == shown


def test_slow_motion_has_the_times_of_the_scene(tmp_path):
    path = make_video(tmp_path / "clip.mp4", fps=25)
    slow = tmp_path / "slow.mp4"
    with (
        av.open(str(path)) as have,
        av.open(str(slow), "w", options={"movflags": "use_metadata_tags"}) as out,
    ):
        out.metadata["com.android.capture.fps"] = "100.0"
        copy = out.add_stream_from_template(have.streams.video[0])
        for packet in have.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                out.mux(packet)
    source = open_source(str(slow), id="slow", live=False)
    frames, _ = drain(source)
    assert pts_ms(frames)[:3] == [0, 10, 20]
    assert (source.info.time_scale, source.info.declared_fps) == (4.0, 100.0)
    assert "slow motion" in source.info.remarks[0]
    assert not source.end.early


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_deep_pictures_are_scaled_by_the_bits_that_are_used(tmp_path, bits):
    for number in range(4):
        image = picture(number).astype(np.uint32) * ((1 << bits) - 1) // 255
        cv2.imwrite(str(tmp_path / f"f{number}.png"), image.astype(np.uint16))
    source = open_source(str(tmp_path), id="deep", live=False, fps=50)
    frames, _ = drain(source)
    assert all(np.abs(f.image.astype(int) - picture(n)).max() <= 1 for n, f in enumerate(frames))
    assert len(frames) == 4


def test_numbers_are_times_and_holes_are_gaps(tmp_path):
    for number in (*range(1, 11), *range(31, 41)):
        cv2.imwrite(str(tmp_path / f"img{number}.png"), picture(number))
    source = open_source(str(tmp_path), id="set", live=False, fps=50)
    frames, gaps = drain(source)
    assert pts_ms(frames) == [20.0 * n for n in (*range(10), *range(30, 40))]
    assert [(g.reason, g.frames, g.from_ns, g.to_ns) for g in gaps] == [("pts", 20, 180_000_000, 600_000_000)]
    assert source.end.lost == 0


def test_one_missing_number_is_a_gap_too(tmp_path):
    for number in (1, 2, 3, 5, 6):
        cv2.imwrite(str(tmp_path / f"img{number}.png"), picture(number))
    frames, gaps = drain(open_source(str(tmp_path), id="set", live=False, fps=50))
    assert pts_ms(frames) == [0, 20, 40, 80, 100]
    assert [g.frames for g in gaps] == [1]


def test_two_series_in_one_folder_are_refused(tmp_path):
    for number in range(5):
        cv2.imwrite(str(tmp_path / f"left_{number}.png"), picture(number))
        cv2.imwrite(str(tmp_path / f"right_{number}.png"), picture(number))
    with pytest.raises(UsageError, match="2 series"):
        open_source(str(tmp_path), id="set", live=False, fps=50)


def test_two_pictures_of_one_number_are_refused(tmp_path):
    for name in ("img1.png", "img01.png", "img2.png"):
        cv2.imwrite(str(tmp_path / name), picture(0))
    with pytest.raises(UsageError, match="the same number"):
        open_source(str(tmp_path), id="set", live=False, fps=50)


@pytest.mark.parametrize("head", ["frame,time_ms\n", "Frame;Time_s\n"])
def test_a_table_of_times_goes_before_numbers(tmp_path, head):
    folder = tmp_path / "set"
    folder.mkdir()
    for number in (1, 2, 3, 7):
        cv2.imwrite(str(folder / f"img{number}.png"), picture(number))
    times = {1: 100, 2: 133.5, 3: 170, 7: 203}
    table = tmp_path / "times.csv"
    comma = ";" in head
    rows = (f"{n};{at / 1000:.4f}".replace(".", ",") if comma else f"{n},{at}" for n, at in times.items())
    table.write_text(head + "\n".join(rows))
    options = SourceOptions(stamps=str(table))
    source = open_source(str(folder), id="set", live=False, options=options)
    frames, gaps = drain(source)
    assert pts_ms(frames) == pytest.approx([0, 33.5, 70, 103])
    assert not gaps
    assert source.info.time_from == "--stamps"
    cv2.imwrite(str(folder / "img9.png"), picture(9))
    with pytest.raises(UsageError, match=r"no time for img9\.png"):
        open_source(str(folder), id="set", live=False, options=options)


def test_time_that_nobody_wrote_down_refuses_the_recording(tmp_path):
    """All stamps are equal: a clock that stood still."""
    path = tmp_path / "clip.mkv"
    make_video(tmp_path / "good.mkv", codec="mjpeg", pixels="yuvj420p", frames=40)
    with av.open(str(tmp_path / "good.mkv")) as have, av.open(str(path), "w") as out:
        copy = out.add_stream_from_template(have.streams.video[0])
        for packet in have.demux(video=0):
            if packet.dts is not None:
                packet.pts = packet.dts = 0
                packet.stream = copy
                out.mux(packet)
    with pytest.raises(SourceTimeUnknown, match="--accept-guessed-time"):
        drain(open_source(str(path), id="clip", live=False))
    options = SourceOptions(accept_guessed_time=True)
    source = open_source(str(path), id="clip", live=False, options=options)
    assert len(drain(source)[0]) == 40
    assert source.end.guessed > 30


def test_a_jpeg_is_whole_or_it_is_none():
    whole = jpeg(3)
    bare = whole[:-2]
    assert np.abs(decode(bare).astype(int) - decode(whole)).mean() < 6
    assert decode(whole + b"\0" * 5000) is not None
    assert decode(bare + b"\0" * 5000) is not None
    half = whole[: len(whole) // 2]
    assert decode(half) is None
    assert decode(half + b"\0" * 5000) is None


@pytest.mark.parametrize("transfer", ["PQ", "HLG"])
def test_hdr_becomes_usual_brightness_and_keeps_its_order(transfer):
    table = hdr.table(transfer).astype(int)
    assert (np.diff(table) >= 0).all()
    assert (table[0], table[-1]) == (0, 255)
    white = {"PQ": 0.58, "HLG": 0.75}[transfer]  # where ITU-R BT.2408 puts it
    assert table[round(65535 * white)] >= 250


@pytest.mark.parametrize(("pattern", "share"), [("1110", 0.25), ("10", 0.5), ("100", 0.67), ("1", 0.0)])
def test_repeats_are_found_in_moving_noise_and_nowhere_else(pattern, share):
    rng = np.random.default_rng(1)
    detector, image, found = RepeatDetector(), None, 0
    for number in range(240):
        if image is None or pattern[number % len(pattern)] == "1":
            image = np.clip(120 + rng.normal(0, 2, (120, 160, 1)), 0, 255).astype(np.uint8)
        slightly = np.clip(image + (rng.random(image.shape) < 0.01), 0, 255).astype(np.uint8)  # as codecs do
        found += detector.push(Pixels(np.repeat(slightly, 3, axis=2)))
    assert found / 240 == pytest.approx(share, abs=0.05)
