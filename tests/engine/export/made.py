"""Run folders as ``mellm analyze`` writes them, made by hand: hostile words, odd frame rates, every state."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from mellm.engine.results.about import About
from mellm.engine.results.expressions import ExpressionRecord
from tests import REPO

GOLDEN = REPO / "tests" / "golden" / "exports"

HOSTILE = '<script>alert("x")</script> & --> "quotes" {\\an8}'


def quality(**over: Any) -> dict[str, Any]:
    return {
        "verdict": "ok",
        "reasons": [],
        "fps": 29.97,
        "face_width": 190.0,
        "blur": 180.0,
        "yaw": -0.6,
        "pitch": -6.9,
        "occlusion": 0.0,
        "motion": 3.0,
        **over,
    }


def described(text: str, units: list[tuple[int, str, float]], coarse: str, share: float) -> dict[str, Any]:
    rest = round((1 - share) / 2, 4)
    scores = {name: share if name == coarse else rest for name in ("negative", "positive", "surprise")}
    return {
        "text": text,
        "action_units": [{"au": au, "side": side, "score": score} for au, side, score in units],
        "emotion": {"coarse": coarse, "scores": scores},
        "model": "scripted-1",
        "profile": "scripted/1",
        "latency_ms": 12.5,
    }


def record(
    name: str, frames: tuple[int, int, int], *, fps: float = 30000 / 1001, **over: Any
) -> dict[str, Any]:
    onset, apex, offset = (round(frame * 1000 / fps, 3) for frame in frames)
    return {
        "id": name,
        "source": "talk",
        "segment": 0,
        "track": 1,
        "onset_ms": onset,
        "apex_ms": apex,
        "offset_ms": offset,
        **dict(zip(("onset_frame", "apex_frame", "offset_frame"), frames, strict=True)),
        "score": 0.9,
        "sensitivity": {"upper": 1.8, "lower": 6.4},
        "quality": quality(),
        "state": "described",
        "reason": None,
        "description": None,
        "evidence": None,
        **over,
    }


def typed(*records: dict[str, Any]) -> tuple[ExpressionRecord, ...]:
    """Lines as the readers of runs give them."""
    return tuple(ExpressionRecord.from_json(each) for each in records)


RECORDS = (
    record(
        "a" * 16,
        (71, 76, 82),
        score=0.97,
        description=described("The brows rise.", [(1, "both", 0.99), (2, "both", 0.98)], "surprise", 0.95),
    ),
    record(
        "b" * 16,
        (100, 105, 112),
        score=0.71,
        description=described(HOSTILE, [(12, "right", 0.93)], "positive", 0.58),
    ),
    record("c" * 16, (100, 106, 110), track=2, score=0.66, state="abstained", reason="motion_floor"),
    record("d" * 16, (400, 404, 409), score=0.8, state="dropped", reason="describer_unavailable"),
    record(
        "e" * 16,
        (700, 704, 711),
        score=0.88,
        quality=quality(verdict="warn", reasons=["fps_warn"]),
        description=described("=1+1", [(4, "both", 0.9), (7, "left", 0.6)], "negative", 0.8),
    ),
)

EVENTS = (
    ("face.appeared", 0, {"track": 1, "box": [10, 10, 90, 100]}),
    ("face.appeared", 2_000, {"track": 2, "box": [200, 10, 90, 100]}),
    ("face.lost", 9_000, {"track": 2}),
    ("source.gap", 15_000, {"to_ns": str(16_200_000_000), "reason": "decode"}),
    ("source.picture", 17_000, {"state": "frozen"}),
    ("source.picture", 18_500, {"state": "live"}),
    ("marker", 3_000, {"label": "question 1 <b>"}),
    ("face.lost", 30_000, {"track": 1}),
)


def run_folder(
    path: Path, records: tuple[dict[str, Any], ...] = RECORDS, *, sources: tuple[str, ...] = ("talk",)
) -> Path:
    """Write a run; every source gets the same records and events, under its name."""
    path.mkdir(parents=True)
    state = {
        "format": 1,
        "settings": {
            "purpose": "self-use",
            "describer": "scripted-1",
            "profile": "scripted/1",
            "spotting": {"threshold": None, "max_ms": None, "merge_gap_ms": None},
            "max_faces": 4,
            "fps": None,
            "evidence": True,
        },
        "sources": {name: summary(name, records) for name in sources},
        "facts": {
            "mellm": "0.1.0",
            "python": "3.11.7",
            "libraries": {"numpy": "2.4.6"},
            "machine": {"system": "Linux", "arch": "x86_64", "cpus": 2},
            "device": "auto",
            "models": [{"name": "spotter", "sha256": "0" * 64, "file": "spotter.onnx"}],
        },
    }
    (path / "run.json").write_text(json.dumps(state))
    with (path / "expressions.jsonl").open("w") as lines:
        for name in sources:
            lines.writelines(_line({**r, "source": name}) for r in records)
    with (path / "events.jsonl").open("w") as lines:
        for name in sources:
            lines.writelines(
                _line({"type": kind, "source": name, "media_ns": str(ms * 1_000_000), "data": data})
                for kind, ms, data in EVENTS
            )
    for name in sources:
        write_series(path, name)
    return path


def facts_of_now(folder: Path, about: About) -> Path:
    """The run with what this version writes beside the results: file, date, thresholds, error rates, subject."""
    state = json.loads((folder / "run.json").read_text())
    state["settings"]["consent"] = "study-7/p-014"
    state["about"] = about.to_json()
    state["facts"] |= {
        "spotting": {"threshold": 0.55, "release": 0.4, "min_ms": 40.0, "max_ms": 500.0},
        "floors": {"fps": 20.0, "face_width_px": 96.0, "yaw_deg": 30.0},
        "motion_ceiling": 7.5,
        "measured": {
            "version": "0.3.0",
            "false_alarms": {
                "people": 44,
                "face": {"per_minute": 0.53, "interval": [0.23, 1.04], "minutes": 15.15},
                "judged": {"per_minute": 0.0, "interval": [0.0, 4.1], "minutes": 0.9},
            },
            "validation": {"recall": 0.2564, "truths": 78.0, "apex_mae_ms": 13.2},
        },
    }
    for name, summary in state["sources"].items():
        summary["analysed_at"] = "2026-11-29T10:00:00Z"
        summary["file"] = {
            "name": f"{name}.mp4",
            "bytes": 12345,
            "modified": "2026-11-01T09:00:00Z",
            "sha256": "f" * 64,
        }
    (folder / "run.json").write_text(json.dumps(state))
    return folder


def write_series(path: Path, source: str) -> None:
    """Thirty seconds of face 1: its brows can be judged but for the middle, its mouth cannot; two of face 2."""
    (path / "scores").mkdir(exist_ok=True)
    with (path / "scores" / f"{source}.jsonl").open("w") as lines:
        for second in range(30):
            if second == 15:
                continue  # frames are missing
            upper = 1.5 if second < 10 else 2.5 if second < 20 else 8.0
            lines.write(_line(series_line(1, second, upper, 10.0)))
        for second in (3, 4):
            lines.write(_line(series_line(2, second, 4.0, 1.0)))


def series_line(track: int, second: int, upper: float | None, lower: float | None) -> dict[str, Any]:
    """A second of scores as :class:`mellm.engine.results.score_series.ScoreWriter` writes it."""
    return {
        "track": track,
        "t_ns": str(second * 1_000_000_000),
        "step_ns": 20_000_000,
        **{name: [0.1] * 50 for name in ("me", "apex", "macro")},
        "upper": [upper] * 50,
        "lower": [lower] * 50,
    }


def summary(name: str, records: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    states = [r["state"] for r in records]
    return {
        "state": "done",
        "path": f"recordings/{name}.mp4",
        "source": {
            "id": name,
            "uri_redacted": f"recordings/{name}.mp4",
            "kind": "file",
            "width": 640,
            "height": 480,
            "rotation": 0,
            "declared_fps": 29.97,
            "measured_fps": 29.97,
            "live": False,
            "codec": "h264",
            "declared_duration_ns": 30_030_000_000,
            "mirrored": False,
        },
        "media_s": 30.0,
        "wall_s": 20.0,
        "real_time_factor": 1.5,
        "peak_rss_mb": 290.5,
        "providers": {"spotter": "CPUExecutionProvider"},
        "judged": {
            "face_s": 33.5,
            "upper": {"judged_s": {"2": 12.0, "3": 21.0}, "median": 2.4},
            "lower": {"judged_s": {"2": 1.5, "3": 3.0}, "median": 7.1},
            "either": {"judged_s": {"2": 12.5, "3": 22.0}},
        },
        "counts": {
            "captured": 900,
            "analysed": 855,
            "frames_dropped": {"frozen": 45},
            "gaps": {"decode": 1},
            "repaired_stamps": 2,
            "frames_with_face": 850,
            "faces_refused": {"yaw_high": 12},
            "tracks": 2,
            "spotted": len(records),
            **{state: states.count(state) for state in ("described", "abstained")},
            "dropped": {"describer_unavailable": states.count("dropped")},
        },
    }


def hold_golden(name: str, text: str) -> None:
    """The text is what the file in ``tests/golden/exports`` holds; with ``GOLDEN=write`` it is written there."""
    path = GOLDEN / name
    if os.environ.get("GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    assert path.read_bytes().decode() == text, f"differs from {path.name}; look, then run with GOLDEN=write"


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value) + "\n"
