import json
from pathlib import Path

import numpy as np
import pytest
from page_checks import check_page, console_of

pytest.importorskip("rosbags", reason="bags need rosbags: pip install '.[bag]'")
pytest.importorskip("av", reason="video files need PyAV: pip install '.[video]'")

from sdcpc_core.data.synthetic import SyntheticDrive
from sdcpc_core.labels import CAMVID
from sdcpc_core.pages.page import Section, render_page
from sdcpc_core.pages.timelines import Events, Parts
from sdcpc_core.report import run_facts
from sdcpc_ros.bag_io import IMAGE, image_message, standard_types
from sdcpc_ros.bag_writer import BagWriter
from sdcpc_ros.camera_run import CameraRun
from sdcpc_ros.conversions import ns_to_stamp
from sdcpc_ros.drive_page import flicker_map
from sdcpc_ros.drive_results import check_results, judge

CAMERA, LABEL, TRUTH = "/camera", "/segmentation/label", "/truth"
PERIOD_NS = 66_666_667


def header(stamp_ns: int):
    types = standard_types().types
    return types["std_msgs/msg/Header"](
        stamp=ns_to_stamp(stamp_ns, types["builtin_interfaces/msg/Time"]), frame_id="camera"
    )


def record(path: Path, *, frames: int, size_hw: tuple[int, int], answered) -> CameraRun:
    """A drive whose answers are its truth with noise, and what became of its frames."""
    drive = SyntheticDrive(5, size_hw, 15.0)
    rng = np.random.default_rng(0)
    run = CameraRun()
    with BagWriter(path) as writer:
        camera, label, truth = (writer.add_topic(name, IMAGE) for name in (CAMERA, LABEL, TRUTH))
        for index in range(frames):
            bag_ns = 10**9 + index * PERIOD_NS
            frame = drive.frame(index)
            run.sent_ns.append(bag_ns)
            writer.write(camera, bag_ns, image_message(header(bag_ns), frame.image))
            writer.write(truth, bag_ns, image_message(header(bag_ns), frame.label_map))
            if answered(index):
                noisy = np.where(rng.random(size_hw) < 0.02, 3, frame.label_map).astype(np.uint8)
                run.answers.append((bag_ns, 180 + 40 * float(rng.random())))
                writer.write(label, bag_ns + 180_000_000, image_message(header(bag_ns), noisy))
    return run


def facts(**more: str) -> dict:
    return {"mode": "live", "bag": "drive.mcap", "topic": CAMERA, "device_name": "a computer", **run_facts({}), **more}


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """A drive of 24 frames: every third one dropped at first, none in the end."""
    out = tmp_path_factory.mktemp("drive")
    run = record(out / "drive.mcap", frames=24, size_hw=(96, 128), answered=lambda index: index % 3 or index > 10)
    judge(out / "drive.mcap", CAMERA, LABEL, TRUTH, CAMVID, run, facts(damage="drive.mcap is cut off"), out)
    return out


def test_the_page_tells_what_the_report_does(results):
    page = check_page((results / "report.html").read_text(encoding="utf-8"))
    report = json.loads((results / "report.json").read_text())
    assert (report["frames_sent"], report["frames_answered"], report["frames_dropped"]) == (24, 20, 4)
    for told in (f"{report['mIoU']:.1f}", "20 of 24", "Ground truth", "Where labels flicker", "drive.mcap is cut off"):
        assert told in page.text, told
    for section in ("Latency over time", "Answered and dropped", "Classes over time", "To measure it again"):
        assert section in page.text
    assert report["mVC8_windows"] == 7, "of the frames 10 to 23, which were answered without a gap"
    assert len((results / "report.html").read_bytes()) < 2_000_000


def test_a_browser_has_nothing_to_complain_about_in_a_drive(results):
    assert console_of(results / "report.html") == ""


def test_a_drive_without_truth_and_without_flicker_has_its_page_too(tmp_path):
    run = record(tmp_path / "drive.mcap", frames=3, size_hw=(64, 96), answered=lambda index: index == 1)
    figures = judge(tmp_path / "drive.mcap", CAMERA, LABEL, None, CAMVID, run, facts(), tmp_path)
    assert (figures["mIoU"], figures["changed_pixels"], figures["frames_before_first_answer"]) == (None, None, 1)
    page = check_page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "Where labels flicker" not in page.text
    assert "Ground truth" not in page.text
    with pytest.raises(Exception, match="exists; choose another folder or pass --overwrite"):
        check_results(tmp_path, overwrite=False)
    check_results(tmp_path, overwrite=True)


def test_parts_stand_on_one_another():
    shares = np.array([[0.25, 0.5, 0.25, 0.0], [0.25, 0.75, 0.0, 0.0]])
    parts = Parts(("a", "b", "c", "never"), [(1, 2, 3)] * 4, shares, ("0 s", "2 s"))
    (name, colour, path), *others = parts.areas
    assert (name, colour, [other[0] for other in others]) == ("b", (1, 2, 3), ["a", "c"])
    assert (
        path == "M0.00 50.00 50.00 50.00 50.00 25.00 100.00 25.00 100.00 100.00 50.00 100.00 50.00 100.00 0.00 100.00Z"
    )
    many = Parts([str(k) for k in range(12)], [(0, 0, 0)] * 12, np.full((3, 12), 1 / 12), ("", ""))
    assert [name for name, _, _ in many.areas][-1] == "4 others"


def test_events_fill_their_stretches():
    events = Events([("sent", [1.0, 0.0, 0.5, 0.0])], ("0 s", "4 s"), "a caption")
    assert events.paths == [("sent", "M0.000 1v-1.000h25.000V1ZM50.000 1v-0.500h25.000V1Z")]
    page = check_page(render_page("a", [Section("b", [events])]))
    assert "a caption" in page.text


def test_a_flicker_map_glows_where_labels_change():
    changes = np.zeros((60, 80), np.int32)
    changes[20:40, 20:60] = 9
    picture = flicker_map(np.full((120, 160, 3), 90, np.uint8), changes, 10)
    assert picture.shape == (60, 80, 3)
    assert picture[30, 40].sum() > 3 * picture[5, 5].sum()
