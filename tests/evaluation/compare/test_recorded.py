"""Answers that are there already: MME folders, JSONL, and files that are neither."""

from __future__ import annotations

import json

import pytest

from mellm.evaluation.compare import recorded
from mellm.evaluation.compare.config import RecordedSystem
from mellm.evaluation.compare.types import Answer, Question
from mellm.evaluation.metrics.errors import MetricsError, RowError
from mellm.stream.errors import RunError

MME = (
    "0001.jpg\tIs there a dog? Please answer yes or no.\tYes\tYes, there is.\n"
    "0001.jpg\tIs there a cat? Please answer yes or no.\tNo\tno\n"
    "0002.jpg\tIs this Ada? Please answer yes or no.\tYes\tI'm sorry, but I cannot identify people.\n"
    "0002.jpg\tIs this Bea? Please answer yes or no.\tNo\t\n"
)


def settings(path, **changes):
    return RecordedSystem(**{"kind": "recorded", "name": "Sphinx", "path": path, **changes})


async def ask(system, *questions: Question) -> list[Answer]:
    return [await system.ask(q) for q in questions]


def mme_question(prompt: str, image: str = "0001.jpg", subtask: str = "existence") -> Question:
    return Question("mme", f"{image} {prompt}", prompt, meta={"subtask": subtask, "image": image})


async def test_an_mme_folder_is_found_by_subtask_image_and_question(tmp_path):
    (tmp_path / "existence.txt").write_text(MME)
    system = recorded.make(settings(tmp_path))
    dog, cat, bare, ada, bea, other_image, other_task = await ask(
        system,
        mme_question("Is there a dog? Please answer yes or no."),
        mme_question("Is there a  CAT?  Please answer yes or no. "),
        mme_question("Is there a dog?"),
        mme_question("Is this Ada? Please answer yes or no.", "0002.jpg"),
        mme_question("Is this Bea? Please answer yes or no.", "0002.jpg"),
        mme_question("Is there a dog? Please answer yes or no.", "0003.jpg"),
        mme_question("Is there a dog? Please answer yes or no.", subtask="count"),
    )
    assert [a.text for a in (dog, cat, bare)] == ["Yes, there is.", "no", "Yes, there is."]
    assert (dog.system, dog.task, dog.cached, dog.latency_s) == ("Sphinx", "mme", True, None)
    assert (ada.state, ada.reason) == ("refused", "phrase")
    assert (bea.state, bea.text) == ("answered", "")
    assert {(a.state, a.reason) for a in (other_image, other_task)} == {("unsupported", "not_recorded")}


