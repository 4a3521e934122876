"""Lamp posts, traffic lights, road signs, bollards: cut-outs that stand on the pavement."""

from __future__ import annotations

import cv2
import numpy as np

from sdcpc_core.data.synthetic.labels import POLE, SIGN
from sdcpc_core.data.synthetic.noise import grain, vary
from sdcpc_core.data.synthetic.panels import PanelList, Texture

_METALS = [(110, 114, 116), (60, 66, 64), (40, 44, 46), (150, 152, 150), (96, 98, 92)]


class Furniture:
    """The street furniture of one drive; every town has its own models."""

    def __init__(self, rng: np.random.Generator):
        self._metal = vary(rng, _METALS[rng.integers(len(_METALS))], 12)
        self._lamp_height_m = rng.uniform(5.5, 9.0)
        self._lamp_arm_m = rng.uniform(0.5, 1.8)
        self._lamp = Texture(self._paint_lamp_post(old=rng.random() < 0.25))
        self._post = Texture(self._paint_post())
        self._light = {colour: Texture(_paint_light(colour)) for colour in ("red", "amber", "green")}
        self._plates = [Texture(_paint_plate(rng, i)) for i in range(8)]
        self._boards = [Texture(_paint_board(rng)) for _ in range(3)]
        self._bollard = Texture(self._paint_bollard(rng))

    def add_lamp_post(self, parts: PanelList, x_m: float, z_m: float, side: int) -> None:
        """A lamp post; its arm reaches over the road from `side` (-1 left, 1 right)."""
        arm, height = self._lamp_arm_m, self._lamp_height_m
        parts.add(
            (x_m + side * 0.15, height, z_m),
            (-side * (arm + 0.3), 0.0, 0.0),
            (0.0, -height, 0.0),
            self._lamp,
            POLE,
            facing=0.0,
        )

    def add_traffic_light(self, parts: PanelList, x_m: float, z_m: float, colour: str) -> None:
        """A signal head of three lamps on a post."""
        parts.add_card(x_m, z_m, 0.13, 3.4, self._post, POLE)
        parts.add_card(x_m, z_m - 0.1, 0.44, 1.05, self._light[colour], SIGN, base_m=2.3)

    def add_sign(self, parts: PanelList, x_m: float, z_m: float, which: int) -> None:
        """A round, triangular or square plate on a post."""
        parts.add_card(x_m, z_m, 0.09, 2.7, self._post, POLE)
        parts.add_card(x_m, z_m - 0.06, 0.72, 0.72, self._plates[which % len(self._plates)], SIGN, base_m=2.05)

    def add_board(self, parts: PanelList, x_m: float, z_m: float, which: int) -> None:
        """A direction board on two posts."""
        for offset in (-0.6, 0.6):
            parts.add_card(x_m + offset, z_m, 0.1, 2.6, self._post, POLE)
        parts.add_card(x_m, z_m - 0.06, 1.9, 1.1, self._boards[which % len(self._boards)], SIGN, base_m=1.7)

    def add_hanging_sign(self, parts: PanelList, x_m: float, z_m: float, which: int) -> None:
        """A shop's sign that hangs out over the pavement."""
        parts.add_card(x_m, z_m, 0.95, 0.75, self._boards[which % len(self._boards)], SIGN, base_m=2.7)

    def add_bollard(self, parts: PanelList, x_m: float, z_m: float) -> None:
        """A knee-high post that keeps cars off the pavement."""
        parts.add_card(x_m, z_m, 0.2, 1.0, self._bollard, POLE)

    def _paint_lamp_post(self, *, old: bool) -> np.ndarray:
        px = 40
        height, width = int(self._lamp_height_m * px), int((self._lamp_arm_m + 0.3) * px)
        image = np.zeros((height, width, 4), np.uint8)
        colour = (*self._metal, 255)
        x = int(0.15 * px)
        cv2.rectangle(image, (x - 3, 26), (x + 3, height), colour, -1)
        cv2.rectangle(image, (x - 4, height - 40), (x + 4, height), colour, -1)
        if old:
            cv2.fillPoly(image, [np.array([[x - 6, 24], [x + 12, 24], [x + 8, 4], [x - 4, 4]])], (226, 222, 200, 255))
            cv2.rectangle(image, (x - 6, 2), (x + 10, 5), colour, -1)
            return image
        cv2.ellipse(image, (width - 10, 28), (width - 10 - x, 20), 0, 180, 272, colour, 4, cv2.LINE_AA)
        cv2.rectangle(image, (width - 22, 6), (width - 2, 11), colour, -1)
        cv2.rectangle(image, (width - 21, 11), (width - 3, 13), (230, 228, 214, 255), -1)
        return image

    def _paint_post(self) -> np.ndarray:
        image = np.empty((120, 6, 4), np.uint8)
        image[:] = (*self._metal, 255)
        image[:, :, :3] = (image[:, :, :3] * np.linspace(1.15, 0.7, 6)[None, :, None]).clip(0, 255).astype(np.uint8)
        return image

    def _paint_bollard(self, rng: np.random.Generator) -> np.ndarray:
        image = np.zeros((60, 14, 4), np.uint8)
        colour = vary(rng, self._metal if rng.random() < 0.7 else (30, 30, 30), 10)
        cv2.rectangle(image, (2, 3), (11, 60), (*colour, 255), -1)
        cv2.circle(image, (7, 4), 5, (*colour, 255), -1)
        cv2.rectangle(image, (2, 12), (11, 18), (224, 222, 214, 255), -1)
        return image


