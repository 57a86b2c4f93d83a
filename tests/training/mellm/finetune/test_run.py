"""Whole runs on a small random model."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from mellm.stream.errors import ConfigError, ModelOutputInvalid, RunError, UsageError
from mellm.training.mellm.finetune import base, evaluate
from mellm.training.mellm.finetune.config import Config
from mellm.training.mellm.finetune.finish import finish
from mellm.training.mellm.finetune.run import Interrupted, Trainer
from tests.training.mellm.finetune import tiny

LORA = {"kind": "lora", "projector": "frozen", "lora": {"rank": 4, "dropout": 0.1}}


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}


def fitted(config: Config, **more: Any) -> Trainer:
    trainer = Trainer(config)
    trainer.fit(**more)
    return trainer


def test_it_learns_to_answer_and_the_folder_answers_as_told(root: Path) -> None:
    config = tiny.config(root, data={"held_out": str(root / "test.jsonl")}, fit={"epochs": 30, "rate": 1e-2})
    result = finish(fitted(config))
    assert result.last_loss < 0.2 * result.first_loss
    assert result.scores is not None
    assert result.scores.units.value == 1.0
    assert result.scores.coarse.value == 1.0
    assert result.scores.abstains.value == 1.0
    assert result.scores.withheld.value == 0.0
    card = (result.model / "README.md").read_text()
    assert "micro-F1 (sides left aside) | 1.000 (1.000–1.000), n = 6" in card
    assert card.index("cannot do") < card.index("How well")
    kept = json.loads((result.model / "finetune.json").read_text())
    assert kept["settings"]["base"] == "base"
    assert str(root) not in card + json.dumps(kept), "no paths of this machine"
    for name in ("tokenizer.json", "processor_config.json", "chat_template.jinja", "config.json"):
        assert (result.model / name).read_bytes() == (root / "base" / name).read_bytes()


def test_merged_adapters_answer_as_the_adapters_did(root: Path) -> None:
    config = tiny.config(root, strategy=LORA, fit={"epochs": 4, "rate": 2e-2})
    trainer = fitted(config)
    before = dict(base.load_model(root / "base").named_parameters())
    asked = trainer.material.train[:6]
    model: Any = trainer.model
    with_adapters = evaluate.ask(model, trainer.encoder, asked, max_tokens=30)
    folder = finish(trainer).model
    merged = base.load_model(folder)
    assert evaluate.ask(merged, trainer.encoder, asked, max_tokens=30) == with_adapters
    untuned = base.load_model(root / "base")
    assert evaluate.ask(untuned, trainer.encoder, asked, max_tokens=30) != with_adapters
    changed = {n for n, p in merged.named_parameters() if not torch.equal(p, before[n])}
    assert changed
    assert all("text_model.layers" in n for n in changed), "nothing but the adapted layers has changed"
    from peft import PeftModel

    again = PeftModel.from_pretrained(base.load_model(root / "base"), str(folder / "adapter"))
    assert evaluate.ask(again, trainer.encoder, asked, max_tokens=30) == with_adapters  # type: ignore[arg-type]


@pytest.mark.parametrize("strategy", [LORA, {"kind": "staged"}], ids=["lora", "staged"])
def test_a_resumed_run_ends_like_one_that_was_not_stopped(root: Path, strategy: dict[str, Any]) -> None:
    fit = {"epochs": 1 if strategy["kind"] == "staged" else 3}
    whole = fitted(tiny.config(root, strategy=strategy, fit=fit, out=str(root / "whole")))
    config = tiny.config(root, strategy=strategy, fit=fit)
    trainer = Trainer(config)
    trainer.on_step = lambda stage, done, total, loss: trainer.stop() if trainer.total == 3 else None
    with pytest.raises(Interrupted, match="--resume"):
        trainer.fit()
    resumed = fitted(config, resume=True)
    assert resumed.total == whole.total == 6
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(resumed)[name], value, rtol=1e-5, atol=1e-7)
    steps = [json.loads(line)["step"] for line in resumed.losses.read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_a_signal_ends_the_run_after_a_checkpoint(root: Path) -> None:
    trainer = Trainer(tiny.config(root))
    trainer.on_step = lambda stage, done, total, loss: (
        os.kill(os.getpid(), signal.SIGTERM) if done == 2 else None
    )
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted) as caught:
        trainer.fit()
    assert caught.value.exit_code == 130
    assert signal.getsignal(signal.SIGTERM) == before
    assert (trainer.checkpoints / "step-00000002" / "progress.json").exists()


def test_what_is_there_is_never_overwritten_by_another_run(root: Path) -> None:
    config = tiny.config(root, fit={"max_steps": 4})
    fitted(config)
    with pytest.raises(RunError, match="--resume"):
        fitted(config)
    with pytest.raises(ConfigError, match="another configuration"):
        fitted(tiny.config(root, fit={"max_steps": 4, "rate": 1e-3}), resume=True)
    assert fitted(tiny.config(root, fit={"max_steps": 4, "micro_batch": 2}), resume=True).total == 4


def test_a_diverging_run_stops_and_keeps_its_checkpoint(root: Path) -> None:
    trainer = Trainer(tiny.config(root, keep={"every": 1}))

    def poison(stage: str, done: int, total: int, loss: float) -> None:
        if done == 2:
            next(trainer.model.parameters()).data.fill_(float("nan"))

    trainer.on_step = poison
    with pytest.raises(ModelOutputInvalid, match="at step 3"):
        trainer.fit()
    assert sorted(p.name for p in trainer.checkpoints.iterdir()) == ["step-00000001", "step-00000002"]


def test_a_full_disk_is_noticed_before_the_run_begins(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(tiny.config(root))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 1000))  # type: ignore[attr-defined]
    with pytest.raises(RunError, match="GB left"):
        trainer.fit()


def test_batches_do_not_depend_on_how_many_are_computed_at_once(root: Path) -> None:
    one = fitted(tiny.config(root, fit={"max_steps": 2, "micro_batch": 1}, out=str(root / "one")))
    six = fitted(tiny.config(root, fit={"max_steps": 2, "micro_batch": 6}, out=str(root / "six")))
    for name, value in weights(one).items():
        torch.testing.assert_close(weights(six)[name], value, rtol=1e-4, atol=1e-5)


def test_recomputing_activations_changes_nothing(root: Path) -> None:
    strategy = {"kind": "lora", "vision": "tuned"}
    off = fitted(tiny.config(root, strategy=strategy, fit={"max_steps": 2}, out=str(root / "off")))
    on = fitted(
        tiny.config(
            root, strategy=strategy, fit={"max_steps": 2, "checkpointing": True}, out=str(root / "on")
        )
    )
    for name, value in weights(off).items():
        torch.testing.assert_close(weights(on)[name], value, rtol=1e-4, atol=1e-5)


def test_arithmetic_in_half_precision_rounds_nothing_that_is_not_trained(root: Path) -> None:
    fit = {"epochs": 4, "rate": 2e-2, "precision": "bf16"}
    strategy = {"kind": "lora", "projector": "tuned", "lora": {"rank": 4, "targets": "attention"}}
    trainer = fitted(tiny.config(root, strategy=strategy, fit=fit))
    kinds = {(".lora_" in n or "connector" in n, p.dtype) for n, p in trainer.model.named_parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}
    result = finish(trainer)
    assert result.last_loss < result.first_loss
    before = dict(base.load_model(root / "base").named_parameters())
    after = dict(base.load_model(result.model).named_parameters())
    changed = {n for n, p in after.items() if not torch.equal(p, before[n])}
    assert changed
    assert all("self_attn" in n or "connector" in n for n in changed)
    assert all(p.dtype == torch.float32 for p in after.values())


def test_people_of_the_training_are_not_asked_in_the_end(root: Path) -> None:
    tiny.data_file(root / "test.jsonl", 3, "a", first=90)
    with pytest.raises(UsageError, match=r"learnt from .* and held out"):
        Trainer(tiny.config(root, data={"held_out": str(root / "test.jsonl")}))


def test_a_model_that_cannot_be_written_leaves_the_old_one(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = fitted(tiny.config(root, fit={"max_steps": 1}))
    folder = finish(trainer).model
    before = (folder / "model.safetensors").read_bytes()

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copy2", full)
    with pytest.raises(RunError, match="no room left"):
        finish(trainer)
    assert (folder / "model.safetensors").read_bytes() == before
    assert not list(folder.parent.glob(".*"))
