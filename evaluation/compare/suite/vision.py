"""Challenging vision and expert capacity: where things are, how they move, what an expert sees."""

from __future__ import annotations

import math
from typing import Final

from mellm.evaluation.compare.suite.canvas import Canvas, Draw
from mellm.evaluation.compare.suite.cognition import face


def street(c: Canvas) -> None:
    c.box(0, 0, 100, 30, "#7d7d7d", edge="none")
    c.box(0, 30, 100, 45, "#cfe8f7", edge="none")
    for x, colour in ((8, "crimson"), (62, "gold")):
        c.box(x, 12, 28, 9, colour)
        c.shape([(x + 5, 21), (x + 23, 21), (x + 19, 28), (x + 9, 28)], colour)
        for wheel in (x + 7, x + 21):
            c.disc(wheel, 12, 3.6, "black")
    c.line([48, 48], [14, 60], "#444444", 4)
    c.box(44.5, 46, 7, 18, "#222222")
    for y, colour in ((60, "red"), (55, "#554400"), (50, "#004400")):
        c.disc(48, y, 2.2, colour)


def fruit(c: Canvas) -> None:
    c.box(0, 0, 100, 20, "#b98b57", edge="none")
    for x, y, r, colour in (
        (20, 26, 8, "red"),
        (42, 26, 8, "red"),
        (66, 24, 6, "limegreen"),
        (86, 27, 9, "orange"),
    ):
        c.disc(x, y, r, colour)
        c.line([x, x + 1], [y + r, y + r + 4], "#5b3a1e", 2)
    c.oval(86, 42, 6, 3, "green", angle=30)


def group(c: Canvas) -> None:
    for x, mood, shirt in (
        (18, "happiness", "royalblue"),
        (50, "neutral", "crimson"),
        (82, "sadness", "seagreen"),
    ):
        c.shape([(x - 13, 0), (x + 13, 0), (x + 8, 26), (x - 8, 26)], shirt)
        face(c, x, 40, 13, mood)


def _three_discs(positions: tuple[tuple[float, float], ...]) -> Draw:
    def draw(c: Canvas) -> None:
        c.box(2, 2, 96, 71, "white")
        for (x, y), colour in zip(positions, ("red", "royalblue", "gold"), strict=True):
            c.disc(x, y, 6, colour)

    return draw


def _person(c: Canvas, x: float, y: float, arms: tuple[float, float], legs: tuple[float, float]) -> None:
    c.disc(x, y + 24, 4.5, "#f1d6bd")
    c.line([x, x], [y + 8, y + 20], width=3)
    for angle, length, root in ((arms[0], 12, 18), (arms[1], 12, 18), (legs[0], 13, 8), (legs[1], 13, 8)):
        a = math.radians(angle)
        c.line([x, x + length * math.cos(a)], [y + root, y + root + length * math.sin(a)], width=3)


def _jump(height: float, arms: tuple[float, float], legs: tuple[float, float]) -> Draw:
    def draw(c: Canvas) -> None:
        c.box(0, 0, 100, 12, "#b9d8a0", edge="none")
        _person(c, 50, 14 + height, arms, legs)
        c.line([30, 70], [62, 62], "grey", 1.5, linestyle=":")

    return draw


def _seed(stage: int) -> Draw:
    def draw(c: Canvas) -> None:
        c.box(0, 55, 100, 20, "#cfe8f7", edge="none")
        c.box(0, 20, 100, 35, "#cfe8f7", edge="none")
        c.box(0, 0, 100, 20, "#7a5230", edge="none")
        if stage == 0:
            c.oval(50, 12, 5, 3.4, "#e2c48d")
            c.shape([(16, 52), (30, 62), (33, 58), (20, 47)], "#8899aa")
            c.line([30, 33, 36], [58, 50, 44], "#3a86c8", 2, linestyle=":")
        if stage >= 1:
            c.line([50, 50], [12, 28 + 12 * (stage - 1)], "#3f7d3a", 4)
            c.oval(44, 26 + 6 * stage, 11, 5, "#4f9a48", angle=-25)
            c.oval(56, 24 + 6 * stage, 11, 5, "#4f9a48", angle=25)
        if stage == 2:
            for k in range(6):
                a = 2 * math.pi * k / 6
                c.disc(50 + 6 * math.cos(a), 46 + 6 * math.sin(a), 4, "hotpink")
            c.disc(50, 46, 4, "gold")

    return draw


def stop_sign(c: Canvas) -> None:
    c.box(0, 0, 100, 75, "#cfe8f7", edge="none")
    c.shape([(20, 0), (80, 0), (58, 38), (42, 38)], "#7d7d7d")
    c.line([50, 50], [0, 34], "white", 2, linestyle="--")
    c.line([82, 82], [5, 45], "#555555", 4)
    corners = [
        (82 + 13 * math.cos(math.pi / 8 + k * math.pi / 4), 54 + 13 * math.sin(math.pi / 8 + k * math.pi / 4))
        for k in range(8)
    ]
    c.shape(corners, "#c8102e", edge="white", linewidth=2.5)
    c.text(82, 54, "STOP", 13, "white", weight="bold")


