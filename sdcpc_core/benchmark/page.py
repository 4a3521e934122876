"""The page of a benchmark: ratios first, then what they are made of; drawn from the report alone."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sdcpc_core.benchmark.setting import OWN_SEGFORMER, STREAM, Setting
from sdcpc_core.benchmark.text import CONTENDER_HEADS, PROFILE_HEADS, RATIOS, contender_row, profile_rows, roofline_text
from sdcpc_core.pages.charts import Bars
from sdcpc_core.pages.page import Facts, Section, Table, render_page

TIMES_NOTE = (
    "A step takes a frame of each camera, from bytes to labels. Each contender has a process of its own, and they take "
    "turns. Ready: from nothing to its first answer."
)


def benchmark_page(report: Mapping[str, Any]) -> str:
    """Set the page.

    Args:
        report: as ``sdcpc benchmark --json`` writes it.

    Returns:
        HTML that refers to nothing outside itself.
    """
    cells = [cell for cell in report["cells"] if "latency_ms" in cell["results"][STREAM]]
    sections = [
        Section("Time per frame", [_bars(cells), _ratio_table(cells)], "Percent of the slowest of the three."),
        Section("Times", [_times(cell) for cell in report["cells"]], TIMES_NOTE),
        *_profiles(cells),
        Section("This run", [Facts(_facts(report))]),
    ]
    key = "streaming_over_segformer"
    ratios = sorted(cell[key] for cell in cells if key in cell)
    shown = {"best": ratios[0], "median": ratios[len(ratios) // 2], "worst": ratios[-1]} if ratios else {}
    return render_page(
        "Streaming SD-CPC beside SegFormer",
        sections,
        subtitle=f"{report['device_name']}, {report['date'][:10]}",
        highlights={f"over {RATIOS[key]}, {name}": f"{ratio:.2f}" for name, ratio in shown.items()},
    )


def _bars(cells: Sequence[Mapping[str, Any]]) -> Bars:
    rows = []
    for cell in cells:
        names = [STREAM, cell.get("fastest_segformer"), OWN_SEGFORMER]
        times = [cell["results"].get(name, {}).get("latency_ms", {}).get("median", float("nan")) for name in names]
        slowest = max(time for time in times if time == time)
        rows.append((str(Setting.from_dict(cell["setting"])), [100 * time / slowest for time in times]))
    return Bars(["stream", "fastest Hugging Face SegFormer", "own SegFormer"], rows)


def _ratio_table(cells: Sequence[Mapping[str, Any]]) -> Table:
    keys = [key for key in RATIOS if any(key in cell for cell in cells)]
    rows = []
    for cell in cells:
        ratios = [f"{cell[key]:.2f}" if key in cell else "–" for key in keys]
        rows.append([str(Setting.from_dict(cell["setting"])), *ratios])
    heads = ["stream over", *(RATIOS[key] for key in keys)]
    return Table(heads, rows, "Ratios of median times; below 1 the stream is faster.")


def _times(cell: Mapping[str, Any]) -> Table:
    rows = [[name, *contender_row(of)] for name, of in cell["results"].items()]
    return Table([str(Setting.from_dict(cell["setting"])), *CONTENDER_HEADS], rows)


def _profiles(cells: Sequence[Mapping[str, Any]]) -> Iterator[Section]:
    for cell in cells:
        if "profile" in cell:
            profile = cell["profile"]
            tables = [
                Table([name, *PROFILE_HEADS], list(profile_rows(of))) for name, of in profile["contenders"].items()
            ]
            note = (
                "What each part takes on the device, beside the least time for its operations or its bytes, whichever "
                f"is longer: {roofline_text(profile['roofline'])}, measured in the same run."
            )
            yield Section(f"Where the time goes: {Setting.from_dict(cell['setting'])}", tables, note)


def _facts(report: Mapping[str, Any]) -> dict[str, str]:
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items() if version)
    facts = {
        "device": report["device_name"],
        "processor threads": str(report["threads"]),
        "date": report["date"],
        "commit": report["commit"] or "not a checkout",
        "versions": versions,
    }
    for name, settings in (("failed", report["failed"]), ("left out for want of time", report["left_out"])):
        if settings:
            facts[name] = "\n".join(settings)
    return facts
