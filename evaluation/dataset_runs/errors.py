"""Why a clip or a recording cannot be put before the engine. Each ends as a row that carries the code."""

from __future__ import annotations

from mellm.evaluation.datasets.errors import DatasetError


class FramesMissing(DatasetError):
    """No folder, an empty one, or one without the frames that are needed."""

    code = "frames_missing"


class RateUnknown(DatasetError):
    """The release does not say how many frames a second it has."""

    code = "rate_unknown"


class RatesMixed(DatasetError):
    """The annotation gives one recording several frame rates."""

    code = "rates_mixed"


class MomentUnknown(DatasetError):
    """The onset or the apex of a clip is not known, and no policy was named that fills it."""

    code = "moment_unknown"


class SizesDiffer(DatasetError):
    """Onset and apex are pictures of different sizes."""

    code = "sizes_differ"
