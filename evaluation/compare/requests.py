"""Requests in OpenAI form: built, told apart, shown without their pictures, and their tokens guessed."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Callable
from typing import Any, Final

from mellm.evaluation.compare.config import OpenAISystem
from mellm.evaluation.compare.types import Question
from mellm.stream.errors import UsageError
from mellm.stream.sources.headers import HEAD_BYTES, picture_size

PATCH: Final = 28
"""Side in pixels of what one token stands for in the Qwen-VL models; other families count otherwise."""

MAX_IMAGE_TOKENS: Final = 16_384
UNKNOWN_IMAGE_TOKENS: Final = 1024
TURN_TOKENS: Final = 4
"""What the chat template adds to a message, roughly."""

_TYPES: Final = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"))


def media_type(picture: bytes) -> str:
    """Of a PNG, JPEG or WebP file.

    :raises UsageError: it is none of these
    """
    for magic, name in _TYPES:
        if picture.startswith(magic):
            return name
    if picture[:4] == b"RIFF" and picture[8:12] == b"WEBP":
        return "image/webp"
    raise UsageError("a picture is neither PNG, JPEG nor WebP", remedy="convert it; endpoints take no others")


def data_url(picture: bytes) -> str:
    """The file as it is, inside the request: a link never leaves this process."""
    return f"data:{media_type(picture)};base64,{base64.b64encode(picture).decode('ascii')}"


def body(
    settings: OpenAISystem, question: Question, url: Callable[[bytes], str] = data_url
) -> dict[str, Any]:
    """The request.

    :param url: how a picture is put in
    :raises UsageError: a picture that endpoints do not take
    """

    def turn(pictures: tuple[bytes, ...], text: str) -> dict[str, Any]:
        if not pictures:
            return {"role": "user", "content": text}
        detail = {} if settings.image_detail is None else {"detail": settings.image_detail}
        parts: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": url(picture), **detail}} for picture in pictures
        ]
        return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}

    messages: list[dict[str, Any]] = []
    if question.system:
        messages.append({"role": "system", "content": question.system})
    for shot in question.shots:
        messages += [turn(shot.images, shot.prompt), {"role": "assistant", "content": shot.answer}]
    messages.append(turn(question.images, question.prompt))
    found: dict[str, Any] = {"model": settings.model, "messages": messages}
    found[settings.max_tokens_key] = settings.max_tokens
    if settings.temperature != "default":
        found["temperature"] = settings.temperature
    return {**found, **settings.extra_body}


def fingerprint(settings: OpenAISystem, question: Question) -> str:
    """The same for requests that would be the same to the same endpoint, and for no others.

    :raises UsageError: a picture that endpoints do not take
    """
    asked = body(settings, question, lambda p: f"{media_type(p)} {hashlib.sha256(p).hexdigest()}")
    raw = json.dumps([settings.base_url, asked], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(raw.encode("utf-8", "surrogatepass")).hexdigest()


def shown(settings: OpenAISystem, question: Question) -> dict[str, Any]:
    """The request for people: pictures by type and size."""
    return body(settings, question, _describe_picture)


def _describe_picture(picture: bytes) -> str:
    size = picture_size(picture[:HEAD_BYTES])
    across = f" {size[0]}×{size[1]}" if size else ""
    return f"<{media_type(picture).removeprefix('image/')}{across}, {len(picture):,} bytes>"


def tokens(settings: OpenAISystem, question: Question) -> int:
    """A guess at a question's tokens: four letters or one ideograph each, pictures by their size."""
    texts = [question.system, question.prompt, *(t for s in question.shots for t in (s.prompt, s.answer))]
    pictures = [*question.images, *(picture for shot in question.shots for picture in shot.images)]
    words = sum(_text_tokens(text) + TURN_TOKENS for text in texts if text)
    return words + sum(_picture_tokens(settings, picture) for picture in pictures)


def _text_tokens(text: str) -> int:
    wide = sum(ord(c) > 0x2E80 for c in text)
    return wide + math.ceil((len(text) - wide) / 4)


def _picture_tokens(settings: OpenAISystem, picture: bytes) -> int:
    if settings.image_tokens is not None:
        return settings.image_tokens
    size = picture_size(picture[:HEAD_BYTES])
    if size is None:
        return UNKNOWN_IMAGE_TOKENS
    return min(MAX_IMAGE_TOKENS, math.ceil(size[0] / PATCH) * math.ceil(size[1] / PATCH))
