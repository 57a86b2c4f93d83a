"""What one cites of a run: where, when and with what it was made, how wrong that is, and a methods paragraph."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from mellm.engine.results.about import About
from mellm.engine.results.corrections import Corrections, mark_of
from mellm.engine.results.run_reader import Run
from mellm.stream.clock import clock

ALIKE: Final = ("mellm", "models", "spotting", "floors", "motion_ceiling", "measured", "describer_files")
"""Facts in which runs that are told of together do not differ."""


def rows(run: Run) -> list[tuple[str, str]]:
    """Name and value of what stands in a report beside the results: people, files, versions, thresholds, errors."""
    return [
        (name, value) for name, value in (*_about(run), *_files(run), *_made(run), *_errors(run)) if value
    ]


def _about(run: Run) -> Iterator[tuple[str, str]]:
    about = About.of(run.state)
    settings = run.state.get("settings") or {}
    yield "Subject", about.subject
    yield "Session", about.session
    yield "Condition", about.condition
    yield "Notes", about.notes
    yield from about.more.items()
    yield "Purpose, as stated", purpose(run)
    yield "Consent reference", str(settings.get("consent") or "")
    yield "Corrected by", ", ".join(coders(run))


def purpose(run: Run) -> str:
    """The purpose that was stated; of a run by an older version, nothing: it does not tell whether one was."""
    if "about" not in run.state:
        return ""
    return About.of(run.state).purpose or "none stated"


def coders(run: Run) -> list[str]:
    """Who corrected the run, each with how much and when last."""
    found = []
    for who in sorted({c.who for c in run.corrections.items}):
        mine = [c for c in run.corrections.items if c.who == who]
        found.append(f"{who} ({len(mine)} decisions, last on {max(c.when for c in mine)[:10]})")
    return found


def _files(run: Run) -> Iterator[tuple[str, str]]:
    for source, summary in run.state["sources"].items():
        at = summary.get("analysed_at")
        if at:
            yield f"Analysed: {source}", str(at).replace("T", " ").replace("Z", " UTC")
        of, info = summary.get("file"), summary.get("source") or {}
        if of:
            size = f"{info['width']} × {info['height']} pixels, " if info else ""
            rate = info.get("effective_fps") or info.get("measured_fps")
            told = f"{rate:.2f} frames a second, " if rate else ""
            length = f"{clock(1000 * float(summary.get('media_s') or 0), 0)} min:s, "
            yield (
                f"File: {of['name']}",
                f"{size}{told}{length}{of['bytes']:,} bytes, last changed {of['modified'][:10]}, "
                f"SHA-256 {of['sha256']}",
            )


def _made(run: Run) -> Iterator[tuple[str, str]]:
    facts = run.state.get("facts") or {}
    floors = facts.get("floors") or {}
    if floors:
        yield (
            "Not judged",
            f"under {floors['fps']:g} frames a second, faces narrower than {floors['face_width_px']:g} pixels, "
            f"turned by more than {floors['yaw_deg']:g}°",
        )
    if facts.get("motion_ceiling"):
        yield "Not counted", f"motion above {facts['motion_ceiling']:g} % of the eye distance"
    for name, digest in (facts.get("describer_files") or {}).items():
        yield f"Describer: {name}", f"SHA-256 {digest}"


def _errors(run: Run) -> Iterator[tuple[str, str]]:
    facts = run.state.get("facts") or {}
    if "measured" not in facts:
        return
    yield "Measured error rates", " ".join(errors(run))


def errors(run: Run) -> list[str]:
    """The measured error rates that apply to this run, a sentence each; that there are none is said, too."""
    measured = (run.state.get("facts") or {}).get("measured")
    if not isinstance(measured, dict):
        return ["The error rates of this network at this threshold were not measured."]
    found = []
    alarms = measured.get("false_alarms") or {}
    if face := alarms.get("face"):
        low, high = face["interval"]
        found.append(
            f"On {alarms['people']} people who were in no training, the spotter made {face['per_minute']:g} false "
            f"alarms per minute with a visible face (95 % interval {low:g} to {high:g}; {face['minutes']:g} minutes)."
        )
    known = measured.get("validation") or {}
    if known.get("recall") is not None and known.get("truths"):
        found.append(
            f"Of {known['truths']:.0f} known expressions of its validation set, laid on recordings and photographs, it "
            f"found {100 * known['recall']:.0f} %; the apex was {known['apex_mae_ms']:.0f} ms off on average."
        )
    return found or ["No error rates are stored with this run."]


def methods(run: Run) -> str:
    """A paragraph for the methods section of a paper: what was done, with numbers; nothing that the run does not hold.

    The reader is told what is missing, in brackets.
    """
    return " ".join(_sentences(run))


def together(runs: Sequence[Run]) -> list[str]:
    """A paragraph for all runs that were made alike; several where they were not."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        facts, settings = run.state.get("facts") or {}, run.state.get("settings") or {}
        key = json.dumps([{k: facts.get(k) for k in ALIKE}, settings.get("describer")], sort_keys=True)
        groups.setdefault(key, []).append(run)
    return [methods(_one(group)) for group in groups.values()]


