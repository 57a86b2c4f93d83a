"""``mellm analyze`` on a piece of the sample, with the true models: run folder, resumption, readers that leave."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mellm.clients.cli import run
from mellm.engine import api
from tests import PATIENCE_S
from tests.clients.processes import REPO, here, start
from tests.stream.videos import make_video

pytestmark = pytest.mark.xdist_group("analysed")  # one analysis for both modules

SHIPPED_THRESHOLD = json.loads((REPO / "detectors" / "models" / "spotter.json").read_text())["threshold"]
FIELDS = (
    *("id", "source", "segment", "track", "onset_ms", "apex_ms", "offset_ms"),
    *(
        "onset_frame",
        "apex_frame",
        "offset_frame",
        "score",
        "sensitivity",
        "quality",
        "regions",
        "notice",
        "state",
        "reason",
        "description",
    ),
    "evidence",
)


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_printed_line_is_a_line_of_the_run_folder(analysed):
    folder, done = analysed
    assert done.code == 0
    assert [json.loads(line) for line in done.out.splitlines()] == lines(folder / "expressions.jsonl")
    assert len(done.out.splitlines()) == 1
    assert done.err == f"1 expression; {folder}/expressions.jsonl\n"


def test_the_expression_is_found_and_told_as_promised(analysed):
    folder, _ = analysed
    found = lines(folder / "expressions.jsonl")
    assert all(tuple(record) == FIELDS for record in found)
    hit = next(r for r in found if abs(r["apex_ms"] - 800) < 100 and r["state"] == "described")
    assert hit["source"] == "cut"
    assert hit["onset_ms"] < hit["apex_ms"] < hit["offset_ms"]
    assert [hit[f"{name}_frame"] * 20.0 for name in ("onset", "apex", "offset")] == [
        hit[f"{name}_ms"] for name in ("onset", "apex", "offset")
    ]
    description = hit["description"]
    known = {"text", "action_units", "emotion", "model", "profile", "latency_ms", "readings", "agreement"}
    assert set(description) == known
    assert description["readings"] > 1
    assert all(set(unit) == {"au", "side", "score", "readings"} for unit in description["action_units"])
    assert set(description["emotion"]["scores"]) == {"negative", "positive", "surprise"}
    assert (folder / hit["evidence"]).read_bytes().startswith(b"\x89PNG")


def test_the_run_record_balances(analysed):
    folder, _ = analysed
    record = json.loads((folder / "run.json").read_text())
    source = record["sources"]["cut"]
    counts = source["counts"]
    assert counts["captured"] == counts["analysed"] + sum(counts["frames_dropped"].values()) == 100
    ended = counts["described"] + counts["abstained"] + sum(counts["dropped"].values())
    assert counts["spotted"] == ended == len(lines(folder / "expressions.jsonl"))
    assert (source["state"], source["source"]["width"]) == ("done", 848)
    assert (source["file"]["name"], len(source["file"]["sha256"])) == ("cut.mp4", 64)
    assert record["facts"]["spotting"]["threshold"] == SHIPPED_THRESHOLD
    assert record["facts"]["measured"]["false_alarms"]["people"] > 0
    assert set(record["facts"]["describer_files"]) >= {"nano/decoder.onnx", "au_templates.json"}
    assert record["about"]["purpose"] is None
    assert {m["name"] for m in record["facts"]["models"]} >= {"face_detector", "face_landmarks"}
    kinds = [event["type"] for event in lines(folder / "events.jsonl")]
    assert kinds.count("expression.spotted") == counts["spotted"]


def test_a_run_that_is_done_says_nothing_new(analysed, cut, capsys):
    folder, _ = analysed
    before = (folder / "expressions.jsonl").read_bytes()
    assert run(["analyze", str(cut), "--out", str(folder), "--json"]) == 0
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("cut: already analysed; nothing to do\n")
    assert (folder / "expressions.jsonl").read_bytes() == before


def test_another_file_of_the_same_name_is_not_taken_for_it(analysed, tmp_path, capsys):
    folder, _ = analysed
    other = make_video(tmp_path / "cut.mp4")
    assert run(["analyze", str(other), "--out", str(folder)]) == 6
    assert "name another folder" in capsys.readouterr().err


def test_other_settings_need_another_folder(analysed, cut, capsys):
    folder, _ = analysed
    assert run(["analyze", str(cut), "--out", str(folder), "--threshold", "0.9"]) == 6
    assert "spotting" in capsys.readouterr().err


def test_a_folder_that_is_no_run_stays_untouched(cut, tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine")
    assert run(["analyze", str(cut), "--out", str(tmp_path)]) == 6
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
    assert "holds no run" in capsys.readouterr().err


def test_a_bad_recording_does_not_keep_the_others(models, tmp_path, capsys):
    (tmp_path / "bad.mp4").write_text("no video")
    good = make_video(tmp_path / "good.mp4", frames=10)
    out = tmp_path / "run"
    assert run(["analyze", str(tmp_path / "bad.mp4"), str(good), "--out", str(out)]) == 3
    err = capsys.readouterr().err.splitlines()
    assert err[0].startswith(f"mellm: error: {tmp_path / 'bad.mp4'}: not a video")
    assert err[1] == f"mellm: warning: {good}: no face was seen in 10 frames"
    assert err[2].startswith("0 expressions; ")
    states = {k: s["state"] for k, s in json.loads((out / "run.json").read_text())["sources"].items()}
    assert states == {"bad": "failed", "good": "done"}


def test_a_recording_that_ends_early_says_so_and_is_analysed(cut, models, tmp_path, capsys):
    short = tmp_path / "short.mkv"
    whole = make_video(tmp_path / "whole.mkv", frames=60)
    short.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.6)])
    assert run(["analyze", str(short), "--out", str(tmp_path / "run")]) == 0
    err = capsys.readouterr().err
    assert f"mellm: warning: {short}: " in err
    source = json.loads((tmp_path / "run" / "run.json").read_text())["sources"]["short"]
    assert source["ended_early"]
    assert 0 < source["counts"]["analysed"] < 60


@pytest.mark.parametrize("uri", ["synthetic:?seconds=0"])
def test_what_never_ends_is_no_recording(uri, models, tmp_path, capsys):
    assert run(["analyze", uri, "--out", str(tmp_path / "run")]) == 3
    assert "mellm watch" in capsys.readouterr().err


def test_an_image_folder_has_the_rate_that_is_given(models, tmp_path, capsys):
    from tests.stream.videos import jpeg

    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(12):
        (folder / f"img{number}.jpg").write_bytes(jpeg(number))
    assert run(["analyze", str(folder), "--fps", "100", "--out", str(tmp_path / "run")]) == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["sources"]["pictures"]["media_s"] == pytest.approx(0.11)


def test_a_reader_that_leaves_ends_the_run_and_it_can_go_on(analysed, cut, tmp_path):
    """As ``mellm analyze … | head -0`` does."""
    out, later = tmp_path / "run", tmp_path / "later.mp4"
    shutil.copy(cut, later)  # something is left to do when the first expression has its words
    with start(
        "analyze", cut, later, "--out", out, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        err = process.stderr.read()
    assert (process.returncode, err) == (0, b"")
    assert "later" not in json.loads((out / "run.json").read_text())["sources"]
    assert run(["analyze", str(cut), str(later), "--out", str(out)]) == 0

    def results(folder: Path) -> list[dict]:
        found = [record for record in lines(folder / "expressions.jsonl") if record["source"] == "cut"]
        for record in found:
            if record["description"]:
                record["description"].pop("latency_ms")
        return found

    assert results(out) == results(analysed[0])


def test_an_interruption_says_how_to_go_on(models, tmp_path):
    out = tmp_path / "run"
    with start("analyze", "synthetic:?seconds=900", "--out", out, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + PATIENCE_S
        while not (out / "run.json").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        err = process.stderr.read().decode()
    assert process.returncode == 130
    assert err == f"\nmellm: interrupted; the same command continues in {out}\n"


OFFLINE = """
import sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.bind", "socket.sendto"):
        raise SystemExit(f"the network was used: {event} {arguments}")
