"""Measures the house: ``python -m tests.house REVISION…`` prints a Markdown table, a column for each revision.

Each is unpacked into a folder of its own. Start-up is the median of nine runs with the libraries of this environment.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests import REPO
from tests.test_circles import ROOMS, graph, modules, packages

RUNS = 9


def unpacked(revision: str, folder: Path) -> Path:
    archive = subprocess.run(["git", "archive", revision], cwd=REPO, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    return folder


def lines(paths: Iterable[Path]) -> int:
    return sum(bool(line.strip()) for path in paths for line in path.read_text(encoding="utf-8").splitlines())


def circles(arrows: Mapping[str, set[str]]) -> int:
    """Groups of more than one that all reach each other."""

    def reached(start: str) -> frozenset[str]:
        seen, todo = {start}, [start]
        while todo:
            fresh = arrows.get(todo.pop(), set()) - seen
            seen |= fresh
            todo += fresh
        return frozenset(seen)

    reach = {name: reached(name) for name in {*arrows, *(b for some in arrows.values() for b in some)}}
    return len(
        {group for name in reach if len(group := frozenset(b for b in reach[name] if name in reach[b])) > 1}
    )


def room_of(name: str, inside: str) -> str:
    return name.removeprefix(inside).partition(".")[0]


def started_ms(root: Path, *command: str) -> float | None:
    """Median of some runs; ``None`` where there is no such thing."""
    path = str(root / "src" if (root / "src").is_dir() else root)
    taken = []
    for _ in range(RUNS):
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, *command],
            cwd=root.parent,
            env={"PYTHONPATH": path},
            capture_output=True,
            check=False,
        )
        if done.returncode:
            return None
        taken.append(time.perf_counter() - began)
    return 1000 * statistics.median(taken)


def wheel_mb(root: Path) -> float:
    out = root.parent / "wheel"
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    (made,) = out.glob("*.whl")
    return made.stat().st_size / 1e6


def measured(revision: str) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "house"
        home.mkdir()
        root = unpacked(revision, home)
        inside = "mellm." if (root / "src").is_dir() else ""
        arrows = graph(modules(root, inside))
        files = [path for room in ROOMS for path in (root / room).rglob("*.py")]
        folders = {path.parent for path in files}
        over = [
            (a, b) for a, some in arrows.items() for b in some if room_of(a, inside) != room_of(b, inside)
        ]
        rows: dict[str, float | int | None] = {
            "start of `mellm --help`, ms": started_ms(root, "-m", f"{inside}clients.cli", "--help"),
            "`import mellm`, ms": started_ms(root, "-c", "import mellm") if inside else None,
            "wheel, MB": wheel_mb(root),
            "source lines, not blank, without tests": lines(files),
            "lines of tests": lines((root / "tests").rglob("*.py")),
            "source files": len(files),
            "most files in one folder": max(sum(path.parent == one for path in files) for one in folders),
            "modules of more than 400 lines": sum(lines([path]) > 400 for path in files),
            "imports between files": sum(map(len, arrows.values())),
            "… between files of two rooms": len(over),
            "arrows between rooms": len({(room_of(a, inside), room_of(b, inside)) for a, b in over}),
            "circles between files": circles(arrows),
            "circles between packages": circles(packages(arrows)),
        }
        for room in ROOMS:
            rows[f"source lines of `{room}`"] = lines(
                path for path in files if path.is_relative_to(root / room)
            )
    shown = {
        name: "–" if value is None else f"{value:,.1f}".removesuffix(".0") for name, value in rows.items()
    }
    return {"revision": f"`{revision}`", **shown}


if __name__ == "__main__":
    from mellm.evaluation.metrics.table import pipes

    columns = [measured(revision) for revision in sys.argv[1:]]
    heads = ("", *(column["revision"] for column in columns))
    body = [(name, *(column[name] for column in columns)) for name in columns[0] if name != "revision"]
    sys.stdout.write(pipes(heads, body, range(1, len(heads))) + "\n")
