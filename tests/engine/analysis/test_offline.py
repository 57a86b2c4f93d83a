from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mellm.detectors.analyzer import FakeFaceAnalyzer
from mellm.detectors.spotting import FakeStepModel, Spotter
from mellm.engine.analysis import describe_queue, prefetch
from mellm.engine.analysis.live import LiveEngine
from mellm.engine.analysis.offline import analyze, recordings
from mellm.engine.analysis.pipeline import SourcePipeline
from mellm.engine.describe.base import DescribeContext
from mellm.engine.describe.scripted import DEFAULT, ScriptedDescriber
from mellm.engine.results.run_folder import RunFolder
from mellm.engine.results.score_series import read_series
from mellm.engine.types import Description, Evidence
from mellm.stream.capture.runner import RunnerOptions, SourceRunner
from mellm.stream.errors import DescriberTimeout, SourceNotFound
from mellm.stream.protocol.schema import document
from tests import PATIENCE_S, REPO
from tests.engine.moving import FOUND, chain, sheet, video


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return video(tmp_path_factory.mktemp("video") / "brows.mp4")


def run(out: Path, paths: list[Path], describer: ScriptedDescriber | None = None, **options: Any) -> Any:
    folder = RunFolder.create(out, {"test": True}, {})
    try:
        return analyze(
            recordings([str(p) for p in paths]), folder, chain, describer or ScriptedDescriber(), **options
        )
    finally:
        folder.close()


def lines(out: Path, name: str = "expressions.jsonl") -> list[dict[str, Any]]:
    return [json.loads(raw) for raw in (out / name).read_text().splitlines()]


def without_latency(raw: bytes) -> bytes:
    return re.sub(rb'"latency_ms":[0-9.]+', b"", raw)


def test_a_run_leaves_lines_evidence_and_balanced_counts(tmp_path: Path, recording: Path) -> None:
    result = run(tmp_path, [recording])
    assert not result.failures
    found = lines(tmp_path)
    assert len(found) == result.expressions == FOUND
    for one in found:
        assert one["state"] == "described"
        assert (tmp_path / one["evidence"]).read_bytes().startswith(b"\x89PNG")
        assert one["onset_ms"] < one["apex_ms"] < one["offset_ms"]
        assert one["apex_ms"] == pytest.approx(one["apex_frame"] * 1000 / 30, abs=0.01)
    summary = json.loads((tmp_path / "run.json").read_text())["sources"]["brows"]
    counts = summary["counts"]
    assert counts["captured"] == counts["analysed"] + sum(counts["frames_dropped"].values()) == 96
    assert counts["spotted"] == counts["described"] + counts["abstained"] + sum(counts["dropped"].values())
    assert summary["source"]["declared_fps"] == 30
    assert [e["type"] for e in lines(tmp_path, "events.jsonl")].count("expression.described") == FOUND


def test_two_runs_are_equal_to_the_byte(tmp_path: Path, recording: Path) -> None:
    for name in "ab":
        run(tmp_path / name, [recording])
    first, second = ((tmp_path / n / "expressions.jsonl").read_bytes() for n in "ab")
    assert without_latency(first) == without_latency(second)
    for name in ("events.jsonl", "scores/brows.jsonl"):
        first, second = ((tmp_path / n / name).read_bytes() for n in "ab")
        assert without_latency(first) == without_latency(second)


def test_events_of_a_run_are_those_of_the_published_schema(tmp_path: Path, recording: Path) -> None:
    run(tmp_path, [recording])
    schema = {**document(strict=True), "anyOf": [{"$ref": "#/$defs/server"}]}
    events = lines(tmp_path, "events.jsonl")
    for event in events:
        jsonschema.validate(event, schema)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    kinds = [event["type"] for event in events]
    assert (kinds[0], kinds[1]) == ("source.online", "face.appeared")
    assert kinds.count("expression.spotted") == kinds.count("expression.described") == FOUND
    assert kinds.count("source.ended") == 1


