"""Fundamental perception: things, scenes, knowledge."""

from __future__ import annotations

import math
from typing import Final

from mellm.evaluation.compare.suite.canvas import Canvas, Draw


def table_scene(c: Canvas) -> None:
    c.box(0, 0, 100, 75, "#f3ead9", edge="none")
    c.box(15, 25, 70, 6, "#8b5a2b")
    c.box(20, 5, 4, 20, "#8b5a2b")
    c.box(76, 5, 4, 20, "#8b5a2b")
    c.disc(35, 38, 7, "red")
    c.box(57, 31, 14, 14, "royalblue")
    c.shape([(43, 5), (57, 5), (50, 18)], "gold")


def discs(c: Canvas) -> None:
    for x, y in [(15, 60), (40, 62), (70, 58), (25, 38), (55, 40), (85, 36), (45, 15)]:
        c.disc(x, y, 6, "seagreen")
    for x, y in [(15, 15), (72, 15), (85, 60)]:
        c.box(x - 5, y - 5, 10, 10, "orange")


def _house(c: Canvas, x: float, *, windows: int, chimney: bool, door: str) -> None:
    c.box(x, 15, 34, 28, "#f0d9a8")
    c.shape([(x - 3, 43), (x + 37, 43), (x + 17, 60)], "#a23b2a")
    if chimney:
        c.box(x + 25, 52, 5, 10, "#7a2b1e")
        c.shape([(x - 3, 43), (x + 37, 43), (x + 17, 60)], "#a23b2a")
    c.box(x + 13, 15, 8, 14, door)
    for k in range(windows):
        c.box(x + 4 + 19 * k, 31, 7, 7, "lightblue")


def differences(c: Canvas) -> None:
    c.line([50, 50], [0, 75], "grey", 1)
    _house(c, 8, windows=2, chimney=True, door="brown")
    _house(c, 58, windows=1, chimney=False, door="green")


def mueller_lyer(c: Canvas) -> None:
    for y, way in ((50, 1), (25, -1)):
        c.line([25, 75], [y, y], width=3)
        for x, side in ((25, 1), (75, -1)):
            c.line([x, x + 7 * side * way], [y, y + 6], width=3)
            c.line([x, x + 7 * side * way], [y, y - 6], width=3)
    c.text(10, 50, "A", 18)
    c.text(10, 25, "B", 18)


def beach(c: Canvas) -> None:
    c.box(0, 40, 100, 35, "#9fd3f0", edge="none")
    c.box(0, 22, 100, 18, "#2f7fb5", edge="none")
    c.box(0, 0, 100, 22, "#eed9a2", edge="none")
    c.disc(82, 64, 6, "gold", edge="none")
    c.line([30, 30], [10, 38], "#6b4a2b", 3)
    c.shape([(14, 36), (46, 36), (30, 48)], "crimson")
    c.shape([(60, 30), (78, 30), (74, 25), (64, 25)], "#7a4a20")
    c.line([69, 69], [30, 46], "black", 2)
    c.shape([(70, 44), (70, 31), (80, 31)], "white")


def _ball(t: float) -> Draw:
    def draw(c: Canvas) -> None:
        c.box(0, 0, 100, 10, "#999999", edge="none")
        c.box(60, 10, 16, 34, "#c9a56b")
        c.disc(12 + 44 * t, 62 - 46 * t * t, 5, "red")

    return draw


def ice_and_fire(c: Canvas) -> None:
    c.shape([(30, 8), (42, 8), (39, 22), (36, 15), (34, 24), (32, 14)], "orangered", edge="none")
    c.line([22, 50], [26, 26], width=3)
    c.shape([(26, 26), (46, 26), (44, 44), (28, 44)], "#dff3ff")
    c.text(36, 35, "ice", 14, "navy")
    c.text(72, 36, "after\n10 minutes", 14)
    c.arrow(52, 35, 60, 35, "black")
    c.text(90, 36, "?", 30)


