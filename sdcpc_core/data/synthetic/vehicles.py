"""Cars, vans, lorries and buses: a side outline drawn out across the width, narrower above the belt line."""

from __future__ import annotations

import itertools

import cv2
import numpy as np

from sdcpc_core.data.synthetic.labels import CAR
from sdcpc_core.data.synthetic.noise import grain, vary
from sdcpc_core.data.synthetic.panels import PanelList, Panels, Texture
from sdcpc_core.data.synthetic.vehicle_shapes import BELT_M, HALF_WIDTH_M, KINDS, LENGTH_M, OUTLINES, Body

_PX_PER_M = 56
_PAINTS = [
    (150, 152, 156),
    (188, 190, 192),
    (28, 30, 34),
    (60, 64, 70),
    (224, 226, 226),
    (130, 20, 24),
    (28, 48, 100),
    (36, 60, 50),
    (96, 104, 112),
    (160, 150, 130),
    (60, 90, 140),
    (190, 40, 30),
    (20, 24, 44),
    (205, 170, 50),
    (110, 30, 50),
]
_GLASS_TOP, _GLASS_BOTTOM = (124, 138, 150), (34, 38, 44)
_DARK = (26, 26, 28)


def make_vehicle(rng: np.random.Generator, kind: str | None = None) -> Panels:
    """A vehicle standing at the origin with its nose towards +z.

    Args:
        rng: source of randomness (kind, paint, plate).
        kind: one of KINDS; random when None.
    """
    kind = kind or str(rng.choice(KINDS, p=[0.34, 0.18, 0.16, 0.13, 0.12, 0.03, 0.04]))
    paint = vary(
        rng,
        (226, 226, 224) if kind in ("van", "lorry") and rng.random() < 0.6 else _PAINTS[rng.integers(len(_PAINTS))],
        12,
    )
    body = Body(kind, paint, (226, 190, 40) if rng.random() < 0.7 else (228, 228, 222))
    parts = PanelList()
    _add_shadow(parts, body)
    _add_strips(rng, parts, body)
    _add_sides(rng, parts, body)
    _add_axles(parts, body)
    panels = parts.build()
    panels.origin_m[:, 2] -= LENGTH_M[kind] / 2
    return panels


def _add_shadow(parts: PanelList, body: Body) -> None:
    reach, half_width = 0.35, HALF_WIDTH_M[body.kind]
    image = np.zeros((64, 32, 4), np.uint8)
    image[5:-5, 4:-4, 3] = 126
    # Under one half opaque everywhere: a shadow tints the road, it is not a thing of its own.
    image = cv2.GaussianBlur(image, (9, 9), 3)
    length = LENGTH_M[body.kind] + 2 * reach
    for _ in range(2):
        parts.add(
            (-half_width - reach, 0.01, length - reach),
            (2 * (half_width + reach), 0.0, 0.0),
            (0.0, 0.0, -length),
            Texture(image),
            CAR,
            facing=0.0,
        )


def _add_strips(rng: np.random.Generator, parts: PanelList, body: Body) -> None:
    outline = OUTLINES[body.kind]
    highest = max(range(len(outline)), key=lambda i: outline[i][1])
    for index, ((z0, y0, name), (z1, y1, _)) in enumerate(itertools.pairwise(outline)):
        rear = index < highest or (name == "roof" and y1 >= y0)
        (top_z, top_y), (low_z, low_y) = ((z1, y1), (z0, y0)) if rear else ((z0, y0), (z1, y1))
        top, low = body.half_width(top_y), body.half_width(low_y)
        wide = max(top, low)
        picture = _strip(rng, body, name, rear, top / wide, low / wide, wide, float(np.hypot(z1 - z0, y1 - y0)))
        side = 1 if rear else -1
        parts.add(
            (-side * wide, top_y, top_z),
            (2 * side * wide, 0.0, 0.0),
            (0.0, low_y - top_y, low_z - top_z),
            picture,
            CAR,
            one_sided=True,
        )


