"""The page of a comparison of evaluations."""

import math
from collections.abc import Mapping, Sequence

from sdcpc_core.comparison.evaluations import Group
from sdcpc_core.comparison.figures import IOU, Measured
from sdcpc_core.comparison.report import CLASSES, COST, FIGURES, GONE, columns, notes_of_parts, rows, title
from sdcpc_core.comparison.strip import Strip
from sdcpc_core.pages.charts import Bars
from sdcpc_core.pages.page import Facts, Legend, PictureRow, Pictures, Section, Table, render_page

HIGHLIGHTS = ("mIoU", "mVC8", "mVC16", "TC")
"""Figures whose difference stands at the top, where two are compared."""
CHARTED = 3
"""So many groups have colours of their own in a chart."""


def comparison_page(
    groups: Sequence[Group],
    measured: Sequence[Measured],
    strip: Strip | None,
    facts: Mapping[str, str],
) -> str:
    """Set the page.

    Args:
        groups: what is compared.
        measured: one per group.
        strip: pictures; None where no label maps were written.
        facts: what is needed to compare again, text by name.

    Returns:
        HTML that refers to nothing outside itself.
    """
    contrasts = {GONE: "share"}
    tables = {
        part: _table(columns(groups, contrasts.get(part, "difference")), found)
        for part, found in rows(groups, measured).items()
    }
    told = {part: "\n".join(lines) for part, lines in notes_of_parts(groups).items()}
    sections = [Section(FIGURES, [tables[FIGURES]], told[FIGURES])]
    if strip:
        moments = [PictureRow(*row) for row in zip(strip.captions, strip.pictures, strict=True)]
        sections.append(
            Section("Pictures", [Pictures(strip.headings, moments), Legend(strip.labels)], "Black is unlabelled.")
        )
    if GONE in tables:
        sections.append(Section(GONE, [tables[GONE]], told[GONE]))
    charts = [_bars(groups, measured)] if len(groups) <= CHARTED else []
    sections += [
        Section(CLASSES, [*charts, tables[CLASSES]]),
        Section(COST, [tables[COST]], told[COST]),
        Section("Evaluations", [_evaluations(groups), Facts(facts)]),
    ]
    names = [group.name for group in groups]
    gains = measured[1].gains if len(groups) == 2 else {}
    highlights = {key: gains[key].value for key in HIGHLIGHTS if key in gains and not math.isnan(gains[key].value)}
    return render_page(
        f"{', '.join(names[:-1])} and {names[-1]}",
        sections,
        subtitle=f"{title(groups)}; differences to {names[0]}",
        highlights={f"{key}, difference": f"{value:+.2f}" for key, value in highlights.items()},
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table without the columns that no row uses; what its rows are is said by the title of their section."""
    used = [index for index in range(1, len(heads)) if any(row[index] for row in rows)]
    return Table(["", *(heads[index] for index in used)], [[row[0], *(row[index] for index in used)] for row in rows])


def _bars(groups: Sequence[Group], measured: Sequence[Measured]) -> Bars:
    keys = [key for key in measured[0].mean if key.startswith(IOU)]
    means = [(key.removeprefix(IOU), [of.mean[key] for of in measured]) for key in keys]
    return Bars([group.name for group in groups], means)


def _evaluations(groups: Sequence[Group]) -> Table:
    rows = []
    for group in groups:
        for member in group.members:
            report, config = member.report, member.report["config"]
            rows.append(
                [
                    group.name,
                    f"{member.folder}:{member.run}",
                    config["checkpoint"] or "the one of the package",
                    "x".join(map(str, report["working_size_hw"])),
                    config["precision"],
                    report["device_name"],
                    report["commit"] or "not a checkout",
                ]
            )
    return Table(["", "folder and pass", "checkpoint", "height x width", "precision", "machine", "commit"], rows)