def lever(c: Canvas) -> None:
    c.line([10, 90], [35, 35], "#6b4a2b", 6)
    c.shape([(45, 20), (55, 20), (50, 34)], "grey")
    c.box(12, 36, 12, 12, "steelblue")
    c.text(18, 42, "10 kg", 10, "white")
    c.box(76, 36, 12, 12, "steelblue")
    c.text(82, 42, "?", 14, "white")
    c.text(34, 28, "2 m", 11)
    c.text(66, 28, "2 m", 11)


def benzene(c: Canvas) -> None:
    corners = [
        (50 + 18 * math.cos(a), 38 + 18 * math.sin(a))
        for a in (math.pi / 6 + k * math.pi / 3 for k in range(6))
    ]
    c.shape(corners, "white", linewidth=3)
    for k in (0, 2, 4):
        (x0, y0), (x1, y1) = corners[k], corners[(k + 1) % 6]
        inner = [((x - 50) * 0.82 + 50, (y - 38) * 0.82 + 38) for x, y in ((x0, y0), (x1, y1))]
        c.line([inner[0][0], inner[1][0]], [inner[0][1], inner[1][1]], width=3)


def pyramids(c: Canvas) -> None:
    c.box(0, 20, 100, 55, "#bfe3f5", edge="none")
    c.box(0, 0, 100, 20, "#e3c07a", edge="none")
    for x, h in ((18, 22), (44, 34), (74, 28)):
        c.shape([(x - h * 0.7, 18), (x + h * 0.7, 18), (x, 18 + h)], "#d3a653")
        c.shape([(x + h * 0.7, 18), (x, 18 + h), (x + h * 0.25, 18)], "#b5893b")
    c.disc(88, 64, 5, "gold", edge="none")


def red_envelope(c: Canvas) -> None:
    c.box(30, 12, 24, 40, "#c8102e")
    c.shape([(30, 52), (54, 52), (42, 40)], "#a50d26")
    c.disc(42, 38, 4, "gold")
    for x in (66, 84):
        c.line([x, x], [75, 62], "black", 1.5)
        c.oval(x, 52, 14, 20, "#c8102e")
        c.box(x - 4, 61, 8, 3, "gold")
        c.box(x - 4, 40, 8, 3, "gold")
        c.line([x, x], [40, 30], "gold", 3)


def tower(c: Canvas) -> None:
    c.box(0, 0, 100, 75, "#cfe6f5", edge="none")
    left = [(28, 5), (36, 22), (43, 40), (48, 66)]
    right = [(100 - x, y) for x, y in left]
    c.shape([*left, (50, 73), *right[::-1], (64, 5), (58, 16), (50, 20), (42, 16), (36, 5)], "#6b5544")
    for y, w in ((22, 30), (40, 16)):
        c.box(50 - w / 2, y, w, 3, "#4d3c2f")
    c.box(0, 0, 100, 5, "#6fa35c", edge="none")


def rings(c: Canvas) -> None:
    for x, y, colour in (
        (25, 43, "#0081c8"),
        (50, 43, "black"),
        (75, 43, "#ee334e"),
        (37.5, 31, "#fcb131"),
        (62.5, 31, "#00a651"),
    ):
        c.disc(x, y, 10.5, "none", edge=colour, linewidth=6)


def ship_and_iceberg(c: Canvas) -> None:
    c.box(0, 0, 100, 75, "#101c3a", edge="none")
    c.box(0, 0, 100, 24, "#1d3c66", edge="none")
    c.shape([(8, 24), (58, 24), (66, 36), (4, 36)], "black", edge="white")
    c.box(12, 36, 44, 6, "white")
    for x in (16, 26, 36, 46):
        c.box(x, 42, 5, 13, "#d08b2c")
    c.shape([(70, 22), (98, 22), (92, 44), (86, 38), (80, 54)], "#e9f6ff")
    for x, y in ((10, 66), (30, 70), (52, 64), (75, 68), (92, 62)):
        c.disc(x, y, 0.6, "white", edge="none")


