"""What a result needs beside it to be reproduced: versions of code and libraries, and the kind of machine."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

LIBRARIES = ("numpy", "opencv-contrib-python-headless", "av", "onnxruntime", "onnxruntime-gpu", "websockets")


def versions() -> dict[str, Any]:
    """Versions and machine, without names of hosts, users or paths."""
    return {
        "mellm": installed("mellm-live") or "unknown",
        "python": platform.python_version(),
        "libraries": {name: found for name in LIBRARIES if (found := installed(name))},
        "machine": {"system": platform.system(), "arch": platform.machine(), "cpus": os.cpu_count()},
    }


def machine(facts: dict[str, Any]) -> str:
    """The machine of :func:`versions` in words."""
    found = facts["machine"]
    return f"{found['system']} {found['arch']}, {found['cpus']} cores"


def installed(distribution: str) -> str | None:
    """Version of an installed distribution, ``None`` if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
