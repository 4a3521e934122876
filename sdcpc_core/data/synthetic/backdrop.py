"""Sky and horizon: a picture at infinity, which only the camera's rotation moves."""

from __future__ import annotations

import cv2
import numpy as np

from sdcpc_core.data.synthetic.camera import View
from sdcpc_core.data.synthetic.labels import BUILDING, SKY, TREE
from sdcpc_core.data.synthetic.light import Light
from sdcpc_core.data.synthetic.noise import cloud_noise, vary

# The picture spans these tangents of the viewing angles about +z, at this many pixels per unit.
_LEFT, _RIGHT, _UP, _DOWN = -2.6, 2.6, 1.5, 0.12
_PX = 240


class Backdrop:
    """The sky of one drive with a far skyline."""

    def __init__(self, rng: np.random.Generator, light: Light):
        height, width = int((_UP + _DOWN) * _PX), int((_RIGHT - _LEFT) * _PX)
        # Clouds are soft: half the size is enough for them.
        self._image = cv2.resize(
            self._paint_sky(rng, light, height // 2, width // 2), (width, height), interpolation=cv2.INTER_LINEAR
        )
        self._labels = np.full((height, width), SKY, np.uint8)
        self._paint_skyline(rng, light)

    def _paint_sky(self, rng: np.random.Generator, light: Light, height: int, width: int) -> np.ndarray:
        up = np.linspace(_UP, -_DOWN, height, dtype=np.float32)[:, None]
        zenith = np.array(vary(rng, (86, 132, 196), 22), np.float32)
        horizon = light.haze_colour.astype(np.float32) * 1.08
        blend = np.clip(up, 0, 1.2)[..., None] ** 0.6 / 1.1
        sky = np.repeat(horizon * (1 - blend) + zenith * blend, width, axis=1)
        noise = cloud_noise(rng, (height, width), (3, 7, 15, 33, 70))
        # Clouds look flatter towards the horizon, where they are seen from the side.
        rows = (height * (1 - np.clip(up[:, 0] / _UP, 0, 1) ** 0.55)).astype(np.float32) * 0.96
        x, y = np.meshgrid(np.arange(width, dtype=np.float32), rows)
        noise = cv2.remap(noise, x, y, cv2.INTER_LINEAR)
        density = 1 / (1 + np.exp(-(noise + (light.cloudiness - 0.5) * 3.0) * 4.5))
        bright = 246 - 60 * light.cloudiness * rng.random() ** 2 + 26 * cv2.blur(noise, (15, 15))
        clouds = bright[..., None] * np.array([1.0, 1.01, 1.03], np.float32)
        sky += (clouds - sky) * density[..., None]
        sun = light.to_sun
        if sun[2] > 0.1 and light.cloudiness < 0.8:
            x = np.linspace(_LEFT, _RIGHT, width, dtype=np.float32) - sun[0] / sun[2]
            distance = np.sqrt(x * x + (up - -sun[1] / sun[2]) ** 2)
            sky += (150 * np.exp(-((distance / 0.12) ** 2)) + 50 * np.exp(-distance / 0.5))[..., None] * (
                1 - light.cloudiness
            )
        return np.clip(sky, 0, 255).astype(np.uint8)

    def _paint_skyline(self, rng: np.random.Generator, light: Light) -> None:
        height, width = self._labels.shape
        horizon = _UP * _PX
        haze = np.asarray(light.haze_colour, np.float32)
        for label, colour, tall in ((BUILDING, (120, 112, 106), 0.05), (TREE, (70, 84, 60), 0.04)):
            far = np.array(vary(rng, colour, 16)) * 0.55 + haze * 0.45
            scale = tall * rng.uniform(0.3, 1.3)
            if label == TREE:
                top = scale * (
                    0.55
                    + 0.35 * cloud_noise(rng, (2, width), (2, 12))[0]
                    + 0.12 * rng.standard_normal(width // 2).repeat(2)[:width]
                )
            else:
                steps = rng.integers(8, 30, width)
                top = np.repeat(scale * rng.uniform(0.4, 1.3, width) * (rng.random(width) < 0.6), steps)[:width]
            crest = np.clip(horizon - np.maximum(top, 0.004) * _PX, 0, height - 1)
            filled = np.arange(height)[:, None] >= crest[None]
            self._image[filled] = far.clip(0, 255).astype(np.uint8)
            self._labels[filled] = label

    def draw(self, view: View) -> tuple[np.ndarray, np.ndarray]:
        """The backdrop as seen: (H, W, 3) uint8 RGB and (H, W) uint8 class ids."""
        height, width = view.size_hw
        to_tangent = np.array([[_PX, 0, -_LEFT * _PX], [0, _PX, _UP * _PX], [0, 0, 1.0]])
        matrix = to_tangent @ view.rotation.T @ np.linalg.inv(view.intrinsics)
        image, labels = (
            cv2.warpPerspective(
                source, matrix, (width, height), flags=flag | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
            )
            for source, flag in ((self._image, cv2.INTER_LINEAR), (self._labels, cv2.INTER_NEAREST))
        )
        return image, labels
