"""What the spotter is shown: the folders of a data set, each with the expressions that are annotated in it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mellm.evaluation.dataset_runs.errors import FramesMissing, RatesMixed, RateUnknown
from mellm.evaluation.datasets import Clip, DataSet, Frames
from mellm.evaluation.datasets.clips import PICTURES, natural


@dataclass(frozen=True, slots=True)
class Recording:
    """One folder of frames: a long video, or the folder of a short clip.

    :param id: unique within the subject
    :param clips: what is annotated in it, by onset; none for a recording without annotation
    :param fps: frames a second that the user gave instead of the release's
    """

    dataset: str
    subject: str
    id: str
    frames: Frames
    clips: tuple[Clip, ...]
    fps: float | None = None

    @property
    def key(self) -> str:
        """Names the recording in every file of a run folder."""
        return f"{self.dataset}/{self.subject}/{self.id}"

    def rate(self) -> float:
        """Frames a second.

        :raises RateUnknown: nobody says it
        :raises RatesMixed: its clips disagree
        """
        if self.fps is not None:
            return self.fps
        rates = sorted({clip.fps for clip in self.clips if clip.fps is not None})
        if not rates:
            raise RateUnknown(
                f"{self.key}: the release does not say at how many frames a second it was taken",
                remedy="give --fps",
            )
        if len(rates) > 1 or any(clip.fps is None for clip in self.clips):
            told = ", ".join(f"{rate:g}" for rate in rates)
            raise RatesMixed(
                f"{self.key}: the annotation gives it several frame rates ({told}, or none for a part)",
                remedy="correct the sheet, or give --fps",
            )
        return rates[0]

    def labels(self) -> list[int]:
        """Labels of the frames that are there, rising.

        :raises FramesMissing: there are none
        """
        if self.frames.folder is None:
            raise FramesMissing(
                f"{self.key}: no folder was found", remedy="`mellm dataset inspect` tells what is missing"
            )
        found = sorted(self.frames)
        if not found:
            raise FramesMissing(f"{self.key}: no pictures in {self.frames.folder}", remedy="unpack it again")
        return found


def recordings(data: DataSet, *, fps: float | None = None, bare: bool = False) -> list[Recording]:
    """The recordings of a data set in natural order. Clips that share a folder share a recording.

    :param fps: frames a second instead of what the release says
    :param bare: also folders beside those of annotated recordings, in which nothing is annotated
    """
    groups: dict[tuple[str, str], list[Clip]] = {}
    for clip in data.clips:
        folder = clip.frames.folder
        place = str(folder) if folder is not None else f"?{clip.video or clip.id}"
        groups.setdefault((clip.subject, place), []).append(clip)
    taken: set[tuple[str, str]] = set()
    out = []
    for (subject, _), clips in groups.items():
        name = _unique(subject, clips[0].video or clips[0].id, taken)
        ordered = sorted(clips, key=lambda c: (c.onset or 0, natural(c.id)))
        out.append(Recording(data.spec.name, subject, name, clips[0].frames, tuple(ordered), fps))
    if bare:
        out += _bare(data, out, fps, taken)
    return sorted(out, key=lambda r: (natural(r.subject), natural(r.id)))


def _unique(subject: str, name: str, taken: set[tuple[str, str]]) -> str:
    """A video of which some clips lie elsewhere is several recordings."""
    wanted, k = name, 1
    while (subject, name) in taken:
        k += 1
        name = f"{wanted}~{k}"
    taken.add((subject, name))
    return name


def _bare(
    data: DataSet, known: Sequence[Recording], fps: float | None, taken: set[tuple[str, str]]
) -> list[Recording]:
    """Folders of pictures beside the annotated ones. The subject is the one whose folders are named alike."""
    folders = {r.frames.folder: r for r in known if r.frames.folder is not None}
    out = []
    for parent, near in _parents(folders).items():
        for folder in sorted(parent.iterdir(), key=lambda p: natural(p.name)):
            if folder in folders or not folder.is_dir() or not _has_pictures(folder):
                continue
            subject = _subject(folder, near)
            name = _unique(subject, folder.name, taken)
            rate = fps if fps is not None else near[0].clips[0].fps
            out.append(Recording(data.spec.name, subject, name, Frames(folder), (), rate))
    return out


def _parents(folders: Mapping[Path, Recording]) -> dict[Path, list[Recording]]:
    out: dict[Path, list[Recording]] = {}
    for folder, recording in folders.items():
        out.setdefault(folder.parent, []).append(recording)
    return out


def _subject(folder: Path, near: Sequence[Recording]) -> str:
    """The one subject of the folders beside it, else the one whose folders begin with the same number."""
    if len({r.subject for r in near}) == 1:
        return near[0].subject
    number = re.match(r"\D*(\d+)", folder.name)
    for recording in near:
        other = recording.frames.folder
        match = re.match(r"\D*(\d+)", other.name) if other is not None else None
        if number and match and int(number[1]) == int(match[1]):
            return recording.subject
    return folder.name.split("_")[0]


def _has_pictures(folder: Path) -> bool:
    return any(entry.suffix.lower() in PICTURES for entry in folder.iterdir())
