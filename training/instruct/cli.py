"""``mellm dataset``: building and checking instruction data."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import click

from mellm.engine.evidence.motion_map import RECIPES
from mellm.stream.errors import UsageError
from mellm.training.instruct.build import SOURCES, BuildOptions, build, split_counts
from mellm.training.instruct.conversations import TASKS
from mellm.training.instruct.lint import RULES, lint
from mellm.training.instruct.manifest import NAME
from mellm.training.instruct.phrases import LANGUAGES
from mellm.training.instruct.records import SPLITS, Wording

FINDINGS = 3
"""Exit code of a data set that breaks a rule: it is a source that cannot be used."""

_PATH = click.Path(path_type=Path)
_T = TypeVar("_T", bound=str)


def _chosen(given: str, known: Iterable[_T], what: str) -> tuple[_T, ...]:
    """A comma list of known words, in their own order."""
    wanted = [word.strip() for word in given.split(",") if word.strip()]
    found = tuple(word for word in known if word in wanted)
    unknown = [word for word in wanted if word not in found]
    if unknown or not found:
        raise UsageError(f"no {what} {', '.join(unknown) or given!r}", remedy=f"choose of {', '.join(known)}")
    return found


def _counts(count: int | None, given: str | None, source: str) -> dict[str, int]:
    if given is None:
        if count is None:
            return {} if source == "csv" else split_counts(1000)
        return split_counts(count)
    if count is not None:
        raise UsageError("--count and --split-counts", remedy="give one of them")
    counts = {}
    for part in given.split(","):
        name, _, number = part.strip().partition("=")
        if name not in SPLITS or not number.isdecimal():
            raise UsageError(f"--split-counts {part!r}", remedy="write train=800,validation=100,test=100")
        counts[name] = int(number)
    return counts


@click.command("build", context_settings={"show_default": True})
@click.option("--from", "source", default="synth", help=f"Where pairs come from: {', '.join(SOURCES)}.")
@click.option(
    "--from-runs",
    "runs",
    multiple=True,
    type=_PATH,
    metavar="RUN",
    help="A run, or a study, that people corrected; may be repeated.",
)
@click.option(
    "--root",
    type=_PATH,
    help="With --from csv: the folder of manifest.csv and its pictures. With --from-runs: a new folder for them "
    "[OUT-pairs].",
)
@click.option("--out", type=_PATH, required=True, help="Folder of the data set; new, or of a stopped build.")
@click.option(
    "--count", type=click.IntRange(1), help="Pairs in all, 8 : 1 : 1 over the splits [1000; csv: all]."
)
@click.option("--split-counts", help="Pairs of each split: train=800,validation=100,test=100.")
@click.option("--recipe", type=click.Choice(RECIPES), default="live", help="Of the motion maps.")
@click.option("--language", default="en,zh", help="Of the conversations.")
@click.option("--tasks", default=",".join(TASKS), help="Which conversations.")
@click.option(
    "--style", type=click.Choice(["parts", "tags"]), default="parts", help="How pictures stand in messages."
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Of people and wording.")
@click.option(
    "--per-person",
    type=click.IntRange(2),
    default=8,
    help="At most so many pairs of a person; half negatives.",
)
@click.option("--licence", default="not stated", help="With --from csv: of the recordings.")
@click.option(
    "--provenance", default="annotated recordings of the builder", help="With --from csv: their origin."
)
@click.option("--workers", type=click.IntRange(1, 256), default=1, help="Number of worker processes.")
def build_command(
    source: str,
    runs: tuple[Path, ...],
    root: Path | None,
    out: Path,
    count: int | None,
    split_counts: str | None,
    recipe: str,
    language: str,
    tasks: str,
    style: str,
    seed: int,
    per_person: int,
    licence: str,
    provenance: str,
    workers: int,
) -> None:
    """Make motion maps and conversations from onset–apex pairs.

    A stopped build goes on with the same command; the same settings give the same bytes.
    """
    if runs:
        root = _extracted(runs, root or out.with_name(f"{out.name}-pairs"))
        source = "csv"
    own = source == "csv"
    wording = Wording(
        recipe=next(r for r in RECIPES if r == recipe),
        languages=_chosen(language, LANGUAGES, "language"),
        tasks=_chosen(tasks, TASKS, "task"),
        style="tags" if style == "tags" else "parts",
        seed=seed,
        licence=licence if own else "",
        provenance=provenance if own else "",
    )
    options = BuildOptions(
        out, source, root, _counts(count, split_counts, source), per_person, wording, workers
    )
    told: dict[str, int] = {}

    def progress(stage: str, done: int, total: int) -> None:
        tenth = 10 * done // max(1, total)
        if told.get(stage) != tenth:
            told[stage] = tenth
            click.echo(f"{stage}: {done}/{total} pairs", err=True)

    click.echo(json.dumps({"out": str(out), "splits": build(options, progress)}, ensure_ascii=False))


def _extracted(runs: tuple[Path, ...], root: Path) -> Path:
    """The pairs of corrected runs, cut once: a build that is stopped goes on with them."""
    from mellm.training.instruct.from_runs import extract

    if (root / NAME).is_file():
        click.echo(f"{root} holds the pairs already", err=True)
        return root
    found = extract(runs, root)
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(found.kinds.items()))
    left = ", ".join(f"{count}: {why}" for why, count in sorted(found.left_out.items()))
    click.echo(f"{root}: {kinds}" + (f"; left out {left}" if left else ""), err=True)
    return root


@click.command("lint")
@click.argument("folder", type=_PATH)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def lint_command(folder: Path, as_json: bool) -> int:
    """Check a data set: nothing named that is not annotated, no leak, no subject in two splits.

    Ends with code 3 if a rule is broken.
    """
    found = list(lint(folder))
    if as_json:
        broken = {rule: sum(f.rule == rule for f in found) for rule in RULES}
        listed = [{"rule": f.rule, "where": f.where, "message": f.message} for f in found]
        click.echo(json.dumps({"findings": listed, "broken": broken}, ensure_ascii=False))
    else:
        for finding in found:
            click.echo(str(finding))
        click.echo(f"{len(found)} findings" if found else f"no findings, {len(RULES)} rules", err=True)
    return FINDINGS if found else 0
