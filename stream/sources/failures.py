"""Turns what FFmpeg reports into this project's errors.

FFmpeg's own messages hold the address with its password, so only their codes are used.
"""

from __future__ import annotations

import errno

import av

from mellm.stream.errors import (
    SourceCorrupt,
    SourceEmpty,
    SourceError,
    SourceNotFound,
    SourceTimeout,
    SourceUnauthorized,
    SourceUnreachable,
    SourceUnsupported,
)
from mellm.stream.sources.formats import SUFFIXES

_MAGIC = (
    (4, b"ftyp"),
    (0, b"\x1aE\xdf\xa3"),
    (0, b"RIFF"),
    (0, b"GIF8"),
    (4, b"moov"),
    (4, b"mdat"),
    (0, b"FLV\1"),
    (0, b"OggS"),
    (0, b"0&\xb2u"),
    (0, b"YUV4MPEG2"),
)


def file_failure(error: Exception, shown: str, head: bytes) -> SourceError:
    """Why a recording could not be opened.

    :param head: the first bytes of the file, which tell a damaged video from something else
    """
    if isinstance(error, PermissionError):
        return SourceUnauthorized(f"{shown}: may not be read", remedy="check its permissions")
    if isinstance(error, FileNotFoundError):
        return SourceNotFound(f"{shown}: there is no such file", remedy="check the path")
    if any(head[at : at + len(magic)] == magic for at, magic in _MAGIC):
        return SourceCorrupt(
            f"{shown}: the recording is damaged or was cut off before its index was written",
            remedy="copy or record it again; a cut-off mp4 needs a repair tool",
        )
    return SourceUnsupported(
        f"{shown}: not a video that can be read", remedy=f"use one of {', '.join(SUFFIXES)}"
    )


def camera_failure(error: Exception, shown: str) -> SourceError:
    """Why a camera could not be opened, or broke."""
    number = getattr(error, "errno", None)
    if isinstance(error, FileNotFoundError) or number in (errno.ENODEV, errno.ENXIO):
        return SourceNotFound(f"{shown}: no such camera", remedy="list cameras with `ls /dev/video*`")
    if isinstance(error, PermissionError):
        return SourceUnauthorized(
            f"{shown}: may not be opened", remedy="add your user to the group `video` and log in again"
        )
    if number == errno.EBUSY:
        return SourceUnreachable(f"{shown}: another program uses it", remedy="close that program")
    if isinstance(error, av.DemuxerNotFoundError):
        return SourceUnsupported(f"{shown}: cameras cannot be read here", remedy="use a stream or a file")
    return SourceUnreachable(f"{shown}: the camera failed ({_code(error)})", remedy="plug it in again")


def network_failure(error: Exception, shown: str, *, opening: bool) -> SourceError:
    """Why a stream could not be opened, or broke."""
    if isinstance(error, (av.HTTPUnauthorizedError, av.HTTPForbiddenError)):
        return SourceUnauthorized(
            f"{shown}: wrong or missing user name or password",
            remedy="put them into the address, before the host: USER:PASSWORD@HOST",
        )
    if isinstance(error, av.HTTPNotFoundError):
        return SourceNotFound(f"{shown}: the server has no such stream", remedy="check the path")
    if isinstance(error, av.HTTPClientError):
        return SourceUnsupported(f"{shown}: the server refused ({_code(error)})", remedy="check the address")
    if isinstance(error, (av.ExitError, TimeoutError)):
        doing = "answer" if opening else "send"
        return SourceTimeout(
            f"{shown}: the server did not {doing} in time", remedy="check camera and network"
        )
    if isinstance(error, (av.ProtocolNotFoundError, av.DecoderNotFoundError, av.DemuxerNotFoundError)):
        return SourceUnsupported(f"{shown}: its kind of stream cannot be read", remedy="use RTSP or MJPEG")
    if isinstance(error, (av.InvalidDataError, av.PatchWelcomeError, av.ArgumentError)) and opening:
        return SourceUnsupported(f"{shown}: what it sends is not a video", remedy="check the path")
    if isinstance(error, ConnectionRefusedError):
        return SourceUnreachable(f"{shown}: connection refused", remedy="check address, port and camera")
    if not opening and getattr(error, "errno", None) == errno.EIO:  # FFmpeg's name for the end of HTTP
        return SourceUnreachable(f"{shown}: the stream ended", remedy="check camera and network")
    return SourceUnreachable(
        f"{shown}: connection failed ({_code(error)})", remedy="check camera and network"
    )


def no_picture(shown: str, audio: bool) -> SourceEmpty:
    """It opened, and there is nothing to look at."""
    what = "it holds sound only" if audio else "it holds no picture"
    return SourceEmpty(f"{shown}: {what}", remedy="give a recording with a video track")


def _code(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