def _strip(
    rng: np.random.Generator,
    body: Body,
    name: str,
    rear: bool,
    top: float,
    low: float,
    half_width: float,
    length: float,
) -> Texture:
    """One strip across the body, cut to a trapezoid."""
    height, width = max(6, int(length * _PX_PER_M)), int(2 * half_width * _PX_PER_M)
    image = np.empty((height, width, 4), np.uint8)
    image[:] = (*body.paint, 255)
    w, h = width - 1, height - 1

    def box(x0: float, y0: float, x1: float, y1: float, colour: tuple) -> None:
        """A rectangle in fractions of the strip, mirrored to the other side when off centre."""
        cv2.rectangle(image, (int(x0 * w), int(y0 * h)), (int(x1 * w), int(y1 * h)), (*colour, 255), -1)
        if x1 < 0.5:
            cv2.rectangle(image, (int((1 - x1) * w), int(y0 * h)), (int((1 - x0) * w), int(y1 * h)), (*colour, 255), -1)

    lamp = (170, 24, 20) if rear else (226, 230, 228)
    if name in ("glass", "doors_top"):
        _paint_glass(
            image,
            [(0.5 - top * 0.44, 0.08), (0.5 + top * 0.44, 0.08), (0.5 + low * 0.45, 0.92), (0.5 - low * 0.45, 0.92)],
        )
        if name == "doors_top":
            box(0.48, 0, 0.52, 1, body.paint)
            box(0.06, 0.75, 0.94, 1, body.paint)
    elif name == "skirt":
        box(0, 0, 1, 1, tuple(int(c * 0.75) for c in body.paint))
        box(0, 0.55, 1, 1, _DARK)
    elif name in ("tail", "nose", "doors"):
        box(0.02, 0.12, 0.17 if name != "doors" else 0.08, 0.55, lamp)
        box(0.04, 0.40, 0.13 if name != "doors" else 0.07, 0.52, (236, 150, 60) if rear else (250, 250, 240))
        if name == "nose":
            box(0.22, 0.15, 0.78, 0.75, (44, 44, 46))
        box(0.36, 0.52, 0.64, 0.78, body.plate if rear else (232, 232, 226))
        box(0.40, 0.60, 0.60, 0.70, (60, 56, 40))
        if name == "tail":
            cv2.line(
                image,
                (int(0.18 * w), int(0.30 * h)),
                (int(0.82 * w), int(0.30 * h)),
                (*(int(c * 0.6) for c in body.paint), 255),
                1,
            )
        if name == "doors":
            box(0.495, 0, 0.505, 1, _DARK)
    elif name == "bonnet":
        cv2.line(image, (int(0.14 * w), 0), (int(0.10 * w), h), (*(int(c * 0.75) for c in body.paint), 255), 1)
        cv2.line(image, (int(0.86 * w), 0), (int(0.90 * w), h), (*(int(c * 0.75) for c in body.paint), 255), 1)
    elif name == "box":
        box(0.03, 0.04, 0.97, 0.96, vary(rng, body.paint, 20))
    if name in ("roof", "bonnet"):
        # Level sheet metal mirrors the sky.
        image[..., :3] = (image[..., :3] * 0.72 + np.array([58, 62, 66])).clip(0, 255).astype(np.uint8)
    # Bodies curve away at the sides and catch less of the sky there.
    across = np.linspace(-1, 1, width, dtype=np.float32)
    image[..., :3] = (image[..., :3] * (1.04 - 0.34 * np.abs(across) ** 4)[None, :, None]).clip(0, 255).astype(np.uint8)
    cut = np.array(
        [
            [width * (1 - top) / 2, -1],
            [width * (1 + top) / 2, -1],
            [width * (1 + low) / 2, height],
            [width * (1 - low) / 2, height],
        ]
    )
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.round(cut).astype(np.int32)], 255)
    image[mask == 0] = 0
    return Texture(grain(rng, image, 2.5), solid=True)


def _paint_glass(image: np.ndarray, corners: list[tuple[float, float]]) -> None:
    """Dark glass with the sky in its upper part; corners are fractions of the picture."""
    height, width = image.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.round(np.array(corners) * (width - 1, height - 1)).astype(np.int32)], 255)
    blend = np.linspace(0, 1, height, dtype=np.float32)[:, None, None] ** 0.7
    slant = np.linspace(-0.12, 0.12, width, dtype=np.float32)[None, :, None]
    glass = np.array(_GLASS_TOP) * (1 - blend) + np.array(_GLASS_BOTTOM) * blend
    glass = (glass * (1 + slant)).clip(0, 255).astype(np.uint8)
    image[..., :3][mask > 0] = glass[mask > 0]


def _add_sides(rng: np.random.Generator, parts: PanelList, body: Body) -> None:
    outline, belt = OUTLINES[body.kind], BELT_M[body.kind]
    length, roof = LENGTH_M[body.kind], max(y for _, y, _ in outline)
    lower, upper = _paint_lower(rng, body, length, belt), _paint_upper(body, length, belt, roof)
    low_half, top_half = body.half_width(belt), body.half_width(roof)
    for side in (-1, 1):
        z, step = (length, -length) if side < 0 else (0.0, length)
        pictures = [Texture(np.ascontiguousarray(image[:, ::side]), solid=True) for image in (lower, upper)]
        parts.add((side * low_half, belt, z), (0.0, 0.0, step), (0.0, -belt, 0.0), pictures[0], CAR, one_sided=True)
        parts.add(
            (side * top_half, roof, z),
            (0.0, 0.0, step),
            (side * (low_half - top_half), belt - roof, 0.0),
            pictures[1],
            CAR,
            one_sided=True,
        )