def crossing(c: Canvas) -> None:
    c.box(0, 0, 100, 75, "#cfe8f7", edge="none")
    c.shape([(5, 0), (95, 0), (62, 45), (38, 45)], "#6f6f6f")
    for k in range(6):
        x = 17 + 12 * k
        c.shape([(x, 12), (x + 6, 12), (x + 5.5, 20), (x + 1, 20)], "white", edge="none")
    _person(c, 34, 14, (-60, -120), (-70, -110))


def tiles(c: Canvas) -> None:
    for row in range(4):
        for col in range(6):
            c.box(6 + 15 * col, 6 + 16 * row, 14, 15, "#d9e3ea")
    c.line([54, 57, 55, 60, 58], [50, 46, 44, 41, 38], "#222222", 2)


def bone(c: Canvas) -> None:
    c.box(0, 0, 100, 75, "#111111", edge="none")
    for y0, y1 in ((8, 35), (40, 68)):
        c.box(44, y0, 12, y1 - y0, "#d8d8d8", edge="none")
    for x, y in ((44, 8), (56, 8), (44, 68), (56, 68)):
        c.disc(x, y, 6, "#d8d8d8", edge="none")
    c.shape([(44, 35), (56, 33), (56, 35), (50, 38)], "#d8d8d8", edge="none")
    c.shape([(44, 40), (56, 41), (50, 38.5)], "#d8d8d8", edge="none")
    c.text(12, 68, "X-ray", 11, "white")


def prices(c: Canvas) -> None:
    c.line([15, 15, 95], [68, 12, 12], width=1.5)
    c.line([18, 30, 42, 54, 66, 78, 90], [20, 24, 28, 33, 40, 50, 62], "crimson", 3)
    for k in range(7):
        c.text(18 + 12 * k, 8, str(2018 + k), 9)
    c.text(55, 71, "Consumer prices (2018 = 100)", 11)


def night_yard(c: Canvas) -> None:
    c.box(0, 0, 100, 75, "#1d2530", edge="none")
    c.box(55, 10, 40, 45, "#39424e")
    c.box(62, 10, 12, 24, "#54493a")
    c.box(80, 30, 10, 12, "#f5e08a")
    for k in range(9):
        c.line([4 + 5.5 * k] * 2, [10, 34], "#8d97a3", 1.5)
    c.line([2, 50], [30, 30], "#8d97a3", 1.5)
    c.line([2, 50], [16, 16], "#8d97a3", 1.5)
    c.disc(30, 46, 4, "#0b0d11", edge="#8d97a3")
    c.line([30, 30], [42, 30], "#0b0d11", 7)
    c.line([30, 38], [40, 34], "#0b0d11", 4)
    c.line([30, 22], [30, 22], "#0b0d11", 5)
    c.text(16, 70, "CAM 3  02:14", 11, "#9fe39f")


def aerial(c: Canvas) -> None:
    c.box(0, 0, 100, 75, "#86b26b", edge="none")
    xs = list(range(0, 101, 2))
    c.axes.fill_between(
        xs, [30 + 8 * math.sin(x / 14) for x in xs], [40 + 8 * math.sin(x / 14) for x in xs], color="#3a7fb8"
    )
    c.line([64, 64], [0, 75], "#555555", 8)
    for x in range(6, 54, 12):
        for y in (52, 63):
            c.box(x, y, 8, 7, "#b5533c")
    for k in range(5):
        c.box(74, 4 + 4 * k, 22, 2.6, "#d9c25a", edge="none")


def maze(c: Canvas) -> None:
    for k in range(6):
        c.line([15, 85], [7 + 12 * k] * 2, "#cccccc", 1)
        c.line([15 + 14 * k] * 2, [7, 67], "#cccccc", 1)
    for col, row in ((1, 0), (1, 1), (1, 2), (3, 4), (3, 3), (3, 2)):
        c.box(15 + 14 * col, 7 + 12 * row, 14, 12, "#333333")
    c.disc(22, 13, 4, "royalblue")
    c.text(22, 13, "R", 10, "white")
    c.text(78, 13, "★", 20, "goldenrod", family="DejaVu Sans")


PICTURES: Final[dict[str, Draw]] = {
    "street": street,
    "fruit": fruit,
    "group": group,
    "track-1": _three_discs(((20, 55), (50, 55), (80, 55))),
    "track-2": _three_discs(((38, 42), (50, 30), (68, 50))),
    "track-3": _three_discs(((80, 20), (50, 20), (20, 20))),
    "jump-1": _jump(0, (-120, -60), (-130, -50)),
    "jump-2": _jump(16, (60, 120), (-110, -70)),
    "jump-3": _jump(0, (-140, -40), (-100, -80)),
    "story-1": _seed(0),
    "story-2": _seed(1),
    "story-3": _seed(2),
    "stop": stop_sign,
    "crossing": crossing,
    "tiles": tiles,
    "bone": bone,
    "prices": prices,
    "yard": night_yard,
    "aerial": aerial,
    "maze": maze,
}
