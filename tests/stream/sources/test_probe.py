import pytest

from mellm.stream.errors import SourceNotFound
from mellm.stream.sources import probe
from tests.stream.videos import make_video


def test_what_is_declared_and_what_is_measured(tmp_path):
    """users row 6: a camera says 30 and delivers 15."""
    stamps = [i * 66 for i in range(40)]
    report = probe(str(make_video(tmp_path / "dim.mkv", stamps=stamps, rotation=None)), seconds=1.0)
    assert report.measured_fps == pytest.approx(15.15, abs=0.01)
    assert (report.codec, report.width, report.height, report.pixel_format) == ("h264", 64, 48, "yuv420p")
    assert report.frames == 17
    assert report.seconds_seen == pytest.approx(1.056)
    assert report.longest_step_ms == 66.0
    assert report.jitter_ms == 0.0
    assert report.arrival_fps is None


def test_gaps_are_counted():
    report = probe("synthetic:?seconds=3&width=32&height=32&gap=1.0", seconds=10.0)
    assert (report.gaps, report.frames, report.segments) == (1, 75, 1)
    assert report.duration_s == 3.0


def test_errors_pass(tmp_path):
    with pytest.raises(SourceNotFound):
        probe(str(tmp_path / "none.mp4"))
