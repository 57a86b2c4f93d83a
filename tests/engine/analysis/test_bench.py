from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mellm.engine.analysis import bench
from mellm.engine.describe.scripted import ScriptedDescriber
from mellm.stream.errors import SourceEmpty
from mellm.stream.sources import probe
from tests.engine.moving import chain, video


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return video(tmp_path_factory.mktemp("video") / "sample.mp4", seconds=1.0)


def test_clips_have_the_size_rate_and_length_asked_for(sample: Path, tmp_path: Path) -> None:
    images = bench.pictures(sample, (160, 90), limit=10)
    assert len(images) == 10
    assert images[0].shape == (90, 160, 3)
    bench.clip(images, tmp_path / "clip.mp4", 100, 1.0, 30.0)
    report = probe(str(tmp_path / "clip.mp4"))
    assert (report.width, report.height, report.frames) == (160, 90, 100)
    assert report.measured_fps == pytest.approx(100, rel=0.01)


def test_live_and_offline_figures_count_every_frame(sample: Path) -> None:
    live = bench.live("live", sample, lambda s: chain(s), ScriptedDescriber(), 1.0)
    assert live.captured == live.analysed == 30
    assert live.lost == 0
    assert live.score_p95_ms > 280, "the look-ahead of the network counts"
    assert live.ratio == pytest.approx(live.score_p95_ms / 600)
    offline = bench.offline("offline", sample, chain)
    assert offline.frames == 30
    assert offline.media_s == pytest.approx(29 / 30, abs=0.001)
    assert offline.factor > 0


def test_pictures_keep_their_proportions() -> None:
    image = np.zeros((100, 400, 3), np.uint8)
    image[:, 150:250] = 255
    fitted = bench._fit(image, 100, 100)
    assert fitted.mean() > 250, "the middle square of a wide picture"


def test_a_sample_without_pictures_is_typed(tmp_path: Path) -> None:
    with pytest.raises(SourceEmpty):
        bench.pictures(Path("synthetic:?seconds=0.001&fps=1"), (8, 8), limit=0)
