"""A run folder, read: what every exporter starts from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mellm.engine.results import corrections
from mellm.engine.results.corrections import NONE, Corrections
from mellm.engine.results.expressions import ExpressionRecord, FieldInvalid
from mellm.engine.results.run_folder import EVENTS, EXPRESSIONS, READ, RUN
from mellm.stream.errors import ProtocolError, RunError, UsageError
from mellm.stream.protocol import wire
from mellm.stream.protocol.events import (
    EXPRESSION_ENDS,
    EXPRESSION_SPOTTED,
    FACE_APPEARED,
    FACE_LOST,
    MARKER,
    SOURCE_DEGRADED,
    SOURCE_GAP,
    SOURCE_PICTURE,
    Event,
    media_time,
    rfc3339,
)
from mellm.stream.sources.media import find

if TYPE_CHECKING:
    from mellm.stream.sources import Source


@dataclass(frozen=True, slots=True)
class Marker:
    """An outside event on the media clock, such as "question 3".

    :param source: of one recording, ``None`` where it belongs to whichever is exported
    """

    t_ms: float
    label: str
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a recording, milliseconds of media time."""

    from_ms: float
    to_ms: float
    what: str


@dataclass(frozen=True, slots=True)
class Run:
    """What ``mellm analyze`` wrote.

    :param state: of ``run.json``
    :param expressions: lines of ``expressions.jsonl``, in the order of the file
    :param events: lines of ``events.jsonl``, in the order of the file
    :param markers: of the run and of the user, in order of time
    :param rejected: expressions that a person rejected; they are not among ``expressions``
    :param corrections: what was decided by people, with who and when; see :mod:`mellm.engine.results.corrections`
    """

    path: Path
    state: Mapping[str, Any]
    expressions: tuple[ExpressionRecord, ...]
    events: tuple[Event, ...] = ()
    markers: tuple[Marker, ...] = ()
    rejected: tuple[ExpressionRecord, ...] = ()
    corrections: Corrections = NONE

    @property
    def sources(self) -> tuple[str, ...]:
        """Ids of the recordings, in the order of their analysis."""
        return tuple(self.state.get("sources", {}))

    def only(self, source: str) -> Run:
        """The part of one recording.

        :raises UsageError: there is none of that name
        """
        if source not in self.sources:
            known = ", ".join(self.sources) or "none"
            raise UsageError(f"{self.path} has no source {source!r}", remedy=f"its sources: {known}")
        return replace(
            self,
            state={**self.state, "sources": {source: self.state["sources"][source]}},
            expressions=tuple(r for r in self.expressions if r.source == source),
            events=tuple(e for e in self.events if e.source == source),
            rejected=tuple(r for r in self.rejected if r.source == source),
            markers=tuple(m for m in self.markers if m.source in (None, source)),
        )

    def each(self) -> Iterator[tuple[str, Run]]:
        """The recordings one by one."""
        for source in self.sources:
            yield source, self.only(source)

    def picture(self, name: str | None) -> bytes | None:
        """A kept picture, such as :attr:`ExpressionRecord.evidence` names; ``None`` where there is none.

        A run folder may come from somebody else: nothing outside of it is read.
        """
        path = (self.path / (name or "")).resolve()
        return path.read_bytes() if path.is_relative_to(self.path.resolve()) and path.is_file() else None

    def with_markers(self, markers: Sequence[Marker]) -> Run:
        """The same with more markers."""
        every = sorted((*self.markers, *markers), key=lambda m: (m.t_ms, m.label))
        return replace(self, markers=tuple(every))


