"""``mellm train sensitivity``: how small a motion the spotter finds, written beside its network."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from mellm.detectors.sensitivity import BARS
from mellm.detectors.stepmodel import SHIPPED, OnnxStepModel
from mellm.stream import files
from mellm.stream.errors import ModelMissing, SourceEmpty
from mellm.training.spotter import records, reported, sensitivity
from mellm.training.spotter.records import Record
from mellm.training.spotter.sensitivity import Judge, Row, Trial
from mellm.training.spotter.windows import BatchedNetwork

_PATH = click.Path(path_type=Path)
ROOT = Path("runs/spotting-sets")
CLEAN = ("free", "val-free")
STILL = ("stills", "val-stills")
PIXELS = ("talking", "val-talking")


@click.command(context_settings={"show_default": True})
@click.option("--model", type=_PATH, default=SHIPPED, help="The spotter (.onnx, its .json beside it).")
@click.option("--folds", type=_PATH, help="Folder of fold-A.onnx …: people of a fold are judged by it.")
@click.option("--root", type=_PATH, default=ROOT, help="Folder of measured sets.")
@click.option(
    "--leave-out", multiple=True, metavar="FILE", help="A recording that the network was trained on."
)
@click.option(
    "--rounds", default=3, type=click.IntRange(1), help="Times that expressions are laid on each record."
)
@click.option(
    "--pixels",
    "clips",
    default=0,
    type=click.IntRange(0),
    help="Clips on whose pixels expressions of the reported size are laid, as a check (10 s of processor time each).",
)
@click.option("--seed", default=1, help="Of the expressions.")
@click.option("--out", type=_PATH, help="Write the tables there as JSON, and beside it as Markdown.")
@click.option("--dry-run", is_flag=True, help="Measure and print; leave the spotter's record as it is.")
def command(
    model: Path,
    folds: Path | None,
    root: Path,
    leave_out: tuple[str, ...],
    rounds: int,
    clips: int,
    seed: int,
    out: Path | None,
    dry_run: bool,
) -> None:
    """Fit how small a motion the spotter would have found, and check it on people in no training.

    Uses the measured sets free, val-free, stills and val-stills, and the pixel-level sets talking and val-talking where
    they are there (`python -m mellm.training.spotter.sets NAME` makes them). Run it again whenever the network changes:
    the coefficients of another network are refused. A few minutes of processor time.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    step_model = OnnxStepModel(model, with_sensitivity=False)
    parts: dict[str, OnnxStepModel] = {}
    for path in sorted(folds.glob("fold-*.onnx")) if folds else ():
        parts[path.stem.removeprefix("fold-")] = OnnxStepModel(path, with_sensitivity=False)
    if folds is not None and not parts:
        raise ModelMissing(f"no fold-*.onnx in {folds}", remedy="train them with `mellm train spotter`")
    judge = Judge(
        BatchedNetwork(step_model, step_model.path),
        {name: BatchedNetwork(part, part.path, step_model.threshold) for name, part in parts.items()},
    )
    clean = _load(root, CLEAN, leave_out)
    still = [r for r in _load(root, STILL, ()) if "silent" in r.groups]
    if not clean:
        raise SourceEmpty(
            f"no measured recordings in {root}", remedy="python -m mellm.training.spotter.sets free val-free"
        )
    everyone = [*clean, *still]
    tell = _teller()
    trials = sensitivity.collect(
        everyone, judge, sensitivity.random_size(seed), rounds=rounds, seed=seed, progress=tell, stage="fit"
    )
    by_file = {str(r.facts.get("file")): r for r in clean}
    pixels = sensitivity.on_pixels(_load(root, PIXELS, leave_out), by_file, judge, tell)
    models = sensitivity.cross_fit(trials, pixels)
    final = sensitivity.recalibrate(sensitivity.fit(trials), pixels)
    checked = sensitivity.collect(
        everyone,
        judge,
        sensitivity.reported_size(models),
        rounds=rounds,
        seed=seed + 1000,
        progress=tell,
        stage="check",
    )
    filmed = (
        reported.build(
            clean, judge, models, root / f"reported-{step_model.sha256[:8]}-{seed}", clips=clips, seed=seed
        )
        if clips
        else []
    )
    on_them = sensitivity.on_pixels(filmed, by_file, judge, tell)
    alarms = sensitivity.false_alarms(
        clean, judge, lambda r: parts.get(str(r.facts.get("fold")), step_model), models, BARS[-1]
    )
    record = {
        **final.to_record(step_model.sha256),
        "fitted": {
            "command": "mellm train sensitivity",
            "date": datetime.now(UTC).date().isoformat(),
            "people": len({r.subject for r in everyone}),
            "expressions": len(trials),
            "on_pixels": len(pixels),
        },
    }
    report = _report(trials, checked, pixels, models, set(parts))
    if on_them:
        report["reliability"]["laid on pixels"] = _plain(
            sensitivity.reliability(on_them, lambda trial: trial.motion)
        )
    measured = _alarms(alarms, clean)
    _show(report, measured)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        whole = {"sensitivity": record, "false_alarms": measured, **report}
        out.write_text(json.dumps(whole, indent=1) + "\n")
        out.with_suffix(".md").write_text(_markdown(report["reliability"], measured))
    if not dry_run:
        path = model.with_suffix(".json")
        card = json.loads(path.read_text(encoding="utf-8"))
        card |= {"sensitivity": record, "false_alarms": measured}
        files.write(path, json.dumps(card, indent=2) + "\n", durable=True)
        click.echo(f"wrote {path}", err=True)


