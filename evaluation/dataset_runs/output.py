"""The files that a finished evaluation leaves beside its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from mellm.engine.provenance import versions
from mellm.evaluation.dataset_runs import clip_tables, plots, spotting_tables, tables
from mellm.evaluation.dataset_runs.folder import EvalFolder, write_json
from mellm.evaluation.dataset_runs.inputs import Held
from mellm.evaluation.dataset_runs.judging import Judged
from mellm.evaluation.dataset_runs.loop import Done
from mellm.evaluation.dataset_runs.questions import Question
from mellm.evaluation.dataset_runs.recognition import Recognition
from mellm.evaluation.dataset_runs.spotting_score import Spotting
from mellm.evaluation.dataset_runs.understanding import Understanding
from mellm.evaluation.metrics.table import Table, write_csv
from mellm.stream.errors import RunError

REPORT: Final = "report.json"
MATCHES: Final = "matches.csv"
ANSWERS: Final = "answers.csv"


def about(folder: EvalFolder, held: Sequence[Held], done: Done, scoring: Mapping[str, Any]) -> dict[str, Any]:
    """What every report says first: settings, data, models, what is not there."""
    import json

    settings = json.loads((folder.path / "settings.json").read_text(encoding="utf-8"))
    asked = {h.name for h in held}
    others = sorted({str(r["dataset"]) for r in folder.rows.values()} - asked)
    return {
        "kind": settings["kind"],
        "settings": settings["settings"],
        "scoring": dict(scoring),
        "datasets": {h.name: h.facts() for h in held},
        "rows": {"scored": done.made + done.skipped, "failed": done.failed, "of_other_data_sets": others},
        "versions": versions(),
    }


def spotting(result: Spotting, head: Mapping[str, Any], out: Path) -> list[Table]:
    """Write the report of a spotting run.

    :raises RunError: it cannot be written
    :raises MissingExtra: matplotlib is not installed
    """
    report = {
        **head,
        "thresholds": [c.as_dict() for c in result.choices],
        "scores": {
            name: {about: score.as_dict() for about, score in kinds.items()}
            for name, kinds in result.scores.items()
        },
        "curve": {
            name: {
                f"{level:g}": {**score.spotting.as_dict(), "false_per_minute": score.false_per_minute}
                for level, score in levels.items()
            }
            for name, levels in result.curve.items()
        },
        "matrix": {
            a: {b: {"threshold": level, **score.spotting.as_dict()} for b, (level, score) in row.items()}
            for a, row in result.matrix.items()
        },
        "strs": {name: score.as_dict() for name, score in result.strs.items()},
    }
    made = spotting_tables.tables(result)
    _matches(result.judged("all"), out / MATCHES)
    _write(report, made, out, "Spotting", head)
    plots.spotting(result, out)
    return made


def recognition(
    result: Recognition, rows: Mapping[str, Mapping[str, Any]], head: Mapping[str, Any], out: Path
) -> list[Table]:
    """Write the report of a recognition run; see :func:`spotting`."""
    report = {**head, **_recognised(result)}
    made = clip_tables.recognition(result, rows)
    _write(report, made, out, "Recognition", head)
    plots.recognition(result, out)
    return made


def understanding(
    result: Understanding, rows: Mapping[str, Mapping[str, Any]], head: Mapping[str, Any], out: Path
) -> list[Table]:
    """Write the report of an understanding run; see :func:`spotting`."""
    report = {
        **head,
        "units": {name: score.as_dict() for name, score in result.units.items()},
        "units_known_to_the_engine": {name: score.as_dict() for name, score in result.known.items()},
        "clips_without_answer": dict(result.unanswered),
        "questions": {name: score.as_dict() for name, score in result.vqa.items()},
        "never_looking": {
            "units": {name: score.as_dict() for name, score in result.prior_units.items()},
            "questions": {name: score.as_dict() for name, score in result.prior_vqa.items()},
        },
        "no_better_than_never_looking": result.no_better(),
    }
    made = clip_tables.understanding(result, rows)
    _answers(result.questions, out / ANSWERS)
    _write(report, made, out, "Understanding", head)
    plots.understanding(result, out)
    return made


def _recognised(result: Recognition) -> dict[str, Any]:
    def scores(groups: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: {
                **s.score.as_dict(),
                **{f"{k}_95": None if low != low else [low, high] for k, (low, high) in s.ranges.items()},
                "states": dict(s.states),
            }
            for name, s in groups.items()
        }

    return {
        "weights": [c.as_dict() for c in result.choices],
        "coarse": scores(result.coarse),
        "fine": scores(result.fine),
        "matrix": {a: dict(row) for a, row in result.matrix.items()},
    }


def _write(
    report: Mapping[str, Any], made: Sequence[Table], out: Path, title: str, head: Mapping[str, Any]
) -> None:
    write_json(out / REPORT, report)
    lead = []
    for name, facts in head["datasets"].items():
        repairs = ", ".join(f"{rule} {count}" for rule, count in facts["repairs"].items()) or "none"
        lead.append(
            f"{facts['title']} (`{name}`): {facts['clips']} clips of {facts['subjects']} subjects. "
            f"Oddities of the annotation, by rule: {repairs}."
        )
    if "limit" in head["scoring"]:
        lead.append(f"**A trial: only the first {head['scoring']['limit']} of each data set.**")
    tables.write(made, out, title, lead)


def _matches(judged: Sequence[Judged], file: Path) -> None:
    """One line for each truth and each spot: who met whom."""
    heads = ("data set", "subject", "video", "truth", "kind", "emotion", "onset", "apex", "offset")
    body: list[Sequence[Any]] = []
    for j in judged:
        place = (j.video.dataset, j.video.subject, j.video.id)
        spot_of = {id(t): s for t, s in j.pairs}
        matched = {id(s) for _, s in j.pairs}
        for t in j.video.truths:
            s = spot_of.get(id(t))
            scored = any(t is one for one in j.truths)
            verdict = "found" if s else "missed" if scored else "not scored"
            mine = (s.onset, s.apex, s.offset, s.score) if s else ("", "", "", "")
            body.append((*place, t.id, t.kind, t.emotion, t.onset, t.apex, t.offset, verdict, *mine))
        for s in j.video.spots:
            if id(s) not in matched:
                verdict = "false alarm" if any(s is one for one in j.spots) else "set aside"
                said = (s.onset, s.apex, s.offset, s.score)
                body.append((*place, "", "", "", "", "", "", verdict, *said))
    _csv(file, (*heads, "verdict", "spotted onset", "spotted apex", "spotted offset", "score"), body)


def _answers(questions: Sequence[tuple[Question, str | None]], file: Path) -> None:
    _csv(
        file,
        ("clip", "question", "truth", "answer"),
        [(q.clip, q.question, q.truth, a) for q, a in questions],
    )


def _csv(file: Path, heads: Sequence[str], body: Sequence[Sequence[Any]]) -> None:
    try:
        write_csv(file, heads, body)
    except OSError as error:
        raise RunError(f"{file} cannot be written ({error.strerror})") from error
