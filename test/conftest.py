"""What tests of the core and of the ROS package share."""

from collections.abc import Callable
from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Real data beside the checkout; most machines have none."""


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Find a file or folder of the real data, or skip the test."""

    def find(name: str) -> Path:
        path = SHARED_DATA / name
        if not path.exists():
            pytest.skip(f"no real data at {path}")
        return path

    return find
