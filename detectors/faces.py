"""Where faces are: BlazeFace full-range (Google, Apache-2.0), 192×192, for faces up to about five metres away."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mellm.detectors.onnx import Session
from mellm.detectors.types import F32, U8

SIZE = 192
CELLS = 48
"""The network looks for one face round each cell of a 48×48 grid."""

MIN_SCORE = 0.5
SAME_IOU = 0.3
"""Boxes that overlap more than this are one face."""


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """A face, roughly.

    :param box: x, y, width, height, pixels
    :param points: 6×2 pixels: right eye, left eye, nose tip, mouth, right ear, left ear (the subject's)
    """

    box: tuple[float, float, float, float]
    points: F32
    score: float


class FaceDetector:
    """Finds all faces in a picture. Callable from several threads.

    :raises ModelCorrupt: the network is not this detector
    """

    def __init__(self, session: Session, *, min_score: float = MIN_SCORE) -> None:
        session.expect(
            {
                "input0": (1, SIZE, SIZE, 3),
                "output0": (1, CELLS * CELLS, 16),
                "output1": (1, CELLS * CELLS, 1),
            }
        )
        self._session = session
        self._min_score = min_score
        centres = (np.arange(CELLS, dtype=np.float32) + 0.5) / CELLS
        self._anchors = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)

    def __call__(self, image: U8) -> list[Detection]:
        """Faces in an H×W×3 BGR picture, best first.

        :raises ModelOutputInvalid: the network answered with NaN
        """
        height, width = image.shape[:2]
        scale = SIZE / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR)
        square = np.zeros((SIZE, SIZE, 3), np.uint8)
        left, top = (SIZE - size[0]) // 2, (SIZE - size[1]) // 2
        square[top : top + size[1], left : left + size[0]] = small
        pixels = np.divide(square[None, :, :, ::-1], 127.5, dtype=np.float32) - 1
        raw, logits = self._session.run({"input0": pixels})
        shift = np.array([left, top], np.float32)
        stretch = np.array([width / size[0], height / size[1]], np.float32)
        return self._decode(raw[0], logits[0, :, 0], shift, stretch)

    def _decode(self, raw: F32, logits: F32, shift: F32, stretch: F32) -> list[Detection]:
        scores = 1 / (1 + np.exp(-np.clip(logits, -50, 50)))
        kept = np.flatnonzero(scores >= self._min_score)
        if kept.size == 0:
            return []
        kept = kept[np.argsort(-scores[kept], kind="stable")]
        points = raw[kept].reshape(-1, 8, 2) / SIZE
        points[:, [0, 2, 3, 4, 5, 6, 7]] += self._anchors[kept][:, None]
        corners = np.concatenate([points[:, 0] - points[:, 1] / 2, points[:, 0] + points[:, 1] / 2], axis=1)
        found = []
        left = np.ones(len(kept), bool)
        while left.any():
            best = int(np.argmax(left))
            group = left & (_iou(corners, corners[best]) > SAME_IOU)
            group[best] = True
            weights = scores[kept[group]]
            mean = np.average(points[group], axis=0, weights=weights)
            centre = (mean[0] * SIZE - shift) * stretch
            extent = mean[1] * SIZE * stretch
            x, y = centre - extent / 2
            found.append(
                Detection(
                    (float(x), float(y), float(extent[0]), float(extent[1])),
                    ((mean[2:] * SIZE - shift) * stretch).astype(np.float32),
                    float(weights[0]),
                )
            )
            left &= ~group
        return found


def _iou(corners: F32, one: F32) -> F32:
    low, high = np.maximum(corners[:, :2], one[:2]), np.minimum(corners[:, 2:], one[2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=1)
    areas = np.prod(corners[:, 2:] - corners[:, :2], axis=1)
    union = areas + np.prod(one[2:] - one[:2]) - shared
    result: F32 = np.where(union > 0, shared / np.maximum(union, 1e-12), 0).astype(np.float32)
    return result
