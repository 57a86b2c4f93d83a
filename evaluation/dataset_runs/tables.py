"""The tables of a report as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mellm.evaluation.metrics.table import Table, write_csv
from mellm.stream.errors import RunError


def write(tables: Sequence[Table], out: Path, heading: str, lead: Sequence[str] = ()) -> list[Path]:
    """Write ``tables.md`` and, in the folder ``tables``, one CSV and one LaTeX file for each.

    :raises RunError: they cannot be written
    """
    folder = out / "tables"
    written = [out / "tables.md"]
    try:
        folder.mkdir(exist_ok=True)
        text = "\n".join(
            [f"# {heading}", "", *(f"{line}\n" for line in lead), *(t.markdown() for t in tables)]
        )
        written[0].write_text(text, encoding="utf-8")
        for table in tables:
            sheet, tex = folder / f"{table.name}.csv", folder / f"{table.name}.tex"
            write_csv(sheet, table.heads, table.rows)
            tex.write_text(table.latex(), encoding="utf-8")
            written += [sheet, tex]
    except OSError as error:
        raise RunError(f"tables cannot be written to {out} ({error.strerror})") from error
    return written
