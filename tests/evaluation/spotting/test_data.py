"""Sets that cannot be measured on are told by name, with what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="extra `train` is not installed")
pytest.importorskip("scipy", reason="extra `eval` is not installed")

from mellm.evaluation.spotting import data
from mellm.stream.errors import ModelCorrupt, SourceCorrupt, SourceEmpty, UsageError
from mellm.training.spotter import records, sets
from mellm.training.spotter.evaluate import Interval
from tests.evaluation.spotting.made import record, truth


def test_good_records_pass_with_their_voids() -> None:
    clip = record([truth(3.0)], void_s=(5.0, 5.02))
    assert data.check("s", [clip]) == [clip]
    assert data.seen_s(clip) == pytest.approx(7.7 - 0.04)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_signals_that_are_no_numbers_are_refused(value: float) -> None:
    clip = record(name="seven")
    clip.features[100, 40] = value
    with pytest.raises(SourceCorrupt, match=r"clip seven of s: signals at 2\.30 s") as caught:
        data.check("s", [clip])
    assert "delete its file" in caught.value.remedy


def test_wrong_shapes_and_truths_are_refused() -> None:
    clip = record()
    with pytest.raises(SourceCorrupt, match="shape"):
        data.check("s", [replace(clip, features=clip.features[:, :100])])
    with pytest.raises(SourceCorrupt, match="do not rise"):
        data.check("s", [replace(clip, grid_s=clip.grid_s[::-1])])
    with pytest.raises(SourceCorrupt, match="true expression"):
        data.check("s", [replace(clip, truths=(Interval(2.0, 1.9, 2.2),))])


def test_empty_sets_are_refused() -> None:
    with pytest.raises(SourceEmpty, match="holds no clip"):
        data.check("s", [])
    clip = record()
    with pytest.raises(SourceEmpty, match="no clip of the set s shows a face"):
        data.check("s", [replace(clip, features=np.full_like(clip.features, np.nan))])


def test_missing_sets_are_told_or_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no set 'nonsense'"):
        data.load_set("nonsense", tmp_path)
    with pytest.raises(UsageError, match="rendered50 is not in"):
        data.load_set("rendered50", tmp_path, build=False)
    monkeypatch.setattr(sets, "make", lambda clip: record(name=clip.name))
    seen: list[tuple[str, int, int]] = []
    made = data.load_set("rendered50", tmp_path, progress=lambda *a: seen.append(a))
    assert len(made) == data.wanted("rendered50") == 24
    assert seen[0] == ("rendered50", 0, 24)
    assert seen[-1] == ("rendered50", 24, 24)


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    name = sets.clips("rendered50")[0].name
    folder = tmp_path / "rendered50"
    records.save(record(name=name), folder / f"{name}.npz")
    (folder / f"{name}.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(ModelCorrupt, match=name):
        data.load_set("rendered50", tmp_path, build=False)


def test_nothing_is_tuned_on_test_sets() -> None:
    data.require_validation(["val-rendered", "val-stills"])
    for name in sets.TEST_SETS:
        with pytest.raises(UsageError, match="test set"):
            data.require_validation(["val-rendered", name])
