"""The shipped sample: what the issue asks of it, and that its recipe still makes it."""

from __future__ import annotations

import hashlib
import json
from itertools import islice
from typing import Any

import numpy as np
import pytest

from mellm.stream.frames import Frame
from mellm.stream.sources import open_source
from tests import REPO

SAMPLE = REPO / "clients" / "sample"


@pytest.fixture(scope="module")
def truth() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((SAMPLE / "sample.truth.json").read_text(encoding="utf-8"))
    return loaded


def test_the_sample_is_what_was_asked_for(truth: dict[str, Any]) -> None:
    video = SAMPLE / "sample.mp4"
    assert video.stat().st_size < 3_000_000
    assert hashlib.sha256(video.read_bytes()).hexdigest() == truth["sha256"]
    assert truth["frames"] / truth["fps"] >= 20
    assert len(truth["expressions"]) == 6
    assert len({tuple((u["au"], u["side"]) for u in e["action_units"]) for e in truth["expressions"]}) >= 4
    for one in truth["expressions"]:
        assert 1 <= one["peak_iod"] <= 4
        assert one["onset_frame"] < one["apex_frame"] < one["offset_frame"]
        assert one["offset_ms"] - one["onset_ms"] <= 500
    assert {d["kind"] for d in truth["distractors"]} == {"blink", "head turn", "macro-expression"}
    assert truth["in_training"] is False


def test_portrait_and_seed_are_in_no_training(truth: dict[str, Any]) -> None:
    rig = pytest.importorskip("mellm.training.synth.rig")
    assert truth["seed"] in rig.SPLITS["demo"]
    assert truth["seed"] not in rig.SPLITS["train"]
    training = REPO / "training"
    users = [p.name for p in training.rglob("*.py") if "astronaut" in p.read_text(encoding="utf-8")]
    assert users == ["make_sample.py"]


def test_the_recipe_still_draws_the_first_frames() -> None:
    pytest.importorskip("skimage", reason="the extra `train` is not installed")
    from mellm.stream.errors import ModelMissing
    from mellm.training.tools.make_sample import render

    try:
        frames, _ = render(0.1)
    except ModelMissing as error:
        pytest.skip(str(error))
    drawn = list(islice(frames, 3))
    with open_source(str(SAMPLE / "sample.mp4"), id="sample", live=False) as source:
        for image in drawn:
            item = source.read()
            assert isinstance(item, Frame)
            assert np.abs(item.image.astype(int) - image.astype(int)).mean() < 4
