"""The card of a tuned model, weaknesses first, and the record beside it that machines read."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from mellm.training.mellm.finetune import recipes
from mellm.training.mellm.finetune.config import Config
from mellm.training.mellm.finetune.evaluate import Scores

LIBRARIES = ("mellm-live", "torch", "transformers", "peft")

LIMITS = """\
- Action units that an answer names are readings of motion, not measurements of what a person feels. Units settle the
  coarse class in most cases and a fine emotion in about half of them, even where all units are right.
- The numbers below are of the held-out subjects of the data it was tuned on. Data that was rendered or simulated says
  nothing about spontaneous micro-expressions; no number here is a result on those unless the data was.
- Not to be used to judge a person: not for lie detection, hiring, policing, border control, schools, insurance, or
  any medical decision. Emotion recognition at work and in education is forbidden in the European Union.
- It answers what it was tuned to answer. Other pictures, other motion maps and other questions get answers as well, and
  those mean nothing."""


def record(config: Config, facts: dict[str, Any], scores: Scores | None) -> str:
    """``finetune.json``: settings without paths, facts of the run, scores."""
    settings = config.model_dump(mode="json", exclude={"out"})
    settings["base"] = config.base.name
    for key in ("train", "held_out", "root"):
        value = getattr(config.data, key)
        settings["data"][key] = value.name if value is not None else None
    kept = {
        "settings": settings,
        "run": facts,
        "held_out": scores.flat() if scores else None,
        "libraries": libraries(),
    }
    return json.dumps(kept, indent=1) + "\n"


def libraries() -> dict[str, str]:
    """Versions of what it was made with."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def card(config: Config, facts: dict[str, Any], scores: Scores | None) -> str:
    """``README.md`` of the model folder."""
    fit = config.fit
    lines = [
        f"# {config.name}",
        "",
        f"{config.base.name}, tuned with mellm-live.",
        "",
        "## What it cannot do",
        "",
        LIMITS,
        "",
    ]
    lines += ["## How well it answers", "", *_results(scores), ""]
    lines += ["## How it was made", "", "| what | value |", "|---|---|"]
    rows = {
        "base model": f"{config.base.name}; its licence holds for this model as well",
        "recipe": config.recipe or "none: the settings stand in `finetune.json`",
        "stages": "; ".join(
            f"{i}. {s.label}, {s.epochs or fit.epochs} epochs at {s.rate or fit.rate:g}"
            for i, s in enumerate(config.strategy.stages(), 1)
        ),
        "batch, warm-up, schedule": f"{fit.batch}, {fit.warmup:g}, {fit.schedule}",
        "conversations": f"{facts['conversations']} of {facts['subjects']} subjects, {facts['tokens']} tokens",
        "left out as too long": str(facts["left_out"]),
        "SHA-256 of the data": f"`{facts['data_sha256']}`",
        "steps": str(facts["steps"]),
        "loss, first and last tenth of the steps": f"{facts['first_loss']:.4f} → {facts['last_loss']:.4f}",
        "seed": str(fit.seed),
        "made with": ", ".join(f"{name} {number}" for name, number in libraries().items()),
    }
    if config.lora is not None:
        rows["adapters"] = (
            f"rank {config.lora.rank}, alpha {config.lora.alpha:g}, {config.lora.targets}; merged into the weights"
        )
    lines += [f"| {name} | {value} |" for name, value in rows.items()]
    if config.recipe is not None:
        recipe = recipes.get(config.recipe)
        lines += ["", f"The recipe is of {recipe.origin}. {recipe.reasons}"]
        lines += ["Where this run's settings differ from the recipe's, those in `finetune.json` hold."]
    return "\n".join(lines) + "\n"


def _results(scores: Scores | None) -> list[str]:
    if scores is None:
        return ["Not measured: the run had no held-out subjects."]
    rows = {
        "action units, micro-F1 (sides left aside)": scores.units,
        "coarse class, UF1": scores.coarse,
        "abstains where nothing is to be seen": scores.abstains,
        "abstains where something is": scores.withheld,
        "answers that can be read": scores.readable,
        **{f"answers equal to the reference, `{task}`": e for task, e in scores.exact.items()},
    }
    head = f"{scores.records} questions about {scores.subjects} subjects that were not learnt from; greedy answers."
    return [head, "", "| what | value (95 % interval over subjects) |", "|---|---|"] + [
        f"| {name} | {estimate} |" for name, estimate in rows.items()
    ]
