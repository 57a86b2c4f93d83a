"""The embedded model as it ships: whole, small enough, and able to see."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mellm.detectors.regions import NAMES
from mellm.engine.describe import DescribeContext, create, nano_folder
from mellm.engine.describe.local import SHIPPED
from mellm.engine.evidence import colour_wheel
from mellm.engine.types import Evidence, RegionMotion


def a_map(**moved: tuple[float, float, float, float]) -> Evidence:
    """A dark map with spots: name → x, y, dx, dy in shares of the picture; drawn as the ``live`` recipe draws."""
    flow = np.zeros((368, 320, 2), np.float32)
    y, x = np.mgrid[0:368, 0:320] / 320
    for px, py, dx, dy in moved.values():
        flow += np.exp(-((x - px) ** 2 + (y - py) ** 2) / 0.004)[..., None] * np.array([dx, dy], np.float32)
    strength = np.clip(np.hypot(flow[..., 0], flow[..., 1]), 0, 1).astype(np.float32)
    picture = colour_wheel.glow(flow, strength, np.full((368, 320), 45, np.uint8))
    colour_wheel.stamp(picture, "2% of face")
    return Evidence(picture, tuple(RegionMotion(n, 0, 0, 0, 0, "") for n in NAMES), {}, "live")


def test_every_file_is_there_unchanged_and_small() -> None:
    told = json.loads((SHIPPED / "nano.json").read_text(encoding="utf-8"))
    sizes = {}
    for name, digest in told["files"].items():
        assert nano_folder.sha256(SHIPPED / name) == digest, name
        sizes[name] = (SHIPPED / name).stat().st_size
    assert max(sizes.values()) <= 16 << 20
    assert sum(sizes.values()) <= 32 << 20
    assert told["training"]["command"] == "mellm train nano"
    card = (SHIPPED / "nano.md").read_text(encoding="utf-8")
    assert card.index("What it is not good at") < card.index("## Scores")


def test_it_repeats_itself() -> None:
    describer = create("nano")
    assert describer.name.startswith("mellm-nano-")
    lowered = a_map(left=(0.37, 0.37, 0.05, 0.8), right=(0.63, 0.37, -0.05, 0.8))
    one, two = (describer.describe(lowered, DescribeContext()) for _ in range(2))
    assert (one.text, one.action_units, one.abstained) == (two.text, two.action_units, two.abstained)


def test_a_dark_map_is_not_described() -> None:
    told = create("nano").describe(a_map(), DescribeContext())
    assert told.abstained == "model_abstained"
    assert not told.action_units
    assert told.emotion is None


def test_what_is_named_is_listed() -> None:
    smile = a_map(left=(0.36, 0.74, -0.5, -0.7), right=(0.64, 0.74, 0.5, -0.7))
    told = create("nano").describe(smile, DescribeContext())
    assert told.abstained is None
    assert 12 in {unit.au for unit in told.action_units}
    for unit in told.action_units:
        assert f"AU{unit.au}" in told.text
        assert 0 < unit.score <= 1
    assert told.emotion is not None
    assert sum(told.emotion.scores.values()) == pytest.approx(1, abs=0.02)
