"""Rendered clips: files that play, with truth beside them."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner

from mellm.stream.errors import UsageError
from mellm.training.synth.clips import (
    RenderedClip,
    draw_spec,
    main,
    region_displacement,
    rendered_clip,
    write_clip,
)
from mellm.training.synth.events import AuAction, Expression
from mellm.training.synth.rig import SPLITS, load_rig

TEST = SPLITS["test"].start


def test_conditions_vary_and_half_the_people_talk() -> None:
    specs = [draw_spec(TEST + i) for i in range(24)]
    assert sum(s.profile == "talk" for s in specs) == 12
    assert {s.compression for s in specs} == {"h264", "jpeg", "none"}
    assert all(128 <= s.face_width <= 300 and s.side % 2 == 0 for s in specs)
    assert specs[3] == draw_spec(TEST + 3)
    fixed = draw_spec(TEST, compression="none", profile="still")
    assert fixed.face_width == specs[0].face_width  # fixing one condition leaves the others


@pytest.mark.parametrize(
    "wrong", [{"profile": "loud"}, {"compression": "mjpeg"}, {"seconds": 0.5}, {"fps": 1000}]
)
def test_wrong_conditions_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        draw_spec(1, **wrong)  # type: ignore[arg-type]


def test_peak_displacement_is_that_of_the_rig(shared_data: Path) -> None:
    rig = load_rig(shared_data / "face-model" / "head_f16.npz")
    one, two = (
        region_displacement(rig, rig.mean, Expression(1, 1.2, 1.4, (AuAction(12, "L", size),)))
        for size in (0.1, 0.2)
    )
    assert one.max() == pytest.approx(1.77, rel=0.02)  # a tenth of a full smile moves the lip corner so far
    assert two == pytest.approx(2 * one)


@pytest.fixture(scope="module")
def written(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RenderedClip, Path]:
    folder = tmp_path_factory.mktemp("clips")
    spec = draw_spec(TEST + 15, seconds=4.0, fps=10.0, compression="none")
    clip = RenderedClip(spec, load_rig(shared_data / "face-model" / "head_f16.npz"), keep_landmarks=True)
    return clip, write_clip(clip, folder)


def test_a_written_clip_plays_with_its_own_times(written: tuple[RenderedClip, Path]) -> None:
    clip, video = written
    with av.open(str(video)) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == len(clip) == 40
    times = [float(f.pts * f.time_base) for f in frames if f.pts is not None and f.time_base is not None]
    assert times == pytest.approx(np.arange(40) / 10)
    drawn = next(iter(clip)).astype(int)
    assert np.abs(drawn - frames[0].to_ndarray(format="bgr24")).mean() < 1.5  # lossless but for colour space


def test_truth_stands_beside_it(written: tuple[RenderedClip, Path]) -> None:
    clip, video = written
    truth = json.loads(video.with_suffix(".json").read_text())
    assert truth["spec"]["seed"] == TEST + 15
    assert len(truth["landmarks"]) == 40
    points = np.array(truth["landmarks"][0])
    distance = np.linalg.norm(points[42:48].mean(0) - points[36:42].mean(0))
    assert truth["iod_px"] == pytest.approx(distance, rel=0.08)
    assert truth["expressions"]
    for stored, made in zip(truth["expressions"], clip.script.expressions, strict=True):
        assert stored["onset_s"] < stored["apex_s"] < stored["offset_s"]
        assert stored["peak"] == max(stored["regions"].values(), default=stored["peak"])
        assert [a["au"] for a in stored["aus"]] == [a.au for a in made.actions]


def test_clips_of_the_same_seed_are_the_same(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MELLM_SHARED", str(shared_data))
    one, two = (rendered_clip(3, seconds=2, fps=10, compression="jpeg") for _ in range(2))
    assert one.truth() == two.truth()
    assert np.array_equal(next(iter(one)), next(iter(two)))


def test_command_line_writes_once(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MELLM_SHARED", str(shared_data))
    arguments = ["--count", "1", "--seconds", "2", "--fps", "5", "--out", str(tmp_path)]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    video = tmp_path / f"clip-{TEST}.mp4"
    stamp = video.stat().st_mtime_ns
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert video.stat().st_mtime_ns == stamp
    refused = CliRunner().invoke(main, ["--count", "100000", "--first", "5", "--out", str(tmp_path)])
    assert refused.exit_code == 1
    assert "split test has" in refused.output


def test_command_line_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MELLM_FACE_MODEL", str(tmp_path / "none.npz"))
    result = CliRunner().invoke(main, ["--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "MELLM_FACE_MODEL" in result.output