sys.addaudithook(watch)
from mellm.clients.cli import run
sys.exit(run(sys.argv[1:]))
"""


def test_the_embedded_default_uses_no_network_and_stores_no_frames(cut, models, tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-c", OFFLINE, "analyze", str(cut), "--out", str(out), "--no-evidence"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, cwd=REPO)
    assert done.returncode == 0, done.stderr
    assert "AU" in done.stdout
    kept = {"events.jsonl", "expressions.jsonl", "run.json", "scores/cut.jsonl"}
    assert {str(file.relative_to(out)) for file in out.rglob("*") if file.is_file()} == kept


def test_results_for_people(analysed, cut, tmp_path, capsys):
    """Resumed after the source's own record was lost, so that only the answers are known."""
    out = tmp_path / "run"
    shutil.copytree(analysed[0], out)
    state = json.loads((out / "run.json").read_text())
    state["sources"], state["sizes"] = {}, {"events.jsonl": 0, "expressions.jsonl": 0}
    (out / "run.json").write_text(json.dumps(state))
    assert run(["analyze", str(cut), "--out", str(out)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(lines(analysed[0] / "expressions.jsonl"))
    assert any(line.startswith("00:00.") and "AU" in line for line in printed)


def test_a_run_without_any_answer_says_so_and_fails_but_keeps_what_was_spotted(
    cut, models, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        api, "PATIENCE_S", 1.0
    )  # of a recording's describer: nobody is there, and that is the point
    nobody = ("--describer", "openai", "--base-url", "http://127.0.0.1:9/v1", "--model", "m")
    short = tmp_path / "short.toml"
    short.write_text("[describer]\ndeadline_s = 1.0\ntimeout_s = 1.0\n")
    done = here("analyze", cut, "--out", tmp_path / "run", *nobody, "--config", short)
    found = lines(tmp_path / "run" / "expressions.jsonl")
    assert found
    assert {(r["state"], r["reason"]) for r in found} <= {
        ("dropped", "describer_unavailable"),
        ("dropped", "describer_paused"),
    }
    assert done.code == 5
    assert f"{len(found)} of {len(found)} expression without a description" in done.err


def test_a_stand_in_answers_and_every_line_says_so(cut, models, tmp_path):
    nobody = ("--describer", "openai", "--base-url", "http://127.0.0.1:9/v1", "--model", "m")
    done = here("analyze", cut, "--out", tmp_path / "run", *nobody, "--fallback", "rules")
    found = [r for r in lines(tmp_path / "run" / "expressions.jsonl") if r["description"]]
    assert done.code == 0
    assert found
    assert all(r["description"]["fallback"]["model"] == "m" for r in found)
    assert all(r["description"]["model"].startswith("rules") for r in found)
