"""Everybody at once: an endpoint (a stand-in), mellm-nano, the rules, a recorded MME folder, over all four tasks.

The suite is the shipped one, the clips are the shipped sample in the shape of a release; MME and the challenge are
drawn.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from mellm.clients.cli import run
from tests.evaluation.compare.made import png
from tests.evaluation.compare.stand_in import Handler, StandIn, completion, prompt_of, send
from tests.evaluation.dataset_runs.made import casme2
from tests.evaluation.datasets.made import pictures

SUBTASKS = ("existence", "count", "OCR")
PLACES = tuple(f"MME perception · {subtask}" for subtask in SUBTASKS)
IMAGES = 3
SAMPLES, MME, CHALLENGE, CLIPS = 56, 18, 2, 3
QUESTIONS = SAMPLES + MME + CHALLENGE + CLIPS
ASKED = ("Is there a disc?", "Is there a cat?")
TAIL = " Please answer yes or no."


def drawn_mme(folder: Path) -> Path:
    """The benchmark's own layout: pictures, and a text file of two questions beside each."""
    for subtask in SUBTASKS:
        (folder / subtask).mkdir(parents=True)
        for number in range(IMAGES):
            (folder / subtask / f"{number}.png").write_bytes(png(50 * number, text=subtask))
            lines = [f"{asked}{TAIL}\t{('Yes', 'No')[k]}\n" for k, asked in enumerate(ASKED)]
            (folder / subtask / f"{number}.txt").write_text("".join(lines))
    return folder


def challenge(folder: Path) -> Path:
    """Questions of the challenge about one clip, its pictures beside them."""
    pictures(folder / "media" / "006" / "006_1_2", [f"006_{k:05d}.jpg" for k in range(100, 120)])
    clip = {"dataset": "samm", "subject": 6, "filename": "006_1_2", "onset_frame": 105, "offset_frame": 113}
    asked = [
        {"question": "What is the coarse expression class?", "answer": "negative"},
        {"question": "Is the action unit brow lowerer shown on the face?", "answer": "yes"},
    ]
    lines = [json.dumps({"id": str(number), **clip, **each}) for number, each in enumerate(asked)]
    (folder / "questions.jsonl").write_text("\n".join(lines))
    return folder


def yes_man(handler: Handler, body: dict[str, object]) -> None:
    """Says yes to MME, and that it sees a disc to all else; refuses cats."""
    asked = prompt_of(body)
    said = (
        "I'm sorry, but I cannot help with that."
        if "there a cat" in asked
        else "Yes"
        if TAIL in asked
        else "A disc."
    )
    send(handler, 200, completion(said))


def recorded_folder(folder: Path) -> Path:
    """Official result files, all right but one answer."""
    folder.mkdir()
    for subtask in SUBTASKS:
        lines = []
        for number in range(IMAGES):
            for k, asked in enumerate(ASKED):
                right = ("Yes", "No")[k]
                said = "No" if (subtask, number, k) == ("count", 1, 0) else right
                lines.append(f"{number}.png\t{asked}{TAIL}\t{right}\t{said}\n")
        (folder / f"{subtask}.txt").write_text("".join(lines))
    return folder


