"""Runs of several processes, which the tests start for real."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from fake_camvid import write_camvid
from small_runs import arguments, logged

pytest.importorskip("lightning", reason="training needs Lightning: pip install '.[train]'")

from sdcpc_core.checkpoint import load_checkpoint
from sdcpc_core.errors import ConfigError
from sdcpc_core.models.layers import DropPath
from sdcpc_core.training.command import train
from sdcpc_core.training.config import TrainConfig
from sdcpc_core.training.launch import check_devices

pytestmark = pytest.mark.timeout(300)  # starting them takes the better part of a minute on a busy machine
SDCPC = [sys.executable, "-c", "import sys; from sdcpc_core.cli import main; sys.exit(main())"]
WITHOUT_CHANCE_OR_SHARES = """
import sys
from test_training_distributed import use_no_chance_and_no_shares
from sdcpc_core.training.command import train
use_no_chance_and_no_shares(setattr)
train(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_camvid(tmp_path_factory.mktemp("camvid"))


def use_no_chance_and_no_shares(set_attribute) -> None:
    """Leave out what is another in each process: paths dropped at random, and on CPUs the statistics of a batch."""
    set_attribute(DropPath, "forward", lambda self, x: x)
    set_attribute(
        torch.nn.BatchNorm2d,
        "forward",
        lambda self, x: F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias),
    )


def test_two_processes_train_as_one_with_the_whole_batch(root, tmp_path, monkeypatch):
    use_no_chance_and_no_shares(monkeypatch.setattr)
    # Far more time than it takes: it is only asked for.
    schedule = ("--schedule.validate_every=1", "--schedule.static_share=0.5", "--schedule.max_time_minutes=1e6")
    # Each process disturbs features of its own, on purpose.
    schedule = (*schedule, "--loss.damaged_share=0", "--loss.target_noise=0", "--loss.reference_noise=0")
    schedule = (*schedule, "--schedule.alignment_share=0.25", "--schedule.accumulate_batches=2")
    train(arguments(root, tmp_path / "one", "--data.batch_size=2", *schedule))
    program = tmp_path / "program.py"
    program.write_text(WITHOUT_CHANCE_OR_SHARES)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(program)]
    command = [*torchrun, *arguments(root, tmp_path / "two", "--data.batch_size=1", *schedule)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}
    together = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert together.returncode == 0, together.stderr

    for column, count in (("train/loss", 4), ("train/gradient_norm", 4), ("train/contrast", 1), ("val/mIoU", 4)):
        alone = logged(tmp_path / "one", column)
        assert len(alone) == count
        assert logged(tmp_path / "two", column) == pytest.approx(alone, rel=1e-3), column
    assert together.stdout.count("initial weights") == 1
    assert together.stdout.count("step 4/4") == 1
    (one, _), (two, header) = (load_checkpoint(tmp_path / run / "best.safetensors") for run in ("one", "two"))
    assert header.provenance["processes"] == 2
    for expected, weights in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(weights, expected, rtol=1e-2, atol=1e-3)


def test_a_broken_image_in_one_process_ends_all_with_one_line(root, tmp_path):
    broken = write_camvid(tmp_path / "camvid")
    image = broken / "train" / "0001TP_006690.png"
    image.write_bytes(image.read_bytes()[:100])
    run = arguments(broken, tmp_path / "run", "--devices=2", "--data.batch_size=1")
    result = subprocess.run([*SDCPC, "train", *run], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (
        2, f"sdcpc train: error: {image} is cut off and not a whole image; copy or download it again\n"
    )  # fmt: skip


def test_an_interrupt_ends_all_processes_and_the_run_goes_on(root, tmp_path):
    run_dir, short_rounds = tmp_path / "run", "--schedule.validate_every=1"
    run = arguments(root, run_dir, "--devices=2", "--data.batch_size=1", "--schedule.max_steps=10000", short_rounds)
    with subprocess.Popen(
        [*SDCPC, "train", *run], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            end = time.monotonic() + 240
            while not (run_dir / "last.ckpt").is_file():
                assert process.poll() is None, process.stderr.read()
                assert time.monotonic() < end
                time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate()
        finally:
            process.terminate()
    assert process.returncode == 130
    assert errors == f"interrupted; the same command with --resume continues from {run_dir / 'last.ckpt'}\n"
    step = torch.load(run_dir / "last.ckpt", weights_only=True)["global_step"]
    # Another number of processes may go on.
    train(arguments(root, run_dir, "--resume", short_rounds, f"--schedule.max_steps={step + 1}"))
    assert torch.load(run_dir / "last.ckpt", weights_only=True)["global_step"] == step + 1


def test_torchrun_knows_better_than_the_settings_how_many_train(root, tmp_path, monkeypatch):
    for name, value in {"TORCHELASTIC_RUN_ID": "alone", "RANK": 0, "WORLD_SIZE": 1, "LOCAL_WORLD_SIZE": 1}.items():
        monkeypatch.setenv(name, str(value))
    train(arguments(root, tmp_path / "run", "--devices=2", "--schedule.max_steps=2"))
    assert load_checkpoint(tmp_path / "run" / "best.safetensors")[1].provenance["processes"] == 1


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    check_devices(TrainConfig(devices=1), torch.device("cuda"))
    check_devices(TrainConfig(devices=2), torch.device("cpu"))
    with pytest.raises(ConfigError, match="2 processes are to train on this machine, but it has 1 GPUs"):
        check_devices(TrainConfig(devices=2), torch.device("cuda"))


def test_machines_that_know_no_meeting_place_are_told(root, tmp_path, monkeypatch):
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(ConfigError, match="num_nodes is 2, but MASTER_ADDR and MASTER_PORT do not say"):
        train(arguments(root, tmp_path / "run", "--num_nodes=2"))
