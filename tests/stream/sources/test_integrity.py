import pytest

from mellm.stream.sources.integrity import cut_off
from tests.stream.videos import CONTAINERS, make_video


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_every_cut_is_seen(tmp_path, suffix):
    """B1: a file cut anywhere is known to be cut, whatever its container."""
    whole = make_video(tmp_path / f"whole{suffix}")
    assert not cut_off(whole)
    data = whole.read_bytes()
    cut = tmp_path / f"cut{suffix}"
    for part in range(1, 17):
        cut.write_bytes(data[: len(data) * part // 17])
        assert cut_off(cut), f"{part}/17"


def test_rubbish_behind_the_last_box_is_no_cut(tmp_path):
    whole = make_video(tmp_path / "whole.mp4")
    whole.write_bytes(whole.read_bytes() + b"\0" * 100)
    assert not cut_off(whole)


def test_a_stream_written_live_does_not_say(tmp_path):
    """Matroska of unknown size ends where it ends."""
    video = make_video(tmp_path / "live.mkv", muxer={"live": "1"})
    video.write_bytes(video.read_bytes()[:-200])
    assert not cut_off(video)


@pytest.mark.parametrize(
    ("data", "cut"),
    [(b"", 0), (b"RIFF", 0), (b"\x1aE\xdf\xa3", 1), (b"plain text", 0), (b"\0\0\0\x08ftyp", 0)],
)
def test_short_files_do_not_crash(tmp_path, data, cut):
    path = tmp_path / "x"
    path.write_bytes(data)
    assert cut_off(path) == bool(cut)
