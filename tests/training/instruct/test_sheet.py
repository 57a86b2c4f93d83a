import numpy as np

from mellm.training.instruct.sheet import TILE, sheet


def test_every_pair_is_shown_once(made):
    drawn = sheet(made, 24, 4)
    width, height = TILE
    assert drawn.shape == (2 * height, 4 * width, 3)
    tiles = [drawn[y : y + height, x : x + width] for y in (0, height) for x in range(0, 4 * width, width)]
    assert [bool(t.any()) for t in tiles] == [True] * 5 + [False] * 3
    assert not np.array_equal(tiles[0], tiles[1])
