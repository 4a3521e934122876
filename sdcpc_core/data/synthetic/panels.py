"""Textured rectangles in space, and how they are drawn with a depth buffer.

Every object of the drive is made of them: walls, car body parts, cut-out cards for trees and people.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sdcpc_core.data.synthetic.camera import View

NEAR_M = 0.3
_MAX_LEVEL = 6
_LEAST_PX2 = 2.5  # smaller things on screen are not drawn
_BLEND_PX2 = 140  # nor are the edges of smaller ones blended


class Texture:
    """An RGBA picture with its reduced copies, one for every pair of column and row scale.

    Separate scales keep a wall sharp that is seen at a grazing angle.

    Args:
        image: (H, W, 4) uint8 RGBA, colours premultiplied by alpha, or (H, W, 3) RGB for an opaque one.
        solid: worth drawing early for what it hides, although its outline is cut.
    """

    def __init__(self, image: np.ndarray, *, solid: bool = False):
        self.opaque = image.shape[2] == 3
        self.solid = solid or self.opaque
        self.image = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA) if self.opaque else image
        # An opaque edge reaches past its rectangle, so that walls meet without a gap.
        self.pad_px = 2 if self.opaque else 0
        self._levels: dict[tuple[int, int], np.ndarray] = {}

    def level(self, across: int, down: int) -> np.ndarray:
        """The picture reduced by 2**across in width and 2**down in height, with its padding."""
        key = (across, down)
        if key not in self._levels:
            height, width = self.image.shape[:2]
            size = (max(1, width >> across), max(1, height >> down))
            image = self.image if key == (0, 0) else cv2.resize(self.image, size, interpolation=cv2.INTER_AREA)
            if self.opaque:
                image = cv2.copyMakeBorder(image, 2, 2, 2, 2, cv2.BORDER_REPLICATE)
                # Colours stay whole where alpha falls off, so that the edge needs no blending.
                image[[0, -1], :, 3] = image[:, [0, -1], 3] = 0
            self._levels[key] = image
        return self._levels[key]


@dataclass(frozen=True)
class Panels:
    """N textured rectangles: origin (top left), edges along the texture's width and height."""

    origin_m: np.ndarray  # (N, 3) float64
    across_m: np.ndarray  # (N, 3)
    down_m: np.ndarray  # (N, 3)
    textures: list[Texture]
    label: np.ndarray  # (N,) uint8
    facing: np.ndarray  # (N,) float64: 1 lit by its own normal, 0 lit alike from all sides (cut-out cards)
    one_sided: np.ndarray  # (N,) bool: not drawn from behind

    def placed(self, rotation: np.ndarray, position_m: np.ndarray) -> Panels:
        """The same panels, rotated and then moved."""
        return Panels(
            self.origin_m @ rotation.T + position_m,
            self.across_m @ rotation.T,
            self.down_m @ rotation.T,
            self.textures,
            self.label,
            self.facing,
            self.one_sided,
        )


def join(parts: list[Panels]) -> Panels:
    """All panels of the parts, in order."""

    def stack(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])

    return Panels(
        stack("origin_m"),
        stack("across_m"),
        stack("down_m"),
        [t for part in parts for t in part.textures],
        stack("label"),
        stack("facing"),
        stack("one_sided"),
    )


class PanelList:
    """Collects panels; heights are positive upwards here."""

    def __init__(self) -> None:
        self._rows: list[tuple] = []

    def add(
        self,
        origin: tuple,
        across: tuple,
        down: tuple,
        texture: Texture,
        label: int,
        *,
        facing: float = 1.0,
        one_sided: bool = False,
    ) -> None:
        """Add one rectangle: (x, height, z) of its top left corner and its two edges."""
        self._rows.append((origin, across, down, texture, label, facing, one_sided))

    def add_card(
        self,
        x_m: float,
        z_m: float,
        width_m: float,
        height_m: float,
        texture: Texture,
        label: int,
        *,
        base_m: float = 0.0,
        yaw: float = 0.0,
    ) -> None:
        """Add an upright cut-out across the street, centred on x."""
        c, s = np.cos(yaw), -np.sin(yaw)
        self.add(
            (x_m - c * width_m / 2, base_m + height_m, z_m - s * width_m / 2),
            (c * width_m, 0.0, s * width_m),
            (0.0, -height_m, 0.0),
            texture,
            label,
            facing=0.0,
        )

    def build(self) -> Panels:
        """The panels in world axes (y down)."""
        flip = np.array([1.0, -1.0, 1.0])
        origin, across, down = (
            np.array([row[i] for row in self._rows], np.float64).reshape(-1, 3) * flip for i in range(3)
        )
        return Panels(
            origin,
            across,
            down,
            [row[3] for row in self._rows],
            np.array([row[4] for row in self._rows], np.uint8),
            np.array([row[5] for row in self._rows], np.float64),
            np.array([row[6] for row in self._rows], bool),
        )


@dataclass
class Buffers:
    """What is known of every pixel while a frame is drawn."""

    rgba: np.ndarray  # (H, W, 4) uint8, unlit colours; alpha is meaningless
    inverse_depth: np.ndarray  # (H, W) float32, 1 / m along the optical axis; 0 is infinitely far
    surface: np.ndarray  # (H, W) int32: index of the panel, -1 where the backdrop shows


