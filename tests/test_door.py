"""What a program of its own imports: ``mellm`` and nothing below it."""

from __future__ import annotations

import ast
import asyncio
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mellm
from mellm.clients.cli import run as command
from mellm.detectors.analyzer import FakeFaceAnalyzer
from mellm.detectors.stepmodel import SHIPPED
from mellm.engine.analysis import pipeline_factory
from mellm.engine.describe.scripted import DEFAULT
from mellm.stream.errors import ConfigError, ModelMissing, PurposeRefused, SourceNotFound, UsageError
from tests import REPO
from tests.engine.moving import FOUND, SIZE, frames, sheet, video


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return video(tmp_path_factory.mktemp("video") / "clip.mp4")


@pytest.fixture(autouse=True)
def face(monkeypatch: pytest.MonkeyPatch) -> None:
    """A face that is always there, so that no face networks are needed."""
    landmarks = sheet().landmarks()
    monkeypatch.setattr(FakeFaceAnalyzer, "providers", {}, raising=False)
    monkeypatch.setattr(
        pipeline_factory, "FaceAnalyzer", lambda options: FakeFaceAnalyzer(lambda frame: landmarks)
    )


def test_import_loads_nothing_heavy() -> None:
    code = (
        "import sys, mellm; "
        "heavy = {'numpy', 'cv2', 'av', 'onnxruntime', 'pydantic', 'websockets', 'click'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_imports_change_no_environment() -> None:
    code = (
        "import os, pkgutil, importlib, cv2, onnxruntime, mellm; before = dict(os.environ)  # libraries do\n"
        "for room in ('stream', 'detectors', 'engine', 'clients'):\n"
        "    home = importlib.import_module(f'mellm.{room}')\n"
        "    for module in pkgutil.walk_packages(home.__path__, f'mellm.{room}.'):\n"
        "        if not module.name.endswith('__main__'): importlib.import_module(module.name)\n"
        "changed = {k for k in {*before, *os.environ} if before.get(k) != os.environ.get(k)}\n"
        "assert not changed, changed"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_name_is_there_and_no_other() -> None:
    assert list(mellm.__all__) == sorted(mellm.__all__)
    for name in mellm.__all__:
        assert getattr(mellm, name) is not None
    assert set(mellm.__all__) <= set(dir(mellm))
    with pytest.raises(AttributeError, match="no attribute 'analyse'"):
        mellm.analyse  # type: ignore[attr-defined]


class TestAnalyze:
    def test_yields_typed_records_and_leaves_nothing(
        self, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        describer = mellm.ScriptedDescriber()
        found = list(mellm.analyze(recording, describer=describer, spotter=mellm.FakeStepModel()))
        assert len(found) == FOUND
        assert all(isinstance(x, mellm.ExpressionRecord) and x.text == DEFAULT.text for x in found)
        assert [x.apex_ns for x in found] == sorted(x.apex_ns for x in found)
        assert not list(tmp_path.iterdir())
        assert not describer.closed, "who made it closes it"

    def test_a_folder_is_gone_on_in_and_yields_what_is_there(self, recording: Path, tmp_path: Path) -> None:
        out = tmp_path / "run"
        more: dict[str, Any] = {"out": out, "spotter": mellm.FakeStepModel()}
        first = list(mellm.analyze([recording], describer=mellm.ScriptedDescriber(), **more))
        again = mellm.ScriptedDescriber()
        second = list(mellm.analyze(str(recording), describer=again, **more))
        assert [x.to_json() for x in second] == [x.to_json() for x in first]
        assert not again.calls
        assert {"run.json", "events.jsonl", "expressions.jsonl", "evidence"} <= {
            p.name for p in out.iterdir()
        }

    def test_a_broken_source_is_raised_after_the_results_of_the_others(self, recording: Path) -> None:
        found: list[mellm.ExpressionRecord] = []
        steps = mellm.analyze(
            ["nope.mp4", recording], describer=mellm.ScriptedDescriber(), spotter=mellm.FakeStepModel()
        )
        with pytest.raises(SourceNotFound, match="nope"):
            found.extend(steps)
        assert len(found) == FOUND

    def test_who_stops_early_leaves_nothing_running(self, recording: Path) -> None:
        before = _threads()
        steps = mellm.analyze(recording, describer=mellm.ScriptedDescriber(), spotter=mellm.FakeStepModel())
        assert next(steps).source == "clip"
        assert _threads() > before
        steps.close()  # type: ignore[attr-defined]
        assert _threads() == before

    def test_names_are_those_of_the_command_line(self, recording: Path) -> None:
        with pytest.raises(
            ConfigError, match=r"there is no describer 'nobody'; there are ensemble, nano, rules"
        ):
            mellm.analyze(recording, describer="nobody")
        with pytest.raises(ModelMissing, match=r"none\.onnx"):
            list(mellm.analyze(recording, describer="rules", spotter="none.onnx"))
        with pytest.raises(UsageError, match="no spotter 'nobody'"):
            list(mellm.analyze(recording, describer="rules", spotter="nobody"))


class TestPipeline:
    def test_frames_in_expressions_out(self) -> None:
        found: list[mellm.ExpressionRecord] = []
        with mellm.Pipeline(describer=mellm.ScriptedDescriber(), spotter=mellm.FakeStepModel()) as pipeline:
            for frame in frames():
                found += pipeline.push(frame.image, frame.pts_ns)
            found += pipeline.finish()
        assert len(found) == FOUND
        assert {x.state for x in found} == {"described"}
        assert {x.source for x in found} == {"frames"}

    def test_nothing_is_found_across_a_segment(self) -> None:
        with mellm.Pipeline(describer=mellm.ScriptedDescriber(), spotter=mellm.FakeStepModel()) as pipeline:
            segments = [
                x.segment
                for frame in frames()
                for x in pipeline.push(frame.image, frame.pts_ns, segment=int(frame.pts_ns > 1.6e9))
            ]
            segments += [x.segment for x in pipeline.finish()]
        assert sorted(segments) == [0, 0, 1, 1]

    def test_frames_that_cannot_be_taken_are_refused(self) -> None:
        image = np.zeros((*SIZE, 3), np.uint8)
        with mellm.Pipeline(describer="rules", spotter=mellm.FakeStepModel()) as pipeline:
            with pytest.raises(UsageError, match=r"H×W×3 uint8 in BGR order, not \(240, 320\)"):
                pipeline.push(image[..., 0], 0)
            with pytest.raises(UsageError, match="float32"):
                pipeline.push(image.astype(np.float32), 0)  # type: ignore[arg-type]
            pipeline.push(image, 20)
            with pytest.raises(UsageError, match="frame 1 is of 20 ns"):
                pipeline.push(image, 20)
            pipeline.push(image, 0, segment=1)


class TestPackages:
    """Describers and spotters of another package."""

    @pytest.fixture(autouse=True)
    def package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        site = tmp_path / "site"
        info = site / "theirs-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(
            "[mellm.describers]\nparrot = theirs:parrot\n[mellm.spotters]\nmover = theirs:mover\n"
        )
        (site / "theirs.py").write_text(
            "import mellm\n\n"
            "def parrot():\n    return mellm.ScriptedDescriber()\n\n"
            "def mover():\n    return mellm.FakeStepModel()\n"
        )
        monkeypatch.syspath_prepend(str(site))
        yield
        sys.modules.pop("theirs", None)

    def test_by_name_from_python(self, recording: Path) -> None:
        found = list(mellm.analyze(recording, describer="parrot", spotter="mover"))
        assert [x.description.model for x in found if x.description] == ["scripted"] * FOUND

    def test_by_name_from_the_command_line(
        self, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "run"
        flags = ["--describer", "parrot", "--spotter", "mover"]
        assert command(["analyze", str(recording), "--out", str(out), *flags]) == 0
        assert capsys.readouterr().out.count("Scripted description.") == FOUND
        models = {m["name"]: m for m in mellm_json(out / "run.json")["facts"]["models"]}
        assert models["spotter"]["file"] == "FakeStepModel"

    def test_an_unknown_name_lists_them(self) -> None:
        with pytest.raises(ConfigError, match="nano, rules, openai, scripted, parrot"):
            mellm.analyze("clip.mp4", describer="parott")
        with pytest.raises(UsageError, match=r"a name that a package brings \(mover\)"):
            mellm.Pipeline(describer="rules", spotter="movr")


class TestOwnModels:
    def test_a_spotter_by_path_is_used_and_written_down(
        self, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for suffix in (".onnx", ".json"):
            shutil.copy(SHIPPED.with_suffix(suffix), tmp_path / f"mine{suffix}")
        out = tmp_path / "run"
        mine = str(tmp_path / "mine.onnx")
        assert (
            command(["analyze", str(recording), "--out", str(out), "--describer", "rules", "--spotter", mine])
            == 0
        )
        state = mellm_json(out / "run.json")
        assert state["settings"]["spotting"]["model"] == mine
        assert [m["file"] for m in state["facts"]["models"] if m["name"] == "spotter"] == ["mine.onnx"]

    def test_a_nano_folder_by_path(self, tmp_path: Path) -> None:
        with pytest.raises(ModelMissing, match=f"nano.json is missing in {tmp_path}"):
            mellm.Pipeline(describer=f"nano:{tmp_path}")
        with pytest.raises(ConfigError, match="a model folder is for nano, not for rules"):
            mellm.Pipeline(describer=f"rules:{tmp_path}")

    @pytest.mark.parametrize(
        ("flags", "said"),
        [
            (["--describer", "nano", "--model", "/some/folder"], "--describer nano:FOLDER"),
            (
                ["--describer", "rules", "--base-url", "http://h/v1"],
                "--base-url does not apply to the describer rules",
            ),
            (["--describer", "nano", "--profile", "nano"], "--profile does not apply to the describer nano"),
            (["--describer", "rules", "--fallback", "rules"], "--fallback rules does not apply"),
            (["--no-faces"], "--no-faces is about the report"),
            (["--markers", "m.csv"], "--markers is about the report"),
        ],
    )
    def test_a_flag_that_does_not_apply_is_an_error(
        self, flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert command(["analyze", "clip.mp4", "--out", "run", *flags]) == 2
        assert said in capsys.readouterr().err


class TestServe:
    async def test_settings_in_server_out(self, recording: Path, tmp_path: Path) -> None:
        file = tmp_path / "mellm.toml"
        file.write_text(SERVED.format(recording=recording))
        settings = mellm.load(file)
        app = mellm.serve(settings)
        with pytest.raises(RuntimeError, match="async with"):
            app.url
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pipeline_factory, "open_spotter", lambda which, device: mellm.FakeStepModel())
            async with asyncio.timeout(60), app as server, mellm.connect(server.url) as session:
                assert server.notice
                kinds = []
                async for event in session.events(types=["expression.*", "source.*"], after="start"):
                    kinds.append(event.type)
                    if event.type == "source.ended":
                        break
                await server.ended()
        assert "source.online" in kinds
        assert "expression.spotted" in kinds

    def test_a_server_needs_a_purpose_and_a_source(self) -> None:
        with pytest.raises(UsageError, match="no source"):
            mellm.serve(mellm.Settings(purpose="self-use"))
        with pytest.raises(PurposeRefused):
            mellm.serve(mellm.Settings.model_validate({"sources": [{"id": "a", "uri": "synthetic:"}]}))


SERVED = """\
purpose = "self-use"
[[sources]]
id = "clip"
uri = "{recording}"
[describer]
kind = "scripted"
[server]
port = 0
journal = ":memory:"
"""

BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)


def blocks() -> list[str]:
    return BLOCK.findall((REPO / "docs" / "how-to" / "python.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("number", range(len(blocks())))
def test_what_the_page_shows_runs_and_is_short(
    number: int,
    recording: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    body = blocks()[number]
    assert len([line for line in body.splitlines() if line.strip() and line != "import mellm"]) <= 6
    monkeypatch.chdir(tmp_path)
    shutil.copy(recording, "clip.mp4")
    Path("mellm.toml").write_text(SERVED.format(recording="clip.mp4"))
    monkeypatch.setattr(pipeline_factory, "open_spotter", lambda which, device: mellm.FakeStepModel())

    def own_frames() -> Iterator[tuple[Any, int]]:
        yield from ((frame.image, frame.pts_ns) for frame in frames())

    names: dict[str, Any] = {"mellm": mellm, "frames": own_frames}
    code = compile(body, "python.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    running = eval(code, names)
    if asyncio.iscoroutine(running):
        asyncio.run(asyncio.wait_for(running, 60))
    if "class Mine" in body:
        found = list(mellm.analyze("clip.mp4", describer=names["Mine"]()))
        assert [x.text for x in found] == ["31 regions"] * FOUND
    else:
        assert capsys.readouterr().out.strip()


def mellm_json(path: Path) -> dict[str, Any]:
    import json

    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _threads() -> set[str]:
    import threading

    return {thread.name for thread in threading.enumerate() if thread.name.startswith("mellm-describe")}
