"""What a result needs beside it to be reproduced: versions of code and libraries, and the kind of machine."""

from __future__ import annotations

import hashlib
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
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


def now() -> str:
    """The present in UTC, ISO 8601 to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def file_facts(path: Path) -> dict[str, Any] | None:
    """What tells a recording from every other: name, size, last change (UTC) and SHA-256.

    A folder of pictures is hashed by the names and hashes of its files. ``None`` for what is no file.
    """
    try:
        if path.is_dir():
            files = sorted(p for p in path.iterdir() if p.is_file())
            lines = "".join(f"{sha256(p)}  {p.name}\n" for p in files)
            digest, size = hashlib.sha256(lines.encode()).hexdigest(), sum(p.stat().st_size for p in files)
        elif path.is_file():
            digest, size = sha256(path), path.stat().st_size
        else:
            return None
        changed = datetime.fromtimestamp(int(path.stat().st_mtime), UTC)
    except OSError:
        return None  # it was read a moment ago; whoever took it away knows
    return {
        "name": path.name,
        "bytes": size,
        "modified": changed.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "sha256": digest,
    }


def sha256(path: Path) -> str:
    """Of a file, hexadecimal.

    :raises OSError: it cannot be read
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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
