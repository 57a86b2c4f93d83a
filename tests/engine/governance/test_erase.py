"""What is erased is in no file any more, and what is left is whole."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mellm.detectors.spotting import Score
from mellm.detectors.windows import STEP_NS
from mellm.engine.evidence.store import EvidenceStore
from mellm.engine.governance.erase import DataStore, ErasureReport, erase_run
from mellm.engine.results import corrections
from mellm.engine.results.corrections import Correction, Corrections
from mellm.engine.results.expressions import ExpressionRecord
from mellm.engine.results.run_folder import EVENTS, EXPRESSIONS, RUN, RunFolder, read_expressions
from mellm.engine.results.score_series import path_of, read_series
from mellm.stream.errors import RunError
from mellm.stream.log.erasure import DAY_NS, Selection
from mellm.stream.log.journal import Journal
from mellm.stream.protocol.events import EXPRESSION_SPOTTED, FACE_APPEARED
from tests.engine.export import made

DAY = 20_000 * DAY_NS
MOMENT = "2026-11-23T15:00:00.000000Z"


def everything(folder: Path) -> bytes:
    return b"".join(p.read_bytes() + str(p).encode() for p in sorted(folder.rglob("*")) if p.is_file())


@pytest.fixture
def kept(tmp_path: Path) -> Any:
    """Three sources, each with a face and two expressions, their maps and one open job."""
    maps, memory = tmp_path / "maps", EvidenceStore()
    (maps / "open").mkdir(parents=True)
    with Journal(tmp_path / "log.db") as journal:
        for number, source in enumerate(("ann", "bob", "cid")):
            at = DAY + number * DAY_NS
            consent = {"consent": f"ref-{source}"}
            journal.append(FACE_APPEARED, source, {"track": 1, "box": [], **consent}, time=at)
            for each in range(2):
                id = f"{source}x{each}"
                journal.append(
                    EXPRESSION_SPOTTED, source, {"id": id, "score": 0.5, **consent}, time=at, id=id
                )
                (maps / f"{id}.png").write_bytes(f"map of {id}".encode())
                memory.put(id, b"map")
            job = maps / "open" / f"{source}x1.npz"
            job.write_bytes(f"job of {source}".encode())
            for path in (job, maps / f"{source}x0.png", maps / f"{source}x1.png"):
                os.utime(path, ns=(at, at))
        (maps / "orphan.png").write_bytes(b"whose?")
        (maps / "notes.txt").write_bytes(b"not ours")
        yield journal, DataStore(journal, maps, memory), memory, tmp_path


def test_by_subject_all_of_one_person_goes_and_nobody_else(kept: Any) -> None:
    journal, keeper, memory, folder = kept
    what = Selection(consent="ref-bob")
    foreseen = keeper.erase(what, reason="purge", dry_run=True)
    assert b"map of bobx0" in everything(folder)
    gone = keeper.erase(what, reason="purge", vacuum=True)
    assert gone == foreseen == ErasureReport(3, ("bobx0", "bobx1"), 3, 1, True, frozenset({"bob"}), 4, 6)
    left = everything(folder)
    for trace in (b"bobx0", b"bobx1", b"ref-bob", b"job of bob"):
        assert trace not in left
    for other in (b"map of annx0", b"map of cidx1", b"job of ann", b"not ours", b"whose?"):
        assert other in left
    assert (memory.get("bobx0"), memory.get("annx0")) == (None, b"map")
    (stone,) = [record for record in journal.replay() if record.type == "events.erased"]
    assert stone.event.data["events"] == 3
    assert keeper.erase(what, reason="purge").as_dict()["events"] == 0


def test_by_age_the_old_end_is_forgotten_and_old_maps_of_whomever_go(kept: Any) -> None:
    journal, keeper, _, folder = kept
    old = DAY + DAY_NS // 2
    os.utime(folder / "maps" / "orphan.png", ns=(old, old))
    gone = keeper.erase(Selection(before_ns=DAY + DAY_NS), reason="purge")
    assert (gone.events, gone.files, gone.sources) == (3, 4, {"ann"})
    assert journal.first_seq == 4
    assert [record.source for record in journal.replay()] == ["bob"] * 3 + ["cid"] * 3
    left = everything(folder)
    assert b"ann" not in left
    assert b"whose?" not in left
    assert b"map of bobx0" in left


def test_by_source_and_age_both_must_hold(kept: Any) -> None:
    _journal, keeper, _, folder = kept
    assert keeper.erase(Selection(source="cid", before_ns=DAY + DAY_NS), reason="purge") == ErasureReport()
    gone = keeper.erase(Selection(source="cid", before_ns=DAY + 3 * DAY_NS), reason="purge")
    assert (gone.events, gone.files) == (3, 3)
    assert b"map of cid" not in everything(folder)
    assert b"map of ann" in everything(folder)


def test_one_expression(kept: Any) -> None:
    _journal, keeper, _, folder = kept
    gone = keeper.erase(Selection(expression="annx1"), reason="purge")
    assert (gone.events, gone.files) == (1, 2)
    assert b"annx1" not in everything(folder)
    assert b"map of annx0" in everything(folder)


def test_events_stay_while_a_map_cannot_be_removed(kept: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, keeper, _, _ = kept

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(PermissionError):
        keeper.erase(Selection(source="ann"), reason="purge")
    monkeypatch.undo()
    assert len(journal.about("annx0")) == 1  # it can be tried again
    assert keeper.erase(Selection(source="ann"), reason="purge").files == 3


def test_a_sweep_removes_old_maps_only(kept: Any) -> None:
    _, keeper, _, folder = kept
    assert keeper.sweep(evidence_before_ns=DAY + DAY_NS) == 3
    left = everything(folder)
    assert b"map of ann" not in left
    assert b"map of bobx0" in left
    assert DataStore(kept[0]).sweep(evidence_before_ns=DAY * 2) == 0


# -- run folders --------------------------------------------------------------------------------------


def make_run(path: Path, **settings: object) -> Path:
    run = RunFolder.create(path, {"purpose": "research", **settings}, {})
    for source in ("ann", "bob"):
        run.event("face.appeared", source, 0, {"track": 1})
        for each in range(2):
            id = f"{source}x{each}"
            start = 1200.0 + 2000 * each
            times = {"onset_ms": start, "apex_ms": start + 100, "offset_ms": start + 300}
            data = {"id": id, "source": source, "text": f"words on {id}", **times}
            run.event("expression.spotted", source, 1000, data)
            run.evidence(id, f"map of {id}".encode())
            run.expression(ExpressionRecord.from_json({**made.RECORDS[2], **data}))
        series = run.series(source)
        for k in range(300):
            series.add(1, Score(k * STEP_NS, 0.5, 0.5, 0.0))
        series.close()
        run.finish_source(source, {"state": "done", "path": f"/films/{source}.mp4", "counts": {"spotted": 2}})
    run.close()
    return path


def test_a_source_goes_from_a_run_and_is_not_analysed_again_there(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    (path / "report.html").write_text("words on annx0, with a picture of the face")
    (path / "ann.eaf").write_text("words on annx0")
    (path / "bob.eaf").write_text("words on bobx0")
    foreseen = erase_run(path, Selection(source="ann"), reason="purge", moment=MOMENT, dry_run=True)
    assert b"words on annx0" in everything(path)
    gone = erase_run(path, Selection(source="ann"), reason="purge", moment=MOMENT)
    assert gone == foreseen == ErasureReport(5, ("annx0", "annx1"), 5, sources=frozenset({"ann"}))
    left = everything(path)
    for trace in (b"words on ann", b"map of ann", b"annx0", b"/films/ann.mp4"):
        assert trace not in left
    assert (path / "bob.eaf").exists()
    assert not path_of(path, "ann").exists()
    assert sum(len(p.times_ms()) for p in read_series(path, "bob")) == 300
    assert [r.id for r in read_expressions(path)] == ["bobx0", "bobx1"]
    told = json.loads((path / RUN).read_text())["erased"]
    assert told == [{"time": MOMENT, "reason": "purge", "lines": 5, "expressions": 2, "sources": ["ann"]}]
    with_rest = RunFolder.create(path, {"purpose": "research"}, {})
    assert with_rest.summary("bob") is not None
    with pytest.raises(RunError, match="results of 'ann' were erased"):
        with_rest.summary("ann")
    with_rest.close()
    assert erase_run(path, Selection(source="ann"), reason="purge", moment=MOMENT) == ErasureReport()
    assert len(json.loads((path / RUN).read_text())["erased"]) == 1


def test_a_run_of_a_subject_goes_whole_and_other_runs_stay(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", consent="ref-1")
    before = everything(path)
    assert erase_run(path, Selection(consent="ref-2"), reason="purge", moment=MOMENT) == ErasureReport()
    assert everything(path) == before
    gone = erase_run(path, Selection(consent="ref-1"), reason="purge", moment=MOMENT)
    assert (gone.events, gone.files) == (10, 6)
    assert not list((path / "scores").iterdir())
    assert (path / EVENTS).read_bytes() == (path / EXPRESSIONS).read_bytes() == b""


def test_one_expression_and_an_old_run(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    with (path / EXPRESSIONS).open("ab") as file:
        file.write(b'{"id":"bobx1","text":"words on bobx1, cut of')  # by a kill
    gone = erase_run(path, Selection(expression="bobx1"), reason="purge", moment=MOMENT)
    assert (gone.events, gone.files, gone.sources) == (2, 1, frozenset())
    # the seconds of its scores go as well, and no others
    assert [p.t_ms for p in read_series(path, "bob")] == [0.0, 1000.0, 2000.0, 4000.0, 5000.0]
    assert b"bobx1" not in everything(path)
    assert json.loads((path / RUN).read_text())["sources"]["bob"]["state"] == "done"
    young = (path / RUN).stat().st_mtime_ns
    assert erase_run(path, Selection(before_ns=young), reason="purge", moment=MOMENT) == ErasureReport()
    assert erase_run(path, Selection(before_ns=young + DAY_NS), reason="purge", moment=MOMENT).events == 8
    assert b"words on" not in everything(path)


@pytest.mark.parametrize("damage", [None, "{", "[]", '{"sources": []}'])
def test_what_is_no_run_is_refused(tmp_path: Path, damage: str | None) -> None:
    if damage is not None:
        (tmp_path / RUN).write_text(damage)
    with pytest.raises(RunError, match="run"):
        erase_run(tmp_path, Selection(source="a"), reason="purge", moment=MOMENT)


def test_what_a_study_made_of_its_runs_goes_too(tmp_path):
    study = tmp_path / "study"
    made.run_folder(study / "runs" / "p01")
    for name in ("study.json", "index.html", "recordings.csv", "notes.txt"):
        (study / name).write_text("{}")
    erase_run(study / "runs" / "p01", Selection(source="talk"), reason="x", moment=MOMENT)
    assert sorted(p.name for p in study.iterdir()) == ["notes.txt", "runs", "study.json"]


def test_decisions_of_people_go_with_what_they_are_about(tmp_path):
    folder = made.run_folder(tmp_path / "run")
    kept = Correction("accept", "coder-a", "2026-11-29T10:00:00Z", "b" * 16, comment="left")
    gone = replace(kept, id="a" * 16, comment="PRIVATE")
    added = replace(gone, id="mine", verdict="add", onset_s=1.0, offset_s=2.0)
    corrections.write(folder / corrections.FILE, Corrections((gone, added, kept)))
    erase_run(folder, Selection(expression="a" * 16), reason="x", moment=MOMENT)
    (folder / "report.html").write_text("PRIVATE")
    erase_run(folder, Selection(expression="mine"), reason="x", moment=MOMENT)
    assert corrections.read(folder / corrections.FILE).items == (kept,)
    assert b"PRIVATE" not in everything(folder)
    erase_run(folder, Selection(source="talk"), reason="x", moment=MOMENT)
    assert corrections.read(folder / corrections.FILE).items == ()