def test_a_file_played_live_gives_what_offline_gives(tmp_path: Path, recording: Path) -> None:
    run(tmp_path, [recording])

    class Sink:
        def __init__(self) -> None:
            self.events: list[tuple[str, dict[str, Any]]] = []
            self.scores: list[tuple[float, dict[str, float]]] = []
            self.lock = threading.Lock()

        def publish(self, kind: str, source: str, data: dict[str, Any], t_ns: int | None = None) -> None:
            with self.lock:
                self.events.append((kind, data))
                if kind == "score" and t_ns is not None:
                    self.scores.append((t_ns / 1e6, data["sensitivity"]))

        keeps_faces = False

        def evidence(self, expression: str, png: bytes, shown: str = "motion") -> None:
            assert png.startswith(b"\x89PNG")

    sink = Sink()
    runner = SourceRunner(str(recording), id="brows", options=RunnerOptions(policy="live", realtime=True))
    engine = LiveEngine([runner], lambda s: chain(s), ScriptedDescriber(), sink)
    engine.start()
    until = time.monotonic() + PATIENCE_S
    while not engine.finished and time.monotonic() < until:
        time.sleep(0.05)
    assert engine.drain(PATIENCE_S)
    counts = engine.sources["brows"].counts()
    engine.stop()
    assert counts.captured == counts.analysed == 96, "nothing was dropped, or this test compares nothing"
    # a live queue describes the highest score first
    live = [data for kind, data in sink.events if kind == "expression.described"]
    live.sort(key=lambda data: data["onset_ms"])
    told = [e for e in lines(tmp_path, "events.jsonl") if e["type"] == "expression.spotted"]
    assert [data for kind, data in sink.events if kind == "expression.spotted"] == [
        {k: v for k, v in e["data"].items() if k not in ("t_ns", "t_ms")} for e in told
    ], "one vocabulary"
    drop = ("latency_ms", "evidence")
    assert [{k: v for k, v in d.items() if not k.endswith("_ns") and k not in drop} for d in live] == [
        {k: v for k, v in line.items() if k not in drop} for line in lines(tmp_path)
    ]
    kept = {
        t: (upper, lower)
        for part in read_series(tmp_path, "brows")
        for t, upper, lower in zip(part.times_ms(), part.curves["upper"], part.curves["lower"], strict=True)
    }
    assert sink.scores
    assert all(kept[t] == (said["upper"], said["lower"]) for t, said in sink.scores)
    judged = [d["judged"] for kind, d in sink.events if kind == "stats"][-1]
    assert judged == json.loads((tmp_path / "run.json").read_text())["sources"]["brows"]["judged"]
    kinds = [kind for kind, _ in sink.events]
    assert next(kind for kind in kinds if kind not in ("stats", "score")) == "source.online"
    assert {"face.appeared", "expression.spotted", "score", "stats", "source.ended"} <= set(kinds)


def test_the_series_says_how_small_a_motion_would_have_been_found(tmp_path: Path, recording: Path) -> None:
    run(tmp_path, [recording])
    parts = list(read_series(tmp_path, "brows"))
    assert [p.track for p in parts] == [1] * len(parts)
    times = [t for p in parts for t in p.times_ms()]
    assert times == sorted(times)
    judged = json.loads((tmp_path / "run.json").read_text())["sources"]["brows"]["judged"]
    assert judged["face_s"] == pytest.approx(0.02 * len(times))
    upper = [v for p in parts for v in p.curves["upper"] if v is not None]
    assert judged["upper"]["judged_s"]["3"] == pytest.approx(0.02 * sum(v <= 3 for v in upper), abs=0.011)
    # the brows of this recording move and its chin does not
    assert judged["upper"]["median"] > judged["lower"]["median"]
    for one in lines(tmp_path):
        assert one["sensitivity"] is None or set(one["sensitivity"]) == {"upper", "lower"}
    assert any(one["sensitivity"] for one in lines(tmp_path))


def test_the_series_of_an_unfinished_recording_is_begun_anew(tmp_path: Path, recording: Path) -> None:
    run(tmp_path / "whole", [recording])
    cut = tmp_path / "cut"
    run(cut, [recording])
    state = json.loads((cut / "run.json").read_text())
    state["sources"], state["sizes"] = {}, {"events.jsonl": 0, "expressions.jsonl": 0}
    (cut / "run.json").write_text(json.dumps(state))
    kept = (cut / "scores" / "brows.jsonl").read_bytes()
    (cut / "scores" / "brows.jsonl").write_bytes(kept[:100])
    run(cut, [recording])
    assert (cut / "scores" / "brows.jsonl").read_bytes() == kept