def pizza(c: Canvas) -> None:
    c.disc(50, 37, 30, "#d99a4e")
    c.disc(50, 37, 26, "#f4d06f", edge="none")
    for x, y in ((40, 48), (60, 50), (50, 34), (36, 30), (64, 30), (52, 18)):
        c.disc(x, y, 4.5, "#b5322a")
    for x, y in ((48, 46), (58, 38), (42, 38), (46, 22), (60, 22)):
        c.oval(x, y, 5, 2.4, "#3f7d3a", angle=30)
    c.line([50, 50], [37, 67], "#8a5a24", 1.5)
    c.line([50, 76], [37, 22], "#8a5a24", 1.5)


def sunflower(c: Canvas) -> None:
    c.line([50, 50], [0, 40], "#3f7d3a", 5, zorder=0.5)
    c.oval(38, 16, 24, 9, "#4f9a48", angle=-25)
    for k in range(18):
        a = 2 * math.pi * k / 18
        c.oval(50 + 15 * math.cos(a), 48 + 15 * math.sin(a), 14, 6, "#f6c21c", angle=math.degrees(a))
    c.disc(50, 48, 10, "#5c3a17")


def spider(c: Canvas) -> None:
    for k, a in enumerate((25, 50, 130, 155, 205, 230, 310, 335)):
        r = math.radians(a)
        x, y = 50 + 10 * math.cos(r), 38 + 8 * math.sin(r)
        knee = (50 + 24 * math.cos(r), 40 + 22 * math.sin(r) + 4)
        foot = (50 + 34 * math.cos(r), 36 + 26 * math.sin(r))
        c.line([x, knee[0], foot[0]], [y, knee[1], foot[1]], "black", 2.5 + 0.0 * k)
    c.oval(50, 44, 22, 20, "#3a2a22")
    c.oval(50, 30, 13, 11, "#4a382e")
    c.disc(47, 27, 1, "white", edge="none")
    c.disc(53, 27, 1, "white", edge="none")


def grid_painting(c: Canvas) -> None:
    c.box(10, 5, 80, 65, "white", linewidth=3)
    for x, y, w, h, colour in (
        (10, 40, 28, 30, "#d7261e"),
        (70, 5, 20, 14, "#f2c500"),
        (10, 5, 14, 16, "#1c4e9d"),
    ):
        c.box(x, y, w, h, colour)
    for x in (24, 38, 70):
        c.line([x, x], [5, 70], "black", 6)
    for y in (19, 21, 40, 58):
        c.line([10, 90], [y, y], "black", 6 if y != 21 else 2)


def bowler(c: Canvas) -> None:
    c.oval(50, 34, 26, 34, "#f1d6bd")
    c.oval(50, 52, 42, 6, "black")
    c.shape([(38, 53), (62, 53), (60, 66), (50, 70), (40, 66)], "black")
    c.box(46, 26, 8, 4, "black")
    for x in (44, 56):
        c.disc(x, 38, 1.6, "black")
        c.line([x - 3, x + 3], [42, 43], "black", 3)
    c.line([46, 54], [22, 22], "#8a3b2c", 2)
    c.line([80, 80, 84, 88, 88], [8, 40, 45, 42, 38], "#5b3a1e", 4)


PICTURES: Final[dict[str, Draw]] = {
    "table": table_scene,
    "discs": discs,
    "differences": differences,
    "illusion": mueller_lyer,
    "beach": beach,
    "ball-1": _ball(0.0),
    "ball-2": _ball(0.5),
    "ball-3": _ball(0.95),
    "ice": ice_and_fire,
    "lever": lever,
    "benzene": benzene,
    "pyramids": pyramids,
    "envelope": red_envelope,
    "tower": tower,
    "rings": rings,
    "ship": ship_and_iceberg,
    "pizza": pizza,
    "sunflower": sunflower,
    "spider": spider,
    "painting": grid_painting,
    "bowler": bowler,
}
