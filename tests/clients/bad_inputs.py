"""Inputs that cannot be used, one of each kind."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from tests.stream.videos import make_sound, make_video

PASSWORD = "hunter2"


@dataclass(frozen=True)
class Bad:
    """How to make it, and what must be said about it.

    :param make: folder → path or address; a placeholder ``{port}`` is filled in by whoever has a server
    """

    make: Callable[[Path], str]
    said: str
    remedy: str
    code: int = 3


def _missing(folder: Path) -> str:
    return str(folder / "missing.mp4")


def _empty(folder: Path) -> str:
    return _file(folder / "empty.mp4", b"")


def _text(folder: Path) -> str:
    return _file(folder / "text.mp4", b"Dear diary,\ntoday I was recorded.\n" * 40)


def _truncated(folder: Path) -> str:
    """The index of an mp4 comes last: what was cut off cannot be read."""
    whole = make_video(folder / "whole.mp4").read_bytes()
    return _file(folder / "truncated.mp4", whole[: len(whole) // 2])


def _corrupted(folder: Path) -> str:
    """Every byte of the pictures is random, headers and index are whole."""
    data = bytearray(make_video(folder / "whole.mp4").read_bytes())
    at = data.index(b"mdat")
    (length,) = struct.unpack(">I", data[at - 4 : at])
    data[at + 4 : at - 4 + length] = np.random.default_rng(1).bytes(length - 8)
    return _file(folder / "corrupted.mp4", bytes(data))


def _audio(folder: Path) -> str:
    return str(make_sound(folder / "audio.mp4"))


def _zero_size(folder: Path) -> str:
    """An AVI of raw pictures whose headers say 0×0."""
    path = make_video(folder / "zero.avi", codec="rawvideo", pixels="bgr24", frames=5)
    data = bytearray(path.read_bytes())
    main, format_ = data.index(b"avih") + 8, data.index(b"strf") + 8
    struct.pack_into("<II", data, main + 32, 0, 0)
    struct.pack_into("<ii", data, format_ + 4, 0, 0)
    return _file(path, bytes(data))


def _huge(folder: Path) -> str:
    """8192×8192 by its H.264 header."""
    path = folder / "huge.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=30, options={"preset": "ultrafast", "tune": "zerolatency"}
        )
        stream.width = stream.height = 8192
        stream.pix_fmt, stream.thread_count = "yuv420p", 1
        container.mux(stream.encode(av.VideoFrame(8192, 8192, "yuv420p")))
        container.mux(stream.encode())
    return str(path)


def _no_pictures(folder: Path) -> str:
    (folder / "notes").mkdir()
    (folder / "notes" / "readme.txt").write_text("no pictures here")
    return str(folder / "notes")


def _file(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


FILES = {
    "missing": Bad(_missing, "no such file", "check the path"),
    "empty": Bad(_empty, "the file is empty", "copy it again"),
    "text": Bad(_text, "not a video", "use one of .mp4"),
    "truncated": Bad(_truncated, "cut off", "copy or record it again"),
    "corrupted": Bad(_corrupted, "can be decoded", "copy or record it again"),
    "audio only": Bad(_audio, "sound only", "a video track"),
    "zero size": Bad(_zero_size, "can be decoded", "copy or record it again"),
    "8192²": Bad(_huge, "8192×8192 pixels", "scale it down"),
    "no pictures": Bad(_no_pictures, "no pictures in this folder", "it needs"),
}
ADDRESSES = {
    "unknown scheme": Bad(lambda _: "gopher://camera/1", "unknown kind of source 'gopher:'", "rtsp://"),
    "nobody listens": Bad(lambda _: "rtsp://127.0.0.1:9/live", "connection refused", "check address"),
    "unknown host": Bad(lambda _: "http://camera.invalid/live", "unknown host", "check the name"),
    "no camera": Bad(lambda _: "/dev/video97", "no such camera", "ls /dev/video*"),
    "wrong parameter": Bad(lambda _: "synthetic:?fbs=3", "unknown parameter 'fbs'", "known: fps", 2),
}