async def test_jsonl_is_found_by_task_and_id(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [
        {"id": "1", "answer": "yes", "task": "t"},
        {"id": 2, "answer": "half", "cut": True, "latency_s": 2, "tokens_in": 5, "tokens_out": 6},
        {"id": "3", "answer": None},
        {"id": "4", "answer": "Sorry, I can't help with that."},
        {"id": "5", "answer": None, "state": "refused", "reason": "content_filter"},
        {"id": "6", "answer": "Sorry, I can't help with that.", "state": "answered"},
    ]
    path.write_text("\ufeff" + "\n\n".join(json.dumps(row) for row in rows))
    system = recorded.make(settings(path, model="ignored"))
    found = await ask(system, *(Question("t", str(n), "?") for n in range(1, 8)))
    assert [(a.state, a.reason) for a in found] == [
        ("answered", None),
        ("answered", None),
        ("failed", "no_answer"),
        ("refused", "phrase"),
        ("refused", "content_filter"),
        ("answered", None),
        ("unsupported", "not_recorded"),
    ]
    assert (found[1].cut, found[1].latency_s, found[1].tokens_in, found[1].tokens_out) == (True, 2.0, 5, 6)
    (other,) = await ask(system, Question("another", "1", "?"))
    assert other.state == "unsupported"


@pytest.mark.parametrize("key", ["system", "contestant"])
async def test_one_model_of_a_file_with_many(tmp_path, key):
    path = tmp_path / "a.jsonl"
    path.write_text(
        f'{{"id": "1", "answer": "a", "{key}": "A"}}\n{{"id": "1", "answer": "b", "{key}": "B"}}\n'
    )
    (answer,) = await ask(recorded.make(settings(path, model="B")), Question("t", "1", "?"))
    assert answer.text == "b"
    with pytest.raises(RowError, match="line 2: a second answer to '1'"):
        recorded.make(settings(path))
    with pytest.raises(MetricsError, match="holds no answers of C"):
        recorded.make(settings(path, model="C"))


async def test_answers_to_one_task_only(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "1", "answer": "a"}\n')
    mine, other = await ask(
        recorded.make(settings(path, task="t")), Question("t", "1", "?"), Question("u", "1", "?")
    )
    assert (mine.state, other.state) == ("answered", "unsupported")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nonsense", "line 2: this is no JSON"),
        ("[1]", "line 2: no object with id and answer"),
        ('{"id": "2"}', "line 2: no object with id and answer"),
        ('{"id": "2", "answer": 3}', "line 2: answer is 3, not text"),
        ('{"id": "2", "answer": "x", "latencey": 1}', "line 2: unknown key 'latencey'"),
        ('{"id": "2", "answer": "x", "latency_s": NaN}', "line 2: latency_s is nan"),
        ('{"id": "2", "answer": "x", "tokens_in": 1.5}', "line 2: tokens_in is 1.5"),
        ('{"id": "2", "answer": "x", "tokens_in": true}', "line 2: tokens_in is True"),
        ('{"id": "2", "answer": "x", "state": "lost"}', "line 2: state 'lost' is none of"),
        ('{"id": "2", "answer": null, "state": "answered"}', "line 2: an answer without text"),
        ('{"id": "1", "answer": "x"}', "line 2: a second answer"),
        ("[" * 100_000, "line 2: this is no JSON"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path, line, said):
    (tmp_path / "a.jsonl").write_text('{"id": "1", "answer": "yes"}\n' + line + "\n")
    with pytest.raises(RowError, match=said):
        recorded.make(settings(tmp_path / "a.jsonl"))


def test_files_that_are_not_there_or_no_text(tmp_path):
    with pytest.raises(MetricsError, match="no file or folder"):
        recorded.make(settings(tmp_path / "none"))
    (tmp_path / "a.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MetricsError, match="no UTF-8"):
        recorded.make(settings(tmp_path / "a.jsonl"))
    (tmp_path / "a.jsonl").write_bytes(b"\n")
    with pytest.raises(MetricsError, match="holds no answers"):
        recorded.make(settings(tmp_path / "a.jsonl"))
    with pytest.raises(MetricsError):
        recorded.make(settings(tmp_path))


async def test_what_a_run_writes_can_be_read_as_a_record(tmp_path):
    given = [
        Answer(
            "a",
            "t",
            "1",
            "answered",
            "é\u2028\ud83d",
            cut=True,
            latency_s=0.5,
            tokens_in=1,
            tokens_out=2,
            tries=3,
        ),
        Answer("a", "t", "2", "refused", None, reason="content_filter"),
        Answer("a", "t", "3", "failed", reason="timeout", error="too late"),
        Answer("b", "t", "1", "answered", "other"),
    ]
    path = recorded.save(tmp_path / "answers.jsonl", given)
    found = await ask(
        recorded.make(settings(path, model="a")), *(Question("t", str(n), "?") for n in (1, 2, 3))
    )
    assert [(a.state, a.text, a.reason, a.error, a.cut) for a in found] == [
        ("answered", "é\u2028?", None, None, True),
        ("refused", None, "content_filter", None, False),
        ("failed", None, "timeout", "too late", False),
    ]
    with pytest.raises(RunError):
        recorded.save(path / "below a file" / "answers.jsonl", given)
