"""Weather, time of day and the camera's rendering of them."""

from __future__ import annotations

import cv2
import numpy as np

from sdcpc_core.data.synthetic.panels import Panels


class Light:
    """Sun, sky light, haze and exposure of one drive."""

    def __init__(self, rng: np.random.Generator):
        self.cloudiness = float(np.clip(rng.beta(0.8, 0.8), 0.05, 1.0))
        elevation = np.radians(rng.uniform(14, 58))
        azimuth = rng.uniform(-np.pi, np.pi)
        self.to_sun = np.array(
            [np.cos(elevation) * np.sin(azimuth), -np.sin(elevation), np.cos(elevation) * np.cos(azimuth)]
        )
        warmth = float(np.clip(1.3 - elevation * 1.6, 0, 1)) * (1 - self.cloudiness)
        self._sun = (
            (1.05 - self.cloudiness)
            * 1.05
            * np.array([1.0 + 0.08 * warmth, 0.95 - 0.04 * warmth, 0.86 - 0.28 * warmth])
        )
        self._ambient = (0.42 + 0.42 * self.cloudiness) * np.array([0.95, 1.0, 1.08 - 0.04 * self.cloudiness])
        self.haze_colour = np.array([198, 204, 210]) * (0.75 + 0.3 * rng.random()) + np.array([14, 4, -12]) * warmth
        self._haze_per_m = float(10 ** rng.uniform(-3.3, -2.2))
        self.exposure = float(rng.uniform(0.78, 1.25) if rng.random() < 0.8 else rng.uniform(0.5, 0.78))
        # Exposed for the street, most skies come out near white.
        self.sky_gain = float(rng.uniform(0.95, 1.4))
        self._gamma = float(rng.uniform(0.85, 1.25))
        warm = rng.normal(0, 0.04)
        self._cast = np.array([1 + warm, 1 + rng.normal(0, 0.012), 1 - warm])
        self._drift = rng.uniform(0, 2 * np.pi, 2)
        self._noise_level = float(rng.uniform(0.8, 3.0))
        self._blur_px = float(rng.uniform(0.3, 0.7))
        self._vignette = float(rng.uniform(0, 0.22))

    @property
    def shadow_tint(self) -> np.ndarray:
        """What is left of the ground's light in a cast shadow, per channel."""
        return self._ambient / self.ground

    @property
    def ground(self) -> np.ndarray:
        """Light on level ground, per channel; 1 keeps colours as painted."""
        return self._ambient + self._sun * -self.to_sun[1]

    def on_panels(self, panels: Panels) -> np.ndarray:
        """Light on each panel, (N, 3) float32."""
        normal = np.cross(panels.down_m, panels.across_m)
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
        direct = np.maximum(normal @ self.to_sun, 0) * panels.facing + 0.55 * (1 - panels.facing)
        sky = 1 - 0.18 * panels.facing * (1 + np.minimum(normal[:, 1], 0))
        return (self._ambient * sky[:, None] + self._sun * direct[:, None]).astype(np.float32)

    def develop(
        self, rgb: np.ndarray, light: np.ndarray, inverse_depth: np.ndarray, time_s: float, noise: np.random.Generator
    ) -> np.ndarray:
        """Turn unlit colours into the camera's picture.

        Args:
            rgb: (H, W, 3) uint8.
            light: (H, W, 3) float32 factors.
            inverse_depth: (H, W) float32, 1 / m.
            time_s: for the slow drift of exposure.
            noise: source of the sensor noise of this frame.

        Returns:
            (H, W, 3) uint8.
        """
        height, width = rgb.shape[:2]
        exposure = self.exposure * (
            1 + 0.07 * np.sin(0.45 * time_s + self._drift[0]) + 0.04 * np.sin(1.3 * time_s + self._drift[1])
        )
        gain = exposure * self._cast
        clear = np.exp(np.float32(-self._haze_per_m) / np.maximum(inverse_depth, np.float32(1e-4)))
        # The backdrop is painted with its haze in it.
        clear[inverse_depth <= 0] = 1.0
        x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)[:, None]
        vignette = 1 - np.float32(self._vignette / 2) * (x * x + y * y)
        haze = (1 - clear) * vignette
        clear *= vignette
        lit = cv2.multiply(cv2.multiply(rgb, light, dtype=cv2.CV_32F), cv2.merge([clear * np.float32(g) for g in gain]))
        lit += cv2.merge([haze * np.float32(c) for c in gain * self.haze_colour])
        picture = cv2.GaussianBlur(cv2.convertScaleAbs(lit), (3, 3), self._blur_px)
        curve = 255 * (np.arange(256) / 255) ** self._gamma
        grain = np.frombuffer(noise.bytes(rgb.size), np.uint8).reshape(rgb.shape)
        # Bytes spread evenly over 0..255 have a standard deviation of 74.
        strength = self._noise_level / 74
        return cv2.addWeighted(cv2.LUT(picture, curve.astype(np.uint8)), 1.0, grain, strength, -127.5 * strength)
