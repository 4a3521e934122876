"""The page of a comparison of evaluations."""

import math
from collections.abc import Mapping, Sequence

from sdcpc_core import compare_report
from sdcpc_core.compare_evaluations import Group
from sdcpc_core.compare_figures import Measured
from sdcpc_core.compare_strip import Strip
from sdcpc_core.page import Facts, Legend, PictureRow, Pictures, Section, Table, render_page

HIGHLIGHTS = ("mIoU", "mVC8", "mVC16", "TC")
"""Figures whose difference stands at the top, where two are compared."""


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
    columns = compare_report.columns(groups)
    figures, *others = compare_report.rows(groups, measured).items()
    sections = [_section(*figures, columns, note=compare_report.notes(groups))]
    if strip:
        moments = [PictureRow(*row) for row in zip(strip.captions, strip.pictures, strict=True)]
        parts = [Pictures(strip.headings, moments), Legend(strip.labels)]
        sections.append(Section("Pictures", parts, "Black is unlabelled."))
    sections += [_section(*part, columns) for part in others]
    sections.append(Section("Evaluations", [_evaluations(groups), Facts(facts)]))
    names = [group.name for group in groups]
    gains = measured[1].gains if len(groups) == 2 else {}
    highlights = {key: gains[key].value for key in HIGHLIGHTS if key in gains and not math.isnan(gains[key].value)}
    return render_page(
        f"{', '.join(names[:-1])} and {names[-1]}",
        sections,
        subtitle=f"{compare_report.title(groups)}; differences to {names[0]}",
        highlights={f"{key}, difference": f"{value:+.2f}" for key, value in highlights.items()},
    )


def _section(title: str, rows: Sequence[Sequence[str]], columns: Sequence[str], note: str = "") -> Section:
    """A table without the columns that no row uses; what its rows are is said by the title."""
    used = [index for index in range(1, len(columns)) if any(row[index] for row in rows)]
    table = Table(["", *(columns[index] for index in used)], [[row[0], *(row[i] for i in used)] for row in rows])
    return Section(title, [table], note)


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
                    str(report["commit"]),
                ]
            )
    return Table(["", "folder and pass", "checkpoint", "height x width", "precision", "machine", "commit"], rows)
