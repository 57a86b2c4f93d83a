from __future__ import annotations

from pathlib import Path

import pytest

from mellm.stream.errors import ConfigError
from mellm.training.mellm.finetune import recipes
from mellm.training.mellm.finetune.config import Config, load, merged, validated

LEAST = {"base": "b", "out": "o", "data": {"train": "t.jsonl"}}


@pytest.mark.parametrize("name", recipes.all_recipes())
def test_every_recipe_is_a_configuration_with_reasons(name: str) -> None:
    config = validated({**LEAST, "recipe": name}, "here")
    recipe = recipes.get(name)
    assert config.strategy.stages()
    assert recipe.origin
    assert recipe.reasons
    ours = name.startswith("mellm-")
    assert ours == ("does not publish its hyper-parameters" in recipe.origin)
    for key, value in recipe.settings["fit"].items():
        assert getattr(config.fit, key) == (tuple(value) if isinstance(value, list) else value)


def test_the_published_numbers_of_the_challenge_recipes() -> None:
    def of(name: str) -> Config:
        return validated({**LEAST, "recipe": name}, "here")

    hier = of("hiermeqa")
    assert hier.lora is not None
    assert (hier.lora.rank, hier.lora.alpha, hier.fit.rate, hier.fit.epochs) == (16, 32, 1e-4, 3)
    assert hier.strategy.stages()[0].label == "vision+projector+language (lora)"
    hfips = of("hfips-cas")
    assert (hfips.fit.rate, hfips.fit.epochs, hfips.fit.batch, hfips.fit.warmup) == (5e-6, 2, 1, 0.05)
    assert hfips.data.max_length == 10000
    assert hfips.strategy.stages()[0].label == "vision+projector+language"
    full = of("full-sft")
    assert (full.fit.rate, full.fit.epochs) == (2e-5, 20)


def test_the_file_lies_over_its_recipe() -> None:
    config = validated({**LEAST, "recipe": "hiermeqa", "fit": {"epochs": 1}}, "here")
    assert (config.fit.epochs, config.fit.rate) == (1, 1e-4)
    other = validated({**LEAST, "recipe": "hiermeqa", "strategy": {"kind": "full"}}, "here")
    assert other.lora is None, "a strategy of another kind inherits nothing"
    assert merged({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}) == {"a": {"b": 3, "c": 2}}


def test_staged_by_default_goes_from_the_projector_to_everything() -> None:
    config = validated({**LEAST, "strategy": {"kind": "staged"}}, "here")
    assert [s.label for s in config.strategy.stages()] == [
        "projector",
        "vision+projector",
        "vision+projector+language",
    ]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"fit": {"learning_rate": 1}}, "unknown key 'fit.learning_rate'"),
        ({"strategy": {"kind": "lora", "visoin": "tuned"}}, "did you mean 'vision'"),
        ({"strategy": {"kind": "magic"}}, "strategy"),
        ({"strategy": {"kind": "lora", "lora": {"rank": 0}}}, "strategy.lora.rank"),
        ({"strategy": {"kind": "staged", "stage": [{}]}}, "trains nothing"),
        (
            {"strategy": {"kind": "staged", "stage": [{"language": "lora"}, {"language": "tuned"}]}},
            "not both in one run",
        ),
        ({"fit": {"batch": 10, "micro_batch": 4}}, "not a multiple"),
        ({"fit": {"rate": -1}}, "fit.rate"),
        ({"recipe": "nope"}, "choose one of"),
        ({"recipe": 3}, "not a name"),
        ({"name": "a/b"}, "name"),
    ],
)
def test_what_cannot_be_obeyed_is_named(changes: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        validated({**LEAST, "strategy": {"kind": "full"}, **changes}, "here")


def test_files(tmp_path: Path) -> None:
    good = tmp_path / "good.toml"
    good.write_text('recipe = "nano"\nbase = "b"\nout = "o"\n[data]\ntrain = "t"\n')
    assert load(good).data.max_length == 512
    with pytest.raises(ConfigError, match="missing"):
        validated({"base": "b", "out": "o"}, "here")
    bad = tmp_path / "bad.toml"
    bad.write_text("= 3")
    with pytest.raises(ConfigError, match="not TOML"):
        load(bad)
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.toml")
