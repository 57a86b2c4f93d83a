"""The card of a data set, ``README.md`` in its folder: weaknesses first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mellm.training.instruct.records import Record, text_of

HEAD = """---
language: [{languages}]
license: {licence}
task_categories: [image-text-to-text, visual-question-answering]
tags: [micro-expressions, facial-action-coding, optical-flow]
configs:
- config_name: default
  data_files:
{files}
---

# Instruction data for micro-expression models

{pairs} onset–apex pairs of {subjects} subjects, {records} conversations. Made by mellm-live, `mellm dataset build`;
checked by `mellm dataset lint`.

## Weaknesses first

{weaknesses}

## What is in it

| | {splits} |
|---|{rule}
{rows}

"Abstaining" are conversations whose right answer is that there is no expression, or none that can be read.
"Disagreeing" are pairs whose annotation and measured motion do not agree; the text says so, and `marks` names it.
"Negatives above floor" move enough to be taken for an expression.

Settings: {settings}.

## Format

One JSON object a line in `train.jsonl`, `validation.jsonl` and `test.jsonl`: `messages` (roles `user` and
`assistant`{style}), `images` (paths in this folder; named after the hash of their
bytes), `task`, `language`, `kind`, `abstain`, `units`, `coarse`, `emotion`, `marks`,
`motion`, `split`, `subject`, `pair`, `source`, `recipe`, `licence`, `provenance`. A subject is in one split only.

```python
from datasets import load_dataset
data = load_dataset("json", data_files={{"train": "train.jsonl"}})
```

## Samples

{samples}

## Licence

{licences}

## Not for

Lie detection, hiring, credit, insurance, education grades, law enforcement, border control, surveillance, or judging
a person by one finding. Emotion words here are labels of a clip, not what anybody felt.
"""

SYNTHETIC = """\
- **No spontaneous micro-expression is in it.** Motion is that of a linear face model: no wrinkles, no bulging skin,
  simple timing. What is learnt here is not shown to hold for filmed micro-expressions.
- **Emotions are drawn, not felt or annotated**: from the shares of emotions given action units in DFME. No model can
  know them better than the units allow.
- Action units are those of the face model, 15 of them. Side and unit are true; intensity is a share of the model's
  full movement, not FACS A to E."""

OWN = """\
- Units, sides and emotions are as good as the table they came from. `licence` and `provenance` are what the
  builder was told; a data set of people is only passed on where their consent and its licence allow it.
- The pictures show faces."""

COMMON = """- The wording is a few phrases in many combinations. A model that was tuned on it writes these phrases.
- The challenge asks for one unit in the singular and for several in the plural. So does this; the question tells.
- "No" for a unit means that it is not annotated."""


def text(
    settings: Mapping[str, Any], counts: Mapping[str, Mapping[str, Any]], samples: Sequence[Record]
) -> str:
    """The card as Markdown, with the front matter that data set hubs read."""
    licences = sorted({(s["source"], s["licence"], s["provenance"]) for s in samples})
    sources = {s for c in counts.values() for s in c["sources"]}
    weak = ([OWN] if "csv" in sources else []) + ([SYNTHETIC] if sources - {"csv"} else [])
    told = {key: value for key, value in settings.items() if value not in (None, "", {}, [])}
    known = {"MIT": "mit", "CC-BY-4.0": "cc-by-4.0"}
    names = {known.get(licence, "other") for _, licence, _ in licences}
    return HEAD.format(
        languages=", ".join(settings["languages"]),
        licence=names.pop() if len(names) == 1 else "other",
        files="\n".join(f"  - split: {split}\n    path: {split}.jsonl" for split in counts),
        pairs=sum(c["pairs"] for c in counts.values()),
        subjects=sum(c["subjects"] for c in counts.values()),
        records=sum(c["records"] for c in counts.values()),
        weaknesses="\n".join([*weak, COMMON]),
        splits=" | ".join(counts),
        rule="---|" * len(counts),
        rows="\n".join(_rows(counts)),
        settings=", ".join(f"{key} {_flat(value)}" for key, value in told.items()),
        style=", `content` one string with `<image>`"
        if settings["style"] == "tags"
        else ", `content` a list of parts",
        samples="\n\n".join(map(_sample, samples)),
        licences="\n".join(f"- `{source}`: {licence}; {where}." for source, licence, where in licences),
    )


def _rows(counts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    rows = [
        f"| {name.replace('_', ' ')} | {' | '.join(str(c[name]) for c in counts.values())} |"
        for name in ("pairs", "subjects", "records", "abstaining", "disagreeing", "negatives_above_floor")
    ]
    for group in ("sources", "kinds", "tasks", "languages", "units", "classes", "emotions"):
        keys = dict.fromkeys(key for c in counts.values() for key in c[group])
        rows += [
            f"| {group[:-1] if group != 'classes' else 'class'}: {key} | "
            f"{' | '.join(str(c[group].get(key, 0)) for c in counts.values())} |"
            for key in sorted(keys, key=_numbered)
        ]
    return rows


def _numbered(key: str) -> tuple[int, str]:
    return (int(key[2:]), "") if key.startswith("AU") and key[2:].isdigit() else (0, key)


def _flat(value: object) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{k} {v}" for k, v in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _sample(record: Record) -> str:
    asked, told = (text_of(m) for m in record["messages"])
    start = asked.find("[{")
    if start >= 0:
        asked = asked[: start + 90] + " …"
    quoted = "\n".join(f"> {line}" for line in [*asked.split("\n"), "", *told.split("\n")])
    which = f"`{record['task']}`, {record['language']}, {record['kind']}" + (
        ", abstains" if record["abstain"] else ""
    )
    return f"{which}\n\n{quoted}"
