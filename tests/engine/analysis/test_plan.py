"""Plans of machines that are made up: how many cameras they carry is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from mellm.clients.cli.doctor import doctor
from mellm.engine.analysis import plan
from mellm.engine.config import validated


@dataclass
class Machine:
    """Loses frames as soon as it is asked for more than it has.

    :param costs: frames a second → processors that one camera takes
    :param slack: what a camera takes more, where there are several
    """

    processors: float
    costs: dict[int, float]
    slack: float = 0.0

    def __post_init__(self) -> None:
        self.trials: list[tuple[int, int]] = []

    def play(self, fps: int, cameras: int) -> Trial:
        self.trials.append((fps, cameras))
        wanted = cameras * (self.costs[fps] + self.slack * (cameras - 1))
        captured = 5 * fps * cameras
        over = wanted > self.processors
        return Trial(
            captured, captured // 3 if over else 0, 900.0 if over else 330.0, min(wanted, self.processors)
        )


@dataclass
class Trial:
    captured: int
    lost: int
    score_p95_ms: float
    cpu_share: float


def planned(machine: Machine) -> plan.Plan:
    return plan.measure(machine.play, processors=2, load=0.1, date="2026-11-29")


def test_what_one_camera_takes_says_how_many_are_tried() -> None:
    machine = Machine(2.0, {30: 0.4, 50: 0.6, 200: 0.9})
    found = planned(machine)
    assert [each.cameras for each in found.carried] == [4, 3, 2]
    assert machine.trials == [(30, 1), (30, 4), (50, 1), (50, 3), (200, 1), (200, 2)]
    assert found.sentence == (
        "This machine carries 4 cameras at 30 frames a second of 640×480 with one face each; "
        "or 3 cameras at 50 frames; or 2 cameras at 200 frames."
    )


def test_cameras_that_are_in_each_others_way_are_fewer() -> None:
    machine = Machine(2.0, {30: 0.4, 50: 0.9, 200: 3.0}, slack=0.1)
    found = planned(machine)
    assert [each.cameras for each in found.carried] == [3, 2, 0]
    assert machine.trials[:3] == [(30, 1), (30, 4), (30, 3)]
    assert found.carried[0].lost == 0
    assert found.carried[2].lost > 0
    assert "or no camera at 200 frames" in found.sentence


def settings(*sources: dict[str, object]) -> plan.Settings:
    named = [{"id": f"cam{i}", "uri": "rtsp://camera/1", **each} for i, each in enumerate(sources)]
    return validated({"purpose": "research", "sources": named})


@pytest.mark.parametrize(
    ("sources", "fits"),
    [
        ([{}] * 4, True),
        ([{}] * 5, False),
        ([{"fps": 50}] * 3, True),
        ([{"fps": 50}, {"fps": 50}, {}, {}], False),
        ([{"fps": 120}] * 2, True),
        ([{"fps": 200}, {"fps": 200}, {}], False),
        ([], True),
    ],
)
def test_a_configuration_that_asks_for_more_is_told(sources: list[dict[str, object]], fits: bool) -> None:
    found = planned(Machine(2.0, {30: 0.4, 50: 0.6, 200: 0.9}))
    said = plan.too_much(settings(*sources), found)
    assert (said is None) == fits


def test_the_source_that_goes_first_is_named() -> None:
    found = planned(Machine(2.0, {30: 0.9, 50: 0.9, 200: 0.9}))
    said = plan.too_much(settings({}, {"priority": -1}, {}, {}), found)
    assert said is not None
    assert "4 sources need 2.0 times what fits" in said
    assert "cam1 is set aside first - " in said
    assert "cam3 is set aside first" in str(plan.too_much(settings({}, {}, {}, {}), found))


def test_the_doctor_knows_the_last_plan_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MELLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    config = tmp_path / "mellm.toml"
    config.write_text(
        'purpose = "research"\n'
        + "".join(f'[[sources]]\nid = "c{i}"\nuri = "rtsp://c/{i}"\n' for i in range(5))
    )

    def said() -> str:
        done = CliRunner().invoke(doctor, ["--config", str(config), "--json"])
        (line,) = [line for line in done.output.splitlines() if '"sources"' in line]
        return line

    assert "run `mellm bench --plan`" in said()
    plan.keep(planned(Machine(2.0, {30: 0.4, 50: 0.6, 200: 0.9})))
    assert '"warning"' in said()
    assert "5 sources need 1.2 times what fits" in said()
    plan.keep(planned(Machine(2.0, {30: 0.3, 50: 0.6, 200: 0.9})))
    assert '"ok"' in said()
    plan.path().write_text("{}")
    assert "run `mellm bench --plan`" in said()
    config.write_text("sources = 3\n")
    assert '"error"' in said()
