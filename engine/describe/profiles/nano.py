"""The project's own small model (mellm-nano): one picture, one short question, one canonical JSON answer.

The picture is the ``live`` map at the size the model was trained with; the question is always the same. A unit in the
answer of a server has no score of its own and counts as 1; in this process (:mod:`mellm.engine.describe.local`) it
has the model's probability.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from mellm.detectors.types import U8
from mellm.engine.describe.base import DescribeContext
from mellm.engine.describe.nano_folder import Language
from mellm.engine.describe.parse import COARSE, parse_json
from mellm.engine.describe.profiles import Message, Profile, png_part
from mellm.engine.facs import action_units as facs
from mellm.engine.types import Evidence

VERSION: Final = "1"
SIDE: Final = 128
"""Of the picture, pixels."""

QUESTIONS: Final[dict[Language, str]] = {"en": "Describe the expression.", "zh": "描述这个表情。"}
"""The only words the model was ever asked."""

MAX_TOKENS: Final = 192

# The keys in the order the model writes them. Strings and lists are bounded: guided decoding runs an unbounded one to
# the token limit.
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_UNIT = {
    "type": "object",
    "additionalProperties": False,
    "required": ["au", "side"],
    "properties": {
        "au": {"type": "integer", "enum": list(facs.UNITS)},
        "side": {"type": "string", "enum": ["both", "left", "right"]},
    },
}


def _form(abstain: bool) -> dict[str, object]:
    emotion: dict[str, object] = {
        "type": "object",
        "additionalProperties": False,
        "required": list(COARSE),
        "properties": dict.fromkeys(COARSE, _SHARE),
    }
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["abstain", "action_units", "emotion", "text"],
        "properties": {
            "abstain": {"const": abstain},
            "action_units": {
                "type": "array",
                "items": _UNIT,
                "minItems": 0 if abstain else 1,
                "maxItems": 0 if abstain else 8,
            },
            "emotion": {"type": "null"} if abstain else emotion,
            "text": {"type": "string", "minLength": 1, "maxLength": 500},
        },
    }


SCHEMA: Final[dict[str, object]] = {"anyOf": [_form(True), _form(False)]}


def picture(evidence: Evidence, side: int = SIDE) -> U8:
    """The motion map as the model sees it, side×side×3 BGR."""
    shown = evidence.motion_map
    if shown.shape[:2] == (side, side):
        return shown
    return np.asarray(cv2.resize(shown, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def messages(evidence: Evidence, context: DescribeContext) -> list[Message]:
    """One turn in OpenAI form."""
    content = [png_part(picture(evidence)), {"type": "text", "text": QUESTIONS["en"]}]
    return [{"role": "user", "content": content}]


PROFILE: Final = Profile(
    name="nano",
    version=VERSION,
    recipe="live",
    messages=messages,
    parse=parse_json,
    max_tokens=MAX_TOKENS,
    response_format={
        "type": "json_schema",
        "json_schema": {"name": "canonical_answer", "strict": True, "schema": SCHEMA},
    },
)
