"""Pictures of what was found, by expression: motion maps, and the faces at onset and apex where evidence is kept.

Motion maps are in memory for a while. Everything else needs a folder that somebody has named: what is on disk stays
until retention, purge or withdrawal takes it, and faces are handed out only while they are there.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Final

from mellm.stream import private
from mellm.stream.protocol.client_messages import EvidenceKind
from mellm.stream.protocol.wire import MAX_PICTURE_BYTES

logger = logging.getLogger(__name__)

_ENDING: Final[dict[EvidenceKind, str]] = {"motion": "", "faces": ".faces"}


class EvidenceStore:
    """Pictures by expression id. Memory is bounded in bytes and age; the least recently used goes first.

    :param folder: keeps motion maps and faces, too; faces are kept nowhere else
    :param max_age_s: after this a motion map is gone from memory, read or not
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        max_bytes: int = 64 * 1024 * 1024,
        max_age_s: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._clock = clock
        self.bytes = 0

    @property
    def keeps_faces(self) -> bool:
        """Whether :meth:`put` has a place for faces."""
        return self.folder is not None

    def put(self, id: str, png: bytes, shown: EvidenceKind = "motion") -> None:
        """Keep a picture, from any thread. A disk that refuses is told and stops nothing."""
        if shown == "motion":
            self._remember(id, png)
        if self.folder is None:
            return
        try:
            private.folder(self.folder)
            with open(self.folder / f"{id}{_ENDING[shown]}.png", "wb", opener=private.opener) as file:
                file.write(png)
        except OSError as error:
            # a full disk must not stop the camera; the map is still in memory
            logger.warning("pictures of %s cannot be kept: %s", id, error.strerror)

    def get(self, id: str, shown: EvidenceKind = "motion") -> bytes | None:
        """A picture, if it is still there. May read a file."""
        found = self._recall(id) if shown == "motion" else None
        # ids are hexadecimal digits; anything else could name another file
        if found is not None or self.folder is None or not id.isalnum():
            return found
        path = self.folder / f"{id}{_ENDING[shown]}.png"
        try:
            with path.open("rb") as file:
                png = file.read(MAX_PICTURE_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            logger.warning("%s cannot be read: %s", path.name, error.strerror)
            return None
        return png if len(png) <= MAX_PICTURE_BYTES else None

    def forget(self, id: str) -> None:
        """Drop a motion map from memory now, from any thread; files are for :mod:`mellm.engine.governance.erase`."""
        with self._lock:
            self._forget(id)

    def __len__(self) -> int:
        return len(self._kept)

    def _remember(self, id: str, png: bytes) -> None:
        with self._lock:
            self._forget(id)
            self._kept[id] = (self._clock(), png)
            self.bytes += len(png)
            self._expire()
            while self.bytes > self._max_bytes:
                self._forget(next(iter(self._kept)))

    def _recall(self, id: str) -> bytes | None:
        with self._lock:
            self._expire()
            found = self._kept.get(id)
            if found is None:
                return None
            self._kept.move_to_end(id)
            return found[1]

    def _expire(self) -> None:
        limit = self._clock() - self._max_age_s
        for id in [id for id, (born, _) in self._kept.items() if born < limit]:
            self._forget(id)

    def _forget(self, id: str) -> None:
        found = self._kept.pop(id, None)
        if found is not None:
            self.bytes -= len(found[1])
