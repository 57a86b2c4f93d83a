"""Why an expression has no description, or a picture cannot be judged: every code with its words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

MOTION_LARGE: Final = "motion_large"
"""The motion is larger than a micro-expression; such a record is left out of counts."""

STATES: Final[Mapping[str, str]] = {
    "described": "described",
    "abstained": "no description",
    "dropped": "dropped",
}
"""Terminal states in words."""

REASONS: Final[Mapping[str, str]] = {
    "not_coded": "a person added it without units or class",
    "motion_floor": "the motion is too small to tell from noise",
    MOTION_LARGE: "the motion is larger than a micro-expression",
    "no_unit": "no action unit was recognised",
    "unstable": "small changes of the picture change the reading",
    "unlikely": "the motion does not look like a micro-expression",
    "model_abstained": "the model was not sure",
    "model_refused": "the model refused to answer",
    "no_face": "the face could not be placed in both pictures",
    "face_small": "face too small",
    "yaw_high": "face turned away",
    "fps_low": "frame rate too low",
    "unparsable": "the model's answer could not be read",
    "cut_answer": "the model's answer was cut short",
    "empty_answer": "the model's answer was empty",
    "answer_invalid": "the model's answer was not valid",
    "deadline": "no description came in time",
    "asked_twice": "describing it ended a process, twice",
    "recipe_mismatch": "the describing model reads another kind of motion map",
    "overflow": "dropped under load",
    "describer_unavailable": "the describing model could not be reached",
    "describer_paused": "the describing model could not be reached",
    "describer_timeout": "the describing model took too long",
    "describer_rejected": "the describing model rejected the request",
    "describer_failed": "the describing model failed",
    "internal": "an internal error",
    "withdrawn": "consent was withdrawn",
    "shutdown": "the program was stopped",
    "restart": "the server was restarted",
    "fps_warn": "frame rate below the recommended 50",
    "dark": "dark picture",
    "frozen": "frozen picture",
    "decode": "frames that could not be decoded",
    "pts": "a jump in the time stamps",
    "reconnect": "the source was away",
}


def reason(code: str | None) -> str:
    """A reason code in words; an unknown one as it is, without underscores."""
    return "" if code is None else REASONS.get(code, code.replace("_", " "))


def undescribed(state: str | None, code: str | None) -> str:
    """Why there is no description, in words; what is too large to be one is called that, without more."""
    why = reason(code)
    if code == MOTION_LARGE:
        return why
    return STATES.get(state or "", "spotted") + (f": {why}" if why else "")
