"""Who is in which split: nobody twice."""

from __future__ import annotations

import pytest

from mellm.stream.errors import ModelMissing, UsageError
from mellm.training.readings.clips import FILMED, KINDS, clips
from mellm.training.spotter.people import VALIDATION

pytestmark = pytest.mark.bare


def test_nobody_is_fitted_on_and_judged() -> None:
    try:
        people = {
            split: {c.subject for kind in KINDS for c in clips(split, kind, 40)} for split in ("val", "test")
        }
    except ModelMissing as error:
        pytest.skip(str(error))
    assert not people["val"] & people["test"]
    assert min(len(some) for some in people.values()) > 50


def test_filmed_people_are_tested_by_the_network_of_their_fold() -> None:
    for kind in FILMED:
        assert {c.fold for c in clips("val", kind, 99)} <= {VALIDATION}
        test = clips("test", kind, 99)
        assert VALIDATION not in {c.fold for c in test}
        # everybody once before anybody twice
        first = [c.subject for c in test[: len({c.subject for c in test})]]
        assert len(set(first)) == len(first)


def test_there_are_only_such_kinds() -> None:
    with pytest.raises(UsageError, match="no kind"):
        clips("val", "dreams", 1)  # type: ignore[arg-type]
