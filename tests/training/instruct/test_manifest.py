import json

import cv2
import numpy as np
import pytest

from mellm.clients.cli import run
from mellm.stream.errors import FaceError, SourceCorrupt, SourceEmpty, SourceNotFound
from mellm.training.instruct import manifest
from mellm.training.instruct.build import BuildOptions, build
from mellm.training.instruct.lint import lint
from mellm.training.instruct.records import Wording
from tests.training.instruct import made_up

HEAD = "subject,clip,onset,apex,au,emotion"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Two pictures, and landmarks without a face network."""
    seen = made_up.pair("train", 1, 0, False)
    for name, gray in (("onset.png", seen.onset), ("apex.png", seen.apex)):
        cv2.imwrite(str(tmp_path / name), cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR))
    monkeypatch.setattr(manifest, "find_face", lambda picture, name: made_up.landmarks())
    return tmp_path


def table(root, *lines: str, head: str = HEAD) -> None:
    (root / manifest.NAME).write_text("\n".join([head, *lines]) + "\n")


def test_a_table_becomes_a_data_set(root):
    table(
        root,
        "s1,c1,onset.png,apex.png,L12B+6?,Happiness,,train",
        "s1,c2,onset.png,onset.png,,,,train",
        "s2,c1,onset.png,apex.png,38,others,,test",
        "s3,c1,onset.png,apex.png,,,speech,validation",
        head=HEAD + ",kind,split",
    )
    rows = manifest.read(root)
    assert [(u.au, u.side, u.intensity) for u in rows[0].units] == [(6, "both", 0.5), (12, "left", 0.35)]
    assert [r.kind for r in rows] == ["expression", "still", "expression", "speech"]
    (first, second) = manifest.pairs(rows[:2])
    assert (first.coarse, first.emotion) == ("positive", "happiness")
    assert first.onset.shape == (368, 320)
    assert second.evidence().refused == "motion_floor"
    out = root / "data"
    wording = Wording(licence="ours", provenance="recorded by us")
    counts = build(BuildOptions(out, "csv", root, wording=wording))
    assert sum(c["pairs"] for c in counts.values()) == 4
    assert list(lint(out)) == []
    told = [json.loads(line) for line in (out / "test.jsonl").read_text().splitlines()]
    assert {r["licence"] for r in told} == {"ours"}
    # a unit that is not read from motion, and a label outside of the three classes: little can be asked
    assert {r["task"] for r in told} == {"units", "fine"}


def test_subjects_are_dealt_out_once_and_for_all(root):
    table(root, *(f"s{i},c,onset.png,apex.png,4," for i in range(20)))
    dealt = [row.split for row in manifest.read(root)]
    assert (dealt.count("train"), dealt.count("validation"), dealt.count("test")) == (16, 2, 2)
    assert dealt == [row.split for row in manifest.read(root)]


@pytest.mark.parametrize(
    ("lines", "error", "said"),
    [
        (["s1,c1,onset.png,gone.png,4,"], SourceNotFound, r"manifest.csv:2: there is no picture .*gone.png"),
        (["s1,c1,onset.png,apex.png,4x,"], SourceCorrupt, r"manifest.csv:2: '4x' .* write units like"),
        (["s1,c1,onset.png,,4,"], SourceCorrupt, "has no apex"),
        (["s1,c1,onset.png,apex.png,4,", "s1,c1,onset.png,apex.png,4,"], SourceCorrupt, "comes twice"),
        ([], SourceEmpty, "has no row"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(root, lines, error, said):
    table(root, *lines)
    with pytest.raises(error, match=said):
        manifest.read(root)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("s1,c1,onset.png,apex.png,4,,smirk,", "no kind 'smirk'"),
        ("s1,c1,onset.png,apex.png,4,,,dev", "no split 'dev'"),
        ("s1,c1,onset.png,apex.png,4,,blink,", "kind blink with action units"),
        ("s1,c1,onset.png,apex.png,,,expression,", "kind expression with action units ''"),
        ("s1,c2,onset.png,apex.png,4,,,test\ns1,c3,onset.png,apex.png,4,,,train", "is in train and in test"),
    ],
)
def test_kinds_and_splits_are_checked(root, line, said):
    table(root, line, head=HEAD + ",kind,split")
    with pytest.raises(SourceCorrupt, match=said):
        manifest.read(root)


def test_a_table_that_is_none(root):
    with pytest.raises(SourceNotFound, match="put a table with the columns"):
        manifest.read(root)
    table(root, "s1,c1,onset.png", head="subject,clip,onset")
    with pytest.raises(SourceCorrupt, match="has no column apex, au, emotion"):
        manifest.read(root)
    (root / manifest.NAME).write_bytes(b"\xff\xfe\x00subject")
    with pytest.raises(SourceCorrupt, match="UTF-8"):
        manifest.read(root)


def test_no_face_and_no_picture_end_in_one_sentence(root, monkeypatch, capsys):
    def nobody(picture, name):
        raise FaceError(f"{name}: no face found", remedy="take the row out")

    table(root, "s1,c1,onset.png,apex.png,4,")
    monkeypatch.setattr(manifest, "find_face", nobody)
    build_it = ["dataset", "build", "--from", "csv", "--root", str(root), "--out", str(root / "data")]
    assert run(build_it) == 3
    assert "onset.png: no face found — take the row out" in capsys.readouterr().err
    (root / "apex.png").write_bytes(b"no picture")
    monkeypatch.setattr(manifest, "find_face", lambda picture, name: made_up.landmarks())
    assert run(build_it) == 3
    assert "apex.png" in capsys.readouterr().err


def test_the_engine_finds_the_face_itself(monkeypatch):
    picture = np.zeros((200, 200, 3), np.uint8)

    class Sees:
        def __init__(self, faces):
            self.faces = faces

        def reset(self):
            pass

        def push(self, frame):
            return self

    small, large = (type("Face", (), {"box": (0, 0, n, n), "landmarks": n}) for n in (50, 90))
    monkeypatch.setattr(manifest, "_analyzer", lambda: Sees([small, large]))
    assert manifest.find_face(picture, "a.png") == 90
    monkeypatch.setattr(manifest, "_analyzer", lambda: Sees([]))
    with pytest.raises(FaceError, match=r"a\.png: no face found"):
        manifest.find_face(picture, "a.png")
