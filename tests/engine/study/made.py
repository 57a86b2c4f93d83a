"""A study as its command leaves it, without analysing anything: runs made by hand."""

from __future__ import annotations

import json
from pathlib import Path

from mellm.engine.study.plan import Plan, read
from tests.engine.export.made import RECORDS, facts_of_now, run_folder

HEADINGS = "recording,subject,session,condition,consent,notes,age\n"


def study(
    path: Path, lines: list[tuple[str, str, str, int]], *, judged: dict[str, float] | None = None
) -> Plan:
    """A folder of recordings, its table and its runs.

    :param lines: name, subject, condition, expressions that were found
    :param judged: condition → share of the usual judged time
    """
    folder, out = path / "recordings", path / "study"
    folder.mkdir(parents=True)
    table = path / "study.csv"
    rows = [f"{name},{subject},1,{condition},ref-{subject},,31\n" for name, subject, condition, _ in lines]
    table.write_text(HEADINGS + "".join(rows))
    for name, *_ in lines:
        (folder / name).write_bytes(b"x")
    plan = read(table, folder)
    for entry, (_, _, condition, found) in zip(plan.entries, lines, strict=True):
        run = run_folder(out / "runs" / entry.id, RECORDS[:found], sources=(Path(entry.name).stem,))
        facts_of_now(run, entry.about)
        state = json.loads((run / "run.json").read_text())
        for summary in state["sources"].values():
            summary["judged"] = _scaled(summary["judged"], (judged or {}).get(condition, 1.0))
            summary["file"]["bytes"] = 1
        state["settings"]["consent"] = entry.consent
        (run / "run.json").write_text(json.dumps(state))
    return plan


def _scaled(judged: dict, by: float) -> dict:
    return {
        half: told
        if not isinstance(told, dict)
        else {**told, "judged_s": {bar: s * by for bar, s in told["judged_s"].items()}}
        for half, told in judged.items()
    }


THIRTY = [
    (
        f"p{n:02d}_{'calm' if k == 0 else 'stress'}.mp4",
        f"p-{n:02d}",
        "calm" if k == 0 else "stress",
        (n + k) % 3 + k,
    )
    for n in range(1, 16)
    for k in (0, 1)
]
"""Fifteen people, each in two conditions."""
