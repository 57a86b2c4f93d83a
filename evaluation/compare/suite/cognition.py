"""Advanced cognition: charts, code, puzzles, science, feelings, games."""

from __future__ import annotations

import math
from typing import Final

from mellm.evaluation.compare.suite.canvas import Canvas, Draw


def bar_chart(c: Canvas) -> None:
    c.line([15, 15, 95], [68, 12, 12], width=1.5)
    for k, (month, value) in enumerate((("Jan", 20), ("Feb", 35), ("Mar", 50), ("Apr", 30))):
        x = 22 + 18 * k
        c.box(x, 12, 11, value, "#4878a8")
        c.text(x + 5.5, 8, month, 11)
        c.text(x + 5.5, 15 + value, str(value), 11)
    c.text(53, 71, "Visitors (thousands)", 12)


def page_to_code(c: Canvas) -> None:
    c.box(5, 5, 90, 65, "white", linewidth=1.5)
    c.box(5, 62, 90, 8, "#dddddd")
    c.text(50, 66, "Sign in", 12)
    for y, name in ((46, "Name"), (33, "Password")):
        c.text(22, y + 3, name, 11)
        c.box(35, y, 45, 7, "white")
    c.box(42, 14, 22, 9, "#2f6fdd")
    c.text(53, 18.5, "Go", 12, "white")


def line_chart(c: Canvas) -> None:
    c.line([15, 15, 95], [68, 12, 12], width=1.5)
    xs = [18 + 1.2 * k for k in range(60)]
    c.line(xs, [40 + 20 * math.sin((x - 18) / 11.46) for x in xs], "crimson", 2.5)
    c.line([15, 95], [40, 40], "grey", 1)
    c.text(55, 71, "y = sin(x),  0 ≤ x ≤ 2π", 12)


def tangram(c: Canvas) -> None:
    """A boat of triangles."""
    c.shape([(20, 25), (80, 25), (68, 12), (32, 12)], "#c44e52")
    c.shape([(48, 28), (48, 66), (20, 28)], "#4c72b0")
    c.shape([(52, 28), (52, 60), (78, 28)], "#55a868")


def block_design(c: Canvas) -> None:
    for col in range(2):
        for row in range(2):
            x, y = 8 + 14 * col, 26 + 14 * row
            c.box(x, y, 14, 14, "white")
            if (row + col) % 2 == 0:
                c.shape([(x, y), (x + 14, y), (x, y + 14)], "crimson")
            else:
                c.shape([(x + 14, y), (x + 14, y + 14), (x, y + 14)], "crimson")
    c.text(45, 40, "made of\n4 blocks", 11)
    for k, name in enumerate("ABC"):
        x = 62
        y = 52 - 22 * k
        c.text(57, y + 7, name, 13)
        c.box(x, y, 14, 14, "crimson" if name == "A" else "white")
        if name == "B":
            c.shape([(x, y), (x + 14, y), (x, y + 14)], "crimson")
        if name == "C":
            c.disc(x + 7, y + 7, 5, "crimson")


