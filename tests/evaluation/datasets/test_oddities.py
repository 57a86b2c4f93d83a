"""Every rule of `RULES` once: the row and the column it names, what stood there and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from openpyxl import load_workbook

from mellm.evaluation.datasets import RULES, SPECS, DataSet, SheetError, load
from tests import REPO
from tests.evaluation.datasets.made import Rows, book, pictures

HEAD: list[object] = ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Emotion"]
MMEW = "MMEW_Micro_Exp.xlsx"


@dataclass(frozen=True)
class Oddity:
    """One data set with one thing that is not as it should be.

    :param place: row, column, was, became of the repair that is expected
    """

    rule: str
    name: str
    make: Callable[[Path], object]
    place: tuple[int, str, str, str]
    policies: tuple[tuple[str, str], ...] = ()


def sheet(file: str, *rows: list[object], head: list[object] = HEAD) -> Callable[[Path], object]:
    return lambda root: book(root / file, [head, *rows])


def mmew(*row: object) -> Callable[[Path], object]:
    return sheet(MMEW, ["S01", "S01-01-001", *row])


def two_files(root: Path) -> None:
    for name in ("MMEW_Micro_Exp_v2.xlsx", MMEW):
        mmew(1, 5, 9, "4", "fear")(root)
        (root / MMEW).replace(root / name)


def chinese_text(root: Path) -> None:
    lines = ["Subject,Filename,Onset,Apex,Offset,AU,Emotion", 'S01,S01-01-001,1,5,9,"4，7",fear']
    (root / "MMEW_Micro_Exp.csv").write_text("\n".join(lines), encoding="gb18030")


def merged_subject(root: Path) -> None:
    rows: Rows = [
        HEAD,
        ["S01", "S01-01-001", 1, 5, 9, "4", "fear"],
        [None, "S01-01-002", 1, 5, 9, "4", "fear"],
    ]
    path = book(root / MMEW, rows)
    workbook = load_workbook(path)
    workbook.worksheets[0].merge_cells("A2:A3")
    workbook.save(path)


def two_folders(root: Path) -> None:
    mmew(1, 5, 9, "4", "fear")(root)
    for above in ("a", "b"):
        pictures(root / above / "fear" / "S01-01-001", ["1.jpg"])


def with_samm(root: Path) -> None:
    book(root / "SAMM_LongVideos_V3_Release.xlsx", [[6, "006_1_2", 1, 10, 20, 30, 21, "Micro - 1/2", "4"]])
    head: list[object] = [*HEAD[:5], "Micro", "Action Units", "Estimated Emotion"]
    book(root / "SAMM_Micro_FACS_Codes_v2.xlsx", [head, [6, "006_1_2", 10, 20, 30, "Micro", "4", "Anger"]])


FOUR_D: list[object] = ["sub_ID", "fold_name", "Emotion", "Onset", "Apex", "Offset", "AUs", "AU4", "AU12"]
SMIC: list[object] = ["Subject", "Filename", "OnsetF", "OffsetF", "FirstF", "LastF", "Emotion"]
CAS2 = "CAS(ME)^2code_final(Updated).xlsx"
CAS3 = "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx"
LV = "SAMM_LongVideos_V3_Release.xlsx"

ODDITIES = [
    Oddity("annotation-choice", "mmew", two_files, (0, "", "MMEW_Micro_Exp_v2.xlsx", MMEW)),
    Oddity(
        "no-heading",
        "cas(me)^2",
        lambda root: book(
            root / CAS2, [[1, "anger1_1", 5, 9, 13, "4", "negative", "micro-expression", "anger"]]
        ),
        (0, "", "", ""),
    ),
    Oddity(
        "column-absent",
        "samm",
        sheet("SAMM_Micro_FACS_Codes_v2.xlsx", [32, "032_3_1", 4896, 4930, 4970, "4", "Fear"]),
        (1, "type", "", ""),
    ),
    Oddity("encoding", "mmew", chinese_text, (0, "", "decoded as gb18030", "")),
    Oddity(
        "note-row",
        "smic-hs",
        sheet(
            "SMIC-HS-E_annotation.xlsx",
            [1, "s01_ne_01", 110, 120, 100, 130, "negative"],
            ["Frames are counted from the start of the recording."],
            head=SMIC,
        ),
        (3, "", "Frames are counted from the start of the recording.", ""),
    ),
    Oddity("merged-cells", "mmew", merged_subject, (3, "Subject", "", "S01")),
    Oddity("number-as-text", "mmew", mmew("1", 5, 9, "4", "fear"), (2, "Onset", "'1'", "1")),
    Oddity(
        "onset-unknown",
        "cas(me)^3-a",
        sheet(CAS3, ["spNO.3", "a", 0, 5, 9, "4", "fear"]),
        (2, "Onset", "0", ""),
    ),
    Oddity(
        "apex-unknown",
        "samm-lv",
        lambda root: book(root / LV, [[6, "006_1_2", 1, 10, -1, 30, 21, "Macro", "4"]]),
        (1, "E", "-1", ""),
    ),
    Oddity(
        "offset-unknown",
        "cas(me)^2",
        lambda root: book(
            root / CAS2, [[1, "anger1_1", 5, 9, 0, "4", "negative", "macro-expression", "anger"]]
        ),
        (1, "E", "0", ""),
    ),
    Oddity(
        "first-unknown",
        "smic-nir",
        sheet("SMIC-NIR-E_annotation.xlsx", [1, "s01_ne_01", 11, 22, None, 40, "negative"], head=SMIC),
        (2, "FirstF", "empty", ""),
    ),
    Oddity(
        "offset-before-onset",
        "cas(me)^3-a",
        sheet(CAS3, ["spNO.3", "a", 50, 55, 40, "4", "fear"]),
        (2, "Offset", "50..40", "unknown"),
    ),
    Oddity(
        "apex-outside",
        "samm",
        sheet("SAMM_Micro_FACS_Codes_v2.xlsx", [32, "032_3_1", 4896, 1930, 4970, "4", "Fear"]),
        (2, "Apex", "1930 of 4896..4970", "unknown"),
    ),
    Oddity("apex-at-an-end", "mmew", mmew(1, 9, 9, "4", "fear"), (2, "Apex", "9", "9")),
    Oddity(
        "longer-than-half-a-second",
        "cas(me)^3-a",
        sheet(CAS3, ["spNO.3", "a", 1, 50, 3000, "4", "fear"]),
        (2, "Offset", "100.00 s", ""),
    ),
    Oddity(
        "emotion-spelling",
        "cas(me)^2",
        lambda root: book(
            root / CAS2, [[1, "a1_1", 5, 9, 13, "4", "positive", "micro-expression", "happyiness"]]
        ),
        (1, "I", "happyiness", "happiness"),
    ),
    Oddity("emotion-strange", "mmew", mmew(1, 5, 9, "4", "bored"), (2, "Emotion", "bored", "bored")),
    Oddity("units-unread", "mmew", mmew(1, 5, 9, "4+1214", "fear"), (2, "AU", "4+1214", "4")),
    Oddity(
        "units-differ",
        "4dme",
        sheet("4DME_Labelling_Micro_release v1.xlsx", [3, "f1", "fear", 1, 5, 9, "4+12", 1, 0], head=FOUR_D),
        (2, "AUs", "4+12", "4 (12)"),
    ),
    Oddity(
        "subject-from-name",
        "samm",
        sheet("SAMM_Micro_FACS_Codes_v2.xlsx", [None, "032_3_1", 4896, 4930, 4970, "4", "Fear"]),
        (2, "Subject", "", "032"),
    ),
    Oddity(
        "duplicate-id",
        "cas(me)^3-a",
        sheet(CAS3, ["spNO.3", "j", 7, 8, 9, "4", "fear"], ["spNO.3", "J", 7, 8, 9, "4", "fear"]),
        (0, "", "spNO.3 j_7", "j_7~2"),
    ),
    Oddity("folder-choice", "mmew", two_folders, (2, "Filename", "2 folders", "a/fear/S01-01-001")),
    Oddity(
        "frame-rate-unknown",
        "dfme",
        sheet("test_A.xlsx", ["sub0003", "sub0003_01", 10, 20, 30, "4", "fear"]),
        (2, "", "", ""),
    ),
    Oddity("emotion-joined", "samm-lv", with_samm, (0, "", "006_1_2", "anger")),
    Oddity(
        "apex-filled",
        "cas(me)^3-c",
        sheet(
            "CAS(ME)3_part_C_ME.xlsx",
            [7, 1, 200, 210, "4，7", "others"],
            head=["sub", "count", *HEAD[2:3], *HEAD[4:]],
        ),
        (0, "", "07 1", "204"),
        (("apex_policy", "onset+40%"),),
    ),
    Oddity(
        "offset-filled",
        "cas(me)^2",
        lambda root: book(
            root / CAS2, [[1, "anger1_1", 5, 9, 0, "4", "negative", "micro-expression", "anger"]]
        ),
        (0, "", "s01 anger1_1", "29"),
        (("offset_policy", "apex+20"),),
    ),
]


def test_every_rule_has_its_oddity() -> None:
    assert {oddity.rule for oddity in ODDITIES} == set(RULES)


@pytest.mark.parametrize("oddity", ODDITIES, ids=lambda oddity: oddity.rule)
def test_an_oddity_is_repaired_and_named(oddity: Oddity, tmp_path: Path) -> None:
    oddity.make(tmp_path)

    data: DataSet = load(oddity.name, tmp_path, **dict(oddity.policies))

    found = [r for r in data.repairs if r.rule == oddity.rule]
    assert [(r.row, r.column, r.was, r.became) for r in found] == [oddity.place]
    assert found[0].sheet


@pytest.mark.parametrize(
    ("row", "column", "said"),
    [
        (["S01", "S01-01-001", "4b", 5, 9, "4", "fear"], "Onset", "'4b' is not a frame number"),
        (["S01", "S01-01-001", 1.5, 5, 9, "4", "fear"], "Onset", "1.5 is not a frame number"),
        (["S01", "S01-01-001", "46²", 5, 9, "4", "fear"], "Onset", "'46²' is not a frame number"),
        (["S01", "S01-01-001", 1, 5, "1e3", "4", "fear"], "Offset", "'1e3' is not a frame number"),
        (["S02", "S01-01-001", 1, 5, 9, "4", "fear"], "Subject", "does not go with file"),
        (["S01", None, 1, 5, 9, "4", "fear"], "Filename", "the file name is missing"),
        ([None, "one", 1, 5, 9, "4", "fear"], "Subject", "names no subject"),
    ],
)
def test_what_would_be_a_guess_is_refused_with_its_place(
    row: list[object], column: str, said: str, tmp_path: Path
) -> None:
    book(tmp_path / MMEW, [HEAD, ["S01", "S01-01-009", 1, 5, 9, "4", "fear"], row])

    with pytest.raises(SheetError, match=said) as caught:
        load("mmew", tmp_path)

    assert (caught.value.sheet, caught.value.row, caught.value.column) == (f"{MMEW}[Sheet1]", 3, column)


@pytest.mark.parametrize(
    ("name", "file", "head", "row", "column"),
    [
        (
            "dfme",
            "test_A.xlsx",
            ["Filename", "fps", *HEAD[2:]],
            ["sub0003_01", "fast", 1, 5, 9, "4", "fear"],
            "fps",
        ),
        (
            "samm-lv",
            LV,
            [*HEAD[:5], "Type", "AU"],
            [6, "006_1_2", 1, 5, 9, "blink", "45"],
            "Type",
        ),
    ],
)
def test_so_are_a_rate_and_a_kind_that_are_none(
    name: str, file: str, head: list[object], row: list[object], column: str, tmp_path: Path
) -> None:
    book(tmp_path / file, [head, row])

    with pytest.raises(SheetError) as caught:
        load(name, tmp_path)

    assert (caught.value.row, caught.value.column) == (2, column)


def test_an_empty_workbook_and_an_empty_text_are_refused(tmp_path: Path) -> None:
    for file in (book(tmp_path / MMEW, [[None]]), tmp_path / "MMEW_Micro_Exp.csv"):
        file.touch()
        with pytest.raises(SheetError, match="holds no cell") as caught:
            load("mmew", tmp_path)
        assert caught.value.sheet == file.name
        file.unlink()


def test_both_kinds_of_part_a_are_told_apart(tmp_path: Path) -> None:
    head: list[object] = [*HEAD[:6], "Expression type", "emotion"]
    rows: Rows = [
        head,
        ["spNO.1", "a", 10, 15, 20, "4", "Micro-expression", "sad"],
        ["spNO.1", "a", 40, 60, 90, "12", "Macro-expression", "happy"],
    ]
    book(
        tmp_path / "CAS(ME)3_part_A_v2.xlsx",
        [["Subject", "Filename", "Onset", "Offset"]],
        rows,
        titles=["eye blink", "AU+Emotion"],
    )

    clips = load("cas(me)^3-a", tmp_path).clips

    assert [(clip.kind, clip.emotion) for clip in clips] == [("micro", "sadness"), ("macro", "happiness")]


def test_samm_long_videos_with_headings_are_read_by_them(tmp_path: Path) -> None:
    head: list[object] = ["Type", "Action Units", *HEAD[:5]]
    book(tmp_path / "SAMM_LongVideos_V1_Release.xlsx", [head, ["Macro", "12", "006", "006_1_1", 3, 9, 400]])

    (clip,) = load("samm-lv", tmp_path).clips

    assert (clip.subject, clip.kind, clip.onset, clip.apex, clip.offset) == ("006", "macro", 3, 9, 400)


def test_several_emotions_of_4dme_are_kept_without_a_coarse_class(tmp_path: Path) -> None:
    row: list[object] = [3, "f1", "Negative, Surprise", 1, 5, 9, "4", 1, 0]
    book(tmp_path / "4DME_Labelling_Micro_release v1.xlsx", [FOUR_D, row])

    (clip,) = load("4dme", tmp_path).clips

    assert (clip.emotion, clip.coarse, clip.action_units.numbers) == ("negative+surprise", None, {4})


def test_a_full_width_nought_is_no_sign_of_a_unit(tmp_path: Path) -> None:
    row: list[object] = [3, "f1", "fear", 1, 5, 9, "４", "１", "０"]
    book(tmp_path / "4DME_Labelling_Micro_release v1.xlsx", [FOUR_D, row])

    (clip,) = load("4dme", tmp_path).clips

    assert (clip.action_units.numbers, clip.action_units.possible) == ({4}, frozenset())


def test_the_guide_tells_of_every_rule_and_release() -> None:
    guide = (REPO / "docs/how-to/datasets.md").read_text(encoding="utf-8")

    assert [rule for rule, words in RULES.items() if f"| `{rule}` | {words} |" not in guide] == []
    assert [name for name in SPECS if f"`{name}`" not in guide] == []
