"""What the reliability tests measured, as one JSON file each: docs/results/reliability.md is made from them."""

from __future__ import annotations

import json
import os
import platform
from datetime import date
from pathlib import Path
from typing import Any

from tests import REPO

COMMANDS = {"C": "make test-all", "N": "make test-slow", "S": "make soak", "K": "make test-cluster"}
FOLDER = Path(os.environ.get("MELLM_FIGURES", REPO / "runs" / "reliability"))


def record(test: str, tier: str, run: object = None, **figures: Any) -> None:
    """Keep the figures of one test of the matrix.

    :param test: its id, such as ``F7``
    :param tier: a key of :data:`COMMANDS`; each has a file of its own
    :param run: seed or case, where one test has several; they are kept side by side
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{test}-{tier}.json"
    body = {
        "test": test,
        "command": COMMANDS[tier],
        "date": date.today().isoformat(),
        "machine": f"{os.cpu_count()}-core {platform.machine()}, Python {platform.python_version()}",
    }
    if run is not None:
        known = json.loads(path.read_text(encoding="utf-8")).get("runs", {}) if path.exists() else {}
        body["runs"] = known | {str(run): figures}
    else:
        body["figures"] = figures
    path.write_text(json.dumps(body, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def percentile(values: list[float], share: float) -> float:
    """Nearest-rank percentile; 0 for no values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
