from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mellm.engine.analysis import bench, cost
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
    offline = bench.offline("offline", sample, chain)
    assert offline.frames == 30
    assert offline.media_s == pytest.approx(29 / 30, abs=0.001)
    assert offline.factor > 0


def test_several_cameras_are_counted_together(sample: Path) -> None:
    found = bench.live("live", sample, lambda s: chain(s), ScriptedDescriber(), 1.0, cameras=2)
    assert (found.captured, found.analysed, found.lost) == (60, 60, 0)


@pytest.mark.parametrize(("least", "met"), [(False, (True, True, False)), (True, (False, True, True))])
def test_a_goal_is_met_at_its_bound(least: bool, met: tuple[bool, ...]) -> None:
    goals = [bench.Goal("x", value, 5.0, "×", least=least) for value in (4.9, 5.0, 5.1)]
    assert tuple(goal.met for goal in goals) == met
    assert goals[2].told == f"5.1 × (goal {'≥' if least else '≤'} 5)"


def test_clips_show_the_left_half_of_the_sample(sample: Path, tmp_path: Path) -> None:
    path = bench.Clips(sample, tmp_path, 0.5).make((64, 48), 30)
    assert (probe(str(path)).width, probe(str(path)).frames) == (64, 15)
    whole, left = (bench.pictures(sample, (64, 48), limit=1, left=share)[0] for share in (1.0, 0.5))
    assert np.abs(whole.astype(int) - left).mean() > 1


def test_what_a_frame_costs_is_told_against_decoding(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "WARM", 5)
    monkeypatch.setattr(cost, "_look_ms", lambda: 2.0)
    found = cost.measure(sample, lambda: chain("a"), frames=10, rounds=2)
    assert (found.frames, found.rounds) == (10, 2)
    assert found.low <= found.per_decode <= found.high
    assert found.per_look == pytest.approx(found.chain_ms / 2, rel=0.5)
    assert 0 <= cost.taken_by_others(0.05) < 1


def test_pictures_keep_their_proportions() -> None:
    image = np.zeros((100, 400, 3), np.uint8)
    image[:, 150:250] = 255
    fitted = bench._fit(image, 100, 100)
    assert fitted.mean() > 250, "the middle square of a wide picture"


def test_a_sample_without_pictures_is_typed(tmp_path: Path) -> None:
    with pytest.raises(SourceEmpty):
        bench.pictures(Path("synthetic:?seconds=0.001&fps=1"), (8, 8), limit=0)
