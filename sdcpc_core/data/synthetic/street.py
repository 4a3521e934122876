"""What stands along the street, block by block; nothing here moves."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sdcpc_core.data.synthetic import facades, people, plants, vehicles, walls
from sdcpc_core.data.synthetic.camera import Route, yaw_matrix
from sdcpc_core.data.synthetic.furniture import Furniture
from sdcpc_core.data.synthetic.labels import BUILDING, FENCE, TREE
from sdcpc_core.data.synthetic.panels import PanelList, Panels, Texture, join

BLOCK_M = 40.0
_ZONES = ("shops", "terrace", "houses", "modern", "park")


@dataclass(frozen=True)
class Profile:
    """Cross-section of the street; side 0 is left, 1 is right."""

    drive_side: int  # -1 keeps left, 1 keeps right
    lane_m: float
    parking_m: tuple[float, float]
    pavement_m: tuple[float, float]

    def half_m(self, side: int) -> float:
        """From the centre line to the kerb."""
        return self.lane_m + self.parking_m[side]

    def frontage_m(self, side: int) -> float:
        """From the centre line to where the plots begin."""
        return self.half_m(side) + self.pavement_m[side]


def make_profile(rng: np.random.Generator) -> Profile:
    """A random street, keeping left three times in four."""
    parking = tuple(2.1 if rng.random() < 0.5 else 0.0 for _ in range(2))
    return Profile(-1 if rng.random() < 0.75 else 1, rng.uniform(3.0, 4.2), parking, tuple(rng.uniform(1.8, 3.6, 2)))


@dataclass
class Shadow:
    """What throws a shadow: an upright box or crown, in street coordinates."""

    z_m: tuple[float, float]
    d_m: tuple[float, float]
    height_m: float
    crown: bool = False


@dataclass
class Block:
    """40 m of street."""

    panels: Panels
    shadows: list[Shadow]
    junction: tuple[bool, bool]
    zebra_z_m: float | None
    zones: tuple[str, str]


@dataclass
class _Plot:
    """What a block gathers while it is laid out."""

    index: int
    rng: np.random.Generator
    parts: PanelList = field(default_factory=PanelList)
    placed: list[Panels] = field(default_factory=list)
    shadows: list[Shadow] = field(default_factory=list)

    @property
    def start_m(self) -> float:
        return self.index * BLOCK_M


class Street:
    """The pictures and habits of one town, and its blocks."""

    def __init__(self, seed: int, rng: np.random.Generator, route: Route, profile: Profile):
        self._seed, self._route, self.profile = seed, route, profile
        self._zone_odds = rng.dirichlet([1.1, 1.1, 1.0, 0.6, 0.6])
        self._facades = {
            zone: [facades.paint_facade(rng, zone) for _ in range(4 if zone != "modern" else 2)] for zone in _ZONES[:4]
        }
        self._chimney_wall = walls.paint_chimney(rng)
        self._fences = [walls.paint_fence(rng) for _ in range(3)]
        bare = rng.choice([0.0, 0.35, 0.9], p=[0.45, 0.3, 0.25])
        self._trees = [
            (plants.paint_bare_crown(rng), plants.paint_bare_crown(rng), True)
            if rng.random() < bare
            else (plants.paint_crown(rng), plants.paint_crown(rng), False)
            for _ in range(3)
        ]
        self._trunk = plants.paint_trunk(rng)
        self._hedge = plants.paint_hedge(rng)
        self._bush = plants.paint_crown(rng, clumps=80)
        self._furniture = Furniture(rng)
        self._cars = [vehicles.make_vehicle(rng) for _ in range(7)]
        self._bystanders = [people.make_walker(rng, sideways=bool(i % 2)) for i in range(4)]
        self._tree_density = rng.uniform(0, 1) ** 1.5
        self._parked = rng.uniform(0.1, 0.95)
        self._crowd = rng.uniform(0, 1.2)
        self._junctions = rng.uniform(0.05, 0.35)

    def block(self, index: int) -> Block:
        """Lay out a block; the same index gives the same block."""
        rng = np.random.default_rng([self._seed, 11, index + 2**20])
        plot = _Plot(index, rng)
        junction = tuple(bool(rng.random() < self._junctions) for _ in range(2))
        zebra = plot.start_m + rng.uniform(6, 10) if rng.random() < 0.22 else None
        zones = tuple(self._zone(index, side) for side in range(2))
        for side in range(2):
            for low, high in [(0.0, 14.0), (26.0, BLOCK_M)] if junction[side] else [(0.0, BLOCK_M)]:
                self._line_with_plots(plot, side, zones[side], plot.start_m + low, plot.start_m + high)
            self._close_background(plot, side)
            self._furnish(plot, side, zones[side], junction[side], zebra)
            self._park_cars(plot, side, junction[side], zebra)
        return Block(join([plot.parts.build(), *plot.placed]), plot.shadows, junction, zebra, zones)

    def _zone(self, index: int, side: int) -> str:
        rng = np.random.default_rng([self._seed, 12, index // 2 + 2**20, side])
        return str(rng.choice(_ZONES, p=self._zone_odds))

    def _x(self, z_m: float, d_m: float) -> float:
        return float(self._route.x_m(z_m)) + d_m

    def _along(
        self,
        plot: _Plot,
        z0: float,
        z1: float,
        d_m: float,
        base_m: float,
        top_m: float,
        texture: Texture,
        label: int,
        sign: int,
        *,
        lean_m: float = 0.0,
        facing: float = 1.0,
    ) -> None:
        """An upright panel along the street that faces it; `lean_m` moves its top edge away from the street."""
        if sign < 0:
            (za, zb) = (z0, z1)
        else:
            (za, zb) = (z1, z0)
        xa, xb = self._x(za, d_m), self._x(zb, d_m)
        plot.parts.add(
            (xa + sign * lean_m, top_m, za),
            (xb - xa, 0.0, zb - za),
            (-sign * lean_m, base_m - top_m, 0.0),
            texture,
            label,
            facing=facing,
        )

    def _line_with_plots(self, plot: _Plot, side: int, zone: str, z0: float, z1: float) -> None:
        rng, sign = plot.rng, 2 * side - 1
        edge = self.profile.frontage_m(side)
        if zone == "park":
            self._plant_park(plot, side, z0, z1)
            return
        setback = {
            "shops": 0.0,
            "terrace": rng.choice([0.0, 1.5]),
            "houses": rng.uniform(3.0, 6.0),
            "modern": rng.choice([0.0, 3.0]),
        }[zone]
        z = z0 + (rng.uniform(0, 2) if zone == "houses" else 0.0)
        while z1 - z > 3.5:
            house = self._facades[zone][rng.integers(len(self._facades[zone]))]
            width = min(house.width_m * rng.uniform(0.9, 1.1), z1 - z)
            # A sliver of a plot would be too narrow for its windows.
            if z1 - z - width < 3.5 and zone != "houses":
                width = z1 - z
            self._build(plot, house, z, z + width, sign, edge + setback, house.height_m * rng.uniform(0.92, 1.08))
            if zone == "shops" and rng.random() < 0.5:
                self._furniture.add_hanging_sign(
                    plot.parts, self._x(z + 0.4, sign * (edge - 0.55)), z + 0.4, int(rng.integers(8))
                )
            z += width
            if zone in ("houses", "modern"):
                gap = rng.uniform(1.5, 5.0)
                if rng.random() < 0.5:
                    self._plant_tree(plot, z + gap / 2, sign * (edge + setback + 4), rng.uniform(4, 8))
                z += gap
        if setback > 1:
            self._fence_off(plot, side, z0, z1, edge + 0.1)
            for _ in range(rng.integers(0, 4)):
                self._plant_bush(
                    plot, rng.uniform(z0, z1), sign * (edge + rng.uniform(0.9, setback)), rng.uniform(0.8, 1.8)
                )

    def _build(
        self, plot: _Plot, house: facades.Facade, z0: float, z1: float, sign: int, d_m: float, height_m: float
    ) -> None:
        depth, d, scale = facades.DEPTH_M, sign * d_m, height_m / house.height_m
        ridge = house.ridge_m * scale
        self._along(plot, z0, z1, d, 0.0, height_m, house.front, BUILDING, sign)
        for z in (z0 + 0.02, z1 - 0.02):
            # The end walls begin behind the front, or their edge would show beside it.
            x = self._x(z, d) + sign * 0.15
            plot.parts.add(
                (min(x, x + sign * depth), height_m + ridge, z),
                (depth, 0.0, 0.0),
                (0.0, -height_m - ridge, 0.0),
                house.side,
                BUILDING,
            )
        if ridge:
            self._along(
                plot,
                z0 - 0.1,
                z1 + 0.1,
                d - sign * 0.25,
                height_m - 0.1,
                height_m + ridge,
                house.roof,
                BUILDING,
                sign,
                lean_m=depth / 2 + 0.25,
            )
            for z in (z0 + 0.5, z1 - 1.2):
                self._chimney(plot, z, d + sign * (depth / 2 - 0.5), height_m + ridge, sign)
        plot.shadows.append(Shadow((z0, z1), tuple(sorted((d, d + sign * depth))), height_m + ridge / 2))

    def _chimney(self, plot: _Plot, z: float, d: float, ridge_m: float, sign: int) -> None:
        if plot.rng.random() < 0.55:
            x = self._x(z, d)
            plot.parts.add((x - 0.4, ridge_m + 0.9, z), (0.8, 0.0, 0.0), (0.0, -1.8, 0.0), self._chimney_wall, BUILDING)
            plot.parts.add(
                (x - sign * 0.4, ridge_m + 0.9, z), (0.0, 0.0, 0.7), (0.0, -1.8, 0.0), self._chimney_wall, BUILDING
            )

    def _fence_off(self, plot: _Plot, side: int, z0: float, z1: float, d_m: float) -> None:
        sign = 2 * side - 1
        hedge = plot.rng.random() < 0.3
        texture, height = (
            (self._hedge, plot.rng.uniform(0.9, 1.8)) if hedge else self._fences[plot.rng.integers(len(self._fences))]
        )
        pieces = max(1, int((z1 - z0) / 4))
        gate = plot.rng.integers(pieces) if plot.rng.random() < 0.5 else -1
        for piece in range(pieces):
            if piece != gate:
                a, b = (z0 + (z1 - z0) * i / pieces for i in (piece, piece + 1))
                self._along(plot, a, b, sign * d_m, 0.0, height, texture, TREE if hedge else FENCE, sign, facing=0.7)

    def _plant_park(self, plot: _Plot, side: int, z0: float, z1: float) -> None:
        rng, sign, edge = plot.rng, 2 * side - 1, self.profile.frontage_m(side)
        if rng.random() < 0.75:
            self._fence_off(plot, side, z0, z1, edge + 0.1)
        for _ in range(int((z1 - z0) * rng.uniform(0.12, 0.3))):
            d, z = sign * (edge + rng.uniform(1.5, 14)), rng.uniform(z0, z1)
            if rng.random() < 0.7:
                self._plant_tree(plot, z, d, rng.uniform(5, 11))
            else:
                self._plant_bush(plot, z, d, rng.uniform(1.2, 2.8))

    def _plant_tree(self, plot: _Plot, z: float, d: float, height_m: float) -> None:
        rng, x = plot.rng, self._x(z, d)
        front, back, bare = self._trees[rng.integers(len(self._trees))]
        crown = height_m * rng.uniform(0.62, 0.78)
        base = height_m - crown * 0.95
        if bare:
            plot.parts.add_card(x, z, height_m, height_m, front, TREE)
        else:
            wide = crown * rng.uniform(0.85, 1.25)
            plot.parts.add_card(x - wide * 0.1, z + crown * 0.25, wide, crown, back, TREE, base_m=base + 0.05 * crown)
            plot.parts.add_card(x, z, wide, crown, front, TREE, base_m=base)
            plot.parts.add_card(
                x + wide * 0.06, z - crown * 0.2, wide * 0.7, crown * 0.7, back, TREE, base_m=base + 0.12 * crown
            )
            plot.parts.add_card(x, z, 0.05 * height_m, base + crown * 0.4, self._trunk, TREE)
        plot.shadows.append(
            Shadow((z - crown / 2, z + crown / 2), (d - crown / 2, d + crown / 2), base + crown * 0.5, crown=True)
        )

    def _plant_bush(self, plot: _Plot, z: float, d: float, size_m: float) -> None:
        plot.parts.add_card(self._x(z, d), z, size_m * 1.3, size_m * 1.15, self._bush, TREE, base_m=-0.12 * size_m)

    def _close_background(self, plot: _Plot, side: int) -> None:
        """A far row, so that gaps and side roads do not end in nothing."""
        rng, sign = plot.rng, 2 * side - 1
        d = sign * (self.profile.frontage_m(side) + rng.uniform(24, 34))
        for piece in range(2):
            z = plot.start_m + piece * BLOCK_M / 2
            if rng.random() < 0.5:
                self._along(
                    plot,
                    z,
                    z + BLOCK_M / 2,
                    d,
                    0.0,
                    rng.uniform(6, 11),
                    self._facades["terrace"][rng.integers(4)].front,
                    BUILDING,
                    sign,
                )
            else:
                self._along(
                    plot, z - 3, z + BLOCK_M / 2 + 3, d, -2.0, rng.uniform(6, 11), self._bush, TREE, sign, facing=0.0
                )
                self._along(plot, z, z + BLOCK_M / 2, d + sign, 0.0, 2.2, self._hedge, TREE, sign, facing=0.0)

    def _furnish(self, plot: _Plot, side: int, zone: str, junction: bool, zebra: float | None) -> None:
        rng, sign, start = plot.rng, 2 * side - 1, plot.start_m
        d = sign * (self.profile.half_m(side) + 0.45)
        taken = [(14, 26)] if junction else []

        def free(z: float) -> bool:
            return all(not a - 0.5 < z - start < b + 0.5 for a, b in taken)

        if (plot.index + side) % 2 == 0 or zone == "shops":
            z = start + 2.0 + 2 * side
            self._furniture.add_lamp_post(plot.parts, self._x(z, d), z, sign)
            plot.shadows.append(Shadow((z - 0.1, z + 0.1), (d - 0.1, d + 0.1), 7.0))
        near_side = self.profile.drive_side == sign
        if junction and rng.random() < 0.6:
            colour = str(rng.choice(["red", "amber", "green"], p=[0.4, 0.1, 0.5]))
            self._furniture.add_traffic_light(plot.parts, self._x(start + 12.5, d), start + 12.5, colour)
        if rng.random() < (0.9 if near_side else 0.5):
            z = start + rng.uniform(27, 33)
            (self._furniture.add_board if rng.random() < 0.2 else self._furniture.add_sign)(
                plot.parts, self._x(z, d), z, int(rng.integers(8))
            )
        if zebra is not None:
            for z in (zebra - 2.4, zebra + 2.4):
                self._furniture.add_sign(
                    plot.parts, self._x(z, d), z, 1
                ) if rng.random() < 0.4 else self._furniture.add_bollard(plot.parts, self._x(z, d), z)
        if rng.random() < 0.3:
            for z in np.arange(start + 28, start + 39, 2.2):
                self._furniture.add_bollard(plot.parts, self._x(z, d), z)
        if rng.random() < self._tree_density and zone != "park":
            for z in np.arange(start + rng.uniform(5, 9), start + BLOCK_M, rng.uniform(8, 16)):
                if free(z):
                    self._plant_tree(plot, z, d + sign * 0.4, rng.uniform(4.5, 8))
        for _ in range(rng.poisson(self._crowd * (1.6 if zone == "shops" else 0.5))):
            z, reach = start + rng.uniform(0, BLOCK_M), self.profile.frontage_m(side) - 0.35
            if free(z):
                person = self._bystanders[rng.integers(len(self._bystanders))]
                plot.placed.append(
                    person.panels(0.0 if rng.random() < 0.5 else 0.7).placed(
                        np.eye(3), np.array([self._x(z, sign * reach), 0.0, z])
                    )
                )

    def _park_cars(self, plot: _Plot, side: int, junction: bool, zebra: float | None) -> None:
        if not self.profile.parking_m[side]:
            return
        rng, sign, z = plot.rng, 2 * side - 1, plot.start_m + 3.2
        while z < plot.start_m + BLOCK_M - 3:
            clear = not (junction and 8 < z - plot.start_m < 32) and (zebra is None or abs(z - zebra) > 6.5)
            if clear and rng.random() < self._parked:
                d = sign * (self.profile.half_m(side) - 1.0 + rng.normal(0, 0.08))
                car = self._cars[rng.integers(len(self._cars))]
                away = sign == self.profile.drive_side
                yaw = self._route.yaw(z) + (0 if away else np.pi) + rng.normal(0, 0.015)
                if np.ptp(car.origin_m[:, 2]) < 6:
                    plot.placed.append(car.placed(yaw_matrix(yaw), np.array([self._x(z, d), 0.0, z])))
                    plot.shadows.append(Shadow((z - 1.9, z + 1.9), (d - 0.8, d + 0.8), 1.3))
            z += rng.uniform(5.0, 6.2)
