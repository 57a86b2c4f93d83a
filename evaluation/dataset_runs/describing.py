"""The describer over annotated clips: onset and apex → evidence → answer, one row a clip."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from mellm.detectors.analyzer import Analyzer, FaceAnalyzer
from mellm.detectors.quality import assess
from mellm.detectors.types import U8, Quality
from mellm.engine.analysis.pipeline import Spotted
from mellm.engine.describe.base import DescribeContext, Describer, Recipe
from mellm.engine.describe.retry import ask
from mellm.engine.evidence import motion_map
from mellm.engine.types import Description, Evidence
from mellm.evaluation.dataset_runs.errors import FramesMissing, MomentUnknown, SizesDiffer
from mellm.evaluation.datasets import Clip
from mellm.stream.errors import FaceError
from mellm.stream.frames import Frame

MISSING_NAMED = 5
"""Names at most so many frames in a message."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who describes, and who finds the face.

    :param analyzer: reset before each pair: pairs are not frames of one video
    """

    describer: Describer
    analyzer: Analyzer
    deadline_s: float = 60.0

    def ask(self, clip: Clip) -> dict[str, Any]:
        """The row of a clip.

        :raises DatasetError: its frames or moments are missing
        :raises FaceError: no face at the onset
        :raises DescriberError: the describer failed
        """
        began = time.monotonic()
        evidence, quality = evidence_of(clip, self.analyzer, self.describer.recipe)
        below = quality.reasons[0] if quality.verdict == "refused" else None
        context = DescribeContext(key_of(clip), duration_ms(clip), deadline_s=self.deadline_s)
        answer = self._answer(evidence, evidence.refused or below, context)
        return {
            **head(clip),
            **answer,
            "face_width": round(quality.face_width, 1),
            "motion": round(evidence.flow_stats.get("peak_iod", 0.0), 4),
            "wall_s": round(time.monotonic() - began, 3),
        }

    def read(self, spotted: Spotted) -> Mapping[str, Any]:
        """What a spotted expression shows, for its row."""
        expression = spotted.expression
        context = DescribeContext(
            expression.id, spotted.duration_ms, expression.aus, self.deadline_s, expression.score
        )
        return self._answer(spotted.evidence, spotted.evidence.refused, context)

    def _answer(self, evidence: Evidence, refused: str | None, context: DescribeContext) -> dict[str, Any]:
        if refused is not None:
            return {"state": "abstained", "reason": refused, **_answer_fields(None)}
        answer = ask(self.describer, evidence, context)
        state = "abstained" if answer.abstained else "described"
        return {"state": state, "reason": answer.abstained, **_answer_fields(answer)}


def evidence_of(clip: Clip, analyzer: Analyzer, recipe: Recipe) -> tuple[Evidence, Quality]:
    """Motion evidence between a clip's onset and its apex.

    :param analyzer: finds the face; reset first
    :raises DatasetError: its frames or moments are missing
    :raises FaceError: no face at the onset
    """
    first, second = _pair(clip)
    gray = _gray(first)
    analyzer.reset()
    faces = analyzer.push(Frame("pair", 0, 0, 0, 0, first)).faces
    if not faces:
        raise FaceError(f"{key_of(clip)}: no face in frame {clip.onset}", remedy="use uncropped frames")
    face = max(faces, key=lambda f: f.box[2] * f.box[3])
    quality = assess(face, gray, clip.fps or 0.0)
    return motion_map.build(gray, _gray(second), face.landmarks, recipe), quality


def head(clip: Clip) -> dict[str, Any]:
    """What every row of a clip begins with."""
    return {
        "key": key_of(clip),
        "dataset": clip.dataset,
        "subject": clip.subject,
        "clip": clip.id,
        "onset": clip.onset,
        "apex": clip.apex,
    }


def key_of(clip: Clip) -> str:
    """Names the clip in every file of a run folder."""
    return f"{clip.dataset}/{clip.subject}/{clip.id}"


def _pair(clip: Clip) -> tuple[U8, U8]:
    if clip.onset is None or clip.apex is None:
        what = "apex" if clip.onset is not None else "onset"
        raise MomentUnknown(
            f"{key_of(clip)}: the {what} is not known",
            remedy="name a policy with --apex-policy" if what == "apex" else "correct the annotation",
        )
    if clip.frames.folder is None:
        raise FramesMissing(
            f"{key_of(clip)}: no folder was found", remedy="`mellm dataset inspect` says more"
        )
    lost = [label for label in (clip.onset, clip.apex) if label not in clip.frames]
    if lost:
        raise FramesMissing(
            f"{key_of(clip)}: no frame {' and '.join(map(str, lost[:MISSING_NAMED]))} in {clip.frames.folder}",
            remedy="`mellm dataset inspect` lists gaps",
        )
    first, second = clip.frames.read(clip.onset), clip.frames.read(clip.apex)
    if first.shape != second.shape:
        raise SizesDiffer(f"{key_of(clip)}: onset and apex are pictures of different sizes")
    return first, second


def duration_ms(clip: Clip) -> float:
    """From onset to offset; 0 where one of them, or the rate, is not known."""
    if clip.onset is None or clip.offset is None or not clip.fps:
        return 0.0
    return (clip.offset - clip.onset) * 1000 / clip.fps


def _gray(image: U8) -> U8:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)


def _answer_fields(answer: Description | None) -> dict[str, Any]:
    """The fields of an answer, the same for every row."""
    emotion = None if answer is None or answer.abstained else answer.emotion
    return {
        "coarse": emotion.coarse if emotion else None,
        "scores": {k: round(v, 4) for k, v in emotion.scores.items()} if emotion else None,
        "units": []
        if answer is None
        else [{"au": u.au, "side": u.side, "score": round(u.score, 4)} for u in answer.action_units],
        "text": answer.text if answer is not None else "",
        "model": answer.model if answer is not None else None,
        "fallback": answer.fallback.reason if answer is not None and answer.fallback else None,
        "tokens": [answer.usage.prompt_tokens, answer.usage.completion_tokens] if answer else [0, 0],
    }


def analyzer(device: str) -> FaceAnalyzer:
    """The product's analyzer; data sets show one person, so one face is followed.

    :raises ModelMissing: the face models were not pulled
    :raises ProviderUnavailable: no such device
    """
    from mellm.detectors.analyzer import AnalyzerOptions

    return FaceAnalyzer(AnalyzerOptions(max_faces=1, device=device))
