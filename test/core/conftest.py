import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """On maps this small a second thread costs more than it gives, most of all on a busy machine."""
    torch.set_num_threads(1)
