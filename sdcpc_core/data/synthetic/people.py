"""Pictures of people on foot and on bicycles, in the phases of their step."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import cv2
import numpy as np

from sdcpc_core.data.synthetic.labels import BICYCLIST, PEDESTRIAN
from sdcpc_core.data.synthetic.noise import grain, vary
from sdcpc_core.data.synthetic.panels import PanelList, Panels, Texture

_PX_PER_M = 72
_PHASES = 12
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
_SKIN = [(214, 172, 146), (186, 138, 108), (122, 84, 62), (226, 190, 166), (90, 62, 48)]
_HAIR = [(40, 30, 26), (86, 60, 38), (150, 120, 76), (24, 22, 22), (140, 136, 132)]


def _add_shadow(parts: PanelList, half_width_m: float, half_length_m: float, label: int) -> None:
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


def _folds(image: np.ndarray) -> np.ndarray:
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
        phase = int(walked_m / 1.5 * _PHASES) % _PHASES
        if phase not in self.pictures:
            parts = PanelList()
            _add_shadow(parts, 0.45, 0.35, PEDESTRIAN)
            parts.add_card(0.0, 0.0, 1.1, 2.0, Texture(self._paint(2 * np.pi * phase / _PHASES)), PEDESTRIAN)
            self.pictures[phase] = parts.build()
        return self.pictures[phase]

    def _paint(self, angle: float) -> np.ndarray:
        scale = self.height_m / 1.75 * _PX_PER_M
        height, width = int(2.0 * _PX_PER_M), int(1.1 * _PX_PER_M)
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
        return _folds(image)

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
        _dressed(rng),
        _dressed(rng),
        _SKIN[rng.integers(len(_SKIN))],
        _HAIR[rng.integers(len(_HAIR))],
        _dressed(rng) if rng.random() < 0.35 else None,
        bool(rng.random() < 0.25),
        sideways,
    )


def _dressed(rng: np.random.Generator) -> tuple:
    return vary(rng, _CLOTHES[rng.integers(len(_CLOTHES))], 14)


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
        phase = int(travelled_m / 5.0 * _PHASES) % _PHASES
        if phase not in self.pictures:
            angle = 2 * np.pi * phase / _PHASES
            parts = PanelList()
            _add_shadow(parts, 0.4, 1.0, BICYCLIST)
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

    def _canvas(self, width_m: float):
        height, width = int(1.9 * _PX_PER_M), int(width_m * _PX_PER_M)
        image = np.zeros((height, width, 4), np.uint8)

        def at(x: float, up: float) -> tuple[int, int]:
            return int(width / 2 + x * _PX_PER_M), int(height - 1 - up * _PX_PER_M)

        def limb(points: list, thickness_m: float, colour: tuple) -> None:
            for a, b in itertools.pairwise(points):
                cv2.line(image, at(*a), at(*b), (*colour, 255), max(1, int(thickness_m * _PX_PER_M)), cv2.LINE_AA)

        return image, at, limb

    def _paint_side(self, angle: float) -> np.ndarray:
        image, at, limb = self._canvas(1.8)
        for x in (-0.52, 0.52):
            cv2.circle(image, at(x, 0.34), int(0.33 * _PX_PER_M), (24, 24, 26, 255), 3, cv2.LINE_AA)
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
        cv2.circle(image, at(0.17, 1.60), int(0.11 * _PX_PER_M), (*self.skin, 255), -1, cv2.LINE_AA)
        cv2.ellipse(
            image,
            at(0.16, 1.64),
            (int(0.14 * _PX_PER_M), int(0.11 * _PX_PER_M)),
            0,
            180,
            360,
            (*self.helmet, 255),
            -1,
            cv2.LINE_AA,
        )
        return _folds(image)

    def _paint_back(self, angle: float) -> np.ndarray:
        image, at, limb = self._canvas(0.9)
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
        cv2.ellipse(
            image,
            at(0.0, 1.60),
            (int(0.09 * _PX_PER_M), int(0.12 * _PX_PER_M)),
            0,
            0,
            360,
            (*self.skin, 255),
            -1,
            cv2.LINE_AA,
        )
        cv2.ellipse(
            image,
            at(0.0, 1.65),
            (int(0.115 * _PX_PER_M), int(0.11 * _PX_PER_M)),
            0,
            170,
            370,
            (*self.helmet, 255),
            -1,
            cv2.LINE_AA,
        )
        return _folds(image)


def make_cyclist(rng: np.random.Generator) -> Cyclist:
    """A random cyclist."""
    bright = (210, 220, 40) if rng.random() < 0.25 else _dressed(rng)
    return Cyclist(
        bright,
        _dressed(rng),
        _SKIN[rng.integers(len(_SKIN))],
        _HAIR[rng.integers(5)] if rng.random() < 0.4 else _dressed(rng),
        vary(rng, [(30, 30, 34), (130, 30, 30), (40, 60, 120), (170, 172, 174)][rng.integers(4)], 15),
    )
