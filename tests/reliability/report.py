"""Writes the table of docs/results/reliability.md from the tests' figures: ``python -m tests.reliability.report``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.reliability.figures import FOLDER, REPO

PAGE = REPO / "docs" / "results" / "reliability.md"
BEGIN, END = "<!-- figures: python -m tests.reliability.report -->", "<!-- end of figures -->"
TIERS = ("C", "N", "S", "K")

TARGETS = {
    "L1": "4 cameras 640×480 at 30/s: nothing unaccounted, drop ≤ 1 %, capture to event p99 ≤ 500 ms",
    "L2": "8 cameras for half an hour: the same, memory drift ≤ 5 MB",
    "L3": "200 frames a second: no frame lost, results as offline",
    "L4": "200 (nightly 1,000) clients × 10 messages/s: p50 ≤ 150 ms, p99 ≤ 500 ms, no gap, ≤ 40 kB a client",
    "L5": "slow clients beside fast ones: fast p99 ≤ 1.2 ×, slow ones cut ≤ 15 s, memory ≤ +16 MB",
    "L6": "10 expressions/s into a model of 1/s: queue bounded, answers ≤ deadline old",
    "L7": "soak 2 h: memory slope ≤ 1 MB/h, descriptors and threads constant",
    "L8": "2 h interview: ≤ 600 MB, results as live, resumable after kill -9 at 20 points",
    "L9": "expressions of 60 kB through a broker that writes to its disk before it answers: ≥ 300 a second",
    "F1": "camera closes TCP: try again ≤ 1 s, recovered ≤ 2 s after it is back",
    "F2": "camera goes silent: noticed ≤ 3 s",
    "F3": "frozen or black picture: flagged ≤ 5 s, nothing spotted on it",
    "F4": "camera dead for 10 min (manual clock): ≤ 40 tries, ≤ 1 line/10 s",
    "F5": "time stamps jump, repeat, wrap",
    "F6": "size, rotation, format change mid-stream",
    "F7": "model server killed mid-request, away for 3 s (nightly 30 s): recovery ≤ 5 s, nothing given up in time",
    "F8": "model hangs, drips, lies, refuses: every expression ends by its deadline ± 0.5 s",
    "F9": "server killed -9 at random moments: no event lost or numbered twice, restart ≤ 3 s",
    "F10": "a camera node, a describer, a gateway and the broker are killed -9: 0 lost, 0 repeated, takeover ≤ 12 s",
    "F11": "disk full, no descriptors: cameras go on, the status says so, it heals",
    "F12": "SIGTERM under load: ≤ 10 s, clients get 1001, sums balance; second signal ≤ 1 s",
    "F13": "resets, half-open handshakes: descriptors come back; resume gives each event once",
    "F14": "event loop blocked for 2 s: reported ≤ 3 s, health 503",
    "F15": "5 % loss, 200 ms, 1 Mbit/s on a client's side",
    "F16": "networks missing, damaged, answering NaN: typed error, or dropped and counted",
    "B1": "broken media: typed error or clean end ≤ 5 s; each early end told",
    "B2": "Autobahn cases: only those fail that the websockets library fails by design",
    "B3": "300 model answers: none crashes, none passes unchecked",
    "B4": "orders painted into the picture: 100 % in the schema, ≤ 5 % another class, none the class that was ordered",
    "B5": "500 mutated annotation sheets: right or a typed error",
    "B6": "80 forbidden addresses: no connection",
    "B7": "200 mutated configurations: typed error that names the key",
    "E1": "half of a million events are erased while another camera goes on: its scores ≤ 50 ms late (p99), its"
    " expressions ≤ 300 ms; the service's watchdog never waits",
    "E2": "an older log of a million events is brought up to date when it is opened",
    "E3": "the garbage collector's stops, with what was loaded set aside and as it was",
    "fuzz": "codec, messages, session, stamps, addresses, annotations, answers: 60 s each by coverage, no crash",
}

ELSEWHERE = {
    "F5": "asserted without a figure: tests/stream/sources/test_timestamps.py (properties)",
    "F6": "asserted without a figure: tests/stream/test_rtsp.py, tests/stream/sources/test_file.py",
}


def said(value: Any) -> str:
    """A figure in words."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {said(each)}" for key, each in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(said, value)) or "none"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def line(figures: dict[str, Any]) -> str:
    """One run's figures, names as words."""
    return "; ".join(f"{key.replace('_', ' ')} {said(value)}" for key, value in figures.items())


def summed(runs: dict[str, dict[str, Any]]) -> str:
    """Several runs. Seeds are summed up by their worst figures, cases stand one by one."""
    if not all(key.isdigit() for key in runs) or len(runs) < 3:
        return "<br>".join(f"*{key}*: {line(each)}" for key, each in runs.items())
    numbers: dict[str, list[float]] = {}
    for each in runs.values():
        for key, value in each.items():
            if isinstance(value, int | float):
                numbers.setdefault(key, []).append(value)
    worst = "; ".join(f"{key.replace('_', ' ')} {min(v)} to {max(v)}" for key, v in numbers.items())
    return f"{len(runs)} seeds: {worst}"


def row(test: str) -> str:
    """Target and what was measured, by tier."""
    told = []
    for tier in TIERS:
        path = FOLDER / f"{test}-{tier}.json"
        if path.exists():
            body = json.loads(path.read_text(encoding="utf-8"))
            figures = summed(body["runs"]) if "runs" in body else line(body["figures"])
            told.append(f"`{body['command']}`, {body['date']}: {figures}")
    return f"| {test} | {TARGETS[test]} | {'<br>'.join(told) or ELSEWHERE.get(test, 'not run')} |"


def table() -> str:
    """All rows, with the machine that the figures come from."""
    machines = {json.loads(p.read_text(encoding="utf-8"))["machine"] for p in FOLDER.glob("*.json")}
    head = f"Measured on: {'; '.join(sorted(machines))}.\n\n| | target | measured |\n|---|---|---|\n"
    return head + "\n".join(map(row, TARGETS))


def main(page: Path = PAGE) -> None:
    """Put the table between the marks of the page."""
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    page.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
