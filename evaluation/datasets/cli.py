"""``mellm dataset inspect``."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path

import click

from mellm.evaluation.datasets.inspect import Inspection, inspect
from mellm.evaluation.datasets.load import APEX_POLICIES, OFFSET_POLICIES, load
from mellm.evaluation.datasets.rows import RULES, Repair

SHOWN = 5
"""Rows of one kind that are shown without ``--all``."""


@click.command()
@click.argument("name", metavar="NAME")
@click.argument("root", metavar="ROOT", type=click.Path(path_type=Path))
@click.option(
    "--apex-policy", default="unknown", metavar="NAME", help=f"{', '.join(APEX_POLICIES)} [unknown]."
)
@click.option(
    "--offset-policy", default="unknown", metavar="NAME", help=f"{', '.join(OFFSET_POLICIES)} [unknown]."
)
@click.option("--pictures/--no-pictures", default=True, help="Look into the folders of pictures [yes].")
@click.option("--all", "everything", is_flag=True, help="Every repair and every clip, not the first few.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def run(
    name: str,
    root: Path,
    apex_policy: str,
    offset_policy: str,
    pictures: bool,
    everything: bool,
    as_json: bool,
) -> None:
    """Read the data set NAME below ROOT and say what is there, what is missing and what was repaired.

    \b
    NAME is one of casme, casme2, samm, samm-lv, cas(me)^2, cas(me)^3-a, cas(me)^3-c, smic-hs, smic-vis, smic-nir,
    mmew, dfme, 4dme. ROOT holds the annotation file of the release and the folders of pictures, at any depth.
    """
    data = load(name, root, apex_policy=apex_policy, offset_policy=offset_policy)
    found = inspect(data, pictures=pictures)
    if as_json:
        click.echo(json.dumps(found.as_dict(), ensure_ascii=False))
    else:
        _show(found, everything)


def _show(found: Inspection, everything: bool) -> None:
    click.echo(f"{found.title}: {', '.join(found.sources)}")
    width = max(len(each.what) for each in found.counts)
    for each in found.counts:
        published = "" if each.published is None else f"   published {each.published}"
        click.echo(f"  {each.what:{width}} {each.found:6}{published}{'   differs' if each.differs else ''}")
    rates = ", ".join(f"{rate} ({count} clips)" for rate, count in found.frame_rates.items())
    click.echo(f"  frames a second: {rates}")
    if len(found.frame_rates) > 1:
        click.echo("  several frame rates: moments are compared in seconds, never in frames")
    if found.note:
        click.echo(f"  {found.note}")
    _repaired(found.repairs, everything)
    if not found.lacks:
        click.echo("\nnothing is missing")
        return
    click.echo(f"\n{len(found.lacks)} clips lack something:")
    kinds = Counter(found.lacks[k].words() for k in range(len(found.lacks)))
    if not everything and len(kinds) == 1 and len(found.lacks) > SHOWN:
        click.echo(f"  all of them: {next(iter(kinds))}")
        return
    shown = found.lacks if everything else found.lacks[:SHOWN]
    for lack in shown:
        click.echo(f"  {lack.subject} {lack.clip}: {lack.words()}")
    _more(len(found.lacks) - len(shown))


def _repaired(repairs: tuple[Repair, ...], everything: bool) -> None:
    by_rule: dict[str, list[Repair]] = defaultdict(list)
    for each in repairs:
        by_rule[each.rule].append(each)
    click.echo(f"\n{len(repairs)} repairs and remarks" + (":" if repairs else ""))
    for rule, those in by_rule.items():
        click.echo(f"  {rule} ({len(those)}): {RULES[rule]}")
        shown = those if everything else those[:SHOWN]
        for each in shown:
            place = f"row {each.row}" if each.row else each.sheet
            column = f" {each.column}" if each.column else ""
            became = f" → {each.became}" if each.became else ""
            click.echo(f"    {place}{column}: {each.was}{became}".rstrip(": "))
        _more(len(those) - len(shown), "    ")


def _more(count: int, indent: str = "  ") -> None:
    if count > 0:
        click.echo(f"{indent}… and {count} more (--all)")
