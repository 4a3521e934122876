"""The pictures that are shown to every contender."""

from collections.abc import Iterator, Sequence

import numpy as np

from sdcpc_core.benchmark.setting import Setting


def frames(setting: Setting) -> Iterator[Sequence[np.ndarray]]:
    """A frame of each camera, again and again: coarse random blocks that slide, so that every frame is another."""
    height, width = setting.size_hw
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (height // 16 + 9, width // 16 + 9, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    step = 0
    while True:
        batch = []
        for _ in range(setting.cameras):
            step = (step + 3) % 128
            batch.append(np.ascontiguousarray(picture[step : step + height, step : step + width]))
        yield batch
