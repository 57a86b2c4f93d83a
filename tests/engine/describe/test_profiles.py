from __future__ import annotations

import base64
from typing import Any

import cv2
import numpy as np
import pytest

from mellm.engine.describe import profiles
from mellm.engine.describe.base import DescribeContext
from mellm.engine.describe.profiles import generic
from mellm.engine.facs import action_units as facs
from mellm.engine.types import Evidence, RegionMotion
from mellm.stream.errors import UsageError

EVIDENCE = Evidence(
    np.full((20, 30, 3), (10, 200, 30), np.uint8),
    (RegionMotion("glabella", 0.1, 2.0, 1.1234, 1.4, "down (270°)"),),
    {},
    "live",
)
ASKED = ("generic", "mellm-v1", "mellm-v3")


def text_of(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(p.get("text", "") for p in content)


def pictures_of(messages: list[dict[str, Any]]) -> list[str]:
    parts = [p for m in messages if isinstance(m["content"], list) for p in m["content"]]
    return [p["image_url"]["url"] for p in parts if p["type"] == "image_url"]


@pytest.mark.parametrize("name", ASKED)
def test_profiles_are_versioned_and_made_for_a_recipe(name: str) -> None:
    profile = profiles.get(name)
    assert profile.name == name
    assert profile.version
    assert profile.recipe == {"generic": "live"}.get(name, name)


def test_the_picture_goes_out_as_our_own_png() -> None:
    for name in ("generic", "mellm-v1"):
        (url,) = pictures_of(profiles.get(name).messages(EVIDENCE, DescribeContext()))
        kind, _, data = url.partition(",")
        assert kind == "data:image/png;base64"
        pixels = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
        assert np.array_equal(pixels, EVIDENCE.motion_map)


def test_v3_reads_the_table_and_v1_the_picture_alone() -> None:
    v3 = profiles.get("mellm-v3").messages(EVIDENCE, DescribeContext())
    assert not pictures_of(v3)
    assert '"mean_magnitude": 1.123' in text_of(v3[-1])
    assert "approximate" in profiles.get("mellm-v3").version, "its flow is not the published network's"
    assert "glabella" not in text_of(profiles.get("mellm-v1").messages(EVIDENCE, DescribeContext())[-1])


def test_the_generic_profile_names_every_unit_it_may_be_told() -> None:
    system, user = profiles.get("generic").messages(EVIDENCE, DescribeContext(duration_ms=320))
    assert set(facs.UNITS) <= set(generic.UNITS)
    for au, name in generic.NAMES.items():
        assert f"{au} {name}" in text_of(system)
    assert "320 ms" in text_of(user)
    assert "glabella" in text_of(user)


def test_guided_decoding_cannot_run_on() -> None:
    """Every string and list of the schema is bounded, every object closed."""

    def look(schema: dict[str, Any]) -> None:
        if schema["type"] == "string":
            assert "maxLength" in schema or "enum" in schema
        if schema["type"] == "array":
            assert schema["maxItems"] <= 8
            look(schema["items"])
        if schema["type"] == "object":
            assert schema["additionalProperties"] is False
            assert set(schema["required"]) == set(schema["properties"])
            for part in schema["properties"].values():
                look(part)

    look(generic.SCHEMA)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        (
            "generic",
            '{"text":"The brow sinks.","action_units":[{"au":4,"side":"both","score":0.9}],'
            '"emotion":{"negative":0.8,"positive":0.1,"surprise":0.1},"abstain":false}',
        ),
        ("mellm-v1", "观察：眉间向下。推断AU4。\n结论：AU4，消极"),
        (
            "mellm-v3",
            "<think>brows</think>The brows move down.\nAction units: AU4\nMicro-expression: Negative",
        ),
    ],
)
def test_each_profile_reads_what_it_asked_for(name: str, answer: str) -> None:
    parsed = profiles.get(name).parse(answer)
    assert parsed.problem is None
    assert [(u.au, u.side) for u in parsed.action_units] == [(4, "both")]
    assert parsed.emotion is not None
    assert parsed.emotion.coarse == "negative"


def test_an_unknown_profile_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="mellm-v1"):
        profiles.get("mellm-v2")
