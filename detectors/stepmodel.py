"""The spotter network as the product sees it: one step of features in, one step of outputs out.

The past lives in a state vector that the caller keeps, so one model serves any number of tracks.
Outputs of step k speak about the grid time ``delay_steps`` earlier. They are, in this order::

    me, macro, apex, onset, offset (logits), seconds since the onset, seconds to the offset, AU logits
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from math import log
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mellm.detectors import recipe
from mellm.detectors.onnx import Device, session
from mellm.detectors.sensitivity import SensitivityModel
from mellm.detectors.signals import FEATURES, PER_BASELINE
from mellm.detectors.types import F32
from mellm.detectors.windows import STEP_NS
from mellm.stream.errors import ModelCorrupt, ModelMissing, ModelOutputInvalid

SPOT_AUS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 24, 26)
"""Action units the network tells, in the order of its outputs."""

ME, MACRO, APEX, ONSET, OFFSET, TO_ONSET, TO_OFFSET, AU0 = range(8)
OUTPUTS = AU0 + len(SPOT_AUS)

RETRAIN = "mellm train spotter"
"""The command that makes a model for this version."""

SHIPPED = Path(__file__).parent / "models" / "spotter.onnx"
"""The model that comes with the package."""


class StepModel(Protocol):
    """One step of the spotter network. Implementations hold no state of a track.

    ``delay_steps``: how many steps the outputs lag; ``threshold``: the score above which the model's
    maker calls a peak a micro-expression; ``sensitivity``: how small a motion it finds, ``None`` where that was
    not fitted.
    """

    @property
    def delay_steps(self) -> int: ...

    @property
    def threshold(self) -> float: ...

    @property
    def sensitivity(self) -> SensitivityModel | None: ...

    def start(self) -> F32:
        """State at the start of a segment, 1×S."""
        ...

    def step(self, features: F32, state: F32) -> tuple[F32, F32]:
        """Features (``FEATURES``) and state (1×S) in; outputs (``OUTPUTS``) and the next state out.

        :raises ModelOutputInvalid: where the answer is not a number
        """
        ...


class OnnxStepModel:
    """The network in an ONNX file, with its record (``.json``) beside it.

    :param device: ``auto`` is the CPU: a step takes 0.1 ms there, less than a copy to a GPU
    :param with_sensitivity: whether to read how small a motion it finds; who fits that anew must not
    :raises ProviderUnavailable: the device asked for is not there, or does not work
    :raises ModelMissing: there is no such file
    :raises ModelCorrupt: hash, metadata or shapes are not those of a spotter
    :raises ModelMismatch: it was trained on signals that are measured in another way than this version does
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        device: Device = "auto",
        threads: int = 1,
        with_sensitivity: bool = True,
    ) -> None:
        self.path = SHIPPED if path is None else path
        data, record = _read(self.path)
        self.sha256 = hashlib.sha256(data).hexdigest()
        if record.get("sha256") != self.sha256:
            raise ModelCorrupt(
                f"{self.path.name} has SHA-256 {self.sha256[:12]}…, its record says {record.get('sha256')!s:.12}…",
                remedy="install the package anew, or train the model again",
            )
        self._session = session(self.path, "cpu" if device == "auto" else device, threads)
        facts = self._session.metadata
        try:
            self.version = facts["mellm.version"]
            self.delay_steps = int(facts["mellm.delay_steps"])
            self.threshold = float(facts["mellm.threshold"])
            self._size = int(facts["mellm.state"])
            aus = tuple(int(au) for au in facts["mellm.aus"].split(","))
            grid_ns = round(1e9 / float(facts["mellm.grid_hz"]))
        except (KeyError, ValueError) as error:
            raise ModelCorrupt(f"{self.path.name} is not a spotter: metadata {error}") from error
        if aus != SPOT_AUS or grid_ns != STEP_NS:
            raise ModelCorrupt(f"{self.path.name} speaks of action units {aus} every {grid_ns / 1e6} ms")
        self._check_shapes()
        recipe.require(record, recipe.of_signals(), self.path.name, RETRAIN)
        said = record.get("sensitivity") if with_sensitivity else None
        self.sensitivity = None if said is None else SensitivityModel.of_record(dict(said), self.sha256)

    @property
    def provider(self) -> str:
        """The execution provider in use."""
        return self._session.provider

    def start(self) -> F32:
        """A zero state: the past of a new segment is a still face."""
        return np.zeros((1, self._size), np.float32)

    def step(self, features: F32, state: F32) -> tuple[F32, F32]:
        """See :class:`StepModel`."""
        y, state_out = self._session.run({"x": features.reshape(1, FEATURES), "state": state})
        return np.asarray(y[0], np.float32), np.asarray(state_out, np.float32)

    def _check_shapes(self) -> None:
        wanted = {
            "x": [1, FEATURES],
            "state": [1, self._size],
            "y": [1, OUTPUTS],
            "state_out": [1, self._size],
        }
        found = self._session.shapes()
        if list(found.items()) != list(wanted.items()):  # their order, too: outputs come by place
            raise ModelCorrupt(f"{self.path.name} is not a spotter: shapes {found}, expected {wanted}")


