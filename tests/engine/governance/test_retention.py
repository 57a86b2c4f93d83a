"""Each class of data is forgotten at its own age."""

import os
from pathlib import Path

import pytest

from mellm.engine.governance.erase import DataStore
from mellm.engine.governance.retention import RetentionJob
from mellm.stream.log.erasure import DAY_NS
from mellm.stream.log.journal import Journal, Retention
from mellm.stream.protocol.events import EXPRESSION_SPOTTED

NOW = 20_000 * DAY_NS


@pytest.mark.parametrize(
    ("evidence_days", "maps_left"), [(3, ["e7", "e8", "e9"]), (30, ["e5", "e6", "e7", "e8", "e9"])]
)
def test_events_and_motion_maps_go_by_their_ages_and_maps_never_outlive_events(
    tmp_path: Path,
    evidence_days: float,
    maps_left: list[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    maps = tmp_path / "maps"
    (maps / "open").mkdir(parents=True)
    told: list[tuple[str, dict]] = []
    with Journal(tmp_path / "log.db", retention=Retention(max_age_s=5 * 86_400)) as journal:
        for n in range(10):  # e9 is a day old, e0 ten
            at = NOW - (10 - n) * DAY_NS
            journal.append(EXPRESSION_SPOTTED, "a", {"id": f"e{n}", "score": 0.5}, time=at, id=f"e{n}")
            for path in (maps / f"e{n}.png", maps / "open" / f"e{n}.npz"):
                path.write_bytes(b"x")
                os.utime(path, ns=(at, at))
        sweep = RetentionJob(
            DataStore(journal, maps),
            evidence_s=evidence_days * 86_400,
            audit=lambda action, facts: told.append((action, dict(facts))),
            clock_ns=lambda: NOW,
        )
        with monkeypatch.context() as patched:
            patched.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "no")))
            sweep()
            sweep()
        assert caplog.text.count("old motion maps cannot be removed") == 1
        sweep()
        assert [record.id for record in journal.replay()] == ["e5", "e6", "e7", "e8", "e9"]
        assert sorted(path.stem for path in maps.glob("*.png")) == maps_left
        assert sorted(path.stem for path in (maps / "open").iterdir()) == maps_left
        gone = 2 * (10 - len(maps_left))
        assert told == [
            ("data.expired", {"events": 5, "files": 0}),
            ("data.expired", {"events": 0, "files": gone}),
        ]
        sweep()
        assert len(told) == 2  # nothing went, nothing to tell
