from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.evaluation.metrics.errors import MetricsError, RowError
from mellm.evaluation.metrics.mme import (
    COGNITION,
    IMAGES,
    PARSERS,
    PERCEPTION,
    TASKS,
    Answer,
    Pair,
    mme_score,
    read_results,
)

# the published leaderboard: sub-tasks in the order of TASKS, then perception, cognition
PUBLISHED = {
    "Gemini Pro": (
        (175, 131.67, 90, 163.33, 164.97, 147.35, 144.75, 158.75, 135.75, 185, 129.29, 77.5, 145, 85),
        (1496.57, 436.79, 1933.4),
    ),
    "GPT-4V": (
        (190, 160, 95, 150, 192.18, 0, 151, 138.25, 148, 185, 142.14, 130, 75, 170),
        (1409.43, 517.14, 1926.6),
    ),
    "Sphinx": (
        (195, 160, 153.33, 160, 164.29, 177.94, 160, 168.09, 134, 87.5, 130, 55, 75, 50),
        (1560.15, 310, 1870.2),
    ),
}


def pair(first: str, second: str, image: str = "a.jpg") -> Pair:
    return Answer(image, "Is it? Please answer yes or no.", "yes", first), Answer(image, "No?", "no", second)


def with_score(score: float, images: int) -> list[Pair]:
    """Answers whose sub-task score is the published one: b images right, s with one answer right, the rest wrong."""
    points = score * images / 50  # 100·(2b+s)/(2n) + 100·b/n = 50·(4b+s)/n
    whole = round(points)
    assert abs(points - whole) < 0.005 * images / 50 + 1e-9, f"{score} is no score of {images} images"
    both = next(b for b in range(whole // 4, -1, -1) if b + whole - 4 * b <= images)
    single = whole - 4 * both
    rest = images - both - single
    return [pair("Yes", "No")] * both + [pair("Yes", "Yes")] * single + [pair("No", "Yes")] * rest


SCORED = {("Sphinx", "landmark"): 199}
"""168.09 is no score of 200 images, but it is one of 199: an image was left out there."""


@pytest.mark.parametrize("model", PUBLISHED)
def test_published_scores_add_up(model: str) -> None:
    scores, (perception, cognition, total) = PUBLISHED[model]
    published = dict(zip(TASKS, scores, strict=True))
    rows = {name: with_score(s, SCORED.get((model, name), IMAGES[name])) for name, s in published.items()}
    found = mme_score(rows)
    assert {name: task.score for name, task in found.tasks.items()} == pytest.approx(published, abs=0.005)
    assert found.perception == pytest.approx(perception, abs=0.011)
    assert found.cognition == pytest.approx(cognition, abs=0.011)
    assert found.total == pytest.approx(total, abs=0.06)
    assert not found.missing


def test_the_benchmark_has_its_size() -> None:
    assert (len(PERCEPTION), len(COGNITION), sum(IMAGES.values())) == (10, 4, 1187)


@pytest.mark.parametrize(
    ("response", "official", "lmms_eval", "vlmevalkit"),
    [
        ("Yes", "yes", "yes", "yes"),
        ("No.", "no", "no", "no"),
        ("no, it is not", "no", "no", "no"),
        ("  Yes", "other", "yes", "yes"),
        ("Not sure", "no", "no", "other"),
        ("None of them", "no", "no", "other"),
        ("The answer is yes", "other", "other", "yes"),
        ("**Yes**", "other", "other", "other"),
        ("Y", "other", "yes", "other"),
        ("n.", "other", "no", "other"),
        ("Yes or no", "yes", "yes", "other"),
        ("yes/no", "yes", "yes", "other"),
        ("(Yes)", "yes", "yes", "yes"),
        ("I know: yes", "other", "other", "yes"),
        ("", "other", "other", "other"),
        ("Yesterday", "yes", "yes", "other"),
        ("1,000 people: yes!", "other", "other", "yes"),
        ("well,yes", "other", "other", "yes"),
        ("yes,of 1,000", "yes", "yes", "other"),
    ],
)
def test_parsers(response: str, official: str, lmms_eval: str, vlmevalkit: str) -> None:
    assert [read(response) for read in PARSERS.values()] == [official, lmms_eval, vlmevalkit]


def test_scores_by_hand() -> None:
    rows = {"OCR": [pair("Yes", "No"), pair("yes", "yes"), pair("maybe", "no"), pair("No", "Yes")]}
    score = mme_score(rows)
    task = score.tasks["OCR"]
    assert (task.acc, task.acc_plus, task.score, task.other) == (4 / 8, 1 / 4, 75, 1)
    assert (score.perception, score.cognition, score.total) == (75, 0, 75)
    assert len(score.missing) == 13
    assert score.as_dict()["tasks"]["OCR"]["acc_plus"] == 0.25


@given(
    st.lists(st.tuples(*[st.sampled_from(["Yes", "No", "?"])] * 2), min_size=1),
    st.sampled_from(list(PARSERS)),
)
def test_bounds_and_order(responses: list[tuple[str, str]], parser: str) -> None:
    pairs = [pair(a, b) for a, b in responses]
    score = mme_score({"count": pairs}, parser).tasks["count"]
    assert 0 <= score.acc_plus <= score.acc <= 1
    assert score.score <= 200
    assert mme_score({"count": pairs[::-1]}, parser).tasks["count"] == score


def test_two_successive_lines_are_a_pair_whatever_the_image_is_called(tmp_path: Path) -> None:
    lines = ["1.jpg\tq\tYes\tYes", "1.jpg\tq\tNo\tNo", "1.jpg\tr\tYes\tNo", "1.jpg\tr\tNo\tNo"]
    (tmp_path / "ocr.TXT").write_text("\ufeff" + "\r\n".join(lines) + "\r\n\n", encoding="utf-8")
    (tmp_path / "readme.txt").write_text("hello")
    results = read_results(tmp_path)
    task = mme_score(results).tasks["OCR"]
    assert (task.images, task.right, task.both) == (2, 3, 1)
    assert any("readme.txt is not a sub-task" in note for note in results.notes)
    assert any("celebrity.txt is missing" in note for note in results.notes)
    assert any("2 images, MME has 20" in note for note in results.notes)


def test_odd_pairs_are_scored_and_told(tmp_path: Path) -> None:
    lines = ["1.jpg\tq\tYes\tYes", "1.jpg\tq\tNo\tNo", "2.jpg\tq\tYes\tYes", "3.jpg\tq\tYes\tYes"]
    (tmp_path / "scene.txt").write_text("\n".join(lines))
    notes = read_results(tmp_path).notes
    assert any("1 pairs of lines name two images (the first in line 3)" in note for note in notes)
    assert any("1 pairs have the same truth twice" in note for note in notes)
    assert any("1 lines repeat an image and its question" in note for note in notes)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (b"1.jpg\tq\tYes\n", 1, "3 columns"),
        (b"1.jpg\tq\tYes\tYes\n1.jpg\tq\tNo\tNo\tNo\n", 2, "5 columns"),
        (b"1.jpg\tq\tYes\tYes\n\n1.jpg\tq\tNo\tNo\n", 2, "1 columns"),
        (b"1.jpg\tq\tYes\tYes\n1.jpg\tq\tMaybe\tNo\n", 2, "'Maybe'"),
        (b"1.jpg\tq\tYes\tYes\n1.jpg\tq\tNo\tNo\n2.jpg\tq\tNo\tNo\n", 3, "one line"),
        (b"1.jpg\tq\tYes\tYes\n1.jpg\tq\tNo\t\xff\n", 2, "UTF-8"),
        (b"\n\n", 1, "empty"),
    ],
)
def test_wrong_rows_name_file_and_line(tmp_path: Path, text: bytes, line: int, said: str) -> None:
    (tmp_path / "count.txt").write_bytes(text)
    with pytest.raises(RowError, match=said) as caught:
        read_results(tmp_path)
    assert caught.value.line == line
    assert caught.value.file.endswith("count.txt")


def test_wrong_folders_and_parsers(tmp_path: Path) -> None:
    with pytest.raises(MetricsError, match="not a folder"):
        read_results(tmp_path / "gone")
    with pytest.raises(MetricsError, match="no file of a sub-task"):
        read_results(tmp_path)
    with pytest.raises(MetricsError, match="no MME parser 'mine'"):
        mme_score({"OCR": [pair("yes", "no")]}, "mine")
    with pytest.raises(MetricsError, match="no answers of OCR"):
        mme_score({"OCR": []})
