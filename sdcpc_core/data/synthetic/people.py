"""Pictures of people on foot, in the phases of their step."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from sdcpc_core.data.synthetic.figures import HAIR, PHASES, PX_PER_M, SKIN, Canvas, add_shadow, dressed, folds
from sdcpc_core.data.synthetic.labels import PEDESTRIAN
from sdcpc_core.data.synthetic.panels import PanelList, Panels, Texture


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

    @property
    def _scale(self) -> float:
        """Pixels per metre of a person of 1.75 m."""
        return self.height_m / 1.75 * PX_PER_M

    def _paint(self, angle: float) -> np.ndarray:
        canvas = Canvas(1.1, 2.0, self._scale)
        limb = canvas.limb
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
        self._paint_body(canvas, swing)
        image = canvas.image
        light = np.linspace(1.1, 0.72, image.shape[1])[None, :, None]
        image[..., :3] = np.minimum(image[..., :3] * light, image[..., 3:]).astype(np.uint8)
        return folds(image)

    def _paint_body(self, canvas: Canvas, swing: float) -> None:
        image, at, limb = canvas.image, canvas.at, canvas.limb
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
            cv2.circle(image, at(*hand), max(1, int(0.045 * self._scale)), (*self.skin, 255), -1, cv2.LINE_AA)
        if self.bag:
            cv2.rectangle(image, at(0.2, 0.85), at(0.36, 0.55), (*self.bag, 255), -1)
        limb([(0.0, 1.48), (0.0, 1.58)], 0.10, self.skin)
        canvas.oval((0.02 * self.sideways, 1.63), (0.085, 0.12), self.skin)
        canvas.oval((-0.02 * self.sideways, 1.67), (0.095, 0.10), self.hair, 150, 390)


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
