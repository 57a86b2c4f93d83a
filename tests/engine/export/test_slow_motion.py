import numpy as np
import pytest

from mellm.engine.export.slow_motion import Buffer, Moment, Slow, Window, stretched


def moments(times):
    return [Moment(np.full((8, 8, 3), n, np.uint8), float(at), n) for n, at in enumerate(times)]


def shown(times, windows, slow):
    """What is shown when: number of the picture, milliseconds, note."""
    notes = []

    def paint(image, at_ms, number, note):
        notes.append((number, note))
        return image

    found = list(stretched(moments(times), windows, slow, paint))
    return [(number, ns / 1e6, note) for (number, note), (_, ns) in zip(notes, found, strict=True)]


def test_without_repeats_nothing_changes():
    assert shown([0, 40, 80], [Window("a", 0, 40)], None) == [(0, 0.0, ""), (1, 40.0, ""), (2, 80.0, "")]


def test_a_window_is_repeated_slower_once_it_is_over():
    found = shown([0, 40, 80, 120], [Window("a", 40, 80)], Slow(2, 3))
    assert found == [
        (0, 0.0, ""),
        (1, 40.0, ""),
        (2, 80.0, ""),
        (1, 120.0, "3 times slower, 1 of 2"),
        (2, 240.0, "3 times slower, 1 of 2"),
        (1, 360.0, "3 times slower, 2 of 2"),
        (2, 480.0, "3 times slower, 2 of 2"),
        (3, 600.0, ""),
    ]


def test_a_window_at_the_end_is_repeated_too():
    found = shown([0, 40], [Window("a", 0, 1000)], Slow(1, 2))
    assert [(n, at) for n, at, _ in found] == [(0, 0.0), (1, 40.0), (0, 80.0), (1, 160.0)]


def test_windows_that_overlap_are_both_repeated_and_time_goes_forward():
    found = shown(range(0, 400, 20), [Window("a", 40, 120), Window("b", 100, 160)], Slow(1, 2))
    assert [at for _, at, _ in found] == sorted({at for _, at, _ in found})
    assert sum(bool(note) for _, _, note in found) == 5 + 4


def test_a_window_in_which_no_picture_lies_is_left_out():
    assert len(shown([0, 200], [Window("a", 50, 60)], Slow(1, 2))) == 2


def test_memory_holds_what_is_open_only():
    buffer = Buffer([Window("a", 0, 20), Window("b", 200, 220)])
    over = [w.id for m in moments(range(0, 300, 20)) for w, _ in buffer.take(m)]
    assert over == ["a", "b"]
    assert buffer.rest() == []


@pytest.mark.parametrize(("repeat", "factor"), [(0, 2), (21, 2), (1, 0.5), (1, 1000)])
def test_what_makes_no_sense_is_refused(repeat, factor):
    from mellm.stream.errors import UsageError

    with pytest.raises(UsageError):
        Slow(repeat, factor)
