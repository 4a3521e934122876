import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """On maps this small a second thread costs more than it gives, most of all on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _subnormal_floats():
    """Commands flush them to zero for the whole process; the next test starts as a new process would."""
    yield
    torch.set_flush_denormal(False)
