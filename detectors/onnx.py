"""One place where ONNX Runtime sessions are made: device choice, one thread, and the provider that is in use."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from mellm.detectors.types import F32
from mellm.stream.errors import (
    MissingExtra,
    ModelCorrupt,
    ModelMissing,
    ModelOutputInvalid,
    ProviderUnavailable,
    UsageError,
)

logger = logging.getLogger(__name__)

Device: TypeAlias = Literal["auto", "cpu", "cuda", "tensorrt"]

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"

_PROVIDERS: dict[str, tuple[str, ...]] = {
    "cpu": (CPU,),
    "cuda": (CUDA, CPU),
    "tensorrt": (TENSORRT, CUDA, CPU),
}

# TF32 rounds products to 10 bits, which moves landmarks by tenths of a pixel; the networks are too small to need it
_OPTIONS: dict[str, dict[str, str]] = {CUDA: {"use_tf32": "0"}}

_warned = False
_preloaded = False


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

    def expect(self, wanted: Mapping[str, Sequence[int]]) -> None:
        """Refuse a network whose inputs and outputs are not these.

        :raises ModelCorrupt: an input or output is missing or has another shape
        """
        found = self.shapes()
        for name, shape in wanted.items():
            if found.get(name) != list(shape):
                raise ModelCorrupt(
                    f"{self.name}: {name} is {found.get(name)}, expected {list(shape)}",
                    remedy="run `mellm models verify`",
                )

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

    :param device: ``auto`` takes CUDA where it works and else the CPU, with one warning if a GPU build of ONNX
        Runtime cannot load its provider; TensorRT is taken only when asked for, since it compiles for minutes
    :raises UsageError: no such device
    :raises ProviderUnavailable: the device asked for is not there
    :raises ModelMissing: no such file
    :raises ModelCorrupt: not a network
    :raises MissingExtra: ONNX Runtime is not installed
    """
    runtime = _runtime()
    if not path.exists():
        raise ModelMissing(f"no model at {path.name}", remedy="run `mellm models pull`")
    wanted = choose(device, runtime.get_available_providers())
    try:
        got = _load(runtime, path, wanted, threads)
        if got.provider == wanted[0]:
            return got
        reason = "its libraries or driver are missing"
    except ModelCorrupt as error:
        if wanted[0] == CPU:
            raise
        # was it the file, or the provider? the CPU knows
        got, reason = _load(runtime, path, (CPU,), threads), error.message
    _fall_back(device, wanted[0], got.provider, reason)
    return got


def choose(device: str, available: Sequence[str]) -> tuple[str, ...]:
    """Execution providers for a device, best first.

    :param available: what this build of ONNX Runtime advertises
    :raises UsageError: no such device
    :raises ProviderUnavailable: this build has no provider for it
    """
    if device == "auto":
        return _PROVIDERS["cuda"] if CUDA in available else _PROVIDERS["cpu"]
    if device not in _PROVIDERS:
        raise UsageError(f"unknown device {device!r}", remedy=f"choose one of {', '.join(get_args(Device))}")
    if _PROVIDERS[device][0] not in available:
        raise ProviderUnavailable(
            f"device {device} is not there; this ONNX Runtime has {', '.join(available)}",
            remedy="pip uninstall onnxruntime, pip install 'mellm-live[gpu]', or use --device cpu",
        )
    return tuple(p for p in _PROVIDERS[device] if p in available)


def _load(runtime: Any, path: Path, providers: Sequence[str], threads: int) -> Session:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 4  # what it would log, the errors here say
    if CUDA in providers:
        _preload(runtime)
    try:
        # its own fallback prints to standard output, which is for data
        loaded = runtime.InferenceSession(
            str(path),
            options,
            providers=[(name, _OPTIONS.get(name, {})) for name in providers],
            enable_fallback=0,
        )
    except Exception as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelCorrupt(
            f"{path.name} cannot be loaded: {said[:200]}", remedy="run `mellm models verify`"
        ) from error
    return Session(loaded, path.name)


def _fall_back(device: str, wanted: str, got: str, reason: str) -> None:
    """The runtime advertises a provider that it cannot load."""
    global _warned
    if device != "auto":
        raise ProviderUnavailable(
            f"{wanted} is installed and cannot be loaded: {reason}",
            remedy="check driver and CUDA libraries, or use --device cpu",
        )
    if not _warned:
        _warned = True
        logger.warning("%s cannot be loaded (%s); networks run on %s", wanted, reason, got)


def _preload(runtime: Any) -> None:
    """Find the CUDA libraries that came as Python packages; what it prints goes to the log."""
    global _preloaded
    if _preloaded or not hasattr(runtime, "preload_dlls"):
        return
    _preloaded = True
    said = io.StringIO()
    with redirect_stdout(said):
        runtime.preload_dlls()
    if said.getvalue():
        logger.debug("%s", said.getvalue().strip())


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtra("ONNX Runtime is not installed", remedy="pip install 'mellm-live[cpu]'") from error
    return onnxruntime
