"""What a camera adds to light: optics, exposure, sensor noise, and still compression.

:class:`Sensor` turns linear light into 8-bit pictures. It keeps a bank of noise and picks from it by frame,
so the same seed and frame number give the same picture, and noise costs next to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from mellm.training.synth import raster

F32: TypeAlias = NDArray[np.float32]
U8: TypeAlias = NDArray[np.uint8]

_CURVE = (255 * np.linspace(0, 1, 4097) ** (1 / 2.2)).astype(np.float32)
"""Display level of linear light in steps of 1/4096."""


@dataclass(frozen=True, slots=True)
class SensorLook:
    """Quality of a camera.

    :param blur: standard deviation of the optics' spread, pixels
    :param shot: noise that grows with the root of brightness
    :param read: noise of darkness, both in display
        levels of 255 at mid grey
    :param flicker: relative amplitude of the lamp's pulsing
    :param flicker_hz: as the camera sees it
    :param wander: slow change of exposure, relative
    :param tint: white balance of blue, green, red
    :param jpeg: quality of still compression, 0 for none
    """

    blur: float = 0.5
    shot: float = 1.0
    read: float = 0.6
    flicker: float = 0.0
    flicker_hz: float = 1.0
    wander: float = 0.0
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    jpeg: int = 0


def draw_sensor(rng: np.random.Generator, jpeg: int = 0) -> SensorLook:
    """A camera between a good one and a poor webcam."""
    noise = float(np.exp(rng.uniform(np.log(0.5), np.log(2.2))))
    warm = float(rng.normal(0, 0.04))
    flickers = rng.random() < 0.3
    return SensorLook(
        blur=float(rng.uniform(0.35, 0.9)),
        shot=noise,
        read=float(0.6 * noise * rng.uniform(0.5, 1.3)),
        flicker=float(rng.uniform(0.002, 0.02)) if flickers else 0.0,
        flicker_hz=float(np.exp(rng.uniform(np.log(0.3), np.log(12)))),
        wander=float(rng.uniform(0, 0.01)),
        tint=(1 - warm, 1.0, 1 + warm),
        jpeg=jpeg,
    )


@dataclass(slots=True, eq=False)
class Sensor:
    """A camera's picture-taking part. ``seed`` fixes its noise."""

    look: SensorLook
    seed: int
    _bank: F32 | None = field(default=None, init=False, repr=False)

    def expose(self, light: F32, time_s: float, frame: int) -> U8:
        """H×W×3 uint8 from linear light (H×W×3 float32, 1 is white)."""
        look = self.look
        pulse = 1 + look.flicker * np.sin(2 * np.pi * look.flicker_hz * time_s + self.seed % 7)
        pulse += look.wander * np.sin(2 * np.pi * 0.11 * time_s + self.seed % 5)
        spread = (
            np.asarray(cv2.GaussianBlur(light, (0, 0), look.blur), np.float32) if look.blur > 0.2 else light
        )
        picture: U8 = np.empty(light.shape, np.uint8)
        noise, sign = self._noise(light.shape, frame)
        gain = np.array(look.tint, np.float32) * np.float32(pulse)
        raster.develop(spread, gain, _CURVE, noise, sign, look.shot, look.read, picture)
        if look.jpeg:
            coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, look.jpeg])[1]
            picture = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
        return picture

    def _noise(self, shape: tuple[int, ...], frame: int) -> tuple[F32, int]:
        """Unit noise of one frame, and the sign to give it: a random window of the bank, perhaps mirrored."""
        height, width = shape[:2]
        if self._bank is None or self._bank.shape[0] < height + 61 or self._bank.shape[1] < width + 61:
            rng = np.random.default_rng([0xBA, self.seed])
            self._bank = rng.standard_normal((height + 61, width + 61, 3), np.float32)
        rng = np.random.default_rng([0xF0, self.seed, frame])
        y, x, flip, sign = rng.integers((61, 61, 2, 2))
        window = self._bank[y : y + height, x : x + width]
        window = window[:, ::-1] if flip else window
        return window, 1 if sign else -1
