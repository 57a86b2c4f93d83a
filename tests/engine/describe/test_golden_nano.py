"""What the shipped model says to fixed maps, word for word: a change of reading, decoding or weights shows here.

After a change that is wanted: ``python -m tests.engine.describe.test_golden_nano`` writes the file anew; read its diff.
"""

from __future__ import annotations

import json
import re
from typing import Any

from mellm.engine.describe.local import SHIPPED, NanoDescriber
from mellm.engine.describe.nano_graph import shared
from mellm.engine.types import Evidence
from tests import REPO
from tests.engine.describe.test_shipped_nano import a_map

GOLDEN = REPO / "tests" / "golden" / "nano.json"

MAPS: dict[str, Evidence] = {
    "dark": a_map(),
    "brows lowered": a_map(left=(0.37, 0.37, 0.05, 0.8), right=(0.63, 0.37, -0.05, 0.8)),
    "one brow raised": a_map(left=(0.27, 0.37, 0, -0.8)),
    "smile": a_map(left=(0.36, 0.74, -0.5, -0.7), right=(0.64, 0.74, 0.5, -0.7)),
    "corners down": a_map(left=(0.36, 0.74, 0, 0.8), right=(0.64, 0.74, 0, 0.8)),
    "jaw drops": a_map(chin=(0.5, 0.92, 0, 0.9), lip=(0.5, 0.8, 0, 0.7)),
}


def said() -> dict[str, Any]:
    """All answers, with the weights that gave them."""
    readings = NanoDescriber().read_many(list(MAPS.values()))
    return {
        "model": shared(SHIPPED).folder.version,
        "answers": {
            name: {
                "raw": reading.raw,
                "abstains": None if reading.abstains is None else round(reading.abstains, 2),
            }
            for name, reading in zip(MAPS, readings, strict=True)
        },
    }


def words(raw: str) -> str:
    """An answer without its probabilities, whose last digit depends on the processor."""
    return re.sub(r"0\.\d+", "0.…", raw)


def test_the_shipped_model_says_what_it_said() -> None:
    golden, now = json.loads(GOLDEN.read_text(encoding="utf-8")), said()
    assert now["model"] == golden["model"], "other weights: write the golden file anew (see the module)"
    for name, answer in golden["answers"].items():
        assert words(now["answers"][name]["raw"]) == words(answer["raw"]), name
        assert abs((now["answers"][name]["abstains"] or 0) - (answer["abstains"] or 0)) <= 0.02, name
    assert now["answers"].keys() == golden["answers"].keys()


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(said(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
