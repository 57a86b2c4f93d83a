"""``mellm redescribe``: ask again about the expressions of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from mellm.clients.cli.common import (
    counted,
    describing_flags,
    json_flag,
    one_line,
    settings_from,
)
from mellm.stream.errors import DescriberError

if TYPE_CHECKING:
    from mellm.engine.results.expressions import ExpressionRecord


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--which",
    type=click.Choice(["failed", "abstained", "undescribed", "all"]),
    default="undescribed",
    show_default=True,
    help="failed: the describer could not be asked. abstained: it did not say. undescribed: both.",
)
@json_flag
@describing_flags
def redescribe(
    run: Path, which: Literal["failed", "abstained", "undescribed", "all"], as_json: bool, **flags: Any
) -> int:
    """Ask again about expressions of the folder RUN, from the motion maps that it has kept.

    Any describer may be asked. What was said before stays in the record (`earlier`). Expressions whose motion was too
    small or too large are left alone. Exit code 5: the describer answered for none.
    """
    from mellm.engine.analysis.pipeline_factory import describer_of
    from mellm.engine.analysis.redescribe import redescribe as again

    settings = settings_from(flags, purpose="self-use")
    describer = describer_of(settings)

    def on_record(record: ExpressionRecord) -> None:
        click.echo(json.dumps(record.to_json(), ensure_ascii=False) if as_json else one_line(record))

    try:
        limit = max(settings.describer.deadline_s, settings.describer.timeout_s)
        result = again(run, describer, which, deadline_s=limit, on_record=on_record)
    finally:
        describer.close()
    ends = ", ".join(f"{count} {state}" for state, count in sorted(result.ends.items())) or "nothing changed"
    click.echo(f"asked about {counted(result.asked, 'expression')}: {ends}", err=True)
    for code, count in sorted(result.failed.items()):
        click.echo(
            f"mellm: warning: {count} could not be described ({code}); they stay as they were", err=True
        )
    if result.without_evidence:
        click.echo(
            f"mellm: warning: {counted(result.without_evidence, 'expression')} without a motion map - "
            "analyse without --no-evidence to keep them",
            err=True,
        )
    return DescriberError.exit_code if result.asked and not result.ends else 0
