"""A model folder is complete and unharmed, or it is refused by name with a remedy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mellm.detectors import flow, recipe
from mellm.engine import map_recipe
from mellm.engine.describe import nano_folder
from mellm.engine.describe.nano_folder import MANIFEST, RUNTIME
from mellm.engine.describe.nano_graph import open_graph, shared
from mellm.stream.errors import ModelCorrupt, ModelMismatch, ModelMissing
from tests.engine.describe.nano_models import exported


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported(), tmp_path / "nano"))


def change(folder: Path, edit: Callable[[dict[str, object]], object]) -> None:
    facts = json.loads((folder / MANIFEST).read_text())
    edit(facts)
    (folder / MANIFEST).write_text(json.dumps(facts))


def test_prompts_and_tokens_are_those_of_the_real_tokenizer(folder: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    real = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    read = nano_folder.read(folder)
    for language, question in (("en", "Describe the expression."), ("zh", "描述这个表情。")):
        picture = "<fake_token_around_image><global-img>" + "<image>" * read.prompts["en"].count(read.image)
        turn = f"<|im_start|>user\n{picture}<fake_token_around_image>{question}<|im_end|>\n<|im_start|>assistant\n"
        assert list(read.prompts[language]) == real.encode(turn).ids
    for text in (
        '{"abstain":false,"action_units":[{"au":12,"side":"left"}]',
        "眉毛压低（AU4）。",
        "é \x00\u2028\U0001f600",
    ):
        assert read.text(real.encode(text).ids) == text
    assert read.text(sorted(read.ends)) == ""


@pytest.mark.parametrize("name", [MANIFEST, *RUNTIME])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelMissing, match=name) as raised:
        nano_folder.read(folder)
    assert "again" in raised.value.remedy


@pytest.mark.parametrize("name", RUNTIME)
def test_a_damaged_file_is_named(folder: Path, name: str) -> None:
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:-1] + bytes((whole[-1] ^ 1,)))
    with pytest.raises(ModelCorrupt, match=f"{name} .* damaged") as raised:
        nano_folder.read(folder)
    assert "again" in raised.value.remedy


@pytest.mark.parametrize(
    "edit",
    [
        lambda facts: facts.pop("files"),
        lambda facts: facts["files"].pop("decoder.onnx"),
        lambda facts: facts.pop("prompts"),
        lambda facts: facts.update(prompts={"en": [1, 2]}),
        lambda facts: facts.update(end_tokens=[]),
        lambda facts: facts.update(image_token=10**6),
        lambda facts: facts.update(picture="large"),
        lambda facts: facts.update(prompts=3),
    ],
)
def test_an_incomplete_manifest_is_refused(folder: Path, edit: Callable[[dict[str, object]], object]) -> None:
    change(folder, edit)
    with pytest.raises(ModelCorrupt, match=MANIFEST):
        nano_folder.read(folder)


@pytest.mark.parametrize(
    ("module", "name", "value", "named"),
    [
        (flow, "QUALITY", flow.LIVE, "flow.finest_scale is 0, not 1"),
        (map_recipe, "LIVE_WIDTH", 256, "crop.width is 320, not 256"),
        (map_recipe, "FULL_SCALE", 0.03, "full_scale is 0.02, not 0.03"),
        (map_recipe, "VERSION", map_recipe.VERSION + 1, "version is 1, not 2"),
    ],
    ids=["flow", "crop", "scale", "version"],
)
def test_maps_drawn_in_another_way_are_refused_with_the_command_that_mends_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, module: object, name: str, value: object, named: str
) -> None:
    monkeypatch.setattr(module, name, value)
    with pytest.raises(ModelMismatch) as refused:
        nano_folder.read(folder)
    assert named in str(refused.value)
    assert "`mellm train nano`" in refused.value.remedy


def test_a_folder_that_does_not_say_what_it_was_trained_on_is_refused(folder: Path) -> None:
    change(folder, lambda facts: facts.pop(recipe.KEY))
    with pytest.raises(ModelMismatch, match="does not say"):
        nano_folder.read(folder)


@pytest.mark.parametrize("text", ["", "[1]", "\x00"])
def test_a_manifest_that_is_no_object_is_refused(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_text(text)
    with pytest.raises(ModelCorrupt, match=MANIFEST):
        nano_folder.read(folder)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match=MANIFEST):
        shared(tmp_path / "nowhere")


def test_graphs_of_another_model_are_refused(folder: Path) -> None:
    """The hashes agree and the graphs do not: a folder put together by hand."""
    shutil.copyfile(folder / "embed.onnx", folder / "vision.onnx")
    digest = nano_folder.sha256(folder / "vision.onnx")
    change(folder, lambda facts: facts["files"].update({"vision.onnx": digest}))  # type: ignore[attr-defined]
    with pytest.raises(ModelCorrupt, match="pixels"):
        open_graph(folder)


def test_a_file_that_is_no_graph_is_refused(folder: Path) -> None:
    (folder / "decoder.onnx").write_bytes(b"not a graph")
    digest = nano_folder.sha256(folder / "decoder.onnx")
    change(folder, lambda facts: facts["files"].update({"decoder.onnx": digest}))  # type: ignore[attr-defined]
    with pytest.raises(ModelCorrupt, match=r"decoder\.onnx"):
        open_graph(folder)


def test_a_folder_is_verified_once_in_a_process(folder: Path) -> None:
    first = shared(folder)
    (folder / "vision.onnx").unlink()
    assert shared(folder) is first
