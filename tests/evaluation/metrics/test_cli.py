"""The verb itself: what it prints where, and with which code it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mellm.clients.cli import run

VIDEOS = {
    "videos": [
        {"video": "a", "subject": "s1", "pred": [[0, 9], [50, 59]], "gt": [[0, 9]]},
        {"video": "b", "subject": "s1", "pred": [], "gt": [[10, 19], [30, 39]]},
        {"video": "c", "subject": "s2", "pred": [[5, 9]], "gt": []},
        {"video": "d", "subject": "s3", "pred": [[100, 109], [101, 110]], "gt": [[100, 110]]},
    ]
}


@pytest.fixture
def metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, **files: Any) -> tuple[int, str, str]:
        for name, content in files.items():
            text = content if isinstance(content, str) else json.dumps(content)
            Path(name.replace("_", ".")).write_text(text)
        code = run(["eval", "metrics", *arguments])
        return code, *capsys.readouterr()

    return call


def test_help_names_every_kind(metrics: Any) -> None:
    code, out, err = metrics("--help")
    assert (code, err) == (0, "")
    for kind in ("spotting", "recognition", "strs", "moments", "units", "vqa", "mme"):
        assert f"  {kind} " in out


def test_spotting_prints_one_object(metrics: Any) -> None:
    code, out, err = metrics("spotting", "--cases", "v.json", "--json", v_json=VIDEOS)
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "kind": "spotting",
        "tp": 2,
        "fp": 3,
        "fn": 2,
        "precision": 0.4,
        "recall": 0.5,
        "f1": pytest.approx(4 / 9),
        "videos": 4,
        "iou": 0.5,
        "notes": [],
    }


def test_spotting_tells_types_apart(metrics: Any) -> None:
    head = "video,onset,offset,type\n"
    out = metrics(
        *("spotting", "--pred", "p.csv", "--truth", "t.csv", "--json"),
        p_csv=head + "a,0,9,me\na,50,59,mae\n",
        t_csv=head + "a,0,9,mae\na,50,59,mae\n",
    )[1]
    found = json.loads(out)
    assert found["tp"] == 2  # types are not asked for by the pooled rule
    assert [found["by_type"]["me"][k] for k in ("tp", "fp", "fn")] == [0, 1, 0]
    assert [found["by_type"]["mae"][k] for k in ("tp", "fp", "fn")] == [1, 0, 1]


def test_the_bootstrap_says_what_it_draws(metrics: Any) -> None:
    arguments = ("spotting", "v.json", "--json", "--bootstrap", "50")
    found = json.loads(metrics(*arguments, v_json=VIDEOS)[1])["bootstrap"]
    assert (found["over"], found["of"]) == ("subjects", 3)
    low, high = found["intervals"]["f1"]
    assert 0 <= low <= 4 / 9 <= high <= 1
    plain = {"videos": [{k: v for k, v in video.items() if k != "subject"} for video in VIDEOS["videos"]]}
    code, out, err = metrics(*arguments, v_json=plain)
    assert (code, json.loads(out)["bootstrap"]["over"]) == (0, "videos")
    assert "draws videos" in err
    out = metrics(
        "spotting", "v.json", "--bootstrap", "9", "--json", v_json={"videos": VIDEOS["videos"][:1]}
    )[1]
    assert json.loads(out)["bootstrap"]["intervals"]["f1"] is None


def test_tables_for_people_and_notes_beside_them(metrics: Any) -> None:
    labels = {"gt": ["a", "b", "a", "c"], "pred": ["a", "b", None, "zz"]}
    code, out, err = metrics("recognition", "--cases", "l.json", l_json=labels)
    assert code == 0
    assert "uf1         0.5556" in out
    assert err.splitlines() == [
        "note: 1 rows without an answer, counted wrong",
        "note: labels that no truth has, counted wrong: 'zz' (1)",
    ]


def test_strs_moments_and_units(metrics: Any) -> None:
    head = "subject,video,onset,offset,emotion\n"
    truth = head + "1,a,0,9,happy\n2,b,0,9,sad\n"
    code, out, _ = metrics(
        *("strs", "--pred", "p.csv", "--truth", "t.csv", "--json", "--bootstrap", "20"),
        t_csv=truth,
        p_csv=head + "1,a,1,9,happy\n2,b,50,59,sad\n",
    )
    found = json.loads(out)
    assert (code, found["strs"], found["f1_spotting"], found["f1_analysis"]) == (0, 0.5, 0.5, 1)
    assert found["bootstrap"]["over"] == "subjects"
    rows = "id,onset,apex,offset\n1,5,7,9\n"
    out = metrics(
        *("moments", "--pred", "p.csv", "--truth", "t.csv", "--json", "--fps", "100"),
        t_csv=rows,
        p_csv=rows.replace("7", "9"),
    )[1]
    found = json.loads(out)
    assert (found["unit"], found["apex"]["mae"], found["onset"]["mae"], found["iou"]) == ("ms", 20, 0, 1)
    out = metrics(
        *("units", "--cases", "c.json", "--json", "--units", "1,4"),
        c_json={"gt": [[1], [4]], "pred": [[1], [12]]},
    )[1]
    found = json.loads(out)
    assert (found["binary_f1"], found["jaccard"], found["foreign"]) == (0.5, 0.5, {"12": 1})


def test_mme_takes_a_folder(metrics: Any, tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "OCR.txt").write_text("1\tq\tYes\tThe answer is yes\n1\tq\tNo\tNo\n")
    code, out, err = metrics("mme", "r", "--json", "--bootstrap", "10")
    found = json.loads(out)
    assert code == 0
    assert found["tasks"]["OCR"] == {
        "acc": 0.5,
        "acc_plus": 0,
        "score": 50,
        "images": 1,
        "questions": 2,
        "other": 1,
    }
    assert (found["perception"], found["cognition"], found["total"], found["complete"]) == (50, 0, 50, False)
    assert "existence.txt is missing" in err
    assert json.loads(metrics("mme", "--pred", "r", "--json", "--parser", "vlmevalkit")[1])["total"] == 200
    assert "OCR" in metrics("mme", "r")[1]


def test_questions_with_the_variant_of_each_number(metrics: Any) -> None:
    asked = "What is the coarse expression class?"
    rows = [
        {"subject": "s1", "id": 1, "question": asked, "answer": "negative", "prediction": "Negative."},
        {"subject": "s2", "id": 2, "question": "Is it? ", "answer": "yes", "prediction": ""},
        {"subject": "s3", "id": 3, "question": asked, "answer": "positive", "prediction": "who knows"},
    ]
    code, out, err = metrics("vqa", "q.json", "--json", "--bootstrap", "20", q_json=rows)
    found = json.loads(out)
    assert code == 0
    assert (found["coarse_uf1_exact"], found["coarse_uf1_extracted"], found["yes_no_accuracy"]) == (0, 0.5, 0)
    assert found["text"]["rouge1_f1"]["variant"].startswith("rouge-score ")
    assert found["bootstrap"]["intervals"]["coarse_uf1_extracted"] == [0, 1]
    assert err.splitlines() == [
        "note: 1 questions without an answer, counted wrong",
        "note: 1 answers to coarse questions name no class, or several; counted wrong",
    ]


def test_other_scorers_are_reported_beside_ours(metrics: Any) -> None:
    out = metrics("spotting", "v.json", "--json", "--compat", v_json=VIDEOS)[1]
    found = json.loads(out)
    assert found["tp"] == 2
    (strs,) = [c for c in found["compat"] if c["scorer"] == "genbing99/STRS-Metric"]
    assert strs["values"]["tp"] == 3
    assert "every overlapping pair" in strs["why"]
    out = metrics("recognition", "l.json", "--compat", l_json={"gt": ["a"], "pred": ["a"], "folds": [1]})[1]
    assert "mean over folds: uf1 1.0000  uar 1.0000" in out
    rows = "id,onset,apex,offset\n1,5,7,9\n"
    out = metrics(*("moments", "--pred", "p.csv", "--truth", "t.csv", "--compat"), t_csv=rows, p_csv=rows)[1]
    assert "no other scorer is known for this" in out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("spotting",), 3, "no predictions"),
        (("spotting", "gone.json"), 3, "gone.json cannot be read"),
        (("spotting", "v.json", "--pred", "v.json"), 2, "both v.json and an option"),
        (("spotting", "v.json", "--iou", "0"), 3, "threshold 0.0"),
        (("spotting", "v.json", "--iou", "nan"), 3, "threshold nan"),
        (("mme", "v.json"), 3, "is not a folder"),
        (("mme", ".", "--truth", "v.json"), 3, "name the folder alone"),
        (("units", "v.json", "--units", "one"), 2, "--units 'one'"),
        (("spot", "v.json"), 2, "'spot' is not one of"),
        (("strs", "v.json"), 3, "v.json has no list 'pred'"),
    ],
)
def test_wrong_usage_is_one_line(metrics: Any, arguments: tuple[str, ...], code: int, said: str) -> None:
    got, out, err = metrics(*arguments, v_json=VIDEOS)
    assert (got, out) == (code, "")
    assert err.startswith("mellm: error: ")
    assert err.count("\n") == 1
    assert said in err
