import pickle
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from fake_camvid import write_camvid
from fake_data_sets import WRITERS

pytest.importorskip("lightning", reason="training needs Lightning: pip install '.[train]'")

from moving_frames import wake_alignment

from sdcpc_core.best_weights import BestWeights
from sdcpc_core.checkpoint import load_checkpoint, save_checkpoint
from sdcpc_core.data.clips import ClipSample
from sdcpc_core.data.kinds import open_data_set
from sdcpc_core.errors import CheckpointError, ConfigError, InputError, OutputError
from sdcpc_core.labels import CAMVID
from sdcpc_core.losses import segmentation_loss
from sdcpc_core.models.backbones import build_backbone
from sdcpc_core.models.video_model import split_state
from sdcpc_core.prototype_losses import prototype_losses
from sdcpc_core.train_command import train
from sdcpc_core.training import SegmentationModule, initial_model
from sdcpc_core.training_checkpoint import check_resumable
from sdcpc_core.training_config import (
    DataConfig,
    LossConfig,
    ModelConfig,
    ScheduleConfig,
    TrainConfig,
    parse_config,
)
from sdcpc_core.training_data import ClipData, ValidationFrames, evenly_spread, validation_targets
from sdcpc_core.training_optimizer import learning_rate_factor, moving_average

CONFIGS = Path(__file__).resolve().parents[2] / "config" / "train"
SMALL = ModelConfig("sdcpc_mit_b0", {"channels": 32})


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_camvid(tmp_path_factory.mktemp("camvid"))


