"""A small data set of CASME II's shape whose pictures are the shipped sample: a photograph moved by known amounts."""

from __future__ import annotations

from pathlib import Path

import av
import cv2

from mellm.clients.cli.demo import SAMPLE
from tests.evaluation.datasets.made import CASME2_HEADS, Rows, book

CLIPS: Rows = [
    # of the sample's truth, 50 frames a second: AU4 from 2.40 s, AU6+12 from 5.48 s, AU1+2 from 8.58 s
    [1, "EP01", None, 121, 130, 142, None, "4", "disgust"],
    [1, "EP02", None, 275, 286, 299, None, "6+12", "happiness"],
    [2, "EP03", None, 430, 438, 447, None, "1+2", "surprise"],
    [2, "EP04", None, 430, "/", 447, None, "1+2", "surprise"],
    [3, "EP05", None, 10, 20, 30, None, "4", "others"],
]
SPANS = {"sub01/EP01": (70, 195), "sub01/EP02": (225, 350), "sub02/EP03": (380, 500)}


def casme2(root: Path) -> Path:
    """Write it: three clips with pictures, one without an apex, one without pictures."""
    book(root / "CASME2-coding-20140508.xlsx", [CASME2_HEADS, *CLIPS])
    for name in SPANS:
        (root / "CASME2-RAW" / name).mkdir(parents=True)
    with av.open(str(SAMPLE / "sample.mp4")) as video:
        for number, frame in enumerate(video.decode(video=0), 1):
            for name, (first, last) in SPANS.items():
                if first <= number <= last:
                    picture = frame.to_ndarray(format="bgr24")
                    cv2.imwrite(
                        str(root / "CASME2-RAW" / name / f"img{number}.jpg"),
                        picture,
                        [cv2.IMWRITE_JPEG_QUALITY, 97],
                    )
    return root
