"""Each target on drawn bytes; in the slow tier coverage-guided, with the seeds to start from."""

from __future__ import annotations

import importlib.util
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mellm.stream.protocol import wire
from mellm.stream.protocol.events import Event
from tests.fuzz.targets import TARGETS
from tests.reliability.figures import REPO, record

EVENT = Event("marker", "m", 3, "epoch", "cam", 10**18, {"label": "x", "t_ns": "5"})
SEEDS: dict[str, list[bytes]] = {
    "codec": [wire.encode(EVENT), wire.encode_picture(EVENT) + b"jpeg"],
    "messages": [
        b'{"type":"subscribe","types":["expression.*"],"after":{"epoch":"e","seq":3},"min_score":0.5,"ref":"1"}',
        b'{"type":"marker.add","label":"x","source":"cam","t_ns":"5"}',
        b'{"type":"session.auth","token":"right"}',
    ],
    "session": [
        b'{"type":"session.auth","token":"right"}\n{"type":"subscribe"}\n{"type":"unsubscribe"}\n{"type":"session.close"}'
    ],
    "stamps": [struct.pack("<8q", 0, 40_000_000, 80_000_000, 80_000_000, 1 << 60, -5, 1, 2)],
    "addresses": [b"rtsp://cam.example:554/stream?x=1", b"file.mp4", b"[::1]/x"],
    "action_units": [b"L12A+R14B", b"ref(12/14)", b"4+7?", b"12A or 14A", "1\uff0c2".encode()],
    "answers": [
        b'{"text":"The brows rise.","action_units":[{"au":1,"side":"both","score":0.9}],'
        b'"emotion":{"negative":0.1,"positive":0.1,"surprise":0.8},"abstain":false}'
    ],
}


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_pass_and_are_worth_starting_from(name: str) -> None:
    assert SEEDS[name]
    for seed in SEEDS[name]:
        TARGETS[name](seed)  # asserts


@pytest.mark.parametrize("name", TARGETS)
def test_drawn_bytes_raise_nothing_untyped(name: str) -> None:
    met = 0
    whole = st.binary(max_size=300) | st.text(max_size=200).map(str.encode)

    @settings(max_examples=150)
    @given(data=whole | st.tuples(st.sampled_from(SEEDS[name]), whole, st.integers(0, 200)).map(_spliced))
    def meet(data: bytes) -> None:
        nonlocal met
        TARGETS[name](data)  # asserts
        met += 1

    meet()
    assert met >= 100


def _spliced(parts: tuple[bytes, bytes, int]) -> bytes:
    """A seed with something strange in its middle."""
    seed, strange, at = parts
    at %= len(seed)
    return seed[:at] + strange[:20] + seed[at + len(strange) % 5 :]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
@pytest.mark.parametrize("name", TARGETS)
def test_guided_by_coverage_for_a_minute(name: str, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(SEEDS[name]):
        (corpus / str(number)).write_bytes(seed)
    command = [
        sys.executable,
        "-m",
        "tests.fuzz",
        name,
        str(corpus),
        "-max_total_time=60",
        "-rss_limit_mb=2048",
    ]
    done = subprocess.run(
        [*command, f"-artifact_prefix={tmp_path}/"],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        cwd=REPO,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-2000:]
    runs = re.search(r"Done (\d+) runs", done.stderr)
    assert runs is not None, done.stderr[-2000:]
    record("fuzz", "N", run=name, inputs=int(runs[1]), seconds=60)
