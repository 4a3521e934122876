"""Pictures of trees, bare trees, bushes and hedges."""

from __future__ import annotations

import cv2
import numpy as np

from sdcpc_core.data.synthetic.noise import grain, vary
from sdcpc_core.data.synthetic.panels import Texture

_LEAVES = [(66, 92, 40), (84, 104, 48), (52, 78, 40), (96, 108, 52), (74, 84, 50), (120, 104, 44), (60, 70, 44)]


def paint_crown(
    rng: np.random.Generator, leaf: tuple[int, int, int] | None = None, *, clumps: int = 150, squat: float = 1.0
) -> Texture:
    """A leafy crown in a square picture: clumps of leaves with light from above and holes between them."""
    size = 192
    image = np.zeros((size, size, 4), np.uint8)
    leaf = leaf or _LEAVES[rng.integers(len(_LEAVES))]
    lobes = rng.uniform(-0.5, 0.5, (6, 2)) * (1.0, 0.85)
    order = rng.random(clumps) ** 0.7
    for depth in np.sort(order):
        lobe = lobes[rng.integers(len(lobes))]
        angle, reach = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random()) * 0.42
        x, y = lobe[0] + reach * np.cos(angle), lobe[1] + reach * np.sin(angle)
        light = 0.45 + 0.5 * depth - 0.35 * y + 0.12 * x
        colour = [int(np.clip(c * light + rng.normal(0, 6), 4, 255)) for c in leaf]
        centre = (int(size * (0.5 + 0.5 * x)), int(size * (0.5 + 0.5 * y * squat + 0.5 * (1 - squat))))
        axes = (int(rng.integers(6, 17)), int(rng.integers(5, 13)))
        cv2.ellipse(image, centre, axes, float(rng.uniform(0, 180)), 0, 360, (*colour, 255), -1, cv2.LINE_AA)
    return Texture(_leafy(rng, image))


def _leafy(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Break smooth blobs into leaves: fray the outline, pierce holes, speckle."""
    height, width = image.shape[:2]
    flow = rng.normal(0, 3.5, (2, height // 3, width // 3)).astype(np.float32)
    dx, dy = (cv2.resize(f, (width, height), interpolation=cv2.INTER_LINEAR) for f in flow)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    image = cv2.remap(image, x + dx, y + dy, cv2.INTER_LINEAR)
    holes = cv2.resize(
        rng.random((height // 4, width // 4)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
    )
    image[holes > 0.97] = 0
    return grain(rng, grain(rng, image, 10.0, smooth=2), 14.0)


def paint_bare_crown(rng: np.random.Generator) -> Texture:
    """A whole tree in winter, in a square picture, growing from the middle of the lower edge."""
    size = 224
    image = np.zeros((size, size, 4), np.uint8)
    bark = vary(rng, (74, 62, 52), 14)
    tips = [(size / 2, float(size), -np.pi / 2 + rng.normal(0, 0.05), size * rng.uniform(0.26, 0.36), 8.0)]
    for order in range(7):
        grown = []
        for x, y, angle, length, thickness in tips:
            x1, y1 = x + length * np.cos(angle), y + length * np.sin(angle)
            shade = int(rng.integers(-14, 15))
            colour = tuple(int(np.clip(c + shade, 0, 255)) for c in bark)
            cv2.line(image, (int(x), int(y)), (int(x1), int(y1)), (*colour, 255), max(1, int(thickness)), cv2.LINE_AA)
            spread = rng.uniform(0.25, 0.6)
            for turn in (-spread, spread * rng.uniform(0.5, 1.1)):
                grown.append(
                    (
                        x1,
                        y1,
                        angle + turn + rng.normal(0, 0.12),
                        length * rng.uniform(*((0.68, 0.86) if order else (0.5, 0.66))),
                        thickness * 0.68,
                    )
                )
        tips = grown
    return Texture(image)


def paint_trunk(rng: np.random.Generator) -> Texture:
    """A trunk, wider at the foot."""
    image = np.zeros((128, 32, 4), np.uint8)
    bark = np.array(vary(rng, (88, 74, 60), 16))
    outline = np.array([[11, 0], [21, 0], [22, 90], [27, 127], [4, 127], [10, 90]])
    cv2.fillPoly(image, [outline], (*bark.tolist(), 255), cv2.LINE_AA)
    light = np.linspace(1.15, 0.6, 32)[None, :, None]
    image[..., :3] = np.minimum(image[..., :3] * light, image[..., 3:]).astype(np.uint8)
    return Texture(grain(rng, image, 9.0, smooth=2))


def paint_hedge(rng: np.random.Generator) -> Texture:
    """A clipped hedge, 4 m long and as high as the panel."""
    image = np.zeros((80, 160, 4), np.uint8)
    leaf = np.array(_LEAVES[rng.integers(5)]) * 0.85
    for y in range(0, 84, 5):
        for x in range(0, 164, 7):
            light = 0.65 + 0.5 * (1 - y / 84) + rng.normal(0, 0.12)
            colour = tuple(int(np.clip(c * light, 4, 255)) for c in leaf)
            centre = (x + int(rng.integers(-3, 4)), y + int(rng.integers(5, 9)))
            cv2.ellipse(image, centre, (6, 5), 0, 0, 360, (*colour, 255), -1)
    image[12:] = np.where(image[12:, :, 3:] > 0, image[12:], np.array([30, 40, 22, 255], np.uint8))
    return Texture(grain(rng, image, 12.0))


def paint_grass(rng: np.random.Generator) -> tuple[int, int, int]:
    """Colour of the lawns of a drive."""
    return vary(rng, (92, 108, 58), 18)
