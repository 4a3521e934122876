"""What limits a training: samples per second of the loader beside those of the step, and the memory of the step.

python benchmarks/training_speed.py --config config/train/camvid_resnet18.yaml --data.root DIR
python benchmarks/training_speed.py --config config/train/vspw_sdcpc_mit_b1.yaml --num-classes 124

All keys of ``sdcpc train`` may follow. Prints Markdown. With --num-classes it reads no data: the step alone. On a busy
machine, --clock processor --workers 0 counts the seconds of the processor instead of those of the wall; with
OMP_NUM_THREADS=1 in the environment, one core's.
"""

import argparse
import logging
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from ledger import Table
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader

from sdcpc_core.arguments import positive_number, size_hw
from sdcpc_core.data.clips import ClipSample
from sdcpc_core.errors import ConfigError, SdcpcError
from sdcpc_core.labels import LabelSet
from sdcpc_core.progress import progress
from sdcpc_core.report import device_name
from sdcpc_core.streaming import find_device
from sdcpc_core.training.clip_data import ClipData
from sdcpc_core.training.config import TrainConfig, parse_config
from sdcpc_core.training.module import SegmentationModule
from sdcpc_core.training.run import build_trainer

FRAMES = {"single frames": 1, "clips": 3}
"""Frames of a sample in the two phases of a training."""
WINDOWS = 5
"""Parts of a measurement of the loader; the median of their rates is told."""
WARM_UP_STEPS = 3
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


@dataclass(frozen=True)
class StepCost:
    """What a training step takes.

    Attributes:
        samples_per_s: by the median step, in seconds of the clock.
        peak_memory_mb: of the whole process on a CPU, of what PyTorch allocates on a GPU (MiB).
        precision: as Lightning names it.
    """

    samples_per_s: float
    peak_memory_mb: float
    precision: str

    @property
    def cells(self) -> tuple[str, str]:
        """Rate and memory (GiB)."""
        return f"{self.samples_per_s:.2f}", f"{self.peak_memory_mb / 1024:.1f}"


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print the tables."""
    arguments, settings = _parser().parse_known_args(argv)
    try:
        config, _ = parse_config(settings)
        if arguments.clock == "processor" and any(arguments.workers) and arguments.num_classes is None:
            raise ConfigError("--clock processor sees nothing of loader processes; add --workers 0")
        if arguments.steps < 1 or not 1 <= (arguments.num_classes or 1) <= 255:
            raise ConfigError("--steps must be at least 1, --num-classes 1..255")
        # One process measures itself, batch by batch, as long as it takes, and validates nothing.
        schedule = replace(config.schedule, accumulate_batches=1, max_time_minutes=None)
        data = replace(config.data, max_validation_frames=1)
        config = replace(config, devices=1, num_nodes=1, schedule=schedule, data=data)
        device = find_device(config.device)
        num_classes = arguments.num_classes
        if num_classes is None:
            num_classes = ClipData(config).labels.num_classes
            print(f"{device_name(torch.device('cpu'))}\n\n{loader_table(config, arguments)}\n")
        print(f"{device_name(device)}, K = {num_classes}\n\n{step_table(config, num_classes, arguments)}")
    except SdcpcError as err:
        raise SystemExit(f"training_speed: {err}") from err


def loader_table(config: TrainConfig, arguments: argparse.Namespace) -> Table:
    """Samples per second of the loader by share of synthetic samples, workers and frames of a sample."""
    shares = arguments.synthetic or sorted({0.0, config.data.synthetic_fraction})
    cases = list(product(shares, arguments.workers))
    rows = []
    with progress(cases, "loader") as measured:
        for share, workers in measured:
            data = replace(config.data, synthetic_fraction=share, workers=workers)
            case = replace(config, data=data)
            rates = [loader_rate(case, frames, arguments.seconds, arguments.clock) for frames in FRAMES.values()]
            rows.append([f"{share:.0%}", f"{workers}", *(f"{rate:.1f}" for rate in rates)])
    figures = [f"{name}, samples per {arguments.clock} s" for name in FRAMES]
    return Table(["loader, synthetic share", "workers", *figures], rows)


def loader_rate(config: TrainConfig, num_frames: int, seconds: float, clock: str) -> float:
    """Samples per second of a loader that never waits for a step; the first half of the time is warm-up."""
    # One round without end.
    data = ClipData(replace(config, schedule=replace(config.schedule, max_steps=10**6, validate_every=10**6)))
    data.clip_length = lambda: num_frames
    arrivals_s: list[float] = []
    begin_s = CLOCKS[clock]()
    for _ in data.train_dataloader():
        arrivals_s.append(CLOCKS[clock]() - begin_s)
        if arrivals_s[-1] > seconds and len(arrivals_s) > 4 * WINDOWS:
            break
    edges = np.linspace(len(arrivals_s) // 2, len(arrivals_s) - 1, WINDOWS + 1).astype(int)
    batches_per_s = np.diff(edges) / np.diff(np.array(arrivals_s)[edges])
    return float(np.median(batches_per_s)) * config.data.batch_size


def step_table(config: TrainConfig, num_classes: int, arguments: argparse.Namespace) -> Table:
    """Samples per second and peak memory of the step by model, crop, batch and phase."""
    models, crops = arguments.models or [config.model.name], arguments.crops or [config.data.crop_hw]
    cases = list(product(models, crops, arguments.batches or [config.data.batch_size]))
    rows = []
    with progress(cases, "step") as measured:
        for name, crop_hw, batch_size in measured:
            data = replace(config.data, crop_hw=crop_hw, batch_size=batch_size)
            case = replace(config, model=replace(config.model.fresh(), name=name), data=data)
            costs = [_step_cost_alone(case, num_classes, frames, arguments) for frames in FRAMES.values()]
            cells = chain.from_iterable(cost.cells if cost else ("–", "–") for cost in costs)
            rows.append([name, costs[0].precision, f"{crop_hw[0]}×{crop_hw[1]}", f"{batch_size}", *cells])
    figures = [f"{name}, {figure}" for name in FRAMES for figure in (f"samples per {arguments.clock} s", "peak GiB")]
    return Table(["step", "precision", "crop", "batch", *figures], rows)


def _step_cost_alone(
    config: TrainConfig, num_classes: int, num_frames: int, arguments: argparse.Namespace
) -> StepCost | None:
    # A process each: in a shared one, only the hungriest would show.
    with get_context("spawn").Pool(1, torch.set_num_threads, (torch.get_num_threads(),)) as pool:
        return pool.apply(step_cost, (config, num_classes, num_frames, arguments.steps, arguments.clock))


def step_cost(config: TrainConfig, num_classes: int, num_frames: int, steps: int, clock: str) -> StepCost | None:
    """Train on one batch of noise, again and again, with the trainer of ``sdcpc train``.

    Args:
        config: the run; neither data nor weights are read.
        num_classes: K.
        num_frames: of a sample; 1 is the phase of single frames.
        steps: how many are timed.
        clock: one of ``CLOCKS``.

    Returns:
        The cost; None where the model takes fewer frames.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
    labels = LabelSet("noise", tuple(map(str, range(num_classes))), ((0, 0, 0),) * num_classes)
    is_static = num_frames == 1 and config.model.name.startswith("sdcpc_")
    total, step_ends = WARM_UP_STEPS + steps, StepEnds(clock)
    schedule = replace(config.schedule, max_steps=total, validate_every=total, static_share=float(is_static))
    with tempfile.TemporaryDirectory() as run_dir:
        config = replace(config, schedule=schedule, run_dir=Path(run_dir))
        module = SegmentationModule(config, torch.ones(num_classes), labels)
        if module.begin_round() != num_frames:
            return None
        data = NoiseClips(config, num_classes, num_frames)
        trainer = build_trainer(config, data)
        trainer.limit_val_batches = 0
        trainer.callbacks.append(step_ends)
        trainer.fit(module, data)
    median_s = float(np.median(np.diff(step_ends.times_s)[-steps:]))
    return StepCost(config.data.batch_size / median_s, step_ends.peak_memory_mb, trainer.precision)


