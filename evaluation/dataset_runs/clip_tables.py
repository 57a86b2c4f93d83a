"""Tables of recognition and of understanding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mellm.evaluation.dataset_runs.questions import name_of
from mellm.evaluation.dataset_runs.recognition import ALL, Recognition, Scored
from mellm.evaluation.dataset_runs.understanding import Understanding
from mellm.evaluation.metrics.priors import PRIOR
from mellm.evaluation.metrics.recognition import OTHER
from mellm.evaluation.metrics.table import Cell, Table
from mellm.evaluation.protocols.composite import CLASSES

Rows = Mapping[str, Mapping[str, Any]]
_COUNTED = "Every clip with a class counts; without an answer it is wrong."


def recognition(result: Recognition, rows: Rows) -> list[Table]:
    """All tables of a recognition run."""
    out = [_scores("recognition", "Coarse class", result.coarse), _classes(result.coarse)]
    if result.fine:
        out.append(_scores("fine", "Fine class, as far as texts name it", result.fine))
    out += [
        _confusion(name, scored)
        for name, scored in result.coarse.items()
        if name != ALL or len(result.coarse) < 2
    ]
    out += [_subjects(result), _weights(result)]
    if result.matrix:
        out.append(_matrix(result))
    return [*out, problems(rows)]


def _scores(name: str, title: str, groups: Mapping[str, Scored]) -> Table:
    body: list[Sequence[Cell]] = []
    for dataset, scored in groups.items():
        s, states = scored.score, scored.states
        body.append(
            (
                dataset,
                s.rows,
                *(states[name] for name in ("described", "abstained", "failed")),
                s.uf1,
                scored.ranges["uf1"],
                s.uar,
                scored.ranges["uar"],
                s.accuracy,
            )
        )
    heads = ("data set", "clips", "described", "abstained", "failed", "UF1", "95 % (subjects)")
    notes = (_COUNTED + " UF1 and UAR are means over the classes of the truth, pooled over subjects.",)
    return Table(name, title, (*heads, "UAR", "95 % (subjects) of UAR", "accuracy"), body, notes)


def _classes(groups: Mapping[str, Scored]) -> Table:
    body: list[Sequence[Cell]] = [
        (dataset, name, c.tp + c.fn, c.precision, c.recall, c.f1)
        for dataset, scored in groups.items()
        for name, c in scored.score.per_class.items()
    ]
    return Table("classes", "By class", ("data set", "class", "clips", "P", "R", "F1"), body)


def _confusion(dataset: str, scored: Scored) -> Table:
    s = scored.score
    columns = [*s.classes, OTHER]
    body: list[Sequence[Cell]] = [(t, *(s.confusion[t][p] for p in columns)) for t in s.classes]
    note = f"Rows are the truth, columns the answer; {OTHER} holds abstentions, failures and other answers."
    safe = "".join(c if c.isalnum() else "-" for c in dataset).strip("-")
    return Table(f"confusion-{safe}", f"Confusion, {dataset}", ("true", *columns), body, (note,))


def _subjects(result: Recognition) -> Table:
    body: list[Sequence[Cell]] = []
    for dataset, scored in result.coarse.items():
        if dataset == ALL:
            continue
        for fold, (uf1, uar) in scored.score.folds.items():
            clips = sum(f"{a.dataset}/{a.subject}" == fold and a.coarse is not None for a in result.answers)
            body.append((dataset, fold.partition("/")[2], clips, uf1, uar))
    note = "Within one subject, over the classes it has. The score of a data set pools; it is not a mean of these."
    return Table("subjects", "By subject", ("data set", "subject", "clips", "UF1", "UAR"), body, (note,))


def _weights(result: Recognition) -> Table:
    body: list[Sequence[Cell]] = [(c.tested, *c.weights, c.chosen_on, c.clips, c.uf1) for c in result.choices]
    heads = ("used on", *(f"× {name}" for name in CLASSES), "chosen on", "clips there", "UF1 there")
    notes = ("Factors of the describer's scores. None was chosen on a clip that it is tested on.",)
    return Table("weights", "Which data chose the weights of the classes", heads, body, notes)


def _matrix(result: Recognition) -> Table:
    names = list(result.matrix)
    body: list[Sequence[Cell]] = [(a, *(result.matrix[a][b] for b in names)) for a in names]
    note = (
        "On the diagonal the weights are chosen anew for each subject, on the other subjects of the data set."
    )
    title = "UF1: weights chosen on one data set (rows), tested on another (columns)"
    return Table("matrix", title, ("chosen on", *names), body, (note,))


def problems(rows: Rows) -> Table:
    """Why clips have no answer."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for row in rows.values():
        if row["state"] != "described":
            counts[
                row["dataset"],
                row["state"],
                row["error"]["code"] if row["state"] == "failed" else row["reason"],
            ] += 1
        elif row["fallback"]:
            counts[row["dataset"], "answered by the stand-in", row["fallback"]] += 1
    body: list[Sequence[Cell]] = [(*key, count) for key, count in sorted(counts.items())]
    return Table("problems", "What was counted and not hidden", ("data set", "state", "why", "clips"), body)


