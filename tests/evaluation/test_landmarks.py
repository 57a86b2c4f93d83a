from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from mellm.detectors.analyzer import FaceAnalyzer
from mellm.evaluation.landmarks import LINES, POINTS, load, main, measure
from mellm.stream.errors import ModelMissing

# Ceilings: what docs/landmarks.md says, and a little for other builds of the runtime; then for the stand-in mesh
CEILINGS = {
    "eye corners": (2.0, 3.5),
    "lids": (1.0, 1.5),
    "brows": (5.0, 6.5),
    "nose ridge, sideways": (1.2, 2.1),
    "under the nose": (4.0, 5.3),
    "outer lips": (2.6, 4.4),
    "inner lips": (2.1, 3.4),
    "jaw line": (1.8, 4.6),
    "chin": (3.5, 9.4),
}


def test_the_table_keeps_its_measured_error(shared_data: Path) -> None:
    pytest.importorskip("onnxruntime")
    try:
        analyzer = FaceAnalyzer()
    except ModelMissing as error:
        pytest.skip(str(error))
    landmarks, hand = load(shared_data, analyzer)
    if not landmarks:
        pytest.skip("no stills with hand-placed points")
    assert len(landmarks) == 86
    standin = analyzer._place.points == 468  # type: ignore[attr-defined]
    for row in measure(landmarks, hand):
        assert row.mean < CEILINGS[row.group][standin], row


def hand() -> np.ndarray:
    """189 points with the eyes 100 pixels apart."""
    points = np.random.default_rng(0).uniform(0, 300, (189, 2))
    points[18], points[22], points[23], points[27] = (90, 50), (110, 50), (190, 50), (210, 50)
    return points


def perfect(points: np.ndarray) -> np.ndarray:
    found = np.zeros((68, 2), np.float32)
    for group in POINTS.values():
        for k, at in group.items():
            found[k] = points[list(at)].mean(axis=0)
    for lines in LINES.values():
        for ks, corners in lines:
            line = np.array([points[list(at)].mean(axis=0) for at in corners])
            for k in ks:
                found[k] = 0.3 * line[1] + 0.7 * line[2]
    found[8] = points[129]
    return found


def test_points_in_place_have_no_error() -> None:
    rows = measure([perfect(hand())], [hand()])
    assert {row.group for row in rows} == {*POINTS, *LINES}
    assert all(row.mean < 1e-4 for row in rows)


def test_errors_are_per_cent_of_the_eye_distance() -> None:
    found = perfect(hand())
    found[36] += (3, 4)
    rows = {row.group: row for row in measure([found], [hand()])}
    assert rows["eye corners"].mean == pytest.approx(5 / 4)
    assert rows["outer lips"].mean < 1e-4


def test_a_folder_without_stills_is_said_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mellm.evaluation.landmarks.FaceAnalyzer", lambda: None)
    result = CliRunner().invoke(main, [str(tmp_path)])
    assert result.exit_code == 3
    assert "no stills with hand-placed points" in result.output
