"""Reports of runs: what was measured, and all that is needed to measure it again."""

import json
import math
import platform
import re
import subprocess
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sdcpc_core.errors import OutputError
from sdcpc_core.output import atomic_output, check_output, final_place, is_special, output_errors

if TYPE_CHECKING:
    import torch

FORMAT_VERSION = 1


def run_facts(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part that every report shares.

    Args:
        config: settings of the run: JSON values and paths.

    Returns:
        ``format_version``, ``config``, ``commit`` (None outside a checkout) and ``versions`` (None for what runs
        without being installed).
    """
    import cv2
    import torch

    versions = {
        "sdcpc_ros": version_of("sdcpc_ros"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
    }
    return {"format_version": FORMAT_VERSION, "config": dict(config), "commit": commit(), "versions": versions}


def version_of(distribution: str) -> str | None:
    """Version of an installed distribution; None where it is not installed, as in a mere copy of the checkout."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def commit() -> str | None:
    """Commit of the checkout this package runs from, marked ``-dirty`` when it was changed; None elsewhere."""
    here = Path(__file__)
    try:
        # An installed package may lie inside a repository that is not its own.
        subprocess.run(
            ["git", "ls-files", "--error-unmatch", here.name], cwd=here.parent, capture_output=True, check=True
        )
        describe = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(describe, cwd=here.parent, capture_output=True, check=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def device_name(device: "torch.device", cpu_threads: int | None = None) -> str:
    """What computes on a device: the name of the GPU, or of the processor with the number of its threads in use.

    Args:
        device: where tensors are.
        cpu_threads: in use; None for those that the calling thread uses.
    """
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = cpu_threads or torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'s' if threads > 1 else ''}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    # On ARM the kernel names no model.
    return names[0] if names else f"{platform.machine()} CPU"


def latency_ms(samples_ms: list[float]) -> dict[str, float | None]:
    """Median and 99th percentile of latencies (ms); None where nothing was measured."""
    if not samples_ms:
        return {"median": None, "p99": None}
    median, p99 = np.percentile(samples_ms, [50, 99])
    return {"median": round(float(median), 2), "p99": round(float(p99), 2)}


def rounded(figures: Mapping[str, float]) -> dict[str, float | None]:
    """Figures with two decimals; None where nothing was measured."""
    return {key: None if math.isnan(value) else round(float(value), 2) for key, value in figures.items()}


def shown(figure: float) -> str:
    """A figure for people, with two decimals; a dash where nothing was measured."""
    return "–" if math.isnan(figure) else f"{figure:.2f}"


def report_place(path: Path | None, title: str, date: datetime) -> Path | None:
    """Where a report goes: in a folder, into a file that is named by a title and the date."""
    if path is None or not path.is_dir():
        return path
    return path / f"{re.sub(r'[^a-z0-9]+', '-', title.lower()).strip('-')}-{date:%Y-%m-%d}.json"


def check_report(path: Path | None, *, out: Path | None = None) -> None:
    """Refuse a place for a report before hours are spent on what it tells.

    Args:
        path: the report; None for none.
        out: the result it tells of.

    Raises:
        OutputError: a report cannot be written there, or would replace the result.
    """
    if path is None or is_special(path):
        return
    check_output(path, overwrite=True)
    if out is not None and final_place(out).is_relative_to(final_place(path)):
        raise OutputError(f"--json {path} would stand in the way of {out}; give them different names")


def write_report(path: str | Path, report: Mapping[str, Any]) -> None:
    """Write a report as JSON, replacing an older one.

    Raises:
        OutputError: the file cannot be written.
    """
    text = json_text(report)
    with output_errors(path):
        if is_special(path):
            Path(path).write_text(text, encoding="utf-8")
            return
        with atomic_output(path, overwrite=True) as draft:
            draft.write_text(text, encoding="utf-8")


def json_text(report: Mapping[str, Any]) -> str:
    """The text of a report's file."""
    return json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n"


def holds_report(folder: Path, name: str = "report.json") -> bool:
    """Whether a folder holds a report of this package under a name, and so is a result."""
    try:
        return "sdcpc_ros" in json.loads((folder / name).read_bytes())["versions"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
