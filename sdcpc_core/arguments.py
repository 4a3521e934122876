"""Command-line arguments that several commands share."""

import argparse
import math
from pathlib import Path

MAX_SIDE = 16384
"""No camera has more pixels a side."""


def add_segmenter_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which weights run, where and how precisely."""
    parser.add_argument("--checkpoint", metavar="FILE", type=Path, help="default: the one that comes with the package")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--precision", default="fp32", help="fp32, bf16 or fp16 (default: %(default)s)")


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what becomes of an older output, and where the figures go."""
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write what the terminal shows")


def positive_number(text: str) -> float:
    """Read a number that is positive and finite."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return number


def size_hw(text: str) -> tuple[int, int]:
    """Read a size such as ``360x480``: height, then width, in pixels."""
    try:
        height, width = map(int, text.lower().split("x"))
        if max(height, width) > MAX_SIDE:
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a size such as 360x480 (height x width, up to {MAX_SIDE})"
        ) from None
    return height, width
