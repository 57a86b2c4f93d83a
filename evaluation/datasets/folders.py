"""Finds the folder of a clip without building its path: names are compared with case and padding taken away."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from mellm.evaluation.datasets.clips import PICTURES, natural

DEPTH = 8
_ENOUGH = 8  # pictures seen first: a folder that begins so holds no folders


def plain(name: str) -> str:
    """``EP02_01f`` → ``ep2_1f``: numbers without padding, letters without case, no space around."""
    return re.sub(r"\d+", lambda m: str(int(m[0])), name.strip().casefold())


class Tree:
    """The folders below a root, read once.

    :param root: where the user unpacked the data set, at any level
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._by_tail: dict[tuple[str, ...], list[Path]] = {}
        self._files: list[Path] = []
        self._walk(root, (plain(root.name),), 0)

    def _walk(self, folder: Path, names: tuple[str, ...], depth: int) -> None:
        for length in range(1, min(len(names), 4) + 1):
            self._by_tail.setdefault(names[-length:], []).append(folder)
        if depth == DEPTH:
            return
        pictures = 0
        below: list[Path] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir():
                    below.append(Path(entry.path))
                elif os.path.splitext(entry.name)[1].lower() in PICTURES:
                    pictures += 1
                    if pictures >= _ENOUGH and not below:
                        return
                else:
                    self._files.append(Path(entry.path))
        for path in sorted(below, key=lambda p: natural(p.name)):
            self._walk(path, (*names, plain(path.name)), depth + 1)

    def files(self, suffixes: Iterable[str]) -> list[Path]:
        """Files that are no pictures, natural order, shallow before deep; a program's lock files are left out."""
        wanted = tuple(suffixes)
        found = [p for p in self._files if p.suffix.lower() in wanted and not p.name.startswith(("~$", "."))]
        return sorted(found, key=lambda p: (len(p.parts), natural(str(p))))

    def find(self, tails: Iterable[Sequence[str]], prefer: Sequence[str] = (), avoid: str = "") -> list[Path]:
        """Folders that end in one of the tails; the first tail that fits anything decides.

        :param prefer: words; a path below the root that has the first of them comes first, and so on
        :param avoid: regular expression of paths below the root that belong to another data set
        """
        for tail in tails:
            hits = self._by_tail.get(tuple(plain(part) for part in tail), [])
            if avoid:
                hits = [p for p in hits if not re.search(avoid, self._below(p))]
            if hits:
                return sorted(hits, key=lambda p: (self._rank(p, prefer), len(p.parts), natural(str(p))))
        return []

    def matching(self, pattern: str) -> list[Path]:
        """Folders whose own name matches a regular expression, natural order."""
        hits = [p for tail, paths in self._by_tail.items() if len(tail) == 1 for p in paths]
        return sorted(
            (p for p in hits if re.search(pattern, p.name, re.IGNORECASE)), key=lambda p: natural(str(p))
        )

    def _rank(self, path: Path, prefer: Sequence[str]) -> int:
        below = self._below(path)
        return next((i for i, word in enumerate(prefer) if word in below), len(prefer))

    def _below(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix().casefold()
