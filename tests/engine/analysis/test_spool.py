import logging

import numpy as np
import pytest

from mellm.detectors.types import Expression, Quality
from mellm.engine.analysis.describe_queue import Job
from mellm.engine.analysis.recovery import RESTART, recover
from mellm.engine.analysis.spool import MAX_BYTES, Spool
from mellm.engine.describe.base import DescribeContext
from mellm.engine.types import Evidence, RegionMotion
from mellm.stream.frames import FrameRef
from mellm.stream.log.journal import Journal
from mellm.stream.protocol.events import EXPRESSION_DESCRIBED, EXPRESSION_DROPPED, EXPRESSION_SPOTTED


def job(name: str = "0123456789abcdef") -> Job:
    onset, apex, offset = (FrameRef(i, i * 20_000_000) for i in (5, 9, 15))
    quality = Quality(50, 210.5, 99, 1, 2, 0.1, 3.5, "warned", ("fps_warn",))
    expression = Expression(name, "desk", 1, 2, onset, apex, offset, 0.75, quality, ((4, 0.9), (12, 0.1)))
    picture = np.random.default_rng(0).integers(0, 255, (184, 160, 3), np.uint8)
    evidence = Evidence(picture, (RegionMotion("glabella", 0.1, 2, 1, 2, "down"),), {"peak_iod": 3.5}, "live")
    return Job(7, expression, evidence, DescribeContext(name, 200.0, ((4, 0.9),), 10.0))


def test_a_job_comes_back_as_it_was(tmp_path):
    spool, kept = Spool(tmp_path / "open"), job()
    spool.put(kept)
    back = spool.take(kept.expression.id)
    assert back is not None
    assert back.expression == kept.expression
    assert back.context == kept.context
    assert back.evidence.regions == kept.evidence.regions
    assert (back.evidence.flow_stats, back.evidence.recipe) == (kept.evidence.flow_stats, "live")
    assert np.array_equal(back.evidence.motion_map, kept.evidence.motion_map)
    assert (tmp_path / "open").stat().st_mode & 0o077 == 0
    spool.remove(kept.expression.id)
    spool.remove(kept.expression.id)
    assert spool.take(kept.expression.id) is None
    assert list((tmp_path / "open").iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [b"", b"PK\x03\x04 nonsense", b"x" * (MAX_BYTES + 1), None],
    ids=["empty", "nonsense", "too large", "cut"],
)
def test_a_damaged_file_is_told_and_passed_over(tmp_path, caplog, damage):
    spool, kept = Spool(tmp_path), job()
    spool.put(kept)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-200] if damage is None else damage)
    with caplog.at_level(logging.WARNING):
        assert spool.take(kept.expression.id) is None
    assert "cannot be read" in caplog.text


def test_a_folder_that_cannot_be_written_stops_nothing_and_is_told_once(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    spool = Spool(tmp_path / "file" / "open")
    for _ in range(3):
        spool.put(job())
    assert caplog.text.count("cannot be kept") == 1


def test_ids_that_are_paths_are_refused(tmp_path):
    with pytest.raises(ValueError, match="not an expression id"):
        Spool(tmp_path).take("../../etc/passwd")


def test_after_a_crash_every_open_expression_is_a_job_or_lost(tmp_path):
    spool = Spool(tmp_path / "open")
    kept, gone, ended = job("aa" * 8), job("bb" * 8), job("cc" * 8)
    stray = job("dd" * 8)
    with Journal(tmp_path / "journal.db") as journal:
        for each in (kept, gone, ended):
            data = {"id": each.expression.id, "score": 0.7, "onset_ms": 100.0}
            journal.append(EXPRESSION_SPOTTED, "desk", data, time=1, id=each.expression.id)
        journal.append(EXPRESSION_DESCRIBED, "desk", {"id": "cc" * 8}, time=2, id="cc" * 8)
        for each in (kept, stray):
            spool.put(each)
        found = recover(journal.unfinished(), spool)
        assert [j.expression.id for j in found.jobs] == ["aa" * 8]
        ((source, data),) = found.lost
        assert (source, data["id"], data["reason"], data["onset_ms"]) == ("desk", "bb" * 8, RESTART, 100.0)
        assert [p.stem for p in (tmp_path / "open").iterdir()] == ["aa" * 8]
        journal.append(EXPRESSION_DROPPED, source, data, time=3, id=data["id"])
        assert [r.id for r in journal.unfinished()] == ["aa" * 8]
        without = recover(journal.unfinished(), None)
        assert (without.jobs, len(without.lost)) == ((), 1)
