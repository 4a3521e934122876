"""Pictures of the ground, block by block: asphalt, markings, paving, lawns and the shadows on them."""

from __future__ import annotations

from collections import OrderedDict

import cv2
import numpy as np

from sdcpc_core.data.synthetic.labels import PAVEMENT, ROAD, TREE
from sdcpc_core.data.synthetic.light import Light
from sdcpc_core.data.synthetic.noise import cloud_noise, vary
from sdcpc_core.data.synthetic.street import BLOCK_M, Block, Profile

HALF_M = 14.0
ACROSS_M, ALONG_M = 0.04, 0.05
COLUMNS, ROWS = int(2 * HALF_M / ACROSS_M), int(BLOCK_M / ALONG_M)
LEVELS = 7
_MARKING, _YELLOW = 1, 2
_PAINTS = np.array([(0, 0, 0), (220, 218, 210), (206, 170, 60)], np.float32)


def _column(d_m: float) -> int:
    return round((d_m + HALF_M) / ACROSS_M)


def _row(z_m: float) -> int:
    return round(z_m / ALONG_M)


class GroundPainter:
    """Paints blocks of ground and remembers the last few."""

    def __init__(self, seed: int, rng: np.random.Generator, profile: Profile, light: Light):
        self._seed, self._profile, self._light = seed, profile, light
        grey, warm = rng.uniform(88, 134), rng.uniform(-4, 4)
        self._asphalt = tuple(int(grey + warm * k) for k in (1, 0, -1))
        self._paving = vary(
            rng, [(150, 146, 138), (128, 128, 126), (164, 152, 136), (140, 120, 108)][rng.integers(4)], 14
        )
        self._kerb = vary(rng, (176, 174, 168), 16)
        self._grass = vary(rng, (92, 106, 58), 18)
        self._slab_m = rng.choice([0.45, 0.6, 0.9])
        self._yellow_lines = int(rng.integers(0, 3))
        self._dash_m = (rng.uniform(1.5, 4.0), rng.uniform(2.5, 6.0))
        self._wear = rng.uniform(0.35, 0.9)
        rough = cloud_noise(rng, (ROWS // 2, COLUMNS // 2), (4, 13, 60, 200)) * rng.uniform(4, 10)
        rough = cv2.resize(rough, (COLUMNS, ROWS)) + 2.5 * rng.standard_normal((ROWS, COLUMNS), dtype=np.float32)
        self._rough = (128 + rough).clip(0, 255).astype(np.uint8)
        self._painted: OrderedDict[int, tuple[list[np.ndarray], np.ndarray]] = OrderedDict()

    def block(self, index: int, blocks: dict[int, Block]) -> tuple[list[np.ndarray], np.ndarray]:
        """The reduced pictures of a block, finest first, and its label map.

        Args:
            index: which block.
            blocks: layouts of at least this block and its two neighbours.
        """
        if index not in self._painted:
            colours, labels = self._paint(index, blocks[index])
            self._shade(index, blocks, colours)
            levels = [colours]
            for _ in range(LEVELS - 1):
                last = levels[-1]
                levels.append(cv2.resize(last, (last.shape[1], last.shape[0] // 2), interpolation=cv2.INTER_AREA))
            self._painted[index] = (levels, labels)
            while len(self._painted) > 12:
                self._painted.popitem(last=False)
        return self._painted[index]

    def _paint(self, index: int, block: Block) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([self._seed, 21, index + 2**20])
        image = np.empty((ROWS, COLUMNS, 3), np.uint8)
        labels = np.empty((ROWS, COLUMNS), np.uint8)
        image[:], labels[:] = self._asphalt, ROAD
        self._patch_asphalt(rng, image)
        for side in range(2):
            self._paint_side(image, labels, side, block)
        rough = np.roll(self._rough, int(rng.integers(ROWS)), 0)
        image = cv2.addWeighted(image, 1.0, cv2.merge([rough] * 3), 1.0, -128)
        paint = np.zeros((ROWS, COLUMNS), np.uint8)
        self._mark(rng, paint, block)
        rows, columns = paint.nonzero()
        # Paint wears off where the ground is rough.
        cover = ((rough[rows, columns].astype(np.float32) - 128) / 22 + self._wear).clip(0.25, 0.95)[:, None]
        colours = _PAINTS[paint[rows, columns]]
        image[rows, columns] = (image[rows, columns] * (1 - cover) + colours * cover).astype(np.uint8)
        return image, labels

    def _patch_asphalt(self, rng: np.random.Generator, image: np.ndarray) -> None:
        for _ in range(rng.integers(0, 4)):
            z, d = rng.uniform(0, BLOCK_M), rng.uniform(-5, 5)
            size = (rng.uniform(1, 12), rng.uniform(0.6, 2.2))
            darker = rng.uniform(0.84, 1.1)
            shade = tuple(int(c * darker) for c in self._asphalt)
            cv2.rectangle(image, (_column(d), _row(z)), (_column(d + size[1]), _row(z + size[0])), shade, -1)
        for lane in (-1, 1):
            for track in (-0.75, 0.75):
                x = _column(lane * self._profile.lane_m / 2 + track)
                strip = image[:, x - 8 : x + 8]
                strip[:] = (strip * 0.95).astype(np.uint8)
        for _ in range(rng.integers(0, 3)):
            start = np.array([_column(rng.uniform(-5, 5)), rng.integers(ROWS)])
            steps = np.cumsum(rng.normal([0, 12], [5, 9], (30, 2)), axis=0)
            cv2.polylines(
                image, [(start + steps).astype(np.int32)], False, tuple(int(c * 0.6) for c in self._asphalt), 1
            )
        for _ in range(rng.integers(0, 3)):
            centre = (_column(rng.uniform(-3, 3)), int(rng.integers(ROWS)))
            cv2.ellipse(image, centre, (9, 7), 0, 0, 360, (62, 60, 58), -1)
            cv2.ellipse(image, centre, (9, 7), 0, 0, 360, (90, 88, 84), 1)

    def _paint_side(self, image: np.ndarray, labels: np.ndarray, side: int, block: Block) -> None:
        sign = 2 * side - 1
        kerb, front = self._profile.half_m(side), self._profile.frontage_m(side)
        lawn = block.zones[side] in ("park", "houses")

        def fill(
            target: np.ndarray, near: float, far: float, value: tuple | int, z0: float = 0.0, z1: float = BLOCK_M
        ) -> None:
            a, b = sorted((_column(sign * near), _column(sign * far)))
            target[_row(z0) : _row(z1), max(a, 0) : b] = value

        for z0, z1 in [(0, 16.2), (23.8, BLOCK_M)] if block.junction[side] else [(0, BLOCK_M)]:
            fill(image, kerb, HALF_M + 1, self._paving, z0, z1)
            fill(labels, kerb, HALF_M + 1, PAVEMENT, z0, z1)
            dark = tuple(int(c * 0.87) for c in self._paving)
            a, b = sorted((_column(sign * kerb), _column(sign * front)))
            joints = [_column(sign * d) for d in np.arange(kerb + self._slab_m, front, self._slab_m)]
            image[_row(z0) : _row(z1), joints] = dark
            image[[_row(z) for z in np.arange(z0, z1 - 0.1, self._slab_m)], a:b] = dark
            fill(image, kerb, kerb + 0.16, self._kerb, z0, z1)
            fill(image, kerb - 0.28, kerb, tuple(int(c * 0.8) for c in self._asphalt), z0, z1)
            a, b = sorted((_column(sign * kerb), _column(sign * (kerb + 0.16))))
            image[[_row(z) for z in np.arange(z0, z1 - 0.1, 0.9)], a:b] = tuple(int(c * 0.7) for c in self._kerb)
            if lawn:
                fill(image, front, HALF_M + 1, self._grass, z0, z1)
                fill(labels, front, HALF_M + 1, TREE, z0, z1)

    def _mark(self, rng: np.random.Generator, paint: np.ndarray, block: Block) -> None:
        profile = self._profile

        def line(d: float, width: float, colour: int, z0: float = 0.0, z1: float = BLOCK_M) -> None:
            paint[_row(max(z0, 0)) : _row(z1), _column(d - width / 2) : _column(d + width / 2)] = colour

        dash, gap = self._dash_m
        zebra = None if block.zebra_z_m is None else block.zebra_z_m % BLOCK_M
        z = 0.0
        while z < BLOCK_M:
            if zebra is None or abs(z + dash / 2 - zebra) > 3.5:
                line(0.0, 0.13, _MARKING, z, min(z + dash, BLOCK_M))
            z += dash + gap
        for side in range(2):
            sign, edge = 2 * side - 1, profile.half_m(side)
            pieces = [(0, 15.0), (25.0, BLOCK_M)] if block.junction[side] else [(0, BLOCK_M)]
            for z0, z1 in pieces:
                if profile.parking_m[side]:
                    for bay in np.arange(z0, z1, 5.5):
                        line(sign * profile.lane_m, 0.1, _MARKING, bay, min(bay + 1.2, z1))
                else:
                    for i in range(self._yellow_lines):
                        line(sign * (edge - 0.35 - 0.22 * i), 0.1, _YELLOW, z0, z1)
            if block.junction[side]:
                for z0 in np.arange(15.5, 24.5, 0.9):
                    line(sign * (edge + 0.15), 0.2, _MARKING, z0, z0 + 0.55)
        if zebra is not None:
            for d in np.arange(-profile.half_m(0) + 0.3, profile.half_m(1) - 0.4, 1.1):
                line(d + 0.28, 0.56, _MARKING, zebra - 1.5, zebra + 1.5)
            for z in (zebra - 2.4, zebra + 2.2):
                line(
                    profile.drive_side * profile.lane_m / 2 * np.sign(zebra - z),
                    profile.lane_m - 0.4,
                    _MARKING,
                    z,
                    z + 0.25,
                )
        elif rng.random() < 0.18:
            self._write(paint, str(rng.choice(["SLOW", "BUS", "20", "30", "KEEP CLEAR"])), rng.uniform(12, 24))

    def _write(self, paint: np.ndarray, word: str, z_m: float) -> None:
        """A word on the ego lane, stretched along the road as painters do."""
        width = _row(0) + int(self._profile.lane_m * 0.8 / ACROSS_M)
        (w, h), _ = cv2.getTextSize(word, cv2.FONT_HERSHEY_SIMPLEX, 1.0, 3)
        text = np.zeros((h + 8, w + 8), np.uint8)
        cv2.putText(text, word, (4, h + 4), cv2.FONT_HERSHEY_SIMPLEX, 1.0, 255, 3)
        text = cv2.flip(cv2.resize(text, (width, int(2.6 / ALONG_M))), 0)
        x = _column(self._profile.drive_side * self._profile.lane_m / 2) - width // 2
        area = paint[_row(z_m) : _row(z_m) + text.shape[0], x : x + width]
        area[text[: area.shape[0]] > 127] = _MARKING

    def _shade(self, index: int, blocks: dict[int, Block], image: np.ndarray) -> None:
        """Darken what lies in the cast shadows of this block and its neighbours."""
        if self._light.cloudiness > 0.75:
            return
        cell = 0.2
        height, width = int(BLOCK_M / cell), int(2 * HALF_M / cell)
        mask = np.zeros((height, width), np.uint8)
        sun = self._light.to_sun
        reach = np.array([-sun[0], -sun[2]]) / -sun[1]
        rng = np.random.default_rng([self._seed, 22, index + 2**20])
        for shadow in [s for i in (index - 1, index, index + 1) for s in blocks[i].shadows]:
            offset = reach * min(shadow.height_m, 40.0)
            corners = np.array([(d + HALF_M, z - index * BLOCK_M) for d in shadow.d_m for z in shadow.z_m])
            if shadow.crown:
                centre = (corners.mean(0) + offset) / cell
                size = (shadow.d_m[1] - shadow.d_m[0]) / cell
                for _ in range(22):
                    spot = centre + rng.normal(0, size * 0.2, 2)
                    cv2.circle(
                        mask, tuple(spot.astype(int).tolist()), int(max(2, size * rng.uniform(0.05, 0.16))), 255, -1
                    )
            else:
                hull = cv2.convexHull(np.concatenate([corners, corners + offset]).astype(np.float32))
                cv2.fillConvexPoly(mask, np.round(hull / cell).astype(np.int32), 255)
        soft = cv2.resize(cv2.GaussianBlur(mask, (3, 3), 0.8), (COLUMNS, ROWS), interpolation=cv2.INTER_LINEAR)
        strength = (1 - self._light.cloudiness) ** 0.5
        tint = 1 - strength * (1 - self._light.shadow_tint)
        darker = cv2.LUT(
            image, np.stack([np.arange(256) * t for t in tint], axis=1).clip(0, 255).astype(np.uint8)[None]
        )
        weight = cv2.merge([soft] * 3).astype(np.uint16)
        image[:] = ((image * (255 - weight) + darker * weight) // 255).astype(np.uint8)
