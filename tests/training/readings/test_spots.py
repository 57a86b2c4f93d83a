"""A clip is watched once; what is spotted on it later is what the product's chain spots at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mellm.detectors.spotting import FakeStepModel
from mellm.engine.analysis.pipeline import Spotted
from mellm.stream.errors import UsageError
from mellm.training.readings import spots
from mellm.training.readings.spots import Watched, load_file, matched, replay, save, watch
from tests.engine.moving import FOUND, chain, frames
from tests.training.readings.made import analyzer, clip


@pytest.fixture(scope="module")
def watched() -> Watched:
    return watch(clip(), analyzer)


def test_a_replay_spots_what_the_chain_spots(watched: Watched, tmp_path: Path) -> None:
    line = chain("s")
    wanted = [o for f in frames() for o in line.push(f) if isinstance(o, Spotted)]
    wanted += [o for o in line.finish() if isinstance(o, Spotted)]
    save(tmp_path / "a.npz", watched)
    for seen in (watched, load_file(tmp_path / "a.npz")):
        found = replay(seen, FakeStepModel())
        assert len(found) == len(wanted) == FOUND
        for case, spotted in zip(found, wanted, strict=True):
            assert (case.score, case.duration_ms) == (spotted.expression.score, spotted.duration_ms)
            assert spotted.pair is not None
            assert (case.pair.onset, case.pair.apex) == (spotted.pair.onset, spotted.pair.apex)
            assert np.array_equal(case.pair.apex_gray, spotted.pair.apex_gray)
            assert len(case.pair.near_apex) == len(spotted.pair.near_apex)
            assert case.evidence().regions == spotted.evidence.regions


def test_a_watched_clip_knows_its_truth(watched: Watched) -> None:
    assert [t.units for t in watched.truths] == [((1, "both"),)] * 2
    assert watched.seconds == pytest.approx(3.2, abs=0.05)


def test_a_higher_threshold_finds_less(watched: Watched) -> None:
    assert len(replay(watched, FakeStepModel(), 0.995)) < FOUND


def test_a_spot_is_the_expression_that_it_shares_half_of_its_time_with() -> None:
    truths = tuple(spots.Truth((), 1.0, None, at, at + 0.4) for at in (1.0, 3.0))
    assert matched([(0.9, 1.4), (2.0, 2.4), (3.3, 3.8)], truths) == {0: 0}


def test_what_is_no_clip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"no")
    with pytest.raises(UsageError, match="not a clip that was watched"):
        load_file(tmp_path / "x.npz")
    with pytest.raises(UsageError, match="no clips"):
        list(spots.load(tmp_path, "val"))
