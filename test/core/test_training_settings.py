import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("jsonargparse", reason="training needs jsonargparse: pip install '.[train]'")

from sdcpc_core.errors import ConfigError
from sdcpc_core.training.config import parse_config

CONFIGS = Path(__file__).resolve().parents[2] / "config" / "train"


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
        ("--loss.target_noise=-1", "loss.target_noise is -1.0; it must be at least 0"),
        ("--loss.reference_noise=.nan", "loss.reference_noise is nan; it must be at least 0"),
        ("--optimizer.learning_rate=-1", "optimizer.learning_rate is -1.0; it must be above 0"),
        ("--optimizer.learning_rate=.inf", "optimizer.learning_rate is inf"),
        ("--optimizer.head_multiplier=0", "optimizer.head_multiplier is 0.0; it must be above 0"),
        ("--optimizer.selector_multiplier=-1", "optimizer.selector_multiplier is -1.0; it must be at least 0"),
        ("--optimizer.ema_decay=5", "optimizer.ema_decay is 5.0; it must be at least 0 and below 1"),
        ("--optimizer.weight_decay=-1", "optimizer.weight_decay"),
        ("--optimizer.max_gradient_norm=0", "optimizer.max_gradient_norm"),
        ("--optimizer.class_balance=-1", "optimizer.class_balance"),
        ("--schedule.max_steps=201", "multiple of schedule.validate_every"),
        ("--schedule.accumulate_batches=0", "schedule.accumulate_batches is 0; it must be at least 1"),
        ("--schedule.max_time_minutes=-3", "schedule.max_time_minutes is -3.0; it must be above 0"),
        ("--schedule.static_share=7", "schedule.static_share is 7.0; it must be 0..1"),
        (
            "--schedule={static_share: 0.5, alignment_share: 0.75}",
            "schedule.alignment_share is 0.75; it must be 0..0.5",
        ),
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
