"""Threads are made in one place, so that none can die unseen."""

from __future__ import annotations

import re

from tests import REPO

ALLOWED = {
    "stream/worker.py": 1,
    "stream/sources/addresses.py": 1,  # one look-up of a name, whose end is waited for
    "engine/analysis/prefetch.py": 1,  # its errors are raised to whoever takes its items
    "detectors/signals.py": 1,  # a pool whose results are waited for: errors are raised there
    "engine/vllm/launcher.py": 1,  # of another process, which it ends
    "clients/cli/serve.py": 1,  # opens a browser, and ends
}


def test_long_lived_threads_are_workers() -> None:
    found = {}
    for room in ("stream", "detectors", "engine", "clients"):
        for path in sorted((REPO / room).rglob("*.py")):
            count = len(
                re.findall(r"\bThread\(|ThreadPoolExecutor\(|\bTimer\(", path.read_text(encoding="utf-8"))
            )
            if count:
                found[str(path.relative_to(REPO))] = count
    assert found == ALLOWED, "run it by a Worker, or say here why it need not be one"
