"""The ground as the camera sees it: every pixel's ray is cast onto the plane."""

from __future__ import annotations

import cv2
import numpy as np

from sdcpc_core.data.synthetic.camera import Route, View
from sdcpc_core.data.synthetic.panels import Buffers
from sdcpc_core.data.synthetic.paving import ACROSS_M, ALONG_M, COLUMNS, HALF_M, LEVELS


class Ground:
    """Draws painted blocks of ground."""

    def __init__(self, rng: np.random.Generator, route: Route):
        self._route = route
        self._grain = rng.normal(128, 6, (256, 256)).clip(0, 255).astype(np.uint8)

    def draw(
        self,
        view: View,
        strip: list[np.ndarray],
        labels: np.ndarray,
        start_m: float,
        buffers: Buffers,
        label_map: np.ndarray,
    ) -> None:
        """Draw the ground into the buffers and the label map.

        Args:
            view: the camera.
            strip: pictures of consecutive blocks, finest first, joined along z.
            labels: their labels, joined.
            start_m: z of the strip's first row.
            buffers: written where the ground shows.
            label_map: (H, W) uint8, written likewise.
        """
        columns, rows = view.ray_axes()
        down, across, along = (view.rotation[:, i].astype(np.float32) for i in (1, 0, 2))
        slope = down[0] * columns + (down[1] * rows + down[2])[:, None]
        visible = np.flatnonzero(slope.max(1) > 1e-4)
        if not len(visible):
            return
        top = visible[0]
        slope, rows = slope[top:], rows[top:]
        height_m = -view.position_m[1]
        ground = slope > 1e-4
        depth = np.float32(height_m) / np.maximum(slope, np.float32(1e-4))
        z = depth * (along[0] * columns + (along[1] * rows + along[2])[:, None]) + np.float32(
            view.position_m[2] - start_m
        )
        x = depth * (across[0] * columns + (across[1] * rows + across[2])[:, None]) + np.float32(view.position_m[0])
        np.clip(z, 0, labels.shape[0] * ALONG_M - 0.01, out=z)
        row = z * np.float32(1 / ALONG_M)
        centre = self._route.x_m(start_m + (np.arange(labels.shape[0]) + 0.5) * ALONG_M).astype(np.float32)
        x -= centre[row.astype(np.int32)]
        column = np.clip((x + np.float32(HALF_M)) * np.float32(1 / ACROSS_M) - 0.5, 0, COLUMNS - 1)
        colours = self._sample(strip, column, row)
        self._add_grain(colours, x, z)
        np.copyto(buffers.rgba[top:, :, :3], colours, where=ground[..., None])
        np.copyto(buffers.inverse_depth[top:], slope / np.float32(height_m), where=ground)
        found = labels[row.astype(np.int32), (column + 0.5).astype(np.int32)]
        np.copyto(label_map[top:], found, where=ground)

    def _sample(self, strip: list[np.ndarray], column: np.ndarray, row: np.ndarray) -> np.ndarray:
        """Look the colours up, in a picture whose rows are as long as the pixels' footprints."""
        middle = row[:, row.shape[1] // 2]
        footprint = np.abs(np.diff(middle, append=2 * middle[-1] - middle[-2] if len(middle) > 1 else middle[-1] + 1))
        level = np.clip(np.round(np.log2(np.maximum(footprint, 1e-3)) - 0.2), 0, LEVELS - 1).astype(int)
        # Cut off by the end of the strip, far rows look close together.
        level = np.maximum.accumulate(level[::-1])[::-1]
        colours = np.empty((*row.shape, 3), np.uint8)
        for value in np.unique(level):
            first, last = np.flatnonzero(level == value)[[0, -1]]
            band = np.s_[first : last + 1]
            colours[band] = cv2.remap(
                strip[value],
                column[band],
                row[band] / np.float32(2**value) - np.float32(0.5),
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )
        return colours

    def _add_grain(self, colours: np.ndarray, x: np.ndarray, z: np.ndarray) -> None:
        """Fine asphalt grain on the nearest rows, where the painted blocks are too coarse."""
        near = np.flatnonzero(z[:, z.shape[1] // 2] - z[-1].min() < 9.0)
        if not len(near):
            return
        band = np.s_[near[0] :]
        grain = cv2.remap(
            self._grain,
            x[band] * np.float32(80),
            z[band] * np.float32(60),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_WRAP,
        )
        colours[band] = cv2.addWeighted(colours[band], 1.0, cv2.merge([grain] * 3), 1.0, -128)
