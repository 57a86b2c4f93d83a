"""Changes that must not matter change the pictures, and nothing else."""

from __future__ import annotations

import numpy as np

from mellm.training.readings.changed import CHANGES, streamed, versions
from tests.training.readings.made import clip

SECONDS = 0.4


def test_each_change_keeps_the_moments_and_changes_the_pictures() -> None:
    whole = clip(seconds=SECONDS)
    made = list(versions(whole))
    assert [v.spec.change for v in made] == list(CHANGES)
    shown = {v.spec.change: list(v.frames()) for v in made}
    plain = shown["crf 18"]
    for name, frames in shown.items():
        assert len(frames) == len(plain)
        # a transport stream counts in 1/90000 s
        assert all(abs(a.pts_ns - b.pts_ns) < 12_000 for a, b in zip(frames, plain, strict=True))
        assert (frames[0].image.shape[0] < plain[0].image.shape[0]) == (name in ("smaller", "cropped"))
    assert shown["brighter"][0].image.mean() > plain[0].image.mean() * 1.02
    assert np.abs(shown["crf 28"][5].image.astype(int) - plain[5].image).mean() > 0.3
    assert all(v.expressions == whole.expressions for v in made)


def test_a_stream_has_the_times_of_its_pictures() -> None:
    some = clip(seconds=SECONDS)
    frames = list(streamed(some.pictures, some.stamps_ns, "s", 23))
    assert [f.index for f in frames] == list(range(len(some.stamps_ns)))
    assert frames[0].pts_ns == 0
