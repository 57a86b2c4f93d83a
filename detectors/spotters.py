"""Spotter networks by name or path: the shipped one, a file of your own, or one that another package brings."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Final

from mellm.detectors.onnx import Device
from mellm.detectors.stepmodel import OnnxStepModel, StepModel
from mellm.stream.errors import UsageError

GROUP: Final = "mellm.spotters"
"""Entry points: each is called without arguments and returns a :class:`~mellm.detectors.stepmodel.StepModel`."""


def open_spotter(which: str | Path | None = None, device: Device = "auto") -> StepModel:
    """A spotter network.

    :param which: ``None`` for the shipped one; a path (with a folder in it, or ending in ``.onnx``); or the name of an
        entry point of :data:`GROUP`
    :raises UsageError: there is no spotter of that name
    :raises ModelError: the file is missing, damaged, or was trained on other signals than this version measures
    """
    if which is None:
        return OnnxStepModel(device=device)
    if isinstance(which, Path) or which.endswith(".onnx") or Path(which).parent != Path():
        return OnnxStepModel(Path(which), device=device)
    found = {point.name: point for point in entry_points(group=GROUP)}
    if which not in found:
        known = ", ".join(sorted(found)) or "none are installed"
        raise UsageError(
            f"there is no spotter {which!r}",
            remedy=f"give the path of an .onnx file, or a name that a package brings ({known})",
        )
    model: StepModel = found[which].load()()
    return model
