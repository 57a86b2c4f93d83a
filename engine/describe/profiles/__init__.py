"""How each family of models is asked and how its answer is read. Profiles are versioned prompts."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2

from mellm.detectors.types import U8
from mellm.engine.describe.base import DescribeContext, Recipe
from mellm.engine.describe.parse import Parsed
from mellm.engine.types import Evidence
from mellm.stream.errors import UsageError

Message: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Profile:
    """One way of asking.

    :param recipe: the evidence it was written for
    :param messages: evidence and context → chat messages in OpenAI form
    :param parse: answer text → what it says
    :param response_format: a JSON schema for servers that can enforce one, or ``None``
    """

    name: str
    version: str
    recipe: Recipe
    messages: Callable[[Evidence, DescribeContext], list[Message]]
    parse: Callable[[str], Parsed]
    max_tokens: int
    response_format: dict[str, Any] | None = None


def get(name: str) -> Profile:
    """The profile of that name.

    :raises UsageError: no such profile
    """
    from mellm.engine.describe.profiles import generic, mellm, nano

    table = {p.name: p for p in (generic.PROFILE, mellm.V1, mellm.V3, nano.PROFILE)}
    if name not in table:
        raise UsageError(f"unknown profile {name!r}", remedy=f"choose one of {', '.join(sorted(table))}")
    return table[name]


def image_part(evidence: Evidence) -> Message:
    """The motion map as our own re-encoded PNG data URL; a link never leaves this process."""
    return png_part(evidence.motion_map)


def png_part(picture: U8) -> Message:
    """A picture as PNG data URL."""
    ok, png = cv2.imencode(".png", picture)
    if not ok:
        raise ValueError("the motion map cannot be encoded as PNG")
    url = "data:image/png;base64," + base64.b64encode(png.tobytes()).decode("ascii")
    return {"type": "image_url", "image_url": {"url": url}}


def region_table(evidence: Evidence) -> str:
    """The region table as JSON rows with the field names of the MELLM v3 input."""
    rows = [
        {
            "region": r.region,
            "mean_magnitude": round(r.mean_px, 3),
            "max_magnitude": round(r.max_px, 3),
            "direction": r.direction,
        }
        for r in evidence.regions
    ]
    return json.dumps(rows, ensure_ascii=False)
