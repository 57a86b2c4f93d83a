"""Everybody at once: an endpoint (a stand-in), mellm-nano, the rules, a recorded MME folder, over three tasks."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import pytest

from clients.cli import run
from evaluation.compare import cli
from evaluation.compare.published import mme_rows
from evaluation.compare.types import Answer, Answers, Published, Question, Row, Table
from evaluation.metrics.mme import Answer as Line
from evaluation.metrics.mme import Pair, mme_score
from tests.engine.faces import LANDMARKS, moved, skin
from tests.evaluation.compare.made import Suite, png
from tests.evaluation.compare.stand_in import Handler, StandIn, completion, prompt_of, send

SUBTASKS = ("existence", "count", "OCR")
IMAGES = 3
ASKED = ("Is there a disc?", "Is there a cat?")
TAIL = " Please answer yes or no."


@dataclass
class DrawnMme:
    """Two questions about each of a few drawn pictures, scored by the official rule."""

    name: str = "mme"

    def questions(self) -> Iterator[Question]:
        for subtask in SUBTASKS:
            for number in range(IMAGES):
                for k, asked in enumerate(ASKED):
                    yield Question(
                        self.name,
                        f"{subtask}/{number}.png/{k}",
                        asked + TAIL,
                        (png(50 * number, text=subtask),),
                        truth=("yes", "no")[k],
                        meta={"subtask": subtask, "image": f"{number}.png"},
                    )

    def score(self, answers: Answers, published: Sequence[Published] = ()) -> tuple[Table, ...]:
        columns = (*SUBTASKS, "perception", "total")
        rows = []
        for name, by_id in answers.items():
            score = mme_score({subtask: self._pairs(subtask, by_id) for subtask in SUBTASKS})
            cells = (*(score.tasks[t].score for t in SUBTASKS), score.perception, score.total)
            rows.append(Row(name, cells))
        return (Table("score", "MME, official rule", columns, (*rows, *mme_rows(published, columns))),)

    def _pairs(self, subtask: str, by_id: dict[str, Answer]) -> list[Pair]:
        lines = [
            Line(str(q.meta["image"]), q.prompt, str(q.truth), by_id[q.id].text or "")
            for q in self.questions()
            if q.meta["subtask"] == subtask
        ]
        return list(zip(lines[::2], lines[1::2], strict=True))


@dataclass
class Faces:
    """Micro-expressions with their evidence: what mellm-nano and the rules can answer."""

    name: str = "faces"

    def questions(self) -> Iterator[Question]:
        from engine.motion_map import build

        for number, (region, shift) in enumerate(
            [("brow_inner_L", (0.0, -3.2)), ("lip_corner_R", (-2.0, -2.0))]
        ):
            evidence = build(skin(), moved(region, shift), LANDMARKS, "live")
            ok, raw = cv2.imencode(".png", evidence.motion_map)
            assert ok
            meta = {
                "domain": "Advanced Cognition",
                "subtask": "facial expression analysis",
                "duration_ms": 200,
            }
            yield Question(
                self.name,
                f"f{number}",
                "What are the action units?",
                (raw.tobytes(),),
                evidence=evidence,
                meta=meta,
            )

    def score(self, answers: Answers, published: Sequence[Published] = ()) -> tuple[Table, ...]:
        rows = [
            Row(name, (sum(a.state == "answered" for a in by_id.values()) / len(by_id),))
            for name, by_id in answers.items()
        ]
        return (Table("answered", "Answered", ("share",), tuple(rows)),)


def yes_man(handler: Handler, body: dict[str, object]) -> None:
    """Says yes to MME, and that it sees a disc to all else; refuses cats."""
    asked = prompt_of(body)
    said = (
        "I'm sorry, but I cannot help with that." if "cat" in asked else "Yes" if TAIL in asked else "A disc."
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
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    recorded_folder(folder / "sphinx-results")
    with pytest.MonkeyPatch.context() as patch, StandIn(yes_man) as server:
        patch.setattr(cli, "load_tasks", lambda settings: [Suite(nasty=False), DrawnMme(), Faces()])
        patch.setenv("WHOLE_TEST_KEY", "key-of-the-whole-test")
        file = folder / "models.toml"
        file.write_text(
            f"""
            [[contestants]]
            kind = "openai"
            name = "stand-in"
            base_url = "{server.url}"
            model = "none"
            api_key_env = "WHOLE_TEST_KEY"
            price_in = 1.0
            price_out = 2.0
            [[contestants]]
            kind = "embedded"
            [[contestants]]
            kind = "rules"
            [[contestants]]
            kind = "recorded"
            name = "Sphinx"
            path = "sphinx-results"
            [[tasks]]
            kind = "qualitative"
            [[tasks]]
            kind = "mme"
            folder = "unused"
            """
        )
        out = folder / "out"
        assert run(["compare", str(file), "--out", str(out), "--dry-run"]) == 0
        assert not out.exists()
        assert not server.requests
        assert run(["compare", str(file), "--out", str(out)]) == 0
        sent = len(server.requests)
        assert run(["compare", str(file), "--out", str(out), "--cached"]) == 0
        assert len(server.requests) == sent == 6 + 18 + 2
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
    states = {c["name"]: c["measures"]["states"] for c in data["contestants"]}
    assert states["stand-in"] == {"answered": 17, "refused": 9, "failed": 0, "unsupported": 0}
    assert states["Sphinx"] == {"answered": 18, "refused": 0, "failed": 0, "unsupported": 8}
    for name in ("mellm-nano", "rules"):
        assert states[name]["unsupported"] == 24
        assert states[name]["answered"] + states[name]["refused"] == 2
    answers = [json.loads(line) for line in (finished / "answers.jsonl").read_text().splitlines()]
    assert len(answers) == 4 * 26


def test_the_second_run_spent_nothing_and_found_no_change(finished):
    data = json.loads((finished / "report.json").read_text())
    (stand_in,) = [c["measures"] for c in data["contestants"] if c["name"] == "stand-in"]
    assert (stand_in["cached"], stand_in["cost_now"]) == (26, 0)
    assert stand_in["cost"] == pytest.approx(26 * (20 * 1.0 + 5 * 2.0) / 1e6)
    assert data["previous"] is not None
    assert data["changes"] == []
    assert "No score changed since the run of" in (finished / "report.md").read_text()


def test_refusals_are_told_where_they_were(finished):
    with (finished / "tables" / "mme-refusals.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row[""], float(row["stand-in"])) for row in rows] == [(subtask, 0.5) for subtask in SUBTASKS]


def test_no_key_is_in_any_file(finished):
    kept = b"".join(path.read_bytes() for path in finished.rglob("*") if path.is_file())
    assert b"key-of-the-whole-test" not in kept
