"""What each data set's release looks like: file names, headings, folders, published counts.

Written from the public descriptions and headings of the releases; no data set is part of this project.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from mellm.evaluation.datasets.clips import Kind
from mellm.evaluation.datasets.units import Question

Tails = Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Place:
    """What the folder of a clip is told from.

    :param number: the subject's number
    :param name: the cell "Filename"
    :param subject: names of the subject and of the video on disk, where a sheet of the release maps them
    :param code: as ``subject``
    """

    number: int
    name: str
    onset: int | None
    emotion: str | None
    subject: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class Published:
    """Counts that the release, or a paper on it, states. Empty or ``None``: not known to this project."""

    micro: int | None = None
    macro: int | None = None
    subjects: int | None = None
    emotions: Mapping[str, int] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True)
class Spec:
    """One data set.

    :param files: patterns of the annotation file's name, best first
    :param every: read one file for each pattern (a release in splits) instead of the first that is there
    :param sheets: pattern of the sheet to take first
    :param aliases: role → folded headings, see :func:`mellm.evaluation.datasets.sheets.find_header`
    :param positions: role → 0-based column of a release without headings
    :param shapes: role → pattern that a cell at its position must match for the position to be believed
    :param subject: format of a subject's name from its number
    :param subject_in_name: pattern whose group is the subject's number within the file name
    :param tails: last parts of the paths a clip's folder may have, best first
    :param video: what several clips of one recording have in common
    :param trimmed: pictures begin at the onset, renumbered from 1, unless a column ``first`` tells their first label
    :param clip_id: name of a clip, where the file name alone is shared by several
    :param joins: another data set whose release has the emotions
    :param parts: part of the release → frames per second
    :param question: what "?" after an action unit doubts
    """

    name: str
    title: str
    fps: float | None
    files: Sequence[str]
    aliases: Mapping[str, Sequence[str]]
    required: Sequence[str]
    subject: str
    tails: Callable[[Place], Tails]
    published: Published = Published()
    every: bool = False
    sheets: str = ""
    positions: Mapping[str, int] = field(default_factory=dict)
    shapes: Mapping[str, str] = field(default_factory=dict)
    subject_in_name: str = ""
    prefer: Sequence[str] = ()
    avoid: str = ""
    video: Callable[[Place], str] | None = None
    clip_id: Callable[[Place], str] = lambda place: place.name
    joins: str = ""
    parts: Mapping[str, float] = field(default_factory=dict)
    trimmed: bool = False
    kind: Kind = "micro"
    question: Question = "unit"
    fps_note: str = ""


_SUBJECT = ("subject", "subjectid", "subid", "sub", "subjectno", "participant", "subjects")
_NAME = ("filename", "filenames", "file", "clip", "clipname", "video", "videoname", "name")
_ONSET = ("onsetframe", "onset", "onsetf", "onsetindex")
_APEX = ("apexframe", "apex", "apexf", "apexf1", "apex1", "apexindex")
_OFFSET = ("offsetframe", "offset", "offsetf", "offsetindex")
_UNITS = ("actionunits", "aus", "au", "actionunit", "facs", "aucode", "aulabel")
_EMOTION = ("estimatedemotion", "emotion", "emotions", "emotionlabel", "selfreportemotion")
_KIND = ("type", "expressiontype", "micro", "exptype", "macromicro", "kind")

COMMON: Final[Mapping[str, Sequence[str]]] = {
    "subject": _SUBJECT,
    "name": _NAME,
    "onset": _ONSET,
    "apex": _APEX,
    "offset": _OFFSET,
    "units": _UNITS,
    "emotion": _EMOTION,
}
_TYPED: Final = {**COMMON, "kind": _KIND}
_WHOLE: Final = ("subject", "name", "onset", "apex", "offset", "units", "emotion")


def _sub_folder(place: Place) -> Tails:
    return [(f"sub{place.number:02d}", place.name), (str(place.number), place.name)]


CASME2 = Spec(
    name="casme2",
    title="CASME II",
    fps=200,
    files=(r"^casme2[-_ ]?coding", r"^casme2[-_ ]?label", r"casme[-_ ]?(2|ii)(?!\d).*"),
    aliases=COMMON,
    required=_WHOLE,
    subject="sub{:02d}",
    tails=_sub_folder,
    prefer=("raw", "cropped"),
    published=Published(
        micro=255,
        subjects=26,
        emotions={
            "others": 99,
            "disgust": 63,
            "happiness": 32,
            "repression": 27,
            "surprise": 28,
            "sadness": 4,
            "fear": 2,
        },
        note="another version of the file has surprise 25 and sadness 7",
    ),
)

SAMM = Spec(
    name="samm",
    title="SAMM",
    fps=200,
    files=(r"^samm_micro_facs", r"^samm(?!.*long)"),
    sheets=r"micro_only",
    aliases=_TYPED,
    required=_WHOLE,
    subject="{:03d}",
    subject_in_name=r"^(\d+)_",
    tails=lambda place: [(f"{place.number:03d}", place.name), (place.name,)],
    question="offset",
    published=Published(
        micro=159,
        emotions={
            "anger": 57,
            "happiness": 26,
            "others": 26,
            "surprise": 15,
            "contempt": 12,
            "disgust": 9,
            "fear": 8,
            "sadness": 6,
        },
    ),
)

SAMM_LV = Spec(
    name="samm-lv",
    title="SAMM Long Videos",
    fps=200,
    files=(r"^samm[-_ ]?long.*v3", r"^samm[-_ ]?long.*v2", r"^samm[-_ ]?long"),
    aliases={role: names for role, names in _TYPED.items() if role != "emotion"},
    required=("subject", "name", "onset", "apex", "offset", "kind", "units"),
    positions={"subject": 0, "name": 1, "onset": 3, "apex": 4, "offset": 5, "kind": 7, "units": 8},
    shapes={"subject": r"^\d+", "name": r"^\d+_\d+_\d+$", "kind": r"^(ma|mi)"},
    subject="{:03d}",
    subject_in_name=r"^(\d+)_",
    tails=lambda place: [(place.name.rsplit("_", 1)[0],)],
    video=lambda place: place.name.rsplit("_", 1)[0],
    clip_id=lambda place: place.name,
    joins="samm",
    question="offset",
    published=Published(micro=159, macro=343, note="147 videos; emotions only in SAMM"),
)

CASME_SQUARED = Spec(
    name="cas(me)^2",
    title="CAS(ME)^2",
    fps=30,
    files=(r"^cas\(me\)\^?2.*code", r"^cas\(?me\)?[\^_ ]?2(?!-coding|-label)"),
    aliases={
        **_TYPED,
        "kind": ("expressiontype", "type", "kind"),
        "class": ("class", "emotionclass", "emotiontype"),
        "emotion": ("selfreportemotion", "selfreport", "emotion"),
    },
    required=("subject", "name", "onset", "apex", "offset", "units", "class", "kind"),
    positions={
        "subject": 0,
        "name": 1,
        "onset": 2,
        "apex": 3,
        "offset": 4,
        "units": 5,
        "class": 6,
        "kind": 7,
        "emotion": 8,
    },
    shapes={"subject": r"^\d+", "name": r"_\d+$", "kind": r"^(ma|mi)"},
    subject="s{:02d}",
    tails=lambda place: [(place.subject or f"s{place.number:02d}", place.name)],
    prefer=("rawpic", "longvideo"),
    video=lambda place: place.name.rsplit("_", 1)[0],
    published=Published(micro=57, macro=300, subjects=22),
)

_CAS3 = {**_TYPED, "emotion": ("emotion", "emotions"), "units": ("au", "aus", "actionunits")}
CAS3_A = Spec(
    name="cas(me)^3-a",
    title="CAS(ME)^3 part A",
    fps=30,
    files=(r"^cas\(?me\)?\^?3.*part_?a.*me_?label", r"^cas\(?me\)?\^?3.*part_?a"),
    sheets=r"^(label|au\+emotion)$",
    aliases=_CAS3,
    required=_WHOLE,
    subject="spNO.{}",
    tails=lambda place: [
        (f"spno.{place.number}", place.name, "color"),
        (f"spno.{place.number}_{place.name}_{place.onset}",),
    ],
    clip_id=lambda place: f"{place.name.casefold()}_{place.onset}",
    video=lambda place: f"spNO.{place.number}_{place.name.casefold()}",
    published=Published(
        micro=860,
        emotions={
            "disgust": 250,
            "surprise": 187,
            "others": 161,
            "fear": 86,
            "anger": 64,
            "sadness": 57,
            "happiness": 55,
        },
        note="the file of both kinds has 3346 macro-expressions more",
    ),
)

CAS3_C = Spec(
    name="cas(me)^3-c",
    title="CAS(ME)^3 part C",
    fps=30,
    files=(r"^cas\(?me\)?\^?3.*part_?c.*me", r"^cas\(?me\)?\^?3.*part_?c"),
    sheets=r"mockcrime",
    aliases={**_CAS3, "name": ("count", *_NAME)},
    required=("subject", "name", "onset", "offset", "units", "emotion"),
    subject="{:02d}",
    tails=lambda place: [
        (f"{place.number:02d}", place.name, "color"),
        (f"spno.{place.number}", place.name, "color"),
    ],
    published=Published(micro=165, note="no apex in this part"),
)


def _smic(variant: str, fps: float, clips: int, emotions: Mapping[str, int]) -> Spec:
    others = "|".join({"hs", "vis", "nir"} - {variant})
    more = {
        f"{role}{k}": (f"{role}{k}f", f"{role}f{k}", f"{role}{k}")
        for k in range(2, 6)
        for role in ("onset", "offset")
    }
    return Spec(
        name=f"smic-{variant}",
        title=f"SMIC {variant.upper()}",
        fps=fps,
        files=(rf"^smic[-_ ]?{variant}.*annotation", rf"^smic[-_ ]?{variant}", rf"^{variant}.*annotation"),
        aliases={
            "subject": _SUBJECT,
            "name": _NAME,
            "onset": ("onsetf", "onset1f", "onset", "onsetframe"),
            "offset": ("offsetf", "offset1f", "offset", "offsetframe"),
            "emotion": _EMOTION,
            "first": ("firstf", "firstframe"),
            **more,
        },
        required=("subject", "name", "onset", "offset", "emotion"),
        subject="s{:02d}",
        subject_in_name=r"^s(\d+)_",
        tails=lambda place: [
            (f"s{place.number:02d}", place.name),
            ("negative", place.name),
            ("positive", place.name),
            ("surprise", place.name),
            (place.name,),
        ],
        prefer=(f"{variant}/",),
        avoid=rf"(^|[/_-])({others})([/_-]|$)",
        published=Published(micro=clips, emotions=emotions, note="no apex and no action units"),
    )


MMEW = Spec(
    name="mmew",
    title="MMEW",
    fps=90,
    files=(r"^mmew_micro", r"^mmew"),
    aliases=COMMON,
    required=_WHOLE,
    subject="S{:02d}",
    subject_in_name=r"^s(\d+)-",
    tails=lambda place: [(place.emotion or "", place.name), ("micro_expression", place.name), (place.name,)],
    trimmed=True,
    published=Published(micro=300),
)

DFME = Spec(
    name="dfme",
    title="DFME",
    fps=None,
    files=(r"train.*\.(xlsx|xls|csv)$", r"test[-_ ]?a", r"test[-_ ]?b"),
    every=True,
    aliases={
        **COMMON,
        "part": ("part", "subset"),
        "fps": ("fps", "framerate"),
    },
    required=("name", "onset", "apex", "offset"),
    subject="sub{:04d}",
    subject_in_name=r"^sub(\d+)_",
    tails=lambda place: [(place.name,)],
    parts={"A": 500.0, "B": 300.0, "C": 200.0},
    published=Published(
        micro=1856 + 474 + 299,
        emotions={
            "disgust": 548 + 129 + 58,
            "surprise": 298 + 101 + 48,
            "sadness": 278 + 46 + 35,
            "fear": 265 + 62 + 38,
            "happiness": 206 + 63 + 42,
            "anger": 161 + 39 + 41,
            "contempt": 100 + 34 + 37,
        },
        note="training 1856, test A 474, test B 299; the whole collection has 7526 of 656 people",
    ),
)

FOUR_DME = Spec(
    name="4dme",
    title="4DME",
    fps=60,
    fps_note="60 for the grey and 4D recordings, 30 for the depth camera; not checked against the release",
    files=(r"^4dme.*micro", r"^4dme"),
    aliases={**COMMON, "name": ("foldname", "foldername", *_NAME)},
    required=_WHOLE,
    subject="{}",
    tails=lambda place: [(str(place.number), place.name), (f"sub{place.number}", place.name), (place.name,)],
    prefer=("gray_micro", "gray"),
    published=Published(note="counts of the release are not known to this project"),
)

CASME = Spec(
    name="casme",
    title="CASME",
    fps=60,
    files=(r"^casme(?![-_ ]?2|[-_ ]?ii|\d).*\.(xlsx|xls|csv)$",),
    aliases=COMMON,
    required=_WHOLE,
    subject="sub{:02d}",
    tails=_sub_folder,
    prefer=("raw", "cropped"),
    published=Published(note="counts of the release are not known to this project"),
)

SPECS: Final[dict[str, Spec]] = {
    spec.name: spec
    for spec in (
        CASME,
        CASME2,
        SAMM,
        SAMM_LV,
        CASME_SQUARED,
        CAS3_A,
        CAS3_C,
        _smic("hs", 100, 157, {"negative": 65, "positive": 51, "surprise": 41}),
        _smic("vis", 25, 71, {}),
        _smic("nir", 25, 71, {}),
        MMEW,
        DFME,
        FOUR_DME,
    )
}
