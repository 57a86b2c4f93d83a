"""``mellm correct`` and ``mellm agree``: from the terminal, on runs made by hand."""

import json

import pytest

from mellm.clients.cli import run
from mellm.engine.results.corrections import FILE
from mellm.engine.results.run_reader import read_run
from tests.engine.export.made import run_folder

WHEN = "2026-11-29T10:00:00Z"


@pytest.fixture
def folder(tmp_path):
    return run_folder(tmp_path / "run")


def decided(tmp_path, who, **verdicts):
    items = [
        {"id": letter * 16, "verdict": "reject" if units is None else "correct", "units": units, "class": cls}
        | {"who": who, "when": WHEN}
        for letter, (units, cls) in verdicts.items()
    ]
    path = tmp_path / f"{who}.json"
    path.write_text(json.dumps({"format": "mellm-corrections/1", "run": "", "items": items}))
    return str(path)


def test_corrections_are_applied_and_told(folder, tmp_path, capsys):
    file = decided(tmp_path, "ann", a=("4", "negative"), c=(None, None))
    (folder / "report.html").write_text("old")
    assert run(["correct", str(folder), file, "--dry-run"]) == 0
    assert capsys.readouterr().err == "1 corrected, 1 rejected; nothing was written\n"
    assert not (folder / FILE).exists()
    assert run(["correct", str(folder), file, "--out", str(tmp_path / "copy")]) == 0
    assert capsys.readouterr().err.startswith(
        f"1 corrected, 1 rejected; 4 expressions in {tmp_path / 'copy'}\n"
    )
    assert len(read_run(folder).expressions) == 5
    assert run(["correct", str(folder), file]) == 0
    assert "report.html is of before" in capsys.readouterr().err
    assert len(read_run(folder).expressions) == 4
    assert run(["export", str(folder), "--to", "changes"]) == 0
    assert "a" * 16 in capsys.readouterr().out
    assert run(["export", str(folder), "--to", "jsonl", "--uncorrected"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_the_table_goes_out_and_comes_back(folder, tmp_path, capsys):
    table = tmp_path / "t.csv"
    assert run(["export", str(folder), "--to", "csv", "--out", str(table)]) == 0
    assert run(["correct", str(folder), str(table)]) == 2
    assert "--by NAME" in capsys.readouterr().err
    assert run(["correct", str(folder), str(table), "--by", "ann"]) == 0
    assert "5 accepted; 5 expressions" in capsys.readouterr().err


def test_agreement_of_two_coders_and_the_engine_is_one_table(folder, tmp_path, capsys):
    pytest.importorskip("sklearn")
    pytest.importorskip("nltk")
    ann = decided(tmp_path, "ann", a=("1+2", "surprise"), b=("R12", "positive"), c=(None, None))
    bob = decided(tmp_path, "bob", a=("1+4", "negative"), b=("R12", "positive"))
    assert run(["agree", str(folder), ann, bob]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["both", "only", "1st", "only"]
    assert [row.partition("  ")[0] for row in rows] == ["engine - ann", "engine - bob", "ann - bob"]
    assert run(["agree", str(folder), ann, bob, "--json"]) == 0
    engine_ann, _, both = map(json.loads, capsys.readouterr().out.splitlines())
    assert (engine_ann["both"], engine_ann["only_a"], engine_ann["only_b"]) == (4, 1, 0)
    assert engine_ann["f1"] == pytest.approx(8 / 9)
    assert (engine_ann["kappa"], engine_ann["alpha"]) == (1.0, 1.0)
    # units 1, 2, 4, 7, 12 of three described pairs: 13 of 15 cells alike, 5 named by each
    observed, chance = 13 / 15, (5 * 5 + 10 * 10) / 15**2
    assert both["kappa"] == pytest.approx((observed - chance) / (1 - chance))
    assert both["kappa_by_unit"]["12"] == {"kappa": 1.0, "pairs": 1}
    # surprise/negative, positive/positive, negative/negative: by the coincidence matrix of Krippendorff
    assert both["alpha"] == pytest.approx(1 - 5 * (2 / 6) / ((1 * 3 + 1 * 2 + 3 * 2) * 2 / 6))


def test_without_files_the_corrections_of_the_run_are_the_coder(folder, tmp_path, capsys):
    pytest.importorskip("sklearn")
    pytest.importorskip("nltk")
    assert run(["agree", str(folder)]) == 2
    assert "was not corrected" in capsys.readouterr().err
    assert run(["correct", str(folder), decided(tmp_path, "ann", a=(None, None))]) == 0
    assert run(["agree", str(folder)]) == 0
    assert "engine - corrected" in capsys.readouterr().out


def test_the_new_formats_go_to_files_and_folders(folder, tmp_path, capsys):
    pytest.importorskip("openpyxl")
    pytest.importorskip("pyreadstat")
    out = f"{tmp_path / 'out'}/"
    for to in ("textgrid", "bids", "xlsx", "sav", "changes"):
        assert run(["export", str(folder), "--to", to, "--out", out]) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "changes.csv",
        "expressions.sav",
        "run.xlsx",
        "talk.TextGrid",
        "talk_events.json",
        "talk_events.tsv",
    ]
    capsys.readouterr()
    assert run(["export", str(folder), "--to", "xlsx"]) == 2
    assert "is not text" in capsys.readouterr().err


def test_a_run_is_cited(folder, capsys):
    assert run(["cite", str(folder)]) == 0
    assert capsys.readouterr().out.startswith(
        "1 recording (0.5 minutes at 30 frames per second) was analysed"
    )
    assert run(["cite", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {}  # a run of an older version
