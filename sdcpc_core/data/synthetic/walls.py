"""Pictures of plain walls and what is built like them: roofs, chimneys, fences."""

from __future__ import annotations

import cv2
import numpy as np

from sdcpc_core.data.synthetic.noise import cloud_noise, grain, vary
from sdcpc_core.data.synthetic.panels import Texture

PX_PER_M = 26
WALL_COLOURS = [
    (140, 78, 58),
    (120, 66, 52),
    (176, 150, 108),
    (196, 178, 138),
    (168, 120, 84),
    (222, 214, 196),
    (206, 196, 176),
    (150, 146, 138),
    (186, 186, 182),
    (98, 62, 52),
    (232, 228, 220),
    (158, 130, 100),
]
_ROOFS = [(92, 62, 52), (74, 74, 80), (104, 78, 62), (62, 60, 62), (120, 84, 66)]


def paint_wall(rng: np.random.Generator, width_m: float, height_m: float, colour: tuple, *, bricks: bool) -> np.ndarray:
    """An empty wall, (H, W, 3) uint8 RGB."""
    image = np.empty((int(height_m * PX_PER_M), int(width_m * PX_PER_M), 3), np.uint8)
    image[:] = colour
    if bricks:
        rows = int(height_m * PX_PER_M / 3) + 1
        courses = rng.normal(128, 9, (rows, image.shape[1] // 6 + 1)).clip(0, 255).astype(np.uint8)
        courses = cv2.resize(courses, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_NEAREST)
        image = cv2.addWeighted(image, 1.0, cv2.merge([courses] * 3), 1.0, -128)
    return grain(rng, image, 5.0 if bricks else 3.0)


def weather(rng: np.random.Generator, image: np.ndarray) -> None:
    """Streaks and stains: walls are never evenly clean."""
    stain = 1.0 + 0.07 * cloud_noise(rng, image.shape[:2], (3, 9))
    height = image.shape[0]
    stain *= (1.0 - 0.12 * np.linspace(0, 1, height, dtype=np.float32) ** 3)[:, None]
    image[:] = np.clip(image * stain[..., None], 0, 255).astype(np.uint8)


def paint_roof(rng: np.random.Generator) -> np.ndarray:
    """Rows of tiles, now and then with a skylight, (96, 160, 3) uint8 RGB."""
    image = np.empty((96, 160, 3), np.uint8)
    image[:] = vary(rng, _ROOFS[rng.integers(len(_ROOFS))], 16)
    image[::6] = (image[::6] * 0.8).astype(np.uint8)
    image = grain(rng, image, 8.0, smooth=3)
    if rng.random() < 0.3:
        cv2.rectangle(image, (60, 30), (90, 66), (60, 70, 84), -1)
        cv2.rectangle(image, (60, 30), (90, 66), (200, 200, 196), 2)
    return image


def paint_chimney(rng: np.random.Generator) -> Texture:
    """A brick stack with pots on it."""
    image = np.zeros((58, 28, 4), np.uint8)
    image[12:, :, :3] = paint_wall(
        rng, 28.5 / PX_PER_M, 46.5 / PX_PER_M, vary(rng, WALL_COLOURS[rng.integers(6)], 16), bricks=True
    )[:46, :28]
    image[12:, :, 3] = 255
    for x in (2, 11, 20):
        cv2.rectangle(image, (x, 2), (x + 5, 13), (*vary(rng, (150, 92, 68), 14), 255), -1)
    image[12:15] = (*vary(rng, (150, 146, 138), 10), 255)
    return Texture(image)


def paint_fence(rng: np.random.Generator) -> tuple[Texture, float]:
    """A fence or garden wall, 4 m long.

    Returns:
        The picture and its height in m.
    """
    kind = rng.choice(["wall", "boards", "railing", "mesh"])
    height_m = {
        "wall": rng.uniform(0.7, 2.2),
        "boards": rng.uniform(1.2, 2.0),
        "railing": rng.uniform(0.9, 1.5),
        "mesh": rng.uniform(1.0, 2.0),
    }[kind]
    height, width = int(height_m * 32), 128
    if kind == "wall":
        image = paint_wall(
            rng,
            width / PX_PER_M + 0.1,
            height_m * 32 / PX_PER_M,
            vary(rng, WALL_COLOURS[rng.integers(5)], 20),
            bricks=True,
        )
        image[:3] = vary(rng, (170, 164, 152), 20)
        weather(rng, image)
        return Texture(image), height_m
    image = np.zeros((height, width, 4), np.uint8)
    if kind == "boards":
        wood = (120, 90, 62) if rng.random() < 0.6 else (98, 84, 72)
        for x in range(0, width, 8):
            cv2.rectangle(image, (x, int(rng.integers(0, 3))), (x + 7, height), (*vary(rng, wood, 16), 255), -1)
            cv2.line(image, (x, 2), (x, height), (40, 32, 24, 255), 1)
    else:
        paint = (*vary(rng, [(24, 26, 28), (30, 60, 40), (150, 152, 154), (190, 186, 176)][rng.integers(4)], 14), 255)
        step, bar = (6, 3) if kind == "railing" else (5, 2)
        for x in range(1, width, step):
            cv2.rectangle(image, (x, 3), (x + bar - 1, height), paint, -1)
        for y in (5, height // 2, height - 4) if kind == "railing" else range(3, height, 6):
            cv2.rectangle(image, (0, y), (width, y + 2), paint, -1)
        for x in range(0, width, 64):
            cv2.rectangle(image, (x, 0), (x + 5, height), paint, -1)
    return Texture(grain(rng, image, 6.0)), height_m
