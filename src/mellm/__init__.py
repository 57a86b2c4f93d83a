"""Spots and describes facial micro-expressions in live video and recordings.

What is here is meant for programs of your own, and stays as it is; everything else may change without notice::

    for x in mellm.analyze("clip.mp4"):
        print(x.apex_ms, x.text)

Names are loaded when they are first used: ``import mellm`` alone imports nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mellm.clients.app import serve
    from mellm.clients.client import connect
    from mellm.detectors.stepmodel import FakeStepModel, StepModel
    from mellm.engine.api import Pipeline, analyze
    from mellm.engine.config import Settings, load
    from mellm.engine.describe.base import DescribeContext, Describer
    from mellm.engine.describe.scripted import ScriptedDescriber
    from mellm.engine.results.expressions import ExpressionRecord
    from mellm.engine.types import ActionUnit, Description, Emotion, Evidence
    from mellm.stream.errors import MellmError
    from mellm.stream.sources import open_source

__all__ = [
    "ActionUnit",
    "DescribeContext",
    "Describer",
    "Description",
    "Emotion",
    "Evidence",
    "ExpressionRecord",
    "FakeStepModel",
    "MellmError",
    "Pipeline",
    "ScriptedDescriber",
    "Settings",
    "StepModel",
    "analyze",
    "connect",
    "load",
    "open_source",
    "serve",
]

_HOMES = {
    "mellm.clients.app": ("serve",),
    "mellm.clients.client": ("connect",),
    "mellm.detectors.stepmodel": ("FakeStepModel", "StepModel"),
    "mellm.engine.api": ("Pipeline", "analyze"),
    "mellm.engine.config": ("Settings", "load"),
    "mellm.engine.describe.base": ("DescribeContext", "Describer"),
    "mellm.engine.describe.scripted": ("ScriptedDescriber",),
    "mellm.engine.results.expressions": ("ExpressionRecord",),
    "mellm.engine.types": ("ActionUnit", "Description", "Emotion", "Evidence"),
    "mellm.stream.errors": ("MellmError",),
    "mellm.stream.sources": ("open_source",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mellm' has no attribute {name!r}")
    found = getattr(import_module(_HOME[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
