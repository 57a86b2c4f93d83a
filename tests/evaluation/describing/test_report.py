from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mellm.engine.describe.rules import RulesDescriber
from mellm.engine.types import Description
from mellm.evaluation.describing import cases, report, systems
from mellm.evaluation.metrics import marks
from mellm.evaluation.metrics.priors import PRIOR
from mellm.stream.errors import UsageError
from mellm.training.instruct.pairs import UnitTruth
from mellm.training.mellm import store


def pair(name: str, above: bool = True, units: tuple[UnitTruth, ...] = ()) -> store.Stored:
    motion = np.zeros((31, 2), np.float32)
    if above:
        motion[:, 1] = -1.5
    return store.Stored(
        name, f"rendered-{name[0]}", "test", "rendered", "expression" if units else "speech", units, 1.0, False,
        300.0, "anger" if units else None, "negative" if units else None,
        np.zeros((128, 128, 3), np.uint8), motion, 0.1, above,
    )  # fmt: skip


PAIRS = [
    pair("a1", units=(UnitTruth(4, "both", 0.2),)),
    pair("b1", units=(UnitTruth(12, "left", 0.2),)),
    pair("a2"),
    pair("b2", above=False),
]


def test_stored_pairs_become_examples_and_readers_stand_side_by_side(tmp_path: Path) -> None:
    store.save(tmp_path / "rendered-test" / "1.npz", PAIRS)
    examples = cases.load("rendered", tmp_path, clips=tmp_path, signals=tmp_path)
    assert [e.case.units for e in examples] == [{4: "both"}, {12: "left"}, {}, {}]

    def knows(some: list[cases.Example]) -> list[systems.Reading]:  # type: ignore[name-defined]
        return [systems.Reading(not e.case.units, e.case.units, e.case.coarse) for e in some]

    results = {
        "rendered": report.compare(
            examples, {"knows": knows, "rules": systems.of_describer(RulesDescriber())}
        )
    }  # type: ignore[dict-item]
    best = results["rendered"]["knows"]["no gate"]
    assert best.f1.value == best.abstains.value == 1
    assert best.silent.value == 0
    table = report.table(results)
    assert "| rendered | knows |" in table
    assert "| 1.00 [1.00, 1.00]; 1.00 |" in table
    assert report.plain(results)["rendered"]["knows"]["gate"]["f1"][0] == 1


def test_a_description_is_read_for_what_it_says() -> None:
    told = Description("AU4 and AU9", (), None, "m", "p/1", "1", abstained="unparsable")
    read = systems.reading(told, own_text=True)
    assert read.abstained
    assert not read.parsed
    assert read.named == {4, 9}


def test_sets_that_are_missing_say_how_to_make_them(tmp_path: Path) -> None:
    for name, said in (("rendered", "mellm.training.mellm.store"), ("clips", "mellm.training.synth.clips")):
        with pytest.raises(UsageError) as caught:
            cases.load(name, tmp_path, clips=tmp_path, signals=tmp_path)
        assert said in caught.value.remedy
    with pytest.raises(UsageError, match="no set"):
        cases.load("dreams", tmp_path, clips=tmp_path, signals=tmp_path)


def test_results_go_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{marks.END}\nafter\n")
    marks.put(page, "new", report.BEGIN)
    assert page.read_text() == f"before\n{report.BEGIN}\n\nnew\n{marks.END}\nafter\n"
    with pytest.raises(UsageError, match="no place"):
        marks.put(tmp_path / "none.md", "new", report.BEGIN)


def test_who_is_not_better_than_the_labels_is_told(tmp_path: Path) -> None:
    store.save(tmp_path / "rendered-test" / "1.npz", PAIRS)
    examples = cases.load("rendered", tmp_path, clips=tmp_path, signals=tmp_path)

    def sees(some: Sequence[cases.Example]) -> list[systems.Reading]:
        """Reads the unit off the motion: what is up is AU 4 or 12, by the person."""
        return [
            systems.Reading(
                not e.pair.motion.any(), {4: "both"} if e.pair.id == "a1" else {12: "left"}, "negative"
            )
            for e in some
        ]

    def guesses(some: Sequence[cases.Example]) -> list[systems.Reading]:
        return [systems.Reading(False, {4: "both"}, "negative") for _ in some]

    asked = {
        "sees": sees,
        "sees, blank map": systems.blank(sees),
        "guesses": guesses,
        PRIOR: systems.prior_only,
    }
    results = {"rendered": report.compare(examples, asked)}
    scores = {name: s["gate"].f1.value for name, s in results["rendered"].items()}
    assert scores["sees"] == 1 > scores[PRIOR] == scores["guesses"] > scores["sees, blank map"] == 0
    assert report.no_better_than_labels(results) == [("rendered", "guesses")]


def test_other_maps_are_all_of_the_set_and_nobodys_own() -> None:
    numbered = [replace(p, motion=np.full((31, 2), k, np.float32)) for k, p in enumerate(PAIRS)]
    examples = [cases.Example(cases.case_of(p), p, {4: 0.9}) for p in numbered]
    shown: list[cases.Example] = []

    def looks(some: Sequence[cases.Example]) -> list[systems.Reading]:
        shown.extend(some)
        return [systems.Reading(True) for _ in some]

    systems.shuffled(looks)(examples)
    seen = [int(e.pair.motion[0, 0]) for e in shown]
    assert sorted(seen) == [0, 1, 2, 3]
    assert all(own != k for k, own in enumerate(seen))
    assert [e.case for e in shown] == [e.case for e in examples]
    assert {e.opinion for e in shown} == {None}