class FakeStepModel:
    """A model without weights: a function of the features, delayed as the real outputs are.

    :param script: features (``FEATURES``) → outputs (``OUTPUTS``) for the same moment
    """

    def __init__(
        self,
        script: Callable[[F32], F32] | None = None,
        *,
        delay_steps: int = 15,
        threshold: float = 0.4,
        sensitivity: SensitivityModel | None = None,
    ) -> None:
        self._script = motion_script if script is None else script
        self.delay_steps, self.threshold = delay_steps, threshold
        self.sensitivity = sensitivity

    def start(self) -> F32:
        """Outputs of a still face for each step of the delay."""
        return np.tile(outputs(), self.delay_steps).reshape(1, -1)

    def step(self, features: F32, state: F32) -> tuple[F32, F32]:
        """See :class:`StepModel`."""
        line = np.concatenate([state[0], self._script(features)])
        if not np.isfinite(line).all():
            raise ModelOutputInvalid("the script answered with NaN or infinity")
        return line[:OUTPUTS], line[None, OUTPUTS:]


def outputs(
    *,
    me: float = 0.01,
    macro: float = 0.01,
    apex: float = 0.01,
    to_onset: float = 0.1,
    to_offset: float = 0.1,
    aus: Mapping[int, float] | None = None,
) -> F32:
    """The output vector for given probabilities (0 < p < 1) and distances in seconds."""
    y = np.full(OUTPUTS, _logit(0.01), np.float32)
    y[ME], y[MACRO], y[APEX] = _logit(me), _logit(macro), _logit(apex)
    y[TO_ONSET], y[TO_OFFSET] = to_onset, to_offset
    for au, p in (aus or {}).items():
        y[AU0 + SPOT_AUS.index(au)] = _logit(p)
    return y


def motion_script(features: F32) -> F32:
    """The largest regional motion over 0.3 s, 2/100 inter-ocular distances counting as certain."""
    motion = float(np.abs(features[PER_BASELINE : 2 * PER_BASELINE - 6]).max()) / 2
    p = min(max(motion, 0.01), 0.99)
    return outputs(me=p, apex=p, aus={4: p})


def _logit(p: float) -> float:
    return log(p / (1 - p))


def _read(path: Path) -> tuple[bytes, dict[str, Any]]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelMissing(
            f"no spotter model at {path.name}", remedy="install the package anew, or train one"
        ) from error
    try:
        record = json.loads(path.with_suffix(".json").read_text())
    except (OSError, ValueError) as error:
        raise ModelCorrupt(f"{path.name} has no readable record beside it: {error}") from error
    if not isinstance(record, dict):
        raise ModelCorrupt(f"the record of {path.name} is not an object")
    return data, record
