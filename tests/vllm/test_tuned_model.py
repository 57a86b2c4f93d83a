"""A model tuned with adapters, merged, and served: it says what transformers reads out of the same folder."""

from __future__ import annotations

import base64
from pathlib import Path

import httpx
import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")
from mellm.engine.vllm import environment as vllm_environment
from mellm.engine.vllm import model as served_model
from mellm.engine.vllm.server import ModelServerOptions, command
from mellm.training.mellm.finetune import base, evaluate
from mellm.training.mellm.finetune.cli import quiet
from mellm.training.mellm.finetune.finish import finish
from mellm.training.mellm.finetune.run import Trainer
from tests.training.mellm.finetune import tiny
from tests.vllm.conftest import KEY, KEY_VARIABLE, Endpoint, free_port, measured

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600), pytest.mark.filterwarnings("default")]

LORA = {"kind": "lora", "projector": "frozen", "lora": {"rank": 8, "dropout": 0.0}}


def test_a_merged_model_answers_the_same_in_transformers_and_vllm(tmp_path: Path) -> None:
    quiet()
    tiny.data_file(tmp_path / "train.jsonl", 12)
    config = tiny.config(
        tmp_path, base=str(served_model.NANO), strategy=LORA, fit={"epochs": 8, "rate": 5e-3}, name="tuned"
    )
    trainer = Trainer(config)
    trainer.fit()
    asked = trainer.material.train[:6]
    folder = finish(trainer).model
    wanted = evaluate.ask(base.load_model(folder), trainer.encoder, asked, max_tokens=60)
    environment = vllm_environment.find()
    options = ModelServerOptions(port=free_port(), api_key=KEY, api_key_env=KEY_VARIABLE)
    one = Endpoint(
        command(served_model.find(str(folder)), options, environment.python), "nano", tmp_path / "log"
    )
    try:
        one.start()
        told = [answer(one, record.images[0]) for record in asked]
    finally:
        one.server.stop()
    same = sum(a == b for a, b in zip(told, wanted, strict=True))
    measured["same answers of a merged model, vLLM and transformers"] = f"{same} of {len(asked)}"
    assert same >= len(asked) - 1
    assert set(wanted) <= set(tiny.ANSWERS.values())  # it has learnt what it was taught


def answer(endpoint: Endpoint, picture: Path) -> str:
    url = "data:image/png;base64," + base64.b64encode(Path(picture).read_bytes()).decode("ascii")
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": tiny.QUESTION}]
    sent = {
        "model": endpoint.line.name,
        "messages": [{"role": "user", "content": parts}],
        "temperature": 0,
        "max_tokens": 60,
    }
    got = httpx.post(
        f"{endpoint.line.base_url}/chat/completions",
        json=sent,
        headers=endpoint.headers,
        timeout=60,
        trust_env=False,
    )
    assert got.status_code == 200, got.text
    return str(got.json()["choices"][0]["message"]["content"])
