"""Captions: golden files, and what FFmpeg and other readers make of them."""

import av
import pytest

from mellm.engine.export.captions import HOLD_MS, cues, to_srt, to_vtt
from mellm.engine.results.run_reader import Marker, Run
from tests.engine.export.made import hold_golden, record, typed


@pytest.mark.parametrize(("name", "make"), [("talk.vtt", to_vtt), ("talk.srt", to_srt)])
def test_captions_are_the_golden_ones(made, name, make):
    hold_golden(name, make(made))


@pytest.mark.parametrize(("name", "make"), [("talk.vtt", to_vtt), ("talk.srt", to_srt)])
def test_ffmpeg_reads_every_cue_with_its_times(made, tmp_path, name, make):
    path = tmp_path / name
    path.write_text(make(made), encoding="utf-8")
    with av.open(str(path)) as captions:
        packets = [p for p in captions.demux() if p.size]
    found = [(p.pts, p.pts + p.duration, bytes(p).decode()) for p in packets]
    assert [(start, end) for start, end, _ in found] == [(c.from_ms, c.to_ms) for c in cues(made)]
    assert "AU 1+2 · surprise 0.95 · 367 ms\nThe brows rise." in found[0][2]


def test_other_readers_show_hostile_words_as_text(made):
    webvtt, srt = pytest.importorskip("webvtt"), pytest.importorskip("srt")
    shown = [cue.text for cue in webvtt.from_string(to_vtt(made))]
    assert any('alert("x")' in text for text in shown)
    assert "<script>" not in to_vtt(made)
    lines = list(srt.parse(to_srt(made)))
    assert len(lines) == len(cues(made))
    assert not any(c in line.content for line in lines for c in "<>{}")


def test_a_cue_stays_until_it_is_read_or_the_next_one_comes(made):
    by_id = {cue.id: cue for cue in cues(made)}
    first, second, other = (by_id[name * 16] for name in "abc")
    assert first.to_ms == second.from_ms
    assert second.to_ms - second.from_ms == pytest.approx(HOLD_MS, abs=1)
    assert other.from_ms == second.from_ms  # another face's cue does not push it away
    assert other.lines[0].startswith("Face 2: no description: the motion is too small")


def test_a_cue_is_never_empty():
    run = Run(
        None,
        {"sources": {}},
        typed(record("a" * 16, (5, 5, 5)), record("b" * 16, (5, 5, 5))),
        (),
        (Marker(0, ""),),
    )
    assert all(cue.to_ms > cue.from_ms for cue in cues(run))


def test_no_expression_is_no_cue():
    run = Run(None, {"sources": {}}, ())
    assert to_srt(run) == ""
    assert to_vtt(run).startswith("WEBVTT\n\nNOTE\n")
