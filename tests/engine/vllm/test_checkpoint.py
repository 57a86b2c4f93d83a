"""The wheel holds the small model once; a server gets its checkpoint back, bit for bit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mellm.engine.describe.local import SHIPPED
from mellm.engine.describe.nano_folder import MANIFEST
from mellm.engine.vllm import checkpoint, model
from mellm.stream.errors import ModelCorrupt


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model's folder as an installation from a wheel has it, and a cache of its own."""
    monkeypatch.setenv("MELLM_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "nano"
    shutil.copytree(SHIPPED, folder, ignore=shutil.ignore_patterns(checkpoint.WEIGHTS))
    return folder


def test_the_weights_come_back_bit_for_bit(installed: Path) -> None:
    copy = checkpoint.whole(installed)
    assert copy != installed
    assert (copy / checkpoint.WEIGHTS).read_bytes() == (SHIPPED / checkpoint.WEIGHTS).read_bytes()
    kept = {path.name for path in SHIPPED.iterdir()} - {
        "vision.onnx",
        "embed.onnx",
        "decoder.onnx",
        "nano.md",
    }
    assert {path.name for path in copy.iterdir()} == kept
    stamp = (copy / checkpoint.WEIGHTS).stat().st_mtime_ns
    assert checkpoint.whole(installed) == copy
    assert (copy / checkpoint.WEIGHTS).stat().st_mtime_ns == stamp, "made once"


def test_a_damaged_copy_is_made_again(installed: Path) -> None:
    copy = checkpoint.whole(installed)
    (copy / checkpoint.WEIGHTS).write_bytes(b"half of it")
    assert (checkpoint.whole(installed) / checkpoint.WEIGHTS).stat().st_size > 1 << 20


def test_a_server_is_given_the_whole_checkpoint(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "NANO", installed)
    served = model.find("nano")
    assert served.name == "mellm-nano"
    assert (served.folder / checkpoint.WEIGHTS).is_file()


def test_a_checkout_is_served_as_it_is() -> None:
    assert checkpoint.whole(SHIPPED) == SHIPPED


def test_other_weights_than_the_manifest_names_are_refused(installed: Path) -> None:
    facts = json.loads((installed / MANIFEST).read_text())
    facts["files"][checkpoint.WEIGHTS] = "0" * 64
    (installed / MANIFEST).write_text(json.dumps(facts))
    with pytest.raises(ModelCorrupt, match="do not hold the weights"):
        checkpoint.whole(installed)
    (installed / MANIFEST).write_text("{}")
    with pytest.raises(ModelCorrupt, match="incomplete"):
        checkpoint.whole(installed)