def _paint_light(lit: str) -> np.ndarray:
    image = np.zeros((84, 36, 4), np.uint8)
    cv2.rectangle(image, (1, 1), (34, 82), (230, 230, 226, 255), -1)
    cv2.rectangle(image, (3, 3), (32, 80), (16, 17, 18, 255), -1)
    for row, (name, bright) in enumerate(
        (("red", (255, 60, 40)), ("amber", (255, 180, 50)), ("green", (70, 255, 160)))
    ):
        dim = tuple(c // 6 for c in bright)
        cv2.circle(image, (18, 16 + row * 25), 10, (*(bright if name == lit else dim), 255), -1, cv2.LINE_AA)
    return image


def _paint_plate(rng: np.random.Generator, shape: int) -> np.ndarray:
    image = np.zeros((48, 48, 4), np.uint8)
    red, white, blue = (190, 30, 34, 255), (236, 236, 232, 255), (26, 70, 150, 255)
    if shape % 4 == 0:
        cv2.circle(image, (24, 24), 23, red, -1, cv2.LINE_AA)
        cv2.circle(image, (24, 24), 17, white, -1, cv2.LINE_AA)
        _write(image, str(rng.choice(["20", "30", "40"])), (9, 31), 0.7, (20, 20, 20, 255), 2)
    elif shape % 4 == 1:
        cv2.fillPoly(image, [np.array([[24, 2], [46, 42], [2, 42]])], red, cv2.LINE_AA)
        cv2.fillPoly(image, [np.array([[24, 12], [38, 38], [10, 38]])], white, cv2.LINE_AA)
        cv2.line(image, (24, 20), (24, 34), (20, 20, 20, 255), 3)
    elif shape % 4 == 2:
        cv2.circle(image, (24, 24), 23, blue, -1, cv2.LINE_AA)
        cv2.arrowedLine(image, (32, 12), (15, 34), white, 4, cv2.LINE_AA, 0, 0.4)
    else:
        cv2.rectangle(image, (2, 2), (45, 45), blue if shape == 3 else (214, 180, 40, 255), -1)
        _write(image, "P", (13, 37), 1.1, white, 3)
    return image


def _paint_board(rng: np.random.Generator) -> np.ndarray:
    image = np.zeros((64, 110, 4), np.uint8)
    colour = vary(rng, [(20, 84, 60), (226, 226, 222), (28, 66, 140)][rng.integers(3)], 10)
    ink = (240, 240, 236, 255) if sum(colour) < 450 else (24, 24, 26, 255)
    cv2.rectangle(image, (0, 0), (109, 63), ink, -1)
    cv2.rectangle(image, (2, 2), (107, 61), (*colour, 255), -1)
    for row in range(3):
        word = "".join(rng.choice(list("AEILNORSTDM"), int(rng.integers(4, 9))))
        _write(image, word, (8, 18 + row * 18), 0.5, ink, 1)
    return grain(rng, image, 4.0)


def _write(
    image: np.ndarray, text: str, at: tuple[int, int], scale: float, ink: tuple[int, ...], thickness: int
) -> None:
    # OpenCV 5 smooths letters into alpha as well, and what lies behind the sign would show through them.
    opaque = image[..., 3].copy()
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, thickness, cv2.LINE_AA)
    image[..., 3] = opaque
