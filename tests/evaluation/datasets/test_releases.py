"""One small release of each further data set, shaped as public descriptions say, with the oddities it is known for."""

from __future__ import annotations

from pathlib import Path

import pytest

from mellm.evaluation.datasets import DataSet, SheetError, load
from mellm.evaluation.datasets.clips import Clip
from tests.evaluation.datasets.made import Rows, book, pictures


def rules(data: DataSet) -> set[str]:
    return {repair.rule for repair in data.repairs}


def moments(clip: Clip) -> tuple[int | None, int | None, int | None]:
    return clip.onset, clip.apex, clip.offset


def test_samm_long_videos_without_headings_take_emotions_from_samm(tmp_path: Path) -> None:
    rows: Rows = [
        ["SAMM Long Videos, version 3"],
        [6, "006_1_2", 1, 5562, 5588, 5632, 71, "Micro - 1/2", "4+7", None],
        [6, "006_1_8", 1, 700, 760, 1000, 301, "Macro", "12", None],
        [7, "007_3_1", 3, 50, 60, 0, "-", "Micro - 1/2", "2", None],
    ]
    book(tmp_path / "SAMM_LongVideos_V3_Release.xlsx", rows)
    short: Rows = [
        [
            "Subject",
            "Filename",
            "Onset Frame",
            "Apex Frame",
            "Offset Frame",
            "Micro",
            "Action Units",
            "Emotion",
        ],
        [6, "006_1_2", 5562, 5588, 5632, "Micro", "4+7", "Anger"],
    ]
    book(tmp_path / "SAMM_Micro_FACS_Codes_v2.xlsx", short, titles=["MICRO_ONLY"])
    pictures(tmp_path / "SAMM_longvideos/006_1", [f"006_1_{k:04d}.jpg" for k in range(5560, 5640)])

    data = load("samm-lv", tmp_path)

    first, macro, open_end = data.clips
    assert (first.subject, first.video, first.kind, first.emotion, first.fps) == (
        "006",
        "006_1",
        "micro",
        "anger",
        200,
    )
    assert (macro.kind, macro.emotion, macro.video) == ("macro", None, "006_1")
    assert (open_end.offset, open_end.action_units.numbers) == (None, {2})
    assert first.missing() == ()
    assert {"no-heading", "note-row", "emotion-joined", "offset-unknown"} <= rules(data)


def test_cas_me_squared_maps_videos_and_subjects_by_its_small_sheets(tmp_path: Path) -> None:
    rows: Rows = [
        [1, "anger1_1", 557, 572, 608, "4+7", "negative", "macro-expression", "anger"],
        [1, "happy2_2", 20, 22, 27, "12", "positive", "micro-expression", "happiness"],
        [2, "happy2_1", 1, 3, 9, "6+12", "positive", "macro-expression", "happiness"],
    ]
    codes: Rows = [["0401", "anger1"], ["0502", "happy2"]]
    people: Rows = [["s15", 1], ["s16", 2]]
    book(tmp_path / "CAS(ME)^2code_final(Updated).xlsx", rows, codes, people)
    pictures(tmp_path / "rawpic/s15/15_0401disgustingteeth", [f"img{k}.jpg" for k in range(550, 610)])

    first, micro, _ = load("cas(me)^2", tmp_path).clips
    assert (first.subject, first.kind, first.coarse, first.emotion) == ("s15", "macro", "negative", "anger")
    assert first.missing() == ()
    assert (micro.kind, micro.video, micro.fps) == ("micro", "happy2", 30)


def test_cas_me_cubed_part_a_has_many_clips_of_one_name(tmp_path: Path) -> None:
    rows: Rows = [
        ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion"],
        ["spNO.1", "a", 90, 94, 96, "4", 1, "disgust"],
        ["spNO.1", "A", 400, 402, 412, "R12+4", 2, "Happy"],
    ]
    book(tmp_path / "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx", [["x"]], rows, titles=["notes", "label"])
    pictures(tmp_path / "part_A/spNO.1/a/color", [f"{k}.jpg" for k in range(88, 100)])

    one, two = load("cas(me)^3-a", tmp_path).clips
    assert (one.id, two.id, one.video) == ("a_90", "a_400", two.video)
    assert one.frames.read(90) is not None
    assert two.emotion == "happiness"
    assert {str(unit) for unit in two.action_units.sure} == {"R12", "4"}


def test_cas_me_cubed_part_c_has_no_apex(tmp_path: Path) -> None:
    rows: Rows = [
        ["Subject", "Count", "Onset", "Offset", "AU", "Emotion"],
        [7, 1, 200, 210, "14", "Others"],
    ]
    book(tmp_path / "CAS(ME)3_part_C_ME.xlsx", rows, titles=["mockcrime"])
    (clip,) = load("cas(me)^3-c", tmp_path).clips
    assert moments(clip) == (200, None, 210)
    (filled,) = load("cas(me)^3-c", tmp_path, apex_policy="midpoint").clips
    assert filled.apex == 205


