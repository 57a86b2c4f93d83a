"""``mellm purge``: erase what was found about somebody."""

from __future__ import annotations

import getpass
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mellm.clients.cli.common import json_flag

if TYPE_CHECKING:
    from mellm.engine.governance.erase import ErasureReport
    from mellm.stream.log.erasure import Selection

REASON = "purge"
_UNITS = {"h": 3600, "d": 86_400, "w": 7 * 86_400}


@click.command()
@click.option("--source", metavar="ID", help="What this source showed.")
@click.option("--subject", metavar="REF", help="What was found under this consent reference.")
@click.option("--older-than", metavar="AGE", help="What is older: 12h, 30d, 8w.")
@click.option("--expression", metavar="ID", help="One expression.")
@click.option(
    "--run",
    "runs",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A run folder, or the folder of a study; may be repeated.",
)
@click.option("--journal", type=click.Path(path_type=Path), help="Event log [that of the configuration].")
@click.option("--keep-evidence", type=click.Path(path_type=Path), help="Folder of motion maps [likewise].")
@click.option(
    "--audit", "audit_file", type=click.Path(path_type=Path), help="Audit log [beside the event log]."
)
@click.option("--config", type=click.Path(path_type=Path), help="TOML file with settings.")
@click.option("--dry-run", is_flag=True, help="Only tell what would go.")
@json_flag
def purge(
    source: str | None,
    subject: str | None,
    older_than: str | None,
    expression: str | None,
    runs: tuple[Path, ...],
    journal: Path | None,
    keep_evidence: Path | None,
    audit_file: Path | None,
    config: Path | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Permanently delete events, motion maps and results from all mellm files.

    What is chosen by several options must fit all of them. Takes from the server's log and motion maps, and from the
    run folders named with --run. The server that uses the log must be stopped. Numbers of erased events are not used
    again, and a replay says how many are gone. Writes one line to the audit log. Backups, exports and what clients
    have received are elsewhere.
    """
    from mellm.engine.config import load
    from mellm.engine.governance.erase import DataStore, erase_run
    from mellm.engine.results.run_folder import run_folders
    from mellm.engine.server.app import audit_path, journal_path
    from mellm.stream.errors import JournalError, UsageError
    from mellm.stream.log.erasure import Selection
    from mellm.stream.log.journal import Journal
    from mellm.stream.protocol.events import rfc3339

    now = time.time_ns()
    try:
        before = None if older_than is None else now - _age_ns(older_than)
        what = Selection(source, subject, expression, before)
    except ValueError as error:
        raise UsageError(
            str(error), remedy="give --source, --subject, --older-than or --expression"
        ) from None
    settings = load(
        config, {"server.journal": journal, "server.keep_evidence": keep_evidence, "server.audit": audit_file}
    )
    path, maps = journal_path(settings), settings.server.keep_evidence
    found: dict[str, ErasureReport] = {}
    with _audit(None if dry_run else audit_path(settings), what, found):
        if journal is not None or config is not None or not runs:
            if not Path(path).exists():
                raise UsageError(f"there is no event log {path}", remedy="name it with --journal or --config")
            with Journal(path) as log:
                found[str(path)] = DataStore(log, maps, runs=settings.server.runs).erase(
                    what, reason=REASON, dry_run=dry_run, vacuum=True
                )
        for run in (folder for path in runs for folder in run_folders(path)):
            found[str(run)] = erase_run(run, what, reason=REASON, moment=rfc3339(now), dry_run=dry_run)
    for place, gone in found.items():
        _tell(place, gone, dry_run, as_json)
    if not all(gone.wiped for gone in found.values()):
        raise JournalError(
            "the events are erased, and their bytes may still be in the log's files: another program has it open",
            remedy="close that program and give the same command again",
        )
    return 0


def _age_ns(text: str) -> int:
    match = re.fullmatch(r"(\d{1,5})([hdw])", text)
    if match is None or not int(match[1]):
        raise ValueError(f"--older-than {text!r} is not an age such as 30d")
    return int(match[1]) * _UNITS[match[2]] * 1_000_000_000


@contextmanager
def _audit(path: Path | None, what: Selection, found: dict[str, ErasureReport]) -> Iterator[None]:
    """One line about what has been found and erased, also when it ends half done. A log that cannot be written is
    told before anything is erased."""
    from dataclasses import asdict

    from mellm.engine.governance.audit import AuditLog

    if path is None:
        yield
        return
    chosen = {name: value for name, value in asdict(what).items() if value is not None}
    with AuditLog(path) as audit:
        try:
            yield
        finally:
            places = {place: gone.as_dict() for place, gone in found.items()}
            audit(
                "data.erased", {"reason": REASON, "by": getpass.getuser(), "chosen": chosen, "places": places}
            )


def _tell(place: str, gone: ErasureReport, dry_run: bool, as_json: bool) -> None:
    if as_json:
        told: dict[str, Any] = {"place": place, "dry_run": dry_run, **gone.as_dict()}
        click.echo(json.dumps(told, ensure_ascii=False))
        return
    verb = "would erase" if dry_run else "erased"
    files = f"{gone.files} motion maps and jobs"
    click.echo(f"{place}: {verb} {gone.events} events, {files}, of {len(gone.expressions)} expressions")
    if gone.unknown:
        click.echo(
            f"{place}: {gone.unknown} more motion maps have no entry in the journal; --older-than chooses them",
            err=True,
        )
