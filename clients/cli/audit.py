"""``mellm audit``: whether an audit log is what was written."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def audit() -> None:
    """Check the log of who did what."""


@audit.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--head",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A copy of FILE.head that was kept where nobody can change both [FILE.head].",
)
def verify(file: Path, head: Path | None) -> int:
    """Follow the chain of FILE; name the first line that was changed, removed, moved or cut off.

    Exit code 6 when there is one.
    """
    from mellm.engine.governance.audit import verify as follow
    from mellm.stream.errors import AuditError

    found = follow(file, head)
    if not found.intact:
        raise AuditError(
            f"{file}: line {found.line}: {found.reason}",
            remedy=f"the first {found.lines} lines are intact; compare with a backup",
        )
    click.echo(f"{file}: {found.lines} lines, chain intact")
    return 0
