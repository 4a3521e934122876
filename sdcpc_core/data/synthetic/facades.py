"""Pictures of house fronts, shop fronts, offices and gable walls."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sdcpc_core.data.synthetic.noise import vary
from sdcpc_core.data.synthetic.panels import Texture
from sdcpc_core.data.synthetic.walls import PX_PER_M, WALL_COLOURS, paint_roof, paint_wall, weather

DEPTH_M = 9.0
_SIGNS = [
    (24, 60, 40),
    (140, 24, 28),
    (28, 36, 84),
    (20, 20, 22),
    (210, 205, 190),
    (196, 120, 20),
    (70, 20, 60),
    (30, 100, 140),
]


@dataclass(frozen=True)
class Facade:
    """A house front with its natural size and the wall and roof that go with it."""

    front: Texture
    side: Texture
    roof: Texture
    width_m: float
    height_m: float
    ridge_m: float  # of a pitched roof, above the front; 0 for a flat one


def paint_facade(rng: np.random.Generator, kind: str) -> Facade:
    """A house front.

    Args:
        rng: source of randomness.
        kind: "shops", "terrace", "houses" or "modern".
    """
    storeys = int(rng.integers(2, 5)) if kind != "houses" else int(rng.integers(1, 3)) + (rng.random() < 0.3)
    storey_m = rng.uniform(2.7, 3.3)
    width_m = {
        "shops": rng.uniform(5, 11),
        "terrace": rng.uniform(4.5, 7),
        "houses": rng.uniform(7, 11),
        "modern": rng.uniform(12, 20),
    }[kind]
    parapet_m = rng.uniform(0.3, 1.0)
    height_m = storeys * storey_m + parapet_m
    wall = vary(rng, WALL_COLOURS[rng.integers(len(WALL_COLOURS))], 18)
    bricks = kind != "modern" and rng.random() < 0.6
    ridge_m = rng.uniform(1.6, 3.4) if kind != "modern" and rng.random() < 0.85 else 0.0
    image = paint_wall(rng, width_m, height_m, wall, bricks=bricks)
    side = _gable(rng, height_m, ridge_m, wall, bricks=bricks)
    if kind == "modern":
        _paint_office(rng, image, storeys, storey_m, parapet_m)
    else:
        _paint_storeys(rng, image, storeys, storey_m, parapet_m, shop=kind == "shops")
    weather(rng, image)
    if rng.random() < 0.6:
        x = int(rng.choice([2, image.shape[1] - 5]))
        cv2.rectangle(image, (x, 0), (x + 2, image.shape[0]), vary(rng, (70, 68, 66), 30), -1)
    return Facade(Texture(image), Texture(side), Texture(paint_roof(rng)), width_m, height_m, ridge_m)


def _gable(rng: np.random.Generator, height_m: float, ridge_m: float, wall: tuple, *, bricks: bool) -> np.ndarray:
    """An end wall with the triangle under the roof."""
    image = paint_wall(rng, DEPTH_M, height_m + ridge_m, wall, bricks=bricks)
    for _ in range(rng.integers(0, 4)):
        x, y = rng.uniform(0.15, 0.75) * image.shape[1], (ridge_m + rng.uniform(0.1, 0.6) * height_m) * PX_PER_M
        _window(rng, image, int(x), int(y), int(x) + 22, int(y) + 32, (214, 210, 202), (170, 164, 150), (2, 2))
    weather(rng, image)
    height, width = image.shape[:2]
    outline = np.array(
        [[0, ridge_m * PX_PER_M], [width / 2, 0], [width, ridge_m * PX_PER_M], [width, height], [0, height]]
    )
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [outline.astype(np.int32)], 255)
    return np.dstack([image & mask[..., None], mask]) if ridge_m else image


def _glass(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A pane: dark room, a bright reflection of the sky, now and then a curtain."""
    top = np.array(vary(rng, (86, 98, 110), 40), np.float32)
    bottom = np.array(vary(rng, (34, 36, 40), 16), np.float32)
    blend = np.linspace(0, 1, max(height, 2), dtype=np.float32)[:, None, None] ** rng.uniform(0.4, 2.0)
    pane = np.repeat(top * (1 - blend) + bottom * blend, width, axis=1)[:height]
    if rng.random() < 0.35:
        pane[:, : max(1, width // 5)] = pane[:, -max(1, width // 5) :] = vary(rng, (190, 180, 165), 30)
    elif rng.random() < 0.25:
        pane[: height // 2] = vary(rng, (200, 196, 186), 25)
    return pane.astype(np.uint8)


def _window(
    rng: np.random.Generator,
    image: np.ndarray,
    x0: int,
    y0: int,
    x1: int,
    y1: int,
    frame: tuple,
    sill: tuple,
    bars: tuple[int, int],
) -> None:
    x0, y0, x1, y1 = max(x0, 1), max(y0, 1), min(x1, image.shape[1] - 1), min(y1, image.shape[0] - 1)
    if x1 - x0 < 4 or y1 - y0 < 4:
        return
    image[y0:y1, x0:x1] = _glass(rng, y1 - y0, x1 - x0)
    cv2.rectangle(image, (x0, y0), (x1 - 1, y1 - 1), frame, 2)
    for i in range(1, bars[0]):
        x = x0 + (x1 - x0) * i // bars[0]
        cv2.line(image, (x, y0), (x, y1 - 1), frame, 1)
    for i in range(1, bars[1]):
        y = y0 + (y1 - y0) * i // bars[1]
        cv2.line(image, (x0, y), (x1 - 1, y), frame, 1)
    cv2.rectangle(image, (x0 - 2, y1), (x1 + 1, y1 + 2), sill, -1)
    cv2.line(image, (x0 - 1, y0 - 1), (x1, y0 - 1), tuple(int(c * 0.55) for c in sill), 1)


def _paint_storeys(
    rng: np.random.Generator, image: np.ndarray, storeys: int, storey_m: float, parapet_m: float, *, shop: bool
) -> None:
    height, width = image.shape[:2]
    columns = max(2, round(width / PX_PER_M / rng.uniform(1.7, 2.8)))
    frame = vary(rng, (228, 226, 220) if rng.random() < 0.75 else (60, 52, 48), 15)
    sill = vary(rng, (186, 178, 164), 25)
    half_width = int(width / columns * rng.uniform(0.2, 0.34))
    tall = rng.uniform(0.45, 0.62)
    bars = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
    storey = storey_m * PX_PER_M
    for level in range(1 if shop else 0, storeys):
        bottom = height - level * storey
        for column in range(columns):
            x = int((column + 0.5) * width / columns)
            if level == 0 and column == columns // 2 and not shop:
                _door(rng, image, x, height, int(0.48 * PX_PER_M), int(2.1 * PX_PER_M))
                continue
            y0 = int(bottom - storey * (0.25 + tall))
            _window(rng, image, x - half_width, y0, x + half_width, int(bottom - storey * 0.25), frame, sill, bars)
    if rng.random() < 0.6:
        y = int(parapet_m * PX_PER_M * 0.6)
        cv2.rectangle(image, (0, y - 4), (width, y), sill, -1)
        cv2.rectangle(image, (0, y + 1), (width, y + 2), tuple(int(c * 0.5) for c in sill), -1)
    if shop:
        _shop(rng, image, int(storey))


def _door(rng: np.random.Generator, image: np.ndarray, x: int, base: int, half_width: int, height: int) -> None:
    colour = vary(rng, _SIGNS[rng.integers(len(_SIGNS))], 20)
    cv2.rectangle(image, (x - half_width - 3, base - height - 8), (x + half_width + 3, base), (214, 208, 196), -1)
    cv2.rectangle(image, (x - half_width, base - height), (x + half_width, base), colour, -1)
    cv2.rectangle(
        image,
        (x - half_width + 3, base - height + 4),
        (x + half_width - 3, base - height // 2),
        tuple(int(c * 0.6) for c in colour),
        -1,
    )
    cv2.circle(image, (x + half_width - 4, base - height // 2), 1, (210, 190, 120), -1)


def _shop(rng: np.random.Generator, image: np.ndarray, storey: int) -> None:
    """Large panes under a name board."""
    height, width = image.shape[:2]
    top = height - storey
    board = vary(rng, _SIGNS[rng.integers(len(_SIGNS))], 20)
    cv2.rectangle(image, (2, top + 6), (width - 3, height), tuple(int(c * 0.8) for c in board), -1)
    y0, y1 = top + 6 + storey // 4, height - storey // 9
    panes = max(2, width // int(rng.integers(34, 60)))
    door = rng.integers(panes)
    for pane in range(panes):
        a, b = 6 + pane * (width - 12) // panes, 6 + (pane + 1) * (width - 12) // panes - 3
        bottom = height - 2 if pane == door else y1
        image[y0:bottom, a:b] = _glass(rng, bottom - y0, b - a)
        for _ in range(4):
            x, y = int(rng.integers(a, b)), int(rng.integers((y0 + bottom) // 2, bottom))
            cv2.rectangle(
                image,
                (x, y),
                (min(b - 1, x + int(rng.integers(3, 14))), bottom - 1),
                vary(rng, (120, 110, 100), 80),
                -1,
            )
        if rng.random() < 0.5:
            cv2.rectangle(image, (a, y0), (b, y0 + 6), (236, 226, 190), -1)
    cv2.rectangle(image, (2, top + 6), (width - 3, y0 - 3), board, -1)
    ink = (240, 236, 224) if sum(board) < 380 else (40, 36, 34)
    word = "".join(rng.choice(list("ABCDEGHIKLMNOPRSTUW"), int(rng.integers(4, 9))))
    cv2.putText(
        image,
        word,
        (int(width * rng.uniform(0.08, 0.3)), y0 - 7),
        cv2.FONT_HERSHEY_SIMPLEX,
        storey / 190,
        ink,
        2,
        cv2.LINE_AA,
    )
    if rng.random() < 0.25:
        stripe = max(4, width // 16)
        for i in range(0, width, 2 * stripe):
            cv2.rectangle(image, (i, y0 - 3), (i + stripe, y0 + storey // 7), (226, 222, 214), -1)
            cv2.rectangle(image, (i + stripe, y0 - 3), (i + 2 * stripe, y0 + storey // 7), board, -1)


def _paint_office(rng: np.random.Generator, image: np.ndarray, storeys: int, storey_m: float, parapet_m: float) -> None:
    height, width = image.shape[:2]
    frame = vary(rng, (120, 124, 128), 50)
    band = rng.uniform(0.25, 0.45)
    columns = max(4, int(width / PX_PER_M / rng.uniform(1.2, 2.4)))
    gap = int(rng.choice([0, 6, 14]))
    for level in range(storeys):
        y1 = int(height - level * storey_m * PX_PER_M - band * 10)
        y0 = int(y1 - storey_m * PX_PER_M * (1 - band))
        for column in range(columns):
            a, b = column * width // columns + gap, (column + 1) * width // columns - gap
            y0 = max(y0, 2)
            if y1 - y0 > 4 and b - a > 4:
                image[y0:y1, a:b] = _glass(rng, y1 - y0, b - a)
                cv2.rectangle(image, (a, y0), (b - 1, y1 - 1), frame, 1)
