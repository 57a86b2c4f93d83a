import shutil
import struct

import cv2
import pytest

from mellm.stream.errors import SourceEmpty, SourceTooLarge, UsageError
from mellm.stream.sources import open_source
from mellm.stream.sources.numbering import natural_key
from tests.stream.videos import drain, jpeg, picture, pts_ms


@pytest.fixture
def folder(tmp_path):
    for number in range(12):
        cv2.imwrite(str(tmp_path / f"img{number}.png"), picture(number))
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "._img0.png").write_bytes(b"what macOS leaves behind")
    return tmp_path


def opened(path, fps=200.0):
    return open_source(str(path), id="set", fps=fps)


def test_natural_order():
    names = ["img10.png", "img2.png", "a1b10", "a1b9", "IMG1.png", "9", "b"]
    assert sorted(names, key=natural_key) == ["9", "a1b9", "a1b10", "b", "IMG1.png", "img2.png", "img10.png"]


def test_pictures_come_in_order_at_the_given_rate(folder):
    source = opened(folder)
    frames, gaps = drain(source)
    assert pts_ms(frames) == [5.0 * i for i in range(12)]
    assert all((f.image == picture(i)).all() for i, f in enumerate(frames))
    assert not gaps
    assert source.info.declared_duration_ns == 60_000_000
    assert not source.end.early


def test_rates_that_are_no_whole_numbers_do_not_drift(folder):
    frames, _ = drain(opened(folder, fps=30000 / 1001))
    assert frames[11].pts_ns == round(11 * 1001 / 30000 * 1e9)


def test_a_damaged_picture_is_a_gap(folder):
    (folder / "img5.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    whole = jpeg(6)
    (folder / "img6.png").write_bytes(whole[: len(whole) // 2])
    frames, gaps = drain(opened(folder))
    assert [f.index for f in frames] == [0, 1, 2, 3, 4, 7, 8, 9, 10, 11]
    (gap,) = gaps
    assert (gap.reason, gap.frames, gap.from_ns, gap.to_ns) == ("decode", 2, 20_000_000, 35_000_000)


def test_a_change_of_size_begins_a_segment(folder):
    cv2.imwrite(str(folder / "img11.png"), picture(0, 80, 60))
    frames, _ = drain(opened(folder))
    assert [f.segment for f in frames] == [0] * 11 + [1]


def test_rate_is_needed(folder):
    with pytest.raises(UsageError, match="--fps"):
        opened(folder, fps=None)


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), 1e9])
def test_senseless_rates(folder, fps):
    with pytest.raises(UsageError):
        opened(folder, fps=fps)


def test_a_folder_without_pictures(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(SourceEmpty, match="no pictures"):
        opened(tmp_path)


def test_nothing_that_can_be_decoded(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no")
    with pytest.raises(SourceEmpty, match="none of 1"):
        drain(opened(tmp_path))


def bomb(side):
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", side, side) + b"\x08\0\0\0\0" + b"\0" * 64
    )


def test_a_bomb_is_refused_from_its_header(folder):
    (folder / "img0.png").write_bytes(bomb(32000))
    with pytest.raises(SourceTooLarge, match="32000×32000"):
        opened(folder)


def test_a_bomb_later_on_is_a_gap(folder):
    (folder / "img3.png").write_bytes(bomb(32000))
    frames, gaps = drain(opened(folder))
    assert (len(frames), len(gaps)) == (11, 1)


def test_files_that_vanish_are_gaps(folder):
    source = opened(folder)
    shutil.rmtree(folder)
    with pytest.raises(SourceEmpty):
        drain(source)