def _one(runs: Sequence[Run]) -> Run:
    """Several runs as if they were one; recordings of the same name stay apart."""
    first = runs[0]
    sources = {f"{n}/{name}": s for n, run in enumerate(runs) for name, s in run.state["sources"].items()}
    return replace(
        first,
        state={**first.state, "sources": sources},
        expressions=tuple(r for run in runs for r in run.expressions),
        rejected=tuple(r for run in runs for r in run.rejected),
        corrections=Corrections(tuple(c for run in runs for c in run.corrections.items)),
    )


def _sentences(run: Run) -> Iterator[str]:
    facts, settings = run.state.get("facts") or {}, run.state.get("settings") or {}
    done = [s for s in run.state["sources"].values() if s.get("state") == "done"]
    minutes = sum(float(s.get("media_s") or 0) for s in done) / 60
    dates = sorted({str(s["analysed_at"])[:10] for s in done if s.get("analysed_at")})
    when = (
        f" on {dates[0]}"
        if len(dates) == 1
        else f" from {dates[0]} to {dates[-1]}"
        if dates
        else " on [date unknown]"
    )
    rates = [i.get("effective_fps") or i.get("measured_fps") for s in done if (i := s.get("source"))]
    fps = [r for r in rates if r]
    pace = "" if not fps else f" at {_range(fps, '.0f')} frames per second"
    things, were = ("recording", "was") if len(done) == 1 else ("recordings", "were")
    yield (
        f"{len(done)} {things} ({minutes:.1f} minutes{pace}) {were} analysed{when} "
        f"with mellm-live {facts.get('mellm', '[version unknown]')}."
    )
    spotter = next((m for m in facts.get("models") or [] if m.get("name") == "spotter"), None)
    spotting, floors = facts.get("spotting"), facts.get("floors")
    network = "Candidates were spotted by a causal temporal network"
    if spotter:
        version = (facts.get("measured") or {}).get("version")
        network += f" ({f'version {version}, ' if version else ''}SHA-256 {spotter['sha256'][:12]}…)"
    network += " on optical flow between face crops, head motion removed"
    if spotting:
        network += (
            f"; a candidate needed a score of {spotting['threshold']:g} or more and a length of "
            f"{spotting['min_ms']:g} to {spotting['max_ms']:g} ms"
        )
    yield network + "."
    if floors:
        yield (
            f"Moments with under {floors['fps']:g} frames per second, faces narrower than "
            f"{floors['face_width_px']:g} pixels or turned by more than {floors['yaw_deg']:g}° were not judged; "
            f"motion above {facts['motion_ceiling']:g} % of the eye distance was not counted as a micro-expression."
        )
    yield f"Action units and the coarse class were named by the describer {settings.get('describer', '[unknown]')}."
    yield from errors(run)
    yield _people(run)


def _people(run: Run) -> str:
    decided = run.corrections
    if not decided.items:
        return "No person has checked the results."
    marks = [m for r in (*run.expressions, *run.rejected) if (m := mark_of(r)) is not None]
    who = sorted({m.by for m in marks})
    kinds: Mapping[str, int] = {
        v: sum(m.verdict == v for m in marks) for v in ("accept", "correct", "reject", "add")
    }
    coder = "A coder" if len(who) == 1 else f"{len(who)} coders"
    return (
        f"{coder} ({', '.join(who)}) checked the expressions: accepted {kinds['accept']}, corrected "
        f"{kinds['correct']}, rejected {kinds['reject']} and added {kinds['add']}."
    )


def _range(values: list[Any], form: str) -> str:
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"
