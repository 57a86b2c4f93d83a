"""``with`` for whatever has ``close``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self


class Closing(ABC):
    """Closed at the end of a ``with``."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what is held; harmless when done twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
