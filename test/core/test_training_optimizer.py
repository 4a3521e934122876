from pathlib import Path

import pytest
import torch
from fake_camvid import write_camvid
from small_runs import SMALL, arguments, logged

pytest.importorskip("lightning", reason="training needs Lightning: pip install '.[train]'")

from lightning.pytorch.plugins import MixedPrecision

from sdcpc_core.errors import ConfigError
from sdcpc_core.labels import CAMVID
from sdcpc_core.models import build_model
from sdcpc_core.training import run as training_run
from sdcpc_core.training.command import train
from sdcpc_core.training.config import OptimizerConfig, ScheduleConfig, TrainConfig
from sdcpc_core.training.last_checkpoint import WholeCheckpoints
from sdcpc_core.training.module import SegmentationModule
from sdcpc_core.training.optimizer import learning_rate_factor, moving_average, parameter_groups


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_camvid(tmp_path_factory.mktemp("camvid"))


def test_learning_rate_warms_up_and_ends_at_zero():
    schedule = ScheduleConfig(max_steps=200, validate_every=100, warmup_steps=10, power=1.0)
    assert learning_rate_factor(schedule, 0, 0.0) == pytest.approx(0.1)
    assert learning_rate_factor(schedule, 100, 0.5) == pytest.approx(0.5)
    assert learning_rate_factor(schedule, 150, 1.0) == 0


def test_the_average_forgets_the_initial_weights():
    average, current = torch.zeros(1), torch.ones(1)
    for count in range(1, 31):
        average = moving_average(0.999)(average, current, count)
    assert average.item() > 0.95


def test_head_and_selectors_have_rates_of_their_own_and_norms_no_decay():
    model = build_model("sdcpc_resnet18", 11)
    config = OptimizerConfig(learning_rate=0.001, head_multiplier=10, selector_multiplier=0.05, weight_decay=0.1)
    groups = parameter_groups(model, config)
    settings = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    names = {name: settings.pop(id(parameter)) for name, parameter in model.named_parameters()}
    assert not settings
    for name, (rate, decay) in names.items():
        expected = 0.001 if name.startswith("backbone.") else 0.0005 if ".selector." in name else 0.01
        assert rate == pytest.approx(expected), name
        assert decay == (0.1 if dict(model.named_parameters())[name].ndim > 1 else 0), name
    assert names["backbone.conv1.weight"] == (0.001, 0.1)


def test_both_rates_are_logged(root, tmp_path):
    train(arguments(root, tmp_path, "--optimizer.learning_rate=0.01", "--optimizer.head_multiplier=10"))
    # Logged with the second and the fourth of four steps of linear decay.
    assert logged(tmp_path, "train/learning_rate_encoder") == pytest.approx([0.0075, 0.0025])
    assert logged(tmp_path, "train/learning_rate_head") == pytest.approx([0.075, 0.025])


def fp16_on_a_cpu(monkeypatch) -> None:
    """Lightning refuses fp16 by its name, but its plugin works there."""
    monkeypatch.setattr(training_run, "trainer_precision", lambda precision, device: None)
    plugins = [WholeCheckpoints(), MixedPrecision("16-mixed", "cpu")]
    monkeypatch.setattr(training_run, "_distribution", lambda config, device: {"devices": 1, "plugins": plugins})


def train_on_slopes(monkeypatch, run, slopes) -> list[torch.Tensor]:
    """Train the decision layer on a loss of a known slope per batch; returns its weights before each batch."""
    seen = []

    def slope_loss(module, batch, batch_idx):
        weight = module.model.head.decide.weight
        seen.append(weight.detach().clone())
        return slopes[len(seen) - 1] * weight.sum()

    monkeypatch.setattr(SegmentationModule, "training_step", slope_loss)
    train(run)
    return seen


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_accumulated_batches_make_one_step_of_their_mean(root, tmp_path, monkeypatch, precision):
    if precision == "fp16":
        fp16_on_a_cpu(monkeypatch)
    weights = train_on_slopes(monkeypatch, arguments(root, tmp_path, "--schedule.accumulate_batches=2"), [1, 2] * 4)
    assert len(weights) == 8
    for step in range(4):
        assert torch.equal(weights[2 * step], weights[2 * step + 1])
    assert not torch.equal(weights[0], weights[2])
    # Of both batches, before it is scaled down to the limit, and without the scale of fp16.
    assert logged(tmp_path, "train/gradient_norm") == pytest.approx([1.5 * weights[0].numel() ** 0.5] * 2)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 4


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_gradient_that_is_not_finite_spoils_its_step_alone(root, tmp_path, monkeypatch, caplog, precision):
    if precision == "fp16":
        fp16_on_a_cpu(monkeypatch)
    slopes = [1, 1, 1, float("inf"), 1, 1, 1, 1]
    weights = train_on_slopes(monkeypatch, arguments(root, tmp_path, "--schedule.accumulate_batches=2"), slopes)
    assert [torch.equal(weights[step], weights[step + 2]) for step in (0, 2, 4)] == [False, True, False]
    assert caplog.text.count("the gradient is not finite; the step is skipped") == 1
    if precision == "fp16":
        assert torch.load(tmp_path / "last.ckpt", weights_only=True)["MixedPrecision"]["scale"] == 2**15, "halved"


def test_fp16_is_for_cuda_alone(root, tmp_path):
    with pytest.raises(ConfigError, match="precision is fp16, which trains on CUDA alone; choose bf16"):
        train(arguments(root, tmp_path / "run", "--precision=fp16"))


def test_random_draws_differ_between_processes_and_batches_and_repeat(monkeypatch):
    module = SegmentationModule(TrainConfig(model=SMALL), torch.ones(11), CAMVID)

    def draw(rank, epoch, batch):
        monkeypatch.setattr(SegmentationModule, "global_rank", rank)
        monkeypatch.setattr(SegmentationModule, "current_epoch", epoch)
        module.on_train_batch_start(None, batch)
        return torch.rand(1).item()

    places = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    draws = [draw(*place) for place in places]
    assert len(set(draws)) == 4
    assert [draw(*place) for place in places] == draws
