"""Look at every file of a split and collect what is wrong, where a data set would stop at the first."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby, pairwise

import numpy as np

from sdcpc_core.data.dataset import VIDEO_SPACING_S, FrameRecord, Layout, check_sequence, check_size, spacing_s
from sdcpc_core.data.files import MASK_VALUES, BadFileError, read_image, read_mask

BATCH = 64
"""Files are read in batches of this size, so that an interruption does not wait for the rest."""
GAP = 1.5
"""Neighbours that lie further apart than this many times the usual miss a frame between them."""


@dataclass
class Findings:
    """What a split holds, and what is wrong with it.

    Attributes:
        frames, labelled, sequences: how many there are.
        spacing_s: median time between neighbouring frames (s); infinite without neighbours.
        pixels: labelled pixels of each class, (K,) int64.
        sizes_hw: how many frames have each size.
        faults: what has to be put right.
        remarks: what is worth knowing and does no harm, by kind.
    """

    frames: int
    labelled: int
    sequences: int
    spacing_s: float
    pixels: np.ndarray
    sizes_hw: Counter[tuple[int, int]] = field(default_factory=Counter)
    faults: list[BadFileError] = field(default_factory=list)
    remarks: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class FrameFindings:
    """What is in the files of one frame; None where they could not be read."""

    record: FrameRecord
    size_hw: tuple[int, int] | None = None
    values: np.ndarray | None = None
    faults: list[BadFileError] = field(default_factory=list)


def scan(layout: Layout) -> Iterator[FrameFindings]:
    """Read every frame of a split, several at a time.

    Yields:
        What was found, frame by frame in the order of the records.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(layout.records), BATCH):
            yield from pool.map(_scan_frame, layout.records[start : start + BATCH])


def summarize(layout: Layout, scanned: Iterator[FrameFindings]) -> Findings:
    """Put together what ``scan`` yields."""
    records = layout.records
    findings = Findings(
        frames=len(records),
        labelled=sum(record.mask_path is not None for record in records),
        sequences=len({record.sequence for record in records}),
        spacing_s=spacing_s(records),
        pixels=np.zeros(layout.labels.num_classes, np.int64),
        faults=list(layout.faults),
        remarks=_gaps(records),
    )
    first_hw: dict[str, tuple[int, int]] = {}
    for frame in scanned:
        findings.faults += frame.faults
        if frame.size_hw is not None:
            findings.sizes_hw[frame.size_hw] += 1
            try:
                check_sequence(frame.record, frame.size_hw, first_hw.setdefault(frame.record.sequence, frame.size_hw))
            except BadFileError as err:
                findings.faults.append(err)
        if frame.values is not None:
            _count(frame, layout, findings)
    if findings.labelled and not findings.pixels.any():
        findings.faults.append(
            BadFileError(f"{layout.title} has masks without a labelled pixel", fault="nothing is labelled")
        )
    return findings


def _scan_frame(record: FrameRecord) -> FrameFindings:
    found = FrameFindings(record)
    try:
        found.size_hw = read_image(record.image_path).shape[:2]
    except BadFileError as err:
        found.faults.append(err)
    if record.mask_path is not None:
        try:
            mask = read_mask(record.mask_path)
            found.values = np.bincount(mask.ravel(), minlength=MASK_VALUES)
            if found.size_hw is not None:
                check_size(record, mask.shape, found.size_hw)
        except BadFileError as err:
            found.faults.append(err)
    return found


def _count(frame: FrameFindings, layout: Layout, findings: Findings) -> None:
    ids, path = layout.mask_ids, frame.record.mask_path
    present = np.flatnonzero(frame.values)
    classes = ids.table[present]
    is_class = classes < len(findings.pixels)
    np.add.at(findings.pixels, classes[is_class], frame.values[present[is_class]])
    try:
        ids.check(present, path)
    except BadFileError as err:
        findings.faults.append(err)
    strays = present[~ids.known[present]]
    if ids.strays_are_void and strays.size:
        message = f"{path} holds {', '.join(map(str, strays))}"
        findings.remarks.setdefault("ids outside the label set, read as void", []).append(message)


def _gaps(records: Sequence[FrameRecord]) -> dict[str, list[str]]:
    gaps = []
    for _, group in groupby(records, key=lambda record: record.sequence):
        video = list(group)
        usual_s = spacing_s(video)
        gaps += [
            f"after {earlier.image_path}"
            for earlier, later in pairwise(video)
            if usual_s <= VIDEO_SPACING_S and later.stamp_ns - earlier.stamp_ns > GAP * usual_s * 1e9
        ]
    return {"frames missing in a video": gaps} if gaps else {}
