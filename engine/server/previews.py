"""Small pictures of live sources, for clients that ask, where the source's settings allow it.

Nothing is scaled, encoded or kept while nobody watches.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Final

import cv2

from mellm.stream.frames import Frame
from mellm.stream.log.hub import Hub
from mellm.stream.protocol.events import PREVIEW

logger = logging.getLogger(__name__)

LONGEST_SIDE: Final = 640
QUALITY: Final = 70
"""JPEG quality, 0 to 100."""
EVERY_S: Final = 0.2


class Previews:
    """Takes frames from the sources' threads and publishes some of them.

    :param allowed: sources whose settings allow previews; pictures of others never leave
    :param every_s: at most one in this time, for each source
    :param mirrored: sources whose pictures are mirror images; they are turned back, as landmarks are
    """

    def __init__(
        self,
        hub: Hub,
        allowed: Iterable[str],
        *,
        every_s: float = EVERY_S,
        mirrored: Iterable[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hub = hub
        # each source has one thread and one entry, so no lock is needed
        self._next_s = dict.fromkeys(allowed, float("-inf"))
        self._every_s = every_s
        self._mirrored = frozenset(mirrored)
        self._clock = clock

    def __call__(self, frame: Frame) -> None:
        """Publish this frame, if it is time and anybody has asked."""
        due = self._next_s.get(frame.source)
        now = self._clock()
        if due is None or now < due or not self._hub.wants_preview(frame.source):
            return
        self._next_s[frame.source] = now + self._every_s
        height, width = frame.image.shape[:2]
        scale = min(1.0, LONGEST_SIDE / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = frame.image if scale == 1 else cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA)
        if frame.source in self._mirrored:
            small = small[:, ::-1]
        done, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        if not done:
            logger.warning("%s: a preview of %d×%d pixels could not be encoded", frame.source, *size)
            return
        data = {"media_type": "image/jpeg", "bytes": len(jpeg), "width": size[0], "height": size[1]}
        self._hub.publish_threadsafe(PREVIEW, frame.source, data, frame.pts_ns, picture=jpeg.tobytes())
