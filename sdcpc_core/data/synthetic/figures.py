"""What pictures of walkers and of cyclists share: a canvas in metres, looks, folds and the shadow."""

from __future__ import annotations

import itertools

import cv2
import numpy as np

from sdcpc_core.data.synthetic.noise import grain, vary
from sdcpc_core.data.synthetic.panels import PanelList, Texture

PX_PER_M = 72
PHASES = 12
_CLOTHES = [
    (30, 32, 40),
    (52, 60, 84),
    (110, 30, 34),
    (150, 140, 124),
    (70, 76, 58),
    (196, 192, 188),
    (60, 44, 40),
    (40, 80, 110),
    (190, 150, 50),
    (24, 24, 26),
    (96, 98, 104),
    (200, 80, 60),
]
SKIN = [(214, 172, 146), (186, 138, 108), (122, 84, 62), (226, 190, 166), (90, 62, 48)]
HAIR = [(40, 30, 26), (86, 60, 38), (150, 120, 76), (24, 22, 22), (140, 136, 132)]


def add_shadow(parts: PanelList, half_width_m: float, half_length_m: float, label: int) -> None:
    """Add the soft shadow under a body at the origin."""
    image = np.zeros((24, 24, 4), np.uint8)
    cv2.circle(image, (12, 12), 8, (0, 0, 0, 160), -1)
    # Never half opaque: a shadow tints the ground without owning it.
    image = np.minimum(cv2.GaussianBlur(image, (9, 9), 2.5), 120)
    parts.add(
        (-half_width_m, 0.01, half_length_m),
        (2 * half_width_m, 0.0, 0.0),
        (0.0, 0.0, -2 * half_length_m),
        Texture(image),
        label,
        facing=0.0,
    )


def folds(image: np.ndarray) -> np.ndarray:
    """Cloth is never flat: soft blotches of light, the same for every phase so that they do not flicker."""
    rng = np.random.default_rng(7)
    return grain(rng, grain(rng, image, 17.0, smooth=9), 6.0, smooth=3)


def dressed(rng: np.random.Generator) -> tuple:
    """The colour of a garment."""
    return vary(rng, _CLOTHES[rng.integers(len(_CLOTHES))], 14)


class Canvas:
    """A transparent picture to draw a figure on, in metres from the middle of its lower edge.

    Args:
        width_m: of the picture.
        height_m: of the picture.
        scale: pixels per metre of the figure.

    Attributes:
        image: (H, W, 4) uint8 RGBA.
    """

    def __init__(self, width_m: float, height_m: float, scale: float = PX_PER_M) -> None:
        self.image = np.zeros((int(height_m * PX_PER_M), int(width_m * PX_PER_M), 4), np.uint8)
        self._scale = scale

    def at(self, x_m: float, up_m: float) -> tuple[int, int]:
        """The pixel (x, y) of a place."""
        height, width = self.image.shape[:2]
        return int(width / 2 + x_m * self._scale), int(height - 1 - up_m * self._scale)

    def limb(self, points: list, thickness_m: float, colour: tuple) -> None:
        """Draw a bent line through some places."""
        thickness = max(1, int(thickness_m * self._scale))
        for a, b in itertools.pairwise(points):
            cv2.line(self.image, self.at(*a), self.at(*b), (*colour, 255), thickness, cv2.LINE_AA)

    def oval(self, centre: tuple, radii_m: tuple, colour: tuple, start_deg: int = 0, end_deg: int = 360) -> None:
        """Fill an ellipse, or the part of it between two angles, clockwise from the right."""
        radii = tuple(int(radius * self._scale) for radius in radii_m)
        cv2.ellipse(self.image, self.at(*centre), radii, 0, start_deg, end_deg, (*colour, 255), -1, cv2.LINE_AA)
