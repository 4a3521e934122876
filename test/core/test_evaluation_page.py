import json
import math

import numpy as np
import pytest
from fake_camvid import write_camvid
from fake_data_sets import WRITERS
from test_evaluation import random_weights
from test_page import check_page, console_of

from sdcpc_core.data.kinds import open_data_set
from sdcpc_core.evaluation.command import evaluate
from sdcpc_core.evaluation.page import error_map
from sdcpc_core.labels import CAMVID
from sdcpc_core.pages.charts import Bars, Lines, Matrix
from sdcpc_core.pages.page import Section, render_page


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    root = write_camvid(folder / "camvid")
    run = ["--checkpoint", str(random_weights(folder / "random.safetensors")), "--data", "camvid", "--root", str(root)]
    evaluate([*run, "--device", "cpu", "--out", str(folder / "out")])
    return folder / "out"


def test_the_page_of_an_evaluation_tells_what_its_report_does(out):
    html = (out / "report.html").read_text(encoding="utf-8")
    page, report = check_page(html), json.loads((out / "report.json").read_text())
    assert page.text.count("sdcpc_mit_b0 on CamVid (SegNet edition) val") == 2, "title and heading"
    for told in (report["command"], report["date"], "references − self (95 %)", f"{report['mIoU']:.2f}"):
        assert told in page.text
    for name in CAMVID.names:
        assert name in page.text
    assert report["commit"] is None or report["commit"] in page.text
    assert "Over time" not in page.text, "seven frames have no course, and one sequence no table"
    assert html.count("<img") == 8, "of seven neighbouring frames one of the worst and one of the best"
    assert len(html) < 200_000


def test_a_browser_has_nothing_to_complain_about_in_an_evaluation(out):
    assert console_of(out / "report.html") == ""


@pytest.mark.parametrize("kind", ["cityscapes", "vspw", "folder"])
def test_every_kind_of_data_has_its_page(kind, tmp_path):
    root = WRITERS[kind](tmp_path / "data")
    labels = open_data_set(kind, root, "val").labels
    checkpoint = random_weights(tmp_path / "random.safetensors", labels)
    run = ["--checkpoint", str(checkpoint), "--data", kind, "--root", str(root), "--device", "cpu", "--no-flow"]
    evaluate([*run, "--out", str(tmp_path / "out")])
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    check_page(html)
    assert ('class="matrix-picture"' in html) == (kind == "vspw"), "124 classes are drawn without numbers"
    assert ("taken for, %" in check_page(html).text) == (kind == "vspw")
    assert ("labelled frames" in check_page(html).text) == (kind != "vspw"), "one clip needs no table of sequences"
    assert ("Over time" in check_page(html).text) == (kind == "vspw"), "the others have frames that stand alone"


def test_lines_fit_their_axis_and_break_where_nothing_was_measured():
    chart = Lines("percent", {"a": [80.0, math.nan, 90.0, 84.0], "b": [math.nan] * 4}, ("first", "last"))
    assert chart.ticks == [("80", 100), ("85", 50), ("90", 0)]
    assert chart.paths == ["M0.00 100.00H0.00 M66.67 0.00H66.67L100.00 60.00", ""]
    flat = Lines("percent", {"a": [100.0, 100.0]}, ("first", "last"))
    assert all(0 <= top <= 100 for _, top in flat.ticks)
    assert Lines("percent", {"a": [math.nan]}, ("first", "last")).paths == [""]


def test_a_matrix_shares_out_its_rows():
    matrix = Matrix(("a", "b"), np.array([[3, 1], [0, 0]]))
    np.testing.assert_array_equal(matrix.shares, [[0.75, 0.25], [np.nan, np.nan]])
    text = check_page(render_page("a", [Section("b", [matrix])])).text
    assert "75" in text
    assert text.count("–") == 2, "no pixel of b"


def test_bars_leave_out_what_was_not_measured():
    html = render_page("a", [Section("b", [Bars(("A", "B"), [("Sky", (50.0, math.nan))])])])
    assert html.count("width:50.00%") == 1
    assert "nan" not in html


def test_an_error_map_marks_wrong_and_unlabelled_pixels():
    image = np.full((1, 3, 3), 100, np.uint8)
    pixels = error_map(image, np.uint8([[0, 1, 0]]), np.uint8([[0, 0, 255]]), 255)
    right, wrong, unlabelled = pixels[0].tolist()
    assert right == [146, 146, 146]
    assert wrong[0] > 2 * max(wrong[1:])
    assert unlabelled == [0, 0, 0]
