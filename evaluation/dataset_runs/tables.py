"""Tables of a report as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mellm.stream.errors import RunError

Cell = str | int | float | None | tuple[float, float]
_TEX = {c: "\\" + c for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "≥": r"$\geq$",
    "→": r"$\rightarrow$",
}


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    :param name: of the files; :param digits: of floats, in Markdown and LaTeX; CSV has them all
    :param notes: sentences below it
    """

    name: str
    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = field(default=())
    digits: int = 3

    def numeric(self, column: int) -> bool:
        """Whether a column holds numbers, so that it is set to the right."""
        cells = [row[column] for row in self.rows]
        return bool(cells) and all(not isinstance(cell, str) for cell in cells)


def told(cell: Cell, digits: int = 3) -> str:
    """A cell as people read it; ``–`` is unknown or undefined."""
    if isinstance(cell, tuple):
        return "–" if cell[0] != cell[0] else f"{cell[0]:.{digits}f} … {cell[1]:.{digits}f}"
    if isinstance(cell, float):
        return "–" if cell != cell else f"{cell:.{digits}f}"
    return "–" if cell is None else str(cell)


def markdown(table: Table) -> str:
    """A heading, the table, its notes."""
    lines = [f"## {table.title}", ""]
    lines.append("| " + " | ".join(map(_md, table.heads)) + " |")
    lines.append("|" + "|".join("---:" if table.numeric(k) else "---" for k in range(len(table.heads))) + "|")
    lines += ["| " + " | ".join(_md(told(c, table.digits)) for c in row) + " |" for row in table.rows]
    if not table.rows:
        lines.append("| " + " | ".join("–" for _ in table.heads) + " |")
    lines += [line for note in table.notes for line in ("", note)]
    return "\n".join(lines) + "\n"


def _md(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def latex(table: Table) -> str:
    """A ``table`` with ``booktabs`` rules."""
    columns = "".join("r" if table.numeric(k) else "l" for k in range(len(table.heads)))
    body = [" & ".join(_tex(told(c, table.digits)) for c in row) + r" \\" for row in table.rows]
    return "\n".join(
        [
            "% \\usepackage{booktabs}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_tex(' '.join([table.title + '.', *table.notes]))}}}",
            rf"\label{{tab:{table.name}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            " & ".join(map(_tex, table.heads)) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _tex(text: str) -> str:
    return "".join(_TEX.get(c, c) for c in text)


def write(tables: Sequence[Table], out: Path, heading: str, lead: Sequence[str] = ()) -> list[Path]:
    """Write ``tables.md`` and, in the folder ``tables``, one CSV and one LaTeX file for each.

    :raises RunError: they cannot be written
    """
    folder = out / "tables"
    written = [out / "tables.md"]
    try:
        folder.mkdir(exist_ok=True)
        text = "\n".join([f"# {heading}", "", *(f"{line}\n" for line in lead), *map(markdown, tables)])
        written[0].write_text(text, encoding="utf-8")
        for table in tables:
            sheet, tex = folder / f"{table.name}.csv", folder / f"{table.name}.tex"
            with sheet.open("w", newline="", encoding="utf-8") as stream:
                writer = csv.writer(stream)
                writer.writerow(table.heads)
                writer.writerows([_flat(cell) for cell in row] for row in table.rows)
            tex.write_text(latex(table), encoding="utf-8")
            written += [sheet, tex]
    except OSError as error:
        raise RunError(f"tables cannot be written to {out} ({error.strerror})") from error
    return written


def _flat(cell: Cell) -> Any:
    if isinstance(cell, tuple):
        return "" if cell[0] != cell[0] else f"{cell[0]:.6g} {cell[1]:.6g}"
    return "" if cell is None or cell != cell else cell
