import base64

import cv2
import numpy as np
import pytest
from page_checks import check_page, console_of

from sdcpc_core.labels import CAMVID
from sdcpc_core.pages.page import Facts, Legend, PictureRow, Pictures, Section, Table, image_uri, render_page


def a_page() -> str:
    pictures = Pictures(("Input", "Labels"), [PictureRow("frame <1>", [np.zeros((48, 64, 3), np.uint8)] * 2)])
    table = Table(("percent", "A"), [(f"row {i}", str(i)) for i in range(5)], "a caption", shown_rows=3)
    sections = [
        Section("Figures", [table], "a note"),
        Section("Pictures", [pictures, Legend(CAMVID, [3, 8]), Facts({"command": "sdcpc evaluate"})]),
    ]
    return render_page("A & B", sections, subtitle="val", highlights={"mIoU": "56.5"})


def test_a_page_holds_what_it_is_given_and_nothing_from_outside():
    page = check_page(a_page())
    for text in (
        "A & B",
        "a note",
        "row 4",
        "2 more",
        "a caption",
        "frame <1>",
        "56.5",
        "Road",
        "Car",
        "sdcpc evaluate",
    ):
        assert text in page.text
    assert "Sky" not in page.text, "a legend names the classes it is asked for"


def test_text_is_no_markup():
    html = render_page("<script>alert(1)</script>", [Section("a", [Table(("x", "y"), [("<b>", "&")])])])
    assert "<script" not in html
    assert "<b>" in check_page(html).text


def test_a_browser_has_nothing_to_complain_about(tmp_path):
    (tmp_path / "page.html").write_text(a_page(), encoding="utf-8")
    assert console_of(tmp_path / "page.html") == ""


def test_the_check_sees_what_a_page_must_not_do(tmp_path):
    with pytest.raises(AssertionError):
        check_page('<img src="https://example.org/a.png">')
    (tmp_path / "page.html").write_text("<h1>a</h1><script>nonsense()</script>", encoding="utf-8")
    assert "nonsense" in console_of(tmp_path / "page.html")


def test_a_picture_is_made_small_and_keeps_its_colours():
    image = np.full((200, 1000, 3), (200, 40, 10), np.uint8)
    kind, _, data = image_uri(image, 250).partition(",")
    shown = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert kind == "data:image/png;base64", "one colour is smaller without loss"
    assert shown.shape == (50, 250, 3)
    assert (shown == (200, 40, 10)).all()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert image_uri(noise, 250).startswith("data:image/jpeg")
