"""Letters in pictures, with OpenCV's own fonts and without."""

import numpy as np
import pytest

from mellm.engine.export import lettering


@pytest.fixture(params=["its own fonts", "plain letters"])
def letters(request, monkeypatch):
    if request.param == "plain letters":
        monkeypatch.setattr(lettering, "_font", lambda: None)
    elif lettering._font() is None:
        pytest.skip("this OpenCV has no fonts")


@pytest.mark.usefixtures("letters")
def test_a_line_is_as_wide_as_it_says():
    picture = np.zeros((60, 600, 3), np.uint8)
    lettering.draw(picture, "AU 1+2 surprise", (10, 40), 20, (255, 255, 255))
    inked = np.flatnonzero(picture.any((0, 2)))
    assert inked[0] == pytest.approx(10, abs=4)
    assert inked[-1] == pytest.approx(10 + lettering.width("AU 1+2 surprise", 20), abs=5)


@pytest.mark.usefixtures("letters")
@pytest.mark.parametrize(
    "text", ["The brow is drawn down and together.", "w" * 60, "眉毛上扬" * 12, "", "a  b"]
)
def test_lines_fit_and_nothing_is_lost(text):
    lines = list(lettering.wrap(text, 16, 120))
    assert all(lettering.width(line, 16) <= 120 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_plain_letters_keep_what_they_can():
    assert lettering.plain("AU 4 · négative – 0.98?") == "AU 4 - negative - 0.98?"
    assert lettering.plain("眉 rises") == "? rises"
