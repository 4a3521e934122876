"""Random texture that the surfaces share."""

from __future__ import annotations

import cv2
import numpy as np


def cloud_noise(rng: np.random.Generator, size_hw: tuple[int, int], cells: tuple[int, ...]) -> np.ndarray:
    """Smooth noise as a sum of octaves.

    Args:
        rng: source of randomness.
        size_hw: size of the result in pixels.
        cells: grid size of each octave, coarse to fine; amplitudes halve.

    Returns:
        (H, W) float32, about zero mean and roughly in [-1, 1].
    """
    height, width = size_hw
    total = np.zeros(size_hw, np.float32)
    for octave, count in enumerate(cells):
        grid = rng.uniform(-1, 1, (count, max(2, count * width // height))).astype(np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * 0.5**octave
    return total


def grain(rng: np.random.Generator, image: np.ndarray, amount: float, *, smooth: int = 1) -> np.ndarray:
    """Add brightness noise to a colour picture.

    Args:
        rng: source of randomness.
        image: (H, W, 3) or (H, W, 4) uint8; only where alpha is opaque for the latter.
        amount: standard deviation in grey levels.
        smooth: size in pixels of a speck.

    Returns:
        Same shape, uint8.
    """
    height, width = image.shape[:2]
    small = rng.normal(128, amount, (-(-height // smooth), -(-width // smooth)))
    noise = cv2.resize(np.clip(small, 0, 255).astype(np.uint8), (width, height), interpolation=cv2.INTER_LINEAR)
    colours = cv2.addWeighted(np.ascontiguousarray(image[..., :3]), 1.0, cv2.merge([noise] * 3), 1.0, -128)
    if image.shape[2] == 3:
        return colours
    # Premultiplied colours may not exceed alpha.
    colours = np.minimum(colours, image[..., 3:])
    return np.dstack([colours, image[..., 3]])


def vary(rng: np.random.Generator, colour: tuple[int, int, int], amount: int) -> tuple[int, int, int]:
    """A colour near the given one, uint8 range."""
    shade = int(rng.integers(-amount, amount + 1))
    tints = rng.integers(-amount // 3 - 1, amount // 3 + 2, 3).tolist()
    return tuple(min(255, max(0, int(c) + shade + tint)) for c, tint in zip(colour, tints, strict=True))