def _load(root: Path, names: tuple[str, ...], leave_out: tuple[str, ...]) -> list[Record]:
    paths = [p for name in names for p in sorted((root / name).glob("[!.]*.npz"))]
    found = [records.load(path) for path in paths]
    return [r for r in found if r.facts.get("file") not in leave_out and r.facts.get("fold") != ""]


def _report(
    trials: list[Trial],
    checked: list[Trial],
    pixels: list[Trial],
    models: dict[str, Any],
    folds: set[str],
) -> dict[str, Any]:
    """All tables, plain.

    :param folds: those whose people were judged by a network of their own
    """

    def reported(trial: Trial) -> float | None:
        return float(models[trial.fold].half(trial.half).smallest(trial.context))

    def reported_before(trial: Trial) -> float | None:
        return (
            None
            if trial.before is None
            else float(models[trial.fold].half(trial.half).smallest(trial.before))
        )

    def near(trial: Trial) -> float | None:
        """Pixel-level trials have the size they have: those within a quarter of what was reported to be findable."""
        value = reported(trial)
        return value if value is not None and abs(trial.motion / value - 1) <= 0.25 else None

    tables: dict[str, Any] = {"all": _plain(sensitivity.reliability(checked, reported))}
    for half in ("upper", "lower"):
        tables[half] = _plain(sensitivity.reliability([t for t in checked if t.half == half], reported))
    for group in sorted({t.group for t in checked}):
        tables[group] = _plain(sensitivity.reliability([t for t in checked if t.group == group], reported))
    if folds:
        own = [t for t in checked if t.fold not in folds]
        tables["by the main network"] = _plain(sensitivity.reliability(own, reported))
    tables["before the onset"] = _plain(sensitivity.reliability(checked, reported_before))
    if pixels:
        tables["pixels"] = _plain(sensitivity.reliability(pixels, near))
        tables["pixels_predicted"] = sensitivity.predicted(pixels, models)
    tables["signals_predicted"] = sensitivity.predicted(trials, models)
    return {"reliability": tables}


def _plain(rows: list[Row]) -> list[dict[str, Any]]:
    return [
        {
            "said": r.reported,
            "laid": r.laid,
            "found": r.found,
            "people": r.people,
            "share": round(r.share, 3) if r.laid else None,
            "interval": [round(v, 3) for v in r.interval],
        }
        for r in [*rows, sensitivity.total(rows)]
    ]


def _alarms(found: dict[str, tuple[int, float]], clean: list[Record]) -> dict[str, Any]:
    """False alarms with the 95 % interval of a Poisson rate."""
    from scipy.stats import chi2

    out: dict[str, Any] = {"people": len({r.subject for r in clean}), "bar": BARS[-1]}
    for name, (count, minutes) in found.items():
        low = chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
        high = chi2.ppf(0.975, 2 * (count + 1)) / 2
        rates = [round(float(v) / minutes, 2) if minutes else None for v in (count, low, high)]
        out[name] = {
            "count": count,
            "minutes": round(minutes, 2),
            "per_minute": rates[0],
            "interval": rates[1:],
        }
    return out


def _show(report: dict[str, Any], alarms: dict[str, Any]) -> None:
    for name, rows in report["reliability"].items():
        click.echo(f"\n{name}")
        for row in rows:
            low, high = row["said"]
            share = (
                "–"
                if row["share"] is None
                else f"{row['share']:.2f} [{row['interval'][0]:.2f}, {row['interval'][1]:.2f}]"
            )
            click.echo(
                f"  {low:g}–{high:g}: {share}  ({row['found']} of {row['laid']}, {row['people']} people)"
            )
    click.echo(f"\nfalse alarms: {json.dumps(alarms)}")


def _markdown(tables: dict[str, list[dict[str, Any]]], alarms: dict[str, Any]) -> str:
    """The tables of docs/results/judgeable-time.md."""

    def cell(row: dict[str, Any]) -> str:
        if not row["laid"]:
            return "–"
        low, high = row["interval"]
        return f"{row['share']:.2f} [{low:.2f}, {high:.2f}] ({row['laid']})"

    parts = ["all", "upper", "lower", *(n for n in ("talking", "acting", "silent", "other") if n in tables)]
    lines = [f"| reported to be found with 80 % | {' | '.join(parts)} |", "|---" * (len(parts) + 1) + "|"]
    for k, row in enumerate(tables["all"]):
        last = k == len(tables["all"]) - 1
        reported = "**all**" if last else f"{row['said'][0]:g}–{row['said'][1]:g} %"
        lines.append(f"| {reported} | {' | '.join(cell(tables[part][k]) for part in parts)} |")
    for name in (
        "by the main network",
        "before the onset",
        "pixels",
        "laid on pixels",
        "signals_predicted",
        "pixels_predicted",
    ):
        if name in tables:
            lines += ["", f"{name}:", "", "| reported | share found | people |", "|---|---|---|"]
            lines += [
                f"| {r['said'][0]:g}–{r['said'][1]:g} | {cell(r)} | {r['people']} |" for r in tables[name]
            ]
    for name in ("face", "judged"):
        part = alarms[name]
        low, high = part["interval"]
        lines += [
            "",
            f"False alarms, {name} time: {part['count']} in {part['minutes']} minutes: {part['per_minute']} a "
            f"minute [{low}, {high}], {alarms['people']} people.",
        ]
    return "\n".join(lines) + "\n"


def _teller() -> sensitivity.Progress:
    shown: dict[str, int] = {}

    def tell(stage: str, done: int, total: int) -> None:
        tenth = 10 * done // max(1, total)
        if shown.get(stage) != tenth:
            shown[stage] = tenth
            click.echo(f"{stage}: {done}/{total}", err=True)

    return tell
