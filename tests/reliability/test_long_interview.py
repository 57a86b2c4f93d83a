"""L8: a long recording. Memory, kill -9 and resume, and the same results as the run that nobody disturbed.

The recording is the shipped sample over and over, remuxed without decoding; ``MELLM_INTERVIEW_S`` sets another length.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import av
import pytest

from tests.clients.processes import start
from tests.reliability.figures import REPO, record

SAMPLE = REPO / "clients" / "sample" / "sample.mp4"

MEASURED = """
import sys
from pathlib import Path
from mellm.clients.cli import run
code = run(sys.argv[2:])
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
Path(sys.argv[1]).write_text(peak.split()[1])
sys.exit(code)
"""


def interview(path: Path, seconds: float) -> Path:
    """The sample as often as it takes, its packets one after the other."""
    with av.open(str(path), "w") as target:
        stream, offset = None, 0
        while stream is None or offset * stream.time_base < seconds:
            with av.open(str(SAMPLE)) as source:
                video = source.streams.video[0]
                if stream is None:
                    stream = target.add_stream_from_template(video)
                first = last = None
                for packet in source.demux(video):
                    if packet.dts is None:
                        continue
                    first = packet.dts if first is None else first
                    last = packet.dts + (packet.duration or 1)
                    packet.dts, packet.pts = packet.dts + offset, packet.pts + offset
                    packet.stream = stream
                    target.mux(packet)
                # decoding times begin below zero where pictures are reordered
                offset += (last or 0) - (first or 0)
    return path


def results(folder: Path) -> list[dict[str, Any]]:
    """What was found, without what differs between two equal runs."""
    found = [json.loads(line) for line in (folder / "expressions.jsonl").read_text("utf-8").splitlines()]
    for each in found:
        if each["description"]:
            each["description"].pop("latency_ms")
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("models")
def test_l8_five_minutes_killed_four_times(tmp_path: Path) -> None:
    _analysed(tmp_path, 300.0, parts=5, kills=4, tier="N")


@pytest.mark.soak
@pytest.mark.usefixtures("models")
def test_l8_two_hours_killed_twenty_times(tmp_path: Path) -> None:
    _analysed(tmp_path, float(os.environ.get("MELLM_INTERVIEW_S", "7200")), parts=24, kills=20, tier="S")


def _analysed(folder: Path, seconds: float, parts: int, kills: int, tier: str) -> None:
    whole = interview(folder / "interview.mp4", seconds)
    undisturbed, peak = folder / "undisturbed", folder / "peak"
    began = time.monotonic()
    command = [sys.executable, "-c", MEASURED, str(peak), "analyze", str(whole), "--out", str(undisturbed)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False, cwd=REPO)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    took = time.monotonic() - began

    # a killed run goes on with the recording that it was in: interviews come as parts
    pieces = [interview(folder / f"part{n:02}.mp4", seconds / parts) for n in range(parts)]
    calm, killed = folder / "calm", folder / "killed"
    with start("analyze", *pieces, "--out", calm, stdout=subprocess.DEVNULL) as process:
        assert process.wait(4 * took + 60) == 0
    rng = random.Random(8)
    share = took / (kills + 2)
    for _ in range(kills):
        with start("analyze", *pieces, "--out", killed, stdout=subprocess.DEVNULL) as process:
            time.sleep(rng.uniform(0.3 * share, 1.5 * share))
            process.kill()
    with start("analyze", *pieces, "--out", killed, stdout=subprocess.DEVNULL) as process:
        assert process.wait(4 * took + 60) == 0
    same = results(killed) == results(calm)
    peak_mb = int(peak.read_text()) / 1024
    record(
        "L8",
        tier,
        minutes=round(seconds / 60, 1),
        expressions=len(results(undisturbed)),
        faster_than_real_time=round(seconds / took, 2),
        peak_rss_mb=round(peak_mb),
        kills=kills,
        same_results_after_kills=same,
    )
    assert same
    assert results(undisturbed)
    assert peak_mb <= 600
