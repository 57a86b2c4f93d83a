"""Releases of the right shape, made up from nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from openpyxl import Workbook

Rows = list[list[object]]

CASME2_HEADS: list[object] = [
    *("Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None),
    *("Action Units", "Estimated Emotion"),
]
CASME2: Rows = [
    CASME2_HEADS,
    [1, "EP02_01f", None, 46, 59, 86, None, "L12A+R14B", "happiness"],
    [1, "EP03_02", None, 131, 161, 201, None, 4, "others"],
    [4, "EP12_01f", None, 261, "/", 321, None, "4+7", "disgust"],
    [5, "EP06_02_01", None, 20, 60, 60, None, "12A or 14A", "repression"],
    [6, "EP01_2", None, 30, 60, 91, None, "1+2", "surprise"],
]
SAMM: Rows = [
    *[[f"remark {k}"] for k in range(13)],
    [
        "Subject",
        "Filename",
        "Inducement Code",
        "Onset Frame",
        "Apex Frame",
        "Offset Frame",
        "Duration",
        "Micro",
        "Action Units",
        "Estimated Emotion",
        "Objective Classes",
        "Notes",
    ],
    ["006", "006_1_2", 1, 5562, 5588, 5632, 71, "Micro - 1/2", "4+7?", "Anger", 3, None],
    ["028", "028_4_1", 4, 1071, 1143, 1134, 64, "Micro - 1/2", "ref(12/14)", "Other", 7, "glare"],
]


def book(path: Path, *sheets: Rows, titles: Sequence[str] = ()) -> Path:
    """Write an xlsx file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    workbook = Workbook()
    for k, rows in enumerate(sheets):
        tab = workbook.active if k == 0 else workbook.create_sheet()
        assert tab is not None
        tab.title = titles[k] if k < len(titles) else f"Sheet{k + 1}"
        for row in rows:
            tab.append(row)
    workbook.save(path)
    return path


def pictures(folder: Path, names: Iterable[str]) -> Path:
    """Write tiny grey pictures whose brightness is their place in the list."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(names):
        cv2.imwrite(str(folder / name), np.full((4, 4), 10 * k % 250, np.uint8))
    return folder