def test_an_interrupted_run_goes_on_and_asks_nobody_twice(tmp_path: Path, recording: Path) -> None:
    run(tmp_path / "whole", [recording])
    run(tmp_path / "cut", [recording])
    cut = tmp_path / "cut"
    state = json.loads((cut / "run.json").read_text())
    state["sources"], state["sizes"] = {}, {"events.jsonl": 0, "expressions.jsonl": 0}
    (cut / "run.json").write_text(json.dumps(state))
    raw = (cut / "expressions.jsonl").read_bytes()
    (cut / "expressions.jsonl").write_bytes(raw[: raw.index(b"\n") + 20])
    describer = ScriptedDescriber()
    run(cut, [recording], describer)
    assert len(describer.calls) == FOUND - 1, "one answer was on disk"
    first, second = ((tmp_path / n / "expressions.jsonl").read_bytes() for n in ("whole", "cut"))
    assert without_latency(first) == without_latency(second)
    again = ScriptedDescriber()
    assert run(cut, [recording], again).expressions == FOUND
    assert not again.calls
    assert (cut / "expressions.jsonl").read_bytes() == second


def test_one_bad_source_does_not_stop_the_others(tmp_path: Path, recording: Path) -> None:
    result = run(tmp_path / "run", [tmp_path / "nope.mp4", recording])
    assert [(source, type(error)) for source, error in result.failures] == [("nope", SourceNotFound)]
    assert len(lines(tmp_path / "run")) == FOUND
    summary = json.loads((tmp_path / "run" / "run.json").read_text())["sources"]["nope"]
    assert summary["state"] == "failed"
    assert "nope.mp4" in summary["error"]["message"]


