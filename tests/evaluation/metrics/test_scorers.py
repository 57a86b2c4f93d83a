"""Whatever a file holds: a score, or a typed error. Never another exception, never NaN."""

from __future__ import annotations

import json
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mellm.evaluation.metrics.errors import MetricsError
from mellm.evaluation.metrics.inputs import Files
from mellm.evaluation.metrics.scorers import KINDS, Options, Result

odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 30),
    st.sampled_from(
        [1.5, float("nan"), float("inf"), 10**400, "", "a", "12", "4+7?", "yes", "nan", [], [1], {}]
    ),
)
plain = st.fixed_dictionaries(
    {
        "subject": st.sampled_from(["s1", 2]),
        "video": st.sampled_from("ab"),
        "id": st.integers(0, 9),
        "onset": st.integers(0, 20),
        "apex": st.one_of(st.none(), st.integers(0, 40)),
        "offset": st.integers(20, 40),
        "emotion": st.sampled_from(["happiness", "fear"]),
        "action_units": st.sampled_from([[1], "4+7", ""]),
        "question": st.sampled_from(["What is the coarse expression class?", "What are the action units?"]),
        "answer": st.sampled_from(["negative", "dimpler", "positive"]),
    }
)
rows = st.one_of(
    plain,
    plain,
    st.builds(
        lambda row, name, value: {**row, name: value}, plain, st.sampled_from(["onset", "id", "answer"]), odd
    ),
    st.builds(
        lambda row, name: {k: v for k, v in row.items() if k != name}, plain, st.sampled_from(["id", "video"])
    ),
)
pairs = st.lists(st.tuples(st.integers(0, 20), st.integers(20, 40)).map(list), max_size=3)
videos = st.fixed_dictionaries(
    {"video": st.integers(0, 9), "pred": st.one_of(pairs, pairs, odd), "gt": pairs}, optional={"subject": odd}
)
labels = st.lists(st.one_of(st.sampled_from("ab"), st.sampled_from("ab"), odd), min_size=2, max_size=2)
documents = st.one_of(
    odd,
    st.lists(st.one_of(rows, rows, odd), max_size=3),
    st.lists(rows, min_size=1, max_size=4),
    st.fixed_dictionaries({"videos": st.lists(videos, max_size=3)}),
    st.fixed_dictionaries({"gt": labels, "pred": labels}, optional={"subjects": labels, "folds": labels}),
    st.fixed_dictionaries({"gt": st.lists(rows, max_size=4), "pred": st.lists(rows, max_size=4)}),
)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "mme"])
@settings(max_examples=150)
@given(one=documents, other=documents, alone=st.booleans())
def test_any_document_is_scored_or_refused(
    tmp_path_factory: pytest.TempPathFactory, kind: str, one: Any, other: Any, alone: bool
) -> None:
    folder = tmp_path_factory.mktemp("x")
    paths = [folder / "one.json", folder / "other.json"]
    for path, content in zip(paths, (one, other), strict=True):
        path.write_text(json.dumps(content))
    files = Files(cases=paths[0]) if alone else Files(*paths)
    try:
        result = KINDS[kind](files, Options(draws=3, compat=True))
    except MetricsError:
        return
    assert json.dumps(result.values, allow_nan=False)
    assert all(isfinite(v) for limits in result.ranges.values() if limits for v in limits)


def test_nothing_is_drawn_unless_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "l.json"
    path.write_text('{"gt": ["a", "b"], "pred": ["a", "b"], "subjects": [1, 2]}')
    plain = KINDS["recognition"](Files(path), Options())
    assert (plain.drawn, plain.ranges, plain.compat) == ("", {}, None)
    drawn: Result = KINDS["recognition"](Files(path), Options(draws=10))
    assert (drawn.drawn, drawn.units_drawn, drawn.ranges["uf1"]) == ("subjects", 2, [1, 1])