def _paint_lower(rng: np.random.Generator, body: Body, length: float, belt: float) -> np.ndarray:
    """The side below the belt line with its wheels, tail on the left."""
    height, width = int(belt * _PX_PER_M), int(length * _PX_PER_M)
    image = np.zeros((height, width, 4), np.uint8)
    points = [(z, min(y, belt)) for z, y, _ in OUTLINES[body.kind]]
    polygon = np.array([(z * _PX_PER_M, (belt - y) * _PX_PER_M) for z, y in points])
    cv2.fillPoly(image, [np.round(polygon).astype(np.int32)], (*body.paint, 255))
    shade = np.linspace(1.08, 0.78, height)[:, None, None]
    image[..., :3] = np.minimum(image[..., :3] * shade, image[..., 3:]).astype(np.uint8)
    dark = tuple(int(c * 0.6) for c in body.paint)
    for x in (0.30, 0.50, 0.68):
        cv2.line(image, (int(x * width), 2), (int(x * width), int(height * 0.72)), (*dark, 255), 1)
    cv2.line(image, (int(0.05 * width), int(height * 0.42)), (int(0.95 * width), int(height * 0.38)), (*dark, 255), 1)
    radius = 0.31 if body.kind in ("hatchback", "saloon", "estate") else 0.37 if body.kind in ("suv", "van") else 0.48
    for x in _axles(length):
        centre = (int(x * _PX_PER_M), int((belt - radius) * _PX_PER_M))
        cv2.circle(image, centre, int((radius + 0.06) * _PX_PER_M), (18, 18, 20, 255), -1)
        cv2.circle(image, centre, int(radius * _PX_PER_M), (34, 34, 36, 255), -1)
        cv2.circle(image, centre, int(radius * 0.62 * _PX_PER_M), (150, 152, 156, 255), -1)
        for angle in np.arange(5) * 2 * np.pi / 5:
            tip = (int(centre[0] + radius * 32 * np.cos(angle)), int(centre[1] + radius * 32 * np.sin(angle)))
            cv2.line(image, centre, tip, (70, 72, 76, 255), 2)
    return grain(rng, image, 2.5)


def _paint_upper(body: Body, length: float, belt: float, roof: float) -> np.ndarray:
    """The side above the belt line with its windows, tail on the left."""
    height, width = int((roof - belt) * _PX_PER_M), int(length * _PX_PER_M)
    image = np.zeros((height, width, 4), np.uint8)
    points = np.array([(z, max(y, belt)) for z, y, _ in OUTLINES[body.kind]])
    polygon = np.round((points - (0, roof)) * (_PX_PER_M, -_PX_PER_M)).astype(np.int32)
    cv2.fillPoly(image, [polygon], (*body.paint, 255))
    inside = cv2.erode(image[..., 3], np.ones((7, 11), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=255)
    if body.kind in ("van", "lorry"):
        inside[:, : int((0.66 if body.kind == "van" else 0.80) * width)] = 0
    blend = np.linspace(0, 1, height)[:, None, None]
    glass = np.repeat(np.array(_GLASS_TOP) * (1 - blend) * 0.9 + np.array(_GLASS_BOTTOM) * blend, width, axis=1).astype(
        np.uint8
    )
    image[..., :3][inside == 255] = glass[inside == 255]
    pillars = np.linspace(0.08, 0.92, 9) if body.kind == "bus" else (0.28, 0.47, 0.86)
    for x in pillars:
        area = image[:, int(x * width) : int(x * width) + 3]
        area[..., :3] = np.where(area[..., 3:] > 0, np.array(body.paint, np.uint8), 0)
    return image


def _axles(length: float) -> tuple[float, float]:
    return 0.17 * length, 0.81 * length


def _add_axles(parts: PanelList, body: Body) -> None:
    """Tyres and the dark underside, seen from behind or ahead under the skirts."""
    half_width, length = HALF_WIDTH_M[body.kind] - 0.01, LENGTH_M[body.kind]
    image = np.zeros((28, 96, 4), np.uint8)
    image[:14] = (16, 16, 18, 255)
    image[:, 2:15] = image[:, -15:-2] = (28, 28, 30, 255)
    texture = Texture(image, solid=True)
    clearance = OUTLINES[body.kind][0][1] + 0.12
    for z in (_axles(length)[0] - 0.25, _axles(length)[1] + 0.25):
        parts.add((-half_width, clearance, z), (2 * half_width, 0.0, 0.0), (0.0, -clearance, 0.0), texture, CAR)
