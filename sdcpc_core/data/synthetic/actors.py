"""What moves by itself: traffic ahead and oncoming, walkers on the pavements, cyclists, people who cross."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sdcpc_core.data.synthetic import cyclists, people, vehicles
from sdcpc_core.data.synthetic.camera import Ego, Route, yaw_matrix
from sdcpc_core.data.synthetic.panels import Panels
from sdcpc_core.data.synthetic.street import BLOCK_M, Block, Profile

Place = tuple[float, float, float]  # z in m, d in m, heading relative to the street in radians


@dataclass(frozen=True)
class Actor:
    """A body on its way; `place` is a function of time alone."""

    place: Callable[[float], Place]
    picture: Callable[[float, Place], Panels]

    def pose(self, time_s: float, route: Route) -> tuple[np.ndarray, np.ndarray]:
        """Rotation (3, 3) and position (3,) in the world."""
        z, d, heading = self.place(time_s)
        turn = route.yaw(z) + heading
        return yaw_matrix(turn), np.array([float(route.x_m(z)) + d, 0.0, z])

    def moves(self, time_s: float) -> bool:
        """Whether it is faster than 5 cm/s at that time."""
        a, b = self.place(time_s - 0.02), self.place(time_s + 0.02)
        return abs(a[0] - b[0]) + abs(a[1] - b[1]) > 0.002


@dataclass(frozen=True)
class _Lane:
    """An endless row of slots that moves at one speed; each slot may hold somebody."""

    tag: int
    d_m: float
    speed_m_s: float  # negative: towards the camera
    spacing_m: float
    occupied: float
    kind: str


class Actors:
    """Everybody of one drive, found by time."""

    def __init__(self, seed: int, rng: np.random.Generator, route: Route, profile: Profile, ego: Ego):
        self._seed, self._route, self._profile, self._ego = seed, route, profile, ego
        self._known: OrderedDict[tuple, Actor | None] = OrderedDict()
        self._fleet = [vehicles.make_vehicle(rng) for _ in range(6)]
        self._walkers = {side: [people.make_walker(rng, sideways=side) for _ in range(5)] for side in (False, True)}
        self._cyclists = [cyclists.make_cyclist(rng) for _ in range(3)]
        self._lanes = self._make_lanes(rng)
        self._leaders = [
            self._leader(rng, rank) for rank in range(int(rng.choice([0, 1, 2, 3], p=[0.3, 0.35, 0.2, 0.15])))
        ]

    def _make_lanes(self, rng: np.random.Generator) -> list[_Lane]:
        profile, drive = self._profile, self._profile.drive_side
        lanes = [
            _Lane(
                1,
                -drive * profile.lane_m / 2,
                -rng.uniform(5, 13),
                rng.uniform(14, 40),
                rng.uniform(0.1, 0.9),
                "vehicle",
            )
        ]
        edge = profile.lane_m - 0.45
        lanes.append(_Lane(2, drive * edge, rng.uniform(3, 5), rng.uniform(18, 70), rng.uniform(0, 0.6), "cyclist"))
        lanes.append(_Lane(3, -drive * edge, -rng.uniform(3, 5.5), rng.uniform(18, 70), rng.uniform(0, 0.7), "cyclist"))
        crowd = rng.uniform(0, 1)
        for number in range(6):
            side = number % 2
            d = (2 * side - 1) * (profile.half_m(side) + rng.uniform(0.9, profile.pavement_m[side] - 0.5))
            speed = rng.uniform(0.9, 1.7) * rng.choice([-1, 1])
            lanes.append(_Lane(10 + number, d, speed, rng.uniform(7, 24), crowd * rng.uniform(0.3, 1), "walker"))
        return lanes

    def around(self, time_s: float, blocks: dict[int, Block], range_m: tuple[float, float]) -> list[Actor]:
        """Everybody between two distances along the street at that time."""
        low, high = range_m
        found = [leader for leader in self._leaders if leader.place(time_s)[0] < high]
        for lane in self._lanes:
            reach = min(high, low + 90.0) if lane.kind == "walker" else high
            shift = lane.speed_m_s * time_s
            first, last = int(np.floor((low - shift) / lane.spacing_m)), int(np.ceil((reach - shift) / lane.spacing_m))
            found += [actor for slot in range(first, last) if (actor := self._in_slot(lane, slot))]
        for index in blocks:
            if low < index * BLOCK_M + BLOCK_M and index * BLOCK_M < min(high, low + 120):
                found += self._crossing(index, blocks[index])
        return found

    def _remember(self, key: tuple, make: Callable[[], object]) -> object:
        if key not in self._known:
            self._known[key] = make()
            if len(self._known) > 600:
                self._known.popitem(last=False)
        return self._known[key]

    def _in_slot(self, lane: _Lane, slot: int) -> Actor | None:
        return self._remember((lane.tag, slot), lambda: self._fill_slot(lane, slot))

    def _fill_slot(self, lane: _Lane, slot: int) -> Actor | None:
        rng = np.random.default_rng([self._seed, 31, lane.tag, slot + 2**24])
        if rng.random() > lane.occupied:
            return None
        start = (slot + rng.uniform(0, 0.45)) * lane.spacing_m
        d = lane.d_m + rng.normal(0, 0.08)
        heading = 0.0 if lane.speed_m_s > 0 else np.pi

        def place(time_s: float) -> Place:
            return start + lane.speed_m_s * time_s, d, heading

        return Actor(place, self._picture(rng, lane.kind))

    def _picture(self, rng: np.random.Generator, kind: str) -> Callable[[float, Place], Panels]:
        if kind == "vehicle":
            car = self._fleet[rng.integers(len(self._fleet))]
            return lambda time_s, place: car
        crew = self._cyclists if kind == "cyclist" else self._walkers[False]
        body, phase = crew[rng.integers(len(crew))], rng.uniform(0, 3)
        return lambda time_s, place: body.panels(abs(place[0]) + abs(place[1]) + phase)

    def _leader(self, rng: np.random.Generator, rank: int) -> Actor:
        """A car ahead of the camera in its own lane, now nearer, now farther."""
        near, swing, wave_hz, phase = (
            8.5 + 26 * rank,
            rng.uniform(1, 14),
            rng.uniform(0.015, 0.05),
            rng.uniform(0, 2 * np.pi),
        )
        d = self._profile.drive_side * self._profile.lane_m / 2 + rng.normal(0, 0.1)

        def place(time_s: float) -> Place:
            gap = near + swing * (0.5 + 0.5 * np.sin(2 * np.pi * wave_hz * time_s + phase))
            return self._ego.distance_m(time_s) + gap, d, 0.0

        return Actor(place, self._picture(rng, "vehicle"))

    def _crossing(self, index: int, block: Block) -> list[Actor]:
        """People who cross the road before the camera arrives."""
        return self._remember(("crossing", index), lambda: self._plan_crossing(index, block))

    def _plan_crossing(self, index: int, block: Block) -> list[Actor]:
        rng = np.random.default_rng([self._seed, 32, index + 2**20])
        count = rng.poisson(1.8 if block.zebra_z_m is not None else 0.35)
        middle = block.zebra_z_m if block.zebra_z_m is not None else index * BLOCK_M + rng.uniform(4, 36)
        return [self._crosser(rng, middle + rng.uniform(-1.3, 1.3)) for _ in range(count)]

    def _crosser(self, rng: np.random.Generator, z_m: float) -> Actor:
        sign, speed = float(rng.choice([-1, 1])), rng.uniform(1.0, 1.8)
        side = int(sign < 0)
        begin, end = self._profile.half_m(side) + 1.0, self._profile.half_m(1 - side) + 1.0
        done = self._ego.arrival_s(z_m - 7.0) - rng.uniform(0, 5)

        def place(time_s: float) -> Place:
            walked = np.clip(begin + end - speed * (done - time_s), 0, begin + end)
            return z_m, float(sign * (walked - begin)), 0.0 if sign > 0 else np.pi

        body, phase = self._walkers[True][rng.integers(5)], rng.uniform(0, 3)
        return Actor(place, lambda time_s, place: body.panels(sign * place[1] + 20 + phase))
