"""One checkpoint, two doors: vLLM and the embedded runtime say the same at temperature 0."""

from __future__ import annotations

import pytest

from mellm.engine.describe import create
from mellm.engine.describe.base import DescribeContext
from mellm.engine.types import Description
from mellm.stream.errors import MellmError
from tests.vllm.conftest import measured
from tests.vllm.pairs import evidences

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]

SAME_SHARE = 0.9
"""Of the answers, letter by letter. The rest differ where two next tokens are equally likely up to rounding: the
embedded runtime stores half-precision weights and adds in another order."""


def said(description: Description) -> tuple[object, ...]:
    emotion = description.emotion
    units = tuple((unit.au, unit.side) for unit in description.action_units)
    return description.text, units, None if emotion is None else emotion.coarse, description.abstained


def test_both_doors_give_the_same_answers(endpoint):
    if endpoint.profile != "nano":
        pytest.skip("mellm-nano is not in this checkout")
    try:
        embedded = create("nano")
    except MellmError as error:
        pytest.skip(f"no embedded describer here: {error}")
    served = endpoint.describer()
    context = DescribeContext("e", 300.0, deadline_s=60.0)
    pairs = [(embedded.describe(e, context), served.describe(e, context)) for e in evidences()]
    embedded.close()
    served.close()
    same = sum(said(here) == said(there) for here, there in pairs)
    measured["same answers served and embedded"] = f"{same} of {len(pairs)}"
    assert same >= SAME_SHARE * len(pairs)
