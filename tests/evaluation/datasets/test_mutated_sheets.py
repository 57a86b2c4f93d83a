"""B5: annotation sheets as people's spreadsheet programs leave them: read right, or refused with the place."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import click
import pytest

from mellm.evaluation.datasets import DataSet, SheetError, load
from tests.evaluation.datasets.mutations import MUTATIONS, RELEASES, Draft, write
from tests.reliability.figures import record


def told(data: DataSet) -> list[tuple[object, ...]]:
    return [
        (
            c.subject,
            c.id,
            c.kind,
            c.fps,
            c.frames.first,
            c.onset,
            c.apex,
            c.offset,
            str(c.action_units),
            c.emotion,
        )
        for c in data.clips
    ]


def rules(data: DataSet) -> set[str]:
    return {repair.rule for repair in data.repairs}


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> dict[str, DataSet]:
    """What the releases say before anything happened to them."""
    root = tmp_path_factory.mktemp("references")
    for release in RELEASES:
        write(Draft.of(release), root / release.file)
    return {release.name: load(release.name, root / release.file) for release in RELEASES}


def end(seed: int, folder: Path, references: dict[str, DataSet]) -> str:
    """How one mutated sheet ends.

    A sheet that still says the same is read right or refused. One that lost something is refused, or read with a
    remark that the whole sheet did not need.
    """
    draw = random.Random(seed)
    draft = Draft.of(draw.choice(RELEASES))
    for each in (chosen := sorted(draw.sample(MUTATIONS, draw.randint(1, 3)), key=MUTATIONS.index)):
        each(draft, draw)
    write(draft, folder)
    case = f"seed {seed}: {draft.release.name}: {'+'.join(each.__name__ for each in chosen)}"
    right = references[draft.release.name]
    state = "kept" if draft.keeps else "spoilt"
    refused: SheetError | None = None
    try:
        found = load(draft.release.name, folder)
    except SheetError as error:
        refused = error
    if refused is not None:
        assert refused.sheet.startswith(draft.release.file), case
        assert refused.row > 0, f"{case}: {refused}"
        assert refused.column, f"{case}: {refused}"
        return f"{state}, refused"
    if told(found) == told(right):
        return f"{state}, right"
    assert not draft.keeps, f"{case}: read wrong: {told(found)}"
    assert rules(found) - rules(right), f"{case}: read wrong without a word: {told(found)}"
    return "spoilt, read with a remark"


def many(folder: Path, seeds: range, tier: str, references: dict[str, DataSet]) -> None:
    ends = Counter(end(seed, folder / str(seed), references) for seed in seeds)
    share = ends["kept, right"] / (ends["kept, right"] + ends["kept, refused"])
    record("B5", tier, sheets=len(seeds), ends=dict(sorted(ends.items())), right_of_kept=round(share, 3))
    click.echo(f"{len(seeds)} mutated sheets: {dict(sorted(ends.items()))}, right of kept {share:.3f}")
    assert share >= 0.6


def test_b5_mutated_sheets(tmp_path: Path, references: dict[str, DataSet]) -> None:
    many(tmp_path, range(40), "C", references)


@pytest.mark.slow
def test_b5_five_hundred_mutated_sheets(tmp_path: Path, references: dict[str, DataSet]) -> None:
    many(tmp_path, range(1000, 1500), "N", references)
