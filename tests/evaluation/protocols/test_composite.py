from __future__ import annotations

from dataclasses import replace

from mellm.evaluation.datasets.clips import Clip, Frames
from mellm.evaluation.datasets.units import ActionUnits
from mellm.evaluation.protocols.composite import composite, composite_class

CLIP = Clip("s", "c", Frames(None), 200.0, 1, 2, 3, ActionUnits(), None, None, "casme2")


def clip(dataset: str, emotion: str | None, coarse: str | None = None, **more: object) -> Clip:
    return replace(CLIP, dataset=dataset, emotion=emotion, coarse=coarse, **more)  # type: ignore[arg-type]


def test_each_data_set_has_its_own_negative() -> None:
    assert composite_class(clip("casme2", "repression", "negative")) == "negative"
    assert composite_class(clip("casme2", "fear", "negative")) is None
    assert composite_class(clip("samm", "fear", "negative")) == "negative"
    assert composite_class(clip("smic-hs", "positive", "positive")) == "positive"
    assert composite_class(clip("mmew", "fear", "negative")) == "negative"


def test_what_is_left_out_is_counted_with_its_label() -> None:
    found = composite(
        [
            clip("casme2", "others"),
            clip("casme2", "disgust"),
            clip("samm", None),
            clip("samm", "happiness", kind="macro"),
        ]
    )
    assert found.classes == (None, "negative", None, None)
    assert found.counts == {"casme2": {"negative": 1}, "samm": {}}
    assert found.left_out == {"casme2": {"others": 1}, "samm": {"happiness": 1, "unknown": 1}}
    assert "casme2 has 1 negative clips, the list of MEGC 2019 has 88" in found.differences()
