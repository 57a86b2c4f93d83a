"""The embedded model as a describer: what becomes of its answers, from several threads, without torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mellm.engine.describe import create
from mellm.engine.describe.base import DescribeContext, Describer
from mellm.engine.describe.local import NanoDescriber, unit_scores
from mellm.engine.describe.nano_graph import NanoGraph, Written, shared
from mellm.engine.types import ActionUnit, Evidence
from mellm.stream.errors import AnswerInvalid, DescriberTimeout, ModelMissing, ModelOutputInvalid
from tests import PATIENCE_S
from tests.engine.describe.nano_models import exported

CALM = DescribeContext(deadline_s=60)


def evidence(seed: int = 0, refused: str | None = None) -> Evidence:
    shown = np.random.default_rng(seed).integers(0, 256, (92, 80, 3), np.uint8)
    return Evidence(shown, (), {}, "live", refused)


@pytest.fixture(scope="module")
def describer() -> NanoDescriber:
    return NanoDescriber(exported(), limit=136)


def saying(monkeypatch: pytest.MonkeyPatch, *answers: str, whole: bool = True) -> NanoDescriber:
    """A describer whose model writes what a test wants, one byte a token, each with probability 0.9."""
    folder = shared(exported()).folder
    letters = {token: i for i, token in enumerate(folder.tokens) if len(token) == 1}

    def write(*_: object, **__: object) -> list[Written]:
        found = []
        for answer in answers:
            ids = [letters[bytes((byte,))] for byte in answer.encode()]
            found.append(Written(ids, [0.9] * len(ids), whole, 0.25))
        return found

    monkeypatch.setattr(NanoGraph, "write", write)
    return NanoDescriber(exported())


def test_it_is_a_describer_under_its_name(describer: NanoDescriber) -> None:
    made: Describer = create("nano", folder=exported())
    assert made.name == describer.name == f"mellm-nano-{shared(exported()).folder.version}"
    assert (made.profile, made.recipe) == ("nano/1", "live")
    made.close()
    made.close()


def test_a_missing_model_is_said_when_it_is_made(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match=r"nano\.json is missing"):
        create("nano", folder=tmp_path)


def test_every_constrained_answer_is_read(describer: NanoDescriber) -> None:
    readings = describer.read_many([evidence(i) for i in range(9)], batch=4)
    for reading in readings:
        assert reading.raw.startswith('{"abstain":')
        assert reading.abstains is not None
        said = reading.description
        assert said.abstained in (None, "model_abstained", "unparsable")  # random weights do run in circles
        assert said.usage.completion_tokens > 10
        assert said.latency_ms > 0
    assert [r.description.text for r in readings] == [
        describer.describe(evidence(i), CALM).text for i in range(9)
    ]


def test_units_have_the_models_probability(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = (
        '{"abstain":false,"action_units":[{"au":4,"side":"both"},{"au":12,"side":"left"}],'
        '"emotion":{"negative":0.20,"positive":0.70,"surprise":0.10},"text":"The brow is lowered (AU4)."}'
    )
    said = saying(monkeypatch, answer).describe(evidence(), CALM)
    assert said.action_units == (ActionUnit(4, "both", 0.9), ActionUnit(12, "left", 0.81))
    assert said.emotion is not None
    assert said.emotion.coarse == "positive"
    assert said.text == "The brow is lowered (AU4)."
    assert said.abstained is None


def test_a_score_is_of_all_tokens_of_the_number() -> None:
    tokens: Sequence[bytes] = (b'[{"au":', b"1", b'2,"side"', b'},{"au":7', b"")
    written = Written([0, 1, 2, 3], [0.9, 0.5, 0.4, 0.3], True)
    assert unit_scores(written, tokens) == {12: pytest.approx(0.2), 7: pytest.approx(0.3)}


def test_an_abstention_keeps_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = '{"abstain":true,"action_units":[],"emotion":null,"text":"No expression: this is a blink."}'
    (reading,) = saying(monkeypatch, answer).read_many([evidence()])
    said = reading.description
    assert (said.abstained, said.text) == ("model_abstained", "No expression: this is a blink.")
    assert (said.action_units, said.emotion, reading.abstains) == ((), None, 0.25)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "The brow",
        '{"abstain":false,"action_units":[{"au":4',
        '{"abstain":false,"action_units":[],"emotion":null,"text":"x"}',
        '{"abstain":true,"action_units":[],"emotion":null,"text":"No' + " the face" * 20 + '"}',
        "AU4 " * 60,
    ],
)
def test_what_cannot_be_read_abstains_and_is_kept(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    said = saying(monkeypatch, answer).describe(evidence(), CALM)
    assert said.abstained == "unparsable"
    assert said.text == answer.strip()
    assert (said.action_units, said.emotion) == ((), None)


def test_what_was_cut_short_is_not_taken_for_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = '{"abstain":true,"action_units":[],"emotion":null,"text":"Nothing."} {"abst'
    said = saying(monkeypatch, answer, whole=False).describe(evidence(), CALM)
    assert (said.abstained, said.text) == ("unparsable", answer)


def test_evidence_under_the_floor_is_not_shown_unless_the_gate_is_off(describer: NanoDescriber) -> None:
    quiet = evidence(refused="below_motion_floor")
    told, shown = describer.read_many([quiet, evidence(1)])
    assert (told.description.abstained, told.raw) == ("below_motion_floor", "")
    assert shown.raw
    (asked,) = NanoDescriber(exported(), gate=False, limit=136).read_many([quiet])
    assert asked.raw


def test_a_deadline_that_has_passed_is_an_error(describer: NanoDescriber) -> None:
    with pytest.raises(DescriberTimeout, match="had not finished"):
        describer.describe(evidence(), DescribeContext(deadline_s=0))


def test_numbers_that_are_none_are_the_describers_error(
    describer: NanoDescriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> list[Written]:
        raise ModelOutputInvalid("decoder.onnx answered with NaN or infinity")

    monkeypatch.setattr(NanoGraph, "write", broken)
    with pytest.raises(AnswerInvalid, match=r"decoder\.onnx"):
        describer.describe(evidence(), CALM)


def test_several_threads_get_their_own_answers(describer: NanoDescriber) -> None:
    alone = [describer.describe(evidence(i), CALM).text for i in range(6)]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda i: describer.describe(evidence(i), CALM).text, range(6)))
    assert together == alone


def test_neither_torch_nor_transformers_nor_network() -> None:
    code = f"""
import socket, sys
def refuse(*_): raise OSError("no network")
socket.socket.connect = refuse
from pathlib import Path
import numpy as np
from mellm.engine.describe import DescribeContext, create
from mellm.engine.types import Evidence
shown = Evidence(np.zeros((32, 32, 3), np.uint8), (), {{}}, "live")
create("nano", folder=Path({str(exported())!r})).describe(shown, DescribeContext(deadline_s=60))
heavy = {{"torch", "transformers", "tokenizers", "training", "onnx"}} & set(sys.modules)
sys.exit(f"imported {{heavy}}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
