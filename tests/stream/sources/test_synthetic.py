from itertools import islice

import numpy as np
import pytest

from mellm.stream.errors import UsageError
from mellm.stream.sources import open_source
from tests.stream.videos import drain, pts_ms


def opened(query="", **options):
    return open_source(f"synthetic:{query}", id="s", **options)


def test_two_runs_are_equal_and_something_moves():
    (one, _), (two, _) = (drain(opened("?seconds=0.5&width=64&height=48")) for _ in range(2))
    assert len(one) == 15
    assert all(np.array_equal(a.image, b.image) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(one[0].image, one[-1].image)
    assert one[0].image.shape == (48, 64, 3)


def test_gap():
    frames, gaps = drain(opened("?fps=50&seconds=2&width=8&height=8&gap=1.0&gap_length=0.4"))
    (gap,) = gaps
    assert (gap.from_ns, gap.to_ns, gap.reason) == (980_000_000, 1_400_000_000, "pts")
    assert len(frames) == 80


def test_endless():
    with opened("?seconds=0&width=8&height=8") as source:
        frames = list(islice(iter(source.read, None), 400))
    assert pts_ms(frames)[-1] > 13_000


def test_seed():
    (one, _), (two, _) = (drain(opened(f"?seconds=0.1&width=8&height=8&seed={s}")) for s in (1, 2))
    assert not np.array_equal(one[0].image, two[0].image)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?fsp=3", "did you mean 'fps'"),
        ("?fps=x", "not a number"),
        ("?fps=0", "range"),
        ("?width=1.5", "not a number"),
    ],
)
def test_bad_parameters_are_refused_by_name(query, said):
    with pytest.raises(UsageError, match=said):
        opened(query)


@pytest.mark.parametrize("query", ["?width=9000&height=9000", "?fps=nan", "?seconds=inf", "?gap=-inf"])
def test_out_of_bounds(query):
    with pytest.raises(UsageError):
        opened(query)
