from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from mellm.stream.errors import UsageError  # noqa: E402
from mellm.training.instruct.pairs import UnitTruth  # noqa: E402
from mellm.training.mellm import nano, store  # noqa: E402
from mellm.training.mellm.architecture import NanoShape  # noqa: E402
from mellm.training.mellm.sampling import Truth  # noqa: E402

TINY = NanoShape(vision_width=32, vision_layers=1, width=64, layers=2, heads=2, feed_forward=96)


def pairs(count: int = 8) -> list[store.Stored]:
    rng = np.random.default_rng(1)
    out = []
    for i in range(count):
        shown = i % 2 == 0
        picture = np.zeros((128, 128, 3), np.uint8)
        picture[30:50, 40:90, i % 3] = 200 if shown else 0
        out.append(
            store.Stored(
                f"p{i}",
                f"s{i}",
                "train",
                "rendered",
                "expression" if shown else "still",
                (UnitTruth((1, 4, 12)[i % 3], "both", 0.2),) if shown else (),
                1.0,
                False,
                300.0,
                None,
                None,
                picture,
                rng.normal(size=(31, 2)).astype(np.float32),
                0.1,
                shown,
            )
        )
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("pairs")
    store.save(root / "rendered-train" / "0.npz", pairs())
    return root


def options(run: Path, folder: Path) -> nano.NanoOptions:
    return nano.NanoOptions(run, folder, look=3, write=3, batch=4, shape=TINY, threads=1)


def test_a_training_writes_a_model_that_answers(tmp_path: Path, folder: Path) -> None:
    nano.train(options(tmp_path / "run", folder), tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").stat().st_size < 16e6
    assert (tmp_path / "model" / "training.json").exists()
    from transformers import AutoModelForImageTextToText

    AutoModelForImageTextToText.from_pretrained(tmp_path / "model", dtype=torch.float32)


def test_a_stopped_training_goes_on_as_if_it_had_not_stopped(tmp_path: Path, folder: Path) -> None:
    whole = nano.Trainer(options(tmp_path / "whole", folder), pairs())
    whole.fit()
    first = nano.Trainer(options(tmp_path / "parts", folder), pairs())
    for _ in range(2):
        first._iterate(3)
    first.save()
    second = nano.Trainer(options(tmp_path / "parts", folder), pairs())
    second.resume()
    assert second.step == 2
    second.fit()
    for name, value in whole.looker.state_dict().items():
        assert torch.allclose(value, second.looker.state_dict()[name], atol=1e-5), name


def test_only_the_answer_is_learnt(tmp_path: Path, folder: Path) -> None:
    trainer = nano.Trainer(options(tmp_path, folder), pairs())
    prompt, answer = trainer._row(Truth("expression", ((4, "both"),)))
    ids, targets = trainer._padded([(prompt, answer), (prompt, answer[:-2])])
    assert trainer.tokenizer.decode([int(t) for t in targets[0] if t >= 0]).startswith('{"abstain":false')
    assert int((targets >= 0).sum()) == 2 * len(answer) - 2
    start = len(prompt) - 1
    assert ids[0, start + 1] == targets[0, start]  # each position says the next token


def test_the_eye_learns_what_is_plain_to_see(tmp_path: Path, folder: Path) -> None:
    trainer = nano.Trainer(replace(options(tmp_path, folder), look=1000, look_rate=3e-3), pairs())
    losses = [trainer._iterate(1000) for _ in range(60)]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


def test_errors_name_what_is_wrong(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UsageError, match="no training pairs"):
        nano.train(options(tmp_path / "run", tmp_path / "nowhere"), tmp_path / "model")
    assert not (tmp_path / "model").exists()
    trainer = nano.Trainer(options(tmp_path / "run", folder), pairs())
    trainer.save()
    other = replace(options(tmp_path / "run", folder), shape=replace(TINY, width=96))
    with pytest.raises(UsageError, match="another shape"):
        nano.Trainer(other, pairs()).resume()
    good = trainer.path.read_bytes()
    trainer.path.with_name(f".checkpoint.{os.getpid()}.part.pt").mkdir()  # nothing can be written there
    with pytest.raises(UsageError, match="last checkpoint is intact"):
        trainer.save()
    assert trainer.path.read_bytes() == good
