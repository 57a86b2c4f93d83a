"""One vocabulary of reasons: the page says what Python says, and every code that the code uses has words."""

import json
import re

import pytest

from mellm.engine.evidence import motion_map
from mellm.engine.results import reasons
from tests import REPO


def test_the_page_has_the_same_words():
    script = (REPO / "clients" / "web" / "cards.js").read_text(encoding="utf-8")
    table = re.search(r"REASONS = \{\n(.*?)\n\};", script, re.DOTALL)
    assert table is not None
    listed = "{" + re.sub(r"^  (\w+):", r'  "\1":', table[1], flags=re.MULTILINE).rstrip(",") + "}"
    assert json.loads(listed) == dict(reasons.REASONS)


def test_codes_that_end_an_expression_have_words():
    used = set()
    for path in (REPO / "engine").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        used |= set(re.findall(r'(?:problem|abstained)="(\w+)"', text))
        used |= set(re.findall(r'Outcome\("(?:dropped|abstained)", "(\w+)"', text))
    assert {"unparsable", "deadline", "model_abstained"} <= used
    assert used <= set(reasons.REASONS)
    assert {motion_map.MOTION_FLOOR, motion_map.MOTION_LARGE} <= set(reasons.REASONS)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (
            {"state": "abstained", "reason": "motion_floor"},
            "no description: the motion is too small to tell from noise",
        ),
        ({"state": "abstained", "reason": "motion_large"}, "the motion is larger than a micro-expression"),
        ({"state": "dropped", "reason": "made_up"}, "dropped: made up"),
    ],
)
def test_why_there_is_no_description(record, words):
    assert reasons.undescribed(record["state"], record["reason"]) == words
