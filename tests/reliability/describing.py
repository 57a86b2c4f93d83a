"""A describe queue with a stopwatch, and a model server that can be killed: shared by the describe-path tests."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter

import numpy as np

from mellm.detectors.types import Expression, Quality
from mellm.engine.analysis.describe_queue import DescribeQueue, Job
from mellm.engine.describe.base import DescribeContext
from mellm.engine.describe.openai import OpenAIDescriber
from mellm.engine.types import Evidence, Outcome
from mellm.stream.frames import FrameRef
from tests.reliability.figures import REPO


def job(number: int, score: float = 0.5) -> Job:
    """An expression as the spotter would queue it."""
    ref = FrameRef(number, number * 10**9)
    quality = Quality(fps=30, face_width=200, blur=100, yaw=0, pitch=0, occlusion=0)
    expression = Expression(f"e{number}", "s", 0, 1, ref, ref, ref, score, quality)
    return Job(
        number, expression, Evidence(np.zeros((32, 32, 3), np.uint8), (), {}, "live"), DescribeContext()
    )


class Watched:
    """A live queue that asks an endpoint, with the age and the time of every end."""

    def __init__(self, url: str, model: str = "m", *, deadline_s: float, capacity: int = 64) -> None:
        self.ages: dict[int, float] = {}
        self.ended: dict[int, float] = {}
        self.outcomes: dict[int, Outcome] = {}
        self.most_waiting = 0
        self._born: dict[int, float] = {}
        self._lock = threading.Lock()
        self.queue = DescribeQueue(
            OpenAIDescriber(url, model, timeout_s=deadline_s),
            self._done,
            policy="live",
            capacity=capacity,
            deadline_s=deadline_s,
        )

    def submit(self, number: int, score: float = 0.5) -> None:
        with self._lock:
            self._born[number] = time.monotonic()
        self.queue.submit(job(number, score))
        self.most_waiting = max(self.most_waiting, self.queue.stats().pending)

    def _done(self, job: Job, outcome: Outcome) -> None:
        now = time.monotonic()
        with self._lock:
            assert job.number not in self.outcomes, "two ends for one expression"
            self.outcomes[job.number] = outcome
            self.ages[job.number] = now - self._born[job.number]
            self.ended[job.number] = now

    def described(self) -> list[int]:
        """Numbers of those that were answered."""
        with self._lock:
            return [number for number, outcome in self.outcomes.items() if outcome.state == "described"]

    @property
    def states(self) -> Counter[str]:
        return Counter(o.reason or o.state for o in self.outcomes.values())

    def balance(self) -> dict[str, int]:
        """Both sides of the sum; asserts that they are equal."""
        stats = self.queue.stats()
        ends = stats.described + stats.abstained + sum(stats.dropped.values()) + stats.pending
        assert stats.submitted == ends == len(self._born)
        assert len(self.outcomes) == stats.submitted - stats.pending
        return {"spotted": stats.submitted, "described": stats.described, "pending": stats.pending} | {
            f"dropped {reason}": count for reason, count in stats.dropped.items()
        }


class ModelProcess:
    """The stand-in as a process of its own."""

    def __init__(self, port: int, delay_s: float = 0.05) -> None:
        self.url = f"http://127.0.0.1:{port}/v1"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.model_stand_in", str(port), str(delay_s)],
            stdout=subprocess.PIPE,
            cwd=REPO,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        """SIGKILL, mid-request or not."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