@pytest.mark.parametrize(("variant", "fps"), [("hs", 100.0), ("vis", 25.0), ("nir", 25.0)])
def test_smic_renumbers_its_pictures_and_holds_several_intervals(
    tmp_path: Path, variant: str, fps: float
) -> None:
    rows: Rows = [
        ["Subject", "Filename", "OnsetF", "OffsetF", "TotalFL", "FirstF", "Onset2F", "Offset2F", "Emotion"],
        [1, "s1_ne_01", 110, 140, 31, 100, None, None, "negative"],
        [None, "s2_sur_02", 205, 220, 16, 200, 230, 240, "surprise"],
    ]
    book(tmp_path / f"SMIC-{variant.upper()}-E_annotation.xlsx", rows)
    other = {"hs": "VIS", "vis": "NIR", "nir": "HS"}[variant]
    for kind in (variant.upper(), other):
        pictures(tmp_path / kind / "s01" / "s1_ne_01", [f"image{k:06d}.bmp" for k in range(1, 42)])

    data = load(f"smic-{variant}", tmp_path)

    first, second, third = data.clips
    assert (first.fps, first.apex, first.coarse, first.action_units.numbers) == (
        fps,
        None,
        "negative",
        frozenset(),
    )
    assert list(first.frames)[:2] == [100, 101]
    assert first.missing() == ()
    assert (second.subject, moments(second), moments(third)) == ("s02", (205, None, 220), (230, None, 240))
    assert third.id == "s2_sur_02#2"
    assert other not in str(first.frames.folder)
    assert "subject-from-name" in rules(data)


def test_mmew_sorts_its_folders_by_emotion(tmp_path: Path) -> None:
    rows: Rows = [
        ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Emotion"],
        [1, "S01-01-001", 1, 8, 15, "4", "disgust"],
        [1, "S01-01-002", 5, 9, 20, "5，1+2", "Surprised"],
    ]
    book(tmp_path / "MMEW_Micro_Exp.xlsx", rows)
    pictures(tmp_path / "Micro_Expression/disgust/S01-01-001", [f"{k}.jpg" for k in range(1, 16)])
    data = load("mmew", tmp_path)
    first, second = data.clips
    assert (first.subject, first.fps, first.missing()) == ("S01", 90, ())
    assert (second.action_units.numbers, second.emotion) == ({1, 2, 5}, "surprise")
    assert "emotion-spelling" in rules(data)


def test_dfme_comes_in_splits_with_a_rate_for_each_part(tmp_path: Path) -> None:
    head: list[object] = ["Filename", "Part", "Onset", "Apex", "Offset", "AUs", "Emotion"]
    book(
        tmp_path / "training_full_with_AU.xlsx", [head, ["sub0001_0_00", "A", 10, 40, 90, "12", "happiness"]]
    )
    book(tmp_path / "test_A_full.xlsx", [head, ["sub0002_0_00", "B", 10, 40, 90, "1+2", "surprise"]])
    data = load("dfme", tmp_path)
    assert [(clip.subject, clip.fps) for clip in data.clips] == [("sub0001", 500.0), ("sub0002", 300.0)]
    assert len(data.sources) == 2


def test_mixed_frame_rates_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mellm.clients.cli import run

    test_dfme_comes_in_splits_with_a_rate_for_each_part(tmp_path)
    assert run(["dataset", "inspect", "dfme", str(tmp_path)]) == 0
    assert "several frame rates" in capsys.readouterr().out


def test_4dme_and_casme(tmp_path: Path) -> None:
    rows: Rows = [
        ["SubID", "Fold_Name", "Onset", "Apex", "Offset", "AU", "Emotion"],
        [3, "03_m_2", 11, 20, 31, "AU4", "Negative"],
    ]
    book(tmp_path / "4dme" / "4DME_Labelling_Micro_release v1.xlsx", rows)
    (clip,) = load("4dme", tmp_path / "4dme").clips
    assert (moments(clip), clip.coarse) == ((11, 20, 31), "negative")
    old: Rows = [
        ["Subject", "Filename", "OnsetF", "ApexF1", "OffsetF", "AUs", "Emotion"],
        [1, "EP01_12", 73, 81, 91, "4?", "tense"],
    ]
    book(tmp_path / "casme" / "CASME.xlsx", old)
    (clip,) = load("casme", tmp_path / "casme").clips
    assert (moments(clip), clip.action_units.possible_numbers) == ((73, 81, 91), {4})


def test_a_clip_that_is_there_twice_gets_a_number(tmp_path: Path) -> None:
    rows: Rows = [
        ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Emotion"],
        [1, "S01-01-001", 1, 8, 15, "4", "disgust"],
        [1, "S01-01-001", 1, 8, 15, "4", "disgust"],
    ]
    book(tmp_path / "MMEW_Micro_Exp.xlsx", rows)
    data = load("mmew", tmp_path)
    assert [clip.id for clip in data.clips] == ["S01-01-001", "S01-01-001~2"]
    assert "duplicate-id" in rules(data)


def test_a_sheet_of_headings_only_is_refused(tmp_path: Path) -> None:
    book(
        tmp_path / "MMEW_Micro_Exp.xlsx",
        [["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Emotion"]],
    )
    with pytest.raises(SheetError, match="no clip below the headings"):
        load("mmew", tmp_path)
