"""The command in a process of its own."""

import subprocess
import sys
from dataclasses import dataclass

from tests import REPO


@dataclass(frozen=True)
class Done:
    """How a process ended, the most memory it held, and its processor time, which a busy machine does not stretch."""

    code: int
    out: str
    err: str
    peak_mb: float
    cpu_s: float


def start(*arguments: object, **settings: object) -> subprocess.Popen[bytes]:
    """``mellm`` with these arguments."""
    return subprocess.Popen(
        [sys.executable, "-m", "mellm.clients.cli", *map(str, arguments)], cwd=REPO, **settings
    )


# the kernel's own peak counts what the parent held at the fork, so the process reads its own
_MEASURED = """
import sys, time
from pathlib import Path
from mellm.clients.cli import run
from tests import REPO
code = run(sys.argv[1:])
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(peak.split()[1], time.process_time(), end="", file=sys.stderr)
sys.exit(code)
"""


def mellm(*arguments: object) -> Done:
    """Run it to its end."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=REPO,
    )
    err, _, measured = done.stderr.rpartition("\n")
    peak_kb, cpu_s = map(float, measured.split())
    return Done(done.returncode, done.stdout, err + "\n" if err else "", peak_kb / 1024, cpu_s)
