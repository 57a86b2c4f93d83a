"""Makes small videos, frames and servers for the tests of this room."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from mellm.stream.frames import Frame, Gap, Item
from mellm.stream.sources import Source
from tests import PATIENCE_S

CONTAINERS = {
    ".mp4": "libx264",
    ".mkv": "libx264",
    ".mov": "libx264",
    ".avi": "mpeg4",
    ".webm": "libvpx",
    ".gif": "gif",
}


def picture(number: int, width: int = 64, height: int = 48) -> NDArray[np.uint8]:
    """Top left red, top right green, bottom left blue, bottom right grey; a bar that moves."""
    image = np.full((height, width, 3), 90, np.uint8)
    image[: height // 2, : width // 2] = (0, 0, 255)
    image[: height // 2, width // 2 :] = (0, 255, 0)
    image[height // 2 :, : width // 2] = (255, 0, 0)
    image[:, number % width] = 255
    return image


def make_sound(path: Path) -> Path:
    """Write a second of silence, without a picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def make_video(
    path: Path,
    *,
    frames: int = 30,
    size: tuple[int, int] = (64, 48),
    fps: int = 30,
    stamps: Sequence[int] | None = None,
    codec: str | None = None,
    pixels: str = "",
    rotation: int | None = None,
    options: dict[str, str] | None = None,
    muxer: dict[str, str] | None = None,
) -> Path:
    """Write a video. ``stamps`` are milliseconds; without them the rate is constant."""
    chosen = codec or CONTAINERS[path.suffix]
    with av.open(str(path), "w", options=muxer or {}) as container:
        stream = container.add_stream(chosen, rate=fps, options={"g": "15", **(options or {})})
        stream.width, stream.height = size
        stream.pix_fmt = pixels or ("rgb8" if chosen == "gif" else "yuv420p")
        if stamps is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for number in range(frames if stamps is None else len(stamps)):
            frame = av.VideoFrame.from_ndarray(picture(number, *size), format="bgr24")
            frame = frame.reformat(format=stream.pix_fmt)
            frame.pts = number if stamps is None else stamps[number]
            frame.time_base = Fraction(1, fps) if stamps is None else Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def drain(source: Source) -> tuple[list[Frame], list[Gap]]:
    """All that a source yields."""
    frames: list[Frame] = []
    gaps: list[Gap] = []
    with source:
        while (item := source.read()) is not None:
            if isinstance(item, Gap):
                gaps.append(item)
            else:
                frames.append(item)
    return frames, gaps


def frame_at(pts_ms: float, *, segment: int = 0, index: int = 0, wall_ns: int = 0, pixels: int = 4) -> Frame:
    """A black frame."""
    image = np.zeros((1, pixels, 3), np.uint8)
    return Frame("cam", segment, index, round(pts_ms * 1e6), wall_ns, image)


def pts_ms(items: Sequence[Item]) -> list[float]:
    """Media times of the frames among ``items``."""
    return [i.pts_ns / 1e6 for i in items if isinstance(i, Frame)]


def jpeg(number: int, width: int = 64, height: int = 48) -> bytes:
    """A picture as a JPEG file."""
    ok, data = cv2.imencode(".jpg", picture(number, width, height))
    assert ok
    return data.tobytes()


@contextmanager
def tcp_server(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server on loopback that calls ``answer`` for each connection, in a thread; yields its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    open_sockets: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            open_sockets.append(connection)
            threading.Thread(target=talk, args=(connection,), daemon=True).start()

    def talk(connection: socket.socket) -> None:
        try:
            answer(connection)
        except OSError:
            pass
        finally:
            connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        # accept() does not wake up on close() alone
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in open_sockets:
            connection.close()
        thread.join(PATIENCE_S)


def http_answer(connection: socket.socket, head: str, body: bytes = b"") -> None:
    """Read a request and answer it."""
    connection.recv(65536)
    connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)


def mjpeg_part(data: bytes) -> bytes:
    """One picture of a multipart stream."""
    return b"--edge\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data) + data + b"\r\n"


MJPEG_HEAD = "HTTP/1.1 200 OK\nConnection: close\nContent-Type: multipart/x-mixed-replace; boundary=edge"
