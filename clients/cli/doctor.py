"""``mellm doctor``: what is installed, what is missing, and what to do about it."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import asdict
from importlib.metadata import distributions
from typing import TYPE_CHECKING, Any

import click

from mellm.clients.cli.checkup import Finding, check_server
from mellm.clients.cli.common import bus_options, bus_settings, json_flag
from mellm.stream.errors import BusError, MellmError

if TYPE_CHECKING:
    from mellm.detectors.onnx import Device

CV2_WHEELS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)


@click.command()
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "tensorrt"]),
    default="auto",
    help="Device to check [auto].",
)
@click.option("--server", "url", metavar="URL", help="Check a running server instead: health and accounts.")
@click.option(
    "--token-env",
    default="MELLM_TOKEN",
    metavar="NAME",
    help="Variable that holds the server's token [MELLM_TOKEN].",
)
@click.option(
    "--config",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Say whether this machine carries the sources of this configuration, too.",
)
@bus_options
@json_flag
def doctor(
    device: Device, url: str | None, token_env: str, config: str | None, as_json: bool, **flags: Any
) -> int:
    """Check libraries, models and devices, or a running server, or with --bus the broker and all nodes there.

    Exit code 4 when something is broken.
    """
    if flags["bus"] is not None:
        found = asyncio.run(_bus(bus_settings(flags)))
    elif url is not None:
        found = check_server(url, os.environ.get(token_env) or None)
    else:
        found = [*_libraries(), *_models(), _provider(device)]
        found += [] if config is None else [_sources(config)]
    if as_json:
        for finding in found:
            click.echo(json.dumps(asdict(finding), ensure_ascii=False))
    else:
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        table = Table(box=None, show_header=False, pad_edge=False)
        colours = {"ok": "green", "warning": "yellow", "error": "red"}
        for finding in found:
            table.add_row(
                escape(finding.what), f"[{colours[finding.state]}]{finding.state}[/]", escape(finding.said)
            )
        Console().print(table)
    return 4 if any(finding.state == "error" for finding in found) else 0


async def _bus(given: dict[str, Any]) -> list[Finding]:
    from mellm.engine.bus import open_bus
    from mellm.engine.config import load
    from mellm.engine.roles.checkup import examine
    from mellm.engine.roles.start import bus_options

    bus = open_bus(bus_options(load(None, given)))
    found = []
    try:
        await bus.open()
        found = [Finding(each.what, each.state, each.said) async for each in examine(bus)]
    except BusError as error:
        found.append(Finding("broker", "error", str(error)))
    finally:
        await bus.close()
    return found


def _libraries() -> list[Finding]:
    from mellm.engine.provenance import machine, versions

    facts: dict[str, Any] = versions()
    installed = {d.metadata["Name"].lower() for d in distributions() if d.metadata["Name"]}
    wheels = [name for name in CV2_WHEELS if name in installed]
    runtimes = [name for name in ("onnxruntime", "onnxruntime-gpu") if name in installed]
    found = [Finding("mellm-live", "ok", f"{facts['mellm']} on Python {facts['python']}, {machine(facts)}")]
    found += [Finding(name, "ok", version) for name, version in facts["libraries"].items()]
    if len(wheels) != 1:
        said = f"{', '.join(wheels) or 'none'}: keep opencv-contrib-python-headless alone (pip uninstall the others)"
        found.append(Finding("cv2 wheels", "error", said))
    if len(runtimes) != 1:
        said = f"{', '.join(runtimes) or 'none'}: install exactly one, pip install 'mellm-live[cpu]' or [gpu]"
        found.append(Finding("onnxruntime", "error", said))
    return found


def _models() -> list[Finding]:
    from mellm.detectors.weights import store as weights

    return [
        Finding(
            f"model {row.name}",
            "ok" if row.state == "ok" else "warning" if row.state == "fallback" else "error",
            row.source if row.state == "ok" else f"{row.state}: {row.source}; run `mellm models pull`",
        )
        for row in weights.verify()
    ]


def _sources(config: str) -> Finding:
    from mellm.engine.analysis import plan
    from mellm.engine.config import load

    try:
        settings = load(config)
    except MellmError as error:
        return Finding("sources", "error", str(error))
    known = plan.kept(os.cpu_count() or 1)
    if known is None:
        return Finding("sources", "warning", "not known what this machine carries: run `mellm bench --plan`")
    if (said := plan.too_much(settings, known)) is not None:
        return Finding("sources", "warning", said)
    return Finding("sources", "ok", f"{len(settings.sources)} fit; measured {known.date}: {known.sentence}")


def _provider(device: Device) -> Finding:
    from mellm.detectors.spotting import OnnxStepModel

    try:
        return Finding("device", "ok", f"{device}: {OnnxStepModel(device=device).provider}")
    except MellmError as error:
        return Finding("device", "error", str(error))
