"""Pictures of a data set with what is annotated: ``python -m mellm.training.instruct.sheet FOLDER --out PICTURE``."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import click
import cv2
import numpy as np

from mellm.detectors.types import U8
from mellm.engine.facs import action_units as facs

TILE = (160, 184)
"""Width and height of one picture, pixels."""


def sheet(folder: Path, count: int, across: int, split: str = "train") -> U8:
    """The first ``count`` pairs of a split, H×W×3."""
    seen: dict[str, dict[str, object]] = {}
    with (folder / f"{split}.jsonl").open(encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            if record["images"]:
                seen.setdefault(record["pair"], record)
    tiles = [_tile(folder, record) for record in islice(seen.values(), count)]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % across)
    return np.vstack([np.hstack(tiles[i : i + across]) for i in range(0, len(tiles), across)])


def _tile(folder: Path, record: dict[str, object]) -> U8:
    images, units = record["images"], record["units"]
    assert isinstance(images, list)
    assert isinstance(units, list)
    picture = cv2.imread(str(folder / images[0]))
    if picture is None:
        raise click.ClickException(f"{images[0]} is not a picture: see `mellm dataset lint`")
    tile = cv2.resize(picture, TILE, interpolation=cv2.INTER_AREA)
    said = facs.notation((u["au"], u["side"]) for u in units) or str(record["kind"])
    if record["kind"] == "expression" and record["abstain"]:
        said += " (too faint)"
    cv2.putText(tile, said, (5, TILE[1] - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)
    return np.asarray(tile, np.uint8)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
@click.option("--count", default=24)
@click.option("--across", default=8)
@click.option("--split", default="train")
def main(folder: Path, out: Path, count: int, across: int, split: str) -> None:
    """Draw the sheet."""
    cv2.imwrite(str(out), sheet(folder, count, across, split), [cv2.IMWRITE_JPEG_QUALITY, 82])


if __name__ == "__main__":
    main()
