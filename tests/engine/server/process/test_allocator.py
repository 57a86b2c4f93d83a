"""The allocator's limits, in processes of their own: they hold for good."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.clients.processes import REPO

SCATTER = """
import sys, threading
from mellm.engine.server.process.allocator import tune_malloc
if sys.argv[1] == "settled":
    assert tune_malloc()
def arenas():
    # glibc puts each arena but the first at a multiple of 64 MiB
    anonymous = [line for line in open("/proc/self/maps") if " rw-p 00000000 00:00 0" in line and "heap" not in line]
    return sum(int(line.partition("-")[0], 16) % (64 << 20) == 0 for line in anonymous)

before = arenas()
barrier = threading.Barrier(12)
def work():
    barrier.wait()
    held = [bytes(2000) for _ in range(2000)]
    barrier.wait()
threads = [threading.Thread(target=work) for _ in range(12)]
for each in threads: each.start()
for each in threads: each.join()
print(arenas() - before)
"""


def arenas(how: str, **environment: str) -> int:
    settings = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", SCATTER, how],
        cwd=REPO,
        env={**settings, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(os.confstr("CS_GNU_LIBC_VERSION") is None, reason="another C library")
def test_threads_share_two_arenas() -> None:
    assert arenas("settled") <= 1 < 3 <= arenas("as it comes")


def test_whoever_set_the_allocator_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from mellm.engine.server.process.allocator import tune_malloc

    monkeypatch.setenv("MALLOC_ARENA_MAX", "4")
    assert not tune_malloc()
