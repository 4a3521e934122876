"""Label maps as files: for oneself, and in the layouts in which benchmarks want them."""

from pathlib import Path

import cv2
import numpy as np

from sdcpc_core.data.cityscapes import TRAIN_ID_OF_LABEL_ID
from sdcpc_core.data.dataset import DataSet
from sdcpc_core.data.files import MASK_VALUES
from sdcpc_core.output import output_errors


class PredictionWriter:
    """Writes the label maps of a split's targets.

    Files are ``<name of the image>.png`` and hold class ids. A submission to Cityscapes has all files in one folder,
    by the full names of the images, and its label ids; one to VSPW has ``<clip>/<frame>.png`` and the classes 0..123,
    which is the layout of the others.

    Args:
        data: the split.
        folder: where to.
        place: the output as its user knows it, for errors.
        kind: of the data set, to write what its benchmark wants; None for class ids.

    Source: ``evalPixelLevelSemanticLabeling.py`` of cityscapesScripts finds a prediction by how its name begins, and
    wants label ids; the evaluators of VSPW subtract 1 from the masks and nothing from the predictions.
    """

    def __init__(self, data: DataSet, folder: Path, place: Path, kind: str | None = None) -> None:
        self._names = {index: f"{data.records[index].name}.png" for index in data.targets}
        self._ids = np.arange(MASK_VALUES, dtype=np.uint8)
        if kind == "cityscapes":
            self._names = {index: f"{data.records[index].image_path.stem}.png" for index in data.targets}
            self._ids = _label_ids()
        self._folder, self._place = folder, place

    def write(self, index: int, label_map: np.ndarray) -> None:
        """Write one frame, unless it is no target.

        Args:
            index: of the frame in its split.
            label_map: class ids, (H, W) uint8.

        Raises:
            OutputError: the system refuses to write.
        """
        if index not in self._names:
            return
        path = self._folder / self._names[index]
        # OpenCV's own writing does not tell that the disk is full.
        _, png = cv2.imencode(".png", self._ids[label_map])
        with output_errors(self._place):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png)


def _label_ids() -> np.ndarray:
    table = np.zeros(MASK_VALUES, np.uint8)
    table[list(TRAIN_ID_OF_LABEL_ID.values())] = list(TRAIN_ID_OF_LABEL_ID)
    return table
