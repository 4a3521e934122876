"""An endless procedural drive with exact labels, flow and motion masks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from sdcpc_core.data.synthetic.actors import Actor, Actors
from sdcpc_core.data.synthetic.backdrop import Backdrop
from sdcpc_core.data.synthetic.camera import Ego, Route, View
from sdcpc_core.data.synthetic.ground import Ground
from sdcpc_core.data.synthetic.light import Light
from sdcpc_core.data.synthetic.panels import NEAR_M, Buffers, Panels, draw, join
from sdcpc_core.data.synthetic.paving import GroundPainter
from sdcpc_core.data.synthetic.street import BLOCK_M, Block, Street, make_profile
from sdcpc_core.errors import ConfigError

# Far enough that a block appears as a few pixels; the ground is drawn out to infinity from its last block.
_BLOCKS_AHEAD = 7
_GROUND_BLOCKS = 5


@dataclass(frozen=True)
class SyntheticFrame:
    """One frame and all that is known of it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        label_map: (H, W) uint8, CamVid's ids: 0 Sky, 1 Building, 2 Pole, 3 Road, 4 Pavement, 5 Tree, 6 SignSymbol,
            7 Fence, 8 Car, 9 Pedestrian, 10 Bicyclist; 255 is unlabelled.
        flow: (H, W, 2) float32 pixels (dx, dy): where the point seen at this pixel lies in the other frame; NaN
            where it lies outside that image or behind the camera. Limbs of people follow the body. None when
            not asked for.
        moving: (H, W) bool, pixels of things that move in the world by themselves.
        stamp_ns: time of the frame since the start of the drive.
    """

    image: np.ndarray
    label_map: np.ndarray
    flow: np.ndarray | None
    moving: np.ndarray
    stamp_ns: int


class SyntheticDrive:
    """A camera car in a generated street.

    The street has no end, frames can be asked for in any order, and the world depends on the time alone: the same
    seed at another rate shows the same world at other instants (the sensor noise differs).

    Args:
        seed: >= 0; picks street, weather, traffic and camera.
        size_hw: image size in pixels, at least 32 each.
        rate_hz: frames per second, > 0.

    Raises:
        ConfigError: a value is out of range.
    """

    def __init__(self, seed: int, size_hw: tuple[int, int] = (360, 480), rate_hz: float = 15.0):
        if seed < 0:
            raise ConfigError(f"seed must be >= 0, got {seed}")
        if min(size_hw) < 32:
            raise ConfigError(f"size_hw must be at least 32 x 32, got {tuple(size_hw)}")
        if not rate_hz > 0:
            raise ConfigError(f"rate_hz must be positive, got {rate_hz}")
        self._seed, self._size_hw, self._rate_hz = int(seed), (int(size_hw[0]), int(size_hw[1])), float(rate_hz)
        # One source per part, so that a change in one leaves the others as they are.
        sources = [np.random.default_rng([self._seed, 1, part]) for part in range(7)]
        self._route = Route(sources[0])
        self._profile = make_profile(sources[1])
        self._ego = Ego(sources[2], self._route, self._profile.drive_side * self._profile.lane_m / 2)
        self._light = Light(sources[3])
        self._backdrop = Backdrop(sources[3], self._light)
        self._painter = GroundPainter(self._seed, sources[4], self._profile, self._light)
        self._ground = Ground(sources[4], self._route)
        self._street = Street(self._seed, sources[5], self._route, self._profile)
        self._actors = Actors(self._seed, sources[6], self._route, self._profile, self._ego)
        self._blocks: OrderedDict[int, Block] = OrderedDict()
        # What stands in view, joined; it changes only when the camera enters the next block.
        self._strip: tuple[int, list[np.ndarray], np.ndarray] | None = None
        self._still: tuple[int, Panels] | None = None

    def frame(self, index: int, *, flow_to: int | None = None) -> SyntheticFrame:
        """Draw one frame; the same index gives the same bytes.

        Args:
            index: >= 0.
            flow_to: >= 0, the frame that the flow leads to (earlier or later); None leaves the flow out.

        Raises:
            ConfigError: an index is negative.
        """
        if index < 0 or (flow_to is not None and flow_to < 0):
            raise ConfigError(f"frame indices must be >= 0, got {index} and flow_to={flow_to}")
        time_s = index / self._rate_hz
        view = self._ego.view(time_s, self._size_hw)
        first = int(np.floor(view.position_m[2] / BLOCK_M))
        blocks = self._blocks_around(first)
        image, label_map = self._backdrop.draw(view)
        rgba = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)
        buffers = Buffers(rgba, np.zeros(self._size_hw, np.float32), np.full(self._size_hw, -1, np.int32))
        strip, strip_labels = self._ground_strip(first, blocks)
        self._ground.draw(view, strip, strip_labels, first * BLOCK_M, buffers, label_map)
        actors = self._actors.around(time_s, blocks, (view.position_m[2] - 3.0, view.position_m[2] + 240.0))
        panels, owner = self._gather(first, blocks, actors, time_s)
        draw(panels, view, buffers)
        hit = buffers.surface >= 0
        surface = np.where(hit, buffers.surface, len(panels.label))
        label_map = np.where(hit, np.append(panels.label, 0)[surface], label_map).astype(np.uint8)
        body = np.append(owner, 0)[surface]
        light = self._light_of(panels, surface, buffers)
        noise = np.random.default_rng([self._seed, 2, index])
        picture = self._light.develop(
            cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB), light, buffers.inverse_depth, time_s, noise
        )
        moving = np.array([False] + [actor.moves(time_s) for actor in actors])[body]
        flow = (
            None
            if flow_to is None
            else self._flow(view, buffers.inverse_depth, body, actors, time_s, flow_to / self._rate_hz)
        )
        return SyntheticFrame(picture, label_map, flow, moving, round(time_s * 1e9))

    def frames(self, count: int) -> Iterator[SyntheticFrame]:
        """The first `count` frames, without flow."""
        return (self.frame(index) for index in range(count))

    def _blocks_around(self, first: int) -> dict[int, Block]:
        wanted = range(first - 1, first + _BLOCKS_AHEAD)
        for index in wanted:
            if index not in self._blocks:
                self._blocks[index] = self._street.block(index)
        while len(self._blocks) > 24:
            oldest = next(index for index in self._blocks if index not in wanted)
            del self._blocks[oldest]
        return {index: self._blocks[index] for index in wanted}

    def _ground_strip(self, first: int, blocks: dict[int, Block]) -> tuple[list[np.ndarray], np.ndarray]:
        if self._strip is None or self._strip[0] != first:
            painted = [self._painter.block(first + i, blocks) for i in range(_GROUND_BLOCKS)]
            levels = [np.concatenate(level) for level in zip(*(levels for levels, _ in painted), strict=True)]
            self._strip = (first, levels, np.concatenate([labels for _, labels in painted]))
        return self._strip[1:]

    def _gather(
        self, first: int, blocks: dict[int, Block], actors: list[Actor], time_s: float
    ) -> tuple[Panels, np.ndarray]:
        """All panels in view, and the number of the actor that each belongs to; 0 is the street itself."""
        if self._still is None or self._still[0] != first:
            self._still = (first, join([blocks[first + i].panels for i in range(-1, _BLOCKS_AHEAD)]))
        parts, owners = [self._still[1]], [0]
        for number, actor in enumerate(actors, start=1):
            parts.append(actor.picture(time_s, actor.place(time_s)).placed(*actor.pose(time_s, self._route)))
            owners.append(number)
        return join(parts), np.repeat(owners, [len(part.label) for part in parts])

    def _light_of(self, panels: Panels, surface: np.ndarray, buffers: Buffers) -> np.ndarray:
        table = np.concatenate([self._light.on_panels(panels), self._light.ground[None].astype(np.float32)])
        light = np.take(table, surface, axis=0)
        light[buffers.inverse_depth <= 0] = self._light.sky_gain
        return light

    def _flow(
        self,
        view: View,
        inverse_depth: np.ndarray,
        body: np.ndarray,
        actors: list[Actor],
        time_s: float,
        other_s: float,
    ) -> np.ndarray:
        other = self._ego.view(other_s, self._size_hw)
        height, width = self._size_hw
        columns, rows = view.ray_axes()
        # Points are homogeneous, (ray, 1 / depth), so that the sky at infinity needs no case of its own.
        turn = (other.rotation @ view.rotation.T).astype(np.float32)
        shift = (other.rotation @ (view.position_m - other.position_m)).astype(np.float32)
        target = [
            turn[i, 0] * columns + (turn[i, 1] * rows + turn[i, 2])[:, None] + inverse_depth * shift[i]
            for i in range(3)
        ]
        for number in np.unique(body[body > 0]):
            at = np.nonzero(body == number)
            (r0, p0), (r1, p1) = (actors[number - 1].pose(t, self._route) for t in (time_s, other_s))
            spin = r1 @ r0.T
            turn = other.rotation @ spin @ view.rotation.T
            shift = other.rotation @ (spin @ (view.position_m - p0) + p1 - other.position_m)
            for i in range(3):
                target[i][at] = (
                    turn[i, 0] * columns[at[1]] + turn[i, 1] * rows[at[0]] + turn[i, 2] + inverse_depth[at] * shift[i]
                )
        ahead = target[2] > np.maximum(NEAR_M * inverse_depth, np.float32(1e-6))
        scale = np.float32(view.focal_px) / np.where(ahead, target[2], np.nan)
        x = target[0] * scale + np.float32((width - 1) / 2)
        y = target[1] * scale + np.float32((height - 1) / 2)
        inside = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
        flow = np.stack(
            [x - np.arange(width, dtype=np.float32), y - np.arange(height, dtype=np.float32)[:, None]], axis=-1
        )
        flow[~inside] = np.nan
        return flow
