"""The pages on studies and coders, run: each command of theirs, one after the other, in a folder made for it."""

import json
import re
import shlex
import shutil

import pytest

import mellm
from mellm.clients.cli import run
from mellm.clients.cli import study as verb
from mellm.detectors.analyzer import FakeFaceAnalyzer
from mellm.engine.analysis import pipeline_factory
from mellm.training.instruct import manifest
from tests import REPO
from tests.engine.export.made import RECORDS, run_folder
from tests.engine.moving import sheet, video
from tests.stream.videos import make_video
from tests.training.instruct import made_up

HOW_TO = REPO / "docs" / "how-to"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)
WHEN = "2026-11-29T10:00:00Z"


def blocks(page, language):
    return [
        body for kind, body in BLOCK.findall((HOW_TO / page).read_text(encoding="utf-8")) if kind == language
    ]


def commands(page):
    """Commands of a page in their order; those that are not run say why."""
    for line in "".join(blocks(page, "sh")).splitlines():
        words, _, remark = line.partition(" #")
        if not remark.strip().startswith("not run:"):
            yield shlex.split(words)[1:]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """No networks: a face that is always there, a spotter that takes motion for it, a describer that says one thing."""
    monkeypatch.chdir(tmp_path)
    landmarks = sheet().landmarks()
    monkeypatch.setattr(FakeFaceAnalyzer, "providers", {}, raising=False)
    monkeypatch.setattr(
        pipeline_factory, "FaceAnalyzer", lambda options: FakeFaceAnalyzer(lambda frame: landmarks)
    )
    monkeypatch.setattr(pipeline_factory, "open_spotter", lambda *arguments: mellm.FakeStepModel())
    monkeypatch.setattr(pipeline_factory, "describer_of", lambda settings: mellm.ScriptedDescriber())
    monkeypatch.setattr("mellm.engine.api.describer_of", lambda settings: mellm.ScriptedDescriber())
    monkeypatch.setattr(verb, "report_with_faces", verb.report_without_faces)
    monkeypatch.setattr(manifest, "find_face", lambda picture, name: made_up.landmarks())


def test_a_study_with_thirty_people(tmp_path, capsys):
    pytest.importorskip("openpyxl")
    pytest.importorskip("pyreadstat")
    (table,) = blocks("study.md", "text")
    (tmp_path / "study.csv").write_text(table)
    names = [line.partition(",")[0] for line in table.splitlines()[1:]]
    (tmp_path / "recordings").mkdir()
    clip = video(tmp_path / "clip.mp4")
    for name in names:
        shutil.copy(clip, tmp_path / "recordings" / name)
    for words in commands("study.md"):
        # in processes of their own there would be the true networks
        words = [w for k, w in enumerate(words) if w != "--jobs" and (not k or words[k - 1] != "--jobs")]
        assert run(words) == 0, words
    said = capsys.readouterr()
    assert all(f"{name}: 4 expressions" in said.out for name in names)
    assert "4 recordings (" in said.out
    listed = re.findall(r"^\| `([\w./…]+)` \|", (HOW_TO / "study.md").read_text(), re.M)
    assert len(listed) == 5
    for name in listed:
        assert list((tmp_path / "study").glob(name.replace("…", "*")))
    pandas = pytest.importorskip("pandas")
    (code,) = blocks("study.md", "python")
    exec(code, {"pandas": pandas})


def test_a_coder_and_the_engine(tmp_path, capsys):
    pytest.importorskip("sklearn")
    pytest.importorskip("nltk")
    make_video(tmp_path / "interview.mp4", frames=800, fps=30)
    records = [{**record, "source": "interview"} for record in RECORDS]
    folder = run_folder(tmp_path / "runs" / "interview", tuple(records), sources=("interview",))
    state = json.loads((folder / "run.json").read_text())
    state["sources"]["interview"]["path"] = str(tmp_path / "interview.mp4")
    (folder / "run.json").write_text(json.dumps(state))
    (example,) = blocks("coder.md", "json")
    (tmp_path / "interview.corrections.json").write_text(example.replace("a3f1…", "a" * 16))
    decided(tmp_path / "ann.json", a=("1+2", "surprise"), c=None)
    decided(tmp_path / "bob.json", a=("1+4", "negative"))
    for words in commands("coder.md"):
        if words[0] == "agree":
            # the coders' own files, as the page has them: a file of corrections says the same
            words = [w.replace("ann.eaf", "ann.json").replace("bob.csv", "bob.json") for w in words]
            capsys.readouterr()
            assert run(words) == 0
            (shown,) = blocks("coder.md", "text")
            assert capsys.readouterr().out == shown
        else:
            assert run(words) == 0, words
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["splits"]


def decided(path, **verdicts):
    items = [
        {"id": letter * 16, "verdict": "correct" if said else "reject", "who": path.stem, "when": WHEN}
        | ({} if said is None else {"units": said[0], "class": said[1]})
        for letter, said in verdicts.items()
    ]
    path.write_text(json.dumps({"format": "mellm-corrections/1", "items": items}))
