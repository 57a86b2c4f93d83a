"""What the report's script is given: where the video lies, times, curves."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import numpy as np

from mellm.engine.export.report_media import SCRIPTS, UNKNOWN, page_data
from mellm.engine.results.run_reader import Run, films
from mellm.engine.results.score_series import path_of
from tests import REPO


def line(track: int, first: int, me: list[float], upper: list[float | None]) -> str:
    said = ",".join("null" if v is None else str(v) for v in upper)
    numbers = f'"me":{me},"apex":{me},"macro":{me},"upper":[{said}],"lower":[{said}]'
    return f'{{"track":{track},"t_ns":"{first}","step_ns":20000000,{numbers}}}\n'


def data(run: Run, folder: Path, lines: str) -> dict:
    path = path_of(folder, "talk")
    path.parent.mkdir(parents=True)
    path.write_text(lines)
    return page_data(replace(run, path=folder), None, lambda record: record.id)["recordings"][0]


def decoded(text: str) -> list[int]:
    return np.frombuffer(base64.b64decode(text), np.uint8).tolist()


def test_lines_without_a_hole_are_one_curve(made: Run, tmp_path: Path) -> None:
    lines = line(1, 0, [0, 0.5], [1.0, None]) + line(2, 0, [0.1], [2.0]) + line(1, 40_000_000, [1.0], [10.0])
    lines += line(1, 1_000_000_000, [0.2], [0.4])
    first, other, after = data(made, tmp_path, lines)["curves"]
    assert (first["track"], first["t"], first["step"]) == (1, 0.0, 20.0)
    assert decoded(first["me"]) == [0, 125, 250]
    assert decoded(first["upper"]) == [25, UNKNOWN, 250]
    assert (other["track"], after["t"]) == (2, 1000.0)


def test_a_live_session_has_the_files_that_it_kept(made: Run, tmp_path: Path) -> None:
    kept = [
        {"file": f"video/talk-00{n}.mp4", "from_ms": 1000.0 * n, "to_ms": 1000.0 * n + 900} for n in (1, 2)
    ]
    summary = {**made.state["sources"]["talk"], "live": True, "video": kept}
    run = replace(made, path=tmp_path, state={**made.state, "sources": {"talk": summary}})
    assert [film.path for film in films(run, "talk")] == [tmp_path / each["file"] for each in kept]
    (recording,) = page_data(run, tmp_path / "elsewhere", lambda record: record.id)["recordings"]
    assert [(f["src"], f["from"], f["to"]) for f in recording["films"]] == [
        ("../video/talk-001.mp4", 1000.0, 1900.0),
        ("../video/talk-002.mp4", 2000.0, 2900.0),
    ]
    bare = replace(run, state={**run.state, "sources": {"talk": {**summary, "video": []}}})
    assert page_data(bare, None, lambda record: record.id)["recordings"][0]["films"] == []


def test_every_script_is_on_the_page() -> None:
    folder = REPO / "engine" / "export" / "page" / "js"
    assert {path.stem for path in folder.glob("*.js")} == set(SCRIPTS)
