"""Side outlines and proportions of vehicles."""

from __future__ import annotations

from dataclasses import dataclass

# Outlines run from the lower edge of the tail over the roof to the lower edge of the nose:
# (z in m from the tail, height in m, name of the strip that starts there).
OUTLINES = {
    "hatchback": [
        (0.08, 0.20, "skirt"),
        (0.0, 0.52, "tail"),
        (0.10, 0.95, "glass"),
        (0.42, 1.36, "roof"),
        (1.1, 1.45, "roof"),
        (2.0, 1.42, "glass"),
        (2.85, 0.98, "bonnet"),
        (3.55, 0.84, "bonnet"),
        (3.84, 0.68, "nose"),
        (3.92, 0.46, "skirt"),
        (3.86, 0.20, ""),
    ],
    "saloon": [
        (0.08, 0.20, "skirt"),
        (0.0, 0.55, "tail"),
        (0.08, 0.98, "bonnet"),
        (0.75, 1.03, "glass"),
        (1.35, 1.38, "roof"),
        (2.0, 1.43, "roof"),
        (2.6, 1.40, "glass"),
        (3.35, 1.0, "bonnet"),
        (4.15, 0.84, "bonnet"),
        (4.42, 0.68, "nose"),
        (4.5, 0.46, "skirt"),
        (4.44, 0.20, ""),
    ],
    "estate": [
        (0.08, 0.20, "skirt"),
        (0.0, 0.55, "tail"),
        (0.08, 0.98, "glass"),
        (0.40, 1.40, "roof"),
        (1.6, 1.47, "roof"),
        (2.6, 1.42, "glass"),
        (3.35, 1.0, "bonnet"),
        (4.2, 0.84, "bonnet"),
        (4.48, 0.68, "nose"),
        (4.55, 0.46, "skirt"),
        (4.5, 0.20, ""),
    ],
    "suv": [
        (0.06, 0.28, "skirt"),
        (0.0, 0.68, "tail"),
        (0.06, 1.12, "glass"),
        (0.30, 1.66, "roof"),
        (1.6, 1.74, "roof"),
        (2.55, 1.70, "glass"),
        (3.2, 1.18, "bonnet"),
        (4.1, 1.04, "bonnet"),
        (4.35, 0.86, "nose"),
        (4.42, 0.56, "skirt"),
        (4.38, 0.28, ""),
    ],
    "van": [
        (0.04, 0.28, "skirt"),
        (0.0, 0.60, "doors"),
        (0.02, 1.15, "doors_top"),
        (0.14, 2.02, "roof"),
        (1.8, 2.08, "roof"),
        (3.55, 2.0, "glass"),
        (4.2, 1.28, "bonnet"),
        (4.72, 1.08, "nose"),
        (4.86, 0.60, "skirt"),
        (4.82, 0.28, ""),
    ],
    "lorry": [
        (0.0, 0.55, "skirt"),
        (0.0, 0.85, "doors"),
        (0.0, 1.5, "box"),
        (0.0, 3.2, "roof"),
        (5.0, 3.2, "box"),
        (5.05, 2.6, "roof"),
        (5.6, 2.55, "glass"),
        (6.5, 1.6, "nose"),
        (6.6, 0.70, "skirt"),
        (6.6, 0.40, ""),
    ],
    "bus": [
        (0.0, 0.35, "skirt"),
        (0.0, 0.80, "nose"),
        (0.0, 1.30, "box"),
        (0.04, 1.9, "glass"),
        (0.12, 2.75, "box"),
        (0.3, 3.0, "roof"),
        (9.6, 3.0, "box"),
        (9.85, 2.7, "glass"),
        (9.98, 1.2, "nose"),
        (10.0, 0.80, "skirt"),
        (10.0, 0.35, ""),
    ],
}
HALF_WIDTH_M = {"hatchback": 0.83, "saloon": 0.87, "estate": 0.87, "suv": 0.92, "van": 0.97, "lorry": 1.15, "bus": 1.24}
BELT_M = {"hatchback": 0.95, "saloon": 0.98, "estate": 0.98, "suv": 1.12, "van": 1.15, "lorry": 1.5, "bus": 1.3}
_LEAN = {"hatchback": 0.36, "saloon": 0.40, "estate": 0.34, "suv": 0.24, "van": 0.12, "lorry": 0.0, "bus": 0.04}
KINDS = tuple(OUTLINES)
LENGTH_M = {kind: outline[-2][0] for kind, outline in OUTLINES.items()}


@dataclass(frozen=True)
class Body:
    """Kind and colours of one vehicle."""

    kind: str
    paint: tuple
    plate: tuple

    def half_width(self, height_m: float) -> float:
        """Half the width in m at a height: bodies narrow above the belt line."""
        return HALF_WIDTH_M[self.kind] - _LEAN[self.kind] * max(0.0, height_m - BELT_M[self.kind])
