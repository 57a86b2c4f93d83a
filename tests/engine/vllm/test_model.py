import json

import pytest

from mellm.engine.vllm import model as served_model
from mellm.engine.vllm.model import END_OF_UTTERANCE, find, inspect
from mellm.stream.errors import ModelCorrupt, ModelMissing
from tests.engine.serving import NANO, QWEN, folder


def test_a_folder_tells_what_serving_needs(tmp_path):
    nano = inspect(folder(tmp_path, NANO), "mellm-nano")
    qwen = inspect(folder(tmp_path, QWEN, "MELLM-7B"))
    assert (nano.name, nano.family, nano.vision, nano.context) == ("mellm-nano", "idefics3", True, 1024)
    assert nano.kv_bytes == 2 * 4 * 4 * 256  # keys and values, 4 bytes, 4 layers, 256 wide
    assert (qwen.name, qwen.kv_bytes) == ("MELLM-7B", 2 * 4 * 28 * 4 * 128)
    assert (nano.profile, qwen.profile) == ("nano", "mellm-v1")
    blind = {key: value for key, value in QWEN.items() if key != "vision_config"} | {"model_type": "qwen3"}
    assert inspect(folder(tmp_path, blind, "MELLM-v3")).profile == "mellm-v3"
    assert inspect(folder(tmp_path, QWEN, "Qwen2.5-VL-7B-Instruct")).profile == "generic"


def test_the_small_model_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(served_model, "NANO", folder(tmp_path, NANO, "nano"))
    assert find("nano").name == "mellm-nano"
    monkeypatch.setattr(served_model, "NANO", tmp_path / "nowhere")
    with pytest.raises(ModelMissing, match="reinstall"):
        find("nano")


def test_what_is_no_model_folder_is_refused_by_name(tmp_path):
    with pytest.raises(ModelMissing, match="no model folder"):
        find(str(tmp_path / "nothing"))
    with pytest.raises(ModelMissing, match=r"no config\.json"):
        find(str(tmp_path))
    with pytest.raises(ModelMissing, match="merge adapters"):
        find(str(folder(tmp_path, QWEN, "adapter", "adapter_config.json")))


@pytest.mark.parametrize(
    "config",
    ["{", "[]", {}, {**QWEN, "model_type": 7}, {**QWEN, "num_attention_heads": 0}, {**QWEN, "head_dim": "x"}],
)
def test_a_broken_configuration_is_a_corrupt_model(tmp_path, config):
    with pytest.raises(ModelCorrupt, match=r"config\.json"):
        inspect(folder(tmp_path, config))


def test_a_tokenizer_that_its_processor_would_outgrow_is_refused(tmp_path):
    made = folder(tmp_path, NANO)
    tokens = {"added_tokens": [{"content": "<image>"}], "model": {"vocab": {"a": 0}}}
    (made / "tokenizer.json").write_text(json.dumps(tokens))
    with pytest.raises(ModelCorrupt, match="end_of_utterance"):
        inspect(made)
    tokens["added_tokens"].append({"content": END_OF_UTTERANCE})
    (made / "tokenizer.json").write_text(json.dumps(tokens))
    assert inspect(made).family == "idefics3"
    (made / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelCorrupt, match=r"tokenizer\.json is not a tokenizer"):
        inspect(made)
