import base64
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from sdcpc_core.labels import CAMVID
from sdcpc_core.pages.page import Facts, Legend, PictureRow, Pictures, Section, Table, image_uri, render_page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ADDRESSES = ("src", "href", "srcset", "data", "action", "poster", "xlink:href")
VOID_ELEMENTS = {"meta", "link", "img", "br", "hr", "input"}


class PageReader(HTMLParser):
    """Collects addresses, ids and text, and fails on elements that are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses, self.ids, self.text, self._open = [], [], [], []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ADDRESSES]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID_ELEMENTS:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID_ELEMENTS:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text.append(data.strip())


def check_page(html: str) -> PageReader:
    """Fail where a page refers to anything outside itself; return what it holds."""
    page = PageReader(html)
    inside = {f"#{name}" for name in page.ids}
    assert all(address.startswith("data:") or address in inside for address in page.addresses)
    assert not re.search(r"@import|url\((?!data:)", html)
    return page


def console_of(path: Path) -> str:
    """What a headless Chromium says about a page; skips the test where there is none."""
    if CHROMIUM is None:
        pytest.skip("no chromium on the PATH")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    profile = f"--user-data-dir={path.parent / 'profile'}"
    result = subprocess.run([*command, profile, path.as_uri()], capture_output=True, text=True, timeout=90)
    assert "<h1>" in result.stdout
    return "\n".join(line for line in result.stderr.splitlines() if "CONSOLE" in line)


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
