"""Video consistency VC: of the pixels whose truth keeps its class for n frames, how many keep their label."""

from collections.abc import Sequence

import numpy as np

from sdcpc_core.errors import ConfigError, InputError


class VideoConsistency:
    """Measures the windows of n consecutive frames of one sequence, one frame after the other.

    A pixel is steady over a window when its run of equal labels is at least as long, so that no frame but the
    latest has to be kept.

    Args:
        windows: numbers of frames n, each >= 2.
        ignore_index: id of unlabelled pixels.

    Raises:
        ConfigError: a window is shorter than two frames.

    Source: Miao et al., VSPW (CVPR 2021), Sec. 4. Differences: unlabelled pixels are left out, all T - n + 1 windows
    of T frames count; ``script`` is the definition that the script behind the published tables follows.
    """

    def __init__(self, windows: Sequence[int], ignore_index: int) -> None:
        if min(windows) < 2:
            raise ConfigError(f"a window has {min(windows)} frames; it needs two or more")
        self._windows = tuple(windows)
        self._ignore_index = ignore_index
        self._truths, self._label_maps = _Runs(), _Runs()
        # The script stops one window short of the end: a window counts once another frame has come.
        self._script_held_back = np.zeros((len(windows), 2))

    def update(self, label_map: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """Take the next frame.

        Args:
            label_map: predicted class ids, (H, W).
            truth: class ids, (H, W).

        Returns:
            What to add to the sums of a split, (number of windows, 5) float64: one row per window length, with
            the number of windows, the sum of their shares ``exact`` and ``strict``, and the number of windows and
            the sum of their shares by the script.

        Raises:
            InputError: a frame of another size than the first.
        """
        truth_runs, runs = self._truths.update(truth), self._label_maps.update(label_map)
        labelled, right = truth != self._ignore_index, label_map == truth
        sums = np.zeros((len(self._windows), 5))
        sums[:, 3:] = self._script_held_back
        for index, window in enumerate(self._windows):
            steady_truth, steady = truth_runs >= window, runs >= window
            within = steady_truth & labelled
            size = np.count_nonzero(within)
            if size:
                kept = within & steady
                sums[index, :3] = 1, np.count_nonzero(kept) / size, np.count_nonzero(kept & right) / size
            # The script does not know unlabelled pixels.
            size = np.count_nonzero(steady_truth)
            share = np.count_nonzero(steady_truth & steady) / max(size, 1)
            self._script_held_back[index] = (1, share) if size else (0, 0)
        return sums


class _Runs:
    """For how many frames every pixel has had the label it has."""

    def __init__(self) -> None:
        self._labels: np.ndarray | None = None
        self._lengths: np.ndarray | None = None

    def update(self, labels: np.ndarray) -> np.ndarray:
        if self._labels is None:
            self._lengths = np.ones(labels.shape, np.int32)
        elif labels.shape != self._labels.shape:
            raise InputError(f"a frame of {labels.shape} after one of {self._labels.shape}; a sequence has one size")
        else:
            self._lengths = np.where(labels == self._labels, self._lengths + 1, 1)
        self._labels = labels.copy()
        return self._lengths


def mVC(sums: np.ndarray) -> np.ndarray:
    """Mean video consistency in percent: sums (..., 5) of ``VideoConsistency.update`` to (...,); NaN without windows.

    It never asks whether a label is right: a constant map has 100.
    """
    return _mean(sums[..., 1], sums[..., 0])


def mVC_strict(sums: np.ndarray) -> np.ndarray:
    """The share that keeps the right label, in percent: (..., 5) to (...,); NaN without windows."""
    return _mean(sums[..., 2], sums[..., 0])


def mVC_vspw_script(sums: np.ndarray) -> np.ndarray:
    """Mean video consistency in percent as the public script of VSPW computes it: (..., 5) to (...,).

    It leaves out the last window of every sequence, and with it sequences of n frames, and takes steady unlabelled
    pixels for steady pixels.

    Source: sssdddwww2/CVPR2021_VSPW_Implement, ``VC_perclip.py``. Differences: it reads VSPW's masks raw, where
    "others" and unlabelled differ; here a pixel that changes between these two is steady.
    """
    return _mean(sums[..., 4], sums[..., 3])


def _mean(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.where(count > 0, 100 * total / np.maximum(count, 1), np.nan)
