import numpy as np
import pytest

from sdcpc_core.errors import InputError
from sdcpc_core.labels import CAMVID, LabelSet
from sdcpc_core.visualization import SheetRow, contact_sheet, legend, overlay, picture_sheet


@pytest.fixture
def frame() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)


def test_overlay_mixes_and_leaves_unlabelled_pixels_alone(frame):
    label_map = np.full((40, 60), CAMVID.ignore_index, np.uint8)
    label_map[:, :30] = 3
    mixed = overlay(frame, label_map, CAMVID, alpha=0.25)
    assert mixed.dtype == np.uint8
    np.testing.assert_array_equal(mixed[:, 30:], frame[:, 30:])
    wanted = 0.75 * frame[:, :30] + 0.25 * np.array(CAMVID.palette[3])
    assert np.abs(mixed[:, :30] - wanted).max() <= 0.5


def test_overlay_at_the_ends_of_alpha(frame):
    label_map = np.zeros((40, 60), np.uint8)
    np.testing.assert_array_equal(overlay(frame, label_map, CAMVID, alpha=0), frame)
    np.testing.assert_array_equal(overlay(frame, label_map, CAMVID, alpha=1), CAMVID.colorize(label_map))


def test_overlay_of_more_classes_than_a_byte_holds(frame):
    labels = LabelSet("many", tuple(map(str, range(300))), tuple((i % 256, i // 256, 7) for i in range(300)))
    label_map = np.full((40, 60), 65535, np.uint16)
    label_map[0, 0] = 299
    mixed = overlay(frame, label_map, labels, alpha=1)
    assert mixed[0, 0].tolist() == [43, 1, 7]
    np.testing.assert_array_equal(mixed[1:], frame[1:])


def test_overlay_refuses_another_size(frame):
    with pytest.raises(InputError, match="differ in size"):
        overlay(frame, np.zeros((20, 30), np.uint8), CAMVID)


@pytest.mark.parametrize("width_px", [50, 400, 2000])
def test_legend_shows_every_colour(width_px):
    picture = legend(CAMVID, width_px)
    assert picture.shape[1:] == (width_px, 3)
    shown = {tuple(colour) for colour in picture.reshape(-1, 3).tolist()}
    assert set(CAMVID.palette) <= shown


def test_contact_sheet_places_the_pictures(frame):
    label_map = np.full((40, 60), 2, np.uint8)
    truth = np.full((40, 60), 5, np.uint8)
    row = SheetRow("0.0 s", frame, label_map)
    plain = contact_sheet([row], CAMVID, cell_width_px=60)
    with_truth = contact_sheet([row, SheetRow("1.0 s", frame, label_map, truth)], CAMVID, cell_width_px=60)
    assert with_truth.shape[1] - plain.shape[1] == 60 + 6, "one column more"
    assert with_truth.shape[0] > plain.shape[0]
    where = np.where((with_truth == CAMVID.palette[5]).all(-1))
    assert with_truth.shape[1] - where[1].max() - 1 == 16, "the truth stands in the last column"
    # The input is there pixel for pixel.
    y, x = next((y, x) for y in range(60) for x in range(20) if (with_truth[y, x : x + 60] == frame[0]).all())
    np.testing.assert_array_equal(with_truth[y : y + 40, x : x + 60], frame)


def test_contact_sheet_needs_a_row():
    with pytest.raises(InputError, match="at least one frame"):
        contact_sheet([], CAMVID)


def test_a_heading_that_is_too_wide_loses_its_middle(frame):
    def heading(name: str) -> np.ndarray:
        return picture_sheet([name, "b"], ["0.0 s"], [[frame, frame]], CAMVID, cell_width_px=120)[16 : 16 + 26]

    long = heading("runs/camvid_resnet18_seed1/evaluation_of_the_best_weights")
    assert (long[:, 16 + 120 : 16 + 126] == 255).all(), "it does not reach into the next column"
    assert (long[:, 16 + 60 : 16 + 120] < 255).any(), "it fills its own"
    np.testing.assert_array_equal(long[:, 16 + 126 :], heading("a")[:, 16 + 126 :])
    other = heading("runs/camvid_resnet18_seed1/evaluation_of_the_last_weights 2")
    assert (long != other).any(), "the end is shown"
    assert heading("a" * 500).shape == long.shape
