"""CamVid class ids, as the drive writes them."""

from __future__ import annotations

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)
UNLABELLED = 255
