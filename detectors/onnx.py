"""One place where ONNX Runtime sessions are made: device choice, one thread, and the provider that is in use."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from detectors.types import F32
from stream.errors import (
    MissingExtra,
    ModelCorrupt,
    ModelMissing,
    ModelOutputInvalid,
    ProviderUnavailable,
    UsageError,
)

logger = logging.getLogger(__name__)

Device: TypeAlias = Literal["auto", "cpu", "cuda", "tensorrt"]

_PROVIDERS: dict[str, tuple[str, ...]] = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider"),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
}
_warned = False


class Session:
    """A loaded network. Calls are thread-safe; the arrays that come out are checked to be numbers."""

    def __init__(self, runtime: Any, name: str) -> None:
        self._runtime = runtime
        self.name = name

    @property
    def provider(self) -> str:
        """The execution provider that runs it."""
        return str(self._runtime.get_providers()[0])

    @property
    def metadata(self) -> Mapping[str, str]:
        """The file's own key–value pairs."""
        facts: Mapping[str, str] = self._runtime.get_modelmeta().custom_metadata_map
        return facts

    def shapes(self) -> dict[str, list[int]]:
        """Names and shapes of inputs and outputs."""
        ends = [*self._runtime.get_inputs(), *self._runtime.get_outputs()]
        return {end.name: list(end.shape) for end in ends}

    def run(self, inputs: Mapping[str, F32]) -> list[F32]:
        """All outputs, float32.

        :raises ModelOutputInvalid: the network answered with NaN or infinity
        """
        outputs: list[F32] = self._runtime.run(None, dict(inputs))
        if not all(np.isfinite(output).all() for output in outputs):
            raise ModelOutputInvalid(f"{self.name} answered with NaN or infinity")
        return outputs


def session(path: Path, device: str = "auto", threads: int = 1) -> Session:
    """Load a network.

    One thread is the default: on two busy cores a second one makes small networks slower.

    :raises ProviderUnavailable: the device asked for is not there (``auto`` falls back to the CPU, once with a
        warning)
    :raises ModelMissing: no such file
    :raises ModelCorrupt: not a network
    """
    runtime = _runtime()
    if not path.exists():
        raise ModelMissing(f"no model at {path.name}", remedy="run `mellm models pull`")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 4  # what it would log, the errors below say
    wanted = choose(device, runtime.get_available_providers())
    try:
        loaded = runtime.InferenceSession(str(path), options, providers=list(wanted))
    except Exception as error:
        raise ModelCorrupt(
            f"{path.name} cannot be loaded: {str(error).splitlines()[0][:200]}",
            remedy="run `mellm models verify`",
        ) from error
    got = Session(loaded, path.name)
    if got.provider != wanted[0]:
        _fallen_back(device, wanted[0], got.provider)
    return got


def choose(device: str, available: Sequence[str]) -> tuple[str, ...]:
    """Execution providers for a device, best first.

    :raises UsageError: no such device
    :raises ProviderUnavailable: this build of ONNX Runtime has no provider for it
    """
    if device == "auto":
        return _PROVIDERS["cuda"] if "CUDAExecutionProvider" in available else _PROVIDERS["cpu"]
    if device not in _PROVIDERS:
        raise UsageError(f"unknown device {device!r}", remedy=f"choose one of {', '.join(get_args(Device))}")
    if _PROVIDERS[device][0] not in available:
        raise ProviderUnavailable(
            f"device {device} is not there; this ONNX Runtime has {', '.join(available)}",
            remedy="pip uninstall onnxruntime, pip install 'mellm-live[gpu]', or use --device cpu",
        )
    return tuple(p for p in _PROVIDERS[device] if p in available)


def _fallen_back(device: str, wanted: str, got: str) -> None:
    """The runtime advertises a provider that it cannot load, for want of a driver or CUDA libraries."""
    global _warned
    if device != "auto":
        raise ProviderUnavailable(
            f"{wanted} is installed and cannot be loaded",
            remedy="check driver and CUDA libraries, or --device cpu",
        )
    if not _warned:
        _warned = True
        logger.warning("%s cannot be loaded; networks run on %s", wanted, got)


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtra("ONNX Runtime is not installed", remedy="pip install 'mellm-live[cpu]'") from error
    return onnxruntime
