"""How long the garbage collector stops a live source, with what was loaded set aside and without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from mellm.detectors.weights import store as weights
from tests import REPO
from tests.reliability.figures import percentile, record

SECONDS = int(os.environ.get("MELLM_SECONDS", "30"))
ROUNDS = 3

LIVE = """
import gc, json, sys, tempfile, time
from pathlib import Path
import mellm.clients.cli.serve, mellm.engine.server.server
from mellm.clients.cli.live import build
from mellm.engine.analysis import bench
from mellm.engine.config import load
from mellm.engine.server.process import heap
from mellm.stream.capture.runner import RunnerOptions
seconds, aside = int(sys.argv[1]), sys.argv[2] == "set aside"
if not aside:
    heap.set_aside = lambda: None
folder = Path(tempfile.mkdtemp())
bench.clip(bench.pictures(Path(sys.argv[3]), (640, 480)), folder / "clip.mp4", 30, seconds, 30.0)
stops, began = [], [0.0]
def watch(phase, info):
    if phase == "start":
        began[0] = time.perf_counter()
    else:
        stops.append((info["generation"], (time.perf_counter() - began[0]) * 1e3))
source = {"id": "a", "uri": str(folder / "clip.mp4")}
settings = load(flags={"sources": [source], "purpose": "self-use", "describer.kind": "nano"})
engine = build(settings, settings.sources, bench._Deaf(), RunnerOptions(policy="live", realtime=True))
engine.start()
one = engine.sources["a"]
while one.counts().analysed < 30:
    time.sleep(0.05)
one._latencies.clear()
gc.callbacks.append(watch)
while not engine.finished:
    time.sleep(0.1)
gc.callbacks.remove(watch)
late = list(one._latencies)
full = []
for _ in range(5):
    began_ns = time.thread_time_ns()
    gc.collect()
    full.append((time.thread_time_ns() - began_ns) / 1e6)
engine.stop()
print(json.dumps({"late": late, "stops": stops, "full": min(full)}))
"""


def play(how: str) -> dict[str, Any]:
    sample = REPO / "clients" / "sample" / "sample.mp4"
    command = [sys.executable, "-c", LIVE, str(SECONDS), how, str(sample)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPO, timeout=600)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.timeout(1700)
def test_e3_setting_aside_what_was_loaded_shortens_the_collectors_stops() -> None:
    if any(row.state not in ("ok", "fallback") for row in weights.listing()):
        pytest.skip("the models are not in the cache (run `mellm models pull`)")
    runs = ("as it was", "set aside")
    found: dict[str, list[dict[str, Any]]] = {how: [] for how in runs}
    for _ in range(ROUNDS):
        for how in runs:
            found[how].append(play(how))
    for how, plays in found.items():
        late = [each for one in plays for each in one["late"]]
        full = [ms for one in plays for generation, ms in one["stops"] if generation == 2]
        stops = [ms for one in plays for _, ms in one["stops"]]
        record(
            "E3",
            "N",
            run=how,
            seconds=SECONDS * ROUNDS,
            score_p50_ms=round(percentile(late, 0.5), 1),
            score_p95_ms=round(percentile(late, 0.95), 1),
            score_p99_ms=round(percentile(late, 0.99), 1),
            longest_stop_ms=round(max(stops), 1),
            full_collections=len(full),
            a_full_one_takes_ms=round(min(one["full"] for one in plays), 2),
            stopped_ms_per_s=round(sum(stops) / SECONDS / ROUNDS, 2),
        )
    assert found["set aside"][0]["late"]
    before, after = (min(one["full"] for one in found[how]) for how in runs)
    assert after < before / 2  # processor time of the same work on the same machine: load does not count
