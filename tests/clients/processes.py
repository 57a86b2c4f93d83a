"""The command in a process of its own, or in this one where nothing depends on that."""

import io
import logging
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

import pytest

from mellm.clients.cli import run
from tests import PATIENCE_S, REPO


@dataclass(frozen=True)
class Said:
    """How the command ended, and what it wrote."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Done(Said):
    """The most memory it held as well, and its processor time, which a busy machine does not stretch."""

    peak_mb: float
    cpu_s: float


def settings_from_outside() -> list[str]:
    """Names of variables with which whoever runs the tests may have configured the command for themselves."""
    kept = ("MELLM_CACHE", "MELLM_SHARED")
    return [name for name in os.environ if name.startswith("MELLM_") and name not in kept]


def here(*arguments: object) -> Said:
    """Run it in this process: no start, no second import of everything. Fit for fixtures of a whole session."""
    out, err = io.StringIO(), io.StringIO()
    handlers = list(logging.getLogger().handlers)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name in settings_from_outside():
            patch.delenv(name)
        try:
            code = run([str(each) for each in arguments])
        finally:
            logging.getLogger().handlers[:] = handlers
    return Said(code, out.getvalue(), err.getvalue())


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
import pytest

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
        timeout=PATIENCE_S,
        cwd=REPO,
    )
    err, _, measured = done.stderr.rpartition("\n")
    peak_kb, cpu_s = map(float, measured.split())
    return Done(done.returncode, done.stdout, err + "\n" if err else "", peak_kb / 1024, cpu_s)
