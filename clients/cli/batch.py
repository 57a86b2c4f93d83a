"""``mellm submit`` and ``mellm worker``: many recordings over several machines."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from mellm.clients.cli.common import (
    bus_options,
    bus_settings,
    counted,
    json_flag,
    settings_flags,
    settings_from,
)
from mellm.stream.errors import MellmError, SourceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mellm.engine.config import Settings
    from mellm.engine.roles.batch import Job, Progress

POLL_S: Final = 1.0


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH…")
@click.option("--fps", type=float, metavar="RATE", help="Frame rate of image folders and raw streams.")
@click.option("--consent", metavar="REF", help="Reference to the consent of whoever is seen.")
@click.option("--batch", metavar="NAME", help="Go on with a batch of this name [a new one].")
@click.option("--no-wait", is_flag=True, help="Return when all are submitted.")
@bus_options
@json_flag
def submit(
    paths: tuple[str, ...],
    fps: float | None,
    consent: str | None,
    batch: str | None,
    no_wait: bool,
    as_json: bool,
    **flags: Any,
) -> int:
    """Have recordings analysed by the workers on the bus, and wait for them.

    Paths must mean the same to every worker: shared storage, absolute paths. Each recording becomes a run folder of its
    own in the workers' --out. Shows how far the batch is and when it will end; at the end a table, and each recording
    that failed with its error. Interrupted, the batch goes on; the same command with --batch NAME waits for it again.
    Exit code 3: a recording failed.
    """
    from mellm.engine.config import load
    from mellm.engine.roles.batch import batch_name, jobs_of

    settings = load(None, bus_settings(flags))
    name = batch or batch_name()
    jobs = jobs_of([os.path.abspath(path) for path in paths], name, fps=fps, consent=consent)
    click.echo(f"batch {name}: {counted(len(jobs), 'recording')}", err=True)
    try:
        states = asyncio.run(_submit(settings, jobs, wait=not no_wait))
    except KeyboardInterrupt:
        click.echo(f"\nmellm: interrupted; the batch goes on; wait for it with --batch {name}", err=True)
        return 130
    if no_wait:
        return 0
    if as_json:
        for state in states:
            click.echo(json.dumps(asdict(state), ensure_ascii=False))
    else:
        _table(states)
    failed = [state for state in states if state.state == "failed"]
    for state in failed:
        click.echo(f"mellm: error: {state.path}: {state.error} (tried {state.failures} times)", err=True)
    found = sum(state.expressions for state in states)
    done = len(states) - len(failed)
    click.echo(
        f"{counted(done, 'recording')} analysed, {len(failed)} failed, {counted(found, 'expression')}",
        err=True,
    )
    return SourceError.exit_code if failed else 0


async def _submit(settings: Settings, jobs: Sequence[Job], *, wait: bool) -> list[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    from mellm.engine.roles import batch
    from mellm.engine.roles.start import connected

    console = Console(stderr=True)
    async with connected(settings) as bus:
        await batch.submit(bus, jobs)
        if not wait:
            return []
        bar = Bar(
            TextColumn("analysing"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[more]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        with bar:
            task = bar.add_task("", total=len(jobs), more="")
            while True:
                try:
                    states = await batch.progress(bus, jobs)
                except MellmError as error:
                    bar.update(task, more=str(error))
                    await asyncio.sleep(POLL_S)
                    continue
                count = Counter(state.state for state in states)
                left = batch.left_s(states)
                more = f"{count['running']} running, {count['failed']} failed"
                bar.update(
                    task,
                    completed=count["done"] + count["failed"],
                    more=more if left is None else f"{more}, about {left / 60:.0f} min left",
                )
                if count["done"] + count["failed"] == len(jobs):
                    return states
                await asyncio.sleep(POLL_S)


def _table(states: Sequence[Progress]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("recording", "state", "expressions", "seconds", "worker", box=None, pad_edge=False)
    for state in states:
        said = [state.name, state.state, str(state.expressions), f"{state.took_s:.1f}", state.worker]
        table.add_row(*map(escape, said))
    Console().print(table)


@click.command()
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder for run folders, on shared storage."
)
@click.option("--until-empty", is_flag=True, help="Return when no job is left that nobody has.")
@click.option("--no-evidence", is_flag=True, help="Keep no motion maps.")
@bus_options
@settings_flags
def worker(out: Path, until_empty: bool, no_evidence: bool, **flags: Any) -> int:
    """Analyse recordings that `mellm submit` has put on the bus, one at a time.

    As many workers as wanted, on any machines that see the recordings and --out. Each recording becomes one whole run
    folder, whichever workers are killed. Ctrl-C ends it after the recording in hand; twice, at once.
    """
    settings = settings_from(flags, bus_settings(flags), purpose="self-use")
    counts = asyncio.run(_work(settings, out, until_empty=until_empty, keep_evidence=not no_evidence))
    click.echo(f"{counted(counts['done'], 'recording')} analysed, {counts['failed']} failed", err=True)
    return 0


async def _work(settings: Settings, out: Path, *, until_empty: bool, keep_evidence: bool) -> Counter[str]:
    from mellm.engine.api import analysis
    from mellm.engine.roles.batch import Worker
    from mellm.engine.roles.start import connected

    def analyse(job: Job, folder: Path) -> int:
        with analysis(
            (job.path,), folder, settings, fps=job.fps, consent=job.consent, keep_evidence=keep_evidence
        ) as (steps, result):
            for _ in steps:
                pass
        if result.failures:
            raise result.failures[0][1]
        return result.expressions

    name = settings.bus.node or f"{socket.gethostname().partition('.')[0]}-{os.getpid()}"
    async with connected(settings) as bus:
        made = Worker(bus, name, out, analyse)

        def ask() -> None:
            if stopping:
                os._exit(130)
            stopping.append(True)
            click.echo("stopping after the recording in hand …", err=True)
            made.stop()

        stopping: list[bool] = []
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, ask)
        click.echo(f"worker {name}: run folders go to {out}", err=True)
        await made.run(until_empty=until_empty)
        return made.counts
