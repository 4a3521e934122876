"""Where the street runs and how the camera drives along it.

World axes: x to the right, y down (the ground is y = 0), z along the street; metres.
Camera axes: x to the right, y down, z forward.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


class Route:
    """Centre line x(z) of an endless street: a sum of long waves.

    Everything stands at (z, d): z along the street and d metres to the right of this line.
    """

    def __init__(self, rng: np.random.Generator):
        bend = rng.choice([0.0, 0.5, 1.0, 1.4], p=[0.25, 0.25, 0.3, 0.2])
        self._wavelength_m = rng.uniform([160.0, 260.0, 520.0], [240.0, 420.0, 800.0])
        slope = bend * rng.uniform(0.4, 1.0, 3) * np.array([0.10, 0.14, 0.12])
        self._amplitude_m = slope * self._wavelength_m / (2 * np.pi)
        self._phase = rng.uniform(0, 2 * np.pi, 3)

    def x_m(self, z_m: np.ndarray | float) -> np.ndarray:
        """World x of the centre line at each z."""
        return np.sin(self._angle(z_m)) @ self._amplitude_m

    def yaw(self, z_m: float) -> float:
        """Heading of the street in radians, positive to the right."""
        slope = np.cos(self._angle(z_m)) @ (self._amplitude_m * 2 * np.pi / self._wavelength_m)
        return float(np.arctan(slope))

    def _angle(self, z_m: np.ndarray | float) -> np.ndarray:
        return np.asarray(z_m, np.float64)[..., None] * (2 * np.pi / self._wavelength_m) + self._phase


def yaw_matrix(yaw: float) -> np.ndarray:
    """Rotation about the vertical that turns +z towards +x, (3, 3)."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


@dataclass(frozen=True)
class View:
    """A pinhole camera: p_camera = rotation @ (p_world - position)."""

    position_m: np.ndarray  # (3,)
    rotation: np.ndarray  # (3, 3)
    focal_px: float
    size_hw: tuple[int, int]

    @property
    def intrinsics(self) -> np.ndarray:
        """(3, 3); pixel centres are at integers."""
        height, width = self.size_hw
        return np.array([[self.focal_px, 0, (width - 1) / 2], [0, self.focal_px, (height - 1) / 2], [0, 0, 1.0]])

    def ray_axes(self) -> tuple[np.ndarray, np.ndarray]:
        """X / z of every column (W,) and y / z of every row (H,), float32."""
        height, width = self.size_hw
        columns = (np.arange(width) - (width - 1) / 2) / self.focal_px
        rows = (np.arange(height) - (height - 1) / 2) / self.focal_px
        return columns.astype(np.float32), rows.astype(np.float32)


class Ego:
    """Motion of the camera: closed functions of time, so that any instant can be asked for."""

    def __init__(self, rng: np.random.Generator, route: Route, lane_centre_m: float):
        self._route = route
        self._lane_centre_m = lane_centre_m
        self._speed_m_s = rng.uniform(5.0, 13.0)
        self._speed_wave_hz = rng.uniform(0.02, 0.07, 2)
        self._speed_swing = rng.uniform(0.05, 0.45, 2)
        self._height_m = rng.uniform(1.15, 1.75)
        self._tan_half_fov = np.tan(np.radians(rng.uniform(48, 68)) / 2)
        self._pitch = np.radians(rng.uniform(-4.5, 3.0))
        self._roll = np.radians(rng.normal(0, 0.5))
        self._yaw = np.radians(rng.normal(0, 1.5))
        self._phase = rng.uniform(0, 2 * np.pi, 12)
        self._sway_m = rng.uniform(0.05, 0.25)
        self._bounce = np.radians(rng.uniform(0.05, 0.25))

    def distance_m(self, time_s: float) -> float:
        """Position along the street; grows strictly with time."""
        omega = 2 * np.pi * self._speed_wave_hz
        waves = np.sin(omega * time_s + self._phase[:2]) - np.sin(self._phase[:2])
        return float(self._speed_m_s * (time_s + (self._speed_swing / omega) @ waves))

    def arrival_s(self, z_m: float) -> float:
        """The time at which the camera passes z."""
        low, high = -1e3 + z_m / self._speed_m_s, 1e3 + z_m / self._speed_m_s
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if self.distance_m(middle) < z_m else (low, middle)
        return high

    def view(self, time_s: float, size_hw: tuple[int, int]) -> View:
        """The camera at a time, for an image size."""
        height, width = size_hw
        z = self.distance_m(time_s)
        sway = self._sway_m * (self._wave(0.11, 2, time_s) + 0.4 * self._wave(0.37, 3, time_s))
        x = float(self._route.x_m(z)) + self._lane_centre_m + sway
        y = -self._height_m + 0.015 * self._wave(1.3, 4, time_s)
        yaw = (
            self._route.yaw(z + 4.0)
            + self._yaw
            + 0.02 * self._wave(0.09, 5, time_s)
            + 0.004 * self._wave(0.7, 6, time_s)
        )
        pitch = self._pitch + self._bounce * (self._wave(1.5, 7, time_s) + 0.5 * self._wave(3.1, 8, time_s))
        roll = self._roll + 0.004 * self._wave(0.8, 9, time_s)
        rotation = _roll_matrix(roll) @ _pitch_matrix(pitch) @ yaw_matrix(yaw).T
        focal_px = 0.5 * max(width, 4 * height / 3) / self._tan_half_fov
        return View(np.array([x, y, z]), rotation, focal_px, size_hw)

    def _wave(self, rate_hz: float, phase: int, time_s: float) -> float:
        return float(np.sin(2 * np.pi * rate_hz * time_s + self._phase[phase]))


def _pitch_matrix(pitch: float) -> np.ndarray:
    c, s = np.cos(pitch), np.sin(pitch)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, s], [0.0, -s, c]])


def _roll_matrix(roll: float) -> np.ndarray:
    c, s = np.cos(roll), np.sin(roll)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