class NoiseClips(L.LightningDataModule):
    """One batch of noise in the place of a data set.

    Attributes:
        provenance: as of ``ClipData``, and so is ``validation_protocol``.
    """

    provenance = validation_protocol = "noise"

    def __init__(self, config: TrainConfig, num_classes: int, num_frames: int) -> None:
        super().__init__()
        self._size_hw, self._steps = config.data.crop_hw, config.schedule.max_steps
        rng, shape = np.random.default_rng(0), (config.data.batch_size, num_frames)
        frames = rng.integers(0, 256, (*shape, 3, *self._size_hw), np.uint8)
        label_maps = rng.integers(0, num_classes, (*shape, *self._size_hw), np.uint8)
        self._batch = ClipSample(torch.from_numpy(frames), torch.from_numpy(label_maps))

    def frame_size_hw(self) -> tuple[int, int]:
        """Height and width of the frames (pixels)."""
        return self._size_hw

    def train_dataloader(self) -> DataLoader:
        return DataLoader([self._batch] * self._steps, batch_size=None)


class StepEnds(Callback):
    """When each step ended, and what memory they took.

    Args:
        clock: one of ``CLOCKS``.

    Attributes:
        times_s: one for each step (s).
        peak_memory_mb: see ``StepCost``.
    """

    def __init__(self, clock: str) -> None:
        self._now_s = CLOCKS[clock]
        self.times_s: list[float] = []
        self.peak_memory_mb = 0.0

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize(pl_module.device)
            self.peak_memory_mb = torch.cuda.max_memory_allocated(pl_module.device) / 2**20
        else:
            # Not getrusage: its high-water mark survives exec, so that a child starts with its parent's.
            status = Path("/proc/self/status").read_text(encoding="utf-8")
            self.peak_memory_mb = int(status.partition("VmHWM:")[2].split()[0]) / 2**10
        self.times_s.append(self._now_s())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--num-classes", type=int, metavar="K", help="read no data: the step alone")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--synthetic", type=float, nargs="+", help="shares (default: 0 and the config's)")
    parser.add_argument("--seconds", type=positive_number, default=20, help="for a figure of the loader; default: 20")
    parser.add_argument("--models", nargs="+", help="default: the config's, and so for the next two")
    parser.add_argument("--crops", type=size_hw, nargs="+", metavar="HxW", help="multiples of 32")
    parser.add_argument("--batches", type=int, nargs="+", help="samples in a batch")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="default: wall")
    parser.add_argument("--steps", type=int, default=10, help="timed steps of each figure; default: 10")
    return parser


if __name__ == "__main__":
    main()
