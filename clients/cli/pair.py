"""``mellm flowmap`` and ``mellm describe``: one onset–apex pair of pictures."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mellm.clients.cli.common import describing_flags, json_flag, settings_from, spoken
from mellm.stream.errors import UsageError

if TYPE_CHECKING:
    from mellm.engine.describe.base import Recipe
    from mellm.engine.evidence.picture_pair import PicturePair
    from mellm.engine.types import State

RECIPES = ("live", "mellm-v1", "mellm-v3")


def point(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, float] | None:
    """``X,Y`` as two finite numbers."""
    if value is None:
        return None
    try:
        x, y = (float(part) for part in value.split(","))
    except ValueError:
        x = y = math.nan
    if not (math.isfinite(x) and math.isfinite(y)):
        raise click.BadParameter(
            f"{value!r} is not X,Y; write it as 164,172, in pixels from the upper left", ctx, param
        )
    return x, y


@click.command()
@click.argument("onset")
@click.argument("apex")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="PNG file to write.")
@click.option(
    "--recipe",
    type=click.Choice(RECIPES),
    default="live",
    show_default=True,
    help="live: absolute scale, head motion fitted. mellm-v1: as published. mellm-v3: 29 regions.",
)
@click.option(
    "--nose",
    callback=point,
    metavar="X,Y",
    help="Nose tip in pixels; then no face is needed and none is searched.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "tensorrt"]),
    default="auto",
    help="Where networks run [auto].",
)
@json_flag
def flowmap(
    onset: str,
    apex: str,
    out: Path,
    recipe: Recipe,
    nose: tuple[float, float] | None,
    device: str,
    as_json: bool,
) -> None:
    """Draw what moved between the pictures ONSET and APEX (png, jpg, bmp, webp, tif, pgm, ppm).

    With --json, the region table and the flow's statistics go to standard output as one JSON object.
    """
    from mellm.engine.evidence.picture_pair import pair_evidence

    if out.suffix.lower() != ".png":
        raise UsageError(f"{out}: motion maps are written as PNG", remedy="name a file that ends in .png")
    found = pair_evidence(onset, apex, recipe, nose=nose, device=device)
    _write(out, found)
    report = _report(onset, apex, found)
    if as_json:
        click.echo(json.dumps({**report, "out": str(out)}, ensure_ascii=False))
        return
    stats = found.evidence.flow_stats
    peak = f", strongest region {stats['peak_iod']:.2f} % of the eye distance" if "peak_iod" in stats else ""
    click.echo(f"{out}: {recipe}, flow up to {stats['peak_px']:.2f} px{peak}", err=True)
    for remark in _remarks(found):
        click.echo(f"mellm: warning: {remark}", err=True)


@click.command()
@click.argument("onset")
@click.argument("apex")
@json_flag
@describing_flags
def describe(onset: str, apex: str, as_json: bool, **flags: Any) -> None:
    """Describe what moved between the pictures ONSET and APEX: action units, coarse emotion, a sentence."""
    from mellm.engine.analysis.pipeline_factory import describer_of
    from mellm.engine.describe import DescribeContext
    from mellm.engine.describe.retry import ask
    from mellm.engine.evidence.picture_pair import pair_evidence
    from mellm.engine.results.expressions import DISCLAIMER, description_json

    settings = settings_from(flags, purpose="self-use")
    describer = describer_of(settings)
    try:
        found = pair_evidence(onset, apex, describer.recipe, device=settings.faces.device)
        refused = found.evidence.refused or _below_floor(found)
        context = DescribeContext(deadline_s=max(settings.describer.deadline_s, settings.describer.timeout_s))
        answer = None if refused else ask(describer, found.evidence, context)
    finally:
        describer.close()
    reason = refused or (answer.abstained if answer else None)
    state: State = "abstained" if reason else "described"
    record = {
        **_report(onset, apex, found),
        "state": state,
        "reason": reason,
        "description": None if answer is None else description_json(answer),
    }
    if as_json:
        click.echo(json.dumps({**record, "notice": DISCLAIMER}, ensure_ascii=False))
    else:
        click.echo(spoken(state, reason, answer))


def _report(onset: str, apex: str, found: PicturePair) -> dict[str, Any]:
    """What JSON says of a pair: face, flow statistics, region table."""
    from mellm.engine.results.expressions import quality_json

    evidence = found.evidence
    return {
        "onset": onset,
        "apex": apex,
        "recipe": evidence.recipe,
        "size": list(found.size),
        "face": None if found.face is None else [round(v, 1) for v in found.face.box],
        "quality": None if found.quality is None else quality_json(found.quality),
        "refused": evidence.refused,
        "flow": {name: round(value, 4) for name, value in evidence.flow_stats.items()},
        "regions": [
            {k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(row).items()}
            for row in evidence.regions
        ],
    }


def _below_floor(found: PicturePair) -> str | None:
    """Reason why this face is too small or turned too far to be described."""
    quality = found.quality
    return quality.reasons[0] if quality is not None and quality.verdict == "refused" else None


def _remarks(found: PicturePair) -> list[str]:
    from mellm.engine.results.reasons import reason as said

    reasons = (found.evidence.refused, _below_floor(found))
    return [said(code) for code in reasons if code is not None]


def _write(out: Path, found: PicturePair) -> None:
    import cv2

    _, png = cv2.imencode(".png", found.evidence.motion_map)
    try:
        out.write_bytes(png.tobytes())
    except OSError as error:
        raise UsageError(
            f"{out}: cannot be written ({error.strerror})", remedy="name another file with -o"
        ) from error