def arguments(root, run_dir, *more) -> list[str]:
    return [
        "--model.name=sdcpc_mit_b0", "--model.options={channels: 32}", f"--data.root={root}", f"--run_dir={run_dir}",
        "--data.crop_hw=[32, 64]", "--data.batch_size=2", "--data.workers=0", "--data.synthetic_fraction=0",
        "--schedule.max_steps=4", "--schedule.validate_every=2", "--schedule.warmup_steps=1",
        "--schedule.static_share=0.25", "--device=cpu", "--precision=fp32", "--half_weights=false", *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def finished_run(root, tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "finished"
    train(arguments(root, run_dir))
    return run_dir


def test_the_resumed_run_is_the_unbroken_run(root, finished_run, tmp_path, monkeypatch):
    step = SegmentationModule.training_step

    def power_cut(module, batch, batch_idx):
        if module.global_step == 3:
            raise ConnectionError("the lights went out")
        return step(module, batch, batch_idx)

    with monkeypatch.context() as broken:
        broken.setattr(SegmentationModule, "training_step", power_cut)
        with pytest.raises(ConnectionError):
            train(arguments(root, tmp_path / "broken"))
    train(arguments(root, tmp_path / "broken", "--resume"))

    unbroken, resumed = (
        torch.load(run_dir / "last.ckpt", weights_only=True) for run_dir in (finished_run, tmp_path / "broken")
    )
    assert unbroken["global_step"] == resumed["global_step"] == 4
    for state in ("state_dict", "current_model_state"):
        for name, expected in unbroken[state].items():
            torch.testing.assert_close(resumed[state][name], expected, rtol=0, atol=0, msg=name)

    model, header = load_checkpoint(finished_run / "best.safetensors")
    assert header.working_size_hw == (64, 96)
    assert header.labels.name == "camvid"
    assert header.provenance["steps"] in (2, 4)
    assert header.provenance["config"]["data"]["root"] == root.name
    assert model(torch.zeros(1, 3, 3, 64, 96)).shape == (1, 11, 8, 12)


def test_training_starts_from_a_checkpoint(root, finished_run, tmp_path):
    best = finished_run / "best.safetensors"
    start, _ = load_checkpoint(best)
    again, _ = parse_config(arguments(root, tmp_path / "second", f"--model.checkpoint={best}"))
    model, pretraining = initial_model(again.model, CAMVID)
    assert pretraining == ("best.safetensors", None)
    assert model.training
    for expected, weights in zip(start.parameters(), model.parameters(), strict=True):
        assert torch.equal(weights, expected)
    other, _ = parse_config(["--model.name=sdcpc_resnet18", f"--model.checkpoint={best}"])
    with pytest.raises(ConfigError, match="sdcpc_mit_b0"):
        initial_model(other.model, CAMVID)


def test_training_starts_from_public_encoder_weights_and_hands_on_their_licence(root, tmp_path, capsys):
    encoder = build_backbone("mit_b0")
    public = {name.replace("mlp.dwconv", "mlp.dwconv.dwconv"): tensor for name, tensor in encoder.state_dict().items()}
    torch.save(public, tmp_path / "mit_b0.pth")
    run_dir = tmp_path / "run"
    run = arguments(root, run_dir, f"--model.backbone_weights={tmp_path / 'mit_b0.pth'}", "--schedule.max_steps=2")
    start, pretraining = initial_model(parse_config(run)[0].model, CAMVID)
    for expected, weights in zip(encoder.parameters(), start.backbone.parameters(), strict=True):
        assert torch.equal(weights, expected)

    train(run)
    assert f"initial weights: mit_b0.pth (NVlabs MiT); {pretraining.licence_note}\n" in capsys.readouterr().out
    provenance = load_checkpoint(run_dir / "best.safetensors")[1].provenance
    assert provenance["pretraining"] == "mit_b0.pth (NVlabs MiT)"
    assert provenance["licence_note"] == pretraining.licence_note
    assert "non-commercial" in pretraining.licence_note
    assert "for research use" in provenance["data"]
    _, heir = initial_model(ModelConfig(SMALL.name, SMALL.options, checkpoint=run_dir / "best.safetensors"), CAMVID)
    assert heir == ("best.safetensors", pretraining.licence_note)


@pytest.mark.parametrize("source", ["backbone_weights", "checkpoint"])
@pytest.mark.parametrize("named_again", [True, False])
def test_a_resumed_run_needs_no_first_weights_and_keeps_their_licence(
    root, finished_run, tmp_path, monkeypatch, source, named_again
):
    first, run_dir = tmp_path / "first.pth", tmp_path / "run"
    if source == "backbone_weights":
        encoder = build_backbone("mit_b0").state_dict()
        torch.save(
            {name.replace("mlp.dwconv", "mlp.dwconv.dwconv"): weights for name, weights in encoder.items()}, first
        )
    else:
        model, header = load_checkpoint(finished_run / "best.safetensors")
        save_checkpoint(first, model, replace(header, provenance={"licence_note": "non-commercial"}))
    naming = f"--model.{source}={first}"
    _, pretraining = initial_model(parse_config(arguments(root, run_dir, naming))[0].model, CAMVID)
    train(arguments(root, run_dir, naming, "--schedule.max_steps=2"))
    first.unlink()

    # Whatever the second round scores, its weights are saved.
    monkeypatch.setattr(BestWeights, "load_state_dict", lambda callback, state: None)
    train(arguments(root, run_dir, *([naming] if named_again else []), "--resume"))
    provenance = load_checkpoint(run_dir / "best.safetensors")[1].provenance
    assert provenance["steps"] == 4
    assert (provenance["pretraining"], provenance["licence_note"]) == pretraining
    assert "non-commercial" in provenance["licence_note"]


def test_encoder_weights_that_do_not_fit_start_no_run(root, tmp_path):
    with pytest.raises(CheckpointError, match="absent"):
        train(arguments(root, tmp_path / "run", f"--model.backbone_weights={tmp_path / 'absent.pth'}"))
    torch.save(build_backbone("resnet18").state_dict(), tmp_path / "resnet18.pth")
    with pytest.raises(CheckpointError, match="resnet18"):
        train(arguments(root, tmp_path / "run", f"--model.backbone_weights={tmp_path / 'resnet18.pth'}"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "options", "num_frames", "terms"),
    [
        ("segformer_mit_b0", "{decoder_channels: 16}", 1, set()),
        (
            "sdcpc_mit_b0",
            "{channels: 32, coarse_stage: false, fine_stage: false}",
            1,
            {"cross_entropy", "contrast", "redundancy"},
        ),
        ("sdcpc_mit_b0", "{channels: 32, num_variates: 1}", 3, {"cross_entropy", "contrast", "redundancy"}),
    ],
)
def test_every_model_trains_and_logs_its_losses(root, tmp_path, monkeypatch, name, options, num_frames, terms):
    step, lengths = SegmentationModule.training_step, []

    def measured(module, batch, batch_idx):
        lengths.append(batch.frames.shape[1])
        return step(module, batch, batch_idx)

    monkeypatch.setattr(SegmentationModule, "training_step", measured)
    per_model = [f"--model.name={name}", f"--model.options={options}", "--schedule.static_share=0"]
    train(arguments(root, tmp_path, *per_model, "--schedule.max_steps=2"))
    assert lengths == [num_frames] * 2
    model, _ = load_checkpoint(tmp_path / "best.safetensors")
    assert model(torch.zeros(1, 1, 3, 64, 96)).isfinite().all()
    (log,) = tmp_path.glob("logs/*/metrics.csv")
    columns = log.read_text().splitlines()[0].split(",")
    assert {column for column in columns if column.startswith("train/")} == {
        f"train/{term}" for term in {"loss", "gradient_norm", "learning_rate_encoder", "learning_rate_head", *terms}
    }


def test_a_model_without_a_static_part_cannot_train_it(root, tmp_path):
    with pytest.raises(ConfigError, match=r"segformer_mit_b0 has no static part .* schedule\.static_share to 0"):
        train(arguments(root, tmp_path / "run", "--model.name=segformer_mit_b0", "--model.options={}"))


def test_a_run_is_neither_overwritten_nor_resumed_by_mistake(root, tmp_path):
    with pytest.raises(ConfigError, match="no run to resume"):
        train(arguments(root, tmp_path, "--resume"))
    (tmp_path / "last.ckpt").touch()
    with pytest.raises(ConfigError, match="holds a run"):
        train(arguments(root, tmp_path))


def test_ctrl_c_says_how_to_continue(root, tmp_path, monkeypatch, capsys):
    before = signal.getsignal(signal.SIGINT)

    def press(module, batch, batch_idx):
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted:
        interrupted.setattr(SegmentationModule, "training_step", press)
        with pytest.raises(KeyboardInterrupt):
            train(arguments(root, tmp_path / "run"))
        assert capsys.readouterr().err == "interrupted; the same command starts anew\n"
    assert signal.getsignal(signal.SIGINT) == before


@pytest.mark.parametrize("content", [b"", b"not a pickle", pickle.dumps([]), pickle.dumps({"state_dict": {}}), None])
def test_a_broken_run_is_not_resumed(root, finished_run, tmp_path, content):
    if content is None:
        whole = (finished_run / "last.ckpt").read_bytes()
        content = whole[: len(whole) // 2]
    (tmp_path / "last.ckpt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"last\.ckpt is broken"):
        train(arguments(root, tmp_path, "--resume"))


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        ("--model.options={channels: 48}", "model.options.channels 32, not 48"),
        ("--model.options={channels: 32, interleave: columns}", "model.options.interleave 'rows', not 'columns'"),
        ("--model.options={channels: 32, weighting: raw}", "model.options.weighting 'positive', not 'raw'"),
        ("--model.options={channels: 32, reference_ages_s: [0.1, 0.4]}", "model.options.reference_ages_s"),
        ("--model.name=sdcpc_resnet18", "model.name 'sdcpc_mit_b0', not 'sdcpc_resnet18'"),
    ],
)
def test_a_run_of_another_model_is_not_resumed(root, finished_run, other, difference):
    with pytest.raises(ConfigError, match=rf"last\.ckpt is of another model: {re.escape(difference)}.*; resume it"):
        train(arguments(root, finished_run, "--resume", other))


def test_shapes_that_changed_under_the_same_options_are_told(root, finished_run, tmp_path):
    saved = torch.load(finished_run / "last.ckpt", weights_only=True)
    del saved["state_dict"]["model.head.decide.bias"]
    torch.save(saved, tmp_path / "last.ckpt")
    with pytest.raises(ConfigError, match=r"last\.ckpt is of another model; resume it with the model\.name"):
        train(arguments(root, tmp_path, "--resume"))


def test_a_run_of_other_classes_is_not_resumed(finished_run):
    module = small_module()
    check_resumable(finished_run / "last.ckpt", module)
    module.labels = replace(CAMVID, names=(*CAMVID.names[:-1], "Tram"), dynamic=())
    with pytest.raises(ConfigError, match=r"classes .*Bicyclist.*Tram"):
        check_resumable(finished_run / "last.ckpt", module)


def test_an_unwritable_run_is_told_at_once(root, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file is not a folder"):
        train(arguments(tmp_path / "nowhere", tmp_path / "file" / "run"))


def test_a_device_that_is_not_there_is_told_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="finds no CUDA device"):
        train(arguments(tmp_path / "nowhere", tmp_path / "run", "--device=cuda"))


def test_missing_data_are_named(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        train(arguments(tmp_path / "nowhere", tmp_path / "run"))


def first_batch(root, workers) -> ClipSample:
    config = TrainConfig(data=DataConfig(root=root, crop_hw=(32, 64), synthetic_fraction=0.5, workers=workers))
    return next(iter(ClipData(config).train_dataloader()))


def test_a_loader_process_gives_the_same_clips(root):
    # OpenCV's threads of this process must not keep the loader waiting for threads it does not have.
    cv2.cvtColor(np.zeros((720, 1280, 3), np.uint8), cv2.COLOR_BGR2RGB)
    for here, there in zip(first_batch(root, 0), first_batch(root, 1), strict=True):
        assert torch.equal(here, there)


def small_module(model: ModelConfig = SMALL, **loss: float) -> SegmentationModule:
    torch.manual_seed(0)
    return SegmentationModule(TrainConfig(model=model, loss=LossConfig(**loss)), torch.ones(11), CAMVID)


def blocks_of_classes(num_frames: int = 3) -> ClipSample:
    """A clip that stands still, each class in a grey of its own."""
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(0, 4, (1, 1, 2, 3)).repeat(32, 2).repeat(32, 3)).expand(
        1, num_frames, -1, -1
    )
    return ClipSample(labels[:, :, None].expand(-1, -1, 3, -1, -1).to(torch.uint8) * 60, labels)


UNTRAINED_LOG = pytest.mark.filterwarnings("ignore:You are trying to `self.log")


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_the_loss_is_the_sum_the_paper_prints(temperature):
    module = small_module(
        contrast_weight=0.5, redundancy_weight=2, temperature=temperature, static_weight=0, damaged_share=0
    )
    wake_alignment(module.model)  # and no path is dropped at random
    torch.nn.init.normal_(module.model.head.decide.weight)  # so that it sees several classes
    logged = {}
    module.log_dict = lambda terms, **_: logged.update(terms)
    frames = torch.randint(0, 256, (1, 3, 3, 64, 96), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    far, near, target = split_state(module.model.encode(frames[0]), 1, 3)
    variates = module.model.head.variates(module.model.aggregate(target, (near, far)))
    logits = module.model.head.logits(variates)
    # What it sees is the truth, but for the upper left quarter.
    labels = logits.argmax(1).repeat_interleave(8, 1).repeat_interleave(8, 2)
    labels[:, :32, :48] = 0
    loss = module._clip_loss(ClipSample(frames, labels[:, None].expand(-1, 3, -1, -1)))

    cross_entropy = segmentation_loss(logits, labels, ignore_index=11)
    contrast, redundancy = prototype_losses(
        variates, logits, labels, num_variates=4, ignore_index=11, temperature=temperature
    )
    assert contrast > 1e-3
    assert abs(redundancy) > 1e-3
    expected = {"train/cross_entropy": cross_entropy, "train/contrast": contrast, "train/redundancy": redundancy}
    assert {name: value.item() for name, value in logged.items()} == pytest.approx(
        {name: value.item() for name, value in expected.items()}, rel=1e-4
    )
    # L = L_CE + lambda1 L_CR + lambda2 L_MF
    assert loss.item() == pytest.approx((cross_entropy + 0.5 * contrast + 2 * redundancy).item(), rel=1e-4)


@UNTRAINED_LOG
def test_damage_is_done_to_the_target_alone():
    clip = blocks_of_classes()

    def loss(**options) -> float:
        module = small_module(contrast_weight=0, redundancy_weight=0, **options)
        wake_alignment(module.model)
        torch.manual_seed(0)
        return module._clip_loss(clip).item()

    of_aligned = loss(static_weight=0, damaged_share=0)
    of_damaged = loss(static_weight=0, damaged_share=1)
    assert of_damaged != pytest.approx(of_aligned, rel=1e-3)
    # The cross-entropy of the single frames, on S as it was encoded, is the rest.
    of_frames = loss(static_weight=1, damaged_share=0) - of_aligned
    assert loss(static_weight=1, damaged_share=1) - of_damaged == pytest.approx(of_frames, rel=1e-4)


@UNTRAINED_LOG
def test_without_references_no_frame_counts_twice():
    still = ModelConfig(SMALL.name, {**SMALL.options, "coarse_stage": False, "fine_stage": False})
    with_static, without = (
        small_module(still, static_weight=weight)._clip_loss(blocks_of_classes(num_frames=1)) for weight in (5, 0)
    )
    assert with_static == without


@UNTRAINED_LOG
def test_one_batch_overfits():
    module, clip = small_module(), blocks_of_classes()
    optimizer = torch.optim.AdamW(module.parameters(), lr=2e-3)
    losses = []
    for _ in range(30):
        loss = module._clip_loss(clip)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.4 * losses[0]


@UNTRAINED_LOG
def test_all_void_gives_finite_gradients():
    module = small_module()
    loss = module._clip_loss(
        ClipSample(torch.zeros(1, 3, 3, 32, 64, dtype=torch.uint8), torch.full((1, 3, 32, 64), 255))
    )
    loss.backward()
    assert loss.item() == 0
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    assert gradients
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


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


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configs_parse(path):
    config, resume = parse_config(["--config", str(path), "--data.root", "elsewhere", "--optimizer.learning_rate=0.5"])
    assert config.data.root == Path("elsewhere")
    assert config.optimizer.learning_rate == 0.5
    assert config.run_dir.name == path.stem
    assert not resume


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ("--no.such.key=1", "no.such.key"),
        ("--optimizer.learning_rate=fast", "learning_rate"),
        ("--data.crop_hw=[30, 64]", "multiples of 32"),
        ("--data.scale_range=[2.0, 0.5]", "scale_range"),
        ("--data.synthetic_fraction=2", "synthetic_fraction"),
        ("--data.batch_size=0", "data.batch_size is 0; it must be at least 1"),
        (
            "--data={batch_size: 1, crop_hw: [32, 32]}",
            r"data\.batch_size is 1 and data\.crop_hw \[32, 32\]: .* enlarge",
        ),
        ("--data.reference_offsets=[6, 3]", r"data\.reference_offsets is \[6, 3\]; .* smaller first"),
        ("--data.reference_offsets=[0, 3]", r"data\.reference_offsets is \[0, 3\]; .* at least 1"),
        ("--data.max_validation_frames=0", "data.max_validation_frames is 0; it must be at least 1, or null"),
        ("--loss.contrast_weight=-1", "loss.contrast_weight is -1.0; it must be at least 0"),
        ("--loss.redundancy_weight=.nan", "loss.redundancy_weight is nan; it must be at least 0"),
        ("--loss.temperature=0", "loss.temperature is 0.0; it must be above 0"),
        ("--loss.static_weight=.inf", "loss.static_weight is inf"),
        ("--loss.damaged_share=1.5", "loss.damaged_share is 1.5"),
        ("--optimizer.learning_rate=-1", "optimizer.learning_rate is -1.0; it must be above 0"),
        ("--optimizer.learning_rate=.inf", "optimizer.learning_rate is inf"),
        ("--optimizer.head_multiplier=0", "optimizer.head_multiplier is 0.0; it must be above 0"),
        ("--optimizer.ema_decay=5", "optimizer.ema_decay is 5.0; it must be at least 0 and below 1"),
        ("--optimizer.weight_decay=-1", "optimizer.weight_decay"),
        ("--optimizer.max_gradient_norm=0", "optimizer.max_gradient_norm"),
        ("--optimizer.class_balance=-1", "optimizer.class_balance"),
        ("--schedule.max_steps=201", "multiple of schedule.validate_every"),
        ("--schedule.accumulate_batches=0", "schedule.accumulate_batches is 0; it must be at least 1"),
        ("--schedule.max_time_minutes=-3", "schedule.max_time_minutes is -3.0; it must be above 0"),
        ("--schedule.static_share=7", "schedule.static_share is 7.0; it must be 0..1"),
        ("--schedule.warmup_steps=-1", "schedule.warmup_steps is -1; it must be at least 0"),
        ("--schedule.power=-1", "schedule.power"),
        ("--seed=-1", "seed is -1; it must be 0..4294967295"),
        ("--devices=0", "devices is 0; it must be at least 1"),
        ("--num_nodes=0", "num_nodes is 0; it must be at least 1"),
        ("--config=absent.yaml", "absent.yaml"),
    ],
)
def test_wrong_settings_are_named_in_one_line(argument, complaint):
    with pytest.raises(ConfigError, match=complaint) as caught:
        parse_config([argument])
    assert "\n" not in str(caught.value)


def test_a_checkpoint_and_encoder_weights_exclude_one_another():
    with pytest.raises(ConfigError, match=r"model\.checkpoint is a\.st and model\.backbone_weights b\.pth; .* one of"):
        parse_config(["--model.checkpoint=a.st", "--model.backbone_weights=b.pth"])


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"plain text " * 999])
def test_a_config_that_is_none_is_an_error_in_one_line(tmp_path, content):
    (tmp_path / "config").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        parse_config([f"--config={tmp_path / 'config'}"])
    assert len(str(caught.value)) <= 500
    assert "config" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_command_line_reports_errors_without_a_traceback(tmp_path):
    program = "import sys; from sdcpc_core.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "train", "--precision=fp8"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("sdcpc train: error:")
    assert "Traceback" not in result.stderr


