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


@pytest.fixture
def spied_logits(monkeypatch):
    """Logits of every step: labels can flip at ties, logits cannot hide."""
    from sdcpc_core import streaming

    seen = []
    original = streaming.upsample_argmax

    def spy(logits, *args, **options):
        seen.append(logits.clone())
        return original(logits, *args, **options)

    monkeypatch.setattr(streaming, "upsample_argmax", spy)
    return seen
