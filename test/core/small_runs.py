"""Training runs of seconds."""

import csv
from pathlib import Path

from sdcpc_core.training.config import ModelConfig

SMALL = ModelConfig("sdcpc_mit_b0", {"channels": 32})


def arguments(root, run_dir, *more) -> list[str]:
    """Four steps, the first two of the static part alone; what is given again overrides."""
    return [
        "--model.name=sdcpc_mit_b0", "--model.options={channels: 32}", f"--data.root={root}", f"--run_dir={run_dir}",
        "--data.crop_hw=[32, 64]", "--data.batch_size=2", "--data.workers=0", "--data.synthetic_fraction=0",
        "--schedule.max_steps=4", "--schedule.validate_every=2", "--schedule.warmup_steps=1",
        "--schedule.static_share=0.25", "--device=cpu", "--precision=fp32", "--half_weights=false", *more,
    ]  # fmt: skip


def logged(run_dir: Path, column: str) -> list[float]:
    """What a run logged under a name."""
    (log,) = run_dir.glob("logs/*/metrics.csv")
    with log.open() as rows:
        return [float(row[column]) for row in csv.DictReader(rows) if row[column]]
