"""What the terminal shows, in plain text: a machine that only measures has no library for more."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

RATIOS = {
    "streaming_over_segformer": "fastest SegFormer",
    "streaming_over_segformer_eager": "eager SegFormer",
    "streaming_over_own_segformer": "own SegFormer",
    "streaming_over_clip": "clip",
    "macs_over_segformer": "multiply-accumulates",
}
"""What the stream is compared with: the median times of a step, and in the last the work."""
CONTENDER_HEADS = ("median ms", "middle half", "p99", "frames/s", "processor ms", "peak MiB", "ready s")
PROFILE_HEADS = ("median ms", "share", "10⁹ MACs", "MB", "floor ms", "reached")


def cell_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """A table of the contenders of a cell, its ratios, and where the time goes, where that was measured."""
    rows = [[name, *contender_row(of)] for name, of in figures["results"].items()]
    yield from table_lines([["", *CONTENDER_HEADS], *rows])
    ratios = (f"{text} {figures[key]:.2f}" for key, text in RATIOS.items() if key in figures)
    yield f"stream over {', '.join(ratios)}"
    if "profile" in figures:
        yield from _profile_lines(figures["profile"])


def contender_row(of: Mapping[str, Any]) -> list[str]:
    """Figures of a contender in the columns of ``CONTENDER_HEADS``."""
    if "failure" in of:
        return ["failed", *["–"] * (len(CONTENDER_HEADS) - 1)]
    latency = of["latency_ms"]
    spread = f"{number(latency['p25'])} to {number(latency['p75'])}"
    times = [number(latency["median"]), spread, number(latency["p99"]), f"{of['frames_per_s']:.1f}"]
    return [*times, f"{of['cpu_ms']:.0f}", f"{of['peak_memory_mb']}", f"{of['ready_s']}"]


def number(value: float) -> str:
    """A figure with three digits that count."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def table_lines(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows in columns, the first flush left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        yield "  ".join([row[0].ljust(widths[0]), *cells]).rstrip()


def profile_rows(of: Mapping[str, Any]) -> Iterator[list[str]]:
    """The parts of a step: time, share of their sum, giga-operations, megabytes, floor, and the floor's share."""
    for part in of["parts"]:
        median_ms, floor_ms = part["ms"]["median"], part["floor_ms"]
        share = f"{median_ms / of['sum_ms']:.0%}"
        work = [f"{part['macs'] / 1e9:.2f}", f"{part['bytes'] / 1e6:.1f}"]
        reached = f"{floor_ms / median_ms:.0%}" if median_ms else "–"
        yield [part["name"], number(median_ms), share, *work, number(floor_ms), reached]
    reached = f"{of['floor_ms'] / of['sum_ms']:.0%}"
    yield ["all parts", number(of["sum_ms"]), "100%", "", "", number(of["floor_ms"]), reached]
    yield ["the step as a whole", number(of["step_ms"]), *[""] * (len(PROFILE_HEADS) - 1)]


def roofline_text(roofline: Mapping[str, Any]) -> str:
    """What the floors are made of."""
    return (
        f"{roofline['macs_per_s'] / 1e9:.0f}·10⁹ multiply-accumulates and "
        f"{roofline['copied_bytes_per_s'] / 1e9:.1f} GB copied per second"
    )


def _profile_lines(profile: Mapping[str, Any]) -> Iterator[str]:
    yield f"floors: {roofline_text(profile['roofline'])}, measured"
    for name, of in profile["contenders"].items():
        yield from table_lines([[f"{name}:", *PROFILE_HEADS], *profile_rows(of)])
