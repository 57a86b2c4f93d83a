"""A run for the Rerun viewer: video, scores, sensitivity, spots and markers on one time line.

For looking at false alarms: `rerun run.rrd` shows what the spotter said, when, beside the picture. Needs the extra
``rrd``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mellm.detectors.sensitivity import BARS, LARGEST
from mellm.engine.export import words
from mellm.engine.results.expressions import ExpressionRecord
from mellm.engine.results.run_reader import Run, recording
from mellm.engine.results.score_series import CURVES, read_series
from mellm.stream import files
from mellm.stream.errors import MissingExtra, RunError

TIMELINE = "media_time"
"""Name of the time line; seconds of media time, as in every other export."""

_LABELS = {
    "me": "micro-expression",
    "apex": "apex",
    "macro": "longer expression",
    "upper": "upper face: smallest motion found (%)",
    "lower": "lower face: smallest motion found (%)",
}


def write(run: Run, path: Path, *, video: bool = True) -> None:
    """Write the run as an ``.rrd`` file, complete or not at all.

    :param video: refer to the recording where its file is there; its bytes are copied into the file
    :raises MissingExtra: rerun-sdk is not installed
    :raises RunError: the file cannot be written
    """
    try:
        import rerun
    except ImportError as error:
        raise MissingExtra(
            "writing .rrd files needs rerun-sdk, which is not installed",
            remedy="pip install 'mellm-live[rrd]'",
        ) from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            files.replacing(path) as part,
            rerun.RecordingStream("mellm-live", recording_id=run.path.name or "run") as stream,
        ):
            stream.save(str(part))
            for source in run.sources:
                _one(rerun, stream, run.only(source), source, video)
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror or error})") from error


def _one(rerun: Any, stream: Any, run: Run, source: str, video: bool) -> None:
    if video:
        _video(rerun, stream, run, source)
    tracks: set[int] = set()
    for stretch in read_series(run.path, source):
        times = rerun.TimeColumn(TIMELINE, duration=np.array(stretch.times_ms()) / 1000)
        for name in CURVES:
            values = [LARGEST if v is None else v for v in stretch.curves[name]]
            if name in ("upper", "lower") and None in stretch.curves[name]:
                continue  # nothing is known of this second: a hole in the curve
            entity = _entity(
                source, stretch.track, "sensitivity" if name in ("upper", "lower") else "scores", name
            )
            if stretch.track not in tracks:
                stream.log(entity, rerun.SeriesLines(names=_LABELS[name]), static=True)
            stream.send_columns(entity, [times], rerun.Scalars.columns(scalars=np.array(values, np.float64)))
        if stretch.track not in tracks:
            for bar in BARS:
                entity = _entity(source, stretch.track, "sensitivity", f"bar_{bar:g}")
                stream.log(entity, rerun.SeriesLines(names=f"{bar:g} %"), static=True)
                ends = rerun.TimeColumn(TIMELINE, duration=[stretch.t_ms / 1000, _end_s(run, source)])
                stream.send_columns(entity, [ends], rerun.Scalars.columns(scalars=[bar, bar]))
        tracks.add(stretch.track)
    notes: dict[str, list[tuple[float, str, str]]] = {}
    for seconds, entity, text, level in sorted(_notes(run, source)):
        notes.setdefault(entity, []).append((seconds, text, level))
    for entity, rows in notes.items():
        # columns and not log(): no wall clock gets into the file
        times = rerun.TimeColumn(TIMELINE, duration=[seconds for seconds, _, _ in rows])
        texts, levels = [text for _, text, _ in rows], [level for _, _, level in rows]
        stream.send_columns(entity, [times], rerun.TextLog.columns(text=texts, level=levels))


def _entity(*parts: object) -> str:
    """A path; what is not a plain name is escaped by the viewer's own rule (a backslash)."""
    return "/".join("".join(c if c.isalnum() or c in "-_." else f"\\{c}" for c in str(p)) for p in parts)


def _end_s(run: Run, source: str) -> float:
    return float(run.state["sources"][source].get("media_s") or 0.0)


def _notes(run: Run, source: str) -> Iterator[tuple[float, str, str, str]]:
    """Spots and markers: seconds, entity, text, level."""
    for record in run.expressions:
        entity = _entity(source, record.track, "spots")
        text = f"{words.headline(record)} · score {record.score:.2f}{_answer_text(record)} · {record.id}"
        yield record.onset_ms / 1000, entity, f"onset: {text}", "INFO"
        yield record.apex_ms / 1000, entity, f"apex: {text}", "WARN"
        yield record.offset_ms / 1000, entity, f"offset: {text}", "INFO"
    for marker in run.markers:
        yield marker.t_ms / 1000, _entity(source, "markers"), marker.label, "INFO"


def _answer_text(record: ExpressionRecord) -> str:
    said = record.sensitivity
    return "" if said is None else f" · would find {said.upper:.1f} / {said.lower:.1f} %"


def _video(rerun: Any, stream: Any, run: Run, source: str) -> None:
    path = recording(run, source)
    if not path.is_file():
        return
    entity = _entity(source, "video")
    try:
        asset = rerun.AssetVideo(path=path)
        stamps = asset.read_frame_timestamps_nanos()
    except (RuntimeError, ValueError, OSError):
        return  # a codec or container that the viewer does not know: the curves are worth having all the same
    stream.log(entity, asset, static=True)
    stream.send_columns(
        entity,
        [rerun.TimeColumn(TIMELINE, duration=1e-9 * np.asarray(stamps, np.float64))],
        rerun.VideoFrameReference.columns_nanos(stamps),
    )
