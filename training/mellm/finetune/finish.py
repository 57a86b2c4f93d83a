"""From a fitted trainer to a model folder with its numbers and its card."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mellm.training.mellm.finetune import base, evaluate, export
from mellm.training.mellm.finetune.card import card, record
from mellm.training.mellm.finetune.evaluate import Scores
from mellm.training.mellm.finetune.run import Trainer


@dataclass(frozen=True, slots=True)
class Result:
    """What a run ended in."""

    model: Path
    steps: int
    first_loss: float
    last_loss: float
    scores: Scores | None


def finish(trainer: Trainer, on_progress: Callable[[int, int], None] | None = None) -> Result:
    """Write ``model/`` in the run folder, ask the held-out subjects of what was written, add the card.

    The numbers are those of the folder as it lies there, read back, not of the model in memory.

    :raises RunError: it cannot be written; an older model is still there
    """
    config = trainer.config
    folder = config.out / "model"
    facts = _facts(trainer)
    # adapters alone are no model where other weights were tuned beside them
    adapter = config.lora is not None and all(".lora_" in name for name in trainer.kept)
    texts = {"README.md": card(config, facts, None), "finetune.json": record(config, facts, None)}
    export.write(trainer.whole(), config.base, folder, trainer.stored_dtype, texts, adapter)
    scores = None
    asked = evaluate.spread(trainer.material.held_out, config.evaluation.limit)
    if asked:
        model = base.load_model(folder).to(trainer.device)  # type: ignore[arg-type]  # as in export.py
        limits = {"max_tokens": config.evaluation.max_tokens, "batch": config.evaluation.batch}
        answers = evaluate.ask(model, trainer.encoder, asked, on_progress=on_progress, **limits)
        scores = evaluate.score(asked, answers, config.fit.seed)
        with (config.out / "held_out.jsonl").open("w", encoding="utf-8") as file:
            for r, said in zip(asked, answers, strict=True):
                line = {"id": r.id, "subject": r.subject, "right": r.answer, "said": said}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        (folder / "README.md").write_text(card(config, facts, scores), encoding="utf-8")
        (folder / "finetune.json").write_text(record(config, facts, scores), encoding="utf-8")
    return Result(folder, trainer.total, facts["first_loss"], facts["last_loss"], scores)


def _facts(trainer: Trainer) -> dict[str, Any]:
    losses = [json.loads(line)["loss"] for line in trainer.losses.read_text(encoding="utf-8").splitlines()]
    tenth = max(1, len(losses) // 10)
    material = trainer.material
    return {
        "conversations": len(material.train),
        "subjects": len({r.subject for r in material.train}),
        "tokens": material.tokens,
        "left_out": material.left_out,
        "data_sha256": material.sha256,
        "steps": trainer.total,
        "first_loss": sum(losses[:tenth]) / tenth,
        "last_loss": sum(losses[-tenth:]) / tenth,
    }
