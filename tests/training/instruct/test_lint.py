"""Each rule, broken once."""

import json
import shutil
from pathlib import Path

import pytest

from mellm.stream.errors import SourceNotFound
from mellm.training.instruct.lint import RULES, lint, named


@pytest.fixture
def copy(made, tmp_path) -> Path:
    shutil.copytree(made, tmp_path / "data")
    return tmp_path / "data"


def change(folder: Path, edit, split="train", **wanted) -> None:
    """Apply ``edit`` to the first record with the wanted values."""
    path = folder / f"{split}.jsonl"
    found = [json.loads(line) for line in path.read_text().splitlines()]
    record = next(r for r in found if all(r[k] == v for k, v in wanted.items()))
    edit(record)
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in found))


def answer(text: str):
    def edit(record):
        record["messages"][1]["content"][0]["text"] = text

    return edit


def say_more(text: str):
    def edit(record):
        record["messages"][1]["content"][0]["text"] += text

    return edit


SEEN = {"kind": "expression", "language": "en"}
BLINK = {"kind": "blink", "language": "en"}


@pytest.mark.parametrize(
    ("rule", "edit", "wanted"),
    [
        ("unit", answer("lip corner puller, brow lowerer"), SEEN | {"task": "units"}),
        ("unit", say_more(" AU4."), SEEN | {"task": "describe"}),
        ("unit", say_more("眉毛下压"), {"kind": "expression", "language": "zh", "task": "describe"}),
        ("abstain", answer("lip corner puller"), BLINK | {"task": "units"}),
        ("abstain", answer("positive"), BLINK | {"task": "coarse"}),
        ("abstain", say_more(" Perhaps AU12."), BLINK | {"task": "describe"}),
        ("abstain", lambda r: r.update(abstain=False), BLINK | {"task": "coarse"}),
        ("abstain", answer("No expression: this is a blink."), SEEN | {"task": "coarse"}),
        ("abstain", lambda r: r.update(coarse="negative"), BLINK | {"task": "coarse"}),
        ("answer", answer("negative"), SEEN | {"task": "coarse"}),
        ("answer", answer("sadness"), SEEN | {"task": "fine"}),
        ("answer", answer("right"), SEEN | {"task": "side"}),
        ("answer", lambda r: r["units"].append({"au": 4, "side": "both"}), SEEN | {"task": "units"}),
        ("answer", answer("lips"), SEEN | {"task": "shown"}),
        ("answer", answer("{}"), SEEN | {"task": "json"}),
        ("answer", say_more("}"), BLINK | {"task": "json"}),
        ("number", say_more(" chin up by 77.70 px"), SEEN | {"task": "describe"}),
        ("number", say_more(" lids down by 77.70 and 4.00 px"), BLINK | {"task": "describe"}),
        ("record", lambda r: r.pop("units"), SEEN),
        ("record", lambda r: r["messages"].pop(), SEEN),
        ("record", lambda r: r["images"].clear(), SEEN | {"task": "json"}),
        ("record", lambda r: r.update(task="guess"), SEEN),
        ("record", lambda r: r.update(subject=""), SEEN),
        ("origin", lambda r: r.update(licence=""), SEEN),
        ("subject", lambda r: r.update(split="test"), SEEN),
    ],
)
def test_what_is_said_wrongly_is_found(copy, rule, edit, wanted):
    change(copy, edit, **wanted)
    assert rule in {f.rule for f in lint(copy)}


def test_a_subject_in_two_splits_is_found(copy):
    subject = json.loads((copy / "train.jsonl").read_text().splitlines()[0])["subject"]
    change(copy, lambda r: r.update(subject=subject), split="test")
    assert {f.rule for f in lint(copy)} == {"subject"}


def test_an_id_that_comes_twice_is_found(copy):
    path = copy / "train.jsonl"
    path.write_text(path.read_text() + path.read_text().splitlines()[0] + "\n")
    (found,) = lint(copy)
    assert found.rule == "id"
    assert "train.jsonl:1" in found.message


def test_a_cut_line_is_found_and_the_others_are_still_checked(copy):
    path = copy / "train.jsonl"
    change(copy, lambda r: r.update(licence=""), split="test")
    path.write_text(path.read_text()[:-40])
    found = list(lint(copy))
    assert {f.rule for f in found} == {"record", "origin"}
    number = len(path.read_text().splitlines())
    assert found[0].where == f"train.jsonl:{number}"


@pytest.mark.parametrize(
    "damage", [lambda p: p.unlink(), lambda p: p.write_bytes(b""), lambda p: p.write_bytes(b"GIF")]
)
def test_a_missing_or_broken_image_is_found_once(copy, damage):
    damage(next((copy / "images").rglob("*.png")))
    assert [f.rule for f in lint(copy) if f.rule == "image"] == ["image"]


def test_a_name_that_tells_the_label_is_found(copy):
    record = json.loads((copy / "train.jsonl").read_text().splitlines()[0])
    old = record["images"][0]
    shutil.copy(copy / old, copy / "images" / "happiness-AU12.png")
    change(copy, lambda r: r.update(images=["images/happiness-AU12.png"]))
    assert {f.rule for f in lint(copy)} == {"leak"}


def test_every_rule_is_broken_somewhere_above():
    assert set(RULES) == {
        "record", "id", "subject", "image", "leak", "unit", "abstain", "answer", "number", "origin",
    }  # fmt: skip


def test_no_data_set_is_told(tmp_path):
    with pytest.raises(SourceNotFound, match="holds no data set"):
        list(lint(tmp_path))


def test_units_are_found_by_number_and_by_name():
    assert named("left AU12 (lip corner puller); Brow Lowerer", "en") == {12, 4}
    assert named("AU 6、嘴角上拉", "zh") == {6, 12}
    assert named("outlips parted", "en") == set()
