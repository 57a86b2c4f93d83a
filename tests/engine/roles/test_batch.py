from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.engine.bus.base import ACK_WAIT_S
from mellm.engine.bus.memory import MemoryBus
from mellm.engine.roles import batch
from mellm.engine.roles.batch import Job, Progress, Worker, jobs_of, left_s, progress, shard, submit
from mellm.stream.errors import MessageInvalid, SourceCorrupt, UsageError
from tests import PATIENCE_S


class Analysis:
    """Writes what looks like a run folder; fails, or stands still, where it is told to."""

    def __init__(self, failing: dict[str, int] | None = None) -> None:
        self.failing = dict(failing or {})
        self.seen: Counter[str] = Counter()

    def __call__(self, job: Job, folder: Path) -> int:
        self.seen[job.name] += 1
        folder.mkdir()
        (folder / "expressions.jsonl").write_text("{}\n{}\n")
        if self.failing.get(job.name, 0) >= self.seen[job.name]:
            raise SourceCorrupt(f"{job.path} is damaged")
        (folder / "run.json").write_text(json.dumps({"path": job.path}))
        return 2


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def left_behind(folder: Path) -> None:
    (folder / ".0.dead.part").mkdir()


def paths(number: int) -> list[str]:
    return [f"/video/{n}.mp4" for n in range(number)]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "AGAIN_S", 0.0)
    monkeypatch.setattr(batch, "TAKE_S", 0.2)


async def test_each_recording_becomes_one_whole_folder(tmp_path: Path) -> None:
    bus, jobs = MemoryBus(), jobs_of(paths(12), "b")
    await submit(bus, jobs)
    await submit(bus, jobs)  # once more after a break: nothing is done twice
    analyses = [Analysis() for _ in range(3)]
    workers = [Worker(bus, f"w{n}", tmp_path, each) for n, each in enumerate(analyses)]
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(worker.run(until_empty=True) for worker in workers))
    assert names(tmp_path) == sorted(job.name for job in jobs)
    states = await progress(bus, jobs)
    assert {(each.state, each.expressions) for each in states} == {("done", 2)}
    assert sum((each.seen for each in analyses), Counter()).total() == 12


async def test_what_failed_is_tried_once_more_and_then_named(tmp_path: Path) -> None:
    bus, jobs = MemoryBus(), jobs_of(paths(3), "b")
    await submit(bus, jobs)
    analysis = Analysis({"0": 1, "1": 9})
    async with asyncio.timeout(PATIENCE_S):
        await Worker(bus, "w", tmp_path, analysis).run(until_empty=True)
    states = await progress(bus, jobs)
    assert [each.state for each in states] == ["done", "failed", "done"]
    assert [each.failures for each in states] == [1, 2, 0]
    assert states[1].error == "/video/1.mp4 is damaged"
    assert analysis.seen == {"0": 2, "1": 2, "2": 1}
    assert names(tmp_path) == ["0", "2"]


async def test_a_worker_that_was_killed_leaves_its_job_to_another(tmp_path: Path) -> None:
    now = [0.0]
    bus, jobs = MemoryBus(lambda: now[0]), jobs_of(paths(1), "b")
    await submit(bus, jobs)
    assert await bus.take("job", 0.0) is not None  # and then it is killed
    left_behind(tmp_path)
    now[0] += ACK_WAIT_S + 1
    async with asyncio.timeout(PATIENCE_S):
        await Worker(bus, "w", tmp_path, Analysis()).run(until_empty=True)
    assert names(tmp_path) == ["0"]


async def test_a_worker_that_was_killed_after_its_folder_was_whole_is_not_repeated(tmp_path: Path) -> None:
    bus, jobs = MemoryBus(), jobs_of(paths(1), "b")
    await submit(bus, jobs)
    Analysis()(jobs[0], tmp_path / "0")
    again = Analysis()
    async with asyncio.timeout(PATIENCE_S):
        await Worker(bus, "w", tmp_path, again).run(until_empty=True)
    assert again.seen == {}
    assert (await progress(bus, jobs))[0].state == "done"


async def test_a_recording_that_brings_its_workers_down_is_given_up(tmp_path: Path) -> None:
    now = [0.0]
    bus, jobs = MemoryBus(lambda: now[0]), jobs_of(paths(1), "b")
    await submit(bus, jobs)
    for _ in range(batch.MOST_TRIES):
        assert await bus.take("job", 0.0) is not None
        now[0] += ACK_WAIT_S + 1
    async with asyncio.timeout(PATIENCE_S):
        await Worker(bus, "w", tmp_path, Analysis()).run(until_empty=True)
    state = (await progress(bus, jobs))[0]
    assert (state.state, state.error) == ("failed", "its workers ended without a word")


async def test_two_that_have_the_same_job_leave_one_folder(tmp_path: Path) -> None:
    """A worker that was cut off goes on; the file system lets one win."""
    bus, job = MemoryBus(), jobs_of(paths(1), "b")[0]
    first, second = (Worker(bus, name, tmp_path, Analysis()) for name in ("w1", "w2"))

    def meanwhile(job: Job, folder: Path) -> int:
        assert second._whole(job) == 2
        return Analysis()(job, folder)

    first.analyse = meanwhile
    assert first._whole(job) == 2
    assert names(tmp_path) == ["0"]


@given(st.lists(st.text("ab/", max_size=4), max_size=40, unique=True), st.integers(1, 9))
def test_shards_hold_each_path_once(named: list[str], count: int) -> None:
    parts = [shard(named, index, count) for index in range(1, count + 1)]
    assert sorted(path for part in parts for path in part) == sorted(named)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(("index", "count"), [(0, 2), (3, 2), (1, 0)])
def test_a_shard_that_is_none_is_refused(index: int, count: int) -> None:
    with pytest.raises(UsageError):
        shard(["a"], index, count)


def test_two_of_one_name_get_two_folders_and_one_named_twice_is_refused() -> None:
    given = [job.name for job in jobs_of(["/a/x.mp4", "/b/x.mp4", "/b/y.mp4"], "b")]
    assert len(set(given)) == 3
    assert given[2] == "y"
    with pytest.raises(UsageError, match="twice"):
        jobs_of(["/a/x.mp4", "/a/x.mp4"], "b")


@pytest.mark.parametrize("name", ["../x", ".hidden", "a/b"])
def test_a_job_that_names_a_folder_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(MessageInvalid):
        Job.unpack(Job("b", 1, "/x.mp4", name).pack())


def test_the_estimate_counts_what_is_left_by_those_who_work() -> None:
    assert left_s([Progress()]) is None
    states = [Progress("done", took_s=10.0), Progress("running", worker="a"), Progress("running", worker="b")]
    assert left_s([*states, Progress(), Progress()]) == 10.0 * 4 / 2
