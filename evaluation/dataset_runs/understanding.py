"""Action units and questions: what descriptions say beyond the class. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mellm.engine.facs import action_units as facs
from mellm.evaluation.dataset_runs.describing import key_of
from mellm.evaluation.dataset_runs.questions import Question, scored_row
from mellm.evaluation.dataset_runs.recognition import ALL
from mellm.evaluation.datasets import Clip
from mellm.evaluation.metrics import priors
from mellm.evaluation.metrics.action_units import ActionUnitScore, action_unit_score
from mellm.evaluation.metrics.vqa import VqaScore, vqa_score


@dataclass(frozen=True, slots=True)
class Understanding:
    """A finished evaluation; keys are data sets and :data:`ALL`.

    :param units: all annotated units
    :param known: those that the engine knows
    :param unanswered: clips with units that have no description: their set counts as empty
    :param questions: what was asked, with its answer
    :param prior_units: of the commonest units of other people; the clips are not looked at
    :param prior_vqa: of the commonest answers about other people
    """

    units: Mapping[str, ActionUnitScore]
    known: Mapping[str, ActionUnitScore]
    unanswered: Mapping[str, int]
    vqa: Mapping[str, VqaScore]
    questions: tuple[tuple[Question, str | None], ...]
    prior_units: Mapping[str, ActionUnitScore]
    prior_vqa: Mapping[str, VqaScore]

    def no_better(self) -> list[str]:
        """A sentence for each data set on which the describer is not better than never looking."""
        told = []
        for name in dict.fromkeys((*self.units, *self.vqa)):
            mine: dict[str, float] = {}
            prior: dict[str, float] = {}
            for scores, into in ((self.units, mine), (self.prior_units, prior)):
                if name in scores:
                    into["units macro F1"] = scores[name].macro_f1
            for vqa, into in ((self.vqa, mine), (self.prior_vqa, prior)):
                if name in vqa:
                    into |= priors.figures(vqa[name])
            told.append(priors.no_better(f"On {name}, the describer", mine, prior))
        return [sentence for sentence in told if sentence]


def evaluate(
    clips: Sequence[Clip], rows: Mapping[str, Mapping[str, Any]], questions: Sequence[Question]
) -> Understanding:
    """Score rows. A unit that the coder was not sure of counts neither way."""
    names = list(dict.fromkeys(c.dataset for c in clips))
    places = {name: [c for c in clips if c.dataset == name] for name in names}
    if len(names) > 1:
        places[ALL] = list(clips)
    dataset = {key_of(c): c.dataset for c in clips}
    units, known, unanswered, vqa = {}, {}, {}, {}
    prior_units, prior_vqa = {}, {}
    subject = {key_of(c): f"{c.dataset}/{c.subject}" for c in clips}
    for name, some in places.items():
        coded = [c for c in some if c.action_units.numbers]
        if coded:
            true = [c.action_units.numbers for c in coded]
            said = [_predicted_units(c, rows[key_of(c)]) for c in coded]
            units[name] = action_unit_score(true, said)
            people = [subject[key_of(c)] for c in coded]
            prior_units[name] = action_unit_score(
                true, priors.likeliest([""] * len(true), people, [frozenset(numbers) for numbers in true])
            )
            within = frozenset().union(*true) & frozenset(facs.UNITS)
            if within:
                known[name] = action_unit_score(true, said, within)
            unanswered[name] = said.count(None)
        asked = [q for q in questions if name in (dataset[q.clip], ALL)]
        if asked:
            answers = [scored_row(q, rows[q.clip]) for q in asked]
            vqa[name] = vqa_score(answers)
            prior_vqa[name] = vqa_score(priors.answered(answers, [subject[q.clip] for q in asked]))
    told = tuple((q, scored_row(q, rows[q.clip]).answer) for q in questions)
    return Understanding(units, known, unanswered, vqa, told, prior_units, prior_vqa)


def _predicted_units(clip: Clip, row: Mapping[str, Any]) -> frozenset[int] | None:
    if row["state"] != "described":
        return None
    return frozenset(u["au"] for u in row["units"]) - clip.action_units.possible_numbers
