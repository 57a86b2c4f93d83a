"""Sets: fixed recipes, people apart, and builds that go on where they stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="extra `train` is not installed")

from mellm.stream.errors import ModelMissing, SourceEmpty, UsageError
from mellm.training.spotter import records, sets
from mellm.training.synth.rig import SPLITS


def test_rendered_people_are_apart_and_names_are_unique() -> None:
    test = [*sets.clips("rendered50"), *sets.clips("rendered30"), *sets.clips("rates")]
    val, train = sets.clips("val-rendered"), sets.clips("train-rendered")
    for clips, split in ((test, "test"), (val, "val"), (train, "train")):
        assert all(c.seed in SPLITS[split] for c in clips)
        assert len({c.name for c in clips}) == len(clips)


def test_photographed_people_are_apart(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MELLM_SHARED", str(shared_data))
    people = {
        split: {p.stem.split("_")[-2] for p in sets.still_split(split)} for split in ("train", "val", "test")
    }
    assert min(len(p) for p in people.values()) >= 10
    assert not people["train"] & people["test"]
    assert not people["train"] & people["val"]
    assert not people["val"] & people["test"]
    for name in ("stills", "val-stills", "train-stills", "train-rough"):
        clips = sets.clips(name)
        assert len({c.name for c in clips}) == len(clips)
        assert len({c.seed for c in clips}) == len(clips)


def test_each_filmed_person_is_in_one_fold() -> None:
    folds: dict[str, set[str]] = {}
    for v in sets.VIDEOS:
        folds.setdefault(v.subject, set()).add(v.fold)
    assert all(len(f) == 1 for f in folds.values())
    assert sets.FOLDS == ("A", "B", "C", "D", "E")
    assert {c.source for c in sets.clips("talking")} == {v.file for v in sets.VIDEOS if v.fold}
    assert {c.source for c in sets.clips("train-video")} == {v.file for v in sets.VIDEOS}


def test_unknown_and_unbuilt_sets_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no set 'nonsense'"):
        sets.clips("nonsense")
    with pytest.raises(UsageError, match="rendered50"):
        sets.load("rendered50", tmp_path)


def test_a_build_makes_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.training.spotter.test_pools import record

    made: list[str] = []

    def make(clip: sets.Clip) -> records.Record:
        made.append(clip.name)
        return record(120)

    monkeypatch.setattr(sets, "make", make)
    seen: list[tuple[int, int]] = []
    sets.build("rendered50", tmp_path, limit=3, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]
    (tmp_path / "rendered50" / f"{made[1]}.npz").unlink()
    made.clear()
    sets.build("rendered50", tmp_path, limit=3)
    assert made == [sets.clips("rendered50")[1].name]
    assert len(sets.load("rendered50", tmp_path)) == 3


def test_sets_of_another_flow_have_a_folder_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mellm.detectors.flow import STOCK, Dis
    from tests.training.spotter.test_pools import record

    flows: list[object] = []

    def make(clip: sets.Clip, flow: sets.Flow = None) -> records.Record:
        flows.append(flow and flow())
        return record(120)

    monkeypatch.setattr(sets, "make", make)
    assert sets.main(["rendered50", "--flow", "stock", "--limit", "1"]) != 0
    assert "--root" in capsys.readouterr().err
    assert not flows
    assert sets.main(["rendered50", "--flow", "stock", "--limit", "1", "--root", str(tmp_path)]) == 0
    (flow,) = flows
    assert isinstance(flow, Dis)
    assert flow.options == STOCK


def test_a_clip_that_cannot_be_made_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def make(clip: sets.Clip) -> records.Record:
        raise SourceEmpty("no face in it")

    monkeypatch.setattr(sets, "make", make)
    sets.build("rendered50", tmp_path, limit=2)
    assert [r.getMessage().split(":")[0] for r in caplog.records] == [
        f"{c.name} is left out" for c in sets.clips("rendered50")[:2]
    ]
    with pytest.raises(UsageError, match="rendered50"):
        sets.load("rendered50", tmp_path)


def test_without_real_pictures_the_reason_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MELLM_SHARED", str(tmp_path))
    monkeypatch.setattr(sets, "__file__", str(tmp_path / "a" / "b" / "c" / "sets.py"))
    with pytest.raises(ModelMissing, match="MELLM_SHARED"):
        sets.media()


@pytest.mark.slow
def test_a_rendered_clip_is_measured_with_its_truth() -> None:
    made = sets.make(sets.clips("val-rendered")[0])
    assert made.faces == made.frames == 500
    assert made.truths
    assert all(0 < t.onset_s < t.apex_s < t.offset_s < 10 for t in made.truths)
    assert 80 < made.face_px < 400
