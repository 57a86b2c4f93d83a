"""Runs the whole chain over a folder of recordings, each in a process of its own, and tabulates what came out.

``python -m mellm.evaluation.spotting.first_results VIDEOS… --out runs/first`` prints a Markdown table. There is no
truth for these recordings: the table shows that the chain runs and what it costs, not that it is right.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mellm.evaluation.metrics.table import pipes

HEAD = (
    "recording",
    "frames",
    "fps",
    "with face",
    "refused",
    "tracks",
    "found",
    "described",
    "per minute",
    "× real time",
    "peak MB",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One recording."""

    name: str
    frames: int
    fps: float | None
    with_face: int
    refused: dict[str, int]
    tracks: int
    found: int
    described: int
    seconds: float
    factor: float
    peak_mb: float
    error: str = ""

    def cells(self) -> list[str]:
        """The table's cells."""
        if self.error:
            return [self.name, self.error, *[""] * (len(HEAD) - 2)]
        refused = ", ".join(f"{reason} {count}" for reason, count in self.refused.items())
        return [
            self.name,
            str(self.frames),
            "–" if self.fps is None else f"{self.fps:.1f}",
            f"{100 * self.with_face / max(1, self.frames):.0f} %",
            refused or "–",
            str(self.tracks),
            str(self.found),
            str(self.described),
            f"{60 * self.found / self.seconds:.1f}" if self.seconds > 0 else "–",
            f"{self.factor:.1f}",
            f"{self.peak_mb:.0f}",
        ]


def analyse(video: Path, out: Path) -> Row:
    """Run ``mellm analyze`` on one recording and read its run record."""
    command = [
        sys.executable,
        "-m",
        "mellm.clients.cli",
        "analyze",
        str(video),
        "--out",
        str(out),
        "--no-evidence",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    (source,) = record["sources"].values()
    counts = source["counts"]
    if source["state"] != "done":
        return Row(video.name, 0, None, 0, {}, 0, 0, 0, 0, 0, 0, error=done.stderr.splitlines()[0])
    return Row(
        video.name,
        counts["captured"],
        source["source"]["measured_fps"],
        counts["frames_with_face"],
        counts["faces_refused"],
        counts["tracks"],
        counts["spotted"],
        counts["described"],
        source["media_s"],
        source["real_time_factor"] or 0.0,
        source["peak_rss_mb"],
    )


def table(rows: Sequence[Row]) -> str:
    """Rows as Markdown, with a last line of sums."""
    seconds = sum(row.seconds for row in rows)
    found = sum(row.found for row in rows)
    rate = 60 * found / seconds if seconds else 0.0
    table = pipes(HEAD, [row.cells() for row in rows])
    return f"{table}\n\n{len(rows)} recordings, {seconds:.0f} s, {found} found, {rate:.1f} a minute."


def main() -> None:
    """Analyse and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rows = []
    for video in options.videos:
        row = analyse(video, options.out / video.name)
        sys.stderr.write(f"{video.name}: {row.found} found\n")
        rows.append(row)
    sys.stdout.write(table(rows) + "\n")


if __name__ == "__main__":
    main()