@pytest.fixture(scope="module")
def finished(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    recorded_folder(folder / "sphinx-results")
    drawn_mme(folder / "MME")
    challenge(folder / "challenge")
    casme2(folder / "CASME2")
    with pytest.MonkeyPatch.context() as patch, StandIn(yes_man) as server:
        patch.setenv("WHOLE_TEST_KEY", "key-of-the-whole-test")
        file = folder / "models.toml"
        file.write_text(
            f"""
            [[systems]]
            kind = "openai"
            name = "stand-in"
            base_url = "{server.url}"
            model = "none"
            api_key_env = "WHOLE_TEST_KEY"
            price_in = 1.0
            price_out = 2.0
            [[systems]]
            kind = "embedded"
            [[systems]]
            kind = "rules"
            [[systems]]
            kind = "recorded"
            name = "Sphinx"
            path = "sphinx-results"
            [[tasks]]
            kind = "qualitative"
            [[tasks]]
            kind = "mme"
            folder = "MME"
            [[tasks]]
            kind = "vqa"
            file = "challenge/questions.jsonl"
            media = "challenge/media"
            [[tasks]]
            kind = "understanding"
            dataset = "casme2"
            root = "CASME2"
            """
        )
        out = folder / "out"
        assert run(["compare", str(file), "--out", str(out), "--dry-run"]) == 0
        assert not out.exists()
        assert not server.requests
        assert run(["compare", str(file), "--out", str(out)]) == 0
        sent = len(server.requests)
        assert run(["compare", str(file), "--out", str(out), "--cached"]) == 0
        assert len(server.requests) == sent == QUESTIONS
    return out


def test_scores_stand_beside_the_published_ones(finished):
    with (finished / "tables" / "mme-score.csv").open(newline="") as file:
        rows = {row[""]: row for row in csv.DictReader(file)}
    assert list(rows) == [
        "stand-in",
        "mellm-nano",
        "rules",
        "Sphinx",
        "Gemini Pro",
        "GPT-4V",
        "Sphinx (published)",
    ]
    assert float(rows["stand-in"]["total"]) == pytest.approx(3 * 50)  # yes to one of two, never both
    assert float(rows["Sphinx"]["count"]) == pytest.approx(100 * 5 / 6 + 100 * 2 / 3)
    assert float(rows["Sphinx (published)"]["count"]) == 160
    assert rows["GPT-4V"]["total"] == "1926.57"
    assert float(rows["rules"]["total"]) == 0


def test_everybody_ended_every_question_in_one_state(finished):
    data = json.loads((finished / "report.json").read_text())
    states = {c["name"]: c["measures"]["states"] for c in data["systems"]}
    assert states["stand-in"] == {"answered": QUESTIONS - 9, "refused": 9, "failed": 0, "unsupported": 0}
    assert states["Sphinx"] == {"answered": MME, "refused": 0, "failed": 0, "unsupported": QUESTIONS - MME}
    for name in ("mellm-nano", "rules"):
        assert states[name]["unsupported"] == QUESTIONS - CLIPS
        assert states[name]["answered"] + states[name]["refused"] == CLIPS
    answers = [json.loads(line) for line in (finished / "answers.jsonl").read_text().splitlines()]
    assert len(answers) == 4 * QUESTIONS


def test_every_domain_and_every_task_has_its_tables(finished):
    names = {path.stem for path in (finished / "tables").glob("*.csv")}
    assert {name.partition("-")[0] for name in names} >= {"qualitative", "mme", "vqa", "understanding"}
    report = (finished / "report.md").read_text()
    for domain in (
        "Fundamental Perception",
        "Advanced Cognition",
        "Challenging Vision",
        "Expert Capacity",
    ):
        assert domain in report
    page = (finished / "report.html").read_text()
    assert "A disc." in page


def test_the_second_run_spent_nothing_and_found_no_change(finished):
    data = json.loads((finished / "report.json").read_text())
    (stand_in,) = [c["measures"] for c in data["systems"] if c["name"] == "stand-in"]
    assert (stand_in["cached"], stand_in["cost_now"]) == (QUESTIONS, 0)
    assert stand_in["cost"] == pytest.approx(QUESTIONS * (20 * 1.0 + 5 * 2.0) / 1e6)
    assert data["previous"] is not None
    assert data["changes"] == []
    assert "No score changed since the run of" in (finished / "report.md").read_text()


def test_refusals_are_told_where_they_were(finished):
    with (finished / "tables" / "mme-refusals.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row[""], float(row["stand-in"])) for row in rows] == [(name, 0.5) for name in PLACES]


def test_no_key_is_in_any_file(finished):
    kept = b"".join(path.read_bytes() for path in finished.rglob("*") if path.is_file())
    assert b"key-of-the-whole-test" not in kept
