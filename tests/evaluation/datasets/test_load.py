from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from mellm.evaluation.datasets import SPECS, DataSet, DatasetError, SheetError, load
from tests.evaluation.datasets import made
from tests.evaluation.datasets.made import book, pictures


def rules(data: DataSet) -> Counter[str]:
    return Counter(repair.rule for repair in data.repairs)


def test_casme2(tmp_path: Path) -> None:
    book(tmp_path / "CASME2-coding-20140508.xlsx", made.CASME2, [["x"]])
    pictures(tmp_path / "CASME2-RAW/sub01/EP02_01f", [f"img{k}.jpg" for k in range(46, 57)])
    pictures(tmp_path / "Cropped/sub01/EP02_01f", ["reg_img46.jpg"])
    (tmp_path / "CASME2-RAW/sub01/Desktop - Shortcut.lnk").touch()

    data = load("casme2", tmp_path)

    first, _, unknown, at_end, _ = data.clips
    assert (first.subject, first.id, first.fps, first.onset, first.apex, first.offset) == (
        "sub01",
        "EP02_01f",
        200,
        46,
        59,
        86,
    )
    assert (first.emotion, first.coarse, first.dataset) == ("happiness", "positive", "casme2")
    assert {str(unit) for unit in first.action_units.sure} == {"L12A", "R14B"}
    assert list(first.frames) == list(range(46, 57))
    assert first.missing() == tuple(range(57, 87))
    assert first.frames.read(47)[0, 0, 0] == pytest.approx(10, abs=3)
    assert unknown.apex is None
    assert at_end.apex == at_end.offset == 60
    assert at_end.action_units.possible_numbers == {12, 14}
    assert rules(data) == {"folder-choice": 1, "apex-unknown": 1, "apex-at-an-end": 1}
    repair = next(r for r in data.repairs if r.rule == "apex-unknown")
    assert (repair.row, repair.column, repair.was) == (4, "ApexFrame", "/")


def test_a_named_policy_fills_an_unknown_apex(tmp_path: Path) -> None:
    book(tmp_path / "CASME2-coding-20140508.xlsx", made.CASME2)

    data = load("casme2", tmp_path, apex_policy="midpoint")

    assert data.clips[2].apex == 291
    assert rules(data)["apex-filled"] == 1


def test_samm(tmp_path: Path) -> None:
    book(tmp_path / "SAMM_Micro_FACS_Codes_v2.xlsx", [["legend"]], made.SAMM, titles=["KEY", "MICRO_ONLY"])
    pictures(tmp_path / "SAMM/006/006_1_2", [f"006_{k:05d}.jpg" for k in range(5562, 5633)])

    data = load("samm", tmp_path)

    first, second = data.clips
    assert first.missing() == ()
    assert first.action_units.numbers == {4, 7}  # its legend: a question mark doubts the offset
    assert (first.emotion, second.emotion, second.coarse) == ("anger", "others", None)
    assert (second.apex, second.offset) == (None, 1134)
    assert rules(data)["apex-outside"] == 1


def test_what_cannot_be_found_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no data set 'casme9'"):
        load("casme9", tmp_path)
    with pytest.raises(DatasetError, match="is not a folder"):
        load("casme2", tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="no annotation file of CASME II"):
        load("casme2", tmp_path)
    with pytest.raises(DatasetError, match="apex policy"):
        load("casme2", tmp_path, apex_policy="guess")


@pytest.mark.parametrize("name", SPECS)
def test_a_damaged_workbook_is_named(tmp_path: Path, name: str) -> None:
    names = {
        "casme": "casme.xlsx",
        "samm-lv": "SAMM_LongVideos_V3_Release.xlsx",
        "cas(me)^2": "CAS(ME)^2code_final(Updated).xlsx",
        "cas(me)^3-a": "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx",
        "cas(me)^3-c": "CAS(ME)3_part_C_ME.xlsx",
        "mmew": "MMEW_Micro_Exp.xlsx",
        "dfme": "training_full_with_AU.xlsx",
        "4dme": "4DME_Labelling_Micro_release v1.xlsx",
        "casme2": "CASME2_label_Ver_2.xls",
        "samm": "SAMM_Micro_FACS_Codes_v2.xlsx",
        "smic-hs": "SMIC-HS-E_annotation.xlsx",
        "smic-vis": "SMIC-VIS-E_annotation.xlsx",
        "smic-nir": "SMIC-NIR-E_annotation.xlsx",
    }
    (tmp_path / names[name]).write_bytes(b"PK\x03\x04 torn")

    with pytest.raises(SheetError, match=r"cannot be read"):
        load(name, tmp_path)
