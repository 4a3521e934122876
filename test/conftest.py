"""What tests of the core and of the ROS package share."""

import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

TEST_DATA = Path(os.environ.get("SDCPC_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
"""Real data, beside the checkout where the variable does not say otherwise; most machines have none."""


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Find a file or folder of the real data, or skip the test."""

    def find(name: str) -> Path:
        path = TEST_DATA / name
        if not path.exists():
            pytest.skip(f"no real data at {path}; SDCPC_TEST_DATA names their folder")
        return path

    return find


@pytest.fixture
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """Let no file grow past a size (bytes) inside the context, which a writer sees the way it sees a full disk."""

    @contextmanager
    def limit(size: int) -> Iterator[None]:
        # Only around what is tested: pytest's own output may be a file as well.
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)

    return limit
