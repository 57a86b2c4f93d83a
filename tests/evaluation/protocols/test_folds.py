from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.evaluation.datasets.errors import DatasetError
from mellm.evaluation.protocols.folds import leave_one_dataset_out, leave_one_subject_out, official


@dataclass(frozen=True)
class Someone:
    dataset: str
    subject: str
    split: str = ""


PEOPLE = [Someone("samm", "006"), Someone("casme2", "006"), Someone("samm", "006"), Someone("samm", "007")]


def test_subjects_of_two_data_sets_are_two_people() -> None:
    folds = leave_one_subject_out(PEOPLE)
    assert [(f.name, f.test) for f in folds] == [
        ("samm/006", (0, 2)),
        ("casme2/006", (1,)),
        ("samm/007", (3,)),
    ]
    assert folds[0].train == (1, 3)


@given(st.lists(st.builds(Someone, st.sampled_from("ab"), st.sampled_from("xyz")), max_size=12))
def test_everybody_is_tested_once_and_never_trained_on_at_the_same_time(people: list[Someone]) -> None:
    folds = leave_one_subject_out(people)
    assert sorted(k for f in folds for k in f.test) == list(range(len(people)))
    for fold in folds:
        assert sorted(fold.test + fold.train) == list(range(len(people)))
        assert not {people[k] for k in fold.test} & {people[k] for k in fold.train}


def test_one_data_set_cannot_be_left_out_of_itself() -> None:
    assert [f.name for f in leave_one_dataset_out(PEOPLE)] == ["samm", "casme2"]
    with pytest.raises(DatasetError, match="needs two"):
        leave_one_dataset_out(PEOPLE[2:])


def test_an_official_split_tests_each_part_and_trains_on_one() -> None:
    items = [Someone("dfme", str(k), s) for k, s in enumerate(("train", "test_a", "train", "test_b"))]
    folds = official(items, lambda item: item.split)
    assert [(f.name, f.train, f.test) for f in folds] == [("test_a", (0, 2), (1,)), ("test_b", (0, 2), (3,))]
    with pytest.raises(DatasetError, match="no part"):
        official([*items, Someone("dfme", "9")], lambda item: item.split)
    with pytest.raises(DatasetError, match="without a part"):
        official([items[0]], lambda item: item.split)
