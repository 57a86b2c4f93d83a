"""Notices a camera that shows nothing: a picture that never changes, or one that is black.

A frozen camera keeps delivering frames, so nothing else would tell. Its picture is compared with the one at which it
last changed, so that slow motion adds up and is seen.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import cv2

from mellm.detectors.types import U8

Still: TypeAlias = Literal["frozen", "dark"]

FROZEN_NS: Final = 3_000_000_000
"""Media time without a change after which a picture is frozen. A living face blinks and breathes within it."""

DARK_NS: Final = 2_000_000_000
SAME: Final = 1
"""Grey levels by which an averaged pixel may differ in an unchanged picture."""

DARK_MEAN, DARK_SPREAD = 6.0, 4.0
"""Mean and standard deviation, grey levels, below which nothing can be seen."""


class StillPicture:
    """Judges frames in order of time."""

    def __init__(self) -> None:
        self._reference: U8 | None = None
        self._changed_ns = 0
        self._bright_ns = 0

    def push(self, small: U8, pts_ns: int) -> Still | None:
        """The next frame.

        :param small: :attr:`mellm.stream.frames.Picture.small`
        :returns: what is wrong with the picture, ``None`` while it is fine or not known to be still for long enough
        """
        mean, spread = cv2.meanStdDev(small)
        reference = self._reference
        if reference is None:
            self._bright_ns = pts_ns
        if (
            reference is None
            or reference.shape != small.shape
            or cv2.norm(reference, small, cv2.NORM_INF) > SAME
        ):
            self._reference, self._changed_ns = small, pts_ns
        if mean.max() >= DARK_MEAN or spread.max() >= DARK_SPREAD:
            self._bright_ns = pts_ns
        if pts_ns - self._bright_ns >= DARK_NS:
            return "dark"
        return "frozen" if pts_ns - self._changed_ns >= FROZEN_NS else None

    def reset(self) -> None:
        """A gap or a new segment: nothing before counts."""
        self._reference = None