def small_run(kind, root, run_dir, *more) -> list[str]:
    return arguments(root, run_dir, f"--data.kind={kind}", "--schedule.max_steps=2", *more)


@pytest.mark.parametrize("kind", ["cityscapes", "vspw", "folder"])
def test_every_kind_of_data_is_trained_on(kind, tmp_path):
    data_root = WRITERS[kind](tmp_path / "data")
    train(small_run(kind, data_root, tmp_path / "run"))
    _, header = load_checkpoint(tmp_path / "run" / "best.safetensors")
    data = open_data_set(kind, data_root, "train")
    assert header.labels == data.labels
    assert header.provenance["data"].startswith(data.title)
    assert header.provenance["val_protocol"].endswith("val, one frame in 3; the weights were selected on it")


def test_the_synthetic_drive_has_camvid_s_classes(tmp_path):
    data_root = WRITERS["cityscapes"](tmp_path / "data")
    with pytest.raises(ConfigError, match=r"synthetic_fraction is 0.5.*set it to 0"):
        train(small_run("cityscapes", data_root, tmp_path / "run", "--data.synthetic_fraction=0.5"))


def validation_frames(data, offsets=(3, 6), limit=None) -> ValidationFrames:
    targets = evenly_spread(validation_targets(data, stride=offsets[0]), limit)
    return ValidationFrames(data, targets, offsets)