def understanding(result: Understanding, rows: Rows) -> list[Table]:
    """All tables of an understanding run, those of recognition aside."""
    out = []
    if result.units:
        out += [_units(result), _each_unit(result)]
    if result.vqa:
        out += [_questions(result), _texts(result)]
    return [*out, problems(rows)]


def _units(result: Understanding) -> Table:
    body: list[Sequence[Cell]] = []
    for what, groups in (
        ("all annotated", result.units),
        ("known to the engine", result.known),
        (f"all annotated, {PRIOR}", result.prior_units),
    ):
        body += [
            (
                name,
                what,
                len(s.units),
                s.clips,
                None if groups is result.prior_units else result.unanswered[name],
                s.macro_f1,
                s.binary_f1,
                s.jaccard,
                s.exact,
            )
            for name, s in groups.items()
        ]
    heads = (
        "data set",
        "units",
        "how many",
        "clips",
        "without answer",
        "macro F1",
        "binary F1",
        "Jaccard",
        "exact",
    )
    notes = (
        "Binary F1 is the mean over units of the F1 of shown, macro F1 that of shown and not shown; Jaccard is the "
        "mean over clips. A unit that the coder was not sure of counts neither way; a clip without answer has none.",
        f"{PRIOR.capitalize()}: the commonest units of other people, said of everybody.",
        *result.no_better(),
    )
    return Table("units", "Action units", heads, body, notes)


def _each_unit(result: Understanding) -> Table:
    body: list[Sequence[Cell]] = [
        (name, f"AU{u}", name_of(u), s.shown.tp + s.shown.fn, s.shown.precision, s.shown.recall, s.shown.f1)
        for name, score in result.units.items()
        for u, s in score.units.items()
    ]
    return Table("each-unit", "Each unit", ("data set", "unit", "name", "clips", "P", "R", "F1"), body)


def _questions(result: Understanding) -> Table:
    body: list[Sequence[Cell]] = []
    never = [(f"{name}, {PRIOR}", v) for name, v in result.prior_vqa.items()]
    for name, v in (*result.vqa.items(), *never):
        for kind, part in (("coarse", v.coarse), ("fine", v.fine)):
            if part is not None:
                s = part.extracted
                body.append((name, kind, s.rows, "UF1", s.uf1, "UAR", s.uar))
        if v.yes_no is not None:
            body.append(
                (name, "is unit X shown", v.yes_no.rows, "accuracy", v.yes_no.accuracy_extracted, None, None)
            )
        if v.units is not None:
            u = v.units
            body.append(
                (name, "which units (also combined)", u.clips, "set F1", u.set_f1, "Jaccard", u.jaccard)
            )
        for kind, combined in v.combined.items():
            body.append((name, f"combined: {kind}", combined.rows, "UF1", combined.uf1, "UAR", combined.uar))
    heads = ("data set", "question", "rows", "measure", "value", "measure 2", "value 2")
    notes = (
        "Answers are read off one description of each clip; a question without an answer is wrong.",
        f"{PRIOR.capitalize()}: the commonest answer to the same question about other people.",
        *result.no_better(),
    )
    return Table("questions", "ME-VQA questions", heads, body, notes)


def _texts(result: Understanding) -> Table:
    body: list[Sequence[Cell]] = [
        (name, measure, m.value, m.variant) for name, v in result.vqa.items() for measure, m in v.text.items()
    ]
    heads = ("data set", "measure", "value", "variant")
    notes = ("Over every question that asks for no class. No two groups use the same variant.",)
    return Table("texts", "BLEU and ROUGE", heads, body, notes)
