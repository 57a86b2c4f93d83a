from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mellm.stream.errors import SourceCorrupt, SourceEmpty, SourceNotFound, UsageError
from mellm.training.mellm.finetune.data import check_subjects, digest, read
from tests.training.mellm.finetune import tiny


def one(folder: Path, **changes: Any) -> dict[str, Any]:
    return {**tiny.record(folder, 1, "s1", "red"), **changes}


def written(folder: Path, *lines: Any) -> Path:
    path = folder / "data.jsonl"
    path.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines))
    return path


def test_a_record_with_its_picture_and_its_other_keys(tmp_path: Path) -> None:
    path = written(tmp_path, "", one(tmp_path, subject=7, task="json", licence="CC0"))
    (record,) = read(path)
    assert (record.id, record.subject, record.where) == ("r1", "7", "data.jsonl:2")
    assert record.images == (tmp_path / "images/001.png",)
    assert record.answer == tiny.ANSWERS["red"]
    assert [m["role"] for m in record.question] == ["user"]
    assert record.extra == {"task": "json", "licence": "CC0"}


def test_text_may_stand_for_a_list_of_parts_and_turns_may_go_on(tmp_path: Path) -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Units?"}]},
        {"role": "assistant", "content": "AU4"},
        {"role": "user", "content": "Class?"},
        {"role": "assistant", "content": "negative"},
    ]
    (record,) = read(written(tmp_path, one(tmp_path, messages=turns)))
    assert record.messages[2]["content"] == [{"type": "text", "text": "AU4"}]
    assert record.answer == "negative"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"subject": None}, "no subject"),
        ({"subject": True}, "no subject"),
        ({"images": "x.png"}, "not a list of paths"),
        ({"images": []}, "1 image parts in its messages and 0 paths"),
        ({"messages": []}, "messages is not a list"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "role"),
        ({"messages": [{"role": "user", "content": "x"}], "images": []}, "take turns"),
        ({"messages": [{"role": "assistant", "content": "x"}], "images": []}, "take turns"),
        ({"messages": [{"role": "user", "content": 3}]}, "content"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "'video'"),
        (
            {
                "images": [],
                "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": " "}],
            },
            "an empty answer",
        ),
    ],
)
def test_a_broken_record_is_named_by_file_and_line(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    path = written(tmp_path, one(tmp_path), one(tmp_path, id="r2", **changes))
    with pytest.raises(SourceCorrupt, match=told) as caught:
        read(path)
    assert str(caught.value).startswith("data.jsonl:2")


@pytest.mark.parametrize("line", ["{", "[" * 10_000, '"x"', "[]", "{}", '{"id": "x", "subj'])
def test_lines_that_are_no_record(tmp_path: Path, line: str) -> None:
    with pytest.raises(SourceCorrupt, match=r"data\.jsonl:1"):
        read(written(tmp_path, line))


def test_files_and_images_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="no file"):
        read(tmp_path / "none.jsonl")
    with pytest.raises(SourceEmpty):
        read(written(tmp_path, ""))
    path = written(tmp_path, one(tmp_path))
    (tmp_path / "images/001.png").unlink()
    with pytest.raises(SourceNotFound, match=r"data\.jsonl:1: its image .*001\.png is missing"):
        read(path)
    (tmp_path / "images/001.png").write_bytes(b"no picture")
    with pytest.raises(SourceCorrupt, match=r"data\.jsonl:1: its image"):
        read(path)


def test_an_id_stands_once(tmp_path: Path) -> None:
    with pytest.raises(SourceCorrupt, match=r"data\.jsonl:2: the id 'r1' stands at data\.jsonl:1"):
        read(written(tmp_path, one(tmp_path), one(tmp_path)))


def test_subjects_are_on_one_side_and_files_are_told_apart(tmp_path: Path) -> None:
    train = read(tiny.data_file(tmp_path / "a.jsonl", 3))
    check_subjects(train, read(tiny.data_file(tmp_path / "b.jsonl", 3, "b", first=10)))
    with pytest.raises(UsageError, match="'a0'"):
        check_subjects(train, train[:1])
    assert digest([tmp_path / "a.jsonl"]) != digest([tmp_path / "b.jsonl"])
