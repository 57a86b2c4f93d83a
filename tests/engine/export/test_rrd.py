"""The file for the Rerun viewer, read back by rerun's own reader."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mellm.clients.cli.export import export
from mellm.engine.export import rrd
from mellm.engine.results.run_reader import Marker, read_run
from mellm.stream.errors import MissingExtra, UsageError
from tests.engine.export.made import RECORDS, run_folder
from tests.engine.moving import video


def chunks(path: Path) -> list[Any]:
    chunk = pytest.importorskip("rerun.chunk")
    return list(chunk.RrdReader(path).stream())


def curves(path: Path) -> dict[str, list[tuple[float, float]]]:
    """Entity → (seconds, value) of every scalar."""
    found: dict[str, list[tuple[float, float]]] = {}
    for chunk in chunks(path):
        batch = chunk.to_record_batch()
        columns = batch.column_names
        scalar = next((c for c in columns if c.startswith("Scalars")), None)
        if scalar is None or rrd.TIMELINE not in columns:
            continue
        times = [t.total_seconds() for t in batch[rrd.TIMELINE].to_pylist()]
        values = [v[0] for v in batch[scalar].to_pylist()]
        found.setdefault(str(chunk.entity_path), []).extend(zip(times, values, strict=True))
    return found


def notes(path: Path) -> list[tuple[str, float, str]]:
    found = []
    for chunk in chunks(path):
        batch = chunk.to_record_batch()
        text = next((c for c in batch.column_names if c.startswith("TextLog:text")), None)
        if text is None:
            continue
        times = [t.total_seconds() for t in batch[rrd.TIMELINE].to_pylist()]
        found += [
            (str(chunk.entity_path), t, v[0]) for t, v in zip(times, batch[text].to_pylist(), strict=True)
        ]
    return sorted(found, key=lambda note: note[1])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("rerun")
    folder = run_folder(tmp_path_factory.mktemp("rrd") / "run")
    video(folder / "talk.mp4")
    run = read_run(folder).with_markers([Marker(5000.0, "question 3", "talk")])
    rrd.write(run, folder / "run.rrd")
    return folder / "run.rrd"


def test_curves_lie_on_media_time(written: Path) -> None:
    found = curves(written)
    upper = sorted(found["/talk/1/sensitivity/upper"])
    assert len(upper) == 29 * 50
    assert upper[0] == (0.0, 1.5)
    assert upper[-1] == (pytest.approx(29.98), 8.0)
    assert not [t for t, _ in upper if 15.0 <= t < 15.999], "a hole stays a hole"
    assert set(found) >= {f"/talk/{n}/scores/{c}" for n in (1, 2) for c in ("me", "apex", "macro")}
    assert {v for _, v in found["/talk/1/sensitivity/bar_2"]} == {2.0}


def test_spots_and_markers_are_notes_at_their_times(written: Path) -> None:
    found = notes(written)
    apexes = [(t, text) for entity, t, text in found if text.startswith("apex")]
    assert [t for t, _ in apexes] == pytest.approx(sorted(r["apex_ms"] / 1000 for r in RECORDS))
    assert "would find 1.8 / 6.4 %" in apexes[0][1]
    assert ("/talk/markers", 5.0, "question 3") in found


def test_the_video_is_there_when_its_file_is(written: Path, tmp_path: Path) -> None:
    entities = {str(c.entity_path) for c in chunks(written)}
    assert "/talk/video" in entities
    bare = run_folder(tmp_path / "bare")
    rrd.write(read_run(bare), bare / "run.rrd")
    assert "/talk/video" not in {str(c.entity_path) for c in chunks(bare / "run.rrd")}


def test_without_the_extra_one_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "rerun":
            raise ImportError("No module named 'rerun'")
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "rerun", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    run = read_run(run_folder(tmp_path / "run"))
    with pytest.raises(MissingExtra, match="rerun-sdk") as missing:
        rrd.write(run, tmp_path / "run.rrd")
    assert "mellm-live[rrd]" in str(missing.value.remedy)
    assert not list(tmp_path.glob("*.rrd")) + list(tmp_path.glob(".*.part"))


def test_it_is_not_text_for_a_terminal(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run")
    result = CliRunner().invoke(export, [str(folder), "--to", "rrd"])
    assert isinstance(result.exception, UsageError)
    assert "--out" in str(result.exception.remedy)