def read_run(path: Path, *, corrected: bool = True) -> Run:
    """Read a run folder. A last line that a killed run left half written is passed over.

    Runs of an older format are read as if this version had written them.

    :param corrected: with the corrections that were applied to it; otherwise as the engine left it
    :raises RunError: there is no run, it is of a format that is not known, or it is damaged
    """
    run = path / RUN
    if not run.is_file():
        raise RunError(f"{path} holds no run", remedy="give the folder that `mellm analyze --out` wrote")
    try:
        state = json.loads(run.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{run} cannot be read ({error})") from error
    if not isinstance(state, dict) or state.get("format") not in READ:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise RunError(f"{path} holds a run of format {found!r}, this version reads {_list(READ)}")
    expressions = tuple(
        _record(found, state, path) for _, found in _lines(path / EXPRESSIONS, ("id", "source"))
    )
    known = {record.id: record for record in expressions}
    events = tuple(
        _event(found, known, f"{path / EVENTS}, line {number}", number)
        for number, found in _lines(path / EVENTS, ("type", "source"))
    )
    markers = tuple(
        Marker(media_ms(e), str(e.data.get("label", "")), e.source) for e in events if e.type == MARKER
    )
    found = Run(path, state, expressions, events).with_markers(markers)
    if corrected and (path / corrections.FILE).is_file():
        return with_corrections(found, corrections.read(path / corrections.FILE))
    return found


def with_corrections(run: Run, decided: Corrections) -> Run:
    """The run as these corrections leave it.

    :raises RunError: they are about expressions or recordings that it does not have
    """
    rates = {}
    for source, summary in run.state["sources"].items():
        info = summary.get("source") or {}
        rates[source] = float(info.get("measured_fps") or info.get("declared_fps") or 0.0)
    expressions, rejected = corrections.apply(run.expressions, decided, rates)
    return replace(run, expressions=expressions, rejected=rejected, corrections=decided)


def media_ns(event: Event) -> int:
    """Media time of an event of a run, nanoseconds."""
    exact = event.data.get("t_ns")
    return int(exact) if isinstance(exact, str) else event.time


def media_ms(event: Event) -> float:
    """Media time of an event of a run, milliseconds."""
    return _ms(media_ns(event))


def is_live(run: Run, source: str) -> bool:
    """Whether it was a camera or the like: no recording of it lies anywhere, unless its session kept one."""
    return bool(run.state["sources"][source].get("live"))


@dataclass(frozen=True, slots=True)
class Film:
    """A video file of a recording.

    :param path: where it is, or was
    :param from_ms: media time of what it shows at its beginning
    :param to_ms: media time of its end
    :param scale: seconds of the file for one second of media time
    """

    path: Path
    from_ms: float
    to_ms: float
    scale: float = 1.0


def films(run: Run, source: str) -> list[Film]:
    """The video of a source, in order of time: the file that was analysed, or those that a session kept."""
    if not is_live(run, source):
        return [Film(recording(run, source), 0.0, duration_ms(run, source), time_scale(run, source))]
    return [
        Film(run.path / str(each["file"]), float(each["from_ms"]), float(each["to_ms"]))
        for each in run.state["sources"][source].get("video") or ()
    ]


def recording(run: Run, source: str) -> Path:
    """The file that was analysed, as ``run.json`` names it; relative paths from here, then from the run folder. Of a
    live source the first file that its session kept."""
    if is_live(run, source):
        kept = films(run, source)
        return kept[0].path if kept else run.path / "video" / f"{source}.mp4"
    named = find(str(run.state["sources"][source].get("path", "")))
    beside = run.path / named.name
    return beside if not named.exists() and beside.exists() else named


def open_recording(run: Run, source: str, path: Path | None = None) -> Source:
    """The recording as the analysis read it: the same track, rate, times and origin.

    :param path: where it is, by default where it was
    :raises MellmError: see :func:`mellm.stream.sources.open_source`
    """
    from mellm.stream.sources import SourceOptions, open_source

    chosen = run.state.get("settings") or {}
    options = SourceOptions(
        mirrored=bool(chosen.get("mirrored")),
        track=chosen.get("track"),
        stamps=str(chosen.get("stamps") or ""),
        accept_guessed_time=True,  # whoever ran the analysis decided
    )
    where = str(path or recording(run, source))
    return open_source(where, id=source, live=False, fps=chosen.get("fps"), options=options)


def problems(run: Run, *, pictures: bool = True) -> list[str]:
    """What an export should say about markers and the recordings themselves, a sentence each.

    :param pictures: the export shows pictures of the recording
    """
    found = []
    for source in run.sources:
        path = recording(run, source)
        if pictures and is_live(run, source):
            if not films(run, source):
                found.append(f"{source}: a live session without a video: `--record` keeps one")
        elif pictures and not path.exists():
            found.append(f"{path}: the recording is not there any more: no pictures of faces, no video")
        end = duration_ms(run, source)
        outside = [m for m in run.markers if m.source in (None, source) and not 0 <= m.t_ms <= end]
        if outside:
            names = ", ".join(f"{m.label!r} at {m.t_ms / 1000:.1f} s" for m in outside[:3])
            more = f" and {len(outside) - 3} more" if len(outside) > 3 else ""
            found.append(f"markers outside of {source} (0 to {end / 1000:.1f} s): {names}{more}")
    return found


def time_scale(run: Run, source: str) -> float:
    """Seconds that players and ELAN show for one second of media time; above 1 for slow motion.

    Both count from the same origin, the beginning of the recording.
    """
    info = run.state["sources"][source].get("source") or {}
    scale = float(info.get("time_scale") or 1.0)
    return scale if math.isfinite(scale) and scale > 0 else 1.0


def duration_ms(run: Run, source: str) -> float:
    """Length of the analysed part, and never less than where the last expression ends."""
    media = float(run.state["sources"][source].get("media_s") or 0.0) * 1000
    ends = (r.offset_ms for r in run.expressions if r.source == source)
    return max([media, *ends])


@dataclass(frozen=True, slots=True)
class Judged:
    """For how long the faces of a recording could be judged, over all faces; seconds.

    :param upper_s: bar (per cent of the eye distance) → time in which motions of that size would have been found there
    :param lower_s: of the lower half
    :param either_s: of at least one of both
    :param upper: median of the sensitivity; ``None`` where none was known
    :param lower: of the lower half
    """

    face_s: float
    upper_s: Mapping[float, float]
    lower_s: Mapping[float, float]
    either_s: Mapping[float, float]
    upper: float | None
    lower: float | None

    @property
    def known(self) -> bool:
        """Whether there is a sensitivity at all: runs of older versions, and of networks without a fit, have none."""
        return self.upper is not None


def judged(run: Run, source: str) -> Judged:
    """What ``run.json`` says; of a run by an older version, the time with a face as its events tell it."""
    told = run.state["sources"][source].get("judged")
    if not isinstance(told, dict) or "face_s" not in told:
        spans = faces(run.only(source)).values()
        face_s = sum(max(0.0, s.to_ms - s.from_ms) for track in spans for s in track) / 1000
        return Judged(face_s, {}, {}, {}, None, None)

    def seconds(half: str) -> dict[float, float]:
        return {float(bar): float(s) for bar, s in told.get(half, {}).get("judged_s", {}).items()}

    return Judged(
        float(told["face_s"]),
        seconds("upper"),
        seconds("lower"),
        seconds("either"),
        told.get("upper", {}).get("median"),
        told.get("lower", {}).get("median"),
    )


def faces(run: Run) -> dict[int, list[Span]]:
    """Track → when its face was in sight. A track that the run never lost lasts to its end."""
    found: dict[int, list[Span]] = {}
    begun: dict[int, float] = {}
    for event in run.events:
        if event.type == FACE_APPEARED:
            track = int(event.data["track"])
            begun[track] = media_ms(event)
            found.setdefault(track, [])
        elif event.type == FACE_LOST and (track := int(event.data["track"])) in begun:
            found[track].append(Span(begun.pop(track), media_ms(event), "face"))
    for track, since in begun.items():
        found[track].append(Span(since, max(since, _end(run)), "face"))
    return found


def gaps(run: Run) -> list[Span]:
    """Where frames are missing, with the reason."""
    return [
        Span(media_ms(e), _ms(e.data["to_ns"]), str(e.data["reason"]))
        for e in run.events
        if e.type == SOURCE_GAP
    ]


def still_pictures(run: Run) -> list[Span]:
    """Where the picture was black, frozen or the like, and nothing could be seen."""
    spans: list[Span] = []
    since: tuple[float, str] | None = None
    for event in run.events:
        if event.type != SOURCE_PICTURE:
            continue
        at = media_ms(event)
        if since is not None:
            spans.append(Span(since[0], at, since[1]))
        state = str(event.data["state"])
        since = None if state == "live" else (at, state)
    if since is not None:
        spans.append(Span(since[0], _end(run), since[1]))
    return spans


def lowered(run: Run) -> list[Span]:
    """Where less was analysed than was asked for, because the machine was too slow, with what was left."""
    spans: list[Span] = []
    since: dict[str, tuple[float, str]] = {}
    for event in run.events:
        if event.type == SOURCE_DEGRADED:
            at = media_ms(event)
            if (before := since.pop(event.source, None)) is not None:
                spans.append(Span(before[0], at, before[1]))
            if event.data["degraded"]:
                to = event.data["to"]
                said = f"{to['fps']:g} frames a second" if to["fps"] else "set aside"
                since[event.source] = at, said
    return [*spans, *(Span(at, _end(run), said) for at, said in since.values())]


def _end(run: Run) -> float:
    return max((duration_ms(run, source) for source in run.sources), default=0.0)


def _ms(ns: str | int) -> float:
    return round(int(ns) / 1e6, 3)


def _list(numbers: Sequence[int]) -> str:
    return " and ".join(map(str, numbers))


def _record(found: Mapping[str, Any], state: Mapping[str, Any], path: Path) -> ExpressionRecord:
    """A run may be old, edited, or somebody else's: what is counted with has to be there."""
    try:
        if found["source"] not in state.get("sources", {}):
            raise FieldInvalid("source")
        return ExpressionRecord.from_json(found)
    except FieldInvalid as error:
        raise RunError(f"{path / EXPRESSIONS}: expression {found['id']!r} has {error}") from error


def _event(
    found: Mapping[str, Any], records: Mapping[str, ExpressionRecord], where: str, number: int
) -> Event:
    """A line of ``events.jsonl``; one of format 1 becomes what this version would have written."""
    try:
        event = wire.from_json(_renewed(found, records, number) if "media_ns" in found else found)
        _check(event)
        return event
    except (ProtocolError, FieldInvalid, KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(f"{where}: not an event of a run ({error})") from error


def _check(event: Event) -> None:
    """What spans are made of has to be there."""
    if event.type in (FACE_APPEARED, FACE_LOST):
        int(event.data["track"])
    elif event.type == SOURCE_GAP:
        int(event.data["to_ns"]), str(event.data["reason"])
    elif event.type == SOURCE_PICTURE:
        str(event.data["state"])
    elif event.type == SOURCE_DEGRADED:
        bool(event.data["degraded"]), float(event.data["to"]["fps"])
    media_ns(event)


def _renewed(old: Mapping[str, Any], records: Mapping[str, ExpressionRecord], number: int) -> dict[str, Any]:
    """The envelope of an event of format 1, which had type, source, media_ns and data."""
    kind, at = str(old["type"]), int(old["media_ns"])
    data = dict(old.get("data") or {})
    if kind == SOURCE_GAP:
        data = {**media_time("from", at), **media_time("to", int(data["to_ns"])), "frames": 0} | data
    elif kind == SOURCE_PICTURE:
        data |= media_time("at", at)
    elif kind == MARKER:
        data = {"by": "", "ref": None} | data
    elif kind == EXPRESSION_SPOTTED:
        data = ExpressionRecord.from_json(data).event_data()
    elif kind in EXPRESSION_ENDS and data.get("id") in records:
        data = records[data["id"]].event_data()
    return {
        "type": kind,
        "id": data.get("id") or f"run-{number}",
        "seq": number,
        "epoch": "run",
        "source": old["source"],
        "time": rfc3339(at),
        "data": data | media_time("t", at),
    }


def _lines(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Whole lines with their numbers."""
    if not path.exists():
        return
    with path.open("rb") as stream:
        for number, raw in enumerate(stream, 1):
            if not raw.endswith(b"\n"):
                return
            try:
                record = json.loads(raw)
                missing = [name for name in needed if name not in record]
            except (ValueError, TypeError) as error:
                raise RunError(f"{path}, line {number}: no JSON ({error})") from error
            if not isinstance(record, dict) or missing:
                raise RunError(f"{path}, line {number}: has no {missing[0] if missing else 'fields'}")
            yield number, record
