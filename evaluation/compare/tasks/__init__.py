"""What can be asked: MME, the challenge's questions, a data set's clips, and samples by domain."""

from __future__ import annotations

from mellm.evaluation.compare.config import MmeTask, QualitativeTask, UnderstandingTask, VqaTask
from mellm.evaluation.compare.types import Task


def load(settings: MmeTask | VqaTask | UnderstandingTask | QualitativeTask) -> Task:
    """The task that a file names.

    :raises MellmError: its folder or file is not there, or not what it should be
    """
    # each brings libraries of its own
    match settings:
        case MmeTask():
            from mellm.evaluation.compare.tasks.mme import Mme

            return Mme(settings)
        case VqaTask():
            from mellm.evaluation.compare.tasks.vqa import Vqa

            return Vqa(settings)
        case UnderstandingTask():
            from mellm.evaluation.compare.tasks.understanding import Understanding

            return Understanding(settings)
        case QualitativeTask():
            from mellm.evaluation.compare.tasks.qualitative import Qualitative

            return Qualitative(settings)