def test_a_describer_that_is_down_leaves_every_expression_with_an_end(
    tmp_path: Path, recording: Path
) -> None:
    result = run(tmp_path, [recording], ScriptedDescriber([DescriberTimeout("late"), DEFAULT]))
    assert result.expressions == FOUND
    states = [(line["state"], line["reason"]) for line in lines(tmp_path)]
    assert states == [("dropped", "describer_timeout"), ("described", None)] * (FOUND // 2)


def test_results_are_written_in_the_order_of_spotting(tmp_path: Path, recording: Path) -> None:
    first = threading.Event()

    def slow_then_fast(evidence: Evidence, context: DescribeContext) -> Description:
        if not first.is_set():
            first.set()
            time.sleep(0.5)
        return DEFAULT

    run(tmp_path, [recording], ScriptedDescriber([slow_then_fast]), workers=2)
    apexes = [line["apex_ms"] for line in lines(tmp_path)]
    assert apexes == sorted(apexes)
    assert len(apexes) == FOUND


def test_ids_are_safe_and_unique() -> None:
    ids = [r.id for r in recordings(["a/x y.mp4", "b/x y.mp4", "/", "über/", "..mp4"])]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", i) for i in ids)


def test_faces_that_were_refused_are_no_silent_nothing(tmp_path: Path, recording: Path) -> None:
    small = sheet().landmarks() * 0.3

    def short(source: str) -> SourcePipeline:
        return SourcePipeline(
            source,
            FakeFaceAnalyzer(lambda frame: small),
            lambda: Spotter(FakeStepModel()),
            lambda pair: pytest.fail("a refused face is not analysed"),
        )

    folder = RunFolder.create(tmp_path, {"test": True}, {})
    result = analyze(recordings([str(recording)]), folder, short, ScriptedDescriber())
    folder.close()
    assert result.warnings == [
        f"{recording}: a face was seen in 96 frames and mostly refused: narrower than 96 pixels (96 times)"
    ]


def test_no_evidence_is_kept_when_none_is_asked_for(tmp_path: Path, recording: Path) -> None:
    run(tmp_path, [recording], keep_evidence=False)
    assert not (tmp_path / "evidence").exists()
    assert {line["evidence"] for line in lines(tmp_path)} == {None}


def test_memory_does_not_grow_with_the_length_of_a_stream() -> None:
    """10⁵ frames through the chain with a fake detector; the true networks run in the slow tier."""
    import tracemalloc

    import numpy as np

    from mellm.stream.frames import Frame

    images = [
        np.full((48, 64, 3), level, np.uint8) for level in (90, 100)
    ]  # the same one would be a stuck camera
    made = SourcePipeline(
        "s",
        FakeFaceAnalyzer(lambda frame: None),
        lambda: Spotter(FakeStepModel()),
        lambda pair: pytest.fail("no face"),
    )

    def push(start: int, count: int) -> None:
        for i in range(start, start + count):
            made.push(Frame("s", 0, i, i * 20_000_000, 0, images[i % 2]))

    push(0, 1_000)
    tracemalloc.start()
    push(1_000, 1_000)
    before = tracemalloc.get_traced_memory()[0]
    push(2_000, 98_000)
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after - before < 200_000
    assert made.counts.captured == made.counts.analysed == 100_000


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_memory_stays_flat_over_ten_thousand_frames_of_the_true_chain() -> None:
    from mellm.engine.analysis.pipeline_factory import PipelineFactory
    from mellm.engine.config import Settings
    from mellm.stream.errors import ModelMissing
    from mellm.stream.frames import Frame
    from mellm.stream.sources import open_source

    def rss_mb() -> float:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * 4096 / 1e6

    try:
        made = PipelineFactory(Settings()).make("s")
    except ModelMissing as error:
        pytest.skip(str(error))
    sample = REPO / "clients" / "sample" / "sample.mp4"
    with open_source(str(sample), id="s", live=False) as source:
        images = []
        while len(images) < 300 and (item := source.read()) is not None:
            assert isinstance(item, Frame)
            images.append(item.image)
    marks = []
    for i in range(10_000):
        made.push(Frame("s", 0, i, i * 20_000_000, 0, images[i % len(images)]))
        if i in (2_000, 9_999):
            marks.append(rss_mb())
    assert made.counts.captured == made.counts.analysed == 10_000
    assert marks[1] - marks[0] < 25


class Hangs(ScriptedDescriber):
    """Never returns, until the test is over."""

    def __init__(self) -> None:
        super().__init__()
        self.over = threading.Event()
        self.asked = 0

    def describe(self, evidence: Evidence, context: DescribeContext) -> Description:
        self.asked += 1
        self.over.wait(PATIENCE_S)
        return super().describe(evidence, context)


def test_a_describer_that_never_returns_costs_descriptions_and_not_the_run(
    tmp_path: Path, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many calls that hang no more are made."""
    monkeypatch.setattr(describe_queue, "MOST_HANGING", 2)
    describer = Hangs()
    try:
        result = run(tmp_path, [recording], describer, deadline_s=0.2)
    finally:
        describer.over.set()
    assert result.undescribed == {"internal": 2, "describer_timeout": FOUND - 2}
    assert describer.asked == 2
    assert Counter(one["reason"] for one in lines(tmp_path)) == result.undescribed
    assert result.failures == []


@pytest.mark.parametrize("where", ["spotter", "face network"])
def test_a_network_that_never_returns_fails_its_recording_and_the_next_one_goes_on(
    tmp_path: Path, recording: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    over = threading.Event()

    def make(source: str) -> SourcePipeline:
        made = chain(source)
        true, calls = (made.take if where == "spotter" else made.look), iter(range(10_000))

        def hang(given: Any) -> Any:
            if source == "brows" and next(calls) == 40:
                over.wait(PATIENCE_S)
            return true(given)

        setattr(made, "take" if where == "spotter" else "look", hang)
        return made

    monkeypatch.setattr(prefetch, "STILL_S", 2.0)
    monkeypatch.setattr(prefetch, "LEAVE_S", 0.5)
    folder = RunFolder.create(tmp_path, {"test": True}, {})
    both = recordings([str(recording), str(recording)])
    try:
        result = analyze(both, folder, make, ScriptedDescriber())
    finally:
        over.set()
        folder.close()
    ((source, error),) = result.failures
    assert (source, error.code) == ("brows", "internal")
    assert "stood still for 2 s" in str(error)
    state = json.loads((tmp_path / "run.json").read_text())["sources"]
    assert [state[name]["state"] for name in ("brows", "brows-2")] == ["failed", "done"]
    assert state["brows-2"]["counts"]["spotted"] == FOUND
