"""What the shipped spotter finds in fixed signals, step by step: a change of network, decoding or grid shows here.

After a change that is wanted: ``python -m tests.detectors.test_golden_spotter`` writes the file anew; read its diff.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from mellm.detectors.regions import INDEX
from mellm.detectors.signals import FEATURES, PER_BASELINE
from mellm.detectors.spotting import Spotter
from mellm.detectors.stepmodel import OnnxStepModel
from mellm.detectors.types import F32
from mellm.detectors.windows import STEP_NS
from tests import REPO

GOLDEN = REPO / "tests" / "golden" / "spotter.json"
STEPS = 200
BASELINES = (5, 15)
"""Steps of 0.02 s between the two pictures of a row's parts."""

Move = tuple[float, float]
BOTH = ("L", "R")
RAISED = ("brow_inner", "brow_mid", "brow_outer", "forehead", "upper_lid")
SIGNALS: dict[str, dict[str, Move]] = {
    "still": {},
    "brows raised": {f"{r}_{s}": (0.0, -1.6) for r in RAISED for s in BOTH},
    "smile": {
        "lip_corner_L": (1.6, -2.4),
        "lip_corner_R": (-1.6, -2.4),
        "cheek_L": (0, -1),
        "cheek_R": (0, -1),
    },
    "one corner": {"lip_corner_L": (2.0, -2.0)},
}
"""Region → where it is at the apex, x and y in 1/100 of the eye distance."""


def rows(moves: dict[str, Move]) -> F32:
    """A motion up to 1.6 s and back until 2.0 s, with the noise of a good camera."""
    rng = np.random.default_rng(7)
    t = 0.02 * np.arange(-max(BASELINES), STEPS)
    rise = np.interp(t, [1.3, 1.6, 2.0], [0.0, 1.0, 0.0])
    found = rng.normal(0, 0.05, (STEPS, FEATURES))
    for part, back in enumerate(BASELINES):
        change = rise[max(BASELINES) :] - rise[max(BASELINES) - back : -back]
        for region, (x, y) in moves.items():
            at = part * PER_BASELINE + 2 * INDEX[region]
            found[:, at] += x * change
            found[:, at + 1] += y * change
    return found.astype(np.float32)


def answers() -> dict[str, Any]:
    """Scores of every tenth step, and spots, with the weights that gave them."""
    model = OnnxStepModel()
    found: dict[str, Any] = {"model": model.version, "signals": {}}
    for name, moves in SIGNALS.items():
        spotter = Spotter(model)
        spots = [s for k, row in enumerate(rows(moves)) for s in spotter.push(k * STEP_NS, row, 50.0)]
        spots += spotter.flush()
        found["signals"][name] = {
            "scores": [round(s.me, 3) for s in list(spotter.scores)[::10]],
            "spots": [
                {
                    "ms": [ns // 1_000_000 for ns in (s.onset_ns, s.apex_ns, s.offset_ns)],
                    "score": round(s.score, 3),
                    "aus": sorted(au for au, p in s.aus if p > 0.5),
                }
                for s in spots
            ],
        }
    return found


def test_the_shipped_spotter_finds_what_it_found() -> None:
    golden, now = json.loads(GOLDEN.read_text(encoding="utf-8")), answers()
    assert now["model"] == golden["model"], "other weights: write the golden file anew (see the module)"
    assert now["signals"].keys() == golden["signals"].keys()
    for name, known in golden["signals"].items():
        found = now["signals"][name]
        np.testing.assert_allclose(found["scores"], known["scores"], atol=0.01, err_msg=name)
        assert [(s["ms"], s["aus"]) for s in found["spots"]] == [
            (s["ms"], s["aus"]) for s in known["spots"]
        ], name


def test_the_golden_file_says_something() -> None:
    signals = json.loads(GOLDEN.read_text(encoding="utf-8"))["signals"]
    still = max(signals["still"]["scores"])
    assert still < 0.1
    assert not signals["still"]["spots"]
    assert all(max(signals[name]["scores"]) > 10 * still for name in SIGNALS if name != "still")
    (spot,) = signals["smile"]["spots"]
    assert abs(spot["ms"][1] - 1600) <= 60
    assert 12 in spot["aus"]


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(answers(), indent=1) + "\n", encoding="utf-8")
