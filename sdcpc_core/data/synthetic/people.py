"""Pictures of people on foot, in the phases of their step; and what they share with cyclists."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import cv2
import numpy as np

from sdcpc_core.data.synthetic.labels import PEDESTRIAN
from sdcpc_core.data.synthetic.noise import grain, vary
from sdcpc_core.data.synthetic.panels import PanelList, Panels, Texture

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


@dataclass
class Walker:
    """One person with their looks; phases of the step are painted when first needed."""

    height_m: float
    coat: tuple
    trousers: tuple
    skin: tuple
    hair: tuple
    bag: tuple | None
    skirt: bool
    sideways: bool
    pictures: dict[int, Panels] = field(default_factory=dict)

    def panels(self, walked_m: float) -> Panels:
        """The person standing at the origin after that many metres of walk; the step repeats every 1.5 m."""
        phase = int(walked_m / 1.5 * PHASES) % PHASES
        if phase not in self.pictures:
            parts = PanelList()
            add_shadow(parts, 0.45, 0.35, PEDESTRIAN)
            parts.add_card(0.0, 0.0, 1.1, 2.0, Texture(self._paint(2 * np.pi * phase / PHASES)), PEDESTRIAN)
            self.pictures[phase] = parts.build()
        return self.pictures[phase]

    def _paint(self, angle: float) -> np.ndarray:
        scale = self.height_m / 1.75 * PX_PER_M
        height, width = int(2.0 * PX_PER_M), int(1.1 * PX_PER_M)
        image = np.zeros((height, width, 4), np.uint8)

        def at(x: float, up: float) -> tuple[int, int]:
            return int(width / 2 + x * scale), int(height - 1 - up * scale)

        def limb(points: list, thickness_m: float, colour: tuple) -> None:
            for a, b in itertools.pairwise(points):
                cv2.line(image, at(*a), at(*b), (*colour, 255), max(1, int(thickness_m * scale)), cv2.LINE_AA)

        swing = np.sin(angle)
        dark = tuple(int(c * 0.7) for c in self.trousers)
        shoe = (26, 24, 24)
        for side, colour in ((-1, dark), (1, self.trousers)):
            step = swing * side
            if self.sideways:
                knee, foot = (
                    (0.16 * step + 0.03, 0.48),
                    (0.30 * step - 0.03 * (step < 0), 0.06 + 0.07 * max(0.0, -np.cos(angle) * side)),
                )
                limb([(0.0, 0.9), knee, foot], 0.15, colour)
                limb([foot, (foot[0] + 0.13, foot[1] - 0.02)], 0.08, shoe)
            else:
                lift = 0.11 * max(0.0, step)
                limb([(0.085 * side, 0.9), (0.095 * side, 0.48 + lift / 2), (0.085 * side, 0.08 + lift)], 0.15, colour)
                limb([(0.085 * side, 0.06 + lift), (0.1 * side, 0.03 + lift)], 0.09, shoe)
        self._paint_body(at, limb, image, scale, swing)
        light = np.linspace(1.1, 0.72, width)[None, :, None]
        image[..., :3] = np.minimum(image[..., :3] * light, image[..., 3:]).astype(np.uint8)
        return folds(image)

    def _paint_body(self, at, limb, image: np.ndarray, scale: float, swing: float) -> None:
        wide = 0.14 if self.sideways else 0.21
        hem = 0.62 if self.skirt else 0.80
        torso = np.array(
            [
                at(-wide, 1.42),
                at(-wide * 0.5, 1.5),
                at(wide * 0.5, 1.5),
                at(wide, 1.42),
                at(wide * 0.85, 1.1),
                at(wide * 1.05, hem),
                at(-wide * 1.05, hem),
                at(-wide * 0.85, 1.1),
            ]
        )
        cv2.fillPoly(image, [torso], (*self.coat, 255), cv2.LINE_AA)
        sleeve = tuple(int(c * 0.82) for c in self.coat)
        for side in (-1, 1):
            if self.sideways:
                hand = (-0.22 * swing * side, 0.86)
                limb([(0.0, 1.40), (hand[0] * 0.4 - 0.02, 1.12), hand], 0.10, sleeve)
            else:
                hand = (0.27 * side, 0.84 + 0.06 * swing * side)
                limb([(0.19 * side, 1.40), (0.25 * side, 1.12), hand], 0.095, sleeve)
            cv2.circle(image, at(*hand), max(1, int(0.045 * scale)), (*self.skin, 255), -1, cv2.LINE_AA)
        if self.bag:
            cv2.rectangle(image, at(0.2, 0.85), at(0.36, 0.55), (*self.bag, 255), -1)
        limb([(0.0, 1.48), (0.0, 1.58)], 0.10, self.skin)
        cv2.ellipse(
            image,
            at(0.02 * self.sideways, 1.63),
            (int(0.085 * scale), int(0.12 * scale)),
            0,
            0,
            360,
            (*self.skin, 255),
            -1,
            cv2.LINE_AA,
        )
        cv2.ellipse(
            image,
            at(-0.02 * self.sideways, 1.67),
            (int(0.095 * scale), int(0.10 * scale)),
            0,
            150,
            390,
            (*self.hair, 255),
            -1,
            cv2.LINE_AA,
        )


def make_walker(rng: np.random.Generator, *, sideways: bool) -> Walker:
    """A random person; `sideways` walks across the view, otherwise towards or away from it."""
    return Walker(
        float(rng.uniform(1.5, 1.9)) if rng.random() < 0.88 else float(rng.uniform(1.1, 1.4)),
        dressed(rng),
        dressed(rng),
        SKIN[rng.integers(len(SKIN))],
        HAIR[rng.integers(len(HAIR))],
        dressed(rng) if rng.random() < 0.35 else None,
        bool(rng.random() < 0.25),
        sideways,
    )


def dressed(rng: np.random.Generator) -> tuple:
    """The colour of a garment."""
    return vary(rng, _CLOTHES[rng.integers(len(_CLOTHES))], 14)
