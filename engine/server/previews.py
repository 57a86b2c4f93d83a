"""Small pictures of live sources, for clients that ask, where the source's settings allow it.

Nothing is scaled, encoded or kept while nobody watches. Scaling and encoding have a worker of their own: the analysis
only leaves the newest frame.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

import cv2

from mellm.stream.frames import Frame
from mellm.stream.log.hub import Hub
from mellm.stream.protocol.events import PREVIEW
from mellm.stream.worker import Turn, Vitals, Worker

logger = logging.getLogger(__name__)

LONGEST_SIDE: Final = 640
ABANDON_S: Final = 10.0
QUALITY: Final = 70
"""JPEG quality, 0 to 100."""
EVERY_S: Final = 0.2


class Previews:
    """Takes frames from the sources' threads, and publishes some of them from its own.

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
        vitals: Vitals | None = None,
    ) -> None:
        self._hub = hub
        # each source has one thread and one entry, so no lock is needed
        self._next_s = dict.fromkeys(allowed, float("-inf"))
        self._every_s = every_s
        self._left: dict[str, Frame] = {}
        self._changed = threading.Condition()
        self._worker = Worker("previews", self._work, vitals=vitals, abandon_s=ABANDON_S)
        self._mirrored = frozenset(mirrored)
        self._clock = clock

    def start(self) -> None:
        """Publish what is left from now on."""
        self._worker.start()

    def stop(self) -> None:
        """Publish nothing more."""
        self._worker.stop()
        with self._changed:
            self._changed.notify_all()
        self._worker.join(1.0)

    def __call__(self, frame: Frame) -> None:
        """Leave this frame to be published, if it is time and anybody has asked. Never waits."""
        due = self._next_s.get(frame.source)
        now = self._clock()
        if due is None or now < due or not self._hub.wants_preview(frame.source):
            return
        self._next_s[frame.source] = now + self._every_s
        with self._changed:
            self._left[frame.source] = frame
            self._changed.notify_all()

    def step(self) -> bool:
        """Publish one of the frames that were left; whether there was one."""
        with self._changed:
            if not self._left:
                return False
            frame = self._left.pop(next(iter(self._left)))
        self._publish(frame)
        return True

    def _work(self, turn: Turn) -> None:
        while not turn.over:
            turn.heartbeat()
            if self.step():
                turn.worked()
                continue
            turn.rest()
            with self._changed:
                self._changed.wait_for(lambda: self._left or turn.over)

    def _publish(self, frame: Frame) -> None:
        height, width = frame.picture.shape[:2]
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
