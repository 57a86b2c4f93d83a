"""What a data set on disk holds, against what its release is said to hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mellm.evaluation.datasets.clips import Clip
from mellm.evaluation.datasets.load import DataSet
from mellm.evaluation.datasets.rows import RULES, Repair


@dataclass(frozen=True, slots=True)
class Count:
    """One count.

    :param published: what the release or a paper on it states, ``None`` where that is not known to this project
    """

    what: str
    found: int
    published: int | None = None

    @property
    def differs(self) -> bool:
        """Whether something is stated, and it is another number."""
        return self.published is not None and self.published != self.found


@dataclass(frozen=True, slots=True)
class Lack:
    """What one clip lacks.

    :param frames: labels between onset and offset without a file, as ranges such as ``57-86``
    """

    subject: str
    clip: str
    unknown: tuple[str, ...]
    folder: bool
    frames: str = ""

    def words(self) -> str:
        """All of it in one line."""
        parts = [f"{name} unknown" for name in self.unknown]
        if self.folder:
            parts.append("no folder with pictures")
        if self.frames:
            parts.append(f"no pictures {self.frames}")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class Inspection:
    """Everything that ``mellm dataset inspect`` tells."""

    title: str
    sources: tuple[str, ...]
    counts: tuple[Count, ...]
    note: str
    frame_rates: Mapping[str, int]
    lacks: tuple[Lack, ...]
    repairs: tuple[Repair, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        plain = asdict(self)
        plain["counts"] = [asdict(each) | {"differs": each.differs} for each in self.counts]
        plain["lacks"] = [asdict(each) | {"words": each.words()} for each in self.lacks]
        plain["rules"] = {rule: RULES[rule] for rule in sorted({each.rule for each in self.repairs})}
        return plain


def inspect(data: DataSet, *, pictures: bool = True) -> Inspection:
    """Count, and look for what is missing.

    :param pictures: look into the folders of pictures too, which takes long on a slow disk
    """
    published = data.spec.published
    kinds = Counter(clip.kind for clip in data.clips)
    emotions = Counter(clip.emotion or "unknown" for clip in data.clips if clip.kind == "micro")
    counts = [
        Count("micro-expressions", kinds["micro"], published.micro),
        Count("subjects", len({clip.subject for clip in data.clips}), published.subjects),
    ]
    if kinds["macro"] or published.macro is not None:
        counts.insert(1, Count("macro-expressions", kinds["macro"], published.macro))
    if videos := {clip.video for clip in data.clips if clip.video}:
        counts.append(Count("recordings", len(videos)))
    named = sorted(emotions.keys() | published.emotions.keys(), key=lambda name: (-emotions[name], name))
    counts += [Count(f"emotion {name}", emotions[name], published.emotions.get(name)) for name in named]
    rates = Counter("unknown" if clip.fps is None else f"{clip.fps:g}" for clip in data.clips)
    lacks = [lack for lack in (_lack(clip, pictures) for clip in data.clips) if lack is not None]
    return Inspection(
        data.spec.title,
        tuple(str(path.relative_to(data.root)) for path in data.sources),
        tuple(counts),
        "; ".join(text for text in (published.note, data.spec.fps_note) if text),
        dict(sorted(rates.items())),
        tuple(lacks),
        data.repairs,
    )


def _lack(clip: Clip, pictures: bool) -> Lack | None:
    moments = {"onset": clip.onset, "apex": clip.apex, "offset": clip.offset}
    unknown = tuple(name for name, label in moments.items() if label is None)
    no_folder = pictures and clip.frames.folder is None
    frames = ranges(clip.missing()) if pictures and not no_folder else ""
    if not unknown and not no_folder and not frames:
        return None
    return Lack(clip.subject, clip.id, unknown, no_folder, frames)


def ranges(labels: tuple[int, ...]) -> str:
    """Rising numbers as ranges.

    >>> ranges((1, 2, 3, 7, 9, 10))
    '1-3, 7, 9-10'
    """
    runs: list[list[int]] = []
    for label in labels:
        if runs and label == runs[-1][1] + 1:
            runs[-1][1] = label
        else:
            runs.append([label, label])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
