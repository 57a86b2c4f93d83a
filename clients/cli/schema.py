"""``mellm schema``: the protocol for machines."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.option("--asyncapi", is_flag=True, help="The AsyncAPI 3 document instead of the JSON Schema.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file.")
def schema(asyncapi: bool, out: Path | None) -> None:
    """Print the JSON Schema (2020-12) of the protocol mellm.v1.

    Both documents are in docs/schema, as this version makes them.
    """
    from mellm.stream.errors import UsageError

    if asyncapi:
        from mellm.stream.protocol.asyncapi import asyncapi as document
    else:
        from mellm.stream.protocol.schema import document
    text = json.dumps(document(), indent=1, ensure_ascii=False) + "\n"
    if out is None:
        click.echo(text, nl=False)
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror or error}") from error