def raven(c: Canvas) -> None:
    for row in range(3):
        for col in range(3):
            x, y = 8 + 14 * col, 54 - 18 * row
            c.box(x, y, 13, 15, "white")
            if (row, col) == (2, 2):
                c.text(x + 6.5, y + 7.5, "?", 18)
                continue
            _raven_cell(c, x, y, row, col + 1)
    for k, (row, count) in enumerate(((2, 2), (2, 3), (0, 3), (1, 3))):
        x, y = 62 + 18 * (k % 2), 42 - 24 * (k // 2)
        c.box(x, y, 13, 15, "white")
        c.text(x + 6.5, y - 3.5, str(k + 1), 11)
        _raven_cell(c, x, y, row, count)


def _raven_cell(c: Canvas, x: float, y: float, row: int, count: int) -> None:
    for k in range(count):
        cx, cy = x + 6.5, y + 3 + 4.5 * k
        if row == 0:
            c.disc(cx, cy, 1.8, "black")
        elif row == 1:
            c.box(cx - 1.8, cy - 1.8, 3.6, 3.6, "black")
        else:
            c.shape([(cx - 2, cy - 1.8), (cx + 2, cy - 1.8), (cx, cy + 2)], "black")


def triangle(c: Canvas) -> None:
    c.shape([(20, 15), (80, 15), (20, 60)], "#eef3fb", linewidth=2)
    c.box(20, 15, 4, 4, "none")
    c.text(14, 37, "3", 16)
    c.text(50, 9, "4", 16)
    c.text(55, 42, "x", 16, style="italic")


def circuit(c: Canvas) -> None:
    c.line([20, 20, 80, 80, 62], [44, 60, 60, 15, 15])
    c.line([38, 20, 20], [15, 15, 34])
    c.line([13, 27], [44, 44], width=3)
    c.line([16, 24], [34, 34], width=3)
    c.text(9, 39, "12 V", 12)
    c.box(38, 11, 24, 8, "white", linewidth=2)
    c.text(50, 15, "4 Ω", 12)
    c.text(50, 66, "I = ?", 14)


def face(c: Canvas, x: float, y: float, r: float, mood: str) -> None:
    """A drawn face of one of six moods."""
    c.disc(x, y, r, "#f7d9b5")
    wide = {"surprise": 0.17, "fear": 0.16}.get(mood, 0.1)
    for side in (-1, 1):
        c.oval(x + side * 0.35 * r, y + 0.2 * r, 0.2 * r, 2 * wide * r, "white")
        c.disc(x + side * 0.35 * r, y + 0.2 * r, 0.07 * r, "black")
        inner, outer = {
            "anger": (0.42, 0.62),
            "sadness": (0.66, 0.48),
            "fear": (0.72, 0.58),
            "surprise": (0.72, 0.7),
            "disgust": (0.45, 0.5),
        }.get(mood, (0.52, 0.52))
        c.line([x + side * 0.18 * r, x + side * 0.55 * r], [y + inner * r, y + outer * r], width=2.5)
    if mood == "surprise":
        c.oval(x, y - 0.45 * r, 0.3 * r, 0.42 * r, "#7a2b2b")
        return
    bend = {"happiness": 0.32, "sadness": -0.25, "anger": -0.1, "disgust": -0.16, "fear": -0.08}.get(
        mood, 0.0
    )
    ts = [k / 12 for k in range(-12, 13)]
    c.line(
        [x + 0.45 * r * t for t in ts],
        [y - 0.42 * r - bend * r * (1 - t * t) + (bend * r) / 2 for t in ts],
        "#8a3b2c",
        3,
    )
    if mood == "disgust":
        c.line([x - 0.1 * r, x + 0.1 * r], [y + 0.02 * r, y + 0.06 * r], width=1.5)
        c.line([x - 0.1 * r, x + 0.1 * r], [y - 0.06 * r, y - 0.02 * r], width=1.5)


def surprised(c: Canvas) -> None:
    face(c, 50, 37, 30, "surprise")


def three_faces(c: Canvas) -> None:
    for k, mood in enumerate(("happiness", "anger", "sadness")):
        face(c, 19 + 31 * k, 42, 13.5, mood)
        c.text(19 + 31 * k, 18, "ABC"[k], 16)


def smiling(c: Canvas) -> None:
    face(c, 22, 42, 15, "happiness")
    c.text(22, 20, "happiness", 12)
    face(c, 72, 42, 15, "fear")
    c.text(72, 20, "?", 18)


def asymmetric(c: Canvas) -> None:
    """A lip corner that is pulled on one side, with an arrow to it."""
    face(c, 45, 38, 28, "neutral")
    c.line([45, 57], [26.2, 33], "#8a3b2c", 3.5)
    c.arrow(88, 52, 60, 34)


def rainy_window(c: Canvas) -> None:
    c.box(0, 0, 100, 75, "#59636e", edge="none")
    c.box(20, 12, 60, 55, "#8c9aa8", linewidth=4)
    c.line([50, 50], [12, 67], width=3)
    for k in range(24):
        x, y = 23 + (k * 37) % 54, 18 + (k * 23) % 44
        c.line([x, x - 1.5], [y, y - 4], "#cfd8e0", 1.5)
    c.oval(50, 14, 10, 14, "#2c3138")
    c.disc(50, 25, 5, "#2c3138")


def fairground(c: Canvas) -> None:
    c.box(0, 0, 100, 75, "#bfe8ff", edge="none")
    c.box(0, 0, 100, 12, "#7cc36a", edge="none")
    for k in range(8):
        a = 2 * math.pi * k / 8
        c.line([35, 35 + 22 * math.cos(a)], [40, 40 + 22 * math.sin(a)], "grey", 1.5)
        c.disc(
            35 + 22 * math.cos(a), 40 + 22 * math.sin(a), 4, ("red", "gold", "royalblue", "magenta")[k % 4]
        )
    c.line([35, 25], [40, 12], "grey", 3)
    c.line([35, 45], [40, 12], "grey", 3)
    for x, colour in ((72, "red"), (82, "gold"), (77, "royalblue")):
        c.line([x, 77], [52, 20], "black", 1)
        c.oval(x, 56, 8, 10, colour)
    face(c, 77, 19, 6, "happiness")


SUDOKU: Final = ("1234", "3412", "2143", "43?1")


def sudoku(c: Canvas) -> None:
    for k in range(5):
        c.line([25, 75], [12 + 12.5 * k] * 2, width=4 if k % 2 == 0 else 1.2)
        c.line([25 + 12.5 * k] * 2, [12, 62], width=4 if k % 2 == 0 else 1.2)
    for row, digits in enumerate(SUDOKU):
        for col, digit in enumerate(digits):
            c.text(31.2 + 12.5 * col, 55.7 - 12.5 * row, digit, 18, "red" if digit == "?" else "black")


def crossword(c: Canvas) -> None:
    for col, letter in enumerate("CA_"):
        c.box(12 + 12 * col, 40, 12, 12, "white")
        c.text(18 + 12 * col, 46, letter.replace("_", ""), 16)
    for row, letter in enumerate("OP"):
        c.box(36, 28 - 12 * row, 12, 12, "white")
        c.text(42, 34 - 12 * row, letter, 16)
    c.text(13.5, 50.3, "1", 7)
    c.text(37.5, 50.3, "2", 7)
    c.text(74, 46, "1 across:\nit purrs", 12)
    c.text(74, 24, "2 down:\nthe highest point", 12)


def go_board(c: Canvas) -> None:
    c.box(12, 2, 76, 71, "#dcb26a")
    for k in range(7):
        c.line([18, 82], [8 + 9.8 * k] * 2, width=1)
        c.line([18 + 10.7 * k] * 2, [8, 67], width=1)
    for col, row, colour in ((3, 3, "white"), (2, 3, "black"), (4, 3, "black"), (3, 4, "black")):
        c.disc(18 + 10.7 * col, 8 + 9.8 * row, 4.4, colour)
    c.disc(18 + 10.7 * 3, 8 + 9.8 * 2, 1.4, "red")


PICTURES: Final[dict[str, Draw]] = {
    "bars": bar_chart,
    "sign-in": page_to_code,
    "sine": line_chart,
    "tangram": tangram,
    "blocks": block_design,
    "raven": raven,
    "triangle": triangle,
    "circuit": circuit,
    "surprised": surprised,
    "three-faces": three_faces,
    "example-face": smiling,
    "lip-corner": asymmetric,
    "rain": rainy_window,
    "fair": fairground,
    "sudoku": sudoku,
    "crossword": crossword,
    "go": go_board,
}
