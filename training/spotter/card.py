"""The card of a trained spotter, written beside it: weaknesses first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mellm.stream import files
from mellm.training.spotter.validation import FALSE_A_MINUTE

HEAD = """# Model card: {name}

## Weaknesses first

- **Trained on synthetic micro-expressions. Not validated on spontaneous ones.** Motion of a linear face model,
  simulated, rendered, or laid on photographs and recordings of people; no micro-expression data set was used.
  Spotters trained *on* such sets reach low scores there; expect much less than the numbers below.
- **Faces that talk**: what the face does by itself hides expressions. Of those smaller than the motion of their half of
  the face few are found, of those under a quarter of it next to none; the false alarms left are blinks, lips in
  recordings with repeated pictures, and brows that stress a word. Numbers are in docs/results/spotting.md.
- **Brief acted faces** are called micro-expressions.
- **Small motion**: expressions whose strongest region moves by less than 1/100 of the distance between the eyes are
  mostly missed; under 0.4/100 all of them.
- **It does not see** faces turned by more than 30°, narrower than 96 px, or filmed at under 20 frames a second; a hand,
  a beard, strong make-up or a filter on the face was not tested.
- Action units are those of the face model, 15 of them, without sides. They do not settle an emotion.

## Validation

Threshold {threshold:g}: of those at which talkers as they are cause at most {limit:g} false alarms a minute
(validation people, and those of the folds, each judged by the network that never saw them) one of the best on the clips
below. People of the validation splits only, where nothing else is said; all material is synthetic or semi-synthetic.

| clips | F1 at IoU .5 | precision | recall | apex error (mean) | false alarms / min | expressions |
|---|---|---|---|---|---|---|
{rows}

## Made by

`{command}`

{hours} · {iterations} iterations · {date} · {device} · PyTorch {torch}. Hash, seeds and all options: the `.json` file
beside this one.

## Not for

Lie detection, hiring, credit, insurance, law enforcement, border control, surveillance, or judging a person by one
finding. See the purposes that the command line accepts and refuses.
"""


def text(name: str, record: Mapping[str, Any], threshold: float) -> str:
    """The card as Markdown."""
    parts = {"all": record["validation"], **record["validation_parts"]}
    rows = "\n".join(_row(kind, scores) for kind, scores in parts.items())
    hours = ", ".join(f"{value:g} h {kind}" for kind, value in record["hours"].items())
    return HEAD.format(
        name=name,
        threshold=threshold,
        limit=FALSE_A_MINUTE,
        rows=rows,
        hours=hours,
        **{key: record[key] for key in ("command", "iterations", "date", "device", "torch")},
    )


def _row(kind: str, scores: Mapping[str, Any]) -> str:
    apex = scores["apex_mae_ms"]
    return (
        f"| {kind} | {scores['f1']:.3f} | {scores['precision']:.2f} | {scores['recall']:.2f} | "
        f"{'–' if apex is None else f'{apex:.1f} ms'} | {scores['false_per_minute']:.1f} | {scores['truths']:.0f} |"
    )


def write(model: Path, record: Mapping[str, Any], threshold: float) -> Path:
    """Write the card beside ``model``; returns its path."""
    path = model.with_suffix(".md")
    files.write(path, text(model.name, record, threshold))
    return path