def test_validation_frames_are_targets_and_their_references(tmp_path):
    sparse = open_data_set("cityscapes", WRITERS["cityscapes"](tmp_path / "sparse"), "val")
    frames = validation_frames(sparse)
    assert frames.indices == [13, 16, 19, 43, 46, 49]
    assert [(index, references) for _, index, references in frames if references] == [(19, [16, 13]), (49, [46, 43])]
    assert validation_frames(sparse, offsets=(1, 10)).indices == [9, 18, 19, 39, 48, 49]
    mixed = open_data_set("folder", WRITERS["folder"](tmp_path / "mixed"), "val")
    frames = validation_frames(mixed)
    names = [mixed.records[index].name for index in frames.indices]
    assert names == ["alone", *(f"hall/frame{number}" for number in (0, 1, 4, 7, 10, 13))]
    assert frames[0].references == [0, 0], "no video: its own references"


def test_validation_of_camvid_is_one_frame_in_three(root):
    val = open_data_set("camvid", root, "val")
    frames = validation_frames(val)
    assert [(index, references) for _, index, references in frames] == [(0, [0, 0]), (3, [0, 0]), (6, [3, 0])]
    train = open_data_set("camvid", root, "train")
    frames = validation_frames(train)
    assert [(index, references) for _, index, references in frames] == [(i, [i, i]) for i in range(4)]


def test_a_long_validation_is_thinned_and_says_so(root, tmp_path):
    assert evenly_spread(range(10), 4) == [0, 2, 5, 7]
    assert evenly_spread(range(3), 500) == evenly_spread(range(3), None) == [0, 1, 2]
    train(arguments(root, tmp_path, "--schedule.max_steps=2", "--data.max_validation_frames=2"))
    _, header = load_checkpoint(tmp_path / "best.safetensors")
    assert header.provenance["val_protocol"].endswith(
        "val, one frame in 3, 2 of these 3, evenly spread; the weights were selected on it"
    )


@pytest.mark.parametrize("num_processes", [1, 2, 5])
def test_processes_share_a_validation_without_cutting_off_references(root, num_processes):
    frames = validation_frames(open_data_set("camvid", root, "val"))
    shares = [frames.share(rank, num_processes) for rank in range(num_processes)]
    scored = [index for share in shares for _, index, references in share if references]
    assert scored == [0, 3, 6]
    for share in shares:
        assert {*share.indices} >= {reference for _, _, references in share for reference in references or ()}
