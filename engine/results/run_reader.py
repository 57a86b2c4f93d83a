"""A run folder, read: what every exporter starts from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mellm.engine.results.run_folder import EVENTS, EXPRESSIONS, FORMAT, RUN
from mellm.stream.errors import RunError, UsageError

NUMBERS = ("onset_ms", "apex_ms", "offset_ms", "score")
"""Fields of an expression that every exporter reckons with."""


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

    :param state: of ``run.json``; :param expressions: lines of ``expressions.jsonl``, in the order of the file
    :param events: lines of ``events.jsonl``; :param markers: of the run and of the user, in order of time
    """

    path: Path
    state: Mapping[str, Any]
    expressions: tuple[Mapping[str, Any], ...]
    events: tuple[Mapping[str, Any], ...] = ()
    markers: tuple[Marker, ...] = ()

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
            expressions=tuple(r for r in self.expressions if r["source"] == source),
            events=tuple(e for e in self.events if e["source"] == source),
            markers=tuple(m for m in self.markers if m.source in (None, source)),
        )

    def each(self) -> Iterator[tuple[str, Run]]:
        """The recordings one by one."""
        for source in self.sources:
            yield source, self.only(source)

    def with_markers(self, markers: Sequence[Marker]) -> Run:
        """The same with more markers."""
        every = sorted((*self.markers, *markers), key=lambda m: (m.t_ms, m.label))
        return replace(self, markers=tuple(every))


def read_run(path: Path) -> Run:
    """Read a run folder. A last line that a killed run left half written is passed over.

    :raises RunError: there is no run, it is of another format, or it is damaged
    """
    run = path / RUN
    if not run.is_file():
        raise RunError(f"{path} holds no run", remedy="give the folder that `mellm analyze --out` wrote")
    try:
        state = json.loads(run.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{run} cannot be read ({error})") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise RunError(f"{path} holds a run of format {found!r}, this version reads {FORMAT}")
    events = tuple(_lines(path / EVENTS, ("type", "source", "media_ns")))
    markers = tuple(
        Marker(_ms(e["media_ns"]), str(e.get("data", {}).get("label", "")), e["source"])
        for e in events
        if e["type"] == "marker"
    )
    expressions = tuple(_lines(path / EXPRESSIONS, ("id", "source", "track", *NUMBERS)))
    for record in expressions:
        _hold(record, state, path)
    return Run(path, state, expressions, events).with_markers(markers)


def recording(run: Run, source: str) -> Path:
    """The file that was analysed, as ``run.json`` names it; relative paths from here, then from the run folder."""
    named = Path(str(run.state["sources"][source].get("path", "")))
    beside = run.path / named.name
    return beside if not named.exists() and beside.exists() else named


def start_ms(run: Run, source: str) -> float:
    """Media time that players and ELAN call zero: camcorders' transport streams begin a second or more after it.

    0 where the recording is not there (any more).
    """
    path = recording(run, source)
    if not path.is_file():
        return 0.0
    import av

    try:
        with av.open(str(path)) as container:
            return max(0.0, float(container.start_time or 0) / 1000)
    except av.FFmpegError:
        return 0.0


def duration_ms(run: Run, source: str) -> float:
    """Length of the analysed part, and never less than where the last expression ends."""
    media = float(run.state["sources"][source].get("media_s") or 0.0) * 1000
    ends = (float(r["offset_ms"]) for r in run.expressions if r["source"] == source)
    return max([media, *ends])


def faces(run: Run) -> dict[int, list[Span]]:
    """Track → when its face was in sight. A track that the run never lost lasts to its end."""
    found: dict[int, list[Span]] = {}
    begun: dict[int, float] = {}
    for event in run.events:
        if event["type"] == "face.appeared":
            track = int(event["data"]["track"])
            begun[track] = _ms(event["media_ns"])
            found.setdefault(track, [])
        elif event["type"] == "face.lost" and (track := int(event["data"]["track"])) in begun:
            found[track].append(Span(begun.pop(track), _ms(event["media_ns"]), "face"))
    for track, since in begun.items():
        found[track].append(Span(since, max(since, _end(run)), "face"))
    return found


def gaps(run: Run) -> list[Span]:
    """Where frames are missing, with the reason."""
    return [
        Span(_ms(e["media_ns"]), _ms(e["data"]["to_ns"]), str(e["data"]["reason"]))
        for e in run.events
        if e["type"] == "source.gap"
    ]


def still_pictures(run: Run) -> list[Span]:
    """Where the picture was black, frozen or the like, and nothing could be seen."""
    spans: list[Span] = []
    since: tuple[float, str] | None = None
    for event in run.events:
        if event["type"] != "source.picture":
            continue
        at = _ms(event["media_ns"])
        if since is not None:
            spans.append(Span(since[0], at, since[1]))
        state = str(event["data"]["state"])
        since = None if state == "live" else (at, state)
    if since is not None:
        spans.append(Span(since[0], _end(run), since[1]))
    return spans


def _end(run: Run) -> float:
    return max((duration_ms(run, source) for source in run.sources), default=0.0)


def _ms(ns: str | int) -> float:
    return round(int(ns) / 1e6, 3)


def _hold(record: Mapping[str, Any], state: Mapping[str, Any], path: Path) -> None:
    """A run may be old, edited, or somebody else's: what is reckoned with has to be there."""
    wrong = [n for n in NUMBERS if type(record[n]) not in (int, float) or not math.isfinite(record[n])]
    wrong += ["track"] if type(record["track"]) is not int else []
    wrong += ["source"] if record["source"] not in state.get("sources", {}) else []
    wrong += [n for n in ("description", "quality") if not isinstance(record.get(n) or {}, dict)]
    if wrong:
        raise RunError(f"{path / EXPRESSIONS}: expression {record['id']!r} has no usable {wrong[0]}")


def _lines(path: Path, needed: Sequence[str]) -> Iterator[Mapping[str, Any]]:
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
            yield record
