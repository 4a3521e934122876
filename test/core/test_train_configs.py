"""The configs of training: one for each row that the papers publish, and those of the shipped kind of model."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from fake_camvid import write_camvid
from fake_data_sets import write_cityscapes, write_vspw

pytest.importorskip("lightning", reason="training needs Lightning: pip install '.[train]'")

from sdcpc_core.checkpoint import CheckpointHeader, load_checkpoint, save_checkpoint
from sdcpc_core.data.kinds import open_data_set
from sdcpc_core.models import build_model
from sdcpc_core.training.command import train
from sdcpc_core.training.config import LossConfig, OptimizerConfig, TrainConfig, parse_config

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "config" / "train"
PAGE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
OURS = {"camvid_resnet18", "camvid_mit_b0", "camvid_alignment", "camvid_against_segformer"}
BACKBONES = {"vspw": ("mit_b1", "mit_b2", "mit_b5"), "cityscapes": ("mit_b0", "mit_b1", "resnet101"),
             "camvid": ("resnet101",)}  # fmt: skip
ROWS = [
    (kind, family, backbone)
    for kind, backbones in BACKBONES.items()
    for backbone in backbones
    for family in ("sdcpc", "segformer")
]
CROPS_HW = {"vspw": (480, 480), "cityscapes": (512, 1024), "camvid": (640, 640)}
STEPS = {"vspw": 160_000, "cityscapes": 160_000, "camvid": 80_000}
NUM_CLASSES = {"vspw": 124, "cityscapes": 19, "camvid": 11}
PARAMETERS_M = {"sdcpc_mit_b1": 15.0, "sdcpc_mit_b2": 26.0, "sdcpc_mit_b5": 83.5, "segformer_mit_b1": 13.8}
"""Table 1 of the paper, where its rows and their decoders agree with one another."""
COMMANDS = sorted({
    command.replace("\\\n#", " ")
    for text in (PAGE, *(path.read_text(encoding="utf-8") for path in sorted(CONFIGS.rglob("*.yaml"))))
    for command in re.findall(r"sdcpc train (--config (?:[^`\n\\]|\\\n#)*)", text)
})  # fmt: skip
WRITERS = {"vspw": write_vspw, "cityscapes": write_cityscapes, "camvid": write_camvid}


def config_of(kind: str, family: str, backbone: str, *more: str) -> TrainConfig:
    return parse_config(["--config", str(CONFIGS / f"{kind}_{family}_{backbone}.yaml"), *more])[0]


def test_every_row_has_a_config_and_every_config_a_row():
    there = {path.stem for path in CONFIGS.glob("*.yaml")}
    assert there - OURS == {"_".join(row) for row in ROWS}
    assert there <= set(re.findall(r"`(\w+)`", PAGE))


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_page_and_of_the_configs_are_understood(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    config, _ = parse_config(shlex.split(command))
    assert config.run_dir != TrainConfig().run_dir, "each has a folder of its own"


@pytest.mark.parametrize(("kind", "family", "backbone"), ROWS)
def test_a_row_is_trained_as_the_papers_say(kind, family, backbone):
    config = config_of(kind, family, backbone)
    assert config.model.name == f"{family}_{backbone}"
    assert (config.model.checkpoint, config.model.backbone_weights) == (None, None), "files that nobody has yet"
    assert (config.data.kind, config.data.crop_hw) == (kind, CROPS_HW[kind])
    assert (config.data.scale_range, config.data.reference_offsets) == ((0.5, 2.0), (3, 6))
    assert config.data.synthetic_fraction == 0, "the papers train on the data set alone"
    assert config.data.batch_size * config.schedule.accumulate_batches == 4, "two GPUs, two clips each"

    rate = 2e-5 if family == "sdcpc" else 6e-5
    assert config.optimizer == OptimizerConfig(
        learning_rate=rate, head_multiplier=10.0, weight_decay=0.01, class_balance=0.0, ema_decay=0.0
    )
    assert (config.schedule.max_steps, config.schedule.warmup_steps) == (STEPS[kind], 1500)
    assert (config.schedule.power, config.schedule.static_share) == (1.0, 0.0)
    if family == "sdcpc":
        assert config.loss == LossConfig(static_weight=0.0, damaged_share=0.0), "Eq. (7)"


@pytest.mark.parametrize(("kind", "family", "backbone"), ROWS)
def test_a_row_has_the_model_of_the_paper(kind, family, backbone):
    config = config_of(kind, family, backbone)
    with torch.device("meta"):
        model = build_model(config.model.name, NUM_CLASSES[kind], **config.model.options)
    if family == "sdcpc":
        assert (model.options["num_points"], model.options["num_variates"]) == (4, 4)
    if published := kind == "vspw" and PARAMETERS_M.get(config.model.name):
        counted = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        assert counted == pytest.approx(published, rel=0.02)


@pytest.mark.parametrize(
    ("kind", "family", "backbone", "small"),
    [("vspw", "sdcpc", "mit_b1", "mit_b0"), ("cityscapes", "sdcpc", "mit_b0", "mit_b0"),
     ("cityscapes", "segformer", "mit_b0", "mit_b0"), ("camvid", "sdcpc", "resnet101", "resnet18")],
)  # fmt: skip
def test_one_step_of_a_row_moves_the_weights(kind, family, backbone, small, tmp_path):
    root, run_dir, start = WRITERS[kind](tmp_path / "data"), tmp_path / "run", tmp_path / "start.safetensors"
    name, options = f"{family}_{small}", {"channels" if family == "sdcpc" else "decoder_channels": 32}
    labels = open_data_set(kind, root, "train").labels
    fresh = build_model(name, NUM_CLASSES[kind], **options)
    save_checkpoint(start, fresh, CheckpointHeader(name, options, labels, (64, 64), {}))

    train([
        "--config", str(CONFIGS / f"{kind}_{family}_{backbone}.yaml"), f"--data.root={root}", f"--run_dir={run_dir}",
        f"--model.name={name}", f"--model.options={options}", f"--model.checkpoint={start}", "--data.crop_hw=[64, 64]",
        "--data.workers=0", "--device=cpu", "--precision=fp32", "--half_weights=false", "--schedule.max_steps=1",
        "--schedule.validate_every=1", "--schedule.warmup_steps=0",
    ])  # fmt: skip
    trained, header = load_checkpoint(run_dir / "best.safetensors")
    assert (header.labels, header.provenance["steps"]) == (labels, 1)
    before, after = dict(fresh.named_parameters()), dict(trained.named_parameters())
    moved = {part: any(not torch.equal(before[key], after[key]) for key in before if key.startswith(part))
             for part in {key.split(".")[0] for key in before}}  # fmt: skip
    assert all(moved.values()), moved
    assert all(weights.isfinite().all() for weights in after.values())
