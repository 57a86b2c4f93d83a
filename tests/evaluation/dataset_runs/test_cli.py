"""The three verbs on a data set with pictures, from nothing to the tables, and on again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mellm.clients.cli import run
from tests.evaluation.dataset_runs.made import casme2

pytestmark = pytest.mark.usefixtures("models")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return casme2(tmp_path_factory.mktemp("casme2"))


def report(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return found


def rows(out: Path) -> dict[str, dict[str, Any]]:
    lines = (out / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["key"]: row for row in map(json.loads, lines)}


def test_spotting_finds_what_is_there_and_goes_on_where_it_stopped(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # the pictures were taken at 50 frames a second, whatever the release that the shape is borrowed from says
    command = [
        "eval",
        "spotting",
        "--dataset",
        "casme2",
        "--root",
        str(root),
        "--fps",
        "50",
        "--out",
        str(tmp_path),
    ]
    assert run(command) == 0
    assert "casme2" in capsys.readouterr().out
    found = report(tmp_path)
    micro = found["scores"]["casme2"]["micro"]
    assert (micro["tp"], micro["fp"]) == (3, 0)
    assert micro["fn"] == 2  # in recordings that have no pictures: missed, not left out
    assert found["thresholds"][0]["chosen_on"].startswith("nothing")
    states = {key: row["state"] for key, row in rows(tmp_path).items()}
    assert list(states.values()).count("failed") == 2
    for name in ("tables.md", "matches.csv", "tables"):
        assert (tmp_path / name).exists()
    assert list(tmp_path.rglob("*.png"))
    assert list(tmp_path.rglob("*.tex"))
    before = (tmp_path / "rows.jsonl").read_bytes()
    assert run([*command, "--tune", "loso", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert (tmp_path / "rows.jsonl").read_bytes() == before
    assert any("other subjects" in choice["chosen_on"] for choice in again["thresholds"])


def test_recognition_counts_every_clip_with_a_class(root: Path, tmp_path: Path) -> None:
    command = [
        "eval",
        "recognition",
        "--dataset",
        f"casme2={root}",
        "--out",
        str(tmp_path),
        "--describer",
        "nano",
    ]
    assert run(command) == 0
    found = report(tmp_path)
    coarse = found["coarse"]["casme2"]
    assert coarse["rows"] == 4  # "others" has no coarse class
    assert coarse["unparsable"] >= 1  # the clip without an apex
    assert coarse["per_class"]["positive"]["f1"] == 1
    assert found["weights"][0]["chosen_on"].startswith("nothing")


def test_understanding_scores_units_and_questions(root: Path, tmp_path: Path) -> None:
    command = ["eval", "understanding", "--dataset", "casme2", "--root", str(root), "--out", str(tmp_path)]
    assert run([*command, "--describer", "rules", "--apex-policy", "midpoint"]) == 0
    found = report(tmp_path)
    assert found["units"]["casme2"]["set_f1"] > 0.5
    assert found["questions"]["casme2"]["yes_no"]["accuracy_extracted"] > 0.5
    prior = found["never_looking"]["questions"]["casme2"]
    assert prior["rows"] == found["questions"]["casme2"]["rows"]
    assert set(found["never_looking"]["units"]) == {"casme2"}
    beaten = found["units"]["casme2"]["macro_f1"] > found["never_looking"]["units"]["casme2"]["macro_f1"]
    assert beaten != any("units macro F1" in sentence for sentence in found["no_better_than_never_looking"])
    assert "prior only" in (tmp_path / "tables.md").read_text()
    assert found["datasets"]["casme2"]["repairs"]["apex-filled"] == 1
    assert (tmp_path / "answers.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--dataset", "casme2"], 2, "no folder for casme2"),
        (["--dataset", "casme9=."], 3, "there is no data set 'casme9'"),
        (["--dataset", "casme2=.", "--fps", "0"], 2, "frames a second"),
        (["--dataset", "casme2=nowhere"], 3, "is not a folder"),
    ],
)
@pytest.mark.parametrize("verb", ["spotting", "recognition", "understanding"])
def test_what_cannot_be_run_is_one_line(
    verb: str, arguments: list[str], code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["eval", verb, *arguments, "--out", str(tmp_path / "out")]) == code
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_rows_of_other_settings_are_not_mixed_in(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["eval", "recognition", "--dataset", f"casme2={root}", "--out", str(tmp_path), "--limit", "1"]
    assert run([*command, "--describer", "rules"]) == 0
    capsys.readouterr()
    assert run([*command, "--describer", "nano"]) == 6
    assert "rows of other settings" in capsys.readouterr().err
