"""Pictures of bicycles and their riders, in the phases of the pedals."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from sdcpc_core.data.synthetic.figures import HAIR, PHASES, PX_PER_M, SKIN, Canvas, add_shadow, dressed, folds
from sdcpc_core.data.synthetic.labels import BICYCLIST
from sdcpc_core.data.synthetic.noise import vary
from sdcpc_core.data.synthetic.panels import PanelList, Panels, Texture


@dataclass
class Cyclist:
    """A bicycle and its rider: the machine in the plane of travel, the rider's back across it."""

    coat: tuple
    trousers: tuple
    skin: tuple
    helmet: tuple
    bike: tuple
    pictures: dict[int, Panels] = field(default_factory=dict)

    def panels(self, travelled_m: float) -> Panels:
        """The cyclist at the origin, heading to +z; the pedals turn once in 5 m."""
        phase = int(travelled_m / 5.0 * PHASES) % PHASES
        if phase not in self.pictures:
            angle = 2 * np.pi * phase / PHASES
            parts = PanelList()
            add_shadow(parts, 0.4, 1.0, BICYCLIST)
            parts.add(
                (0.0, 1.9, -0.9),
                (0.0, 0.0, 1.8),
                (0.0, -1.9, 0.0),
                Texture(self._paint_side(angle)),
                BICYCLIST,
                facing=0.0,
            )
            parts.add_card(0.0, 0.0, 0.9, 1.9, Texture(self._paint_back(angle)), BICYCLIST)
            self.pictures[phase] = parts.build()
        return self.pictures[phase]

    def _paint_side(self, angle: float) -> np.ndarray:
        canvas = Canvas(1.8, 1.9)
        image, at, limb = canvas.image, canvas.at, canvas.limb
        for x in (-0.52, 0.52):
            cv2.circle(image, at(x, 0.34), int(0.33 * PX_PER_M), (24, 24, 26, 255), 3, cv2.LINE_AA)
            cv2.circle(image, at(x, 0.34), 3, (90, 90, 92, 255), -1)
        limb([(-0.52, 0.34), (-0.1, 0.32), (0.38, 0.78), (-0.22, 0.80), (-0.1, 0.32)], 0.05, self.bike)
        limb([(-0.52, 0.34), (-0.22, 0.80), (-0.25, 0.92)], 0.05, self.bike)
        limb([(0.52, 0.34), (0.36, 0.95), (0.46, 1.0)], 0.05, self.bike)
        for turn, shade in ((np.pi, 0.7), (0.0, 1.0)):
            foot = (-0.1 + 0.17 * np.cos(angle + turn), 0.30 + 0.17 * np.sin(angle + turn))
            limb(
                [(-0.22, 0.95), (0.12, 0.72 + 0.3 * (foot[1] - 0.3)), foot],
                0.14,
                tuple(int(c * shade) for c in self.trousers),
            )
        limb([(-0.22, 0.98), (0.08, 1.40)], 0.2, self.coat)
        limb([(0.10, 1.38), (0.24, 1.12), (0.42, 1.02)], 0.09, tuple(int(c * 0.8) for c in self.coat))
        cv2.circle(image, at(0.17, 1.60), int(0.11 * PX_PER_M), (*self.skin, 255), -1, cv2.LINE_AA)
        canvas.oval((0.16, 1.64), (0.14, 0.11), self.helmet, 180, 360)
        return folds(image)

    def _paint_back(self, angle: float) -> np.ndarray:
        canvas = Canvas(0.9, 1.9)
        image, at, limb = canvas.image, canvas.at, canvas.limb
        limb([(0.0, 0.04), (0.0, 0.66)], 0.06, (26, 26, 28))
        limb([(-0.27, 1.0), (0.27, 1.0)], 0.04, (40, 40, 42))
        for side in (-1, 1):
            lift = 0.12 * np.sin(angle) * side
            limb(
                [(0.11 * side, 0.92), (0.15 * side, 0.66 + lift), (0.11 * side, 0.26 + lift)],
                0.15,
                tuple(int(c * (0.85 + 0.1 * side)) for c in self.trousers),
            )
            limb([(0.11 * side, 0.22 + lift), (0.13 * side, 0.2 + lift)], 0.09, (26, 24, 24))
            limb(
                [(0.2 * side, 1.38), (0.29 * side, 1.2), (0.26 * side, 1.02)],
                0.10,
                tuple(int(c * 0.8) for c in self.coat),
            )
        torso = np.array(
            [
                at(-0.2, 1.42),
                at(-0.1, 1.5),
                at(0.1, 1.5),
                at(0.2, 1.42),
                at(0.17, 1.1),
                at(0.19, 0.9),
                at(-0.19, 0.9),
                at(-0.17, 1.1),
            ]
        )
        cv2.fillPoly(image, [torso], (*self.coat, 255), cv2.LINE_AA)
        canvas.oval((0.0, 1.60), (0.09, 0.12), self.skin)
        canvas.oval((0.0, 1.65), (0.115, 0.11), self.helmet, 170, 370)
        return folds(image)


def make_cyclist(rng: np.random.Generator) -> Cyclist:
    """A random cyclist."""
    bright = (210, 220, 40) if rng.random() < 0.25 else dressed(rng)
    return Cyclist(
        bright,
        dressed(rng),
        SKIN[rng.integers(len(SKIN))],
        HAIR[rng.integers(5)] if rng.random() < 0.4 else dressed(rng),
        vary(rng, [(30, 30, 34), (130, 30, 30), (40, 60, 120), (170, 172, 174)][rng.integers(4)], 15),
    )
