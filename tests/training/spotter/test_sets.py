"""Sets: fixed recipes, people apart, and builds that go on where they stopped."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="extra `train` is not installed")

from mellm.stream.errors import ModelMissing, SourceEmpty, UsageError
from mellm.training.spotter import records, sets
from mellm.training.spotter.options import MEASURED
from mellm.training.spotter.people import FOLDS, REPEATED, VALIDATION, VIDEOS, Video, video
from mellm.training.synth import composite
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
    for v in VIDEOS:
        folds.setdefault(v.subject, set()).add(v.fold)
    assert all(len(f) == 1 for f in folds.values())
    assert set.union(*folds.values()) == {*FOLDS, VALIDATION, ""}
    assert len({v.file for v in VIDEOS}) == len(VIDEOS)
    tested = {v.file for v in VIDEOS if v.fold in FOLDS}
    held = {v.file for v in VIDEOS if v.fold == VALIDATION}
    assert {c.source for c in sets.clips("free")} == tested
    assert {c.source for c in sets.clips("val-free")} == held
    assert {c.source for c in sets.clips("talking")} < tested
    assert {c.source for c in sets.clips("val-talking")} <= held
    assert not {c.source for c in sets.clips("train-free")} & held
    assert {video(c.source).subject for c in sets.clips("talking")} == {
        v.subject for v in VIDEOS if v.fold in FOLDS
    }


def test_all_people_of_the_shared_folder_are_listed(shared_data: Path) -> None:
    path = shared_data / "media" / "people.csv"
    if not path.exists():
        pytest.skip("no people in the shared data")
    with path.open(newline="") as file:
        rows = {r["file"].removeprefix("people/"): r for r in csv.DictReader(file)}
    ours = {v.file: v for v in VIDEOS if v.folder == "people"}
    assert ours.keys() == rows.keys()
    for file, row in rows.items():
        assert ours[file].cuts == tuple(float(t) for t in row["jump_cuts_s"].split()), file
        assert ours[file].repeats == (float(row["repeated"]) >= REPEATED), file
    persons: dict[str, set[str]] = {}
    for file, row in rows.items():
        persons.setdefault(row["person"], set()).add(ours[file].subject)
    assert all(len(ours_of) == 1 for ours_of in persons.values())


def test_cuts_part_a_recording_and_repeats_can_be_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.stream.videos import make_video

    monkeypatch.setenv("MELLM_SHARED", str(tmp_path))
    (tmp_path / "media" / "people").mkdir(parents=True)
    make_video(tmp_path / "media" / "people" / "a.mp4", fps=25, frames=50)
    whole = list(Video("a.mp4", "a", "", "talking").frames("x"))
    assert {f.segment for f in whole} == {0}
    assert whole[0].pts_ns == 0
    parted = list(Video("a.mp4", "a", "", "talking", cuts=(1.0,)).frames("x"))
    assert [f.pts_ns for f in parted] == [f.pts_ns for f in whole]
    assert len({f.segment for f in parted}) > 1
    assert all(f.segment == 0 for f in parted if f.pts_ns < 0.9e9)
    assert len({f.segment for f in parted if f.pts_ns > 1.1e9}) == 1
    monkeypatch.setattr("mellm.training.spotter.people.SAME", 300.0)
    assert len(list(Video("a.mp4", "a", "", "talking").frames("x", distinct=True))) == 1


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
    monkeypatch.setattr(composite, "__file__", str(tmp_path / "a" / "b" / "c" / "composite.py"))
    with pytest.raises(ModelMissing, match="MELLM_SHARED"):
        composite.media()


@pytest.mark.slow
def test_a_rendered_clip_is_measured_with_its_truth() -> None:
    made = sets.make(sets.clips("val-rendered")[0])
    assert made.faces == made.frames == 500
    assert made.truths
    assert all(0 < t.onset_s < t.apex_s < t.offset_s < 10 for t in made.truths)
    assert 80 < made.face_px < 400


def test_filmed_clips_for_training_are_not_those_that_are_tested(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MELLM_SHARED", str(shared_data))
    filmed, tested = sets.clips("train-filmed"), [*sets.clips("talking"), *sets.clips("val-talking")]
    assert not {c.seed for c in filmed} & {c.seed for c in tested}
    assert {video(c.source).fold for c in filmed} == set(FOLDS)
    assert len({c.name for c in filmed}) == len(filmed) == len({c.seed for c in filmed})


def test_nobody_is_trained_on_the_second_generator(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MELLM_SHARED", str(shared_data))
    assert not any(c.profile == sets.FOREIGN for name in MEASURED.values() for c in sets.clips(name))
    foreign = sets.clips("foreign")
    assert all(c.profile == sets.FOREIGN for c in foreign)
    assert {c.kind for c in foreign} >= {"rendered"}
    drawn = [c for c in foreign if c.kind == "rendered"]
    assert all(c.seed in SPLITS["test"] for c in drawn)
    assert sum(c.seed % 2 for c in drawn) == len(drawn) // 2
