"""The command in a process of its own."""

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Done:
    """How a process ended, and the most memory it held."""

    code: int
    out: str
    err: str
    peak_mb: float


def start(*arguments: object, **settings: object) -> subprocess.Popen[bytes]:
    """``mellm`` with these arguments."""
    return subprocess.Popen([sys.executable, "-m", "clients.cli", *map(str, arguments)], cwd=REPO, **settings)


def mellm(*arguments: object) -> Done:
    """Run it to its end. ``wait4`` tells the peak memory of this very process."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = start(*arguments, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
    return Done(process.returncode, *texts, peak_mb=usage.ru_maxrss / 1024)
