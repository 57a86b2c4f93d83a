import errno
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from mellm.clients.cli import run
from mellm.stream.errors import RunError, SourceEmpty, UsageError
from mellm.training.instruct import build as building
from mellm.training.instruct import records
from mellm.training.instruct.build import build, split_counts
from mellm.training.instruct.lint import lint
from mellm.training.instruct.records import Wording
from mellm.training.mellm.finetune.data import check_subjects, read
from tests.training.instruct import made_up
from tests.training.instruct.conftest import COUNTS, options


@pytest.fixture(autouse=True)
def cheap_people(monkeypatch):
    monkeypatch.setattr(building.pairs, "people", made_up.people)


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def lines(folder: Path, split: str) -> list[dict]:
    return [json.loads(line) for line in (folder / f"{split}.jsonl").read_text().splitlines()]


def test_counts_and_files(made):
    state = json.loads((made / "build.json").read_text())
    assert {split: c["pairs"] for split, c in state["splits"].items()} == COUNTS
    assert not (made / ".parts").exists()
    shown = {image for split in COUNTS for r in lines(made, split) for image in r["images"]}
    assert {name for name in content(made) if name.startswith("images/")} == shown
    first = lines(made, "train")[0]
    assert first["licence"] == "MIT"
    assert first["recipe"] == "live"
    picture = cv2.imdecode(
        np.frombuffer((made / first["images"][0]).read_bytes(), np.uint8), cv2.IMREAD_COLOR
    )
    assert picture.shape == (368, 320, 3)
    assert split_counts(15) == {"train": 11, "validation": 2, "test": 2}


def test_it_breaks_none_of_its_own_rules(made):
    assert list(lint(made)) == []


def test_fine_tuning_reads_it(made):
    train, test = read(made / "train.jsonl"), read(made / "test.jsonl")
    check_subjects(train, test)
    assert len(train) == len(lines(made, "train"))


def test_datasets_reads_it(made, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    found = datasets.load_dataset(
        "json", data_files=str(made / "train.jsonl"), split="train", cache_dir=str(made.parent / "cache")
    )
    assert len(found) == len(lines(made, "train"))
    assert found[0]["messages"][0]["content"][0]["type"] == "image"
    assert found[0]["images"][0].startswith("images/")


def test_same_settings_same_bytes_and_another_seed_other_people(made, tmp_path):
    build(options(tmp_path / "again"))
    assert content(tmp_path / "again") == content(made)
    build(options(tmp_path / "other", wording=Wording(seed=1)))
    theirs = {r["subject"] for r in lines(tmp_path / "other", "train")}
    assert not theirs & {r["subject"] for r in lines(made, "train")}


@pytest.mark.slow
def test_workers_change_nothing(made, tmp_path):
    build(options(tmp_path / "data", workers=2))
    assert content(tmp_path / "data") == content(made)


def test_a_stopped_build_goes_on_and_makes_nobody_twice(made, tmp_path, monkeypatch):
    out, real, begun = tmp_path / "data", records.of_pair, []

    def stop_at_the_fourth(pair, wording):
        if len(begun) == 3:
            raise KeyboardInterrupt
        begun.append(pair.id)
        return real(pair, wording)

    monkeypatch.setattr(records, "of_pair", stop_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        build(options(out))
    assert not (out / "train.jsonl").exists()
    kept = json.loads(next((out / ".parts").glob("train*.json")).read_text())
    monkeypatch.setattr(
        records, "of_pair", lambda pair, wording: begun.append(pair.id) or real(pair, wording)
    )
    build(options(out))
    assert content(out) == content(made)
    assert all(begun.count(r["pair"]) == 1 for pair in kept for r in pair["records"])
    before = len(begun)
    assert build(options(out))["train"]["pairs"] == 5
    assert len(begun) == before


def test_a_full_disk_is_told_and_leaves_no_half_file(tmp_path, monkeypatch):
    real = Path.write_bytes

    def full(path, data):
        if path.suffix == ".png" and ".part" in path.name:
            real(path, data[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(
        RunError, match=r"images/.*png cannot be written \(No space left on device\) — free some space"
    ):
        build(options(tmp_path / "data"))
    assert not [name for name in content(tmp_path / "data") if "png" in name]
    monkeypatch.undo()
    monkeypatch.setattr(building.pairs, "people", made_up.people)
    assert build(options(tmp_path / "data"))["train"]["pairs"] == 5


@pytest.mark.parametrize(
    ("more", "error", "said"),
    [
        ({"source": "casme9"}, UsageError, "no source of pairs called 'casme9'"),
        ({"source": "csv"}, UsageError, "--root"),
        ({"root": Path("x")}, UsageError, "--root"),
        ({"counts": {"training": 3}}, UsageError, "name splits of"),
        ({"counts": {"train": 0}}, SourceEmpty, "no pair"),
    ],
)
def test_what_cannot_be_built_is_refused(more, error, said, tmp_path):
    with pytest.raises(error, match=said):
        build(options(tmp_path / "data", **more))


def test_a_folder_with_something_else_is_left_alone(made, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match="not empty"):
        build(options(tmp_path))
    with pytest.raises(RunError, match=r"other settings \(recipe\)"):
        build(options(made, wording=Wording(recipe="mellm-v1")))
    assert list(content(tmp_path)) == ["letter.txt"]


def test_kinds_take_turns_where_not_all_find_room():
    kinds = ["still", "head", "blink", "gaze", "speech"]
    drawn = [made_up.pair("train", 0, n, True) for n in range(5)]
    shown = []
    for turn in range(5):
        shown += [drawn.index(p) for p in building._chosen(iter(drawn), 4, turn)]
    assert sorted(shown) == sorted([*range(len(kinds)), *range(len(kinds))])


@pytest.mark.parametrize("recipe", ["mellm-v1", "mellm-v3"])
def test_other_recipes_and_styles_keep_the_rules(recipe, tmp_path):
    wording = Wording(recipe=recipe, style="tags", languages=("zh",))
    build(options(tmp_path / "data", counts={"train": 2}, wording=wording))
    assert list(lint(tmp_path / "data")) == []
    found = lines(tmp_path / "data", "train")
    assert {r["language"] for r in found} == {"zh"}
    asked = {r["task"]: r["messages"][0]["content"] for r in found}
    assert asked["coarse"].startswith("<image>")
    assert asked["describe"].startswith("<image>") == (recipe == "mellm-v1")


def test_the_card_tells_counts_licence_and_weaknesses(made):
    text = (made / "README.md").read_text()
    assert "No spontaneous micro-expression is in it" in text
    assert "| pairs | 5 | 2 | 2 |" in text
    assert "license: mit" in text
    assert "path: validation.jsonl" in text
    assert "Lie detection" in text


def test_from_the_command_line(tmp_path, capsys):
    out = tmp_path / "data"
    arguments = ["dataset", "build", "--out", str(out), "--split-counts", "train=2,test=2", "--tasks", "json"]
    assert run([*arguments, "--language", "en", "--per-person", "2"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["splits"]["train"]["tasks"] == {"json": 2}
    assert run(["dataset", "lint", str(out)]) == 0
    (out / lines(out, "train")[0]["images"][0]).unlink()
    assert run(["dataset", "lint", str(out), "--json"]) == 3
    told = json.loads(capsys.readouterr().out)
    assert told["broken"]["image"] == 1
    assert run([*arguments, "--language", "fr"]) == 2
    assert "no language 'fr'" in capsys.readouterr().err
    assert run(["dataset", "build", "--out", str(out), "--from", "nobody"]) == 2
    assert run(["dataset", "lint", str(tmp_path / "none")]) == 3
