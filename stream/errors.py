"""Every error this project raises on purpose, in one tree.

::

    MellmError
    ├── InternalError              nobody foresaw it; whatever failed is started again (retryable)
    ├── UsageError                 a flag, setting or call that cannot be obeyed
    │   ├── ConfigError            a configuration key or value
    │   ├── PurposeRefused         a purpose that the project does not serve
    │   ├── ConsentMissing         a source whose people are not known to have agreed
    │   │   └── ConsentWithdrawn   … or do not agree any more
    │   └── MissingExtra           an optional dependency is not installed
    ├── SourceError                a camera, stream or recording
    │   ├── SourceNotFound         nothing at that path or device
    │   ├── SourceUnsupported      unknown scheme, not a video, codec not allowed
    │   ├── SourceEmpty            it opened and holds no picture
    │   ├── SourceTooLarge         pixels, duration or streams over the bounds
    │   ├── SourceCorrupt          damaged, or ends before its declared end
    │   ├── SourceTimeUnknown      nothing says when its pictures were taken
    │   ├── SourceUnauthorized     wrong or missing password
    │   ├── SourceUnreachable      no route, refused, host unknown       (retryable)
    │   └── SourceTimeout          opened or read too slowly             (retryable)
    ├── ModelError                 weights and inference sessions
    │   ├── ModelMissing           not in the cache
    │   ├── ModelCorrupt           hash, shape or format is wrong
    │   ├── ModelMismatch          trained on other input than this version gives
    │   ├── ProviderUnavailable    the device asked for is not there
    │   └── ModelOutputInvalid     NaN or wrong shape at run time
    ├── FaceError                  a picture that holds no usable face
    ├── DescriberError             the language model behind a description
    │   ├── DescriberUnavailable   connection, 5xx, 429                  (retryable)
    │   │   └── DescriberPaused    left alone after failures in a row    (retryable)
    │   ├── DescriberTimeout       deadline passed                       (retryable)
    │   ├── DescriberRejected      4xx: the request itself is wrong
    │   └── AnswerInvalid          an answer that is not what was asked for
    ├── JournalError               the event log on disk
    ├── AuditError                 an audit log that cannot be written, or does not hold together
    ├── RunError                   a run folder that cannot be written, read or resumed
    ├── BusError                   what goes between machines
    │   ├── BusUnavailable         the broker does not answer            (retryable)
    │   ├── BusConflict            somebody else was first
    │   ├── BusRefused             no right to this subject
    │   └── MessageInvalid         a message that is too large, of another version, or not ours
    └── ProtocolError              a WebSocket peer; carries the close code
"""

from __future__ import annotations

from typing import ClassVar


class MellmError(Exception):
    """Base of all errors of this project.

    ``str(error)`` is one sentence that names the input; :attr:`remedy` is what to do about it.
    """

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} — {self.remedy}" if self.remedy else self.message


class InternalError(MellmError):
    """Something failed that nobody foresaw, or stood still. The log has the trace."""

    code = "internal"
    retryable = True

    @classmethod
    def of(cls, where: str, error: BaseException) -> InternalError:
        """For an error of somebody else's; it becomes the cause.

        :param where: what it ended
        """
        made = cls(f"{where} failed ({type(error).__name__})", remedy="it is started again; see the log")
        made.__cause__ = error
        return made


class UsageError(MellmError):
    """A flag, setting or call that cannot be obeyed."""

    code = "usage"
    exit_code = 2


class ConfigError(UsageError):
    """A configuration key is unknown or its value is out of range."""

    code = "config"


class PurposeRefused(UsageError):
    """The stated purpose is one this project does not serve."""

    code = "purpose_refused"


class ConsentMissing(UsageError):
    """Nobody has stated that the people before this camera agreed."""

    code = "consent_missing"


class ConsentWithdrawn(ConsentMissing):
    """The people before this camera do not agree any more."""

    code = "consent_withdrawn"


class MissingExtra(UsageError):
    """An optional dependency is not installed."""

    code = "missing_extra"


class SourceError(MellmError):
    """A camera, stream or recording that cannot be used."""

    code = "source"
    exit_code = 3


class SourceNotFound(SourceError):
    """There is nothing at that path or device."""

    code = "source_not_found"


