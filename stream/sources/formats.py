"""Which recordings are read: containers and codecs by FFmpeg's names. Help texts, messages and docs list from here."""

from __future__ import annotations

from typing import Final

CONTAINERS: Final[dict[str, tuple[str, ...]]] = {
    "mov,mp4,m4a,3gp,3g2,mj2": (".mp4", ".m4v", ".mov", ".3gp", ".3g2"),
    "matroska,webm": (".mkv", ".webm"),
    "avi": (".avi",),
    "mpegts": (".ts", ".mts", ".m2ts"),
    "mpeg": (".mpg", ".mpeg", ".vob"),
    "flv": (".flv",),
    "asf": (".wmv", ".asf"),
    "ogg": (".ogv", ".ogg"),
    "dv": (".dv",),
    "mxf": (".mxf",),
    "ivf": (".ivf",),
    "yuv4mpegpipe": (".y4m",),
    "gif": (".gif",),
    "h264": (".h264", ".264"),
    "hevc": (".hevc", ".h265", ".265"),
    "mpegvideo": (".m1v", ".m2v"),
    "m4v": (),
    "mjpeg": (".mjpeg", ".mjpg"),
}
"""Demuxer → usual endings. Containers that name other files or the network (playlists, ``concat``) are not on it."""

RAW: Final = frozenset(("h264", "hevc", "mpegvideo", "m4v", "mjpeg"))
"""Streams without a container: pictures one after the other, no time stamps."""

DECODE_ORDER: Final = frozenset(("avi",))
"""Containers that keep the times of decoding only."""

ENDS_DECLARED: Final = frozenset(("asf", "flv", "matroska,webm"))
"""Containers that declare the time of their end, not the length from their first picture."""

WRAPS: Final = frozenset(("mpegts", "mpeg", "rtsp"))
"""Stamps of 33 bits; RTP's 32 bits are unwrapped by FFmpeg."""

CODECS: Final = frozenset(
    (
        *("h264", "hevc", "mpeg4", "mpeg1video", "mpeg2video", "h263", "flv", "theora", "vp6", "vp6f"),
        *("msmpeg4", "msmpeg4v1", "msmpeg4v2", "msmpeg4v3", "wmv1", "wmv2", "wmv3", "vc1"),
        *("vp8", "libvpx", "vp9", "libvpx-vp9", "av1", "libdav1d", "mjpeg", "png", "gif"),
        *("rawvideo", "ffv1", "huffyuv", "ffvhuff", "utvideo", "prores", "dnxhd", "cfhd", "dvvideo"),
    )
)
"""Decoders that may run on untrusted data."""

SUFFIXES: Final = tuple(suffix for endings in CONTAINERS.values() for suffix in endings)
"""Usual endings of recordings that are read, most common first."""

WHITE_LIST: Final = ",".join(CONTAINERS)
"""As FFmpeg's option ``format_whitelist`` wants it."""
