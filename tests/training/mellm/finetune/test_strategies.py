"""Which weights are trained, on an Idefics3 and on a Qwen2.5-VL model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mellm.stream.errors import UsageError
from mellm.training.mellm.finetune import base, evaluate, recipes, strategies
from mellm.training.mellm.finetune.base import FAMILIES, part_of
from mellm.training.mellm.finetune.config import Config, Fit, Stage
from mellm.training.mellm.finetune.finish import finish
from mellm.training.mellm.finetune.run import Trainer
from tests.training.mellm.finetune import tiny, tiny_qwen


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_qwen.model_folder(tmp_path_factory.mktemp("qwen") / "base")


@pytest.fixture
def folder(request: pytest.FixtureRequest, made: Path, qwen: Path) -> Path:
    return made / "base" if request.param == "idefics3" else qwen


both = pytest.mark.parametrize("folder", ["idefics3", "qwen2_5_vl"], indirect=True)


def prepared(folder: Path, strategy: dict[str, Any], half: bool = False) -> tuple[Any, Config]:
    config = tiny.config(folder.parent, strategy=strategy)
    return strategies.prepare(base.load_model(folder), config, half), config


def test_where_parts_lie() -> None:
    qwen, idefics = FAMILIES["qwen2_5_vl"], FAMILIES["idefics3"]
    assert part_of("model.visual.blocks.0.mlp.up_proj.weight", qwen) == "vision"
    assert part_of("model.visual.merger.mlp.0.weight", qwen) == "projector"
    assert part_of("model.language_model.layers.0.mlp.up_proj.weight", qwen) == "language"
    assert part_of("lm_head.weight", qwen) == "language"
    assert part_of("model.connector.modality_projection.proj.weight", idefics) == "projector"
    assert part_of("model.vision_model.post_layernorm.weight", idefics) == "vision"


@both
def test_every_part_is_trained_or_frozen_as_told(folder: Path) -> None:
    of = base.family(base.check(folder)["model_type"])
    model, config = prepared(folder, {"kind": "staged"})
    seen = []
    for stage in config.strategy.stages():
        names = strategies.select(model, stage, of)
        seen.append({part_of(strategies.canonical(n), of) for n in names})
        frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
        assert frozen.isdisjoint(names)
    assert seen == [{"projector"}, {"projector", "vision"}, {"projector", "vision", "language"}]


@both
@pytest.mark.parametrize("targets", ["all-linear", "attention"])
def test_adapters_lie_on_the_language_model_alone(folder: Path, targets: str) -> None:
    of = base.family(base.check(folder)["model_type"])
    model, config = prepared(folder, {"kind": "lora", "lora": {"rank": 2, "targets": targets}})
    names = strategies.select(model, config.strategy.stages()[0], of)
    assert names
    assert all(".lora_" in n and part_of(strategies.canonical(n), of) == "language" for n in names)
    assert len(names) == 2 * 2 * (7 if targets == "all-linear" else 4), (
        "two matrices on each layer of two blocks"
    )
    assert not any("lm_head" in n for n in names)


@both
def test_what_is_trained_is_kept_in_full_precision(folder: Path) -> None:
    model, config = prepared(folder, {"kind": "lora", "vision": "tuned"}, half=True)
    of = base.family(base.check(folder)["model_type"])
    strategies.select(model, config.strategy.stages()[0], of)
    kinds = {(p.requires_grad, p.dtype) for p in model.parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}


def test_the_vision_tower_may_have_its_own_rate_and_norms_do_not_decay(made: Path) -> None:
    model, config = prepared(made / "base", {"kind": "full"})
    of = FAMILIES["idefics3"]
    (stage,) = config.strategy.stages()
    strategies.select(model, stage, of)
    groups = strategies.groups(model, stage, Fit(rate=1e-3, vision_rate=1e-4, decay=0.1), of)
    assert {(g["lr"], g["weight_decay"]) for g in groups} == {
        (1e-3, 0.0),
        (1e-3, 0.1),
        (1e-4, 0.0),
        (1e-4, 0.1),
    }
    total = sum(len(g["params"]) for g in groups)  # type: ignore[arg-type]
    assert total == len(list(model.parameters()))
    own = strategies.groups(model, Stage(vision="tuned", rate=5e-4), Fit(vision_rate=1e-4), of)
    assert {g["lr"] for g in own} == {5e-4}, "a stage with its own rate does not inherit the vision tower's"


def test_a_model_without_such_layers(made: Path) -> None:
    with pytest.raises(UsageError, match="no linear layer"):
        strategies.adapted_layers(torch.nn.Sequential(torch.nn.ReLU()), FAMILIES["idefics3"], "all-linear")


@pytest.mark.parametrize(
    "strategy",
    [recipes.get("mellm-7b").settings["strategy"], {"kind": "full"}],
    ids=["mellm-7b", "full"],
)
def test_qwen_learns_and_its_merged_folder_answers_the_same(
    qwen: Path, root: Path, strategy: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way, with Qwen's own preparation of pictures and positions; only the videos' part is left out."""
    monkeypatch.setattr(base, "load_processor", tiny_qwen.processor)
    config = tiny.config(root, base=str(qwen), strategy=strategy, fit={"epochs": 4, "rate": 1e-2})
    trainer = Trainer(config)
    sample = trainer.encoder(trainer.material.train[0])
    assert {"image_grid_thw", "mm_token_type_ids", "pixel_values"} <= set(sample)
    assert int(sample["mm_token_type_ids"].sum()) == int(sample["image_grid_thw"].prod()) // 4
    trainer.fit()
    asked = trainer.material.train[:4]
    model: Any = trainer.model
    before = evaluate.ask(model, trainer.encoder, asked, max_tokens=24, batch=3)
    one_by_one = evaluate.ask(model, trainer.encoder, asked, max_tokens=24, batch=1)
    assert one_by_one == before, "padding at the left changes nothing"
    result = finish(trainer)
    assert result.last_loss < result.first_loss
    assert evaluate.ask(base.load_model(result.model), trainer.encoder, asked, max_tokens=24) == before
    assert not (result.model / "adapter").exists(), "adapters alone would lack the tuned vision tower"