def draw(panels: Panels, view: View, buffers: Buffers) -> None:
    """Draw panels over what the buffers hold, nearest surface on top.

    A texel that is less than half opaque tints what is behind it but does not own the pixel.
    """
    height, width = view.size_hw
    across, down = panels.across_m @ view.rotation.T, panels.down_m @ view.rotation.T
    origin = (panels.origin_m - view.position_m) @ view.rotation.T
    normal = np.cross(across, down)
    offset = np.einsum("ni,ni->n", normal, origin)
    corners = np.stack([origin, origin + across, origin + across + down, origin + down], axis=1)
    keep = (corners[..., 2].max(1) > NEAR_M) & (np.abs(offset) > 1e-9) & ~(panels.one_sided & (offset < 0))
    boxes, lengths = _footprints(corners, view)
    keep &= (boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3]) & (lengths.prod(1) > _LEAST_PX2)
    chosen = np.flatnonzero(keep)
    if not len(chosen):
        return
    # Solid things go first, near to far, so that what they hide is dropped early; cut-outs then blend from far to near.
    solid = np.array([panels.textures[i].solid for i in chosen])
    far = corners[chosen, :, 2].mean(1)
    chosen = chosen[np.lexsort((np.where(solid, far, -far), ~solid))]
    textures = [panels.textures[i] for i in chosen]
    intrinsics = view.intrinsics
    to_texture = np.linalg.inv(intrinsics @ np.stack([across, down, origin], axis=2)[chosen])
    planes = ((normal[chosen] / offset[chosen, None]) @ np.linalg.inv(intrinsics)).astype(np.float32)
    pictures, to_texel = _fit_textures(textures, to_texture, lengths[chosen], boxes[chosen])
    columns, rows = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    pixels = buffers.rgba.view(np.uint32)[..., 0]
    for index, texture, (x0, y0, x1, y1), plane, picture, matrix in zip(
        chosen.astype(np.int32), textures, boxes[chosen].tolist(), planes, pictures, to_texel, strict=True
    ):
        area = (slice(y0, y1), slice(x0, x1))
        depth = plane[0] * columns[x0:x1] + (plane[1] * rows[y0:y1] + plane[2])
        behind = buffers.inverse_depth[area]
        owned = depth > behind
        if not owned.any():
            continue
        patch = cv2.warpPerspective(picture, matrix, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        alpha = patch[..., 3]
        if not texture.opaque and depth.size > _BLEND_PX2:
            _blend_edges(buffers.rgba[area], patch, (alpha > 6) & (alpha < 250) & owned)
        owned &= alpha >= 128
        np.copyto(pixels[area], patch.view(np.uint32)[..., 0], where=owned)
        np.copyto(behind, depth, where=owned)
        np.copyto(buffers.surface[area], index, where=owned)


def _blend_edges(under: np.ndarray, patch: np.ndarray, soft: np.ndarray) -> None:
    """Mix the soft texels with what is behind them, in the patch and in the picture."""
    rows, columns = soft.nonzero()
    if len(rows):
        top = patch[rows, columns]
        rest = (255 - top[:, 3:4]).astype(np.uint16)
        mixed = top + (under[rows, columns] * rest // 255).astype(np.uint8)
        mixed[:, 3] = top[:, 3]
        patch[rows, columns] = mixed
        under[rows, columns] = mixed


def _footprints(corners: np.ndarray, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Pixel boxes (N, 4) x0 y0 x1 y1, cut to the image, and projected edge lengths (N, 2) in pixels."""
    height, width = view.size_hw
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    nearest = corners[..., 2].min(1)
    points = corners[..., :2] / np.maximum(corners[..., 2:], NEAR_M) * view.focal_px + centre
    low, high = points.min(1), points.max(1)
    for index in np.flatnonzero((nearest < NEAR_M) & (corners[..., 2].max(1) > NEAR_M)):
        clipped = _clip_near(corners[index])
        clipped = clipped[:, :2] / clipped[:, 2:] * view.focal_px + centre
        low[index], high[index] = clipped.min(0), clipped.max(0)
    limit = np.array([width, height])
    # Two pixels more, because an opaque texture reaches one texel past its rectangle.
    boxes = np.concatenate([np.clip(np.floor(low) - 2, 0, limit), np.clip(np.ceil(high) + 3, 0, limit)], axis=1).astype(
        np.int64
    )
    edges = np.roll(points, -1, axis=1) - points
    lengths = np.linalg.norm(edges, axis=2)
    lengths = np.maximum(lengths[:, :2], lengths[:, 2:])
    lengths[nearest < NEAR_M] = 1e9
    return boxes, lengths


def _clip_near(corners: np.ndarray) -> np.ndarray:
    """The polygon's part in front of the near plane, (M, 3)."""
    result = []
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if a[2] >= NEAR_M:
            result.append(a)
        if (a[2] >= NEAR_M) != (b[2] >= NEAR_M):
            result.append(a + (b - a) * (NEAR_M - a[2]) / (b[2] - a[2]))
    return np.array(result)


def _fit_textures(
    textures: list[Texture], to_texture: np.ndarray, lengths_px: np.ndarray, boxes: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray]:
    """The reduced pictures that fit the sizes on screen, and the maps (N, 3, 3) from box pixels to their texels."""
    sizes = np.array([(t.image.shape[1], t.image.shape[0]) for t in textures])
    levels = np.clip(np.floor(np.log2(sizes / np.maximum(lengths_px, 1.0)) + 0.3), 0, _MAX_LEVEL).astype(int)
    reduced = np.maximum(sizes >> levels, 1)
    shift = np.array([t.pad_px for t in textures]) - 0.5
    matrix = to_texture.copy()
    for axis in range(2):
        matrix[:, axis] = matrix[:, axis] * reduced[:, axis, None] + matrix[:, 2] * shift[:, None]
    matrix[:, :, 2] += matrix[:, :, 0] * boxes[:, 0, None] + matrix[:, :, 1] * boxes[:, 1, None]
    return [t.level(*level) for t, level in zip(textures, levels.tolist(), strict=True)], matrix
