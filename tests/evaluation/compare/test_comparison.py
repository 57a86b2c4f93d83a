"""From settings to those who take part and to results."""

from __future__ import annotations

from pathlib import Path

from mellm.evaluation.compare import comparison, config

RULES = {"kind": "rules"}
MME = {"kind": "mme", "folder": "mme"}
SUITE = {"kind": "qualitative"}


def names(*systems: dict[str, object], task: dict[str, object] = MME) -> list[tuple[str, str]]:
    settings = config.parse({"systems": [RULES, *systems], "tasks": [task]}, Path("c.toml"))
    return [(row.name, row.model) for row in comparison.published(settings)]


def test_mme_has_the_published_rows_beside_it_unless_the_file_names_some():
    three = [("Gemini Pro", "Gemini Pro"), ("GPT-4V", "GPT-4V"), ("Sphinx", "Sphinx")]
    assert names() == three
    assert names({"kind": "published", "name": "GPT (2023)", "model": "GPT-4V"}) == [("GPT (2023)", "GPT-4V")]


def test_a_task_without_published_numbers_has_no_published_rows():
    assert names(task=SUITE) == []


def test_a_default_row_takes_no_name_of_somebody_who_was_run():
    recorded = {"kind": "recorded", "name": "Sphinx", "path": "answers.jsonl"}
    assert [name for name, _ in names(recorded)] == ["Gemini Pro", "GPT-4V", "Sphinx (published)"]
