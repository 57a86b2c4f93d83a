"""Tables of results: Markdown, CSV, LaTeX and the terminal, from the same cells."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

Cell = str | int | float | None | Sequence[float]
"""``None`` and NaN are not known; two numbers are an interval."""

WIDTH: Final = 112
"""Columns of a table in the terminal: a pipe is taken to be this wide."""
_TEX: Final = {c: "\\" + c for c in "&%$#_{}"} | {
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

    :param name: of the files
    :param digits: of floats, in Markdown, LaTeX and the terminal; CSV has them all
    :param notes: sentences below it
    :param right: columns that are set to the right; by default those that hold no word
    """

    name: str
    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = field(default=())
    digits: int = 3
    right: Collection[int] | None = None

    def numeric(self, column: int) -> bool:
        """Whether a column holds numbers, so that it is set to the right."""
        if self.right is not None:
            return column in self.right
        cells = [row[column] for row in self.rows]
        return bool(cells) and all(not isinstance(cell, str) for cell in cells)

    def text_rows(self) -> list[list[str]]:
        """The rows as people read them."""
        return [[format_cell(cell, self.digits) for cell in row] for row in self.rows]

    def markdown(self) -> str:
        """A heading, the table, its notes."""
        rows = self.text_rows() or [["–" for _ in self.heads]]
        body = pipes(self.heads, rows, [k for k in range(len(self.heads)) if self.numeric(k)])
        return "\n".join(
            [f"## {self.title}", "", body, *(line for note in self.notes for line in ("", note)), ""]
        )

    def latex(self) -> str:
        """A ``table`` with ``booktabs`` rules."""
        columns = "".join("r" if self.numeric(k) else "l" for k in range(len(self.heads)))
        caption = _tex(" ".join([self.title + ".", *self.notes]))
        body = "".join(" & ".join(map(_tex, row)) + " \\\\\n" for row in self.text_rows())
        return (
            "% \\usepackage{booktabs}\n\\begin{table}\n\\centering\n"
            f"\\caption{{{caption}}}\n\\label{{tab:{self.name}}}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n"
            f"{' & '.join(map(_tex, self.heads))} \\\\\n\\midrule\n{body}"
            "\\bottomrule\n\\end{tabular}\n\\end{table}\n"
        )

    def show(self) -> None:
        """Print it on standard output, with its notes."""
        from rich.box import SIMPLE
        from rich.console import Console
        from rich.table import Table as Drawn

        drawn = Drawn(title=self.title or None, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
        for column, head in enumerate(self.heads):
            drawn.add_column(head, justify="right" if self.numeric(column) else "left", overflow="fold")
        for row in self.text_rows():
            drawn.add_row(*row)
        console = Console(highlight=False, markup=False)
        console.width = max(console.width, WIDTH)
        console.print(drawn)
        for note in self.notes:
            console.print(note, soft_wrap=True)


def format_cell(cell: Cell, digits: int = 3) -> str:
    """A cell as people read it; ``–`` is unknown or undefined."""
    if cell is None or cell != cell:
        return "–"
    if isinstance(cell, float):
        return f"{cell:.{digits}f}"
    if isinstance(cell, str | int):
        return str(cell)
    low, high = cell
    return "–" if low != low else f"[{low:.{digits}f}, {high:.{digits}f}]"


def pipes(heads: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[int] = ()) -> str:
    """A table of Markdown without a line break at its end.

    :param right: columns that are set to the right
    """
    rules = ("---:" if k in right else "---" for k in range(len(heads)))
    lines = [" | ".join(map(_md, row)) for row in (heads, *rows)]
    return "\n".join([f"| {lines[0]} |", f"|{'|'.join(rules)}|", *(f"| {line} |" for line in lines[1:])])


def write_csv(path: Path, heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Cells with all their digits; what is not known is empty.

    :raises OSError: it cannot be written
    """
    with path.open("w", newline="", encoding="utf-8", errors="replace") as stream:
        writer = csv.writer(stream)
        writer.writerow(heads)
        writer.writerows([_flat(cell) for cell in row] for row in rows)


def _flat(cell: Any) -> Any:
    if isinstance(cell, tuple | list):
        return "" if cell[0] != cell[0] else f"{cell[0]:.6g} {cell[1]:.6g}"
    return "" if cell is None or cell != cell else cell


def _md(text: str) -> str:
    return text.replace("\\|", "|").replace("|", "\\|").replace("\n", " ")


def _tex(text: str) -> str:
    return "".join(_TEX.get(c, c) for c in text)
