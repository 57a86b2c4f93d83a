"""Requests: what pictures are, what a question weighs, how it is shown."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mellm.evaluation.compare import requests
from mellm.evaluation.compare.config import OpenAISystem
from mellm.evaluation.compare.types import Question, Shot
from mellm.stream.errors import UsageError


def settings(**changes: object) -> OpenAISystem:
    return OpenAISystem(
        **{"kind": "openai", "name": "a", "base_url": "http://127.0.0.1:1/v1", "model": "m", **changes}
    )


def encoded(suffix: str, width: int = 100, height: int = 60) -> bytes:
    ok, raw = cv2.imencode(suffix, np.zeros((height, width, 3), np.uint8))
    assert ok
    return raw.tobytes()


@pytest.mark.parametrize(
    ("suffix", "kind"), [(".png", "image/png"), (".jpg", "image/jpeg"), (".webp", "image/webp")]
)
def test_pictures_go_as_the_files_they_are(suffix, kind):
    picture = encoded(suffix)
    assert requests.data_url(picture).startswith(f"data:{kind};base64,")
    told = requests.shown(settings(), Question("t", "q", "?", (picture,)))
    url = told["messages"][0]["content"][0]["image_url"]["url"]
    assert url == f"<{kind.removeprefix('image/')} 100×60, {len(picture):,} bytes>"


@pytest.mark.parametrize("picture", [b"", b"GIF89a", b"<svg/>", encoded(".bmp")])
def test_other_files_are_refused(picture):
    with pytest.raises(UsageError, match="neither PNG, JPEG nor WebP"):
        requests.body(settings(), Question("t", "q", "?", (picture,)))


@pytest.mark.parametrize(
    ("question", "count"),
    [
        (Question("t", "q", "12345678"), 2 + 4),
        (Question("t", "q", "描述这个表情"), 6 + 4),
        (Question("t", "q", "", (encoded(".png"),)), 4 * 3),
        (
            Question("t", "q", "1234", system="1234", shots=(Shot("1234", "1234", (encoded(".png"),)),)),
            4 * 5 + 12,
        ),
        (Question("t", "q", "", (b"\xff\xd8\xff",)), requests.UNKNOWN_IMAGE_TOKENS),
        (Question("t", "q", "", (encoded(".png", 20_000, 2000),)), requests.MAX_IMAGE_TOKENS),
    ],
)
def test_tokens_are_guessed_from_letters_and_pixels(question, count):
    assert requests.tokens(settings(), question) == count


def test_what_a_picture_weighs_can_be_given():
    assert requests.tokens(settings(image_tokens=85), Question("t", "q", "", (encoded(".png"),))) == 85
