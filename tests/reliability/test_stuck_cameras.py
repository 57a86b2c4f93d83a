"""F3: a camera that shows the same picture, or none, is told within five seconds, and nothing is spotted on it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from mellm.engine.analysis.pipeline import PictureChanged, Spotted
from mellm.stream.frames import Frame
from tests.engine.moving import FOUND, SECONDS, chain, picture
from tests.reliability.figures import record

FPS = 30
STUCK_S = 8.0


def stuck(kind: str, seed: int) -> Iterator[Frame]:
    """The moving face as a sensor would show it, then a stuck picture, then the face again from its beginning."""
    rng = np.random.default_rng(seed)
    clean = [picture(i / FPS) for i in range(round(SECONDS * FPS))]
    moving = [np.clip(p + rng.normal(0, 1.5, p.shape), 0, 255).astype(np.uint8) for p in clean]
    at = int(rng.integers(len(moving) // 2, len(moving)))
    last = np.zeros_like(moving[0]) if kind == "dark" else moving[at]
    pictures = [*moving[:at], *[last] * round(STUCK_S * FPS), *moving]
    for i, image in enumerate(pictures):
        if kind == "dark" and image is last:
            image = np.clip(rng.normal(1, 1, image.shape), 0, 255).astype(np.uint8)
        yield Frame("s", 0, i, round(i * 1e9 / FPS), 0, image)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", ["frozen", "dark"])
def test_f3_a_stuck_picture_is_told_and_gives_nothing(kind: str, seed: int) -> None:
    made = chain("s")
    frames = list(stuck(kind, seed))
    out = [(frame.pts_ns, o) for frame in frames for o in made.push(frame)]
    out += [(frames[-1].pts_ns, o) for o in made.finish()]
    told = [(t, o.still) for t, o in out if isinstance(o, PictureChanged)]
    assert [state for _, state in told] == [kind, None]
    again = frames[-round(SECONDS * FPS)].pts_ns
    began = again - STUCK_S * 1e9
    late = began + 0.3e9  # what was under way when it froze is still measured against the frames before
    inside = [o for _, o in out if isinstance(o, Spotted) and late <= o.expression.onset.pts_ns < again]
    crossing = [
        o
        for _, o in out
        if isinstance(o, Spotted) and o.expression.onset.pts_ns < again <= o.expression.offset.pts_ns
    ]
    after = [o for _, o in out if isinstance(o, Spotted) and o.expression.onset.pts_ns >= again]
    record(
        "F3",
        "C",
        run=f"{kind} {seed}",
        told_after_s=round((told[0][0] - began) / 1e9, 2),
        spotted_on_it=len(inside),
    )
    assert told[0][0] - began <= 5e9
    assert told[1][0] == again
    assert not inside
    assert not crossing
    assert len(after) == FOUND
    counts = made.counts
    assert counts.captured == counts.analysed + sum(counts.dropped.values()) == len(frames)
    assert counts.dropped[kind] > 0