class SourceUnsupported(SourceError):
    """The scheme, container, codec or content is not one that can be read."""

    code = "source_unsupported"


class SourceEmpty(SourceError):
    """The source opened and holds no picture."""

    code = "source_empty"


class SourceTooLarge(SourceError):
    """Pixels, duration or streams exceed the bounds."""

    code = "source_too_large"


class SourceCorrupt(SourceError):
    """The recording is damaged or ends before its declared end."""

    code = "source_corrupt"


class SourceTimeUnknown(SourceError):
    """Nothing says when its pictures were taken, or for too many of them it had to be guessed."""

    code = "source_time_unknown"


class SourceUnauthorized(SourceError):
    """The source wants another user name or password."""

    code = "source_unauthorized"


class SourceUnreachable(SourceError):
    """The host is unknown, refuses, or cannot be reached."""

    code = "source_unreachable"
    retryable = True


class SourceTimeout(SourceError):
    """The source opened or delivered too slowly."""

    code = "source_timeout"
    retryable = True


class ModelError(MellmError):
    """Weights or an inference session that cannot be used."""

    code = "model"
    exit_code = 4


class ModelMissing(ModelError):
    """The weights are not in the cache."""

    code = "model_missing"


class ModelCorrupt(ModelError):
    """The weights have the wrong hash, shape or format."""

    code = "model_corrupt"


class ModelMismatch(ModelError):
    """The weights were trained on other input than this version gives them."""

    code = "model_mismatch"


class ProviderUnavailable(ModelError):
    """The device asked for is not there."""

    code = "provider_unavailable"


class ModelOutputInvalid(ModelError):
    """A network answered with NaN or with the wrong shape."""

    code = "model_output_invalid"


class FaceError(MellmError):
    """A picture that holds no usable face."""

    code = "no_face"
    exit_code = 3


class DescriberError(MellmError):
    """The language model behind a description failed."""

    code = "describer"
    exit_code = 5


class DescriberUnavailable(DescriberError):
    """The endpoint refused the connection, or answered 429 or 5xx.

    :param retry_after: seconds the endpoint, or the circuit breaker, asks to wait
    :param reached: whether the model may have begun on the request: asking again and again for the same
        expression could then be what brings it down
    """

    code = "describer_unavailable"
    retryable = True

    def __init__(
        self, message: str, *, remedy: str = "", retry_after: float | None = None, reached: bool = False
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after = retry_after
        self.reached = reached


class DescriberPaused(DescriberUnavailable):
    """Nobody was asked: the endpoint failed several times in a row and is left alone until ``retry_after``."""

    code = "describer_paused"


class DescriberTimeout(DescriberError):
    """The endpoint did not answer before the deadline."""

    code = "describer_timeout"
    retryable = True


class DescriberRejected(DescriberError):
    """The endpoint answered 4xx: the request, key or model name is wrong."""

    code = "describer_rejected"


class AnswerInvalid(DescriberError):
    """The model's answer is not what was asked for."""

    code = "answer_invalid"


class JournalError(MellmError):
    """The event log on disk cannot be opened, read or written."""

    code = "journal"
    exit_code = 6


class AuditError(MellmError):
    """The audit log cannot be opened or written, or it does not hold together."""

    code = "audit"
    exit_code = 6


class RunError(MellmError):
    """A run folder cannot be written, read or resumed."""

    code = "run"
    exit_code = 6


class BusError(MellmError):
    """What goes between machines cannot be sent or read."""

    code = "bus"
    exit_code = 6


class BusUnavailable(BusError):
    """The broker does not answer, or its disk takes nothing."""

    code = "bus_unavailable"
    retryable = True


class BusConflict(BusError):
    """Somebody else was first: the key or subject has changed since it was read."""

    code = "bus_conflict"


class BusRefused(BusError):
    """Whoever is connected has no right to this subject."""

    code = "bus_refused"


class MessageInvalid(BusError):
    """A message is too large, of a version that this program does not read, or not ours."""

    code = "message_invalid"


class ProtocolError(MellmError):
    """A WebSocket peer broke the protocol, or closed for a stated reason."""

    code = "protocol"
    exit_code = 6

    def __init__(self, message: str, *, close_code: int = 4400, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.close_code = close_code
